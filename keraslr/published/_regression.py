"""Small regressions, trained many steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf


class Regression:
    """A regression whose steps run many at a time in TensorFlow's graph.

    A step of such a small model takes less time than calling it from Python. Model and optimizer
    are plain Keras, and the numbers equal those of `fit` with the same rows in each batch.

    Args:
        model: Keras model from (rows, columns) to (rows, 1).
        optimizer: Keras optimizer.
        loss: Function of predictions and targets, both (rows,), that returns a number.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ):
        self.model, self._optimizer, self._of = model, optimizer, loss
        optimizer.build(model.trainable_variables)
        self._first = [variable.numpy() for variable in optimizer.variables]
        x, y = tf.TensorSpec(model.input_shape, tf.float32), tf.TensorSpec([None], tf.float32)
        # int64, because TensorFlow keeps int32 tensors in the host's memory also on a GPU.
        rows = tf.TensorSpec([None, None], tf.int64)
        self._steps = tf.function(self._all_steps).get_concrete_function(x, y, rows)
        self._loss = tf.function(self._whole_loss).get_concrete_function(x, y)

    def begin(self, weights: Sequence[np.ndarray]) -> None:
        """Starts over with these weights and a fresh optimizer: one graph serves many seeds."""
        self.model.set_weights(weights)
        for variable, first in zip(self._optimizer.variables, self._first, strict=True):
            variable.assign(first)

    def train(self, x: tf.Tensor, y: tf.Tensor, rows: np.ndarray) -> None:
        """Takes a step for each batch in `rows`: indices of its rows, integers (steps, batch)."""
        self._steps(x, y, tf.constant(rows, tf.int64)).numpy()  # waits for a GPU

    def loss(self, x: tf.Tensor, y: tf.Tensor) -> float:
        """Returns the loss over all of x (rows, columns) and y (rows,)."""
        return float(self._loss(x, y))

    def _whole_loss(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return self._of(self.model(x, training=False)[:, 0], y)

    def _all_steps(self, x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        variables, steps = self.model.trainable_variables, tf.shape(rows)[0]

        def step(i: tf.Tensor) -> tuple[tf.Tensor]:
            with tf.GradientTape() as tape:
                predictions = self.model(tf.gather(x, rows[i]), training=True)[:, 0]
                loss = self._of(predictions, tf.gather(y, rows[i]))
            self._optimizer.apply(tape.gradient(loss, variables), variables)
            return (i + 1,)

        first = (tf.constant(0),)
        # Each step needs the weights of the one before.
        return tf.while_loop(lambda i: i < steps, step, first, parallel_iterations=1)[0]


def shuffled(
    generator: np.random.Generator, count: int, batch_size: int, epochs: int = 1
) -> np.ndarray:
    """Returns the batches of some epochs: indices of the rows, each once in an epoch.

    Returns:
        Integers (steps, batch_size), with a row for each step.
    """
    orders = [generator.permutation(count).reshape(-1, batch_size) for _ in range(epochs)]
    return np.concatenate(orders)
