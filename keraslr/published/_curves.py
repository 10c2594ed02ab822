"""The plotted curves: values of the schedules, the optimizers and the callback."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keraslr._chart_data import LineFigure
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.catalog import DESCENT_OPTIMIZERS
from keraslr.jobs._job import Job
from keraslr.published._parts import (
    Findings,
    Line,
    Part,
    Plan,
    Results,
    Verdict,
    read_data,
)
from keraslr.schedules import parse

# Rates are float32.
_RELATIVE, _ABSOLUTE = 1e-6, 1e-12


def schedules(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Computes the rates of schedules.

    Args:
        lines: Each with a `label`, the `schedule` as text, the number of `ticks` and, where it is
            not 0, the `first`.

    Returns:
        By label, the rate at each tick, (ticks,).
    """
    return {
        each["label"]: parse(each["schedule"])
        .values(each["ticks"], start=each.get("first", 0))
        .astype(float)
        .tolist()
        for each in lines
    }


def plateau(
    label: str,
    learning_rate: float,
    validation_loss: Sequence[float],
    arguments: Mapping[str, Any],
) -> dict[str, Any]:
    """Computes the rate of each epoch under `ReduceLROnPlateau`, called as `fit` calls it.

    Args:
        label: Label of the line.
        learning_rate: Rate of the first epoch.
        validation_loss: Validation loss after each epoch.
        arguments: Arguments of the callback.

    Returns:
        By the label, the rate of each epoch, (epochs,).
    """
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(learning_rate), "mse")
    callback = ReduceLROnPlateau("val_loss", **arguments)
    callback.set_model(model)
    callback.on_train_begin()
    rates = []
    for epoch, loss in enumerate(validation_loss):
        callback.on_epoch_begin(epoch)
        rates.append(callback.learning_rate)
        callback.on_epoch_end(epoch, {"val_loss": loss})
    return {label: rates}


def weights(
    optimizer: str, argument: str, read: str, ticks: int, lines: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Computes the share of a gradient that an optimizer retains in later steps.

    The gradient is 1 in the first step and 0 from then on.

    Args:
        optimizer: Name of one of `DESCENT_OPTIMIZERS`.
        argument: Parameter of the optimizer that differs from line to line.
        read: "velocity", or "step": how far the weight goes at a rate of 1. Without momentum an
            optimizer keeps no velocity; with it, that is the step.
        ticks: Number of steps.
        lines: Each with a `label` and the parameter's `value`.

    Returns:
        By label, the share after each step, (ticks,).
    """
    shares: dict[str, list[float]] = {}
    for each in lines:
        weight = keras.Variable([0.0], dtype="float64", name="weight")
        built = DESCENT_OPTIMIZERS[optimizer].build(1.0, **{argument: each["value"]})
        built.build([weight])
        velocity = [one for one in built.variables if one.name.endswith("velocity")]
        shares[each["label"]] = []
        for step in range(ticks):
            weight.assign([0.0])
            built.apply([np.array([1.0 if step == 0 else 0.0])], [weight])
            share = velocity[0].numpy()[0] if read == "velocity" else 0.0 - weight.numpy()[0]
            shares[each["label"]].append(float(share))
    return shares


# For each kind of curve: the function that computes it, and its arguments in the data.
_KINDS: Mapping[str, tuple[Callable[..., dict[str, Any]], tuple[str, ...]]] = {
    "schedule": (schedules, ("lines",)),
    "plateau": (plateau, ("label", "learning_rate", "validation_loss", "arguments")),
    "weights": (weights, ("optimizer", "argument", "read", "ticks", "lines")),
}


def _jobs(plan: Plan) -> list[Job]:
    jobs = []
    for each in read_data("curves")["curves"]:
        function, needed = _KINDS[each["kind"]]
        arguments = {key: each[key] for key in needed}
        if "lines" in arguments:
            # What is compared afterwards has no part in the result.
            arguments["lines"] = [
                {key: value for key, value in line.items() if key != "points"}
                for line in arguments["lines"]
            ]
        jobs.append(Job("curves", each["name"], 0, 1.0, function, arguments))
    return jobs


def _findings(plan: Plan, results: Results) -> Findings:
    data = read_data("curves")
    done = {job.name: result for job, result in results}
    curves = [each for each in data["curves"] if each["name"] in done]
    lines = [line for each in curves for line in _lines(each, done[each["name"]])]
    agreeing = sum(line.verdict is Verdict.REPRODUCED for line in lines)
    summary = (
        f"{len(curves)} curves with {len(lines)} lines, {agreeing} of which go through all of "
        f"their points. {data['figure']}"
    )
    pictures = [_picture(each, done[each["name"]]) for each in curves]
    return Findings(summary, lines, pictures=pictures)


def _points(curve: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Returns the known values by label and tick."""
    return {each["label"]: each["points"] for each in curve.get("lines", [curve])}


def _lines(curve: Mapping[str, Any], drawn: Mapping[str, Sequence[float]]) -> list[Line]:
    found = []
    for label, points in _points(curve).items():
        known = np.array(list(points.values()))
        here = np.array([drawn[label][int(place)] for place in points])
        alike = np.allclose(here, known, rtol=_RELATIVE, atol=_ABSOLUTE)
        found.append(
            Line(
                name=f"{curve['name']}: {label}",
                figure=f"at {curve['unit']} {', '.join(points)}",
                published=_shown(known),
                pytorch="",
                here=_shown(here),
                verdict=Verdict.REPRODUCED if alike else Verdict.NOT_REPRODUCED,
                note=curve.get("note", ""),
            )
        )
    return found


def _shown(values: np.ndarray) -> str:
    return ", ".join(f"{value:.6g}" for value in values)


def _picture(curve: Mapping[str, Any], drawn: Mapping[str, Sequence[float]]) -> LineFigure:
    lines = {label: (list(range(len(values))), values) for label, values in drawn.items()}
    y = "weight of the gradient" if curve["kind"] == "weights" else "learning rate"
    return LineFigure(curve["name"], curve["unit"], y, lines, log_y=curve.get("log_y", False))


PART = Part("curves", "Fifteen plotted curves", _jobs, _findings)
