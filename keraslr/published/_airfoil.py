"""Linear regression on NASA's airfoil data with several optimizers."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keraslr import datasets, optimizers
from keraslr._chart_data import LineFigure
from keraslr.jobs._job import Job
from keraslr.published._parts import (
    Findings,
    Line,
    Part,
    Plan,
    Results,
    Spread,
    Statement,
    Verdict,
    judged,
    read_data,
)
from keraslr.published._regression import Regression, shuffled

_READINGS = 10  # of the loss, in each epoch


def train(
    optimizer: str,
    arguments: Mapping[str, Any],
    batch_size: int,
    epochs: int,
    kernel_deviation: float,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Trains with one setting, once for each seed.

    Args:
        optimizer: Name of a class of `keras.optimizers` or `keraslr.optimizers`.
        arguments: Arguments of the optimizer.
        batch_size: Rows of each step; divides 1500.
        epochs: Passes over the rows.
        kernel_deviation: Standard deviation of the first weights; the bias begins at 0.
        seeds: Seeds of the first weights and of the order of the rows.

    Returns:
        `epoch`: where the loss was read, (readings,); `loss` and `seconds`: by seed, the losses and
        the time that the steps had taken; `least_squares`: the lowest possible loss.
    """

    features, target = datasets.airfoil()
    kind = getattr(keras.optimizers, optimizer, None) or getattr(optimizers, optimizer)
    dense = keras.layers.Dense(1, kernel_initializer="zeros")
    model = keras.Sequential([keras.Input(features.shape[1:]), dense])
    regression = Regression(model, kind(**arguments), half_square, features, target, batch_size)
    per_epoch = len(features) // batch_size
    readings = np.linspace(0, epochs * per_epoch, epochs * min(_READINGS, per_epoch) + 1)
    readings = readings.round().astype(int)
    regression.train(np.zeros((1, batch_size), int))  # the first call takes longer than the rest
    losses, seconds = [], []
    for seed in seeds:
        generator = np.random.default_rng(seed)
        kernel = generator.normal(0.0, kernel_deviation, (features.shape[1], 1))
        regression.begin([kernel, np.zeros(1)])
        rows = shuffled(generator, len(features), batch_size, epochs)
        losses.append([regression.loss(features, target)])
        seconds.append([0.0])
        for first, last in itertools.pairwise(readings):
            begin = time.perf_counter()
            regression.train(rows[first:last])
            seconds[-1].append(round(seconds[-1][-1] + time.perf_counter() - begin, 6))
            losses[-1].append(regression.loss(features, target))
    return {
        "epoch": (readings / per_epoch).tolist(),
        "loss": losses,
        "seconds": seconds,
        "least_squares": least_squares(features, target),
    }


def least_squares(features: np.ndarray, target: np.ndarray) -> float:
    """Returns the lowest loss that any weights and bias reach."""
    columns = np.column_stack([features, np.ones(len(features))]).astype(np.float64)
    weights = np.linalg.lstsq(columns, target.astype(np.float64), rcond=None)[0]
    return float(np.mean(np.square(columns @ weights - target)) / 2)


def half_square(targets: Any, predictions: Any) -> Any:
    """Returns half the mean squared error."""
    return keras.ops.mean(keras.ops.square(predictions - targets)) / 2


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
        return f"All of this part, since no other data can replace the airfoil table: {error}"
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


def _pictures(data: Mapping[str, Any], results: Mapping[str, Any]) -> list[LineFigure]:
    def picture(chosen: Mapping[str, Any], x: str, key: str) -> LineFigure:
        lines = {}
        for name in chosen["runs"]:
            if name not in results:
                continue
            losses, at = _numbers(results[name]["loss"]), _numbers(results[name][key])
            at = at if at.ndim == 1 else at.mean(0)
            lines[name] = (at.tolist(), losses.mean(0).tolist())
        return LineFigure(chosen["title"], x, "loss, mean over the seeds", lines)

    drawn = [picture(each, "epoch", "epoch") for each in data["pictures"]]
    # The first reading, at no time at all, has no place on a logarithmic axis.
    timed = picture(data["timed"], "seconds of training", "seconds")
    lines = {name: (x[1:], y[1:]) for name, (x, y) in timed.lines.items()}
    drawn.append(LineFigure(timed.title, timed.x, timed.y, lines, log_x=True))
    return [each for each in drawn if each.lines]


def _numbers(values: Any) -> np.ndarray:
    """Returns the values as an array, with NaN for null."""
    return np.array(values, dtype=float)


PART = Part("airfoil", "Linear regression on the airfoil data", _jobs, _findings)
