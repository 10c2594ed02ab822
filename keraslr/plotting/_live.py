"""Charts of training under way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from keraslr._chart_data import TrainingCurve, is_share
from keraslr.plotting._chart import Chart
from keraslr.plotting._style import LOCK, line_style, short_ticks, tidy

_NOTHING = np.empty(0)


class TrainingChart(Chart):
    """Loss and another figure side by side, and the rate below: a colour a run.

    Lines are of training, points of the validation data; the planned rate is broken. Without
    another figure the loss takes the whole width.

    Args:
        figure: Name of the other figure, without "val_"; "" for none.
        validation: Word for the data of the points; "" if there are none.
        loss: Whether there is a loss; without one the other figure takes the whole width.
    """

    def __init__(self, figure: str = "accuracy", validation: str = "test", loss: bool = True):
        super().__init__((8.6, 5.4))
        self._has_loss = loss
        self._figure: str | None = None
        self._grid = self.figure.add_gridspec(2, 2, height_ratios=(3, 2), hspace=0.34, wspace=0.24)
        self.loss = self.figure.add_subplot(self._grid[0, 0])
        self.metric = self.figure.add_subplot(self._grid[0, 1])
        self.rate = self.figure.add_subplot(self._grid[1, :])
        tidy(self.loss, "", "loss")
        tidy(self.metric, "", "")
        tidy(self.rate, "epoch", "learning rate")
        for axes in (self.loss, self.metric, self.rate):
            short_ticks(axes)
        self._choose(figure)
        data = f"line: training, points: {validation}" if validation else "training"
        for axes, what in (
            (self.loss, data), (self.metric, data), (self.rate, "line: applied, broken: planned"),
        ):  # fmt: skip
            axes.set_title(what, fontsize=8.5, color="#555555", loc="right", pad=3)

    def _choose(self, figure: str) -> None:
        if figure != self._figure:
            self._figure, self._frame = figure, None
            self.metric.set_ylabel(figure.replace("_", " "))
            self.metric.set_ylim(0, 1.02)  # a line at 1 is seen
            both = bool(figure) and self._has_loss
            self.metric.set_visible(bool(figure))
            self.loss.set_visible(self._has_loss or not figure)
            self.loss.set_subplotspec(self._grid[0, 0] if both else self._grid[0, :])
            self.metric.set_subplotspec(self._grid[0, 1] if both else self._grid[0, :])

    def draw(
        self,
        curves: Sequence[TrainingCurve],
        epochs: float,
        *,
        log: bool = False,
        figure: str | None = None,
    ) -> None:
        """Shows these runs instead of the ones before.

        Args:
            curves: The runs.
            epochs: Where the time axes end.
            log: Whether the rate's axis is logarithmic.
            figure: Name of the other figure from now on, "" for none; None for the one before.
        """
        with LOCK:
            if figure is not None:
                self._choose(figure)
            for axes in (self.loss, self.metric, self.rate):
                for line in list(axes.lines):
                    line.remove()
                axes.set_xlim(-0.02 * epochs, 1.02 * epochs)
            for curve in curves:
                colour = line_style(curve.style)["color"]
                training = {"color": colour, "linewidth": 1.3, "animated": True}
                test = {**training, "marker": "o", "markersize": 4, "linewidth": 0.8}
                self.loss.plot(curve.times, curve.loss, label=curve.label, **training)
                self.loss.plot(curve.test_times, curve.test_loss, **test)
                self.metric.plot(curve.times, curve.metric, **training)
                self.metric.plot(curve.test_times, curve.test_metric, **test)
                self.rate.step(
                    curve.planned_times, curve.planned, where="post", color=colour,
                    linewidth=1.2, linestyle=(0, (4, 3)), alpha=0.7, animated=True,
                )  # fmt: skip
                self.rate.step(
                    curve.rate_times, curve.rate, where="post", color=colour, linewidth=2,
                    animated=True,
                )  # fmt: skip
            self._limit(curves, log)
            self.arrange([curve.label for curve in curves] if len(curves) > 1 else [])

    def _limit(self, curves: Sequence[TrainingCurve], log: bool) -> None:
        losses = _finite([each.loss for each in curves] + [each.test_loss for each in curves])
        if len(losses) and losses.min() < 0:
            self.loss.set_ylim(*_around(losses))
        else:
            # What diverges is cut off, so that the rest can still be read; not a beginning from
            # which the loss has fallen.
            begins = _finite([each.loss[: max(1, len(each.loss) // 10)] for each in curves])
            most = max(4 * np.median(losses), begins.max(initial=0)) if len(losses) else 2.5
            high = min(losses.max(), most) if len(losses) else most
            self.loss.set_ylim(0, 1.05 * max(high, 1e-6))
        values = _finite([each.metric for each in curves] + [each.test_metric for each in curves])
        if len(values) and not is_share(self._figure or ""):
            self.metric.set_ylim(*_around(values))
        rates = _finite([each.rate for each in curves] + [each.planned for each in curves])
        positive = rates[rates > 0]
        if log and len(positive):
            self.rate.set_yscale("log")
            self.rate.set_ylim(positive.min() / 1.5, positive.max() * 1.5)
        else:
            if self.rate.get_yscale() != "linear":
                self.rate.set_yscale("linear")
                short_ticks(self.rate)
            self.rate.set_ylim(0, 1.08 * positive.max() if len(positive) else 1)

    def arrange(self, labels: Sequence[str] = (), **_: float) -> None:
        """Sets the margins as `Chart.arrange` does, for axes in two rows."""
        super().arrange(labels, left=0.82, top=0.3)


def _around(values: np.ndarray) -> tuple[float, float]:
    """Returns the limits of an axis for values that may be negative, without what diverges."""
    low, high = np.quantile(values, (0.01, 0.99))
    low = min(float(low), 0.0)
    margin = 0.05 * (float(high) - low) or 0.5
    return low - margin * (low < 0), float(high) + margin


def _finite(values: Sequence[np.ndarray]) -> np.ndarray:
    together = np.concatenate([_NOTHING, *values])
    return together[np.isfinite(together)]
