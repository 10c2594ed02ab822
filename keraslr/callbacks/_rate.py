"""An optimizer's learning rate: what was given, what callbacks make of it, and how it is saved.

A constant rate is a variable of the optimizer and stays one: other code may read and assign it at
any time, and a step that was compiled before sees each change. A schedule is a constant of the
compiled step, so that it is replaced by one that reads a variable.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keraslr.callbacks._attached import Attached, attach, read, states_of
from keraslr.callbacks._groups import Group
from keraslr.callbacks._plateau_state import Plateau, attribute_of
from keraslr.schedules._dtypes import FLOAT
from keraslr.schedules._registry import decoded_schedule

_PACKAGE = "keraslr"
_Schedule = keras.optimizers.schedules.LearningRateSchedule
# Two rates of such a type are one if they differ by no more than this fraction.
_COARSE = {"float16": 2e-3, "bfloat16": 2e-2}


@keras.saving.register_keras_serializable(package=_PACKAGE)
class PlateauSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Schedule base(step) * scale, with a scale that `ReduceLROnPlateau` reduces.

    Attributes:
        called: Whether any step has asked for a rate: else the steps still have the old schedule.
    """

    def __init__(self, base: Any, plateau: Plateau) -> None:
        self.base, self.plateau = base, plateau
        self.called = False

    def __call__(self, step: Any) -> Any:
        self.called = True
        rate = ops.convert_to_tensor(self.base(step))
        # One rounding, not two; and none at all while the scale is 1.
        return ops.cast(ops.cast(rate, FLOAT) * self.plateau.scale, rate.dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns the inner schedule and the rule's state."""
        base = keras.saving.serialize_keras_object(self.base)
        return {"base": base, "plateau": self.plateau.configured()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PlateauSchedule:
        """Rebuilds it from `get_config()`."""
        return cls(_decoded(config["base"]), Plateau.from_configured(config["plateau"]))


@keras.saving.register_keras_serializable(package=_PACKAGE)
class PlateauRate:
    """Rate base() * scale, where the optimizer was given a function of no argument."""

    def __init__(self, base: Callable[[], Any], plateau: Plateau) -> None:
        self.base, self.plateau = base, plateau
        self.called = False

    def __call__(self) -> Any:
        self.called = True
        return ops.cast(ops.cast(self.base(), FLOAT) * self.plateau.scale, "float32")

    def assign(self, rate: Any) -> None:
        """Refuses what `optimizer.learning_rate = rate` calls."""
        raise TypeError(f"learning_rate must not be set: it is a function. Received: {rate!r}")

    def get_config(self) -> dict[str, Any]:
        """Returns the function and the rule's state."""
        base = keras.saving.serialize_keras_object(self.base)
        return {"base": base, "plateau": self.plateau.configured()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PlateauRate:
        """Rebuilds it from `get_config()`."""
        return cls(_decoded(config["base"]), Plateau.from_configured(config["plateau"]))


class _KeptRate(keras.Variable):
    """A constant rate read from a file, with what callbacks had kept with its optimizer.

    Keras takes a number, a schedule or something callable as a rate, and makes a variable of a
    number. So this is callable, for Keras to take it as it is, and from then on a variable.
    """

    states: tuple[Attached, ...] = ()

    def __call__(self) -> Any:
        return self


@keras.saving.register_keras_serializable(package=_PACKAGE)
class ConstantRate:
    """A constant rate in a file: the number, and what callbacks keep with its optimizer."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config

    def get_config(self) -> dict[str, Any]:
        """Returns the number and the states."""
        return self._config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> keras.Variable:
        """Returns the rate as a variable that Keras's optimizers take."""
        rate = _KeptRate(
            float(config["learning_rate"]), name="learning_rate", dtype=keras.config.floatx(),
            trainable=False, aggregation="only_first_replica",
        )  # fmt: skip
        rate.states = tuple(
            Attached.kinds[kind].from_configured(each) for kind, each in config["kept"]
        )
        return rate


def save_states_with_constant(optimizer: keras.Optimizer) -> None:
    """Has the config of an optimizer with a constant rate hold what callbacks keep with it.

    Otherwise a `.keras` file would lose it: only what the config makes can be loaded.
    """
    plain = optimizer.get_config
    if getattr(plain, "holds_states", False):
        return

    def get_config() -> dict[str, Any]:
        config = plain()
        kept = [
            (type(state).__name__, state.configured())
            for state in states_of(optimizer)
            if type(state).__name__ in Attached.kinds
        ]
        if kept and isinstance(config.get("learning_rate"), float):
            config["learning_rate"] = keras.saving.serialize_keras_object(
                ConstantRate({"learning_rate": config["learning_rate"], "kept": kept})
            )
        return config

    get_config.holds_states = True  # type: ignore[attr-defined]
    optimizer.get_config = get_config


def adopt_states(group: Group) -> None:
    """Attaches what a file held about an optimizer with a constant rate."""
    rate = group.optimizer._learning_rate
    if int(read(group.optimizer._iterations)) == 0:
        # Made from the config of one that was trained, as for the next fold: it begins anew. In a
        # file the counter stands beside the config.
        for plateau in plateaus_of(group.optimizer):
            if plateau.is_read:
                plateau.reset()
                plateau.scale.assign(1.0)
        if isinstance(rate, _KeptRate):
            rate.states = ()
    for plateau in plateaus_of(group.optimizer):
        plateau.is_read = False
    for state in getattr(rate, "states", ()):
        if getattr(group.optimizer, state.attribute, None) is None:
            attach(group, state.attribute, state)
    if isinstance(rate, _KeptRate):
        rate.states = ()
    if is_constant(group.optimizer):
        save_states_with_constant(group.optimizer)


# The given rate, and the scales on it


def is_constant(optimizer: keras.Optimizer) -> bool:
    """Returns whether the rate is a number, which Keras keeps in a variable."""
    return isinstance(optimizer._learning_rate, keras.Variable)


def planned_rate(optimizer: keras.Optimizer) -> Any:
    """Returns the schedule, function or variable that the optimizer was given, without scales."""
    rate = optimizer._learning_rate
    while isinstance(rate, PlateauSchedule | PlateauRate):
        rate = rate.base
    return rate


def plateaus_of(optimizer: keras.Optimizer) -> list[Plateau]:
    """Returns the states of the plateau rules on an optimizer's rate."""
    rate, found = optimizer._learning_rate, []
    while isinstance(rate, PlateauSchedule | PlateauRate):
        found.append(rate.plateau)
        rate = rate.base
    if is_constant(optimizer):
        found += [state for state in states_of(optimizer) if isinstance(state, Plateau)]
    return found


def plateau_of(optimizer: keras.Optimizer, monitor: str) -> Plateau | None:
    """Returns the state for that monitor, if the optimizer's rate has one."""
    found = [each for each in plateaus_of(optimizer) if each.monitor == monitor]
    return found[0] if found else None


def scales_of(optimizer: keras.Optimizer) -> dict[str, float]:
    """Returns the scales on a rate, by monitor."""
    settle(optimizer)
    return {each.monitor: float(read(each.scale)) for each in plateaus_of(optimizer)}


def scale_of(optimizer: keras.Optimizer) -> float:
    """Returns the product of the scales on a rate."""
    return _product(plateaus_of(optimizer))


def settle(optimizer: keras.Optimizer) -> None:
    """Takes a constant rate as it is now, if it is not what the rules have made of it.

    The number that other code has set is the rate from then on: earlier reductions no longer apply.
    """
    plateaus = plateaus_of(optimizer)
    if not plateaus or not is_constant(optimizer):
        return
    if not is_rate(optimizer, float(read(plateaus[0].constant)) * _product(plateaus)):
        for plateau in plateaus:
            plateau.constant.assign(as_written(optimizer._learning_rate))
            plateau.scale.assign(1.0)


def is_rate(optimizer: keras.Optimizer, rate: float) -> bool:
    """Returns whether a constant rate is this one, rounded to the type of its variable."""
    # Under JAX at each reduction as well.
    return bool(np.isclose(float(read(optimizer._learning_rate)), rate, coarseness(optimizer), 0))


def coarseness(optimizer: keras.Optimizer) -> float:
    """Returns the fraction by which a rate may differ from a number through rounding."""
    kind = keras.config.floatx()
    if is_constant(optimizer):
        kind = keras.backend.standardize_dtype(optimizer._learning_rate.dtype)
    return _COARSE.get(kind, 5e-7)


def unscaled(optimizer: keras.Optimizer) -> float:
    """Returns a constant rate, or that of a function of no argument, without its scales."""
    if not is_constant(optimizer):
        return float(read(planned_rate(optimizer)()))
    settle(optimizer)
    plateaus = plateaus_of(optimizer)
    return float(read(plateaus[0].constant)) if plateaus else as_written(optimizer._learning_rate)


def set_constant(optimizer: keras.Optimizer, rate: float) -> None:
    """Sets a constant rate; the scales stay on it."""
    plateaus = plateaus_of(optimizer)
    for plateau in plateaus:
        plateau.constant.assign(rate)
    optimizer._learning_rate.assign(rate * _product(plateaus))


def in_doubles(optimizer: keras.Optimizer, step: Any) -> float:
    """Returns the rate of a step, with scales applied in double precision as in PyTorch."""
    base = planned_rate(optimizer)
    if isinstance(base, _Schedule):
        return float(read(base(step))) * _product(plateaus_of(optimizer))
    return unscaled(optimizer) * _product(plateaus_of(optimizer))


def scale_by(group: Group, plateau: Plateau) -> None:
    """Puts a scale on the rate of an optimizer."""
    optimizer = group.optimizer
    if is_constant(optimizer):
        settle(optimizer)
        plateau.constant.assign(unscaled(optimizer))
    elif isinstance(optimizer._learning_rate, _Schedule):
        optimizer.learning_rate = PlateauSchedule(optimizer._learning_rate, plateau)
    else:
        optimizer.learning_rate = PlateauRate(optimizer._learning_rate, plateau)
    attach(group, attribute_of(plateau.monitor), plateau)
    apply_scales(optimizer)


def apply_scales(optimizer: keras.Optimizer) -> None:
    """Sets a constant rate to what its scales make of it; other rates read them themselves."""
    plateaus = plateaus_of(optimizer)
    if is_constant(optimizer) and plateaus:
        set_constant(optimizer, float(read(plateaus[0].constant)))


def never_called(optimizer: keras.Optimizer) -> bool:
    """Returns whether no step has asked the scaled rate, so that no scale can have any effect."""
    rate = optimizer._learning_rate
    return isinstance(rate, PlateauSchedule | PlateauRate) and not rate.called


def _product(plateaus: list[Plateau]) -> float:
    return math.prod(float(read(each.scale)) for each in plateaus)


def as_written(rate: Any) -> float:
    """Returns a float32 as its shortest decimal: 0.1, not 0.10000000149011612."""
    value = read(rate)
    return float(str(value)) if value.dtype == np.float32 else float(value)


def _decoded(base: dict[str, Any]) -> Any:
    kinds = {f"{_PACKAGE}>{kind.__name__}": kind for kind in (PlateauSchedule, PlateauRate)}
    kind = kinds.get(str(base.get("registered_name")))
    return decoded_schedule(base) if kind is None else kind.from_config(base["config"])
