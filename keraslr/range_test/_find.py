"""Which learning rate? The range test, on the very model that is to be trained."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keraslr._environment import require_tensorflow
from keraslr._parameters import MAX_TICKS, Choice, Number, Optional
from keraslr.range_test._batches import endless_batches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_RATE = Number("", float, above=0)
_SWEEP = Choice("", ("exponential", "linear"))
_STEPS = Number("", int, at_least=10, at_most=MAX_TICKS)
_BATCH_SIZE = Optional(Number("", int, at_least=1, at_most=MAX_TICKS))
_SMOOTHING = Number("", float, at_least=0, below=1)
_STOP_FACTOR = Number("", float, above=1)
_SEED = Number("", int, at_least=0)
_VERBOSE = Number("", int, at_least=0, at_most=1)

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
        early = _early(len(self.learning_rates))
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
        early = _early(steps)
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


def find_learning_rate(
    model: keras.Model,
    x: Any,
    y: Any = None,
    *,
    sample_weight: Any = None,
    min_lr: float = 1e-6,
    max_lr: float = 10.0,
    steps: int = 300,
    sweep: str = "exponential",
    batch_size: int | None = None,
    smoothing: float = 0.8,
    stop_factor: float = 4.0,
    seed: int = 0,
    verbose: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> RangeTest:
    """Trains for some steps under a rising learning rate, sees the loss, and undoes it all.

        lr(i) = min_lr * (max_lr / min_lr) ** (i / (steps - 1))     exponential
        lr(i) = min_lr + (max_lr - min_lr) * i / (steps - 1)        linear

    The steps are those of the model's own compiled `train_step`, with a new optimizer made like
    its own (so without its momentum). Afterwards, also after an error or Ctrl-C, the weights,
    every other variable of the model and its metrics have the bits they had, and the optimizer
    with its state and rate is the one it was. A model that was not built yet is then built, with
    its first weights. What the model does not hold is not put back: Keras's global random
    generator, and the place of a dataset that shuffles or a generator.

    Args:
        model: Compiled Keras model.
        x: Input arrays or tensors, as `fit` takes them, each of shape (examples, ...): one, or a
            list or dict of several. Or data that come in batches `(x, y)` or
            `(x, y, sample_weight)`: a `tf.data.Dataset`, a `keras.utils.PyDataset` or anything
            else to iterate over. They are gone through again as often as the sweep needs.
        y: Target arrays of as many examples; None where x comes in batches.
        sample_weight: Weights of the examples, None for equal ones or where x comes in batches.
        min_lr: First rate, > 0.
        max_lr: Last rate, > min_lr.
        steps: Optimizer steps, >= 10; an optimizer that accumulates gradients takes several
            batches for each. A network that is slow to start needs more than the default: the
            LeNet with SGD some 300.
        sweep: "exponential" or "linear".
        batch_size: Examples per batch, >= 1; None for 32, or all if there are fewer. A batch
            begins the next pass over arrays where one pass ends, so that all are of this size.
        smoothing: Factor b in [0, 1) of the moving average
            `m(i) = b * m(i - 1) + (1 - b) * loss(i)`, of which `m(i) / (1 - b ** (i + 1))` is
            taken. It lags behind the loss by b / (1 - b) steps, so that a larger factor moves all
            suggestions up; with a smaller one they depend more on the order of the examples.
        stop_factor: The sweep stops once the smoothed loss, from a tenth of the steps on, is above
            its minimum by more than stop_factor - 1 times that (so above stop_factor times it,
            unless it is negative); > 1. It also stops at a loss that is not finite.
        seed: Of the order of the examples in arrays, >= 0.
        verbose: 0 for silence, 1 for a progress bar.
        on_progress: Called after each step with the steps done and the steps in all, of which a
            loss that diverges leaves some undone. An exception that it raises ends the test and
            is passed on, with everything put back: so a test is stopped.

    Returns:
        `RangeTest`: the curve and the suggestions.

    Raises:
        TypeError, ValueError: An argument is wrong, the model is not compiled, is distributed or
            has a train step that reports no loss, or the data are empty or end too early.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks (2017), section 3.3.
    """
    require_tensorflow("the range test")
    from tqdm import tqdm

    from keraslr.range_test._restored_model import borrowed

    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a Keras model. Received: model={model!r}")
    if not model.compiled or model.optimizer is None:
        raise ValueError(
            "model must be compiled with an optimizer: call model.compile first. "
            f"Received: model={model.name!r}"
        )
    if model.distribute_strategy.num_replicas_in_sync > 1:
        raise ValueError(
            "model must not be distributed: test a copy of it on one device. "
            f"Received: a model of {model.distribute_strategy.num_replicas_in_sync} replicas"
        )
    min_lr = _RATE.validated("min_lr", min_lr)
    max_lr = _RATE.validated("max_lr", max_lr)
    if not max_lr > min_lr:
        raise ValueError(f"max_lr must be > min_lr, {min_lr}. Received: max_lr={max_lr}")
    steps = _STEPS.validated("steps", steps)
    sweep = _SWEEP.validated("sweep", sweep)
    batch_size = _BATCH_SIZE.validated("batch_size", batch_size)
    smoothing = _SMOOTHING.validated("smoothing", smoothing)
    stop_factor = _STOP_FACTOR.validated("stop_factor", stop_factor)
    seed = _SEED.validated("seed", seed)
    verbose = _VERBOSE.validated("verbose", verbose)
    batches = endless_batches(x, y, sample_weight, batch_size, seed)

    spaced = np.geomspace if sweep == "exponential" else np.linspace
    # As float32, in which they are applied.
    rates = spaced(min_lr, max_lr, steps).astype(np.float32).astype(np.float64)
    losses: list[float] = []
    smoothed: list[float] = []
    average, stopped = 0.0, "finished"
    with (
        borrowed(model, float(rates[0]), first := next(batches)) as train,
        tqdm(total=steps, unit="step", dynamic_ncols=True, disable=not verbose) as bar,
    ):
        batches = itertools.chain([first], batches)
        for rate in rates:
            loss = train(float(rate), batches)
            losses.append(loss)
            average = smoothing * average + (1 - smoothing) * loss
            smoothed.append(average / (1 - smoothing ** len(losses)))
            bar.set_postfix_str(f"rate {rate:.2e}, loss {smoothed[-1]:.4g}", refresh=False)
            bar.update()
            if on_progress is not None:
                on_progress(len(losses), steps)
            best = min(smoothed)
            far = smoothed[-1] - best > (stop_factor - 1) * abs(best)
            if not np.isfinite(loss) or (far and len(losses) > _early(steps)):
                stopped = "diverged"
                break
    return RangeTest(
        rates[: len(losses)], np.array(losses), np.array(smoothed), stopped, sweep, smoothing
    )


def _early(steps: int) -> int:
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
