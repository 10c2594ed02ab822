"""A line of the table: ours, its rival, and what the ratio is to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from benchmarks._sides import Side, Timed, measured
from benchmarks._timing import Spread


@dataclasses.dataclass(frozen=True)
class Goal:
    """What a measurement has to keep to; None for no goal.

    Attributes:
        ratio: Most that our time may be of the rival's.
        seconds: Most that our time may be.
    """

    ratio: float | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.ratio is not None:
            return f"{self.ratio:g}"
        return "" if self.seconds is None else shown_time(self.seconds)


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Ours and its rival, measured in the same run.

    Attributes:
        what: What was done.
        rival: Against what.
        ours, theirs: Of each.
        goal: What is to be kept to.
    """

    what: str
    rival: str
    ours: Timed
    theirs: Timed
    goal: Goal = Goal()

    @property
    def ratio(self) -> Spread:
        """Our time over the rival's, round by round: below 1 ours is faster."""
        pairs = zip(self.ours.seconds, self.theirs.seconds, strict=True)
        return Spread.of([ours / theirs for ours, theirs in pairs])

    @property
    def verdict(self) -> str:
        """Whether the goal is met by the median, or by how much it is missed; "" without one."""
        if self.goal.ratio is not None:
            reached, asked = self.ratio.median, self.goal.ratio
        elif self.goal.seconds is not None:
            reached, asked = Spread.of(self.ours.seconds).median, self.goal.seconds
        else:
            return ""
        return "met" if reached <= asked else f"missed: {reached / asked:.2f} times as much"

    def plain(self) -> dict[str, Any]:
        """As JSON holds it; times in seconds, memory in MiB."""
        return {
            **dataclasses.asdict(self),
            "ratio": dataclasses.asdict(self.ratio),
            "verdict": self.verdict,
        }


@dataclasses.dataclass(frozen=True)
class Pair:
    """Which sides a measurement is of, by their names."""

    what: str
    ours: str
    theirs: str
    goal: Goal = Goal()


@dataclasses.dataclass(frozen=True)
class Found:
    """What a subject came to.

    Attributes:
        measurements: Lines of the table.
        absent: Packages that are not installed, and what was left out for it.
    """

    measurements: Sequence[Measurement]
    absent: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        sides: All that are measured in turns.
        pairs: Which of them are held against which.
        rounds: How many repeats.
        fresh: Whether each repeat needs processes of its own, and none before it that warms up.
    """

    sides: Callable[[], Sequence[Side]]
    pairs: Callable[[], Sequence[Pair]]
    rounds: int
    fresh: bool = False

    def measure(self, quick: bool) -> Found:
        """Measures it."""
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
                    Goal() if quick else each.goal,  # what is that small says nothing about it
                )
                for each in self.pairs()
                if each.theirs in found
            ],
            absent,
        )


def shown_time(seconds: float) -> str:
    """With three digits and the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"
