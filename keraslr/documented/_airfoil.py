"""Linear regression on NASA's airfoil data: what each optimizer makes of it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr import datasets, optimizers
from keraslr.documented._parts import (
    Findings,
    Job,
    Line,
    Part,
    Picture,
    Plan,
    Results,
    Spread,
    Statement,
    Verdict,
    judged,
    read_data,
)

_READINGS = 10  # of the loss, in each epoch


class Regression:
    """A regression whose steps run many at a time in TensorFlow's graph.

    A step of so small a model takes a fraction of Python's way into and out of it. Model and
    optimizer are plain Keras, and the numbers those of `fit` with the same rows in each batch.

    Args:
        model: Of Keras, from (rows, columns) to (rows, 1).
        optimizer: Of Keras.
        loss: From predictions and targets, both (rows,), to a number.
    """

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer,
        loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    ):
        self.model, self._optimizer, self._of = model, optimizer, loss
        optimizer.build(model.trainable_variables)
        self._first = [variable.numpy() for variable in optimizer.variables]
        x, y = tf.TensorSpec(model.input_shape, tf.float32), tf.TensorSpec([None], tf.float32)
        # int64, because TensorFlow keeps int32 tensors in the host's memory also on a GPU.
        rows = tf.TensorSpec([None, None], tf.int64)
        self._steps = tf.function(self._all_steps).get_concrete_function(x, y, rows)
        self._loss = tf.function(self._whole_loss).get_concrete_function(x, y)

    def begin(self, weights: Sequence[np.ndarray]) -> None:
        """Begins again with these weights and a new optimizer: one graph serves many seeds."""
        self.model.set_weights(weights)
        for variable, first in zip(self._optimizer.variables, self._first, strict=True):
            variable.assign(first)

    def train(self, x: tf.Tensor, y: tf.Tensor, rows: np.ndarray) -> None:
        """Takes a step for each batch in `rows`: places of its rows, integers (steps, batch)."""
        self._steps(x, y, tf.constant(rows, tf.int64)).numpy()  # waits for a GPU

    def loss(self, x: tf.Tensor, y: tf.Tensor) -> float:
        """The loss over all of x (rows, columns) and y (rows,)."""
        return float(self._loss(x, y))

    def _whole_loss(self, x: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
        return self._of(self.model(x, training=False)[:, 0], y)

    def _all_steps(self, x: tf.Tensor, y: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
        variables, steps = self.model.trainable_variables, tf.shape(rows)[0]

        def step(i: tf.Tensor) -> tuple[tf.Tensor]:
            with tf.GradientTape() as tape:
                predictions = self.model(tf.gather(x, rows[i]), training=True)[:, 0]
                loss = self._of(predictions, tf.gather(y, rows[i]))
            self._optimizer.apply(tape.gradient(loss, variables), variables)
            return (i + 1,)

        first = (tf.constant(0),)
        # Each step needs the weights of the one before.
        return tf.while_loop(lambda i: i < steps, step, first, parallel_iterations=1)[0]


def shuffled(
    generator: np.random.Generator, count: int, batch_size: int, epochs: int = 1
) -> np.ndarray:
    """The batches of some epochs: places of the rows, in each epoch each one once.

    Returns:
        Integers (steps, batch_size), with a row for each step.
    """
    orders = [generator.permutation(count).reshape(-1, batch_size) for _ in range(epochs)]
    return np.concatenate(orders)


def train(
    optimizer: str,
    arguments: Mapping[str, Any],
    batch_size: int,
    epochs: int,
    kernel_deviation: float,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Trains with one setting, once a seed.

    Args:
        optimizer: Name of a class of `keras.optimizers` or `keraslr.optimizers`.
        arguments: Its arguments.
        batch_size: Rows a step; divides 1500.
        epochs: Passes over the rows.
        kernel_deviation: Standard deviation of the first weights; the bias begins at 0.
        seeds: Of the first weights and of the order of the rows.

    Returns:
        `epoch`: where the loss was read, (readings,); `loss` and `seconds`: by seed, the losses and
        the time that the steps had taken; `least_squares`: the lowest possible loss.
    """

    features, target = datasets.airfoil()
    kind = getattr(keras.optimizers, optimizer, None) or getattr(optimizers, optimizer)
    dense = keras.layers.Dense(1, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input(features.shape[1:]), dense])
    regression = Regression(model, kind(**arguments), half_square)
    x, y = tf.constant(features), tf.constant(target)
    per_epoch = len(features) // batch_size
    readings = np.linspace(0, epochs * per_epoch, epochs * min(_READINGS, per_epoch) + 1)
    readings = readings.round().astype(int)
    regression.train(x, y, np.zeros((1, batch_size)))  # the first call takes longer than the rest
    losses, seconds = [], []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        kernel = generator.normal(0.0, kernel_deviation, (features.shape[1], 1))
        regression.begin([kernel, np.zeros(1)])
        rows = shuffled(generator, len(features), batch_size, epochs)
        losses.append([regression.loss(x, y)])
        seconds.append([0.0])
        for first, last in itertools.pairwise(readings):
            begin = time.perf_counter()
            regression.train(x, y, rows[first:last])
            seconds[-1].append(round(seconds[-1][-1] + time.perf_counter() - begin, 6))
            losses[-1].append(regression.loss(x, y))
    return {
        "epoch": (readings / per_epoch).tolist(),
        "loss": losses,
        "seconds": seconds,
        "least_squares": least_squares(features, target),
    }


def least_squares(features: np.ndarray, target: np.ndarray) -> float:
    """The lowest loss that any weights and bias reach."""
    columns = np.column_stack([features, np.ones(len(features))]).astype(np.float64)
    weights = np.linalg.lstsq(columns, target.astype(np.float64), rcond=None)[0]
    return float(np.mean(np.square(columns @ weights - target)) / 2)


def half_square(predictions: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """Half the mean squared error."""
    return tf.reduce_mean(tf.square(predictions - targets)) / 2


def _jobs(plan: Plan) -> list[Job]:
    try:
        datasets.airfoil()
    except datasets.DatasetError:
        return []  # `_findings` says so
    data = read_data("airfoil")
    seeds = plan.seeds_of(data["seeds"], quick=data["quick_seeds"])
    return [
        Job(
            part="airfoil",
            name=run["name"],
            seed=0,  # all of them in one job, which shares its graph
            cost=0.4 + len(seeds) * (0.01 + 0.05 * run["epochs"] / run["batch_size"]),
            function=train,
            arguments={
                **{key: run[key] for key in ("optimizer", "arguments", "batch_size", "epochs")},
                **data["model"],
                "seeds": list(seeds),
            },
        )
        for run in data["runs"]
    ]


def _findings(plan: Plan, results: Results) -> Findings:
    if not results:
        return Findings("", left_out=_why_none())
    data = read_data("airfoil")
    by_name = {job.name: result for job, result in results}
    finals = {
        name: [losses[-1] for losses in _numbers(result["loss"])]
        for name, result in by_name.items()
    }
    lines = [_line(run, finals[run["name"]]) for run in data["runs"] if run["name"] in finals]
    printed = [line for line in lines if line.published]
    met = sum(line.verdict is Verdict.REPRODUCED for line in printed)
    told = sum(line.verdict is not Verdict.NOT_COMPARED for line in printed)
    seeds = len(next(iter(finals.values())))
    compared = (
        f"{met} of {told} published losses are reproduced. "
        if told
        else "One run has no deviation, so that nothing is compared. "
    )
    summary = (
        f"{len(lines)} settings of Keras's optimizers and of Yogi, {seeds} seed"
        f"{'s' * (seeds > 1)} each. {compared}{data['figure']} {data['skewed']}"
    )
    return Findings(summary, lines, [_optimum(data, by_name, finals)], _pictures(data, by_name))


def _why_none() -> str:
    try:
        datasets.airfoil()
    except datasets.DatasetError as error:
        return f"All of it, and no other data stand in for the airfoil table: {error}"
    return "Nothing of it has been run."


def _line(run: Mapping[str, Any], losses: Sequence[float]) -> Line:
    known = run["pytorch"]
    pytorch = Spread.of_population(known["mean"], known["deviation"], known["count"])
    here = Spread.of(losses)
    return Line(
        name=run["name"],
        figure="loss",
        published="" if run["published"] is None else f"{run['published']:.3f}",
        pytorch=pytorch.shown(4),
        here=here.shown(4),
        verdict=judged(run["published"], pytorch, here),
        note=run.get("note", ""),
    )


def _optimum(
    data: Mapping[str, Any], results: Mapping[str, Any], finals: Mapping[str, Sequence[float]]
) -> Statement:
    stated = data["least_squares"]
    computed = next(iter(results.values()))["least_squares"]
    name = min(finals, key=lambda each: min(finals[each]))
    return Statement(
        f"No weights and bias have a lower loss than {stated:.6f}, that of least squares.",
        abs(computed - stated) < 5e-7,  # to the digits stated
        f"Least squares gives {computed:.6f} here; the lowest loss of any run is "
        f"{min(finals[name]):.6f} ({name}).",
    )


def _pictures(data: Mapping[str, Any], results: Mapping[str, Any]) -> list[Picture]:
    def picture(chosen: Mapping[str, Any], x: str, key: str) -> Picture:
        lines = {}
        for name in chosen["runs"]:
            if name not in results:
                continue
            losses, at = _numbers(results[name]["loss"]), _numbers(results[name][key])
            at = at if at.ndim == 1 else at.mean(0)
            lines[name] = (at.tolist(), losses.mean(0).tolist())
        return Picture(chosen["title"], x, "loss, mean over the seeds", lines)

    drawn = [picture(each, "epoch", "epoch") for each in data["pictures"]]
    # The first reading, at no time at all, has no place on a logarithmic axis.
    timed = picture(data["timed"], "seconds of training", "seconds")
    lines = {name: (x[1:], y[1:]) for name, (x, y) in timed.lines.items()}
    drawn.append(Picture(timed.title, timed.x, timed.y, lines, log_x=True))
    return [each for each in drawn if each.lines]


def _numbers(values: Any) -> np.ndarray:
    """As an array; what JSON has no number for is NaN."""
    return np.array(values, dtype=float)


PART = Part("airfoil", "Linear regression on the airfoil data", _jobs, _findings)
