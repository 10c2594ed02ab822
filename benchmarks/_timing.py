"""Things timed in turns, so that what else the machine does falls on all of them alike."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

# Works once, and returns how many seconds that took, for whatever it counts as one.
Repeat = Callable[[], float]


def timed(work: Callable[[], object], count: float = 1) -> Repeat:
    """Times `work`, which does `count` of what is counted."""

    def repeat() -> float:
        begin = time.perf_counter()
        work()
        return (time.perf_counter() - begin) / count

    return repeat


def in_turns(
    repeats: Mapping[str, Repeat], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """The seconds of each, a number a round, after a round that warms up and is not counted.

    Every second round goes backwards, so that what grows or falls steadily favours none.
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
    """Of several numbers the median, and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number."""
        low, median, high = np.percentile(values, [25, 50, 75])
        return cls(float(median), float(low), float(high))
