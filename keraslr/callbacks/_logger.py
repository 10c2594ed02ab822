"""Logs the applied learning rate beside the planned one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keraslr._parameters import Flag
from keraslr.callbacks._attached import attach, optimizer_of, read
from keraslr.callbacks._origin import LearningRateWarning, Origin
from keraslr.callbacks._recorder import Recorder, record_with
from keraslr.callbacks._scaled import planned_rate, scales_of, unscaled
from keraslr.schedules import Schedule

# Graphs and XLA round a rate otherwise than `values` does, by some units in the last place (6e-8).
_RELATIVE, _ABSOLUTE = 1e-5, 1e-12
_CHUNK = 1024

_ACCUMULATION = (
    "with gradient_accumulation_steps={every} there is one update for {every} batches, but Keras's "
    "optimizers count batches and so take the schedule {every} times too fast; stretch it by that "
    "factor"
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


class LearningRateLogger(keras.callbacks.Callback):
    """Logs the learning rate that each optimizer step applied, and the one that was planned.

    `applied_learning_rate` is read inside the compiled step, where the update takes it.
    `planned_learning_rate` is the schedule's value for the update of that number (of a constant
    rate: the constant), independent of the optimizer's current counter and rate.

    Both are in the logs of each batch, so in the progress bar and, with
    `TensorBoard(update_freq=1)`, in a scalar for each step; and in the logs of each epoch, so in
    `History`, `CSVLogger` and `TensorBoard`. An epoch's value is that of its last step; iterated
    it gives all steps: `list(history.history["applied_learning_rate"][0])`, and `CSVLogger` writes
    them all. Put it before other loggers in the list of callbacks: they see what stands before.

    The first time that the two part for a cause, it warns with a `LearningRateWarning` that names
    it: a checkpoint (or an earlier fit) with another count of iterations, gradient accumulation,
    a reduction by `ReduceLROnPlateau`, a callback that sets the rate, or a training step that was
    compiled with another rate. It also warns when a checkpoint is restored that was made under
    another schedule.

    What it has counted is saved with the optimizer, so a run that is killed and resumed by
    `keras.callbacks.BackupAndRestore` goes on with its count.

    Args:
        per_step: Whether an epoch's values carry all steps; else they are plain numbers.
    """

    def __init__(self, per_step: bool = True) -> None:
        super().__init__()
        self.per_step = Flag("").validated("per_step", per_step)
        self._seen = 0
        self._warned: set[str] = set()

    def set_model(self, model: keras.Model) -> None:
        """Puts the recorder into the model's optimizer, if it has none yet."""
        super().set_model(model)
        optimizer = optimizer_of(model, "LearningRateLogger")
        Origin.of(model)
        size = max(1, int(getattr(model, "steps_per_execution", 1) or 1))
        recorder: Recorder | None = getattr(optimizer, Recorder.NAME, None)
        if recorder is None or recorder.size < size:
            former, recorder = recorder, Recorder(size)
            if former is not None:
                recorder.updates.assign(former.updates)
                recorder.start.assign(former.start)
            attach(model, Recorder.NAME, recorder)
            record_with(optimizer)
            model.train_function = None
        self._plan = _Plan(planned_rate(optimizer), optimizer)
        self._warned = set()
        self._restored = False

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if not self._restored:
            # Only now has every callback of this fit restored its checkpoint.
            self._restored = True
            Origin.of(self.model).warn_if_other()
            if int(read(self._recorder.start)) < 0:
                self._recorder.start.assign(self._first_update(epoch))
            self._seen = int(read(self._recorder.updates))
        self._applied: list[float] = []
        self._planned: list[float] = []
        self._parted = False

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        applied, clocks, now = self._recorder.since(self._seen)
        updates = int(read(self._recorder.start)) + np.arange(now - len(applied), now)
        self._seen = now
        planned = self._plan.values(updates)
        if not self._parted and not _close(applied, planned):
            self._parted = True  # looking for the cause once an epoch is enough
            first = next(i for i in range(len(applied)) if not _close(applied[i], planned[i]))
            self._warn(applied[first], planned[first], int(clocks[first]), int(updates[first]))
        self._applied += [float(str(rate)) for rate in applied]
        self._planned += [float(str(rate)) for rate in planned]
        if logs is not None and self._applied:
            logs["applied_learning_rate"] = self._applied[-1]
            logs["planned_learning_rate"] = self._planned[-1]

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if logs is None or not self._applied:
            return
        for name, rates in (("applied", self._applied), ("planned", self._planned)):
            value = EpochRates(rates[-1], rates) if self.per_step else rates[-1]
            logs[f"{name}_learning_rate"] = value

    @property
    def _optimizer(self) -> keras.Optimizer:
        # Through `model`: under JAX that restores the variables from the state of the steps.
        return optimizer_of(self.model, "LearningRateLogger")

    @property
    def _recorder(self) -> Recorder:
        return getattr(self._optimizer, Recorder.NAME)

    def _first_update(self, epoch: int) -> int:
        """Returns the number of the next update: from the epochs before, if their length is known.

        Not by the optimizer's counter: whether that is right is the question.
        """
        every = self._optimizer.gradient_accumulation_steps or 1
        steps = (self.params or {}).get("steps")
        if steps is None:
            return int(read(self._optimizer._iterations)) // every
        return epoch * int(steps) // every

    def _warn(self, applied: float, planned: float, clock: int, update: int) -> None:
        for kind, cause in self._causes(applied, planned, clock, update):
            if kind not in self._warned:
                self._warned.add(kind)
                warnings.warn(
                    f"the learning rate applied at update {update} is {applied:g}, where "
                    f"{planned:g} was planned: {cause}.",
                    LearningRateWarning,
                    stacklevel=2,
                )

    def _causes(
        self, applied: float, planned: float, clock: int, update: int
    ) -> Iterator[tuple[str, str]]:
        optimizer = self._optimizer
        scales = scales_of(optimizer._learning_rate)
        at_clock = float(self._plan.values(np.array([clock]))[0])
        if _close(applied, at_clock * math.prod(scales.values())):
            every = optimizer.gradient_accumulation_steps or 1
            if every > 1 and not _close(at_clock, planned):
                yield "accumulation", _ACCUMULATION.format(every=every)
            # Counter at which a run without a checkpoint makes this update.
            expected = (update + 1) * every - 1
            if clock != expected and not _close(at_clock, planned):
                yield "iterations", _ITERATIONS.format(clock=clock, expected=expected)
            for monitor, scale in scales.items():
                if scale != 1.0:
                    yield f"plateau {monitor}", _PLATEAU.format(monitor=monitor, scale=scale)
            return
        present = optimizer.learning_rate
        if isinstance(optimizer._learning_rate, keras.optimizers.schedules.LearningRateSchedule):
            present = optimizer._learning_rate(clock)
        present = float(read(present))
        if _close(applied, present):
            yield "set", _SET
        else:
            yield "compiled", _COMPILED.format(present=present)


class _Plan:
    """Rates that a schedule, or a constant, plans for updates of given numbers."""

    def __init__(self, rate: Any, optimizer: keras.Optimizer) -> None:
        self._schedule = None
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            self._schedule = rate
        else:
            self._constant = unscaled(optimizer._learning_rate)
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


def _close(a: Any, b: Any) -> bool:
    return np.allclose(a, b, rtol=_RELATIVE, atol=_ABSOLUTE, equal_nan=True)
