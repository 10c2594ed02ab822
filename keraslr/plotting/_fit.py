"""Chart of a `fit` under way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from keraslr._chart_data import FitCurves, FitFigure
from keraslr.plotting._chart import Chart
from keraslr.plotting._style import COLOURS, LOCK, roomy, tidy

_TRAINING, _VALIDATION, _APPLIED = COLOURS[:3]
_GREY = "#555555"
_SMALL = 8.5

_WITHIN: dict[str, Any] = {"color": _TRAINING, "linewidth": 0.9, "alpha": 0.55}
_EPOCHS: dict[str, Any] = {"color": _TRAINING, "linewidth": 1.6, "marker": "o", "markersize": 4}
_VALIDATED: dict[str, Any] = {
    "color": _VALIDATION,
    "linewidth": 1.6,
    "marker": "o",
    "markersize": 4,
}
_RATE: dict[str, Any] = {"color": _APPLIED, "linewidth": 2.6}
_PLAN: dict[str, Any] = {"color": "#222222", "linewidth": 1.0, "linestyle": (0, (4, 3))}

# "0.0125", "1e+07": brief, and never with an exponent at the axis's end.
_BRIEF = FuncFormatter(lambda value, _: f"{value:.8g}")

# More epochs than this are too close together for a point each.
_POINTS = 40
# A positive loss that spans this factor has a logarithmic axis.
_LOGARITHMIC = 50.0


class FitChart(Chart):
    """One or two figures of a `fit` side by side, and the learning rate below.

    Args:
        figures: Number of figures: 1 or 2.
    """

    def __init__(self, figures: int) -> None:
        super().__init__((8.6, 5.2))
        with LOCK:
            grid = self.figure.add_gridspec(
                2, figures, height_ratios=(3, 2), hspace=0.36, wspace=0.26
            )
            self.figures = [self.figure.add_subplot(grid[0, n]) for n in range(figures)]
            self.rate = self.figure.add_subplot(grid[1, :])
            for axes in (*self.figures, self.rate):
                tidy(axes, "", "")
                # Inside the axes of a figure: above there is no room beside the legend.
                inside = 0.9 if axes is not self.rate else None
                axes.set_title("", fontsize=_SMALL, color=_GREY, pad=5, y=inside)
                axes.title.set_animated(True)
            self.rate.title.set(x=0.0, horizontalalignment="left")
            self.rate.set_ylabel("learning rate")
        self._legends: list[tuple[bool, ...]] = []

    def draw(self, curves: FitCurves) -> None:
        """Shows these curves instead of the ones before."""
        margin = 0.02 * (curves.end - curves.begin)
        with LOCK:
            for axes in (*self.figures, self.rate):
                for line in list(axes.lines):
                    line.remove()
                axes.set_xlim(curves.begin - margin, curves.end + margin)
                axes.xaxis.set_major_locator(
                    MaxNLocator(5 if axes is not self.rate else 10, integer=True)
                )
            for axes, figure in zip(self.figures, curves.figures, strict=True):
                _draw_figure(axes, figure)
            self.rate.set_xlabel(curves.unit)
            for times, rates, style in (
                (curves.rate_times, curves.rate, _RATE),
                (curves.planned_times, curves.planned, _PLAN),
            ):
                self.rate.step(times, rates, where="post", animated=True, **style)
            self.rate.title.set_text(curves.note)
            known = _finite([curves.rate, curves.planned])
            self.rate.set_ylim(0, roomy(1.02 * known.max()) if len(known) else 1)
            self.rate.yaxis.set_major_formatter(_BRIEF)
            self._explain(curves)
            self.arrange(left=0.95, top=0.3)

    def _explain(self, curves: FitCurves) -> None:
        wanted = [
            tuple(
                bool(np.isfinite(each).any())
                for each in (f.values, f.epoch_values, f.validation_values)
            )
            for f in curves.figures
        ]
        wanted.append((len(curves.rate) > 0, len(curves.planned) > 0))
        if wanted == self._legends:
            return
        self._legends, self._frame = wanted, None
        kinds = [(_WITHIN, "epoch so far"), (_EPOCHS, "training"), (_VALIDATED, "validation")]
        rates = [(_RATE, "applied"), (_PLAN, "planned")]
        for axes, which in zip((*self.figures, self.rate), wanted, strict=True):
            known = rates if axes is self.rate else kinds
            shown = [kind for kind, there in zip(known, which, strict=True) if there]
            axes.legend(
                [Line2D([], [], **style) for style, _ in shown], [name for _, name in shown],
                loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False,
                fontsize=_SMALL, labelcolor=_GREY, handlelength=1.6, columnspacing=1.2,
                borderaxespad=0.1, borderpad=0.2,
            )  # fmt: skip


def _draw_figure(axes: Axes, figure: FitFigure) -> None:
    axes.set_ylabel(figure.name)
    axes.title.set_text(figure.note)
    axes.plot(figure.times, figure.values, animated=True, **_WITHIN)
    for times, values, style in (
        (figure.epoch_times, figure.epoch_values, _EPOCHS),
        (figure.validation_times, figure.validation_values, _VALIDATED),
    ):
        close: dict[str, Any] = {"marker": "", "linewidth": 1.2} if len(times) > _POINTS else {}
        axes.plot(times, values, animated=True, **{**style, **close})
    values = _finite([figure.values, figure.epoch_values, figure.validation_values])
    if not len(values):
        axes.set_yscale("linear")
        axes.set_ylim(0, 1)
    elif values.min() > 0 and values.max() > _LOGARITHMIC * values.min():
        axes.set_yscale("log")
        # Limits that seldom change: the axes need not be drawn anew.
        low, high = np.log10(values.min()), np.log10(values.max())
        low, high = math.floor(4 * low) / 4, math.ceil(4 * high) / 4
        margin = 0.03 * (high - low)
        axes.set_ylim(10 ** (low - margin), 10 ** (high + margin))
    else:
        axes.set_yscale("linear")
        axes.set_ylim(*_limits(values))
        axes.yaxis.set_major_formatter(_BRIEF)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Returns limits of an axis that show all values except outliers, and seldom change."""
    low, high = float(values.min()), float(values.max())
    few, most = np.quantile(values, (0.03, 0.97))
    spread = most - few
    if spread > 0:
        low, high = max(low, few - 2 * spread), min(high, most + 2 * spread)
    fraction = low >= 0 and high <= 1
    if 0 <= low <= 0.4 * high:
        low = 0.0
    span = max(high - low, 1e-3 * max(abs(low), abs(high)), 1e-12)
    unit = 10.0 ** math.floor(math.log10(span)) / 4
    low, high = unit * math.floor(low / unit), unit * math.ceil(high / unit)
    if fraction:
        high = min(high, 1.0)
    if low == high:  # all values are the same
        low, high = (0.0, 1.0) if fraction else (low - unit, high + unit)
    margin = 0.02 * (high - low)
    return (low if low == 0 else low - margin), high + margin


def _finite(values: Sequence[np.ndarray]) -> np.ndarray:
    together = np.concatenate([np.empty(0), *values])
    return together[np.isfinite(together)]
