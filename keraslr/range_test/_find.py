"""The learning-rate range test, on the model that will be trained."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keraslr._environment import require_tensorflow
from keraslr._parameters import MAX_TICKS, Choice, Number, Optional
from keraslr.range_test._batches import endless_batches
from keraslr.range_test._rules import RangeTest, early_steps

_RATE = Number("", float, above=0)
_SWEEP = Choice("", ("exponential", "linear"))
_STEPS = Number("", int, at_least=10, at_most=MAX_TICKS)
_BATCH_SIZE = Optional(Number("", int, at_least=1, at_most=MAX_TICKS))
_SMOOTHING = Number("", float, at_least=0, below=1)
_STOP_FACTOR = Number("", float, above=1)
_SEED = Number("", int, at_least=0)
_VERBOSE = Number("", int, at_least=0, at_most=1)


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
    optimizer: keras.Optimizer | str | list[Any] | None = None,
    monitor: str = "loss",
) -> RangeTest:
    """Trains some steps under a rising learning rate, records the loss, and restores the model.

        lr(i) = min_lr * (max_lr / min_lr) ** (i / (steps - 1))     exponential
        lr(i) = min_lr + (max_lr - min_lr) * i / (steps - 1)        linear

    Each step is the model's own compiled `train_step`, with a new optimizer of the same kind and
    settings (so without accumulated momentum). Afterwards, also after an error or Ctrl-C, the
    weights, every other variable of the model and its metrics are bit for bit the same as before,
    and so is every optimizer that the model holds as an attribute, also in lists and dicts: its
    state, its counter and its rate or schedule. A model that was not built before is then built,
    with its first weights; an optimizer that was not built is still not built. State outside the
    model is not restored: Keras's global random generator, the position of a generator or of a
    dataset that shuffles, and optimizers that are neither attributes nor given.

    If several rates rise, as with a `keras.optimizers.MultiOptimizer`, lr(i) is the rate of the
    first: the default optimizer of the `OptimizerMap`, or, if it has no variables, the first group
    that has some. Each other rate keeps its present ratio to it:

        lr_k(i) = lr(i) * lr_k / lr_1       lr_k: the rate of group k before the test

    A schedule counts with its rate at the optimizer's present step; a rate of 0 stays 0. The
    suggestions are rates of the first group, and the printed result says so.

    Args:
        model: Compiled Keras model.
        x: Input arrays or tensors, as `fit` takes them, each of shape (examples, ...): one, or a
            list or dict of several. Or data that come in batches `(x, y)` or
            `(x, y, sample_weight)`: a `tf.data.Dataset`, a `keras.utils.PyDataset` or another
            iterable. The data are repeated as often as the sweep needs.
        y: Target arrays with the same number of examples; None if x comes in batches.
        sample_weight: Weights of the examples; None for equal weights or if x comes in batches.
        min_lr: First rate, > 0.
        max_lr: Last rate, > min_lr.
        steps: Optimizer steps, >= 10; an optimizer that accumulates gradients takes several
            batches for each. A network whose loss is slow to fall needs many: the LeNet with
            SGD about 300.
        sweep: "exponential" or "linear".
        batch_size: Examples per batch, >= 1; None for 32, or all if there are fewer. A batch of
            arrays continues into the next pass over them, so that all batches have this size.
        smoothing: Factor b in [0, 1) of the moving average
            `m(i) = b * m(i - 1) + (1 - b) * loss(i)`; the smoothed loss is
            `m(i) / (1 - b ** (i + 1))`. It lags behind the loss by b / (1 - b) steps, so that a
            larger factor raises all suggestions; with a smaller factor they depend more on the
            order of the examples.
        stop_factor: Factor > 1. After the first tenth of the steps, the sweep stops if the smoothed
            loss exceeds its minimum by more than (stop_factor - 1) * abs(minimum) (for a positive
            minimum: if it exceeds stop_factor * minimum). It also stops at a loss that is not
            finite.
        seed: Seed of the order of the examples in arrays, >= 0.
        verbose: 0 for silence, 1 for a progress bar.
        on_progress: Called after each step with the steps done and the total steps, which a
            diverging test does not reach. To stop a test, raise an exception in it: the model is
            restored, and the exception is raised again.
        optimizer: Which rates rise, of a model with several optimizers: the name of an attribute
            such as "g_optimizer", an optimizer, or a list of these, the first of which has the
            rate lr(i). The other optimizers go on from their state, at their own rates. None for
            `model.optimizer`.
        monitor: Name of the loss among the figures that the train step reports, such as "g_loss".

    Returns:
        A `RangeTest` with the curve and the suggestions.

    Raises:
        TypeError, ValueError: An argument is wrong, the model is not compiled, is distributed or
            its train step reports no loss, or the data are empty or end too early. Or the train
            step does not apply an optimizer whose rate rises: the error names those it applies. Or
            the first of several rates is 0, so that there is no ratio.
        RuntimeError: Keras runs on a backend other than TensorFlow.

    The rate of the generator of a GAN:

        result = keraslr.find_learning_rate(gan, x, optimizer="g_optimizer", monitor="g_loss")

    Source: Smith, Cyclical Learning Rates for Training Neural Networks (2017), section 3.3.
    """
    require_tensorflow("the range test")
    from tqdm import tqdm

    from keraslr.range_test._restored_model import trained_and_restored

    if not isinstance(model, keras.Model):
        raise TypeError(f"model must be a Keras model. Received: model={model!r}")
    if not model.compiled:
        raise ValueError(
            "model must be compiled with an optimizer: call model.compile first. "
            f"Received: model={model.name!r}"
        )
    if not isinstance(monitor, str):
        raise TypeError(
            "monitor must be the name of a figure that the train step reports. "
            f"Received: monitor={monitor!r}"
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
    # As float32, the type in which the rates are applied.
    rates = spaced(min_lr, max_lr, steps).astype(np.float32).astype(np.float64)
    losses: list[float] = []
    smoothed: list[float] = []
    average, stopped = 0.0, "finished"
    with (
        trained_and_restored(model, first := next(batches), optimizer, monitor) as train,
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
            if not np.isfinite(loss) or (far and len(losses) > early_steps(steps)):
                stopped = "diverged"
                break
    return RangeTest(
        rates[: len(losses)], np.array(losses), np.array(smoothed), stopped, sweep, smoothing,
        train.raised,
    )  # fmt: skip
