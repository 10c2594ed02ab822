"""Data as `fit` takes them, sorted into arrays of examples and data that come in batches."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras
import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """Arrays of examples.

    Attributes:
        leaves: The arrays, each of shape (examples, ...).
        structure: What `fit` hands to a train step, `x`, `(x, y)` or `(x, y, sample_weight)`, with
            the number of its array in the place of each array.
        examples: Number of examples.
    """

    leaves: tuple[np.ndarray, ...]
    structure: Any
    examples: int

    @classmethod
    def of(cls, x: Any, y: Any = None, sample_weight: Any = None, *, prefix: str = "") -> Arrays:
        """Returns the arrays, with floats in Keras's `floatx`, as `fit` converts them.

        Args:
            prefix: What precedes `x`, `y` and `sample_weight` in an error, such as "validation ".

        Raises:
            TypeError: A part is not an array or a structure of arrays.
            ValueError: There are no examples, or the arrays have different lengths.
        """
        leaves: list[np.ndarray] = []
        lengths: dict[str, int] = {}

        def placed(name: str, leaf: Any) -> int | None:
            if leaf is None:
                return None
            array = _array(f"{prefix}{name}", leaf)
            lengths.setdefault(f"{len(array)} in {name}", len(array))
            leaves.append(array)
            return len(leaves) - 1

        parts = [
            keras.tree.map_structure(
                functools.partial(placed, name), keras.tree.lists_to_tuples(part)
            )
            for name, part in (("x", x), ("y", y), ("sample_weight", sample_weight))
        ]
        if not keras.tree.flatten(x) or not leaves or 0 in lengths.values():
            raise ValueError(f"{prefix}x must hold at least one example. Received: none")
        if len(set(lengths.values())) > 1:
            raise ValueError(
                f"{prefix}x, y and sample_weight must hold the same number of examples. "
                f"Received: {', '.join(lengths)}"
            )
        packed = keras.utils.pack_x_y_sample_weight(*parts)
        return cls(tuple(leaves), packed, len(leaves[0]))

    def packed(self, leaves: Any) -> Any:
        """Returns other leaves in the structure that `fit` hands to a train step."""
        return keras.tree.map_structure(
            lambda place: None if place is None else leaves[place], self.structure
        )

    def first(self, count: int) -> Any:
        """Returns the first examples, as tensors."""
        leaves = [keras.ops.convert_to_tensor(leaf[:count]) for leaf in self.leaves]
        return self.packed(leaves)

    def divided(self, share: float) -> tuple[Arrays, Arrays]:
        """Returns the examples before the last `share` of them, and those, as `fit` splits them."""
        first = math.floor(self.examples * (1.0 - share))
        if first in (0, self.examples):
            raise ValueError(
                "validation_split must leave an example for training and one for validation. "
                f"Received: validation_split={share}, {self.examples} examples"
            )
        return self._part(slice(0, first)), self._part(slice(first, None))

    def _part(self, rows: slice) -> Arrays:
        leaves = tuple(leaf[rows] for leaf in self.leaves)
        return Arrays(leaves, self.structure, len(leaves[0]))

    @functools.cached_property
    def digest(self) -> str:
        """A short hash of the content."""
        digest = hashlib.sha256(repr(self.structure).encode())
        for leaf in self.leaves:
            digest.update(f"{leaf.dtype}{leaf.shape}".encode() + _content(leaf))
        return digest.hexdigest()[:8]


@dataclasses.dataclass(frozen=True, eq=False)
class Batches:
    """Data that come in batches: a `tf.data.Dataset`, a `PyDataset`, a generator, a loader.

    Attributes:
        source: The data.
        steps: Batches of an epoch that were asked for; None for all batches of the source.
    """

    source: Any
    steps: int | None = None

    @functools.cached_property
    def count(self) -> int | None:
        """Batches of an epoch; None if nobody can know before one is over."""
        if self.steps is not None:
            return self.steps
        if hasattr(self.source, "cardinality"):
            count = int(self.source.cardinality())
            if count == -1:
                raise ValueError(
                    "steps_per_epoch must be given for a dataset that never ends. "
                    "Received: steps_per_epoch=None"
                )
            return count if count >= 0 else None
        try:
            known = getattr(self.source, "num_batches", None)
            return len(self.source) if known is None else int(known)
        except TypeError:
            return None

    @property
    def can_restart(self) -> bool:
        """Whether the data can be read from their start more than once."""
        return iter(self.source) is not self.source if _is_python(self.source) else True

    def first(self, count: int) -> Any:
        """Returns the first batch; None if reading it would spend it."""
        del count  # batches have a size of their own
        if not self.can_restart:
            return None
        is_numbered = isinstance(self.source, keras.utils.PyDataset)
        batch = self.source[0] if is_numbered else next(iter(self.source))
        return keras.tree.lists_to_tuples(batch)

    def begun(self, count: int) -> tuple[list[Any], Callable[[], Iterator[Any]]]:
        """Returns the first batches of Python's data, and a function that reads all from the start.

        Of a generator, "the start" is where it stands: nothing is lost by looking.
        """
        if self.can_restart:
            return list(itertools.islice(iter(self.source), count)), lambda: iter(self.source)
        rest = self.__dict__.get("_rest", self.source)
        first = list(itertools.islice(rest, count))
        self.__dict__["_rest"] = rest = itertools.chain(first, rest)
        return first, lambda: rest

    @functools.cached_property
    def digest(self) -> str | None:
        """A short hash of form and first batch; None if that differs each time it is read.

        Such data cannot be told from others of the same form.
        """
        if not self.can_restart:
            return None
        first, again = self._first(), self._first()
        return first if first == again else None

    def _first(self) -> str:
        source = self.source
        batch = source[0] if isinstance(source, keras.utils.PyDataset) else next(iter(source))
        digest = hashlib.sha256(f"{type(source).__name__} {self.steps} {self.count}".encode())
        for leaf in keras.tree.flatten(batch):
            array = np.asarray(leaf)
            digest.update(f"{array.dtype}{array.shape}".encode() + _content(array))
        return digest.hexdigest()[:8]


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """The data of a problem.

    Attributes:
        train: Data to train on.
        validation: Data to evaluate after each epoch; None for none.
    """

    train: Arrays | Batches
    validation: Arrays | Batches | None


def data_of(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
) -> Data:
    """Returns the data sorted, after checking them.

    Raises:
        TypeError, ValueError: The data cannot be trained on; the error names the argument.
    """
    train = _part(x, y, sample_weight, steps_per_epoch, "", "steps_per_epoch")
    if validation_data is not None:
        if validation_split:
            raise ValueError(
                "validation_split must be left out with validation_data. "
                f"Received: validation_split={validation_split}"
            )
        if comes_in_batches(validation_data):
            parts = (validation_data, None, None)
        else:
            parts = _unpacked(validation_data)
        validation = _part(*parts, validation_steps, "validation ", "validation_steps")
        return Data(train, validation)
    if not validation_split:
        return Data(train, None)
    if not isinstance(train, Arrays):
        raise ValueError(
            "validation_split must be left out for data that come in batches: pass "
            f"validation_data. Received: validation_split={validation_split}"
        )
    return Data(*train.divided(validation_split))


def _part(
    x: Any, y: Any, sample_weight: Any, steps: int | None, prefix: str, steps_name: str
) -> Arrays | Batches:
    if not comes_in_batches(x, y):
        if steps is not None:
            raise ValueError(
                f"{steps_name} must be left out for arrays: an epoch takes all examples. "
                f"Received: {steps_name}={steps}"
            )
        return Arrays.of(x, y, sample_weight, prefix=prefix)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(
                f"{prefix}{name} must be None if {prefix}x comes in batches. "
                f"Received: {name} of type {type(value).__name__}"
            )
    batches = Batches(x, steps)
    if batches.count == 0:
        raise ValueError(f"{prefix}x must hold at least one batch. Received: none")
    if not batches.can_restart and steps is None:
        raise ValueError(
            f"{steps_name} must be given for a generator, whose end nobody knows. "
            f"Received: {steps_name}=None"
        )
    return batches


def _unpacked(data: Any) -> tuple[Any, Any, Any]:
    if isinstance(data, tuple | list) and 1 <= len(data) <= 3:
        return (*data, None, None)[:3]
    raise TypeError(
        "validation_data must be (x, y), (x, y, sample_weight), or data that come in batches. "
        f"Received: {type(data).__name__}"
    )


def comes_in_batches(x: Any, y: Any = None) -> bool:
    """Returns whether these data come in batches, rather than as arrays of examples."""
    if isinstance(x, list) and x and y is None:
        # For Keras a list is a structure of arrays, but an array is never a tuple.
        return all(isinstance(each, tuple) for each in x)
    structure = isinstance(x, list | tuple | Mapping) or hasattr(x, "shape")
    if isinstance(x, keras.utils.PyDataset):
        return True
    return isinstance(x, Iterable) and not isinstance(x, str | bytes) and not structure


def _is_python(source: Any) -> bool:
    return not hasattr(source, "cardinality") and not isinstance(source, keras.utils.PyDataset)


def _array(name: str, leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "shape") or len(leaf.shape) == 0:
        raise TypeError(
            f"{name} must be an array of examples, or a list or dict of arrays, unless x comes in "
            f"batches. Received: {type(leaf).__name__}"
        )
    if not hasattr(leaf, "__array__"):
        raise TypeError(
            f"{name} must be a dense array; put others into a tf.data.Dataset: "
            "tf.data.Dataset.from_tensor_slices((x, y)).batch(batch_size). "
            f"Received: {type(leaf).__name__}"
        )
    array = np.asarray(leaf)
    if type(leaf).__module__.partition(".")[0] == "pandas" and array.ndim == 1:
        array = array[:, np.newaxis]  # as `fit` does with a column
    if np.issubdtype(array.dtype, np.floating) or array.dtype.name == "bfloat16":
        array = array.astype(keras.config.floatx(), copy=False)
    return array


def _content(array: np.ndarray) -> bytes:
    if array.dtype == object:
        return repr(array.tolist()).encode()
    return np.ascontiguousarray(array).tobytes()
