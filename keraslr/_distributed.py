"""The loop on several devices: those of this machine, or of several."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr._loop import TEST_BATCH, Loop, cross_entropy, pixels, right_answers
from keraslr.datasets import Dataset
from keraslr.training import ClusterError

# What TensorFlow raises, now this and now that, where a worker is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class ReplicatedLoop(Loop):
    """A `Loop` on all replicas of a strategy, made within its scope.

    Each replica has all data on its device, and takes its part of every batch. What is recorded,
    and what is applied, is the mean over the whole batch, as on one device.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        data: Dataset,
        batch_size: int,
        strategy: tf.distribute.Strategy,
    ):
        self._strategy = strategy
        # They are summed up before clipping sees them, and Keras would sum them after it, again.
        optimizer._all_reduce_sum_gradients = lambda pairs: pairs
        super().__init__(model, optimizer, data, batch_size)

    def slice(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As a `Loop`'s, and as long on all workers."""
        record = super().slice(first)
        self._slice_length = int(mean_over_workers(self._strategy, self._slice_length))
        return record

    def _placed(self, data: Dataset) -> Any:
        def held(*arrays: np.ndarray) -> Any:
            return tuple(
                self._strategy.experimental_distribute_values_from_function(
                    lambda _, array=array: tf.constant(array)
                )
                for array in arrays
            )

        return SimpleNamespace(
            train=held(data.x_train, data.y_train.astype(np.int64)),
            test=held(data.x_test, data.y_test.astype(np.int64)),
        )

    def _device(self) -> str:
        devices = self._strategy.extended.worker_devices
        names = ", ".join(device.rpartition("device:")[2] for device in devices)
        workers = self._strategy.num_replicas_in_sync // len(devices)
        return names if workers == 1 else f"{names} of each of {workers} workers"

    def _graphs(self) -> tuple[Any, Any]:
        return (
            tf.function(self._slice_steps, autograph=False),
            tf.function(self._evaluate_piece, autograph=False),
        )

    def _train_on(self, all_images: Any, all_labels: Any, chosen: tf.Tensor) -> Any:
        figures = self._strategy.run(self._replica_step, args=(all_images, all_labels, chosen))
        return tuple(self._strategy.experimental_local_results(each)[0] for each in figures)

    def _replica_step(self, all_images: tf.Tensor, all_labels: tf.Tensor, chosen: tf.Tensor) -> Any:
        context = tf.distribute.get_replica_context()
        examples = tf.shape(chosen)[0]
        first, end, counts = _part(examples)
        mine = chosen[first:end]
        images, labels = tf.gather(all_images, mine), tf.gather(all_labels, mine)
        share = counts / tf.cast(examples, tf.float32)
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(pixels(images), training=True)
            loss = share * tf.reduce_sum(cross_entropy(labels, logits))
            penalty = sum(tf.cast(each, tf.float32) for each in self.model.losses)
            loss += penalty / context.num_replicas_in_sync
            scaled = self.optimizer.scale_loss(loss)  # which `apply` takes back
        gradients = tape.gradient(scaled, variables)
        accuracy = share * tf.reduce_sum(tf.cast(right_answers(labels, logits), tf.float32))
        rate = tf.cast(tf.convert_to_tensor(self.optimizer.learning_rate), tf.float32)
        known = [i for i, gradient in enumerate(gradients) if gradient is not None]
        # In one go with the figures: what takes time between machines is the number of messages.
        *summed, figures = context.all_reduce(
            tf.distribute.ReduceOp.SUM,
            [*(gradients[i] for i in known), tf.stack([loss, accuracy])],
        )
        self.optimizer.apply(summed, [variables[i] for i in known])
        return figures[0], figures[1], rate

    def _evaluate_piece(
        self, all_images: Any, all_labels: Any, begin: tf.Tensor, loss: tf.Tensor, right: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        figures = self._strategy.run(self._replica_evaluate, args=(all_images, all_labels, begin))
        summed = self._strategy.reduce(tf.distribute.ReduceOp.SUM, figures, axis=None)
        return loss + summed[0], right + tf.cast(summed[1], tf.int32)

    def _replica_evaluate(
        self, all_images: tf.Tensor, all_labels: tf.Tensor, begin: tf.Tensor
    ) -> tf.Tensor:
        first, end, counts = _part(tf.minimum(TEST_BATCH, self._test_examples - begin))
        images, labels = (each[begin + first : begin + end] for each in (all_images, all_labels))
        logits = self.model(pixels(images), training=False)
        loss = tf.reduce_sum(cross_entropy(labels, logits))
        right = tf.reduce_sum(tf.cast(right_answers(labels, logits), tf.float32))
        return counts * tf.stack([loss, right])


def mean_over_workers(strategy: tf.distribute.Strategy | None, value: float) -> float:
    """The mean of what the workers of the cluster have; each has to ask."""
    if strategy is None or not _workers(strategy):
        return value
    own = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(value, tf.float32)
    )
    return float(strategy.reduce(tf.distribute.ReduceOp.MEAN, own, axis=None))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is the only worker, or the first one."""
    workers = _workers(strategy)
    if not workers:
        return True
    resolver = strategy.cluster_resolver
    # Without a task that is called so, it is the first worker.
    return resolver.task_type == "chief" or ("chief" not in workers and resolver.task_id == 0)


@contextlib.contextmanager
def lost_workers_named(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """What TensorFlow says of a lost worker, as a `ClusterError`."""
    if strategy is None or not _workers(strategy):
        yield
        return
    try:
        yield
    except _LOST as error:
        resolver = strategy.cluster_resolver
        raise ClusterError(
            f"another worker of the cluster {json.dumps(_workers(strategy))} is gone, and this one "
            f"({resolver.task_type} {resolver.task_id}) cannot go on alone: start all of them "
            "again. With a backup they go on after the last whole epoch"
        ) from error


def require_synchronous(strategy: Any, batch_size: int) -> None:
    """A `TypeError` or `ValueError` where the strategy cannot train as one device does."""
    if not isinstance(strategy, tf.distribute.Strategy):
        raise TypeError(f"strategy must be a tf.distribute.Strategy. Received: {strategy!r}")
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "strategy must be a synchronous one, such as MirroredStrategy. "
            f"Received: {type(strategy).__name__}"
        )
    if batch_size < strategy.num_replicas_in_sync:
        raise ValueError(
            "batch_size must hold an example for each replica. Received: "
            f"batch_size={batch_size}, {strategy.num_replicas_in_sync} replicas"
        )


def _workers(strategy: tf.distribute.Strategy) -> dict[str, list[str]]:
    """The addresses of a cluster's workers, by the kind of their task; empty for one process."""
    resolver = strategy.cluster_resolver
    cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
    tasks = {kind: cluster[kind] for kind in ("chief", "worker") if kind in cluster}
    return tasks if sum(map(len, tasks.values())) > 1 else {}


def _part(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """This replica's part of so many examples in a row: first, last + 1, and 1.0.

    Where there are fewer examples than replicas, some get one that does not count: 0.0.
    """
    context = tf.distribute.get_replica_context()
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    first, end = (
        examples * number // context.num_replicas_in_sync for number in (replica, replica + 1)
    )
    counts = tf.cast(end > first, tf.float32)
    first = tf.minimum(first, examples - 1)
    return first, tf.maximum(end, first + 1), counts
