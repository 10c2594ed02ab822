"""The loop on several devices of one machine or of several machines."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.datasets import Dataset
from keraslr.training._cluster import mean_over_workers
from keraslr.training._loop import TEST_BATCH, Loop, cross_entropy, pixels, right_answers


class ReplicatedLoop(Loop):
    """A `Loop` on all replicas of a distribution strategy, made within its scope.

    Each replica has all data on its device, and takes its part of every batch. The recorded figures
    and the applied gradients are means over the whole batch, as on one device.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        data: Dataset,
        batch_size: int,
        distribution_strategy: tf.distribute.Strategy,
    ):
        self._distribution_strategy = distribution_strategy
        # The step sums the gradients itself, before clipping; Keras would sum them after clipping.
        optimizer._all_reduce_sum_gradients = lambda pairs: pairs
        super().__init__(model, optimizer, data, batch_size)

    def slice(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Trains the next steps as `Loop.slice` does, as many on all workers."""
        record = super().slice(first)
        self._slice_length = int(mean_over_workers(self._distribution_strategy, self._slice_length))
        return record

    def _placed(self, data: Dataset) -> Any:
        def held(*arrays: np.ndarray) -> Any:
            return tuple(
                self._distribution_strategy.experimental_distribute_values_from_function(
                    lambda _, array=array: tf.constant(array)
                )
                for array in arrays
            )

        return SimpleNamespace(
            train=held(data.x_train, data.y_train.astype(np.int64)),
            test=held(data.x_test, data.y_test.astype(np.int64)),
        )

    def _device(self) -> str:
        devices = self._distribution_strategy.extended.worker_devices
        names = ", ".join(device.rpartition("device:")[2] for device in devices)
        workers = self._distribution_strategy.num_replicas_in_sync // len(devices)
        return names if workers == 1 else f"{names} of each of {workers} workers"

    def _graphs(self) -> tuple[Any, Any]:
        return (
            tf.function(self._slice_steps, autograph=False),
            tf.function(self._evaluate_piece, autograph=False),
        )

    def _train_on(self, all_images: Any, all_labels: Any, chosen: tf.Tensor) -> Any:
        figures = self._distribution_strategy.run(
            self._replica_step, args=(all_images, all_labels, chosen)
        )
        return tuple(
            self._distribution_strategy.experimental_local_results(each)[0] for each in figures
        )

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
        # Together with the figures, because the number of messages between machines costs the time.
        *summed, figures = context.all_reduce(
            tf.distribute.ReduceOp.SUM,
            [*(gradients[i] for i in known), tf.stack([loss, accuracy])],
        )
        self.optimizer.apply(summed, [variables[i] for i in known])
        return figures[0], figures[1], rate

    def _evaluate_piece(
        self, all_images: Any, all_labels: Any, begin: tf.Tensor, loss: tf.Tensor, right: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        figures = self._distribution_strategy.run(
            self._replica_evaluate, args=(all_images, all_labels, begin)
        )
        summed = self._distribution_strategy.reduce(tf.distribute.ReduceOp.SUM, figures, axis=None)
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


def _part(examples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns this replica's part of the examples in a row: first, last + 1, and the weight 1.0.

    With fewer examples than replicas, some replicas get an example with the weight 0.0.
    """
    context = tf.distribute.get_replica_context()
    replica = tf.cast(context.replica_id_in_sync_group, tf.int32)
    first, end = (
        examples * number // context.num_replicas_in_sync for number in (replica, replica + 1)
    )
    counts = tf.cast(end > first, tf.float32)
    first = tf.minimum(first, examples - 1)
    return first, tf.maximum(end, first + 1), counts
