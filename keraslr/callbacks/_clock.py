"""Compares three counts of a fit: its epochs, its steps, and the optimizer's counter.

A schedule sees the counter alone. With `per_epoch(n)` the rate changes with the epochs only as long
as each has n steps and the counter began with the first.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import keras

from keraslr.callbacks._attached import read
from keraslr.callbacks._fit import is_resumed, steps_done
from keraslr.callbacks._groups import Group
from keraslr.callbacks._origin import LearningRateWarning
from keraslr.callbacks._rate import planned_rate
from keraslr.schedules import PerEpoch, Schedule, SequentialLR, Warmup

_INSTEAD = "or use keraslr.callbacks.EpochSchedule, which counts the epochs itself"
_Schedule = keras.optimizers.schedules.LearningRateSchedule
_LENGTH = (
    "an epoch of this fit has {by}, but the schedule has per_epoch({n}), so that its "
    "epochs are not those of the fit: use per_epoch({steps}) " + _INSTEAD + "; if {n} steps are "
    "not meant as an epoch, all is well"
)
_UNKNOWN = (
    "the epoch had {had}, but the optimizer's counter rose by {rise}: in data of unknown "
    "length Keras counts the step that meets their end, so that a schedule runs ahead by {by} "
    "an epoch. Give the length, with dataset.apply(tf.data.experimental.assert_cardinality({steps}"
    ")) or with repeat() and fit(steps_per_epoch={steps}), " + _INSTEAD
)
_AHEAD = (
    "epoch {epoch} begins at step {expected} of a schedule with per_epoch({n}), but the "
    "optimizer's counter stands at {clock}: {cause}. The schedule is {by} {where}. Set "
    "optimizer.iterations.assign({expected}) before fit, " + _INSTEAD
)
_STOPPED = (
    "an earlier fit was stopped, or saved by BackupAndRestore(save_freq=...), {done} into "
    "this epoch, which begins again"
)
_OTHER = (
    "the epochs before had other numbers of steps (another batch size or other data), or "
    "initial_epoch is not the number of epochs that were trained"
)
_PARTIAL = (
    "the optimizer's counter stands at {clock}, which is no whole number of epochs of "
    "per_epoch({n}): an earlier fit was stopped in the midst of an epoch, or had epochs of another "
    "length. The schedule's epochs begin {by} before those of the fit. Set "
    "optimizer.iterations.assign({expected}) before fit, " + _INSTEAD
)
_SET = (
    "the optimizer's counter went from {ended} to {clock} before epoch {epoch}, and the schedule "
    "with it: weights were loaded together with the optimizer's state, or other code has set it. "
    "Put it back with optimizer.iterations.assign({ended}), or keep weights alone, with "
    "model.get_weights() and model.set_weights()"
)
_NOTHING = (
    "the optimizer {name!r} of the MultiOptimizer updates no variable: {patterns} matches none, "
    "since a pattern is compared with a whole path such as {path!r}. Begin it with '.*'"
)
_NOT_LOADED = (
    "the fit goes on at epoch {epoch} from a backup, but the optimizer's counter stands at 0, so "
    "that the schedule begins anew: the backup holds another optimizer, or one that was not "
    "restored. Build the model and the optimizer as they were when the backup was made"
)


class EpochClock:
    """The comparison for one optimizer in one fit, whichever callbacks ask for it."""

    _NAME = "_keraslr_epoch_clock"

    def __init__(self, group: Group) -> None:
        self._group, self._optimizer = group, group.optimizer
        self._fit: Any = None
        self._said: set[str] = set()
        # The epoch that is trained, and the counter at its begin.
        self._begun: tuple[int, int] | None = None
        self._steps: int | None = None
        self._own_step = False
        # The counter at the end of the last epoch, None if unknown.
        self._ended: int | None = None
        # Steps of the last epoch that the counter counts and nothing trained.
        self.ghosts = 0

    @classmethod
    def of(cls, group: Group, model: Any) -> EpochClock:
        """Returns the clock of an optimizer, a new one for each fit."""
        clock = group.optimizer.__dict__.get(cls._NAME)
        fit = getattr(model, "history", None)
        if clock is None or fit is None or fit is not clock._fit:
            # Not as an attribute is set: Keras would track it.
            clock = group.optimizer.__dict__[cls._NAME] = cls(group)
            clock._fit = fit
        return clock

    def begin(self, epoch: int, steps: int | None, model: Any) -> None:
        """Compares at an epoch's begin; `steps` is its number of steps, None if unknown."""
        first = self._begun is None
        if self._begun is not None and self._begun[0] == epoch:
            return  # another callback has asked
        # Where a backup goes on in the midst of an epoch, the counter at the epoch's begin.
        clock = int(read(self._optimizer._iterations)) - steps_done(model, epoch)
        self._begun, self._steps, self.ghosts = (epoch, clock), steps, 0
        if not first:
            if self._ended not in (None, clock) and self._lengths():
                self._say("set", _SET.format(ended=self._ended, clock=clock, epoch=epoch))
            self._ended = None
            return
        self._own_step = has_own_step(model)
        self._say("pattern", _unmatched(self._group, model))
        self._compare_lengths()
        for n, begins_with_it in self._lengths():
            if not begins_with_it or self._is_other(n):
                continue
            if not self._has_skipped(epoch * n - clock, n):
                self._say("place", _misplaced(epoch, clock, n, model))

    def join(self, epoch: int, steps: int | None, model: Any) -> None:
        """Begins in the midst of an epoch, where the model was given the optimizer."""
        if self._begun is None:
            self._begun = epoch, int(read(self._optimizer._iterations))
            self._steps, self._own_step = steps, has_own_step(model)
            self._compare_lengths()

    def _compare_lengths(self) -> None:
        for n, _ in self._lengths():
            if self._is_other(n):
                self._say_length(self._steps, n)

    def _is_other(self, n: int) -> bool:
        """Returns whether the epochs are known to have another number of steps."""
        return not self._own_step and self._steps not in (None, n)

    def end(self, steps: int) -> None:
        """Compares at an epoch's end; `steps` is the number that was trained."""
        rise = self.rise
        if self._begun is None or rise is None:
            return
        self._ended = self._begun[1] + rise
        if self._steps is None and 0 < rise < steps and not self._is_loss_scaled:
            # The last of the executions of several steps had no data for all of them.
            steps = rise
        # A step of one's own may make several updates; so does then the one that meets the end.
        times, rest = divmod(rise, steps + 1)
        unknown = self._steps is None and rest == 0 and (times == 1 or rise % steps != 0)
        self.ghosts = times if unknown else 0
        if self.ghosts and self._is_scheduled:
            text = _UNKNOWN.format(steps=steps, had=_counted(steps), rise=rise, by=_counted(times))
            self._say("unknown length", text)
        # A step of one's own may make several updates, or none.
        steps = rise - self.ghosts if self._own_step else steps
        for n, _ in self._lengths():
            if (self._steps is None or self._own_step) and steps not in (n, 0):
                self._say_length(steps, n)

    @property
    def _is_scheduled(self) -> bool:
        return isinstance(planned_rate(self._optimizer), _Schedule)

    @property
    def rise(self) -> int | None:
        """Steps that the counter has counted in this epoch; None before one has begun."""
        if self._begun is None:
            return None
        return int(read(self._optimizer._iterations)) - self._begun[1]

    @property
    def said(self) -> bool:
        """Whether this fit was told of a cause."""
        return bool(self._said)

    def _lengths(self) -> set[tuple[int, bool]]:
        # Where gradients are accumulated, such a clock stretches a schedule in updates to batches.
        every = self._optimizer.gradient_accumulation_steps or 1
        found = _epoch_lengths(planned_rate(self._optimizer))
        return {(n, begins) for n, begins in found if n not in (1, every)}

    def _has_skipped(self, behind: int, n: int) -> bool:
        # With mixed precision the first steps are tried until one is finite.
        return self._is_loss_scaled and 0 < behind < n

    @property
    def _is_loss_scaled(self) -> bool:
        return any(hasattr(each, "inner_optimizer") for each in self._group.around)

    def _say_length(self, steps: int | None, n: int) -> None:
        self._say("length", _LENGTH.format(steps=steps, n=n, by=_counted(steps)))

    def _say(self, kind: str, text: str | None) -> None:
        if text is not None and kind not in self._said:
            self._said.add(kind)
            warnings.warn(f"{text}.", LearningRateWarning, stacklevel=4)


def _unmatched(group: Group, model: Any) -> str | None:
    """Returns what is wrong with the patterns of a `MultiOptimizer` that give a group nothing."""
    chosen = getattr(group.around[0], "_optimizer_map", None) if group.around else None
    if not isinstance(chosen, Mapping) or not getattr(model, "built", False):
        return None
    patterns = [each for each in chosen if chosen[each] is group.optimizer]
    paths = [variable.path for variable in model.variables]
    if not patterns or any(re.fullmatch(each, path) for each in patterns for path in paths):
        return None
    return _NOTHING.format(
        name=group.optimizer.name, patterns=", ".join(map(repr, patterns)), path=paths[0]
    )


def _counted(steps: int | None) -> str:
    return "one step" if steps == 1 else f"{steps} steps"


def has_own_step(model: Any) -> bool:
    """Returns whether a model has a `train_step` of its own."""
    return model is not None and type(model).train_step is not keras.Model.train_step


def counts_epochs_of(optimizer: keras.Optimizer, steps: int | None = None) -> bool:
    """Returns whether the optimizer's schedule counts epochs, of so many steps or of any number."""
    return any(steps in (n, None) for n, _ in _epoch_lengths(planned_rate(optimizer)))


def _misplaced(epoch: int, clock: int, n: int, model: Any) -> str | None:
    """Returns why an epoch does not begin at the schedule's step that belongs to it."""
    expected = epoch * n
    if clock == expected:
        return None
    if epoch == 0:
        # A second fit that counts its epochs from 0 goes on where the first one ended.
        by = clock % n
        return (
            _PARTIAL.format(clock=clock, n=n, by=_counted(by), expected=clock - by) if by else None
        )
    if clock == 0:
        # A new optimizer has a schedule that begins with it, unless it should have been restored.
        return _NOT_LOADED.format(epoch=epoch) if is_resumed(model, epoch) else None
    done = clock - expected
    cause = _STOPPED.format(done=_counted(done)) if 0 < done < n else _OTHER
    return _AHEAD.format(
        epoch=epoch, expected=expected, n=n, clock=clock, cause=cause, by=_counted(abs(done)),
        where="ahead" if done > 0 else "behind",
    )  # fmt: skip


def _epoch_lengths(schedule: Any, shift: int = 0) -> Iterator[tuple[int, bool]]:
    """Yields the n of each `per_epoch(n)` in a schedule, and whether an epoch begins at step 0."""
    if isinstance(schedule, PerEpoch):
        yield schedule.steps_per_epoch, shift % schedule.steps_per_epoch == 0
    elif isinstance(schedule, SequentialLR):
        begins = (0, *schedule.milestones)
        for begin, part in zip(begins, schedule.schedules, strict=True):
            yield from _epoch_lengths(part, shift + begin)
    elif isinstance(schedule, Schedule):
        shift += schedule.steps if isinstance(schedule, Warmup) else 0
        for part in schedule.inner_schedules():
            yield from _epoch_lengths(part, shift)
