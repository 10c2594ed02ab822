"""Checks whether a schedule fits its run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

from keraslr import schedules
from keraslr._parameters import Number
from keraslr.schedules import Schedule
from keraslr.schedules._registry import counterpart_of

__all__ = ["Finding", "check"]

# Steps of every epoch that are searched for a zero rate.
_SAMPLES = 64
# Largest number of samples of a whole run.
_MOST_SAMPLES = 2**20


@dataclasses.dataclass(frozen=True)
class Finding:
    """A property of a schedule that hardly suits its run.

    Attributes:
        code: What it is: "milestone-not-reached", "warm-up-too-long", "cosine-rises",
            "one-cycle-length", "rate-zero", "per-epoch-driven-per-step",
            "per-step-driven-per-epoch" or "epoch-length".
        message: A sentence for a person.
    """

    code: str
    message: str

    def __str__(self) -> str:
        return self.message


@dataclasses.dataclass(frozen=True)
class _Clock:
    """Range of an inner schedule's time: t = 0..last, with `per_tick` steps a tick."""

    last: float
    per_tick: int = 1


def check(schedule: Schedule, steps: int, steps_per_epoch: int | None = None) -> list[Finding]:
    """Returns findings about a schedule for a run; an empty list if it fits.

    Args:
        schedule: A keraslr schedule.
        steps: Optimizer steps of the run, >= 1.
        steps_per_epoch: Optimizer steps per epoch. Where it is not given, that of a `PerEpoch`
            in the schedule counts.

    Returns:
        List of `Finding`; `str(finding)` is a sentence.

    Example:
        >>> for finding in check(CosineAnnealingLR(0.1, T_max=30), steps=100):
        ...     print(finding)
        CosineAnnealingLR reaches its lowest rate at t = 30 and rises again until t = 99: let T_max be 99, or use held_after(30).
    """  # noqa: E501
    schedule = counterpart_of(schedule, "schedule")
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a keraslr schedule. Received: schedule={schedule!r}")
    steps = Number("", int, at_least=1).validated("steps", steps)
    if steps_per_epoch is not None:
        steps_per_epoch = Number("", int, at_least=1).validated("steps_per_epoch", steps_per_epoch)
    parts = list(_parts(schedule, _Clock(steps - 1)))
    epochs_of = [part.steps_per_epoch for part, _ in parts if isinstance(part, schedules.PerEpoch)]
    per_epoch = steps_per_epoch or (epochs_of[0] if epochs_of else None)
    findings: list[Finding] = []
    for part, clock in parts:
        findings += _length_findings(part, clock)
        if per_epoch:
            findings += _clock_findings(part, clock, steps, per_epoch)
    # A momentum of 0 is a momentum: plain gradient descent.
    if not any(isinstance(part, schedules.CycledMomentum) for part, _ in parts):
        findings += _zero_findings(schedule, steps, per_epoch)
    return list(dict.fromkeys(findings))


def _parts(schedule: Schedule, clock: _Clock) -> Iterator[tuple[Schedule, _Clock]]:
    """Yields the schedule and its inner schedules, each with its clock, if they ever begin."""
    if clock.last < 0:
        return
    yield schedule, clock
    for each, last, per_tick in schedule.clocked_parts(clock.last, clock.per_tick):
        yield from _parts(each, _Clock(last, per_tick))


def _length_findings(part: Schedule, clock: _Clock) -> Iterator[Finding]:
    """Yields findings about lengths that do not fit the part's range of time."""
    name, last = type(part).__name__, clock.last
    late = [tick for tick in part.milestones_to_reach if tick > last]
    if late:
        yield Finding(
            "milestone-not-reached",
            f"{name} never reaches {', '.join(map(str, late))}: its last tick is t = {last:g}.",
        )
    if part.warmup_length > last:
        yield Finding(
            "warm-up-too-long",
            f"{name} warms up for {part.warmup_length} ticks, but its last tick is "
            f"t = {last:g}: the full rate is never reached.",
        )
    if isinstance(part, schedules.CosineAnnealingLR) and last > part.T_max:
        yield Finding(
            "cosine-rises",
            f"{name} reaches its lowest rate at t = {part.T_max} and rises again until "
            f"t = {last:g}: let T_max be {math.ceil(last)}, or use held_after({part.T_max}).",
        )
    if isinstance(part, schedules.OneCycleLR) and part.length != math.floor(last) + 1:
        yield Finding(
            "one-cycle-length",
            f"{name} is made for {part.length} ticks, but runs for {math.floor(last) + 1}.",
        )


def _clock_findings(
    part: Schedule, clock: _Clock, steps: int, steps_per_epoch: int
) -> Iterator[Finding]:
    """Yields findings about epochs mistaken for steps, and steps mistaken for epochs."""
    name, epochs = type(part).__name__, math.ceil(steps / steps_per_epoch)
    if isinstance(part, schedules.PerEpoch) and part.steps_per_epoch != steps_per_epoch:
        yield Finding(
            "epoch-length",
            f"PerEpoch counts {part.steps_per_epoch} steps per epoch, but the run has "
            f"{steps_per_epoch}.",
        )
    length = part.length
    if length is None:
        return
    # A length that ends within the first epoch, and fits the number of epochs.
    if clock.per_tick == 1 and length <= epochs and length < steps_per_epoch:
        yield Finding(
            "per-epoch-driven-per-step",
            f"{name} is over after {length} of {steps_per_epoch} steps of the first epoch. If it "
            f"is counted in epochs, use per_epoch({steps_per_epoch}).",
        )
    # A length that no epoch count of this run explains, but its step count does.
    if clock.per_tick > 1 and length > epochs and 2 * length >= steps:
        yield Finding(
            "per-step-driven-per-epoch",
            f"{name} has a length of {length}, but its clock ticks once in {clock.per_tick} "
            f"steps, {epochs} times in all. If it is counted in steps, leave per_epoch out.",
        )


def _zero_findings(schedule: Schedule, steps: int, per_epoch: int | None) -> Iterator[Finding]:
    """Yields findings about epochs (or runs) in which nothing is learned."""
    epoch = per_epoch or steps
    stride = max(1, min(epoch, steps) // _SAMPLES, steps // _MOST_SAMPLES)
    times = np.unique(np.append(np.arange(0, steps, stride), steps - 1))
    rates = np.asarray(schedule(times))
    idle = np.flatnonzero(np.diff(np.concatenate([[0], rates <= 0, [0]]).astype(int)))
    for begin, end in zip(idle[::2], idle[1::2] - 1, strict=True):
        first, last = int(times[begin]), int(times[end])
        # One sample among coarse ones says nothing about its neighbours.
        if last - first + stride >= min(epoch, steps) and (end > begin or stride == 1):
            yield Finding(
                "rate-zero",
                f"The rate is 0 from step {first} to step {last}, "
                f"{'a whole epoch or more' if per_epoch else 'the whole run'}: nothing is learned.",
            )
