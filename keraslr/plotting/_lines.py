"""Lines over a common axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from keraslr.plotting._chart import Chart
from keraslr.plotting._style import LOCK, line_style, tidy


class LineChart(Chart):
    """A few lines against one axis.

    Args:
        x, y: Labels of the axes.
    """

    def __init__(self, x: str, y: str):
        super().__init__((8, 4.2))
        self.axes = self.figure.add_subplot()
        tidy(self.axes, x, y)

    def draw(
        self, lines: Sequence[tuple[str, int, Any, Any]], y: str, *, log: bool = False
    ) -> None:
        """Shows these lines instead of the ones before.

        Args:
            lines: Label, number of the style, and coordinates of each.
            y: Label of the vertical axis.
            log: Whether the vertical axis is logarithmic.
        """
        with LOCK:
            for line in list(self.axes.lines):
                line.remove()
            high, low = 0.0, np.inf
            for label, style, at, values in lines:
                self.axes.plot(at, values, label=label, animated=True, **line_style(style))
                high = max(high, float(np.max(values)))
                positive = np.asarray(values)[np.asarray(values) > 0]
                low = min(low, float(positive.min())) if len(positive) else low
                self.axes.set_xlim(-0.02 * at[-1], 1.02 * at[-1])
            self.axes.set_ylabel(y)
            self.axes.set_yscale("log" if log and high > 0 else "linear")
            if log and high > 0:
                # Below a millionth nothing is left to compare.
                self.axes.set_ylim(max(low / 1.5, 1e-6 * high), high * 1.5)
            else:
                self.axes.set_ylim(0, 1.05 * high or 1)
            self.arrange([label for label, *_ in lines])
