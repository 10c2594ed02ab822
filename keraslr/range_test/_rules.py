"""The result of a range test, and the rules that read a rate off its curve."""

from __future__ import annotations

import bisect
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A fall of the loss has to be so many times its standard error, or it is taken for chance: the
# minimum is the lowest of many. Of 1000 sweeps of 100 steps of normal noise, at most 5 pass.
_SURE = 5.0

# A sweep that diverges within so many steps began too high: what it fell before that says little.
_FEW = 20


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """What a range test saw: the loss at each rate, and three rules that read a rate off it.

    The rules are heuristics: they agree to within a factor of ten or so, and they cannot know how
    long the training will be. Look at `plot()`. The steepest rate can be one at which training does
    not last: the package's LeNet fails to learn at what it names under plain SGD.

    All read the smoothed loss. After an exponential sweep a step of it is a factor of the rate,
    after a linear one a difference:

    - `steepest`: the rate at which the loss fell most in a step, among those up to its minimum but
      for the first tenth, where the average has yet to settle.
    - `valley`: the middle of the longest falling stretch; the geometric mean of the rates at its
      ends after an exponential sweep, the arithmetic mean after a linear one. The stretch is as
      long as the longest decreasing subsequence of the loss, and ends where that does.
    - `minimum_over_ten`: a tenth of the rate at which the loss was smallest.

    Each is None, and `problem` says why, where the loss did not fall more than by chance: its
    minimum has to lie five standard errors below the first loss and the mean of the first tenth.
    The error is estimated from the differences of consecutive losses. Nor may the sweep have
    diverged within 20 steps.

    Attributes:
        learning_rates: Rate of each step, float array (n,).
        losses: Mean loss of each step's batch, before its update, float array (n,). The last may
            be infinite or NaN.
        smoothed: The losses' moving average, float array (n,).
        stopped: "finished", or "diverged" where the loss ended the sweep early.
        sweep: "exponential" or "linear".
        smoothing: Factor of the moving average.

    Source of `valley`: the rule of that name in fastai's learning-rate finder.
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    stopped: str = "finished"
    sweep: str = "exponential"
    smoothing: float = 0.8

    @property
    def suggestions(self) -> dict[str, float | None]:
        """The three rates by the names of their rules."""
        return {
            "steepest": self.steepest,
            "valley": self.valley,
            "minimum over ten": self.minimum_over_ten,
        }

    @property
    def steepest(self) -> float | None:
        """The rate at which the loss fell fastest; None if it never fell."""
        if self.problem:
            return None
        early = early_steps(len(self.learning_rates))
        slopes = np.gradient(self._finite())[early : self._best() + 1]
        return float(self.learning_rates[early + np.argmin(slopes)])

    @property
    def valley(self) -> float | None:
        """The rate in the middle of the longest fall of the loss; None if it never fell."""
        if self.problem:
            return None
        length, end = _longest_decrease(self._finite())
        first, last = self.learning_rates[end - length + 1], self.learning_rates[end]
        if self.sweep == "linear":
            return float((first + last) / 2)
        return float(np.sqrt(first * last))

    @property
    def minimum_over_ten(self) -> float | None:
        """A tenth of the rate of the smallest loss; None if it never fell."""
        return None if self.problem else float(self.learning_rates[self._best()] / 10)

    @property
    def problem(self) -> str:
        """Why there are no suggestions, and what to do about it; empty if there are some."""
        steps, finite = len(self.learning_rates), self._finite()
        early = early_steps(steps)
        if len(finite) < 2 * early or (self.stopped == "diverged" and steps < _FEW):
            return f"the loss diverged within {steps} steps: lower min_lr or raise steps"
        best = self._best()
        noise = _noise(self.losses[: max(best + 1, 2 * early)])
        # Variances, in units of the noise's: of the moving average, and of the mean of the first.
        lasting = (1 - self.smoothing) / (1 + self.smoothing)
        chance = _SURE * noise * np.sqrt(lasting + 1 / early)
        # The first loss is from before any update, while the next ones may be those of a rate that
        # throws the weights about.
        before = min(self.losses[0], self.losses[:early].mean())
        if best >= early and before - finite[best] > chance:
            return ""
        if self.stopped == "diverged" or finite[-1] - before > chance:
            return "the loss never fell before it rose: lower min_lr or raise steps"
        return "the loss never fell: raise max_lr or steps"

    def plot(self) -> Figure:
        """The losses against the rate, with the suggestions; see `plotting.range_test_figure`."""
        from keraslr.plotting import RangeTestCurve, range_test_figure

        steps = len(self.learning_rates)
        curve = RangeTestCurve(
            title=self.problem or f"range test: {steps} steps, {self.stopped}",
            learning_rates=self.learning_rates,
            losses=self.losses,
            smoothed=self.smoothed,
            suggestions=self.suggestions,
            log=self.sweep == "exponential",
        )
        return range_test_figure(curve)

    def __str__(self) -> str:
        steps = len(self.learning_rates)
        first, last = self.learning_rates[[0, -1]]
        end = "the loss diverged" if self.stopped == "diverged" else "the sweep ended"
        head = f"Range test of {steps} steps from {first:.3g} to {last:.3g}, where {end}"
        if self.problem:
            return f"{head}.\nNo suggestion: {self.problem}."
        rates = [f"  {name}: {rate:.3g}" for name, rate in self.suggestions.items()]
        return "\n".join([f"{head}. Suggested rates:", *rates])

    __repr__ = __str__

    def _finite(self) -> np.ndarray:
        """The smoothed losses up to the first that is not finite."""
        infinite = np.flatnonzero(~np.isfinite(self.smoothed))
        return self.smoothed[: infinite[0]] if len(infinite) else self.smoothed

    def _best(self) -> int:
        return int(np.argmin(self._finite())) if len(self._finite()) else 0


def early_steps(steps: int) -> int:
    """Steps at the beginning of a sweep, in which the moving average has yet to settle."""
    return max(3, steps // 10)


def _noise(losses: np.ndarray) -> float:
    """Standard deviation of the losses about their trend, whatever a few outliers do."""
    steps = np.diff(losses)
    # The median deviation of a normal variable is 0.6745 of its standard deviation, and the
    # difference of two has twice the variance.
    return float(np.median(np.abs(steps - np.median(steps)))) / 0.6745 / np.sqrt(2)


def _longest_decrease(values: np.ndarray) -> tuple[int, int]:
    """Length of the longest strictly decreasing subsequence, and where the first such one ends."""
    # ends[k]: minus the largest value with which a decrease of k + 1 values can end so far.
    ends: list[float] = []
    last = 0
    for index, value in enumerate(values):
        place = bisect.bisect_left(ends, -value)
        if place == len(ends):
            ends.append(-value)
            last = index
        else:
            ends[place] = -value
    return len(ends), last
