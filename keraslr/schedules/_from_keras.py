"""Keras's own schedules as schedules of keraslr, wherever one is taken."""

from __future__ import annotations

from typing import Any

import keras

from keraslr.schedules._cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from keraslr.schedules._decay import ExponentialLR, InversePowerLR, LinearLR, PolynomialLR
from keraslr.schedules._registry import CONVERSIONS
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._stepwise import PiecewiseConstantLR, StepLR

_keras = keras.optimizers.schedules


def from_keras(schedule: Any) -> Schedule | None:
    """Returns the schedule with the same values; None if there is none.

    The lines are those of the porting page, which a test compares with Keras's.
    """
    kind = type(schedule)
    if kind is _keras.PiecewiseConstantDecay:
        return PiecewiseConstantLR(schedule.boundaries, schedule.values)
    rate: Any = getattr(schedule, "initial_learning_rate", None)
    ticks: Any = getattr(schedule, "decay_steps", getattr(schedule, "first_decay_steps", None))
    if ticks is None or ticks != int(ticks):
        return None
    ticks = int(ticks)
    if kind is _keras.ExponentialDecay:
        if schedule.staircase:
            return StepLR(rate, step_size=ticks, gamma=schedule.decay_rate)
        return ExponentialLR(rate, gamma=schedule.decay_rate).per_epoch(ticks, smooth=True)
    if kind is _keras.InverseTimeDecay:
        if schedule.staircase:
            return InversePowerLR(rate, beta=schedule.decay_rate, alpha=1.0).per_epoch(ticks)
        return InversePowerLR(rate, beta=schedule.decay_rate / ticks, alpha=1.0)
    if kind is _keras.PolynomialDecay and not schedule.cycle:
        end = schedule.end_learning_rate
        if end == 0:
            return PolynomialLR(rate, total_iters=ticks, power=schedule.power)
        if schedule.power == 1:
            factors = {"start_factor": 1.0, "end_factor": end / rate}
            return LinearLR(rate, total_iters=ticks, **factors)
        return None
    if kind is _keras.CosineDecay:
        warmup = schedule.warmup_target is not None and schedule.warmup_steps
        top = schedule.warmup_target if warmup else rate
        low = CosineAnnealingLR(top, T_max=ticks, eta_min=schedule.alpha * top).held_after(ticks)
        return low.with_warmup(int(schedule.warmup_steps), start_lr=rate) if warmup else low
    if kind is _keras.CosineDecayRestarts and schedule._m_mul == 1:
        longer = schedule._t_mul
        if longer == int(longer):
            return CosineAnnealingWarmRestarts(
                rate, T_0=ticks, T_mult=int(longer), eta_min=schedule.alpha * rate
            )
    return None


CONVERSIONS.append(from_keras)
