"""Steering by hand: a schedule whose rate can be held, and the record of it in the result."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keraslr._parameters import MAX_TICKS, Number
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.schedules import Schedule
from keraslr.training._result import Result

RATE = Number("", float, at_least=0)
_STEP = Number("", int, at_least=0, at_most=MAX_TICKS)
_NOT_HELD = -1.0
_Schedule = keras.optimizers.schedules.LearningRateSchedule


class SteeredSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule whose rate is schedule(step - first_step), or a rate held by hand.

    The held rate is a variable, because all other values of a schedule are constants in the graph.
    """

    def __init__(self, schedule: Any, first_step: int):
        if not isinstance(schedule, _Schedule):
            schedule = RATE.validated("schedule", schedule)
        first_step = _STEP.validated("first_step", first_step)
        self._schedule, self._first_step = schedule, first_step
        self._held = keras.Variable(_NOT_HELD, trainable=False, dtype="float32", name="held_rate")

    @property
    def is_held(self) -> bool:
        """Whether a rate is held."""
        return float(ops.convert_to_numpy(self._held)) >= 0

    def hold(self, rate: float | None) -> None:
        """Holds this rate from the next step on; None returns to the schedule's rate."""
        self._held.assign(_NOT_HELD if rate is None else rate)

    def __call__(self, step: Any) -> Any:
        """Returns the learning rate of an optimizer step."""
        planned = self._schedule
        if isinstance(planned, _Schedule):
            planned = planned(step - self._first_step)
        return ops.where(self._held >= 0, self._held, planned)


class RestingPlateau(ReduceLROnPlateau):
    """A plateau rule that decides nothing while a rate is held by hand.

    It would reduce a rate that is not applied, again and again.
    """

    held_by: SteeredSchedule | None = None
    # The trainer trains no model that is compiled anew, and tells the counts of steps itself.
    on_train_batch_begin = keras.callbacks.Callback.on_train_batch_begin

    def _decide(self, metric: Any) -> None:
        if self.held_by is not None and self.held_by.is_held:
            self._decided = True
            self._note_rates()
            return
        super()._decide(metric)


def planned_rates(schedule: Any, steps: int) -> np.ndarray:
    """Returns the rates that a schedule, ours or Keras's, or a constant gives at the first steps.

    A float32 array (steps,).
    """
    if isinstance(schedule, Schedule):
        return schedule.values(steps)
    if not isinstance(schedule, _Schedule):
        return np.full(steps, schedule, np.float32)
    import tensorflow as tf

    # Keras's own take one step at a time; in the graph, or many would take seconds.
    def value(step: Any) -> Any:
        return tf.cast(schedule(step), tf.float32)

    every = tf.function(
        lambda: tf.map_fn(value, tf.range(steps, dtype=tf.int64), fn_output_signature=tf.float32),
        autograph=False,
    )
    return every().numpy()


def write_steering(result: Result, entry: list[Any] | None = None) -> None:
    """Records a step and the rate held from it on; drops records of steps not reached."""
    run, done = dict(result.run), result.steps_done
    steered = [each for each in run.pop("steered", []) if each[0] < done]
    if entry is not None and entry[1] != (steered[-1][1] if steered else None):
        steered.append(entry)
    if steered:
        run["steered"] = steered
    # A new dict, because another thread may be saving the old one.
    result.run = run
