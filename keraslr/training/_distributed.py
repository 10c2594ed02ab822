"""The loop on several devices of one machine or of several machines."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.optimizers._of_a_model import learning_rate_of, optimizers_of
from keraslr.problems._data import Arrays, Batches
from keraslr.training._cluster import mean_over_workers
from keraslr.training._feed import ArrayFeed, BatchFeed
from keraslr.training._loop import Loop
from keraslr.training._step import logs_of, refused


class ReplicatedLoop(Loop):
    """A `Loop` on all replicas of a distribution strategy, made within its scope.

    Each replica has all arrays on its device, and takes its part of every batch. The figures and
    the applied gradients are means over the whole batch, as on one device. Data that come in
    batches are distributed as `fit` distributes them, and their gradients are means of the
    replicas' means.
    """

    def __init__(self, *arguments: Any):
        # While a step is traced: this replica's share of the batch, 1 for an equal one. TensorFlow
        # traces each replica in a thread of its own.
        self._traced_here = threading.local()
        super().__init__(*arguments)

    def slice(self, first: int) -> Any:
        """Trains the next steps as `Loop.slice` does, as many on all workers."""
        found = super().slice(first)
        self._slice_length = int(mean_over_workers(self._strategy, self._slice_length))
        return found

    @property
    def _strategy(self) -> tf.distribute.Strategy:
        return self.model.distribute_strategy

    def _device(self) -> str:
        devices = self._strategy.extended.worker_devices
        names = ", ".join(device.rpartition("device:")[2] for device in devices)
        workers = self._strategy.num_replicas_in_sync // len(devices)
        return names if workers == 1 else f"{names} of each of {workers} workers"

    def _traced(self, step: Any, feed: Any, what: str) -> tuple[Any, tuple[str, ...]]:
        model, prepare = self.model, self._prepare

        def prepared(batch: Any) -> Any:
            return logs_of(step(batch if prepare is None else prepare(batch)), what)

        def on_all(batch: Any) -> Any:
            return self._strategy.run(prepared, args=(batch,))

        with refused(model, what):
            # Replicas cannot create variables: Keras does, from the form of a batch.
            batch = keras.tree.map_structure(_example, feed.spec)
            model._symbolic_build(data_batch=batch if prepare is None else prepare(batch))
            graph = tf.function(on_all, autograph=False).get_concrete_function(feed.spec)
        return prepared, tuple(graph.structured_outputs)

    @staticmethod
    def _graph(function: Any, signature: Any) -> Any:
        return function  # values of replicas have no form to ask for

    @contextlib.contextmanager
    def _own_gradients(self) -> Iterator[None]:
        """Sums the gradients of the replicas, weighted by their shares of the batch, at once.

        Keras takes the mean of the replicas' means, which differs where their parts do, and clips
        each replica's gradients before it sums them.
        """
        optimizers = [
            # Gradients that are accumulated are summed by Keras, after some batches.
            each
            for each in optimizers_of(self.model)
            if not each.gradient_accumulation_steps
        ]
        # Past the optimizer's own tracking, so that nothing of it is saved.
        for optimizer in optimizers:
            optimizer.__dict__["_backend_apply_gradients"] = functools.partial(
                self._apply_summed, optimizer
            )
            optimizer.__dict__["_all_reduce_sum_gradients"] = lambda pairs: pairs
        try:
            yield
        finally:
            for optimizer in optimizers:
                for name in ("_backend_apply_gradients", "_all_reduce_sum_gradients"):
                    optimizer.__dict__.pop(name, None)

    def _apply_summed(self, optimizer: Any, gradients: Any, variables: Any) -> None:
        share = getattr(self._traced_here, "share", None)
        # Of an Embedding they are rows, as many as the batch has words: TensorFlow cannot gather
        # another number of them in the next step.
        gradients = [tf.convert_to_tensor(each) for each in gradients]
        if share is not None:
            gradients = [each * tf.cast(share, each.dtype) for each in gradients]
        kind = type(optimizer)
        pairs = list(zip(gradients, variables, strict=True))
        summed = [gradient for gradient, _ in kind._all_reduce_sum_gradients(optimizer, pairs)]
        kind._backend_apply_gradients(optimizer, summed, variables)

    def _train_on(self, batch: Any) -> tuple[Any, Mapping[str, Any], Any, list[Any]]:
        self._reset_metrics()
        rate = learning_rate_of(self.model)

        def step(batch: Any) -> Any:
            self._traced_here.share = self._feed.share(batch)
            return self._feed.part_size(batch), self._step(self._feed.load(batch))

        sizes, logs = self._strategy.run(step, args=(batch,))
        size = self._strategy.reduce(tf.distribute.ReduceOp.SUM, sizes, axis=None)
        return size, self._over_all(logs), rate, self._sums_now()

    def _test_on(self, batch: Any) -> Mapping[str, Any]:
        def step(batch: Any) -> Any:
            return self._test(self._validation.load(batch))

        return self._over_all(self._strategy.run(step, args=(batch,)))

    def _over_all(self, logs: Mapping[str, Any]) -> Mapping[str, Any]:
        # Outside of the replicas a metric's variables are those of all replicas together.
        found = self.model.get_metrics_result()
        if set(logs) <= set(found):
            return {name: found[name] for name in logs}
        return {
            name: self._strategy.reduce(tf.distribute.ReduceOp.MEAN, value, axis=None)
            for name, value in logs.items()
        }


class _ReplicatedArrays(ArrayFeed):
    """An `ArrayFeed` of which each replica takes its part of every batch."""

    def __init__(
        self, strategy: tf.distribute.Strategy, arrays: Arrays, batch_size: int, seed: int | None
    ):
        self._strategy = strategy
        super().__init__(arrays, batch_size, seed)

    def signature(self) -> None:
        return None

    def load(self, batch: Any) -> Any:
        leaves, chosen = batch
        first, end = _part(tf.shape(chosen)[0])
        return super().load((leaves, chosen[first:end]))

    def part_size(self, batch: Any) -> tf.Tensor:
        """Returns the number of examples that are this replica's own; in the graph."""
        return _own_size(tf.shape(batch[1])[0])

    def share(self, batch: Any) -> tf.Tensor:
        """Returns this replica's examples over the mean of all replicas; in the graph."""
        examples = tf.shape(batch[1])[0]
        replicas = tf.distribute.get_replica_context().num_replicas_in_sync
        return tf.cast(_own_size(examples) * replicas, tf.float32) / tf.cast(examples, tf.float32)

    def _placed(self, arrays: Arrays) -> tuple[Any, ...]:
        return tuple(self._moved(list(arrays.leaves)))

    def _moved(self, leaves: list[np.ndarray]) -> list[Any]:
        return [
            self._strategy.experimental_distribute_values_from_function(
                lambda _, leaf=leaf: tf.constant(leaf)
            )
            for leaf in leaves
        ]


class _ReplicatedBatches(BatchFeed):
    """A `BatchFeed` that the strategy distributes."""

    def part_size(self, batch: Any) -> tf.Tensor:
        """Returns the number of examples in this replica's part; in the graph."""
        return self.size(batch)

    def share(self, batch: Any) -> None:
        """Returns None: the replicas' means count alike."""


def replicated_feed(
    strategy: tf.distribute.Strategy,
    data: Arrays | Batches,
    batch_size: int,
    seed: int | None = None,
    first_epoch: int = 0,
) -> ArrayFeed | BatchFeed:
    """Returns the feed of data on all replicas of a distribution strategy."""
    if isinstance(data, Arrays):
        return _ReplicatedArrays(strategy, data, batch_size, seed)
    return _ReplicatedBatches(data, seed, first_epoch, strategy.experimental_distribute_dataset)


def _example(spec: tf.TensorSpec | None) -> Any:
    if spec is None:
        return None
    return tf.zeros([1 if size is None else size for size in spec.shape], spec.dtype)


def _part(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns this replica's part of the examples in a row: first, and last + 1.

    With fewer examples than replicas, some replicas take one that another has too; it counts in the
    figures of that step, and not in its gradients.
    """
    first, end = _bounds(examples)
    first = tf.minimum(first, examples - 1)
    return first, tf.maximum(end, first + 1)


def _own_size(examples: tf.Tensor) -> tf.Tensor:
    first, end = _bounds(examples)
    return end - first


def _bounds(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    context = tf.distribute.get_replica_context()
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    return (
        examples * replica // context.num_replicas_in_sync,
        examples * (replica + 1) // context.num_replicas_in_sync,
    )
