"""Figures of the reproduced comparisons: lines with their bands, and paths over contours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from keraslr.objectives import OBJECTIVES
from keraslr.plotting._contours import contours
from keraslr.plotting._style import LOCK, legend, line_style, tidy

if TYPE_CHECKING:
    from keraslr.published import Picture


def picture_figure(picture: Picture) -> Figure:
    """A picture of a reproduced comparison: lines with their bands, or paths over contours."""
    with LOCK:
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.add_subplot()
        if picture.objective:
            contours(axes, OBJECTIVES[picture.objective], list(picture.lines.values()))
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
        tidy(axes, picture.x, picture.y)
        if picture.log_x:
            axes.set_xscale("log")
        if picture.log_y:
            axes.set_yscale("log")
        axes.set_title(picture.title, fontsize="medium", wrap=True)
        if len(picture.lines) > 1:
            legend(figure, axes, columns=3)
        return figure
