"""Training of a model for some steps, after which the model is restored."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.optimizers._of_a_model import like
from keraslr.training._step import compiled_step


@contextlib.contextmanager
def trained_and_restored(
    model: keras.Model, rate: float, batch: Any
) -> Iterator[Callable[[float, Iterator[Any]], float]]:
    """Yields a function that trains one step at a rate and returns the mean loss of its batches.

    The training uses a separate optimizer. At the end the model is restored.
    """
    distribution_strategy = model.distribute_strategy
    attributes = {"optimizer": model.optimizer, "stop_training": model.stop_training}
    kept: list[tuple[Any, np.ndarray]] = []

    def trained(data: Any) -> dict[str, Any]:
        logs = distribution_strategy.run(model.train_step, args=(data,))
        if "loss" not in logs:
            raise ValueError(
                'the model\'s train_step must report its loss as "loss". '
                f"Received: {', '.join(map(repr, logs)) or 'nothing'}"
            )
        return {"loss": distribution_strategy.reduce("MEAN", logs["loss"], axis=None)}

    def train(rate: float, batches: Iterator[Any]) -> float:
        # A variable rather than a schedule: a schedule would follow the optimizer's counter, which
        # does not advance when mixed precision skips a step.
        optimizer.learning_rate = rate
        losses = []
        for _ in range(batches_per_step):
            model.reset_metrics()  # or the loss would be the mean since the first step
            data = keras.tree.map_structure(_tensor, next(batches))
            losses.append(float(step(data)["loss"]))
        return float(np.mean(losses))

    def remember(next_creator: Any, **arguments: Any) -> Any:
        variable = next_creator(**arguments)
        kept.append((variable, variable.numpy()))
        return variable

    def put_back() -> None:
        for name, value in attributes.items():
            setattr(model, name, value)
        for variable, value in kept:
            variable.assign(value)

    try:
        with distribution_strategy.scope():
            optimizer = like(model.optimizer, rate)
        updating = getattr(optimizer, "inner_optimizer", optimizer)
        batches_per_step = updating.gradient_accumulation_steps or 1
        model.optimizer = optimizer
        # A separate graph, so that the model keeps its own.
        step, making = compiled_step(model, trained, "train_step"), contextlib.nullcontext()
        if model.run_eagerly:
            # Variables of parts that are not built yet are created during the first step.
            making = tf.variable_creator_scope(remember)
        else:
            # Tracing creates the variables of parts that are not built yet, and trains nothing.
            step.get_concrete_function(keras.tree.map_structure(_tensor, batch))
        for each in (*model.variables, *model.metrics_variables):
            kept.append((each.value, each.value.numpy()))
        with making:
            yield train
    finally:
        interrupted = None
        while True:
            try:
                put_back()
                break
            except KeyboardInterrupt as error:  # a second Ctrl-C: restore again, then raise
                interrupted = error
        if interrupted is not None:
            raise interrupted


def _tensor(leaf: Any) -> Any:
    if leaf is None or tf.is_tensor(leaf):
        return leaf
    tensor = keras.ops.convert_to_tensor(leaf)
    # As `fit` does with arrays.
    return keras.ops.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor
