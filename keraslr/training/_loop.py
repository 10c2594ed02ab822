"""The loop that TensorFlow runs.

A step of a small network takes less time than Python's way into and out of it. So the data lie on
the device as they are on disk, one byte a pixel, and one call of the graph trains a slice of an
epoch: it takes the batches by their place in the order, and records every step. `python -m
benchmarks --only epoch` says what that gains over `fit` on arrays.

The model and the optimizer are plain Keras, and the numbers those of `fit` with the same order.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.datasets import Dataset
from keraslr.training._data import OnDevice

# A slice takes about this long: short enough to stop in, long enough to cost nothing.
_SLICE_SECONDS = 0.2
# The environment's variable that says how many steps a slice has in place of that, as tests do for
# which a machine could be too fast or too slow. All workers of a cluster need the same.
SLICE_STEPS = "KERASLR_SLICE_STEPS"
TEST_BATCH = 1000


def _steps_asked_for() -> int | None:
    """Returns the steps of each slice that the environment sets, if it does."""
    said = os.environ.get(SLICE_STEPS)
    if not said:
        return None
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(f"{SLICE_STEPS} must be an integer >= 1. Received: {said!r}")
    return int(said)


class Loop:
    """Trains a model on a dataset that it holds on the device.

    Attributes:
        model, optimizer: What is trained, and how.
        steps_per_epoch: Optimizer steps; the last one takes what is left of the data.
        slice_steps: Steps of each slice; None for as many as take a fifth of a second. The numbers
            do not depend on it.
        device: Name of the device.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.Optimizer, data: Dataset, batch_size: int
    ):
        self.model, self.optimizer, self.batch_size = model, optimizer, batch_size
        self.examples = len(data.x_train)
        self.steps_per_epoch = -(-self.examples // batch_size)
        self._data = self._placed(data)
        self._test_examples = len(data.x_test)
        self.device = self._device()
        optimizer.build(model.trainable_variables)
        self._slice, self._evaluate = self._graphs()
        self.slice_steps = _steps_asked_for()
        self._slice_length = 4
        self._order = tf.range(self.examples, dtype=tf.int64)

    def _placed(self, data: Dataset) -> Any:
        return OnDevice.of(data)

    def _device(self) -> str:
        return self._data.train[0].device.rpartition("device:")[2]

    def _graphs(self) -> tuple[Any, Any]:
        # Graphs of this instance alone, traced here and once. The data are arguments of theirs, so
        # that no graph which lives on for whatever reason keeps them. As for `fit`, no autograph.
        number = tf.TensorSpec([], tf.int32)
        return (
            tf.function(self._slice_steps, autograph=False).get_concrete_function(
                *map(_spec, self._data.train), tf.TensorSpec([None], tf.int64), number, number
            ),
            tf.function(self._evaluate_piece, autograph=False).get_concrete_function(
                *map(_spec, self._data.test), number, tf.TensorSpec([], tf.float32), number
            ),
        )

    def shuffle(self, order: np.ndarray) -> None:
        """Takes the examples of the next epoch in this order, an integer array (examples,)."""
        self._order = tf.constant(order, tf.int64)

    def slice(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Trains the next steps of the epoch, beginning with the step number `first`.

        Returns:
            Loss (mean over the batch), share of right answers before the step, and learning rate
            applied: float32 arrays with a value a step.
        """
        steps = min(self.slice_steps or self._slice_length, self.steps_per_epoch - first)
        begin = time.perf_counter()
        loss, accuracy, rate = self._slice(
            *self._data.train, self._order, tf.constant(first), tf.constant(steps)
        )
        record = loss.numpy(), accuracy.numpy(), rate.numpy()
        per_step = (time.perf_counter() - begin) / steps
        # At most doubled: one slow slice, or one fast one, does not say much.
        self._slice_length = max(1, min(2 * steps, int(_SLICE_SECONDS / per_step)))
        return record

    def evaluate(self) -> Iterator[tuple[float, float] | None]:
        """Goes through the test data, and between their pieces says None, so that one may stop.

        Yields:
            At last mean loss and share of right answers over the test data; before that, None.
        """
        loss, right = tf.constant(0.0), tf.constant(0)
        for begin in range(0, self._test_examples, TEST_BATCH):
            if begin:
                yield None
            loss, right = self._evaluate(*self._data.test, tf.constant(begin), loss, right)
        yield float(loss) / self._test_examples, int(right) / self._test_examples

    def sizes(self, first: int, steps: int) -> np.ndarray:
        """Examples in each of these steps."""
        begins = np.arange(first, first + steps) * self.batch_size
        return np.minimum(self.batch_size, self.examples - begins)

    def _slice_steps(
        self,
        all_images: tf.Tensor,
        all_labels: tf.Tensor,
        order: tf.Tensor,
        first: tf.Tensor,
        steps: tf.Tensor,
    ) -> Any:
        losses = tf.TensorArray(tf.float32, steps, element_shape=())
        accuracies = tf.TensorArray(tf.float32, steps, element_shape=())
        rates = tf.TensorArray(tf.float32, steps, element_shape=())

        def step(i: tf.Tensor, losses: Any, accuracies: Any, rates: Any) -> Any:
            begin = (first + i) * self.batch_size
            chosen = order[begin : begin + self.batch_size]
            loss, accuracy, rate = self._train_on(all_images, all_labels, chosen)
            return (
                i + 1,
                losses.write(i, loss),
                accuracies.write(i, accuracy),
                rates.write(i, rate),
            )

        _, *records = tf.while_loop(
            lambda i, *_: i < steps,
            step,
            (tf.constant(0), losses, accuracies, rates),
            parallel_iterations=1,  # each step needs the weights of the one before
        )
        return tuple(record.stack() for record in records)

    def _train_on(self, all_images: Any, all_labels: Any, chosen: tf.Tensor) -> Any:
        """Trains on the chosen examples: their loss, accuracy, and the rate applied."""
        images, labels = tf.gather(all_images, chosen), tf.gather(all_labels, chosen)
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(pixels(images), training=True)
            loss = tf.reduce_mean(cross_entropy(labels, logits))
            loss += sum(tf.cast(each, tf.float32) for each in self.model.losses)
            scaled = self.optimizer.scale_loss(loss)  # which `apply` takes back
        gradients = tape.gradient(scaled, variables)
        # Before the update, which counts the step: this is the rate that it applies.
        rate = tf.cast(tf.convert_to_tensor(self.optimizer.learning_rate), tf.float32)
        # Outside a replica, because within one Keras sums the gradients over all replicas, even if
        # there is but one, by way of a custom gradient; and each custom gradient in a graph stays
        # in TensorFlow's global register, and with it the graph, the weights and what else it has.
        tf.distribute.get_replica_context().merge_call(
            lambda _: self.optimizer.apply(gradients, variables)
        )
        return loss, tf.reduce_mean(tf.cast(right_answers(labels, logits), tf.float32)), rate

    def _evaluate_piece(
        self,
        all_images: tf.Tensor,
        all_labels: tf.Tensor,
        begin: tf.Tensor,
        loss: tf.Tensor,
        right: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = (each[begin : begin + TEST_BATCH] for each in (all_images, all_labels))
        logits = self.model(pixels(images), training=False)
        loss += tf.reduce_sum(cross_entropy(labels, logits))
        right += tf.reduce_sum(tf.cast(right_answers(labels, logits), tf.int32))
        return loss, right


def _spec(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def pixels(images: tf.Tensor) -> tf.Tensor:
    """Bytes as floats in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The loss of each example."""
    logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def right_answers(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Whether the answer to each example is right."""
    return tf.equal(tf.argmax(logits, 1, output_type=tf.int64), labels)
