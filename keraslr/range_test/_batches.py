"""Endless batches of any data that `fit` takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

# The default of `fit`, too.
_DEFAULT_BATCH_SIZE = 32


def endless_batches(
    x: Any, y: Any, sample_weight: Any, batch_size: int | None, seed: int
) -> Iterator[Any]:
    """Returns endless batches, in the form that `fit` gives to a train step."""
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    if _comes_in_batches(x, y):
        for name, value in {**parts, "batch_size": batch_size}.items():
            if name != "x" and value is not None:
                raise ValueError(
                    f"{name} must be None if x comes in batches. "
                    f"Received: {name} of type {type(value).__name__}"
                )
        return _again_and_again(x)
    arrays = {
        name: keras.tree.map_structure(lambda leaf, name=name: _array(name, leaf), part)
        for name, part in parts.items()
        if part is not None
    }
    lengths = {len(leaf) for leaf in keras.tree.flatten(arrays)}
    if not keras.tree.flatten(x) or lengths == {0}:
        raise ValueError("x must hold at least one example. Received: none")
    if len(lengths) > 1:
        raise ValueError(
            "x, y and sample_weight must hold the same number of examples. "
            f"Received: {', '.join(map(str, sorted(lengths)))}"
        )
    (examples,) = lengths
    return _drawn(arrays, examples, min(batch_size or _DEFAULT_BATCH_SIZE, examples), seed)


def _comes_in_batches(x: Any, y: Any) -> bool:
    if isinstance(x, list) and x and y is None:
        # For Keras a list is a structure of arrays, but an array is never a tuple.
        return all(isinstance(each, tuple) for each in x)
    structure = isinstance(x, list | tuple | Mapping) or hasattr(x, "shape")
    return isinstance(x, Iterable) and not isinstance(x, str | bytes) and not structure


def _array(name: str, leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "shape") or len(leaf.shape) == 0:
        raise TypeError(
            f"{name} must be an array of examples, or a list or dict of arrays, unless x comes in "
            f"batches. Received: {type(leaf).__name__}"
        )
    return np.asarray(leaf)


def _drawn(arrays: Mapping[str, Any], examples: int, batch_size: int, seed: int) -> Iterator[Any]:
    """Yields batches of shuffled examples; an incomplete batch continues in the next pass."""
    order = np.empty(0, np.int64)
    for number in itertools.count():
        order = np.append(order, np.random.default_rng([seed, number]).permutation(examples))
        while len(order) >= batch_size:
            chosen, order = order[:batch_size], order[batch_size:]
            batch = keras.tree.map_structure(lambda leaf, chosen=chosen: leaf[chosen], dict(arrays))
            yield keras.utils.pack_x_y_sample_weight(
                batch["x"], batch.get("y"), batch.get("sample_weight")
            )


def _again_and_again(data: Iterable[Any]) -> Iterator[Any]:
    while True:
        batches = 0
        for batch in data:
            yield tuple(batch) if isinstance(batch, list) else batch
            batches += 1
        if not batches:
            raise ValueError(
                "x must hold batches each time it is iterated over. "
                f"Received: no batches, from a {type(data).__name__}"
            )
