"""Polynomial regression: a rate that falls by 5 % an epoch, against constant ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keraslr._chart_data import LineFigure
from keraslr.jobs._job import Job
from keraslr.published._parts import (
    Findings,
    Part,
    Plan,
    Results,
    Statement,
    read_data,
)
from keraslr.published._regression import Regression, shuffled
from keraslr.schedules import parse

_CLAIMED = "lambda"
_CHANCE = 0.05  # of being wrong about a claim, when there is nothing in it
_NEAR = 1.1  # "within 10 %"
_LAST = 10  # epochs whose ups and downs are looked at


def make_data(
    generator: np.random.Generator, rows: int, coefficients: Sequence[float], noise: float
) -> tuple[np.ndarray, np.ndarray]:
    """Makes a target of squares, with noise.

        target = sum over i of coefficients[i] * x[i] ** 2 + noise * normal

    Returns:
        Features (rows, columns), standard normal, and target (rows,), both float32.
    """
    features = generator.standard_normal((rows, len(coefficients)))
    target = np.square(features) @ np.asarray(coefficients, float)
    target += noise * generator.standard_normal(rows)
    return features.astype(np.float32), target.astype(np.float32)


def make_model(columns: int, widths: Sequence[int]) -> keras.Model:
    """Builds dense layers, with tanh after all but the last and batch normalisation before each.

    The averages of batch normalisation keep 0.9 of themselves at each step, as in PyTorch.
    """
    layers: list[Any] = [keras.Input((columns,))]
    for units in (*widths, 1):
        layers.append(keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-5))
        activation = "linear" if len(layers) > 2 * len(widths) else "tanh"
        layers.append(keras.layers.Dense(units, activation=activation))
    return keras.Sequential(layers)


def first_weights(
    generator: np.random.Generator, columns: int, widths: Sequence[int]
) -> list[np.ndarray]:
    """Draws weights uniformly from -b to b with b = 1 / sqrt(fan_in), as in PyTorch."""
    weights = []
    for fan_in, units in zip((columns, *widths), (*widths, 1), strict=True):
        ones, zeros, bound = np.ones(fan_in), np.zeros(fan_in), 1 / math.sqrt(fan_in)
        weights += [ones, zeros, zeros, ones]  # scale and shift, mean and variance
        weights += [generator.uniform(-bound, bound, shape) for shape in ((fan_in, units), units)]
    return weights


def train(
    schedule: str,
    data: Mapping[str, Any],
    widths: Sequence[int],
    batch_size: int,
    epochs: int,
    seeds: Sequence[int],
) -> dict[str, Any]:
    """Trains under one schedule with plain SGD, once for each seed.

    Args:
        schedule: Expression of a schedule that counts epochs.
        data: `rows`, `coefficients` and `noise` of the data, and the `train_share` of the rows.
        widths: Units of each layer except the last.
        batch_size: Rows of each step; divides the number of rows for training.
        epochs: Passes over the rows for training.
        seeds: Seeds of the data, the first weights and the order of the rows. Two schedules with
            the same seed begin alike and see the same batches.

    Returns:
        `train_loss` and `test_loss`, mean squared errors after each epoch, by seed; `last_rates`,
        those of the last epoch and of the one that would follow.
    """
    columns, count = len(data["coefficients"]), round(data["train_share"] * data["rows"])
    rate = parse(schedule).per_epoch(count // batch_size)
    model = make_model(columns, widths)
    regression: Any = None
    losses: dict[str, Any] = {"train_loss": [], "test_loss": []}
    for seed in seeds:
        generator = np.random.default_rng(seed)
        # The rows are independent, so that the first ones are as good a choice as any.
        x, y = make_data(generator, data["rows"], data["coefficients"], data["noise"])
        parts = {"train_loss": (x[:count], y[:count]), "test_loss": (x[count:], y[count:])}
        if regression is None:
            optimizer = keras.optimizers.SGD(rate)
            regression = Regression(model, optimizer, mean_square, *parts["train_loss"], batch_size)
        regression.hold(*parts["train_loss"])
        regression.begin(first_weights(generator, columns, widths))
        of_seed: dict[str, list[float]] = {name: [] for name in parts}
        for _ in range(epochs):
            regression.train(shuffled(generator, count, batch_size))
            for name, part in parts.items():
                of_seed[name].append(regression.loss(*part))
        for name in parts:
            losses[name].append(of_seed[name])
    last = parse(schedule).values(2, start=epochs - 1)
    return {**losses, "last_rates": last.tolist()}


def mean_square(targets: Any, predictions: Any) -> Any:
    """Returns the mean squared error."""
    return keras.ops.mean(keras.ops.square(predictions - targets))


def _jobs(plan: Plan) -> list[Job]:
    data = read_data("polynomial")
    seeds = plan.seeds_of(data["seeds"], quick=data["quick_seeds"])
    return [
        Job(
            part="polynomial",
            name=run["name"],
            seed=0,  # all of them in one job, which shares its graph
            cost=0.5 + 0.25 * len(seeds),
            function=train,
            arguments={
                "schedule": run["schedule"],
                "data": data["data"],
                **data["model"],
                "batch_size": data["batch_size"],
                "epochs": data["epochs"],
                "seeds": list(seeds),
            },
        )
        for run in data["runs"]
    ]


def _findings(plan: Plan, results: Results) -> Findings:
    if not results:
        return Findings("", left_out="Nothing of it has been run.")
    data = read_data("polynomial")
    test = {job.name: _finite(result["test_loss"]) for job, result in results}
    rates = {job.name: result["last_rates"] for job, result in results}
    seeds = len(next(iter(test.values())))
    few = "Too few seeds for any claim to be checked." if 0.5**seeds > _CHANCE else ""
    statements = _statements(test, rates) if _CLAIMED in test else []
    told = [each.holds for each in statements]
    summary = (
        f"{len(test)} schedules over {seeds} seed{'s' * (seeds > 1)}, each of other data. "
        f"Of {len(told)} claims {told.count(True)} came out right, {told.count(False)} wrong and "
        f"{told.count(None)} undecided: a claim is decided by a sign test over the seeds, at a "
        f"level of {100 * _CHANCE:.0f} %. "
        f"{data['figure']} {data['unstated']}"
    )
    return Findings(summary, statements=statements, pictures=[_picture(test)], left_out=few)


def _statements(
    test: Mapping[str, np.ndarray], rates: Mapping[str, Sequence[float]]
) -> list[Statement]:
    """Checks the documents' claims for `lambda` against each of the others."""
    own = test[_CLAIMED]
    found = []
    for rival, losses in test.items():
        if rival == _CLAIMED:
            continue
        for claim, figure, measure, digits in _MEASURES:
            mine, other = measure(own, losses)
            holds, seeds = compared(mine, other)
            evidence = (
                f"{figure}, median (range): {_CLAIMED} {_shown(mine, digits)}, "
                f"{rival} {_shown(other, digits)}; {seeds}."
            )
            found.append(
                Statement(f"The {_CLAIMED} schedule {claim} than {rival}.", holds, evidence)
            )
    rival = "constant 0.01"
    if rival in test:
        holds, seeds = compared(own[:, -1], test[rival][:, -1])
        last, after = rates[_CLAIMED]
        found.append(
            Statement(
                f"The {_CLAIMED} schedule ends at a smaller rate, yet better, than {rival}.",
                holds if last < rates[rival][0] else False,
                f"Its last epoch runs at {last:.4f}, and the next one would at {after:.4f}; its "
                f"last test loss is {seeds}.",
            )
        )
    return found


def compared(mine: np.ndarray, other: np.ndarray) -> tuple[bool | None, str]:
    """Judges whether a figure is smaller than another, and says on how many seeds it is.

    A sign test at 5 %: True if the figure is smaller on significantly many seeds, False if the
    other is, else None. Seeds on which both are equal do not count. Means are not compared, since a
    single run that nearly diverges would outweigh all others.
    """
    mine, other = (np.nan_to_num(each, nan=np.inf) for each in (mine, other))
    smaller, larger = int(np.sum(mine < other)), int(np.sum(mine > other))
    equal = len(mine) - smaller - larger
    text = f"smaller on {smaller} of {len(mine)} seeds" + (f", equal on {equal}" if equal else "")
    for wins, holds in ((smaller, True), (larger, False)):
        count = smaller + larger
        if sum(math.comb(count, k) for k in range(wins, count + 1)) / 2**count < _CHANCE:
            return holds, text
    return None, text


def epochs_to_reach(mine: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each seed the first epoch of both within 10 % of the higher last loss.

    The higher last loss is a level that both reach; a lower one would ask which run ends lower.

    Args:
        mine, other: Losses (seeds, epochs).
    """
    level = _NEAR * np.maximum(mine[:, -1:], other[:, -1:])
    first, second = (1.0 + np.argmax(losses <= level, axis=1) for losses in (mine, other))
    return first, second


def roughness(losses: np.ndarray) -> np.ndarray:
    """Returns for each seed the deviation of the last ten changes from epoch to epoch."""
    return np.diff(losses[:, -_LAST - 1 :], axis=1).std(axis=1)


# The claim, its figure, the function that computes the figure of both runs, and the digits shown.
_MEASURES: tuple[tuple[str, str, Callable[..., tuple[np.ndarray, np.ndarray]], int], ...] = (
    ("converges faster", "Epochs to within 10 % of the higher last loss", epochs_to_reach, 1),
    ("ends lower", "Test loss after the last epoch", lambda a, b: (a[:, -1], b[:, -1]), 2),
    (
        "ends more smoothly",
        "Deviation of the test loss's last ten changes",
        lambda a, b: (roughness(a), roughness(b)),
        2,
    ),
)


def _shown(values: np.ndarray, digits: int) -> str:
    low, middle, high = (f"{float(of(values)):.{digits}f}" for of in (np.min, np.median, np.max))
    return f"{middle} ({low} to {high})"


def _finite(losses: Any) -> np.ndarray:
    """Returns the losses as an array, with NaN for every number that is not finite."""
    array = np.array(losses, float)
    return np.where(np.isfinite(array), array, np.nan)


def _picture(test: Mapping[str, np.ndarray]) -> LineFigure:
    epochs = list(range(1, 1 + next(iter(test.values())).shape[1]))
    return LineFigure(
        title="Polynomial regression: median and range over the seeds",
        x="epoch",
        y="test loss",
        lines={name: (epochs, np.median(each, 0).tolist()) for name, each in test.items()},
        bands={
            name: (epochs, each.min(0).tolist(), each.max(0).tolist())
            for name, each in test.items()
        },
        log_y=True,
    )


PART = Part("polynomial", "Polynomial regression under a lambda schedule", _jobs, _findings)
