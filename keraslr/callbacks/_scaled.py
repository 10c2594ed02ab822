"""Scaled rates, and the state of the plateau rule that scales them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keraslr.callbacks._attached import Attached, read
from keraslr.schedules._dtypes import FLOAT, INTEGER
from keraslr.schedules._registry import decoded_schedule

_PACKAGE = "keraslr"


class Plateau(Attached):
    """State of the plateau rule for one monitored metric.

    Attributes:
        monitor, mode: Of the callback.
        scale: Variable: product of all reductions; it multiplies the rate.
        best: Variable: best metric so far.
        num_bad_epochs, cooldown_counter: Variables: epochs since it, epochs of rest left.
        constant: Variable: the rate that is scaled where it is no function of the step.
    """

    NUMBERS = ("scale", "best", "num_bad_epochs", "cooldown_counter", "constant")

    def __init__(self, monitor: str, mode: str, **numbers: float) -> None:
        super().__init__()
        self.monitor, self.mode = monitor, mode
        self.owner: Any = None
        values = {
            "scale": 1.0, "best": _worst(mode), "num_bad_epochs": 0, "cooldown_counter": 0,
            "constant": 0.0, **numbers,
        }  # fmt: skip
        for name in self.NUMBERS:
            whole = name in ("num_bad_epochs", "cooldown_counter")
            setattr(self, name, self.number(name, values[name], INTEGER if whole else FLOAT))

    @property
    def attribute(self) -> str:
        """Optimizer attribute that holds the state; also its name in a checkpoint."""
        name = "".join(c if c.isalnum() else "_" for c in self.monitor)
        return f"reduce_lr_on_plateau_{name}"

    def numbers(self) -> dict[str, float]:
        """Returns the current values."""
        return {name: read(getattr(self, name)).item() for name in self.NUMBERS}

    def configured(self) -> dict[str, Any]:
        """Returns the state as JSON holds it."""
        values = {k: v if math.isfinite(v) else str(v) for k, v in self.numbers().items()}
        return {"monitor": self.monitor, "mode": self.mode, **values}

    @classmethod
    def from_configured(cls, config: dict[str, Any]) -> Plateau:
        """Inverse of `configured`."""
        numbers = {name: float(config[name]) for name in cls.NUMBERS}
        return cls(str(config["monitor"]), str(config["mode"]), **numbers)

    def meant_for(self, mode: str) -> None:
        """Resets all except the scale, if the mode has changed."""
        if mode != self.mode:
            self.mode = mode
            self.best.assign(_worst(mode))
            self.num_bad_epochs.assign(0)
            self.cooldown_counter.assign(0)


@keras.saving.register_keras_serializable(package=_PACKAGE)
class PlateauSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Schedule base(step) * scale, with a scale that `ReduceLROnPlateau` reduces."""

    def __init__(self, base: Any, plateau: Plateau) -> None:
        self.base, self.plateau = base, plateau

    def __call__(self, step: Any) -> Any:
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
    """Rate constant * scale: for Keras a function without arguments, assignable like a variable.

    `base` is None for a number kept here; else another `PlateauRate`, or a function of no argument.
    """

    def __init__(self, base: Callable[[], Any] | None, plateau: Plateau) -> None:
        self.base, self.plateau = base, plateau

    def __call__(self) -> Any:
        rate = self.plateau.constant if self.base is None else self.base()
        return ops.cast(ops.cast(rate, FLOAT) * self.plateau.scale, "float32")

    def assign(self, rate: Any) -> None:
        """Sets the rate: what `optimizer.learning_rate = rate` calls.

        The given number is the rate from then on: earlier reductions no longer apply.
        """
        if self.base is None:
            self.plateau.constant.assign(_as_written(rate))
        elif isinstance(self.base, PlateauRate):
            self.base.assign(rate)
        else:
            raise TypeError(f"learning_rate must not be set: it is a function. Received: {rate!r}")
        self.plateau.scale.assign(1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns the rule's state, including the rate."""
        base = None if self.base is None else keras.saving.serialize_keras_object(self.base)
        return {"base": base, "plateau": self.plateau.configured()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PlateauRate:
        """Rebuilds it from `get_config()`."""
        base = None if config["base"] is None else _decoded(config["base"])
        return cls(base, Plateau.from_configured(config["plateau"]))


# An optimizer's rate, with and without scales.


def planned_rate(optimizer: keras.Optimizer) -> Any:
    """Returns the schedule, function or variable that the optimizer was given, without scales."""
    rate = optimizer._learning_rate
    while isinstance(rate, PlateauSchedule | PlateauRate):
        rate = rate.base
    return rate


def scales_of(rate: Any) -> dict[str, float]:
    """Returns the scales of a rate, by monitor."""
    scales: dict[str, float] = {}
    while isinstance(rate, PlateauSchedule | PlateauRate):
        scales[rate.plateau.monitor] = read(rate.plateau.scale).item()
        rate = rate.base
    return scales


def unscaled(rate: Any) -> float:
    """Returns a constant rate without its scales."""
    while isinstance(rate, PlateauRate):
        if rate.base is None:
            return rate.plateau.numbers()["constant"]
        rate = rate.base
    return float(read(rate() if callable(rate) else rate))


def _worst(mode: str) -> float:
    return math.inf if mode == "min" else -math.inf


def _as_written(rate: Any) -> float:
    """Returns a float32 as its shortest decimal: 0.1, not 0.10000000149011612."""
    return float(str(np.float32(read(rate))))


def _decoded(base: dict[str, Any]) -> Any:
    kinds = {f"{_PACKAGE}>{kind.__name__}": kind for kind in (PlateauSchedule, PlateauRate)}
    kind = kinds.get(str(base.get("registered_name")))
    return decoded_schedule(base) if kind is None else kind.from_config(base["config"])


def in_doubles(rate: Any, step: Any) -> float:
    """Returns the rate of a step, with scales applied in double precision as in PyTorch."""
    if isinstance(rate, PlateauSchedule | PlateauRate):
        scale = rate.plateau.numbers()["scale"]
        if rate.base is None:
            return rate.plateau.numbers()["constant"] * scale
        return in_doubles(rate.base, step) * scale
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        rate = rate(step)
        return float(read(rate))
    return float(read(rate() if callable(rate) else rate))


def plateau_of(optimizer: keras.Optimizer, monitor: str) -> Plateau | None:
    """Returns the state for that monitor, if the optimizer's rate has one."""
    rate = optimizer._learning_rate
    while isinstance(rate, PlateauSchedule | PlateauRate):
        if rate.plateau.monitor == monitor:
            return rate.plateau
        rate = rate.base
    return None


def scale_by(optimizer: keras.Optimizer, plateau: Plateau) -> Plateau:
    """Applies the scale to the optimizer's rate."""
    rate = optimizer._learning_rate
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        optimizer.learning_rate = PlateauSchedule(rate, plateau)
    elif isinstance(rate, keras.Variable):
        plateau.constant.assign(_as_written(rate))
        optimizer.learning_rate = PlateauRate(None, plateau)
        _settle(optimizer._variables)
    else:
        optimizer.learning_rate = PlateauRate(rate, plateau)
    return plateau


def _settle(variables: Any) -> None:
    """Makes TensorFlow's checkpoints accept the list from which Keras removed the rate's variable.

    They refuse a list from which an element was removed, since they identify elements by position.
    Here nothing was saved before, so the positions are still free.
    """
    if getattr(variables, "_non_append_mutation", False):
        variables._non_append_mutation = variables._external_modification = False
        variables._update_snapshot()
