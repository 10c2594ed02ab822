"""Which learning rate? The range test, on the very model that is to be trained."""

from __future__ import annotations

import bisect
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keraslr._about import require_tensorflow
from keraslr.schedules._parameters import MAX_TICKS, Choice, Number, Optional

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

# `fit` takes this many too, where nobody says otherwise.
_DEFAULT_BATCH_SIZE = 32

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
        from keraslr import plotting

        return plotting.range_test_figure(self)

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
    batches = _batches(x, y, sample_weight, batch_size, seed)

    spaced = np.geomspace if sweep == "exponential" else np.linspace
    # As float32, in which they are applied.
    rates = spaced(min_lr, max_lr, steps).astype(np.float32).astype(np.float64)
    losses: list[float] = []
    smoothed: list[float] = []
    average, stopped = 0.0, "finished"
    with (
        _borrowed(model, float(rates[0]), first := next(batches)) as train,
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


def _like(optimizer: keras.Optimizer, rate: float) -> keras.Optimizer:
    """A new optimizer with the settings of this one and a rate that can be set."""
    kind = type(optimizer)
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        scale = optimizer.dynamic_scale if optimizer.built else optimizer.initial_scale
        return kind(
            _like(optimizer.inner_optimizer, rate),
            initial_scale=float(scale),
            dynamic_growth_steps=optimizer.dynamic_growth_steps,
            name=optimizer.name,
        )
    # The config is that of a stand-in with a number for a rate: the rate may be a schedule or a
    # function that cannot be written as a config, and here it is not needed.
    stand_in = object.__new__(kind)
    stand_in.__dict__.update(optimizer.__dict__)
    stand_in.__dict__["_learning_rate"] = rate
    config = stand_in.get_config()
    if "learning_rate" in config:
        config["learning_rate"] = rate
    copy = kind.from_config(config)
    # Set by exclude_from_weight_decay, and not in the config.
    for name in ("_exclude_from_weight_decay", "_exclude_from_weight_decay_pattern"):
        if hasattr(optimizer, name):
            setattr(copy, name, getattr(optimizer, name))
    return copy


@contextlib.contextmanager
def _borrowed(
    model: keras.Model, rate: float, batch: Any
) -> Iterator[Callable[[float, Iterator[Any]], float]]:
    """A function that trains the model one step at a rate and returns the mean loss of its batches.

    It has an optimizer of its own. At the end the model is as it was.
    """
    import tensorflow as tf

    strategy = model.distribute_strategy
    attributes = {"optimizer": model.optimizer, "stop_training": model.stop_training}
    kept: list[tuple[Any, np.ndarray]] = []

    def reported(data: Any) -> tf.Tensor:
        logs = strategy.run(model.train_step, args=(data,))
        if "loss" not in logs:
            raise ValueError(
                'the model\'s train_step must report its loss as "loss". '
                f"Received: {', '.join(map(repr, logs)) or 'nothing'}"
            )
        return strategy.reduce("MEAN", logs["loss"], axis=None)

    def train(rate: float, batches: Iterator[Any]) -> float:
        # A variable rather than a schedule: a schedule would follow the optimizer's counter, and
        # that stands still where mixed precision skips a step.
        optimizer.learning_rate = rate
        losses = []
        for _ in range(batches_per_step):
            model.reset_metrics()  # or the loss would be the mean since the first step
            losses.append(float(step(keras.tree.map_structure(_tensor, next(batches)))))
        return float(np.mean(losses))

    def remember(next_creator: Any, **arguments: Any) -> Any:
        variable = next_creator(**arguments)
        kept.append((variable, variable.numpy()))
        return variable

    def put_back() -> None:
        for name, value in attributes.items():
            setattr(model, name, value)
        for variable, value in kept:
            variable.assign(value)

    try:
        with strategy.scope():
            optimizer = _like(model.optimizer, rate)
        updating = getattr(optimizer, "inner_optimizer", optimizer)
        batches_per_step = updating.gradient_accumulation_steps or 1
        model.optimizer = optimizer
        step, making = reported, contextlib.nullcontext()
        if model.run_eagerly:
            # What is not built yet is made in the midst of the first step.
            making = tf.variable_creator_scope(remember)
        else:
            # A graph of its own, so that the model keeps the one it has. Tracing it makes whatever
            # is not built yet, and trains nothing.
            step = tf.function(
                reported, reduce_retracing=True, jit_compile=model.jit_compile, autograph=False
            )
            step.get_concrete_function(keras.tree.map_structure(_tensor, batch))
        for each in (*model.variables, *model.metrics_variables):
            kept.append((each.value, each.value.numpy()))
        with making:
            yield train
    finally:
        interrupted = None
        while True:
            try:
                put_back()
                break
            except KeyboardInterrupt as error:  # a second Ctrl-C: begin again, then obey
                interrupted = error
        if interrupted is not None:
            raise interrupted


def _tensor(leaf: Any) -> Any:
    import tensorflow as tf

    if leaf is None or tf.is_tensor(leaf):
        return leaf
    tensor = keras.ops.convert_to_tensor(leaf)
    # As `fit` does with arrays.
    return keras.ops.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor


def _batches(
    x: Any, y: Any, sample_weight: Any, batch_size: int | None, seed: int
) -> Iterator[Any]:
    """Endless batches, as `fit` gives them to a train step."""
    parts = {"x": x, "y": y, "sample_weight": sample_weight}
    if _comes_in_batches(x, y):
        for name, value in {**parts, "batch_size": batch_size}.items():
            if name != "x" and value is not None:
                raise ValueError(
                    f"{name} must be None where x comes in batches. "
                    f"Received: {name} of type {type(value).__name__}"
                )
        return _again_and_again(x)
    arrays = {
        name: keras.tree.map_structure(lambda leaf, name=name: _array(name, leaf), part)
        for name, part in parts.items()
        if part is not None
    }
    lengths = {len(leaf) for leaf in keras.tree.flatten(arrays)}
    if not keras.tree.flatten(x) or lengths == {0}:
        raise ValueError("x must hold at least one example. Received: none")
    if len(lengths) > 1:
        raise ValueError(
            "x, y and sample_weight must hold the same number of examples. "
            f"Received: {', '.join(map(str, sorted(lengths)))}"
        )
    (examples,) = lengths
    return _drawn(arrays, examples, min(batch_size or _DEFAULT_BATCH_SIZE, examples), seed)


def _comes_in_batches(x: Any, y: Any) -> bool:
    if isinstance(x, list) and x and y is None:
        # A list is a structure of arrays to Keras, but nobody's inputs are tuples.
        return all(isinstance(each, tuple) for each in x)
    structure = isinstance(x, list | tuple | Mapping) or hasattr(x, "shape")
    return isinstance(x, Iterable) and not isinstance(x, str | bytes) and not structure


def _array(name: str, leaf: Any) -> np.ndarray:
    if not hasattr(leaf, "shape") or len(leaf.shape) == 0:
        raise TypeError(
            f"{name} must be an array of examples, or a list or dict of such, or x be data that "
            f"come in batches. Received: {type(leaf).__name__}"
        )
    return np.asarray(leaf)


def _drawn(arrays: Mapping[str, Any], examples: int, batch_size: int, seed: int) -> Iterator[Any]:
    """Batches of shuffled examples; one that a pass over them cannot fill goes on in the next."""
    order = np.empty(0, np.int64)
    for number in itertools.count():
        order = np.append(order, np.random.default_rng([seed, number]).permutation(examples))
        while len(order) >= batch_size:
            chosen, order = order[:batch_size], order[batch_size:]
            batch = keras.tree.map_structure(lambda leaf, chosen=chosen: leaf[chosen], dict(arrays))
            yield keras.utils.pack_x_y_sample_weight(
                batch["x"], batch.get("y"), batch.get("sample_weight")
            )


def _again_and_again(data: Iterable[Any]) -> Iterator[Any]:
    while True:
        batches = 0
        for batch in data:
            yield tuple(batch) if isinstance(batch, list) else batch
            batches += 1
        if not batches:
            raise ValueError(
                "x must hold batches, and do so each time it is gone through. "
                f"Received: x without any, of type {type(data).__name__}"
            )
