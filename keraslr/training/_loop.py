"""The training loop that TensorFlow runs.

A step of a small network takes less time than a call from Python. So the data are kept on the
device with one byte per pixel, as on disk, and one call of the graph trains a slice of an epoch: it
gathers the batches by their place in the order, and records every step. The gain over `fit` on
arrays is measured by `python -m benchmarks --only epoch`.

The model and the optimizer are plain Keras, and the numbers equal those of `fit` with the same
order.
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

# Approximate time of a slice: short enough for a quick stop, long enough to cost nothing.
_SLICE_SECONDS = 0.2
# The environment variable that sets the steps of a slice instead, for tests that must not depend on
# the speed of the machine. All workers of a cluster need the same value.
SLICE_STEPS = "KERASLR_SLICE_STEPS"
TEST_BATCH = 1000


def _steps_asked_for() -> int | None:
    """Returns the steps of each slice set in the environment; None if not set."""
    said = os.environ.get(SLICE_STEPS)
    if not said:
        return None
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(f"{SLICE_STEPS} must be an integer >= 1. Received: {said!r}")
    return int(said)


class Loop:
    """Trains a model on a dataset that it holds on the device.

    Attributes:
        model, optimizer: Model that is trained, and its optimizer.
        steps_per_epoch: Optimizer steps per epoch; the last one takes the remaining examples.
        slice_steps: Steps of each slice; None for as many as take a fifth of a second. The results
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
        # Graphs of this instance alone, traced once, here. The data are arguments, so that a graph
        # that is kept alive elsewhere does not keep the data. As for `fit`, no autograph.
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
        """Sets the order of the examples in the next epoch, an integer array (examples,)."""
        self._order = tf.constant(order, tf.int64)

    def slice(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Trains the next steps of the epoch, starting with step number `first`.

        Returns:
            Loss (mean over the batch), share of right answers before the step, and applied learning
            rate: float32 arrays with one value per step.
        """
        steps = min(self.slice_steps or self._slice_length, self.steps_per_epoch - first)
        begin = time.perf_counter()
        loss, accuracy, rate = self._slice(
            *self._data.train, self._order, tf.constant(first), tf.constant(steps)
        )
        record = loss.numpy(), accuracy.numpy(), rate.numpy()
        per_step = (time.perf_counter() - begin) / steps
        # At most doubled: one slow or fast slice is little evidence.
        self._slice_length = max(1, min(2 * steps, int(_SLICE_SECONDS / per_step)))
        return record

    def evaluate(self) -> Iterator[tuple[float, float] | None]:
        """Evaluates the test data piece by piece, so that the caller can stop between pieces.

        Yields:
            None between pieces; at the end, mean loss and share of right answers over the test
            data.
        """
        loss, right = tf.constant(0.0), tf.constant(0)
        for begin in range(0, self._test_examples, TEST_BATCH):
            if begin:
                yield None
            loss, right = self._evaluate(*self._data.test, tf.constant(begin), loss, right)
        yield float(loss) / self._test_examples, int(right) / self._test_examples

    def sizes(self, first: int, steps: int) -> np.ndarray:
        """Returns the number of examples in each of these steps."""
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
        """Trains on the chosen examples; returns their loss, accuracy and the applied rate."""
        images, labels = tf.gather(all_images, chosen), tf.gather(all_labels, chosen)
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(pixels(images), training=True)
            loss = tf.reduce_mean(cross_entropy(labels, logits))
            loss += sum(tf.cast(each, tf.float32) for each in self.model.losses)
            scaled = self.optimizer.scale_loss(loss)  # which `apply` takes back
        gradients = tape.gradient(scaled, variables)
        # Read before the update, which increments the step: the rate that the update applies.
        rate = tf.cast(tf.convert_to_tensor(self.optimizer.learning_rate), tf.float32)
        # Outside a replica: within one, Keras sums the gradients over all replicas (even over a
        # single one) through a custom gradient, and TensorFlow's global registry keeps each custom
        # gradient of a graph, and with it the graph and the weights.
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
    """Returns bytes as floats in [0, 1]."""
    return tf.cast(images, tf.float32) / 255.0


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each example."""
    logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def right_answers(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Returns whether the answer to each example is right."""
    return tf.equal(tf.argmax(logits, 1, output_type=tf.int64), labels)
