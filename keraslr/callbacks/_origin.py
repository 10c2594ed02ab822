"""The schedule under which a checkpoint was made."""

from __future__ import annotations

import warnings
from typing import Any

import keras
import numpy as np

from keraslr.callbacks._attached import Attached, attach, read
from keraslr.callbacks._groups import Group
from keraslr.callbacks._rate import planned_rate
from keraslr.schedules import Schedule, parse


class LearningRateWarning(UserWarning):
    """The learning rate is not the planned one; the message names the cause."""


class Origin(Attached):
    """Remembers in every checkpoint which schedule it was made under."""

    NAME = "learning_rate_origin"

    def __init__(self, optimizer: keras.Optimizer) -> None:
        super().__init__()
        self._optimizer_of = lambda: (
            optimizer
        )  # a function, since the optimizer is not part of this layer
        self._loaded: str | None = None

    @classmethod
    def of(cls, group: Group) -> Origin:
        """Returns the origin kept with the group's optimizer; makes one if there is none."""
        origin = getattr(group.optimizer, cls.NAME, None)
        if origin is None:
            origin = cls(group.optimizer)
            attach(group, cls.NAME, origin)
        return origin

    def save_own_variables(self, store: Any) -> None:
        """Writes the present schedule's description, as UTF-8."""
        text = _described(planned_rate(self._optimizer_of()))
        store["schedule"] = np.frombuffer(text.encode(), np.uint8)

    def load_own_variables(self, store: Any) -> None:
        """Keeps the checkpoint's description for `warn_if_other`."""
        if "schedule" in set(store.keys()):
            self._loaded = np.asarray(store["schedule"]).tobytes().decode()

    def warn_if_other(self) -> None:
        """Warns, once for each checkpoint, if it was made under another schedule."""
        loaded, self._loaded = self._loaded, None
        optimizer = self._optimizer_of()
        now = planned_rate(optimizer)
        if loaded is None or loaded == _described(now):
            return
        step = int(read(optimizer._iterations))
        rates = ""
        if isinstance(now, Schedule):
            rates = f" At step {step} the rate is {float(now(step)):g}"
            try:
                rates += f", where the checkpoint's schedule gives {float(parse(loaded)(step)):g}."
            except (TypeError, ValueError):  # not one of this package
                rates += "."
        warnings.warn(
            f"the checkpoint was made under another schedule: {_short(loaded)}; the optimizer has "
            f"{_short(_described(now))}.{rates} Go on with the checkpoint's schedule, or begin "
            "without the checkpoint's optimizer.",
            LearningRateWarning,
            stacklevel=2,
        )


def _described(rate: Any) -> str:
    if isinstance(rate, Schedule):
        return repr(rate)
    if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
        return f"{type(rate).__name__}({rate.get_config()})"
    if isinstance(rate, keras.Variable) or rate is None:
        return "a constant rate"
    return f"the function {getattr(rate, '__qualname__', type(rate).__qualname__)}"


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:300] + "..."
