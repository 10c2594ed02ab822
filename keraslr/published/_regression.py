"""Small regressions, trained many steps at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keraslr.problems._data import Arrays
from keraslr.training._feed import ArrayFeed
from keraslr.training._loop import Loop


class Regression:
    """A regression whose steps run many at a time in TensorFlow's graph, with rows of one's choice.

    Args:
        model: Keras model from (rows, columns) to (rows, 1).
        optimizer: Keras optimizer.
        loss: Keras loss of targets and predictions, both (rows,).
        x, y: Rows (rows, columns) and targets (rows,); others may follow.
        batch_size: Rows of each step.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        loss: Callable[[Any, Any], Any],
        x: np.ndarray,
        y: np.ndarray,
        batch_size: int,
    ):
        self.model = model
        model.compile(optimizer, loss)
        optimizer.build(model.trainable_variables)
        self._first = [variable.numpy() for variable in optimizer.variables]
        self._rows = ArrayFeed(Arrays.of(x, y), batch_size)
        self._all = ArrayFeed(Arrays.of(x, y), len(x))
        self._loop = Loop(model, self._rows, self._all)

    def begin(self, weights: Sequence[np.ndarray]) -> None:
        """Starts over with these weights and a fresh optimizer: one graph serves many seeds."""
        self.model.set_weights(weights)
        for variable, first in zip(self.model.optimizer.variables, self._first, strict=True):
            variable.assign(first)

    def train(self, rows: np.ndarray) -> None:
        """Takes a step for each batch in `rows`: numbers of its rows, integers (steps, batch)."""
        self._rows.set_order(rows.ravel())
        self._loop.slice_steps = len(rows)
        self._loop.begin(0)
        self._loop.slice(0)

    def hold(self, x: np.ndarray, y: np.ndarray) -> None:
        """Takes other rows and targets to train on, as many as before."""
        self._rows.hold(Arrays.of(x, y))

    def loss(self, x: np.ndarray, y: np.ndarray) -> float:
        """Returns the loss over all of x (rows, columns) and y (rows,)."""
        self._all.hold(Arrays.of(x, y))
        for figures in self._loop.evaluate():
            if figures is not None:
                return figures["loss"]
        raise AssertionError  # evaluation ends with its figures


def shuffled(
    generator: np.random.Generator, count: int, batch_size: int, epochs: int = 1
) -> np.ndarray:
    """Returns the batches of some epochs: indices of the rows, each once in an epoch.

    Returns:
        Integers (steps, batch_size), with a row for each step.
    """
    orders = [generator.permutation(count).reshape(-1, batch_size) for _ in range(epochs)]
    return np.concatenate(orders)
