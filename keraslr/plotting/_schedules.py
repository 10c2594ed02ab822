"""Charts of learning rates against time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from keraslr.plotting._chart import Chart
from keraslr.plotting._style import LOCK, line_style, roomy, tidy
from keraslr.schedules import Schedule
from keraslr.summary import Summary, summarize

# Ticks with their labels take half of the drawing where an axis has changed.
_TICKS = 6


class ScheduleChart(Chart):
    """Chart of rate against time, with a line for each schedule."""

    def __init__(self, size: tuple[float, float] = (8, 4.5)):
        super().__init__(size)
        self.axes = self.figure.add_subplot()
        tidy(self.axes, "tick", "learning rate")
        self.axes.locator_params(axis="x", nbins=_TICKS)
        self.axes.title.set_animated(True)

    def draw(
        self,
        curves: Sequence[tuple[str, Summary, int]],
        *,
        unit: str = "tick",
        log: bool = False,
    ) -> None:
        """Shows these curves instead of the ones before.

        Args:
            curves: Label, summary and steps per unit of time of each schedule.
            unit: Unit of the time axis.
            log: Whether the rate's axis is logarithmic.
        """
        with LOCK:
            for line in list(self.axes.lines):
                line.remove()
            low, high = np.inf, 0.0
            for index, (label, summary, per_unit) in enumerate(curves):
                # A step's rate holds until the next one: a restart is a jump, not a slope.
                self.axes.step(
                    np.append(summary.at, summary.steps) / per_unit,
                    np.append(summary.rates, summary.rates[-1]),
                    where="post", label=label, animated=True, **line_style(index),
                )  # fmt: skip
                high = max(high, float(summary.rates.max()))
                positive = summary.rates[summary.rates > 0]
                low = min(low, float(positive.min())) if len(positive) else low
            self.axes.set_xlabel(unit)
            end = max((summary.steps / per_unit for _, summary, per_unit in curves), default=1)
            self.axes.set_xlim(-0.02 * end, 1.02 * end)
            # Zero has no place on a logarithmic axis: the curve leaves it at the bottom.
            if log and high > 0:
                self.axes.set_yscale("log")
                self.axes.set_ylim(low / 1.5, high * 1.5)
            else:
                self.axes.set_yscale("linear")  # which forgets what was said of the ticks
                self.axes.locator_params(axis="y", nbins=_TICKS)
                self.axes.set_ylim(0, roomy(1.02 * high))
            alone = curves[0][0] if len(curves) == 1 else ""
            self.axes.set_title(alone, fontsize=10, pad=4)
            self.arrange(top=0.3, labels=[label for label, *_ in curves])


def schedule_figure(
    curves: Mapping[str, Schedule], ticks: int, *, unit: str = "tick", log: bool = False
) -> Figure:
    """Draws learning rate against time, with a line for each schedule.

    Args:
        curves: Schedules by the label of their line.
        ticks: Number of ticks to draw, >= 1.
        unit: Unit of the time axis.
        log: Whether the rate's axis is logarithmic.
    """
    chart = ScheduleChart()
    known = [(label, summarize(schedule, ticks), 1) for label, schedule in curves.items()]
    chart.draw(known, unit=unit, log=log)
    return chart.figure
