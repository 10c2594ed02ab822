"""Logs the applied learning rate beside the planned one."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keraslr._parameters import Flag
from keraslr.callbacks._attached import attach, read
from keraslr.callbacks._clock import EpochClock, counts_epochs_of, has_own_step
from keraslr.callbacks._epochs import EpochState
from keraslr.callbacks._fit import steps_done
from keraslr.callbacks._following import Following, retrace
from keraslr.callbacks._groups import Group
from keraslr.callbacks._origin import LearningRateWarning, Origin
from keraslr.callbacks._rate import coarseness, planned_rate, plateaus_of, scales_of, unscaled
from keraslr.callbacks._recorder import Recorder, record_with
from keraslr.schedules import Schedule

# Graphs and XLA round a rate otherwise than `values` does, by some units in the last place (6e-8).
_RELATIVE, _ABSOLUTE = 1e-5, 1e-12
_CHUNK = 1024
# Updates that are held until they are read: at least so many, and so many for each batch of an
# execution. A batch may make several, as where one of two networks is trained more often.
_HELD, _SEVERAL = 256, 32

_ACCUMULATION = (
    "with gradient_accumulation_steps={every} there is one update for {every} batches, but Keras's "
    "optimizers count batches and so take the schedule {every} times too fast; stretch it by "
    "schedule.per_epoch({every})"
)
_ITERATIONS = (
    "the optimizer's counter stands at {clock}, where this training would have it at {expected} (a "
    "checkpoint with other iterations, or an earlier fit: set optimizer.iterations, or give fit "
    "the initial_epoch that belongs to it)"
)
_PLATEAU = "ReduceLROnPlateau (monitor={monitor!r}) has scaled it by {scale:g}"
_SET = "another callback, a checkpoint or other code has set the optimizer's rate"
_COMPILED = (
    "the optimizer's rate was set after the update (now {present:g}), or the training step was "
    "compiled before its learning_rate was replaced and still has the old one; compile the model "
    "after replacing it"
)
_IDLE = "{owner} ({kind}) made no update in epoch {epoch}{others}"
_MISSING = (
    "{missing} updates of {owner} are missing in the log, which holds 32 of each batch: their "
    "rates are not known"
)


class EpochRates(float):
    """Rate of an epoch's last step; iterating gives the rates of all its steps.

    As a number it serves wherever logs are numbers. `CSVLogger` writes what can be iterated as a
    list, so its rows show every step.
    """

    steps: tuple[float, ...]

    def __new__(cls, last: float, steps: Sequence[float] = ()) -> EpochRates:
        rates = super().__new__(cls, last)
        rates.steps = tuple(steps)
        return rates

    def __iter__(self) -> Iterator[float]:
        return iter(self.steps)

    def __len__(self) -> int:
        return len(self.steps)


class LearningRateLogger(Following):
    """Logs the learning rate that each optimizer step applied, and the one that was planned.

    `applied_learning_rate` is read inside the compiled step, where the update takes it.
    `planned_learning_rate` is the schedule's value for the update of that number (of a constant
    rate: the constant; with `EpochSchedule`: the schedule's value for the epoch), independent of
    the optimizer's current counter and rate.

    Both are in the logs of each batch, so in the progress bar and, with
    `TensorBoard(update_freq=1)`, in a scalar for each step; and in the logs of each epoch, so in
    `History`, `CSVLogger` and `TensorBoard`. An epoch's value is that of its last step; iterated
    it gives all steps: `list(history.history["applied_learning_rate"][0])`, and `CSVLogger` writes
    them all. Put it before other loggers in the list of callbacks: they see what stands before.

    Several optimizers have a column each: `applied_learning_rate_<name>`, with the names of the
    optimizers in a `keras.optimizers.MultiOptimizer`, or of the model's attributes that hold them.
    Where a batch makes several updates with one, each of them is logged.

    The first time that the two part for a cause, it warns with a `LearningRateWarning` that names
    it: a checkpoint (or an earlier fit) with another count of iterations, gradient accumulation,
    a reduction by `ReduceLROnPlateau`, a callback that sets the rate, or a training step that was
    compiled with another rate. It also warns when a checkpoint is restored that was made under
    another schedule; where the epochs are not those of the schedule's `per_epoch(n)`, or do not
    begin with them; where data of unknown length make Keras count a step too many; and where an
    optimizer makes no update. What it warns of names the remedy.

    What it has counted is saved with the optimizer, so a run that is killed and resumed by
    `BackupAndRestore` goes on with its count. If the model is compiled in the midst of `fit`, the
    new optimizer is logged from then on.

    Args:
        per_step: Whether an epoch's values carry all steps; else they are plain numbers.
        optimizer: Which optimizers of the model: the name of an attribute, an optimizer, or a list
            of these; None for all.
    """

    all_by_default = True

    def __init__(self, per_step: bool = True, optimizer: Any = None) -> None:
        super().__init__(optimizer)
        self.per_step = Flag("").validated("per_step", per_step)
        self.__dict__.update(self._unused())

    _logs: list[_Log]
    _warned: set[str]

    def _unused(self) -> dict[str, Any]:
        return {
            **super()._unused(), "_logs": [], "_epoch": 0, "_begun": False, "_steps": 0,
            "_warned": set(),
        }  # fmt: skip

    def set_model(self, model: keras.Model) -> None:
        """Puts the recorder into the model's optimizer, if it has none yet."""
        self._warned, self._begun = set(), False
        super().set_model(model)

    def _attach(self, former: list[Group]) -> None:
        self._logs = []
        size = max(_HELD, _SEVERAL * int(getattr(self._model, "steps_per_execution", 1) or 1))
        for group in self._groups:
            optimizer = group.optimizer
            Origin.of(group)
            recorder: Recorder | None = getattr(optimizer, Recorder.NAME, None)
            if recorder is None or recorder.size < size:
                before, recorder = recorder, Recorder(size)
                if before is not None:
                    recorder.updates.assign(before.updates)
                    recorder.start.assign(before.start)
                attach(group, Recorder.NAME, recorder)
                record_with(optimizer)
                retrace(self._model)
            self._logs.append(_Log(group, _Plan(planned_rate(optimizer), optimizer)))
        if former:
            self._count(self._epoch)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        self._epoch, self._steps = epoch, 0
        if not self._follow() and not self._begun:
            # Only now has every callback of this fit restored its checkpoint.
            self._begun = True
            self._count(epoch)
        for log in self._fresh_logs():
            log.clear()
            log.go_back()
            EpochClock.of(log.group, self._model).begin(epoch, self._steps_of_epoch, self._model)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self._follow():
            for group in self._groups:
                EpochClock.of(group, self._model).join(
                    self._epoch, self._steps_of_epoch, self._model
                )

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        self._steps = batch + 1
        for log in self._fresh_logs():
            state = EpochState.driving(log.optimizer, self._model)
            self._compare(log, log.read(None if state is None else state.planned))
            if logs is not None and log.applied:
                logs[log.group.column("applied_learning_rate")] = log.applied[-1]
                logs[log.group.column("planned_learning_rate")] = log.planned[-1]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        for log in self._fresh_logs():
            # A step that met the end of the data has counted, and trained nothing.
            log.pass_over()
            if self._steps:
                EpochClock.of(log.group, self._model).end(self._steps)
            if logs is None or not log.applied:
                continue
            for name, rates in (("applied", log.applied), ("planned", log.planned)):
                value = EpochRates(rates[-1], rates) if self.per_step else rates[-1]
                logs[log.group.column(f"{name}_learning_rate")] = value
        self._say_idle()

    def _fresh_logs(self) -> list[_Log]:
        self._found  # noqa: B018 (under JAX this brings the variables up to date)
        return self._logs

    @property
    def _steps_of_epoch(self) -> int | None:
        return (self.params or {}).get("steps")

    def _count(self, epoch: int) -> None:
        """Begins or goes on with the count of updates, which says what was planned."""
        for log in self._fresh_logs():
            Origin.of(log.group).warn_if_other()
            first = self._first_update(log.group, epoch)
            start, done = int(read(log.recorder.start)), int(read(log.recorder.updates))
            if start < 0:
                log.recorder.start.assign(first)
            elif epoch and not self._steps and self._interrupted(log.group, epoch, start + done):
                # The epoch begins again, and with it what was planned for it.
                log.recorder.start.assign(first - done)
            log.seen = done

    def _first_update(self, group: Group, epoch: int) -> int:
        """Returns the number of the next update: from the epochs before, if their length is known.

        Not by the optimizer's counter: whether that is right is the question. But an optimizer that
        has made no step begins its schedule, whatever the number of the epoch; and so does one that
        the model was given in the midst of an epoch.
        """
        optimizer = group.optimizer
        clock, every = int(read(optimizer._iterations)), optimizer.gradient_accumulation_steps or 1
        steps = self._steps_of_epoch
        if steps is None or clock == 0 or self._steps or has_own_step(self._model):
            return clock // every
        if epoch == 0 and clock % steps == 0 and counts_epochs_of(optimizer, steps):
            # A fit that counts its epochs from 0 goes on where another one ended.
            return clock // every
        return (epoch * int(steps) + steps_done(self._model, epoch)) // every

    def _interrupted(self, group: Group, epoch: int, count: int) -> bool:
        """Returns whether an epoch that was trained in part begins again."""
        steps, every = self._steps_of_epoch, group.optimizer.gradient_accumulation_steps or 1
        if steps is None or every > 1 or not counts_epochs_of(group.optimizer, steps):
            return False
        begin = epoch * steps + steps_done(self._model, epoch)
        # Or one before it, to which the person has put the counter back, too.
        return 0 < count - begin < steps or int(read(group.optimizer._iterations)) == begin

    def _compare(self, log: _Log, new: _New) -> None:
        if new.missing:
            self._tell("several", _MISSING.format(missing=new.missing, owner=log.group.owner))
        if log.parted or log.close(new.applied, new.planned):
            return
        log.parted = True  # looking for the cause once an epoch is enough
        first = next(
            i for i in range(len(new.applied)) if not log.close(new.applied[i], new.planned[i])
        )
        applied, planned = new.applied[first], new.planned[first]
        clock, update = int(new.clocks[first]), int(new.updates[first])
        of = f" of {log.group.name}" if log.group.name else ""
        for kind, cause in self._causes(log, applied, planned, clock, update):
            self._tell(
                f"{kind} {log.group.name}",
                f"the learning rate{of} applied at update {update} is {applied:g}, where "
                f"{planned:g} was planned: {cause}",
            )

    def _say_idle(self) -> None:
        """Says which optimizer makes no update, where others do or none does."""
        if not self._steps:
            return
        idle: list[Group] = []
        busy: list[Group] = []
        for log in self._logs:
            moved = bool(log.applied) or EpochClock.of(log.group, self._model).rise
            (busy if moved else idle).append(log.group)
        # With mixed precision, the steps of a short epoch may all have been skipped; and a part of
        # a MultiOptimizer may have no variables, or only frozen ones.
        for group in (each for each in idle if not each.around):
            others = ", ".join(each.owner for each in busy)
            self._tell(
                f"idle {group.owner}",
                _IDLE.format(
                    owner=group.owner, kind=type(group.optimizer).__name__, epoch=self._epoch,
                    others=f", while {others} did; their rates are logged" if others else
                    ": give optimizer= the one that the training step applies",
                ),
            )  # fmt: skip

    def _tell(self, kind: str, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(f"{text}.", LearningRateWarning, stacklevel=3)

    def _causes(
        self, log: _Log, applied: float, planned: float, clock: int, update: int
    ) -> Iterator[tuple[str, str]]:
        optimizer = log.optimizer
        at_clock = float(log.plan.values(np.array([clock]))[0])
        if EpochState.driving(optimizer, self._model) is not None:
            at_clock = planned
        # A rule may have reduced the rate again since this step.
        now = scales_of(optimizer)
        before = [{**now, each.monitor: each.former_scale} for each in plateaus_of(optimizer)]
        scales = next(
            (
                each
                for each in (now, *before)
                if log.close(applied, at_clock * math.prod(each.values()))
            ),
            None,
        )
        if scales is not None:
            every = optimizer.gradient_accumulation_steps or 1
            if every > 1 and not log.close(at_clock, planned):
                yield "accumulation", _ACCUMULATION.format(every=every)
            # Counter at which a run without a checkpoint makes this update.
            expected = (update + 1) * every - 1
            if (
                clock != expected
                and not log.close(at_clock, planned)
                and not EpochClock.of(log.group, self._model).said
            ):
                yield "iterations", _ITERATIONS.format(clock=clock, expected=expected)
            for monitor, scale in scales.items():
                if scale != 1.0:
                    yield f"plateau {monitor}", _PLATEAU.format(monitor=monitor, scale=scale)
            return
        present = optimizer.learning_rate
        if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            present = optimizer._learning_rate(clock)
        present = float(read(present))
        if log.close(applied, present):
            yield "set", _SET
        else:
            yield "compiled", _COMPILED.format(present=present)


@dataclasses.dataclass
class _New:
    """What one reading of a recorder gives."""

    applied: np.ndarray
    planned: np.ndarray
    clocks: np.ndarray
    updates: np.ndarray
    missing: int


class _Log:
    """The rates of one optimizer in the present epoch."""

    def __init__(self, group: Group, plan: _Plan) -> None:
        self.group, self.plan = group, plan
        self.seen = 0
        self._tolerance = max(_RELATIVE, coarseness(group.optimizer))
        self.clear()

    def close(self, one: Any, other: Any) -> bool:
        """Returns whether two rates are one, but for rounding."""
        return np.allclose(one, other, rtol=self._tolerance, atol=_ABSOLUTE, equal_nan=True)

    def clear(self) -> None:
        """Begins an epoch."""
        self.applied: list[float] = []
        self.planned: list[float] = []
        self.parted = False

    @property
    def optimizer(self) -> keras.Optimizer:
        return self.group.optimizer

    @property
    def recorder(self) -> Recorder:
        return getattr(self.optimizer, Recorder.NAME)

    def read(self, planned: float | None) -> _New:
        """Reads the updates since the last reading; `planned` is their rate, if it is known."""
        applied, clocks, now = self.recorder.since(self.seen)
        self.seen = min(self.seen, now)
        missing = now - self.seen - len(applied)
        updates = int(read(self.recorder.start)) + np.arange(now - len(applied), now)
        self.seen = now
        ticks, every = updates, self.optimizer.gradient_accumulation_steps or 1
        if every > 1 and counts_epochs_of(self.optimizer):
            ticks = (updates + 1) * every - 1  # it counts batches, as Keras does
        rates = self.plan.values(ticks) if planned is None else np.full(len(updates), planned)
        self.applied += [float(str(rate)) for rate in applied]
        self.planned += [float(str(rate)) for rate in rates.astype(np.float32)]
        return _New(applied, rates, clocks, updates, missing)

    def go_back(self) -> None:
        """Follows the count where a checkpoint that was loaded has put it back."""
        self.seen = min(self.seen, int(read(self.recorder.updates)))

    def pass_over(self) -> None:
        """Leaves out the updates since the last reading: no batch was trained with them.

        The plan of a schedule that counts epochs does not count them. That of another goes on with
        the counter, as the schedule does: the warning has said so, and other causes can be told.
        """
        _, _, now = self.recorder.since(self.seen)
        if now > self.seen and counts_epochs_of(self.optimizer):
            self.recorder.start.assign(read(self.recorder.start) - (now - self.seen))
        self.seen = now


class _Plan:
    """Rates that a schedule, or a constant, plans for updates of given numbers."""

    def __init__(self, rate: Any, optimizer: keras.Optimizer) -> None:
        self._schedule = None
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            self._schedule = rate
        else:
            self._constant = unscaled(optimizer)
        self._chunk, self._rates = -1, np.zeros(0, np.float32)

    def values(self, updates: np.ndarray) -> np.ndarray:
        """Returns the rates of these updates, as float32."""
        if self._schedule is None:
            return np.full(len(updates), self._constant, np.float32)
        if not isinstance(self._schedule, Schedule):
            # Some of Keras's own take one step at a time.
            rates = [read(self._schedule(int(update))) for update in updates]
            return np.array(rates, np.float32)
        return np.array([self._value(int(update)) for update in updates], np.float32)

    def _value(self, update: int) -> float:
        # Many rates in one call: a call costs as much as a training step of a small network.
        chunk, place = divmod(update, _CHUNK)
        if chunk != self._chunk:
            assert isinstance(self._schedule, Schedule)
            self._chunk, self._rates = chunk, self._schedule.values(_CHUNK, chunk * _CHUNK)
        return self._rates[place]
