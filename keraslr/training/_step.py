"""One step of a model, as `fit` compiles it, and what it reports."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

# Errors of a step that the model and the data may cause together.
_NO_FIT = (
    TypeError, ValueError, tf.errors.InvalidArgumentError, tf.errors.UnimplementedError,
)  # fmt: skip


def compiled_step(
    model: keras.Model, step: Callable[[Any], Any], what: str, prepare: Any = None
) -> Any:
    """Returns a step of a model as `fit` compiles it: a function of a batch that returns its logs.

    Args:
        model: Compiled model.
        step: Its `train_step` or `test_step`, or a function that calls it.
        what: Name of the step, for errors.
        prepare: Function of a batch, called before the step; None for none.
    """

    def prepared(batch: Any) -> dict[str, Any]:
        return logs_of(step(batch if prepare is None else prepare(batch)), what)

    if model.run_eagerly:
        return prepared
    # As for `fit`, no autograph.
    return tf.function(
        prepared, reduce_retracing=True, jit_compile=model.jit_compile, autograph=False
    )


def summed_metrics(model: keras.Model) -> list[keras.Metric]:
    """Returns the metrics that add up their batches, so that sums over batches give an epoch's.

    All of Keras's own do. Others may keep anything, such as a maximum: they are left to run on over
    the epoch, as under `fit`.
    """
    found: list[keras.Metric] = []
    waiting = list(model.metrics)
    while waiting:
        metric = waiting.pop(0)
        inner = getattr(metric, "metrics", None)
        if inner is not None:
            waiting += inner  # of what was compiled
        elif type(metric).__module__.partition(".")[0] == "keras":
            found.append(metric)
    return found


def logs_of(logs: Any, what: str) -> dict[str, Any]:
    """Returns the numbers among the logs of a step.

    Raises:
        TypeError: The step returned something other than a dict with a number.
    """
    found = scalars(logs) if isinstance(logs, Mapping) else {}
    if not found:
        raise TypeError(
            f"the model's {what} must return a dict of numbers by name, such as "
            f'{{"loss": loss}}. Received: {logs!r}'
        )
    return found


def scalars(logs: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the logs that are numbers: a figure with several values has no curve."""
    return {name: value for name, value in logs.items() if np.ndim(value) == 0}


def _essence(error: BaseException) -> str:
    """Returns the text of an error in one line, without the stack that TensorFlow adds to it."""
    if not isinstance(error, tf.errors.OpError):
        return " ".join(str(error).split())
    lines = [
        line.strip()
        for line in str(error.message).splitlines()
        if not line.startswith(("  File", "Detected at", "Graph execution error", "\t [[", " [["))
    ]
    return " ".join(line for line in lines if line)


@contextlib.contextmanager
def refused(model: keras.Model, what: str) -> Iterator[None]:
    """Turns the errors of a step that does not fit the data into one that says so."""
    try:
        yield
    except _NO_FIT as error:
        raise ValueError(
            f"the model cannot be trained on the data: {type(error).__name__} in its {what}: "
            f"{_essence(error).rstrip('.')}. Received: {model.name!r}"
        ) from error


class Graph:
    """A function of the loop as one graph, for arguments of one form.

    TensorFlow warns of functions that are traced often, as it would of those of many runs.

    Args:
        function: The `tf.function`.
        signature: Forms of its arguments; None for those of the first call.
    """

    def __init__(self, function: Any, signature: Any):
        self._function, self._signature = function, signature
        self._graph: Any = None

    def __call__(self, *arguments: Any) -> Any:
        if self._graph is None:
            self._graph = self._function.get_concrete_function(*(self._signature or arguments))
        return self._graph(*arguments)
