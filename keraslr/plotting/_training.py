"""Figures of training: comparisons and range tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from keraslr._chart_data import Curve, RangeTestCurve, Series, label, usual_figure
from keraslr.plotting._chart import Chart
from keraslr.plotting._style import COLOURS, LOCK, legend, line_style, short_ticks, tidy
from keraslr.summary import Summary

_MARKED = 30
_POINTS = 2000


class ComparisonChart(Chart):
    """Chart of rate, training loss and another figure: a line for each schedule, bands for seeds.

    Schedules that are still to be trained appear with their planned rate alone.

    Args:
        size: Width and height in inches.
        figure: Name of the other figure, such as "val_accuracy"; "" for none.
        loss: Whether there is a loss. What there is takes the width.
    """

    def __init__(
        self,
        size: tuple[float, float] = (8.6, 4.1),
        figure: str = "val_accuracy",
        loss: bool = True,
    ):
        super().__init__(size)
        self._has_loss = loss
        self._figure = figure
        # Letters that can still be read where the page is narrow and shows the picture smaller.
        self._font = 10.5
        self._names: list[str] = []
        self._behind: Any = None
        self.rate, self.loss, self.metric = self.figure.subplots(1, 3)
        for axes, words in (
            (self.rate, "learning rate"),
            (self.loss, label("loss")),
            (self.metric, label(figure)),
        ):
            tidy(axes, "epoch", words)
            axes.xaxis.label.set_size(self._font)
            axes.yaxis.label.set_size(self._font)
            axes.tick_params(labelsize=self._font - 1)
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True, steps=(1, 2, 5, 10)))
            self._linear(axes)
            short_ticks(axes)
        self._choose(figure)
        self._notes = [
            axes.text(
                0.5, 0.5, "", transform=axes.transAxes, ha="center", va="center", color="#777777",
                fontsize=self._font,
            )
            for axes in (self.loss, self.metric)
        ]  # fmt: skip

    def draw(
        self,
        curves: Mapping[str, Curve],
        planned: Sequence[tuple[str, Summary, int]] = (),
        *,
        note: str = "",
        log: bool = False,
        figure: str | None = None,
    ) -> None:
        """Shows these curves instead of the ones before.

        Args:
            curves: Curves of the trained schedules, by name.
            planned: Name, summary and steps per epoch of each planned schedule, in the order of
                the colours. By default the order is that of `curves`.
            note: Text in axes without a line.
            log: Whether the axis of the loss is logarithmic, if no loss is negative.
            figure: Name of the other figure from now on, "" for none; None for the one before.
        """
        if figure is not None and figure != self._figure:
            self._choose(figure)
        plans = {name: (summary, per_epoch) for name, summary, per_epoch in planned}
        names = list(plans) or list(curves)
        with LOCK:
            for axes in (self.rate, self.loss, self.metric):
                for artist in [*axes.lines, *axes.collections]:
                    artist.remove()
            for index, name in enumerate(names):
                style = line_style(index)
                if name in curves:
                    times, rates = _with_end(curves[name].rate_epochs, curves[name].rate)
                else:
                    summary, per_epoch = plans[name]
                    times = np.append(summary.at, summary.steps) / per_epoch
                    rates = np.append(summary.rates, summary.rates[-1])
                self.rate.step(times, rates, where="post", label=name, animated=True, **style)
                if name in curves:
                    self._figures(curves[name], style)
            self._limit([curves[name] for name in names if name in curves], log)
            for text in self._notes:
                text.set_text("" if curves else note)
            # What lies behind the lines: legend, bands and words.
            behind = (names, note if not curves else "", list(curves.values()))
            if behind != self._behind:
                self._behind, self._frame = behind, None
            if names != self._names:
                self._names = names
                self.arrange(names)

    def _choose(self, figure: str) -> None:
        with LOCK:
            self._figure, self._frame, self._behind = figure, None, None
            self.metric.set_ylabel(label(figure) if figure else "", fontsize=self._font)
            self.metric.set_visible(bool(figure))
            self.loss.set_visible(self._has_loss)
            shown = [each for each in self.figure.axes if each.get_visible()]
            grid = self.figure.add_gridspec(1, len(shown))
            for index, axes in enumerate(shown):
                axes.set_subplotspec(grid[0, index])
            self.arrange(self._names)

    def _figures(self, curve: Curve, style: Mapping[str, Any]) -> None:
        marked = {"marker": "o", "markersize": 3} if len(curve.epochs) <= _MARKED else {}
        for axes, figure in ((self.loss, "loss"), (self.metric, self._figure)):
            series = curve.figures.get(figure)
            if series is None:
                continue
            axes.plot(curve.epochs, series.mean, animated=True, **style, **marked)
            if series.runs > 1:
                around = np.concatenate([curve.epochs, curve.epochs[::-1]])
                edge = np.concatenate([series.low, series.high[::-1]])
                # What `fill_between` makes, without its millisecond of finding out.
                band = PolyCollection(
                    [np.column_stack([around, edge])], color=style["color"], alpha=0.15, linewidth=0
                )
                axes.add_collection(band, autolim=False)

    @staticmethod
    def _linear(axes: Axes) -> None:
        axes.yaxis.set_major_locator(MaxNLocator(5, steps=(1, 2, 2.5, 5, 10)))

    def _limit(self, curves: Sequence[Curve], log: bool) -> None:
        rates = [line.get_xydata() for line in self.rate.lines]
        high = max((float(each[:, 1].max()) for each in rates), default=0.0)
        end = max((float(each[-1, 0]) for each in rates), default=1.0)
        self.rate.set_ylim(0, 1.05 * high or 1)
        for axes in (self.rate, self.loss, self.metric):
            axes.set_xlim(-0.02 * end, 1.02 * end)
        self._limit_loss(curves, log)
        shown = [each.figures[self._figure] for each in curves if self._figure in each.figures]
        low = _least(shown, 0.0)
        high = max(
            (each.high[np.isfinite(each.high)].max(initial=low) for each in shown), default=1
        )
        margin = 0.05 * (high - low) or 0.05
        self.metric.set_ylim(low - margin, high + margin)

    def _limit_loss(self, curves: Sequence[Curve], log: bool) -> None:
        shown = [each.figures["loss"] for each in curves if "loss" in each.figures]
        high = max((float(each.high.max()) for each in shown), default=0.0)
        lows = np.concatenate([np.empty(0), *(each.low for each in shown)])
        low = float(lows.min(initial=0.0))
        high = high or (1.0 if low == 0 else 0.0)
        log = log and bool((lows > 0).any()) and low >= 0
        scale = "log" if log else "linear"
        if self.loss.get_yscale() != scale:
            self.loss.set_yscale(scale)
            if not log:
                self._linear(self.loss)
                short_ticks(self.loss)
        # Below a millionth of the highest there is nothing left to compare.
        if log:
            self.loss.set_ylim(max(lows[lows > 0].min(), 1e-6 * high) / 1.5, 1.05 * high)
        else:
            margin = 0.05 * (high - low)
            self.loss.set_ylim(low - margin if low < 0 else 0, 1.05 * high - 0.05 * low)

    def arrange(self, labels: Sequence[str] = (), **margins: float) -> None:
        """Sets the margins as `Chart.arrange` does, with a larger legend, even for a single line.

        Args:
            labels: Labels of the legend.
            **margins: `top`, the inches for a title.
        """
        with LOCK:
            self._frame = None
            for old in list(self.figure.legends):
                old.remove()
            width, height = self.figure.get_size_inches()
            columns = sum(axes.get_visible() for axes in self.figure.axes)
            size = self._font - 0.5
            rows = 0
            if labels:
                # Some letters are wide, and a line needs a sample beside them.
                widest = 0.6 + 0.0085 * size * max(map(len, labels))
                most = max(1, min(4, len(labels), int(width / widest)))
                rows = -(-len(labels) // most)
                # As many columns as fill these rows evenly.
                self.figure.legend(
                    *self.rate.get_legend_handles_labels(), loc="lower center",
                    ncols=-(-len(labels) // rows), frameon=False, fontsize=size,
                    borderaxespad=0.2, handlelength=1.6, columnspacing=1.4,
                )  # fmt: skip
            self.figure.subplots_adjust(
                left=0.85 / width, right=1 - 0.12 / width,
                top=1 - margins.get("top", 0.28) / height,
                bottom=(0.6 + 0.22 * rows) / height,
                wspace=0.85 * columns / (width - 0.97 - (columns - 1) * 0.85),
            )  # fmt: skip


def _with_end(times: np.ndarray, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the steps at which the rate changes, and the end of the run."""
    changes = np.flatnonzero(np.append(True, rates[1:] != rates[:-1]))
    # More than the picture has dots is work for nothing.
    changes = changes[:: -(-len(changes) // _POINTS)]
    step = times[-1] / (len(times) - 1) if len(times) > 1 else 1.0
    return np.append(times[changes], times[-1] + step), np.append(rates[changes], rates[-1])


def _least(shown: Sequence[Series], otherwise: float) -> float:
    lows = [each.low[np.isfinite(each.low)] for each in shown]
    return min((float(each.min()) for each in lows if len(each)), default=otherwise)


def comparison_figure(curves: Mapping[str, Curve], title: str, figure: str | None = None) -> Figure:
    """Draws rate, training loss and another figure against epoch.

    Each schedule is a line, with a band from the lowest to the highest of its seeds.

    Args:
        curves: Curves by schedule.
        title: Title of the figure.
        figure: Name of the other figure; None for the usual one.
    """
    names = [name for curve in curves.values() for name in curve.figures]
    other = figure or (usual_figure(names) if names else None) or "val_accuracy"
    chart = ComparisonChart((12, 4.9), other)
    with LOCK:
        chart.draw(curves)
        chart.figure.suptitle(title, fontsize=12)
        chart.arrange(list(curves), top=0.5)
        for axes in chart.figure.axes:
            for line in axes.lines:
                line.set_animated(False)  # nobody draws it apart from the axes
        return chart.figure


def range_test_figure(curve: RangeTestCurve) -> Figure:
    """Draws loss against the rates of a range test, with a mark at each suggested rate.

    The smoothed loss is a line over the faint losses of the batches. Diverging losses are cut off,
    so that the fall can be seen.
    """
    with LOCK:
        figure = Figure(figsize=(8, 4.8), layout="constrained")
        axes = figure.add_subplot()
        rates, smoothed = curve.learning_rates, curve.smoothed
        axes.plot(rates, curve.losses, color=COLOURS[0], alpha=0.3, linewidth=1, label="loss")
        axes.plot(rates, smoothed, color=COLOURS[0], linewidth=2, label="smoothed loss")
        tidy(axes, "learning rate", "loss")
        if curve.log:
            axes.set_xscale("log")
        finite = smoothed[np.isfinite(smoothed)]
        if len(finite):
            low, before = finite.min(), finite[: np.argmin(finite) + 1].max()
            # Where nothing fell there is a rise to show, if it is not the divergence.
            span = max(before - low, min(finite.max() - low, abs(low)), 1e-6)
            losses = curve.losses[np.isfinite(curve.losses)]
            axes.set_ylim(min(low, losses.min()) - 0.1 * span, low + 1.4 * span)
        for marker, colour, (name, rate) in zip(
            "o^s", COLOURS[1:], curve.suggestions.items(), strict=False
        ):
            if rate is not None:
                axes.axvline(rate, color=colour, linewidth=1, linestyle=":")
                axes.plot(
                    rate, np.interp(rate, rates, smoothed), color=colour, marker=marker,
                    markersize=8, linestyle="none", label=f"{name}: {rate:.2g}",
                )  # fmt: skip
        figure.suptitle(curve.title)
        legend(figure, axes, columns=3)
        return figure
