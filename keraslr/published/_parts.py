"""What a reproduced comparison is made of: jobs to run, and what is found in their results."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Callable, Sequence
from importlib import resources
from typing import Any

import numpy as np

from keraslr._chart_data import LineFigure
from keraslr.jobs._job import Job


def read_data(name: str) -> Any:
    """The settings and published figures of a part: `documented/NAME.json`."""
    return json.loads((resources.files(__package__) / f"{name}.json").read_text(encoding="utf-8"))


@dataclasses.dataclass(frozen=True)
class Plan:
    """How much is to be reproduced.

    Attributes:
        quick: Whether to leave out what takes long.
        seeds: How many seeds a random comparison runs over; None for each one's own number.
        dataset: Name of the images that the LeNet is trained on; "" where none are.
        substitute: Whether they stand in for Fashion-MNIST, so that nothing may be compared.
    """

    quick: bool = False
    seeds: int | None = None
    dataset: str = "fashion_mnist"
    substitute: bool = False

    def seeds_of(self, usual: int, quick: int = 1) -> range:
        """The seeds to run over."""
        return range(self.seeds or (quick if self.quick else usual))


Results = Sequence[tuple[Job, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        mean: Mean.
        deviation: Standard deviation of the population that the runs are a sample of (with n - 1);
            0 for a single run.
        count: Number of runs.
    """

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of the figure's values, at least one."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), deviation, len(values))

    @classmethod
    def of_population(cls, mean: float, deviation: float, count: int) -> Spread:
        """From a standard deviation that was taken with n, as the references print it."""
        return cls(mean, deviation * math.sqrt(count / (count - 1)), count)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.count)

    def shown(self, digits: int) -> str:
        """As text."""
        text = f"{self.mean:.{digits}f}"
        return text if self.count == 1 else f"{text} ± {self.deviation:.{digits}f}"


class Verdict(enum.Enum):
    """What a figure here says about the published one."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    AGREES = "agrees with PyTorch"
    DIFFERS = "differs from PyTorch"
    NOT_COMPARED = "not compared"


def judged(published: float | None, pytorch: Spread | None, here: Spread | None) -> Verdict:
    """Whether a random figure is reproduced.

    A published single run is, when it lies within three standard deviations of ours and the two
    means, ours and PyTorch's, differ by less than three of their combined standard errors. Without
    a published figure only the means are compared. One run here has no deviation: not compared.
    """
    if here is None or here.count < 2 or (published is None and pytorch is None):
        return Verdict.NOT_COMPARED
    near = published is None or abs(published - here.mean) <= 3 * here.deviation
    alike = pytorch is None or abs(pytorch.mean - here.mean) < 3 * math.hypot(
        pytorch.error, here.error
    )
    if published is None:
        return Verdict.AGREES if alike else Verdict.DIFFERS
    return Verdict.REPRODUCED if near and alike else Verdict.NOT_REPRODUCED


@dataclasses.dataclass(frozen=True)
class Line:
    """A line of the table "published, PyTorch, here, verdict".

    Attributes:
        name: Of the run.
        figure: Which of its figures.
        published: As printed; "" where nothing is.
        pytorch, here: As text; "" where there is none.
        verdict: Of the figure.
        note: A short sentence, if one is needed.
    """

    name: str
    figure: str
    published: str
    pytorch: str
    here: str
    verdict: Verdict
    note: str = ""


@dataclasses.dataclass(frozen=True)
class Statement:
    """A claim of the documents, checked.

    Attributes:
        claim: The claim, as a sentence.
        holds: Whether it does; None where this run cannot tell.
        evidence: The numbers.
    """

    claim: str
    holds: bool | None
    evidence: str


@dataclasses.dataclass(frozen=True)
class Findings:
    """What a part has found.

    Attributes:
        summary: What was compared and what came of it, in a few sentences.
        lines: The table.
        statements: The claims.
        pictures: What to draw.
        left_out: What was not run, as a sentence; "" for nothing.
    """

    summary: str
    lines: Sequence[Line] = ()
    statements: Sequence[Statement] = ()
    pictures: Sequence[LineFigure] = ()
    left_out: str = ""


@dataclasses.dataclass(frozen=True)
class Part:
    """A kind of comparison, and how it is run.

    Attributes:
        name: As `--only` takes it.
        title: As a heading.
        jobs: What is to be run.
        findings: What the results say. Of jobs that are not done yet there is no result.
        images: Whether it trains on images, which have to be loaded for it.
    """

    name: str
    title: str
    jobs: Callable[[Plan], list[Job]]
    findings: Callable[[Plan, Results], Findings]
    images: bool = False
