"""Parts of a reproduced comparison: jobs to run, and findings from their results."""

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
    """Returns the settings and published figures of a part, from `published/NAME.json`."""
    return json.loads((resources.files(__package__) / f"{name}.json").read_text(encoding="utf-8"))


@dataclasses.dataclass(frozen=True)
class Plan:
    """The extent of a reproduction.

    Attributes:
        quick: Whether to leave out long runs.
        seeds: Number of seeds of each random comparison; None for its default number.
        dataset: Name of the images that the LeNet is trained on; "" for none.
        substitute: Whether these images replace Fashion-MNIST, so that nothing may be compared.
    """

    quick: bool = False
    seeds: int | None = None
    dataset: str = "fashion_mnist"
    substitute: bool = False

    def seeds_of(self, usual: int, quick: int = 1) -> range:
        """Returns the seeds to run over."""
        return range(self.seeds or (quick if self.quick else usual))


Results = Sequence[tuple[Job, dict[str, Any]]]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A figure over seeds.

    Attributes:
        mean: Mean.
        deviation: Sample standard deviation (with n - 1); 0 for a single run.
        count: Number of runs.
    """

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Computes the spread of one or more values of the figure."""
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        return cls(float(np.mean(values)), deviation, len(values))

    @classmethod
    def of_population(cls, mean: float, deviation: float, count: int) -> Spread:
        """Converts a standard deviation that was computed with n, as the references print it."""
        return cls(mean, deviation * math.sqrt(count / (count - 1)), count)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return self.deviation / math.sqrt(self.count)

    def shown(self, digits: int) -> str:
        """Returns the spread as text."""
        text = f"{self.mean:.{digits}f}"
        return text if self.count == 1 else f"{text} ± {self.deviation:.{digits}f}"


class Verdict(enum.Enum):
    """Verdict on a figure here, compared with the published one."""

    REPRODUCED = "reproduced"
    NOT_REPRODUCED = "not reproduced"
    AGREES = "agrees with PyTorch"
    DIFFERS = "differs from PyTorch"
    NOT_COMPARED = "not compared"


def judged(published: float | None, pytorch: Spread | None, here: Spread | None) -> Verdict:
    """Judges whether a random figure is reproduced.

    A published single run is reproduced if it lies within three standard deviations of ours and the
    two means, ours and PyTorch's, differ by less than three of their combined standard errors.
    Without a published figure only the means are compared. A single run here has no deviation and
    is not compared.
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
    """A line of the table "published, PyTorch, here, verdict" for one figure.

    Attributes:
        name: Name of the run.
        figure: Name of the figure.
        published: Published figure as printed; "" for none.
        pytorch, here: Figures of PyTorch and of this run as text; "" for none.
        verdict: Verdict on the figure.
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
    """A claim of the documents and whether it holds.

    Attributes:
        claim: The claim, as a sentence.
        holds: Whether the claim holds; None if this run cannot tell.
        evidence: Numbers for or against the claim.
    """

    claim: str
    holds: bool | None
    evidence: str


@dataclasses.dataclass(frozen=True)
class Findings:
    """The findings of a part.

    Attributes:
        summary: The comparison and its result, in a few sentences.
        lines: Lines of the table.
        statements: Claims.
        pictures: Figures to draw.
        left_out: A sentence on the runs that were left out; "" for none.
    """

    summary: str
    lines: Sequence[Line] = ()
    statements: Sequence[Statement] = ()
    pictures: Sequence[LineFigure] = ()
    left_out: str = ""


@dataclasses.dataclass(frozen=True)
class Part:
    """A published comparison and how it is run.

    Attributes:
        name: Name for `--only`.
        title: Heading.
        jobs: Returns the jobs of a plan.
        findings: Returns the findings from the results of the jobs that are done.
        images: Whether the part trains on images, which have to be loaded first.
    """

    name: str
    title: str
    jobs: Callable[[Plan], list[Job]]
    findings: Callable[[Plan, Results], Findings]
    images: bool = False
