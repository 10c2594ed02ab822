"""State of the plateau rule, kept with the optimizer whose rate it reduces."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from keraslr.callbacks._attached import Attached, read
from keraslr.schedules._dtypes import FLOAT, INTEGER


class Plateau(Attached):
    """State of the plateau rule for one monitored metric.

    Attributes:
        monitor: Of the callback.
        mode: "min" or "max"; "auto" until the callback knows which.
        scale: Variable: product of all reductions; it multiplies the rate.
        best: Variable: best metric so far.
        num_bad_epochs, cooldown_counter: Variables: epochs since it, epochs of rest left.
        constant: Variable: a constant rate without its scales, as the decimal it was written as.
        recent: Variable: the last metrics that are averaged, the newest last; NaN for none.
        waiting: Variable: what came since the last decision of one every n steps: the sum of the
            metric, the sum of its weights, and the steps.
    """

    NUMBERS = ("scale", "best", "num_bad_epochs", "cooldown_counter", "constant")

    def __init__(self, monitor: str, mode: str, window: int = 1, **numbers: float) -> None:
        super().__init__()
        self.monitor, self.mode = monitor, mode
        self.owner: Any = None
        # Before the last reduction: a log that is read after it sees steps of before it, too.
        self.former_scale = 1.0
        # Whether it comes from a config and no callback has taken it over yet.
        self.is_read = False
        values = {
            "scale": 1.0, "best": worst(mode), "num_bad_epochs": 0, "cooldown_counter": 0,
            "constant": 0.0, **numbers,
        }  # fmt: skip
        for name in self.NUMBERS:
            whole = name in ("num_bad_epochs", "cooldown_counter")
            setattr(self, name, self.number(name, values[name], INTEGER if whole else FLOAT))
        self.recent = self.number("recent", np.full(window, math.nan), FLOAT)
        self.waiting = self.number("waiting", np.zeros(3), FLOAT)

    @property
    def attribute(self) -> str:
        """Optimizer attribute that holds the state; also its name in a checkpoint."""
        return attribute_of(self.monitor)

    def numbers(self) -> dict[str, float]:
        """Returns the current values."""
        return {name: read(getattr(self, name)).item() for name in self.NUMBERS}

    def configured(self) -> dict[str, Any]:
        """Returns the state as JSON holds it."""
        values = {k: v if math.isfinite(v) else str(v) for k, v in self.numbers().items()}
        return {
            "monitor": self.monitor, "mode": self.mode, **values,
            "recent": [str(each) for each in read(self.recent).tolist()],
            "waiting": read(self.waiting).tolist(),
        }  # fmt: skip

    @classmethod
    def from_configured(cls, config: dict[str, Any]) -> Plateau:
        """Inverse of `configured`."""
        numbers = {name: float(config[name]) for name in cls.NUMBERS}
        recent = np.array([float(each) for each in config.get("recent", ["nan"])])
        state = cls(str(config["monitor"]), str(config["mode"]), len(recent), **numbers)
        state.is_read = True
        state.recent.assign(recent)
        state.waiting.assign(np.array(config.get("waiting", [0.0] * 3), float))
        return state

    def load_own_variables(self, store: Any) -> None:
        """Reads the numbers; metrics to be averaged only if as many are."""
        known = {name: store[name] for name in store.keys()}  # noqa: SIM118 (not a dict)
        recent = known.get("recent")
        if recent is not None and np.shape(recent) != np.shape(read(self.recent)):
            del known["recent"]
        super().load_own_variables(known)

    def meant_for(self, mode: str) -> None:
        """Resets all except the scale, if the mode is another one than before."""
        if mode == self.mode:
            return
        before, self.mode = self.mode, mode
        best = float(read(self.best))
        if before == "auto" and math.isfinite(best):
            return  # restored from a checkpoint, of a run that knew the mode
        self.reset()

    def reset(self) -> None:
        """Forgets the best metric and all counts; the scale stays."""
        self.best.assign(worst(self.mode))
        self.num_bad_epochs.assign(0)
        self.cooldown_counter.assign(0)
        self.recent.assign(np.full(len(read(self.recent)), math.nan))
        self.waiting.assign(np.zeros(3))

    def like(self, other: Plateau) -> None:
        """Takes the numbers of another state, except for the constant rate."""
        self.mode = other.mode
        for name in ("scale", "best", "num_bad_epochs", "cooldown_counter", "waiting"):
            getattr(self, name).assign(read(getattr(other, name)))
        if len(read(other.recent)) == len(read(self.recent)):
            self.recent.assign(read(other.recent))


def attribute_of(monitor: str) -> str:
    """Returns the name of the optimizer's attribute that holds the state for a metric."""
    name = "".join(c if c.isalnum() else "_" for c in monitor)
    return f"reduce_lr_on_plateau_{name}"


def worst(mode: str) -> float:
    """Returns the metric that any other is better than."""
    return -math.inf if mode == "max" else math.inf


class BestWeights(Attached):
    """The weights at the best metric, kept in the computer's memory and in its checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.best: list[np.ndarray] = []

    def save_own_variables(self, store: Any) -> None:
        """Writes the weights by their numbers."""
        for number, weight in enumerate(self.best):
            store[str(number)] = weight

    def load_own_variables(self, store: Any) -> None:
        """Reads them."""
        self.best = [np.asarray(store[str(number)]) for number in range(len(set(store.keys())))]
