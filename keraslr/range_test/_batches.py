"""Endless batches of any data that `fit` takes."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from keraslr.problems._data import Arrays, comes_in_batches

# The default of `fit`, too.
_DEFAULT_BATCH_SIZE = 32


def endless_batches(
    x: Any, y: Any, sample_weight: Any, batch_size: int | None, seed: int
) -> Iterator[Any]:
    """Returns endless batches, in the form that `fit` gives to a train step."""
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    if comes_in_batches(x, y):
        for name, value in {**parts, "batch_size": batch_size}.items():
            if name != "x" and value is not None:
                raise ValueError(
                    f"{name} must be None if x comes in batches. "
                    f"Received: {name} of type {type(value).__name__}"
                )
        return _again_and_again(x)
    arrays = Arrays.of(x, y, sample_weight)
    return _drawn(arrays, min(batch_size or _DEFAULT_BATCH_SIZE, arrays.examples), seed)


def _drawn(arrays: Arrays, batch_size: int, seed: int) -> Iterator[Any]:
    """Yields batches of shuffled examples; an incomplete batch continues in the next pass."""
    order = np.empty(0, np.int64)
    for number in itertools.count():
        drawn = np.random.default_rng([seed, number]).permutation(arrays.examples)
        order = np.append(order, drawn)
        while len(order) >= batch_size:
            chosen, order = order[:batch_size], order[batch_size:]
            yield arrays.packed([leaf[chosen] for leaf in arrays.leaves])


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
