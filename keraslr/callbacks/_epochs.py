"""Drives a schedule by the epochs that are trained, whatever their number of steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from keraslr._parameters import Flag
from keraslr.callbacks._attached import Attached, attach, read
from keraslr.callbacks._fit import is_resumed
from keraslr.callbacks._following import Following
from keraslr.callbacks._groups import Group
from keraslr.callbacks._origin import LearningRateWarning
from keraslr.callbacks._rate import (
    as_written,
    is_constant,
    is_rate,
    planned_rate,
    scale_of,
    set_constant,
    unscaled,
)
from keraslr.schedules import PerEpoch, Schedule
from keraslr.schedules._dtypes import FLOAT, INTEGER

_Schedule = keras.optimizers.schedules.LearningRateSchedule


class EpochState(Attached):
    """What an `EpochSchedule` keeps with an optimizer.

    Attributes:
        trained: Variable: epochs trained so far.
        offset: Variable: what is added to the number that `fit` gives an epoch.
        steps: Variable: steps of the last epoch; 0 if none was trained.
        ratio: Variable: the optimizer's rate divided by the schedule's.
        planned: The rate without the scales of plateau rules.
        fit: The `History` of the fit in which it is driven.
    """

    attribute = "epoch_schedule"

    def __init__(self, trained: int = 0, offset: int = 0, steps: int = 0, ratio: float = 1.0):
        super().__init__()
        self.trained = self.number("trained", trained, INTEGER)
        self.offset = self.number("offset", offset, INTEGER)
        self.steps = self.number("steps", steps, INTEGER)
        self.ratio = self.number("ratio", ratio, FLOAT)
        self.planned = math.nan
        self.fit: Any = None
        self.owner: Any = None

    def configured(self) -> dict[str, Any]:
        """Returns the state as JSON holds it."""
        names = ("trained", "offset", "steps", "ratio")
        return {name: read(getattr(self, name)).item() for name in names}

    @classmethod
    def from_configured(cls, config: dict[str, Any]) -> EpochState:
        """Inverse of `configured`."""
        return cls(**config)

    @classmethod
    def driving(cls, optimizer: keras.Optimizer, model: Any) -> EpochState | None:
        """Returns the state on an optimizer, if the present fit has an `EpochSchedule` for it."""
        state = getattr(optimizer, cls.attribute, None)
        if state is None or state.fit is not getattr(model, "history", None):
            return None
        return state


class EpochSchedule(Following):
    """Drives a schedule by the epochs that are trained, as `scheduler.step()` once an epoch does.

        rate = schedule(epoch)                 in all steps of an epoch
        rate = schedule(epoch + i / n)         in its step i of n, with smooth

    It needs no number of steps, so that it is right for data of unknown length, another batch size
    in the next fit, `initial_epoch`, and a run that was stopped in the midst of an epoch and begins
    it again. The optimizer has a number as its rate, which this callback sets; it stays a variable.
    `ReduceLROnPlateau` scales it. `fit` counts the epochs: from its `initial_epoch` if that is
    given, else from where the last `fit` ended. The count is saved with the optimizer, and so with
    the model.

    With several optimizers, as the groups of a `keras.optimizers.MultiOptimizer`, the schedule is
    the rate of the first of them (of a `MultiOptimizer` its default) and the others keep the ratio
    of their rates to it; or each has a schedule of its own, in a dict.

    Args:
        schedule: Schedule of keraslr or of Keras, counted in epochs; or a dict of schedules by the
            names of the optimizers. An optimizer that is not in it keeps its rate.
        smooth: Whether the rate also moves within an epoch. In the first epoch of data of unknown
            length it cannot, and is that of the epoch's begin.
        optimizer: Which optimizer of the model: the name of its attribute, the optimizer itself, or
            a list of these; None for what `model.compile` was given.

    Raises:
        TypeError: An argument is wrong; the error names it.
        ValueError: In `fit`: the optimizer has a schedule already, or there is no such optimizer.

    Example:
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile(keras.optimizers.SGD(0.1), "mse")
        >>> drive = EpochSchedule(StepLR(0.1, step_size=2, gamma=0.5))
        >>> log = callbacks.LearningRateLogger(per_step=False)
        >>> x, y = np.ones((10, 1)), np.ones((10, 1))
        >>> fit = model.fit(x, y, batch_size=3, epochs=3, verbose=0, callbacks=[drive, log])
        >>> fit.history["applied_learning_rate"]
        [0.1, 0.1, 0.05]
    """

    def __init__(self, schedule: Any, smooth: bool = False, optimizer: Any = None) -> None:
        super().__init__(optimizer)
        several = schedule if isinstance(schedule, Mapping) else {"": schedule}
        for name, each in several.items():
            if not isinstance(each, _Schedule):
                which = f"schedule[{name!r}]" if isinstance(schedule, Mapping) else "schedule"
                raise TypeError(
                    f"{which} must be a schedule, of keraslr or of Keras; a function of the epoch "
                    "becomes one with keraslr.LambdaLR(rate, factor, total_iters=epochs). "
                    f"Received: {which}={each!r}"
                )
            if isinstance(each, PerEpoch):
                raise ValueError(
                    "schedule must be counted in epochs, without per_epoch: the callback counts "
                    f"them. Received: schedule={each!r}"
                )
        if not several:
            raise ValueError("schedule must not be an empty dict. Received: schedule={}")
        self.schedule = dict(schedule) if isinstance(schedule, Mapping) else schedule
        self.smooth = Flag("").validated("smooth", smooth)
        self.__dict__.update(self._unused())

    _states: list[EpochState]
    _schedules: list[Any]
    _batch: int | None
    _told: bool
    _reset_wanted: bool
    _within: dict[tuple[int, int], np.ndarray]

    def _unused(self) -> dict[str, Any]:
        return {
            **super()._unused(), "_states": [], "_schedules": [], "_first": True, "_epoch": 0,
            "_batch": None, "_within": {}, "_told": False, "_at_begin": 0, "_reset_wanted": False,
        }  # fmt: skip

    def _attach(self, former: list[Group]) -> None:
        before, self._states = self._states, []
        self._groups, self._schedules = self._driven()
        reference = unscaled_or_refused(self._groups[0])
        for group in self._groups:
            rate = unscaled_or_refused(group)
            state: EpochState | None = getattr(group.optimizer, EpochState.attribute, None)
            if state is None:
                state = EpochState()
                attach(group, EpochState.attribute, state)
                if not isinstance(self.schedule, dict) and group is not self._groups[0]:
                    if reference <= 0:
                        raise ValueError(
                            "the first optimizer must have a rate > 0, since the others keep the "
                            "ratio of theirs to it. "
                            f"Received: {self._groups[0].owner} with a rate of {reference:g}"
                        )
                    state.ratio.assign(rate / reference)
            if former and before:
                for name in ("trained", "offset", "steps"):
                    getattr(state, name).assign(read(getattr(before[0], name)))
            state.owner = self
            self._states.append(state)
        if former:
            self._mark()
            self._set(0)
        elif self._reset_wanted:
            self.reset()

    def _driven(self) -> tuple[list[Group], list[Any]]:
        if not isinstance(self.schedule, dict):
            return self._groups, [self.schedule] * len(self._groups)
        by_name = {group.name or group.optimizer.name: group for group in self._groups}
        unknown = [name for name in self.schedule if name not in by_name]
        if unknown:
            raise ValueError(
                "schedule must have the names of the optimizers as its keys: "
                f"{', '.join(map(repr, by_name))}. Received: {', '.join(map(repr, unknown))}"
            )
        return [by_name[name] for name in self.schedule], list(self.schedule.values())

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if any(state.owner is not self for state in self._states):
            raise ValueError("one fit must have one EpochSchedule for an optimizer. Received: two")
        self._first, self._told = True, False
        self._mark()

    def _mark(self) -> None:
        for state in self._states:
            state.fit = getattr(self._model, "history", None)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the rate of the epoch; see `keras.callbacks.Callback`."""
        self._follow()
        self._found  # noqa: B018 (under JAX this brings the variables up to date)
        first = self._states[0]
        # Before a fit, files may have been read that have the rate of another epoch.
        if not self._first and not self.smooth:
            self._say_if_set()
        if self._first:
            self._first = False
            trained, offset = int(read(first.trained)), int(read(first.offset))
            if epoch == 0:
                offset = trained
            elif not self._goes_on(epoch, epoch + offset - trained):
                # Not the fit that was going on: the number is the person's.
                offset = 0
            for state in self._states:
                state.offset.assign(offset)
        self._epoch, self._batch = epoch + int(read(first.offset)), None
        self._within = {}
        self._at_begin = int(read(self._groups[0].optimizer._iterations))
        self._set(0)

    def _goes_on(self, epoch: int, ahead: int) -> bool:
        """Returns whether an epoch so many after those that are trained continues their fit."""
        # A backup may have been made at an epoch's end before this callback had counted it.
        return abs(ahead) <= 1 if is_resumed(self._model, epoch) else ahead == 0

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the rate of the step, with `smooth`; see `keras.callbacks.Callback`."""
        self._batch = batch
        if not self._follow() and self.smooth:
            self._set(batch)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts the epoch; see `keras.callbacks.Callback`."""
        self._found  # noqa: B018 (see `on_epoch_begin`)
        steps = (self.params or {}).get("steps") or self._batch or 0
        rise = int(read(self._groups[0].optimizer._iterations)) - self._at_begin
        if 0 < rise < steps:
            steps = rise  # the last of the executions of several steps was one of fewer
        for state in self._states:
            state.trained.assign(self._epoch + 1)
            state.steps.assign(steps)

    def reset(self) -> None:
        """Begins with the schedule's first epoch again, for other data or the next fold.

        Without it a `fit` that counts its epochs from 0 goes on where the last one ended. Before
        the first `fit` of the callback it takes effect when that begins.
        """
        self._reset_wanted = not self._states
        for state in self._states:
            state.trained.assign(0)
            state.offset.assign(0)

    def _say_if_set(self) -> None:
        """Says that other code has set a rate, which is about to be set again."""
        for group, state in zip(self._groups, self._states, strict=True):
            now = float(read(group.optimizer._learning_rate))
            own = state.planned * scale_of(group.optimizer)
            if not self._told and not math.isnan(own) and not is_rate(group.optimizer, own):
                self._told = True
                warnings.warn(
                    f"other code, such as a callback of Keras, has set the rate of {group.owner} "
                    f"to {now:g} where EpochSchedule had set {own:g}; EpochSchedule sets it again "
                    "in each epoch. To reduce it on a plateau, use "
                    "keraslr.callbacks.ReduceLROnPlateau.",
                    LearningRateWarning,
                    stacklevel=3,
                )

    def _set(self, step: int) -> None:
        """Sets the rates of a step of the epoch."""
        if self.smooth and step:
            self._found  # noqa: B018 (see `on_epoch_begin`)
        each = zip(self._groups, self._states, self._schedules, strict=True)
        for group, state, schedule in each:
            rate = self._rate(state, schedule, step) * float(read(state.ratio))
            if rate != state.planned or step == 0:
                state.planned = rate
                set_constant(group.optimizer, rate)

    def _rate(self, state: EpochState, schedule: Any, step: int) -> float:
        epoch, steps = self._epoch, (self.params or {}).get("steps") or int(read(state.steps))
        if not self.smooth or not steps:
            return as_written(schedule(epoch))
        if not isinstance(schedule, Schedule):
            return as_written(schedule(epoch + min(step / steps, 1.0)))
        key = id(schedule), epoch
        if key not in self._within:
            # All steps of the epoch at once: a call costs as much as a step of a small network.
            clock = PerEpoch(schedule, steps_per_epoch=steps, smooth=True)
            self._within = {**self._within, key: clock.values(steps + 1, epoch * steps)}
        return as_written(self._within[key][min(step, steps)])


def unscaled_or_refused(group: Group) -> float:
    """Returns the constant rate of an optimizer; refuses a schedule."""
    if not is_constant(group.optimizer):
        raise ValueError(
            "the optimizer must have a number as its learning rate, which EpochSchedule sets: "
            "compile the model with a number, and give the schedule to the callback alone. "
            f"Received: {group.owner} with learning_rate={planned_rate(group.optimizer)!r}"
        )
    return unscaled(group.optimizer)
