"""Summarizes a schedule over a run: a few numbers, and few enough points for a picture."""

from __future__ import annotations

import dataclasses

import numpy as np

from keraslr._parameters import MAX_TICKS, Number
from keraslr.schedules import PerEpoch, Schedule

__all__ = ["Summary", "summarize", "thinned"]

# More points than a picture has pixels across, and still a millisecond's work.
_POINTS = 8192


@dataclasses.dataclass(frozen=True, eq=False)
class Summary:
    """Summary of the rates of a run.

    Attributes:
        steps: Optimizer steps of the run.
        at: Steps whose rates are known, int64 array (n,), from the first to the last one.
        rates: Rates there, float32 array (n,).
        first, last: Rates of the first and of the last step.
        peak: Highest rate.
        peak_step: The first step that has it.
        mean: Mean over the steps.
    """

    steps: int
    at: np.ndarray
    rates: np.ndarray
    first: float
    last: float
    peak: float
    peak_step: int
    mean: float


def summarize(schedule: Schedule, steps: int) -> Summary:
    """Summarizes the rates of a schedule over a run.

    All steps count, where they are at most 8192 or the rate is that of whole epochs; in longer
    runs as many, evenly spread over it, and the mean is theirs.

    Args:
        schedule: A keraslr schedule.
        steps: Optimizer steps of the run, >= 1.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> from keraslr import ExponentialLR
        >>> summary = summarize(ExponentialLR(0.1, gamma=0.5), 3)
        >>> round(summary.mean, 4), summary.peak_step
        (0.0583, 0)
    """
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a keraslr schedule. Received: schedule={schedule!r}")
    steps = Number("", int, at_least=1, at_most=MAX_TICKS).validated("steps", steps)
    length = 1
    if isinstance(schedule, PerEpoch) and not schedule.smooth:
        length = schedule.steps_per_epoch
    at = np.arange(0, steps, length, dtype=np.int64)
    if len(at) > _POINTS:
        at = np.unique(np.linspace(0, steps - 1, _POINTS).round().astype(np.int64))
        length = 1
    rates = np.asarray(schedule(at), np.float32)
    # The last epoch may be cut short.
    weights = np.minimum(length, steps - at)
    peak = int(rates.argmax())
    return Summary(
        steps, at, rates, float(rates[0]), float(rates[-1]), float(rates[peak]), int(at[peak]),
        float(np.average(rates, weights=weights)),
    )  # fmt: skip


def thinned(
    times: np.ndarray, values: np.ndarray, points: int = 240
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the means of equal stretches of a noisy record, and their mean times, for a picture.

    Args:
        times, values: Arrays (n,).
        points: Most points to return, >= 1.

    Returns:
        Arrays (m,) with m <= points; the record itself where it is short enough.

    Example:
        >>> thinned(np.arange(4.0), np.array([1.0, 3.0, 5.0, 7.0]), points=2)
        (array([0.5, 2.5]), array([2., 6.]))
    """
    if len(values) <= points:
        return times, values
    size = -(-len(values) // points)
    begins = np.arange(0, len(values), size)
    counts = np.diff(np.append(begins, len(values)))
    return np.add.reduceat(times, begins) / counts, np.add.reduceat(values, begins) / counts
