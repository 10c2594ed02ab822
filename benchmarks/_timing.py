"""Timing in turns, so that other work on the machine affects all candidates alike."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

# A function that does its work once, and returns the seconds per counted unit.
Repeat = Callable[[], float]


def timed(work: Callable[[], object], count: float = 1) -> Repeat:
    """Returns a function that times `work`, which does `count` units."""

    def repeat() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) / count

    return repeat


def in_turns(
    repeats: Mapping[str, Repeat], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Returns the seconds of each, one number per round, after a warm-up round that is not counted.

    Every second round goes backwards, so that a steady drift favours none of them.
    """
    seconds: dict[str, list[float]] = {name: [] for name in repeats}
    for name in repeats if warm_up else ():
        repeats[name]()
    for number in range(rounds):
        for name in repeats if number % 2 == 0 else reversed(list(repeats)):
            seconds[name].append(repeats[name]())
    return seconds


@dataclasses.dataclass(frozen=True)
class Spread:
    """The median and the quartiles of several numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Returns the spread of at least one number."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high))
