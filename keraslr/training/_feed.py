"""Where the loop's graph takes its batches from: arrays on the device, or data in batches."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.problems._data import Arrays, Batches

# Arrays up to this size are kept on the device as a whole. Of larger ones the host gathers the
# examples of each slice.
DEVICE_BYTES = 2**30


class OnDevice:
    """Arrays as tensors, shared by all loops that use the same arrays at one time."""

    _all: weakref.WeakValueDictionary[Any, OnDevice] = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, arrays: Arrays):
        self._arrays = arrays.leaves  # keeps them alive, or others might get their ids
        self.leaves = tuple(map(tf.constant, arrays.leaves))

    @classmethod
    def of(cls, arrays: Arrays) -> OnDevice:
        """Returns the tensors on the device, uploading them if needed.

        They are freed with the last loop that uses them.
        """
        # The device on which TensorFlow would put a tensor now: it depends on the caller's scope.
        key = (*map(id, arrays.leaves), tf.constant(0, tf.int64).device)
        with cls._lock:
            held = cls._all.get(key)
            if held is None:
                held = cls._all[key] = cls(arrays)
            return held


class ArrayFeed:
    """Batches gathered from arrays by the places of their examples.

    Args:
        arrays: The arrays.
        batch_size: Examples per batch; the last batch of an epoch takes the remaining ones.
        seed: Seed of the order; None for the order of the arrays.

    Attributes:
        steps: Batches of an epoch.
        is_endless: Whether the next epoch goes on where the last one ended; always False.
        can_restart: Whether the data can be read again; always True.
        spec: Form of a batch.
    """

    is_endless, can_restart = False, True

    def __init__(self, arrays: Arrays, batch_size: int, seed: int | None = None):
        self.steps: int | None = -(-arrays.examples // batch_size)
        self._arrays, self._batch_size, self._seed = arrays, batch_size, seed
        self.spec = arrays.packed([_batch_spec(leaf) for leaf in arrays.leaves])
        self._held = self._placed(arrays) if _bytes(arrays) <= DEVICE_BYTES else None
        self._order = np.arange(arrays.examples)
        self._order_there = tf.constant(self._order)

    def begin(self, epoch: int) -> None:
        """Begins an epoch, whose order depends on seed and epoch alone."""
        if self._seed is None:
            return
        # So that a single epoch can be trained again.
        self._order = np.random.default_rng([self._seed, epoch]).permutation(self._arrays.examples)
        # int64, because TensorFlow keeps int32 tensors in the host's memory also on a GPU.
        self._order_there = tf.constant(self._order, tf.int64)

    def set_order(self, order: np.ndarray) -> None:
        """Sets the places of the examples of an epoch, in which some may be missing or repeated."""
        self._order, self.steps = order, -(-len(order) // self._batch_size)
        self._order_there = tf.constant(order, tf.int64)

    def hold(self, arrays: Arrays) -> None:
        """Takes other arrays of the same form, in their own order."""
        self._arrays = arrays
        self._held = self._placed(arrays)
        self.set_order(np.arange(arrays.examples))

    def end(self) -> None:
        """Ends an epoch."""

    def arguments(self, first: int, steps: int) -> tuple[Any, ...]:
        """Returns the arguments of a graph that trains these steps of the epoch."""
        if self._held is not None:
            return (*self._held, self._order_there, tf.constant(first))
        chosen = self._order[first * self._batch_size : (first + steps) * self._batch_size]
        leaves = self._moved([leaf[chosen] for leaf in self._arrays.leaves])
        return (*leaves, tf.range(len(chosen), dtype=tf.int64), tf.constant(0))

    def signature(self) -> tuple[Any, ...] | None:
        """Returns the forms of the arguments."""
        specs = [_batch_spec(leaf) for leaf in self._arrays.leaves]
        return (*specs, tf.TensorSpec([None], tf.int64), tf.TensorSpec([], tf.int32))

    def take(self, arguments: tuple[Any, ...], i: Any) -> tuple[Any, Any]:
        """Returns batch i of a slice, in the form for `load`; in the graph.

        Returns:
            Whether there is one, None if there always is; and the batch.
        """
        *leaves, order, first = arguments
        begin = (first + i) * self._batch_size
        return None, (leaves, order[begin : begin + self._batch_size])

    def load(self, batch: Any) -> Any:
        """Returns the batch as `fit` hands it to a train step; in the graph."""
        leaves, chosen = batch
        return self._arrays.packed([tf.gather(leaf, chosen) for leaf in leaves])

    def size(self, batch: Any) -> tf.Tensor:
        """Returns the number of examples of a batch; in the graph."""
        return tf.shape(batch[1])[0]

    def _placed(self, arrays: Arrays) -> tuple[Any, ...]:
        self._shared = OnDevice.of(arrays)
        return self._shared.leaves

    def _moved(self, leaves: list[np.ndarray]) -> list[Any]:
        return [tf.constant(leaf) for leaf in leaves]


class BatchFeed:
    """Batches as a dataset gives them.

    Args:
        batches: The data.
        seed: Seed of the order of a `PyDataset`'s batches; None for its own order. The order of
            other data is their own.
        first_epoch: Number of the first epoch.
        distribute: Function that distributes a dataset over replicas; None for one device.

    Attributes:
        steps: Batches of an epoch; None until the first epoch is over, if nobody knows before.
        is_endless: Whether the next epoch goes on where the last one ended.
        can_restart: Whether the data can be read again.
        spec: Form of a batch.
    """

    def __init__(
        self,
        batches: Batches,
        seed: int | None = None,
        first_epoch: int = 0,
        distribute: Callable[[Any], Any] | None = None,
    ):
        self._batches, self._seed = batches, seed
        self.steps = batches.count
        self.is_endless, self.can_restart = batches.steps is not None, batches.can_restart
        self._adapter: Any = None
        dataset = self._dataset(batches.source)
        self.spec = keras.tree.map_structure(_without_optional, dataset.element_spec)
        if batches.steps and first_epoch and hasattr(batches.source, "cardinality"):
            dataset = dataset.skip(first_epoch * batches.steps)
        self._distributed = dataset if distribute is None else distribute(dataset)
        self._iterator: Any = None

    def begin(self, epoch: int) -> None:
        """Begins an epoch."""
        if self._iterator is None or not self.is_endless:
            if self._adapter is not None:
                # Before Keras's workers begin to read.
                self._ordered.places = self._order(self._batches.source, epoch)
                self._adapter.on_epoch_begin()
            self._iterator = iter(self._distributed)

    def end(self) -> None:
        """Ends an epoch, also one that was stopped."""
        if self._adapter is not None and self._iterator is not None and not self.is_endless:
            self._iterator = None
            self._adapter.on_epoch_end()

    def arguments(self, first: int, steps: int) -> tuple[Any, ...]:
        """Returns the arguments of a graph that trains these steps of the epoch."""
        return (self._iterator,)

    def signature(self) -> tuple[Any, ...] | None:
        """Returns None: the first call shows the forms."""
        return None

    def take(self, arguments: tuple[Any, ...], i: Any) -> tuple[Any, Any]:
        """Returns whether there is a next batch, and a function that returns it; in the graph."""
        optional = arguments[0].get_next_as_optional()
        return optional.has_value(), optional.get_value

    def load(self, batch: Any) -> Any:
        """Returns the batch as `fit` hands it to a train step; in the graph."""
        return keras.tree.map_structure(
            lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, batch
        )

    def size(self, batch: Any) -> tf.Tensor:
        """Returns the number of examples of a batch; in the graph."""
        leaf = next(leaf for leaf in keras.tree.flatten(batch) if hasattr(leaf, "shape"))
        if isinstance(leaf, tf.RaggedTensor):
            return tf.cast(leaf.nrows(), tf.int32)
        return tf.cast(tf.shape(leaf)[0], tf.int32)

    def _dataset(self, source: Any) -> tf.data.Dataset:
        if isinstance(source, tf.data.Dataset):
            return source
        from keras.src.trainers import data_adapters  # Keras has no public name for it

        if isinstance(source, keras.utils.PyDataset):
            self._ordered = _Ordered(source, self._order(source, 0))
            self._adapter = data_adapters.get_data_adapter(self._ordered)
            return self._adapter.get_tf_dataset()
        first, read = self._batches.begun(2)
        spec = data_adapters.data_adapter_utils.get_tensor_spec(list(map(_standard, first)))
        dataset = tf.data.Dataset.from_generator(
            lambda: map(_standard, read()), output_signature=spec
        )
        return dataset.prefetch(tf.data.AUTOTUNE)

    def _order(self, source: keras.utils.PyDataset, epoch: int) -> np.ndarray:
        count = source.num_batches
        if self._seed is None or count is None:
            return np.arange(count or 0)
        return np.random.default_rng([self._seed, epoch]).permutation(count)


def feed_of(
    data: Arrays | Batches, batch_size: int, seed: int | None = None, first_epoch: int = 0
) -> ArrayFeed | BatchFeed:
    """Returns the feed of data on one device."""
    if isinstance(data, Arrays):
        return ArrayFeed(data, batch_size, seed)
    return BatchFeed(data, seed, first_epoch)


class _Ordered(keras.utils.PyDataset):
    """A `PyDataset` whose batches come in another order, with the settings of the original.

    Attributes:
        places: Numbers of the original's batches; empty for its own order.
    """

    def __init__(self, original: keras.utils.PyDataset, places: np.ndarray):
        super().__init__(original.workers, original.use_multiprocessing, original.max_queue_size)
        self._original, self.places = original, places

    @property
    def num_batches(self) -> int | None:
        return self._original.num_batches

    def __getitem__(self, index: int) -> Any:
        return self._original[int(self.places[index]) if len(self.places) else index]

    def on_epoch_begin(self) -> None:
        self._original.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self._original.on_epoch_end()


def _standard(batch: Any) -> Any:
    def converted(leaf: Any) -> Any:
        array = np.asarray(leaf)
        return array.astype(keras.config.floatx(), copy=False) if array.dtype.kind == "f" else array

    batch = keras.tree.lists_to_tuples(batch)
    return keras.tree.map_structure(lambda leaf: leaf if leaf is None else converted(leaf), batch)


def _without_optional(spec: Any) -> Any:
    return None if isinstance(spec, tf.OptionalSpec) else spec


def _batch_spec(leaf: np.ndarray) -> tf.TensorSpec:
    kind = tf.string if leaf.dtype.kind in "OSU" else leaf.dtype
    return tf.TensorSpec([None, *leaf.shape[1:]], kind)


def _bytes(arrays: Arrays) -> int:
    return sum(leaf.nbytes for leaf in arrays.leaves)
