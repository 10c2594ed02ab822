"""Figures from results. Nothing is computed or trained here."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keraslr._files import write_whole
from keraslr.objectives import OBJECTIVES, Objective
from keraslr.schedules import Schedule

if TYPE_CHECKING:
    from keraslr.comparison import Comparison
    from keraslr.documented import Picture
    from keraslr.range_test import RangeTest

# Okabe and Ito's colours, which people with any colour vision can tell apart, without their
# yellow (too faint on white); from the eighth line on with another dash.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", ":", "-.")

# Matplotlib is not thread-safe, and a training thread's owner draws while others do.
LOCK = threading.RLock()


def line_style(index: int) -> dict[str, Any]:
    """Colour, dash and width of the line number `index`."""
    return {
        # Wider below and narrower above: a line that another covers still shows beside it.
        "linewidth": max(1.2, 2.6 - 0.4 * index),
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
    }


def _tidy(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


def _legend(figure: Figure, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(columns, len(labels)),
            frameon=False,
        )  # fmt: skip


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a picture, whole or not at all; the path's ending chooses the format.

    Raises:
        ValueError: Matplotlib has no such format; the error lists those it has.
        OSError: The path cannot be written.
    """
    path = Path(path)
    picture = io.BytesIO()
    with LOCK:
        figure.savefig(picture, format=path.suffix.lstrip(".") or "png", dpi=120)
    write_whole(path, picture.getvalue())
    return path


def schedule_figure(
    curves: Mapping[str, Schedule], ticks: int, *, unit: str = "tick", log: bool = False
) -> Figure:
    """Learning rate against time, a line a schedule.

    Args:
        curves: Schedules by the label of their line.
        ticks: Number of ticks to draw, >= 1.
        unit: What a tick is, for the axis.
        log: Whether the rate's axis is logarithmic.
    """
    with LOCK:
        figure = Figure(figsize=(8, 4.5), layout="constrained")
        axes = figure.add_subplot()
        for index, (label, schedule) in enumerate(curves.items()):
            rates = schedule.values(ticks)
            # A long run has more ticks than the picture has dots.
            shown = np.arange(0, ticks, max(1, ticks // 4000))
            # A tick's rate holds until the next one: a restart is a jump, not a slope.
            axes.step(
                np.append(shown, ticks), rates[np.append(shown, ticks - 1)], where="post",
                label=label, **line_style(index),
            )  # fmt: skip
        _tidy(axes, unit, "learning rate")
        if log:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        _legend(figure, axes, columns=2)
        return figure


def comparison_figure(comparison: Comparison) -> Figure:
    """Rate, training loss and test accuracy against epoch: a line a schedule, a band its seeds."""
    with LOCK:
        figure = Figure(figsize=(12, 4.6), layout="constrained")
        panels: Sequence[Axes] = figure.subplots(1, 3)
        for index, (name, curve) in enumerate(comparison.curves().items()):
            style = line_style(index)
            panels[0].plot(curve.rate_epochs, curve.rate, label=name, **style)
            marker: dict[str, Any] = (
                {"marker": "o", "markersize": 3} if len(curve.epochs) <= 30 else {}
            )
            for axes, series in ((panels[1], curve.train_loss), (panels[2], curve.test_accuracy)):
                axes.plot(curve.epochs, series.mean, **style, **marker)
                if series.runs > 1:
                    axes.fill_between(
                        curve.epochs, series.low, series.high, color=style["color"], alpha=0.15,
                        linewidth=0,
                    )  # fmt: skip
        _tidy(panels[0], "epoch", "learning rate")
        _tidy(panels[1], "epoch", "training loss")
        _tidy(panels[2], "epoch", "test accuracy")
        panels[0].set_ylim(bottom=0)
        figure.suptitle(comparison.title)
        _legend(figure, panels[0], columns=4)
        return figure


def range_test_figure(result: RangeTest) -> Figure:
    """Loss against the rates of a range test, with a mark at each suggested rate.

    The smoothed loss is a line over the faint losses of the batches. What diverges is cut off, so
    that the fall can be seen.
    """
    with LOCK:
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.add_subplot()
        rates, smoothed = result.learning_rates, result.smoothed
        axes.plot(rates, result.losses, color=COLOURS[0], alpha=0.3, linewidth=1, label="loss")
        axes.plot(rates, smoothed, color=COLOURS[0], linewidth=2, label="smoothed loss")
        _tidy(axes, "learning rate", "loss")
        if result.sweep == "exponential":
            axes.set_xscale("log")
        finite = smoothed[np.isfinite(smoothed)]
        if len(finite):
            low, before = finite.min(), finite[: np.argmin(finite) + 1].max()
            # Where nothing fell there is a rise to show, if it is not the divergence.
            span = max(before - low, min(finite.max() - low, abs(low)), 1e-6)
            losses = result.losses[np.isfinite(result.losses)]
            axes.set_ylim(min(low, losses.min()) - 0.1 * span, low + 1.4 * span)
        for marker, colour, (name, rate) in zip(
            "o^s", COLOURS[1:], result.suggestions.items(), strict=False
        ):
            if rate is not None:
                axes.axvline(rate, color=colour, linewidth=1, linestyle=":")
                axes.plot(
                    rate, np.interp(rate, rates, smoothed), color=colour, marker=marker,
                    markersize=8, linestyle="none", label=f"{name}: {rate:.2g}",
                )  # fmt: skip
        figure.suptitle(result.problem or f"range test: {len(rates)} steps, {result.stopped}")
        _legend(figure, axes, columns=3)
        return figure


def picture_figure(picture: Picture) -> Figure:
    """A picture of a reproduced comparison: lines with their bands, or paths over contours."""
    with LOCK:
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        if picture.objective:
            _contours(axes, OBJECTIVES[picture.objective], list(picture.lines.values()))
        for index, (label, (x, y)) in enumerate(picture.lines.items()):
            style = line_style(index)
            if picture.objective:
                style |= {"linewidth": 1.4, "marker": "o", "markersize": 2.5}
            elif picture.markers:
                style |= {"marker": "o", "markersize": 4}
            axes.plot(x, y, label=label, **style)
            if label in picture.bands:
                at, low, high = picture.bands[label]
                axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
        _tidy(axes, picture.x, picture.y)
        if picture.log_x:
            axes.set_xscale("log")
        if picture.log_y:
            axes.set_yscale("log")
        axes.set_title(picture.title, fontsize="medium", wrap=True)
        if len(picture.lines) > 1:
            _legend(figure, axes, columns=3)
        return figure


def _contours(axes: Axes, objective: Objective, paths: Sequence[Any]) -> None:
    """Levels of an objective over its view, widened to what the paths reach of it."""
    view = []
    for (low, high), along in zip(objective.view, range(2), strict=True):
        reached = np.concatenate([np.asarray(path[along], float) for path in paths])
        reached = reached[np.isfinite(reached) & (reached > 2 * low - high)]
        reached = reached[reached < 2 * high - low]
        span = high - low
        view.append((min([low, *(reached - 0.05 * span)]), max([high, *(reached + 0.05 * span)])))
    x, y = (np.linspace(low, high, 200) for low, high in view)
    grid = np.stack(np.meshgrid(x, y), axis=-1)
    values = np.asarray(objective.values(grid))
    # Levels that are dense where it is low: a valley's floor is what is raced for.
    above = values - values.min()
    levels = values.min() + above.max() * np.linspace(0, 1, 18)[1:] ** 3
    axes.contour(x, y, values, levels=levels, colors="#9aa5b1", linewidths=0.6)
    axes.set_xlim(*view[0])
    axes.set_ylim(*view[1])
    for minimum in objective.minima:
        axes.plot(*minimum, marker="*", color="#000000", markersize=9, linestyle="none", zorder=5)
