"""The optimizers of a model, and the schedule that takes the place of their learning rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from keraslr.schedules import ConstantLR, Schedule

_Schedule = keras.optimizers.schedules.LearningRateSchedule


def optimizers_of(model: keras.Model) -> list[keras.Optimizer]:
    """Returns the optimizers that update the weights, the one whose rate is recorded first.

    Usually there is one. Of a `MultiOptimizer` it is the default one, unless that one has no
    variables: then it is the first that has some.
    """
    return groups_of(model.optimizer, model.trainable_variables if model.built else ())


def known_optimizers_of(model: keras.Model) -> list[keras.Optimizer]:
    """Returns `optimizers_of` a new model, after building a `MultiOptimizer` that needs it.

    Raises:
        ValueError: The model is not built.
    """
    if not optimizers_of(model) and model.built:
        # A function chooses the optimizers of a MultiOptimizer, once it knows the variables.
        model.optimizer.build(model.trainable_variables)
    if not optimizers_of(model):
        raise ValueError(
            "model must be built for a MultiOptimizer whose optimizers a function chooses: begin "
            f"it with keras.Input, or call model.build. Received: {model.name!r}, not built"
        )
    return optimizers_of(model)


def groups_of(optimizer: keras.Optimizer, variables: Sequence[Any] = ()) -> list[keras.Optimizer]:
    """Returns the optimizers inside an optimizer, or itself, in the order of `optimizers_of`.

    Args:
        variables: Those that it will update, for one that is not built; empty if not known.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    several = getattr(optimizer, "optimizers", None)
    if several is None:
        return [optimizer]
    default = getattr(optimizer._optimizer_map, "default_optimizer", None)
    used = _used(optimizer, variables)
    return sorted(several, key=lambda each: (id(each) not in used, each is not default))


def _used(optimizer: Any, variables: Sequence[Any]) -> set[int]:
    """Returns the ids of the optimizers of a `MultiOptimizer` that have variables."""
    several, chosen = optimizer.optimizers, optimizer._optimizer_map
    if optimizer.built:
        return {id(several[index]) for index in optimizer._var_to_optimizer_idx.values()}
    if variables and hasattr(chosen, "default_optimizer"):
        return {id(chosen(variable)) for variable in variables}
    return {id(each) for each in several}


def learning_rate_of(model: keras.Model) -> Any:
    """Returns the rate that the next update applies, as a float32 tensor."""
    rate = optimizers_of(model)[0].learning_rate
    return ops.cast(ops.convert_to_tensor(rate), "float32")


def follow(model: keras.Model, schedule: Any) -> None:
    """Puts a schedule in the place of the optimizer's learning rate, before the first step.

    The optimizers of a `MultiOptimizer` keep the ratios of their rates at step 0: the schedule is
    the rate of the first of `optimizers_of`. A number of 0 stays 0: that group is frozen.

    Raises:
        ValueError: There is no ratio: the rate of the first one is 0 at step 0, or that of a
            schedule of another. Or nobody knows the optimizers yet.
    """
    if not isinstance(schedule, _Schedule):
        # A number could not take the place of a schedule.
        schedule = ConstantLR(schedule, factor=1.0)
    first, *others = known_optimizers_of(model)
    if others:
        rates = [_rate_at_the_start(optimizer) for optimizer in (first, *others)]
        if rates[0] <= 0:
            raise _no_ratio(first, rates[0])
        for optimizer, rate in zip(others, rates[1:], strict=True):
            if rate > 0:
                optimizer.learning_rate = _multiple(schedule, rate / rates[0])
            elif callable(optimizer._learning_rate):
                raise _no_ratio(optimizer, rate)
    first.learning_rate = schedule


def like(optimizer: keras.Optimizer, rate: float | None = None) -> keras.Optimizer:
    """Returns a new optimizer with the same settings and a rate that can be set.

    Args:
        rate: The rate; None for its current one. The optimizers of a `MultiOptimizer` keep their
            rates and schedules.
    """
    kind = type(optimizer)
    if hasattr(optimizer, "optimizers"):
        chosen = optimizer._optimizer_map
        if not hasattr(chosen, "default_optimizer"):
            raise ValueError(
                "a MultiOptimizer must have an OptimizerMap to be copied: a function of a variable "
                f"cannot be. Received: {chosen!r}"
            )
        copies = {id(each): _with_its_schedule(each) for each in optimizer.optimizers}
        return kind(
            type(chosen)(
                copies[id(chosen.default_optimizer)],
                {pattern: copies[id(each)] for pattern, each in chosen._optimizer_map.items()},
            ),
            loss_scale_factor=optimizer.loss_scale_factor,
            name=optimizer.name,
        )
    if rate is None:
        rate = present_rate(optimizer)
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


def _with_its_schedule(optimizer: keras.Optimizer) -> keras.Optimizer:
    copy = like(optimizer)
    if callable(optimizer._learning_rate):
        copy.learning_rate = optimizer._learning_rate
    return copy


def present_rate(optimizer: keras.Optimizer) -> float:
    """Returns the rate of the next update."""
    return _as_float(optimizer.learning_rate)


def _rate_at_the_start(optimizer: keras.Optimizer) -> float:
    rate = optimizer._learning_rate
    if isinstance(rate, _Schedule):
        return _as_float(rate(ops.zeros_like(optimizer._iterations)))
    return present_rate(optimizer)


def _as_float(rate: Any) -> float:
    return float(ops.convert_to_numpy(ops.convert_to_tensor(rate)))


def _no_ratio(optimizer: keras.Optimizer, rate: float) -> ValueError:
    return ValueError(
        "the optimizers of a MultiOptimizer must have learning rates > 0 at step 0: the schedule "
        "keeps their ratios. Compile them with numbers whose ratios are meant, such as SGD(0.1) "
        f"and SGD(0.01). Received: {optimizer.name!r} with a rate of {rate} at step 0"
    )
