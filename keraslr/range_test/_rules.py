"""The result of a range test, and the rules that suggest a rate from its curve."""

from __future__ import annotations

import bisect
import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# A fall of the loss must be at least this many standard errors, or it counts as chance: the minimum
# is the lowest of many values. Of 1000 sweeps of 100 steps of normal noise, at most 5 pass.
_SURE = 5.0

# A sweep that diverges within this many steps began too high: an earlier fall says little.
_FEW = 20


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class RangeTest:
    """The result of a range test: the loss at each rate, and three rules that suggest a rate.

    The rules are heuristics: they agree to within a factor of about ten, and they cannot know how
    long the training will be. Look at `plot()`. Training may fail at the steepest rate: with plain
    SGD, the package's LeNet does not learn at the rate that `steepest` suggests.

    All rules use the smoothed loss. In an exponential sweep each step multiplies the rate by a
    factor, in a linear sweep it adds a difference:

    - `steepest`: the rate at which the loss fell most in one step, up to its minimum and without
      the first tenth of the steps, where the moving average is not settled yet.
    - `valley`: the middle of the longest falling stretch: the geometric mean of the rates at its
      ends after an exponential sweep, the arithmetic mean after a linear sweep. The stretch is as
      long as the longest decreasing subsequence of the loss, and ends at the same step.
    - `minimum_over_ten`: a tenth of the rate at which the loss was smallest.

    All three are None, and `problem` says why, if the loss fell no more than by chance: its minimum
    must be five standard errors below the first loss and below the mean of the first tenth. The
    error is estimated from the differences of consecutive losses. They are also None if the sweep
    diverged within 20 steps.

    Attributes:
        learning_rates: Rate of each step, float array (n,).
        losses: Mean loss of each step's batch, before its update, float array (n,). The last may
            be infinite or NaN.
        smoothed: Moving average of the losses, float array (n,).
        stopped: "finished", or "diverged" if the loss ended the sweep early.
        sweep: "exponential" or "linear".
        smoothing: Factor of the moving average.
        optimizers: Where several optimizers trained: pairs of the name of each whose rate rose and
            the ratio of its rate to `learning_rates`; the first has 1. The suggestions are rates of
            the first. Empty for a model with one optimizer.

    Source of `valley`: the rule of that name in fastai's learning-rate finder.
    """

    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    stopped: str = "finished"
    sweep: str = "exponential"
    smoothing: float = 0.8
    optimizers: tuple[tuple[str, float], ...] = ()

    @property
    def suggestions(self) -> dict[str, float | None]:
        """Suggested rates by the names of their rules."""
        return {
            "steepest": self.steepest,
            "valley": self.valley,
            "minimum over ten": self.minimum_over_ten,
        }

    @property
    def steepest(self) -> float | None:
        """Rate at which the loss fell fastest; None if the loss never fell."""
        if self.problem:
            return None
        early = early_steps(len(self.learning_rates))
        slopes = np.gradient(self._finite())[early : self._best() + 1]
        return float(self.learning_rates[early + np.argmin(slopes)])

    @property
    def valley(self) -> float | None:
        """Rate in the middle of the longest fall of the loss; None if the loss never fell."""
        if self.problem:
            return None
        length, end = _longest_decrease(self._finite())
        first, last = self.learning_rates[end - length + 1], self.learning_rates[end]
        if self.sweep == "linear":
            return float((first + last) / 2)
        return float(np.sqrt(first * last))

    @property
    def minimum_over_ten(self) -> float | None:
        """Tenth of the rate of the smallest loss; None if the loss never fell."""
        return None if self.problem else float(self.learning_rates[self._best()] / 10)

    @property
    def problem(self) -> str:
        """Reason why there are no suggestions, with a remedy; empty if there are suggestions."""
        steps, finite = len(self.learning_rates), self._finite()
        early = early_steps(steps)
        if len(finite) < 2 * early or (self.stopped == "diverged" and steps < _FEW):
            return f"the loss diverged within {steps} steps: lower min_lr or raise steps"
        best = self._best()
        noise = _noise(self.losses[: max(best + 1, 2 * early)])
        # Variances in units of the noise's variance: of the moving average, and of the first mean.
        lasting = (1 - self.smoothing) / (1 + self.smoothing)
        chance = _SURE * noise * np.sqrt(lasting + 1 / early)
        # The first loss precedes any update; the next losses may already show too high a rate.
        before = min(self.losses[0], self.losses[:early].mean())
        if best >= early and before - finite[best] > chance:
            return ""
        if self.stopped == "diverged" or finite[-1] - before > chance:
            return "the loss never fell before it rose: lower min_lr or raise steps"
        return "the loss never fell: raise max_lr or steps"

    def plot(self) -> Figure:
        """Draws the losses over the rate, with the suggestions (`plotting.range_test_figure`)."""
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
        if self.optimizers:
            (whose, _), *others = self.optimizers
            told = ", ".join(f"{name} x{ratio:.3g}" for name, ratio in others)
            head += f". Rates of {whose}" + (f"; others in proportion: {told}" if told else "")
        if self.problem:
            return f"{head}.\nNo suggestion: {self.problem}."
        rates = [f"  {name}: {rate:.3g}" for name, rate in self.suggestions.items()]
        return "\n".join([f"{head}. Suggested rates:", *rates])

    __repr__ = __str__

    def _finite(self) -> np.ndarray:
        """Returns the smoothed losses up to the first that is not finite."""
        infinite = np.flatnonzero(~np.isfinite(self.smoothed))
        return self.smoothed[: infinite[0]] if len(infinite) else self.smoothed

    def _best(self) -> int:
        return int(np.argmin(self._finite())) if len(self._finite()) else 0


def early_steps(steps: int) -> int:
    """Returns the number of first steps, in which the moving average is not settled yet."""
    return max(3, steps // 10)


def _noise(losses: np.ndarray) -> float:
    """Returns the standard deviation of the losses about their trend, robust to outliers."""
    steps = np.diff(losses)
    # The median deviation of a normal variable is 0.6745 of its standard deviation, and the
    # difference of two has twice the variance.
    return float(np.median(np.abs(steps - np.median(steps)))) / 0.6745 / np.sqrt(2)


def _longest_decrease(values: np.ndarray) -> tuple[int, int]:
    """Returns the length of the longest decreasing subsequence, and where the first ends."""
    # ends[k]: minus the largest last value of all decreases of k + 1 values so far.
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
