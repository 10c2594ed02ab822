"""The optimizers of a model, and the schedule that takes the place of their learning rate."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keraslr.schedules import ConstantLR, Schedule

_Schedule = keras.optimizers.schedules.LearningRateSchedule


def optimizers_of(model: keras.Model) -> list[keras.Optimizer]:
    """Returns the optimizers that update the weights, the one whose rate is recorded first.

    Usually there is one. Of a `MultiOptimizer` it is the default one, or the first.
    """
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    several = getattr(optimizer, "optimizers", None)
    if several is None:
        return [optimizer]
    default = getattr(optimizer._optimizer_map, "default_optimizer", None)
    return sorted(several, key=lambda each: each is not default)


def learning_rate_of(model: keras.Model) -> Any:
    """Returns the rate that the next update applies, as a float32 tensor."""
    rate = optimizers_of(model)[0].learning_rate
    return ops.cast(ops.convert_to_tensor(rate), "float32")


def follow(model: keras.Model, schedule: Any) -> None:
    """Puts a schedule in the place of the optimizer's learning rate, before the first step.

    The optimizers of a `MultiOptimizer` keep the ratios of their rates: the schedule is the rate of
    the first of `optimizers_of`.

    Raises:
        ValueError: An optimizer of a `MultiOptimizer` has a schedule of its own, so that there is
            no ratio.
    """
    if not isinstance(schedule, _Schedule):
        # A number could not take the place of a schedule.
        schedule = ConstantLR(schedule, factor=1.0)
    if not optimizers_of(model) and model.built:
        # A function chooses the optimizers of a MultiOptimizer, once it knows the variables.
        model.optimizer.build(model.trainable_variables)
    first, *others = optimizers_of(model)
    if others:
        rates = [_constant(optimizer) for optimizer in (first, *others)]
        for optimizer, rate in zip(others, rates[1:], strict=True):
            optimizer.learning_rate = _multiple(schedule, rate / rates[0])
    first.learning_rate = schedule


def like(optimizer: keras.Optimizer, rate: float | None = None) -> keras.Optimizer:
    """Returns a new optimizer with the same settings and a rate that can be set.

    Args:
        rate: The rate; None for its current one, also of several optimizers together.
    """
    kind = type(optimizer)
    if hasattr(optimizer, "optimizers"):
        if not hasattr(optimizer._optimizer_map, "default_optimizer"):
            raise ValueError(
                "a MultiOptimizer must have an OptimizerMap to be copied: a function of a variable "
                f"cannot be. Received: {optimizer._optimizer_map!r}"
            )
        return kind.from_config(optimizer.get_config())
    if rate is None:
        rate = float(ops.convert_to_numpy(ops.convert_to_tensor(optimizer.learning_rate)))
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        scale = optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
        return kind(
            like(optimizer.inner_optimizer, rate),
            initial_scale=float(scale),
            dynamic_growth_steps=optimizer.dynamic_growth_steps,
            name=optimizer.name,
        )
    # The config is taken from a copy whose rate is a number: the rate may be a schedule or a
    # function that a config cannot hold, and it is not needed here.
    stand_in = object.__new__(kind)
    stand_in.__dict__.update(optimizer.__dict__)
    stand_in.__dict__["_learning_rate"] = rate
    config = stand_in.get_config()
    if "learning_rate" in config:
        config["learning_rate"] = rate
    copy = kind.from_config(config)
    # Set by exclude_from_weight_decay; the config does not hold them.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(copy, name, getattr(optimizer, name))
    return copy


def _multiple(schedule: Any, factor: float) -> Any:
    if isinstance(schedule, Schedule):
        return schedule * factor
    return _Multiple(schedule, factor)


class _Multiple(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule times a number, for schedules that are not keraslr's."""

    def __init__(self, schedule: Any, factor: float):
        self._schedule, self._factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        return self._schedule(step) * self._factor

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self._schedule, "factor": self._factor}


def _constant(optimizer: keras.Optimizer) -> float:
    if isinstance(optimizer._learning_rate, _Schedule) or callable(optimizer._learning_rate):
        raise ValueError(
            "the optimizers of a MultiOptimizer must have numbers as learning rates: the schedule "
            "keeps their ratios. "
            f"Received: {optimizer.name!r} with learning_rate={optimizer._learning_rate!r}"
        )
    rate = float(ops.convert_to_numpy(ops.convert_to_tensor(optimizer._learning_rate)))
    if rate <= 0:
        raise ValueError(
            "the optimizers of a MultiOptimizer must have learning rates > 0: the schedule keeps "
            f"their ratios. Received: {optimizer.name!r} with learning_rate={rate}"
        )
    return rate
