"""A line of the table: our time, the rival's time, and the goal."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks._sides import Side, Timed, measured
from benchmarks._timing import Spread


@dataclasses.dataclass(frozen=True)
class Goal:
    """The goal of a measurement; None in both attributes for no goal.

    Attributes:
        ratio: Largest allowed ratio of our time to the rival's time.
        seconds: Largest allowed time of ours.
    """

    ratio: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.ratio is not None:
            return f"{self.ratio:g}"
        return "" if self.seconds is None else shown_time(self.seconds)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """The times of ours and of a rival, measured in the same run.

    Attributes:
        what: Description of the measured work.
        rival: Name of the rival.
        ours, theirs: Times and memory of each.
        goal: Goal of the measurement.
    """

    what: str
    rival: str
    ours: Timed
    theirs: Timed
    goal: Goal = Goal()

    @property
    def ratio(self) -> Spread:
        """Spread of our time over the rival's time, round by round: below 1 ours is faster."""
        pairs = zip(self.ours.seconds, self.theirs.seconds, strict=True)
        return Spread.of([ours / theirs for ours, theirs in pairs])

    @property
    def verdict(self) -> str:
        """Text that says whether the median meets the goal; "" without a goal."""
        if self.goal.ratio is not None:
            reached, asked = self.ratio.median, self.goal.ratio
        elif self.goal.seconds is not None:
            reached, asked = Spread.of(self.ours.seconds).median, self.goal.seconds
        else:
            return ""
        return "met" if reached <= asked else f"missed: {reached / asked:.2f} times as much"

    def plain(self) -> dict[str, Any]:
        """Returns the measurement as JSON values; times in seconds, memory in MiB."""
        return {
            **dataclasses.asdict(self),
            "ratio": dataclasses.asdict(self.ratio),
            "verdict": self.verdict,
        }


@dataclasses.dataclass(frozen=True)
class Pair:
    """The sides that a measurement compares, by their names."""

    what: str
    ours: str
    theirs: str
    goal: Goal = Goal()


@dataclasses.dataclass(frozen=True)
class Found:
    """The results of a subject.

    Attributes:
        measurements: Lines of the table.
        absent: Packages that are not installed, with the sides left out because of them.
    """

    measurements: Sequence[Measurement]
    absent: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subject:
    """A subject of measurement.

    Attributes:
        sides: Function that returns all sides, which are measured in turns.
        pairs: Function that returns the pairs of sides to compare.
        rounds: Number of repeats.
        fresh: Whether each repeat needs new processes, without a warm-up.
    """

    sides: Callable[[], Sequence[Side]]
    pairs: Callable[[], Sequence[Pair]]
    rounds: int
    fresh: bool = False

    def measure(self, quick: bool) -> Found:
        """Measures the subject."""
        sides, rounds = self.sides(), 2 if quick else self.rounds
        if self.fresh:
            times = [measured(sides, 1, quick=quick, warm_up=False) for _ in range(rounds)]
            found = {
                name: Timed(
                    [second for each in times for second in each[name].seconds],
                    max(each[name].peak for each in times),
                )
                for name in times[0]
            }
        else:
            found = measured(sides, rounds, quick=quick)
        absent: dict[str, list[str]] = {}
        for side in sides:
            if not side.installed:
                absent.setdefault(side.needs, []).append(side.name)
        return Found(
            [
                Measurement(
                    each.what,
                    each.theirs,
                    found[each.ours],
                    found[each.theirs],
                    Goal() if quick else each.goal,  # too small to judge the goal
                )
                for each in self.pairs()
                if each.theirs in found
            ],
            absent,
        )


def shown_time(seconds: float) -> str:
    """Returns a time as text, with three digits and a suitable unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
