"""Figures of lines with bands, and of paths over contours."""

from __future__ import annotations

from matplotlib.figure import Figure

from keraslr._chart_data import LineFigure
from keraslr.objectives import OBJECTIVES
from keraslr.plotting._contours import contours
from keraslr.plotting._style import LOCK, legend, line_style, tidy


def line_figure(data: LineFigure) -> Figure:
    """Draws lines with their bands, or paths over the contours of an objective.

    Args:
        data: Content of the figure.
    """
    with LOCK:
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        if data.objective:
            contours(axes, OBJECTIVES[data.objective], list(data.lines.values()))
        for index, (label, (x, y)) in enumerate(data.lines.items()):
            style = line_style(index)
            if data.objective:
                style |= {"linewidth": 1.4, "marker": "o", "markersize": 2.5}
            elif data.markers:
                style |= {"marker": "o", "markersize": 4}
            axes.plot(x, y, label=label, **style)
            if label in data.bands:
                at, low, high = data.bands[label]
                axes.fill_between(at, low, high, color=style["color"], alpha=0.15, linewidth=0)
        tidy(axes, data.x, data.y)
        if data.log_x:
            axes.set_xscale("log")
        if data.log_y:
            axes.set_yscale("log")
        axes.set_title(data.title, fontsize="medium", wrap=True)
        if len(data.lines) > 1:
            legend(figure, axes, columns=3)
        return figure
