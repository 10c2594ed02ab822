"""Planned and applied learning rates of a `fit`, read from the optimizer."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np

from keraslr.callbacks._attached import read
from keraslr.callbacks._rate import planned_rate, scales_of
from keraslr.schedules import Schedule

# Points of a curve: no more than a picture has pixels across.
_POINTS = 1500
# Of a schedule that takes one step at a time; each takes as long as a step of a small network.
_POINTS_ONE_BY_ONE = 200
# JAX compiles a schedule again for each number of steps.
_CHUNK = 256


class FitRates:
    """Planned and applied learning rates of one `fit`.

    Attributes:
        scheduled: Whether the rate is a schedule, so that few readings tell all.
        note: What the plateau rule has done to the rate.
    """

    def __init__(self) -> None:
        self.note = ""
        self.scheduled = False
        # Stretches of the fit: the first step, the schedule, the schedule's step minus that of the
        # fit, and the factor. Without a schedule the factor is the rate.
        self._stretches: list[tuple[int, Any, int, float]] = []
        self._plan: tuple[Any, int, float] | None = None
        self._values: dict[tuple[int, int], float] = {}
        # With the schedule itself, so that no other one gets its id.
        self._many: dict[int, tuple[Any, bool]] = {}

    def read(self, optimizer: Any, step: int) -> None:
        """Reads the optimizer's rate; `step` is the number of steps that this fit has done."""
        rate = getattr(optimizer, "_learning_rate", None)
        if rate is None:
            return
        base, offset, scales = planned_rate(optimizer), 0, scales_of(optimizer)
        scale = math.prod(scales.values())
        self.scheduled = isinstance(base, keras.optimizers.schedules.LearningRateSchedule)
        if self.scheduled:
            offset = int(read(optimizer._iterations)) - step
            stretch = (step, base, offset, scale)
        else:
            stretch = (step, None, 0, float(read(optimizer.learning_rate)))
        if self._plan is None:
            unscaled = stretch[3] / scale if scale else stretch[3]
            self._plan = (stretch[1], offset, 1.0 if self.scheduled else unscaled)
        if self._stretches and self._stretches[-1][0] == step:
            self._stretches.pop()  # no step was made with it
        if not self._stretches or self._stretches[-1][1:] != stretch[1:]:
            self._stretches.append(stretch)
        if len(self._stretches) > 2 * _POINTS:
            del self._stretches[1::2]
        lowered = [f"{scale:.3g} ({monitor})" for monitor, scale in scales.items() if scale != 1]
        self.note = "scaled by ReduceLROnPlateau: " + ", ".join(lowered) if lowered else ""

    def planned(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the steps at which the planned rates begin, and the rates, of the first steps."""
        if self._plan is None or steps < 1:
            return np.empty(0), np.empty(0)
        schedule, offset, factor = self._plan
        at = self._grid(schedule, 0, steps, steps)
        return _held(at, factor * self._rates_of(schedule, at + offset), steps)

    def applied(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the steps at which the applied rates begin, and the rates, of the steps done."""
        if not self._stretches or steps < 1:
            return np.empty(0), np.empty(0)
        times, rates = [np.empty(0)], [np.empty(0)]
        ends = [stretch[0] for stretch in self._stretches[1:]] + [steps]
        for (begin, schedule, offset, factor), end in zip(self._stretches, ends, strict=True):
            if end > begin:
                at = self._grid(schedule, begin, end, steps)
                times.append(at)
                rates.append(factor * self._rates_of(schedule, at + offset))
        return _held(np.concatenate(times), np.concatenate(rates), steps)

    def _grid(self, schedule: Any, begin: int, end: int, steps: int) -> np.ndarray:
        if schedule is None:
            return np.array([begin])
        points = _POINTS if self._takes_many(schedule) else _POINTS_ONE_BY_ONE
        # Strides of powers of two: the steps of one picture are among those of the next.
        stride = 1 << max(0, math.ceil(math.log2(steps / points)))
        inner = np.arange(-(-begin // stride) * stride, end, stride)
        return np.unique(np.append(inner, [begin, end - 1]))

    def _takes_many(self, schedule: Any) -> bool:
        if id(schedule) not in self._many:
            self._many[id(schedule)] = schedule, _takes_many(schedule)
        return self._many[id(schedule)][1]

    def _rates_of(self, schedule: Any, at: np.ndarray) -> np.ndarray:
        if schedule is None:
            return np.ones(len(at))
        known, kind = self._values, id(schedule)
        new = [step for step in at.tolist() if (kind, step) not in known]
        if self._takes_many(schedule):
            for start in range(0, len(new), _CHUNK):
                some = new[start : start + _CHUNK]
                rates = read(schedule(np.resize(some, _CHUNK))).tolist()
                known.update(((kind, step), rate) for step, rate in zip(some, rates, strict=False))
        else:
            known.update(((kind, step), float(read(schedule(step)))) for step in new)
        return np.array([known[kind, step] for step in at.tolist()])


def _takes_many(schedule: Any) -> bool:
    """Returns whether a schedule takes an array of steps; some of Keras's own do not."""
    if isinstance(schedule, Schedule):
        return True
    steps = np.resize([0, 1, 10, 100, 1000, 10_000], _CHUNK)
    try:
        together = read(schedule(steps))
    except Exception:  # of any kind: the code is the user's
        return False
    alone = [float(read(schedule(step))) for step in steps[:6].tolist()]
    return together.shape == steps.shape and np.allclose(together[:6], alone, rtol=1e-5, atol=0)


def _held(at: np.ndarray, rates: np.ndarray, end: int) -> tuple[np.ndarray, np.ndarray]:
    # The last rate lasts until the end of its step.
    return np.append(at, end).astype(float), np.append(rates, rates[-1:])
