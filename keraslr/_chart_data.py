"""Data that charts draw: results make it, and `keraslr.plotting` draws it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

_NOTHING = np.empty(0)

# Parts of names of metrics whose values lie between 0 and 1.
_SHARES = ("accuracy", "auc", "precision", "recall", "iou", "f1", "acc")


def label(figure: str) -> str:
    """Returns the words for a figure: "training loss", "validation accuracy"."""
    kind = "validation" if figure.startswith("val_") else "training"
    return f"{kind} {figure.removeprefix('val_').replace('_', ' ')}"


def is_share(figure: str) -> bool:
    """Returns whether a figure is known to lie between 0 and 1."""
    words = figure.lower().split("_")
    return any(share in words for share in _SHARES)


def metrics_of(figures: Iterable[str]) -> list[str]:
    """Returns the metrics among the figures of epochs, without the loss and without "val_"."""
    plain = dict.fromkeys(figure.removeprefix("val_") for figure in figures)
    return [name for name in plain if name not in ("loss", "learning_rate")]


def usual_figure(figures: Iterable[str]) -> str | None:
    """Returns the figure to show beside the training loss; None if there is no other.

    The first metric, or the loss, on the validation data; else the first metric.
    """
    known = list(figures)
    for name in (*metrics_of(known)[:1], "loss"):
        if f"val_{name}" in known:
            return f"val_{name}"
    return next(iter(metrics_of(known)), None)


@dataclasses.dataclass(frozen=True, eq=False)
class Series:
    """One figure against time, over runs that differ in their seed.

    Attributes:
        mean, low, high: Arrays of one shape: mean, lowest and highest of the runs.
        runs: Number of runs.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """The curves of one schedule in a comparison.

    Attributes:
        rate_epochs, rate: Applied learning rate of each step, and its time in epochs.
        epochs: Epochs 1..n for the figures.
        figures: Figures over the seeds, by their Keras names, such as "loss" and "val_accuracy".
    """

    rate_epochs: np.ndarray
    rate: np.ndarray
    epochs: np.ndarray
    figures: Mapping[str, Series]


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingCurve:
    """The curves of a training run; all times are in epochs.

    Attributes:
        label: Name of the run.
        style: Index of the line style.
        times, loss, metric: Training loss and another figure, and their times.
        test_times, test_loss, test_metric: The same on the validation data.
        rate_times, rate: Applied learning rate.
        planned_times, planned: The schedule's learning rate.
    """

    label: str
    style: int
    times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    loss: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    metric: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    test_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    test_loss: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    test_metric: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    rate_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    rate: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    planned_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    planned: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)


@dataclasses.dataclass(frozen=True, eq=False)
class RangeTestCurve:
    """The curve of a range test.

    Attributes:
        title: Title of the figure.
        learning_rates: Rate of each step, (n,).
        losses: Loss of each step, (n,).
        smoothed: Moving average of the losses, (n,).
        suggestions: Suggested rates by the names of their rules; None for no suggestion.
        log: Whether the rate's axis is logarithmic.
    """

    title: str
    learning_rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestions: Mapping[str, float | None]
    log: bool


@dataclasses.dataclass(frozen=True)
class LineFigure:
    """The content of a figure of lines.

    Attributes:
        title: Title above the axes.
        x, y: Labels of the axes.
        lines: By label, x and y of each line.
        bands: By the label of its line: x, lowest and highest.
        log_x, log_y: Whether an axis is logarithmic.
        objective: Name of the objective whose contours lie below the lines; "" for none.
        markers: Whether each point of a line is marked.
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]
    bands: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]] = (
        dataclasses.field(default_factory=dict)
    )
    log_x: bool = False
    log_y: bool = False
    objective: str = ""
    markers: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class FitFigure:
    """One figure of a `fit`, such as the loss; all times are in the unit of its `FitCurves`.

    Attributes:
        name: Name in Keras's logs.
        times, values: Values at steps: means over the epoch so far; NaN between two epochs.
        epoch_times, epoch_values: Values of whole epochs.
        validation_times, validation_values: Values on the validation data.
        note: Text above the curves.
    """

    name: str
    times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    values: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    epoch_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    epoch_values: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    validation_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    validation_values: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    note: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class FitCurves:
    """The curves of a model's `fit`.

    Attributes:
        unit: Unit of all times: "epoch" or "step".
        begin, end: Where the time axes begin and end.
        figures: One or two figures.
        rate_times, rate: Applied learning rate; each value holds until the next time.
        planned_times, planned: The schedule's learning rate, likewise.
        note: Text above the rates.
    """

    unit: str
    begin: float
    end: float
    figures: Sequence[FitFigure]
    rate_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    rate: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    planned_times: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    planned: np.ndarray = dataclasses.field(default_factory=lambda: _NOTHING)
    note: str = ""
