"""Descents of an objective: paths over its contours or curve, and its value at each step."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator
from matplotlib.transforms import ScaledTranslation

from keraslr.catalog import DESCENT_OPTIMIZERS
from keraslr.descent import Trajectory
from keraslr.objectives import Objective
from keraslr.plotting._chart import Chart
from keraslr.plotting._contours import GREY, View, draw_levels, in_plane, surface
from keraslr.plotting._descent_view import Heights, Way, path_in, way_in, widened
from keraslr.plotting._png import Palette, encoded, rgb
from keraslr.plotting._style import LOCK, line_style, roomy, tidy

_LAYERS = 5
_LEGEND, _SCENERY, _AXIS, _WAYS, _MARKS = range(_LAYERS)

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

# Paths with more points have no dot for each of them: these could not be told apart.
_DOTS = 101


def optimizer_style(name: str) -> dict[str, Any]:
    """Returns colour, dash and width of an optimizer's line, the same in every picture."""
    return {**line_style(list(DESCENT_OPTIMIZERS).index(name)), "linewidth": 1.8}


class DescentChart(Chart):
    """The paths of several optimizers, beside the values along them.

    The chart is drawn in layers, whose pixels are kept: the legend, the contours, the axis of
    values, the paths, the marks of one step. Most moves of a slider redraw only the upper layers,
    and scrubbing through the steps redraws the last layer alone.

    Attributes:
        ways: The visible part of each trajectory, by label.
    """

    def __init__(self) -> None:
        super().__init__((8, 4.4))
        self.ways: dict[str, Way] = {}
        self._objective: tuple[Objective, View] | None = None
        self._scenery: list[Any] = []
        self._lines: dict[str, _Lines] = {}
        self._texts: list[Any] = []
        self._labels: list[str] = []
        self._pixels: list[Any] = [None] * _LAYERS
        self._palette: Palette | None = None
        self._changed = 0  # the lowest layer whose pixels are out of date
        # Artists that are animated are left out where Matplotlib draws the axes.
        symbol: dict[str, Any] = {"linestyle": "none", "color": "#000000", "animated": True}
        with LOCK:
            self.plane, self.heights = self.figure.subplots(1, 2, width_ratios=(11, 9))
            tidy(self.plane, "", "")
            self.plane.grid(visible=False)
            tidy(self.heights, "step", "")
            # Ticks with their labels take half of the drawing, and looking for a place
            # beside them for the axis's own label takes a quarter of it.
            for axes in (self.plane, self.heights):
                axes.locator_params(nbins=6 if axes is self.heights else 5, steps=[1, 2, 4, 5, 10])
                for axis, at, x, y in (
                    (axes.xaxis, (0.5, 0), 0, -0.34), (axes.yaxis, (0, 0.5), -0.53, 0),
                ):  # fmt: skip
                    away = ScaledTranslation(x, y, self.figure.dpi_scale_trans)
                    axis.set_label_coords(*at, transform=axes.transAxes + away)
            (self._start,) = self.plane.plot(
                [], [], marker="o", markersize=9, markerfacecolor="none", markeredgewidth=1.6,
                label="start", **symbol,
            )  # fmt: skip
            (self._minima,) = self.plane.plot(
                [], [], marker="*", markersize=14, markeredgecolor="#ffffff", markeredgewidth=0.6,
                **symbol,
            )  # fmt: skip
            self._cursor = self.heights.axvline(0, color="#777777", linewidth=1, animated=True)

    def draw(
        self,
        objective: Objective,
        trajectories: Mapping[str, Trajectory],
        *,
        start: Sequence[float],
        steps: int,
        step: int | None = None,
    ) -> None:
        """Shows these trajectories instead of the ones before.

        Args:
            objective: The objective of the trajectories.
            trajectories: Trajectories by the label of their line; may be empty.
            start: Starting point.
            steps: Length of the axis of steps.
            step: The step to mark, the last one unless given.
        """
        with LOCK:
            view = widened(objective, start, trajectories.values())
            if self._objective != (objective, view):
                self._show_objective(objective, view)
            paths = [path_in(objective, each, view) for each in trajectories.values()]
            axis = Heights.of(objective, view, start, trajectories.values(), [p[1] for p in paths])
            self._show_axis(axis, steps)
            self.ways = {
                label: way_in(each, path, left_at, axis.shown(each.values))
                for (label, each), (path, left_at) in zip(trajectories.items(), paths, strict=True)
            }
            self._show_ways({label: each.optimizer for label, each in trajectories.items()})
            self._start.set_data(in_plane(objective, np.array([start], float)).T)
            self._show_legend([*self.ways, "start", *(["minimum"] if objective.minima else [])])
            self.mark(steps if step is None else step)

    def mark(self, step: int) -> None:
        """Marks the position of each optimizer after N steps, or its last position."""
        with LOCK:
            self._changed = min(self._changed, _MARKS)
            self._cursor.set_xdata([step, step])
            for label, way in self.ways.items():
                lines, at = self._lines[label], min(step, len(way.values) - 1)
                lines.point.set_data(way.points[: step + 1][-1:].T)
                lines.height.set_data([at], [way.values[at]])

    def png(self) -> bytes:
        """Returns the picture as a PNG; draws only the layers that have changed."""
        with LOCK:
            for layer in range(self._changed, _LAYERS):
                if layer:
                    self.canvas.restore_region(self._pixels[layer - 1])
                self._draw_layer(layer)
                self._pixels[layer] = self.canvas.copy_from_bbox(self.figure.bbox)
            pixels = np.asarray(self.canvas.buffer_rgba())
            # Shades make the palette dear, and what moves on them is drawn in the same colours.
            if self._palette is None or self._changed < _AXIS or self._texts:
                self._palette = Palette(rgb(pixels))
            self._changed = _LAYERS
            return encoded(pixels, self._palette)

    def _draw_layer(self, layer: int) -> None:
        artists: list[Any] = []
        lines = [self._lines[label] for label in self.ways]
        if layer == _LEGEND:
            for axes in self.figure.axes:
                axes.set_visible(False)
            self.canvas.draw()
            for axes in self.figure.axes:
                axes.set_visible(True)
        elif layer == _SCENERY:
            artists = [self.plane]
        elif layer == _AXIS:
            artists = [self.heights]
        elif layer == _WAYS:
            artists = [artist for each in lines for artist in (each.path, each.curve)]
            artists += [*self._texts, self._start]
        else:
            artists = [self._cursor]
            artists += [artist for each in lines for artist in (each.point, each.height)]
            # On top of those that have arrived.
            artists.append(self._minima)
        for artist in artists:
            artist.draw(self.canvas.get_renderer())

    def _show_objective(self, objective: Objective, view: View) -> None:
        for old in self._scenery:
            old.remove()
        minima = np.array(objective.minima, float).reshape(-1, objective.dimension)
        if objective.dimension == 1:
            grid, values = surface(objective, view)
            self._scenery = self.plane.plot(grid, values, color=GREY, linewidth=1.4)
            margin = 0.06 * np.ptp(values)
            self.plane.set_xlim(*view[0])
            self.plane.set_ylim(values.min() - margin, values.max() + margin)
        else:
            self._scenery = draw_levels(self.plane, objective, view, shaded=True)
        self._minima.set_data(in_plane(objective, minima).T)
        self.plane.set_xlabel("x" if objective.dimension == 1 else "x1")
        self.plane.set_ylabel("value" if objective.dimension == 1 else "x2")
        self._objective, self._changed = (objective, view), min(self._changed, _SCENERY)

    def _show_axis(self, axis: Heights, steps: int) -> None:
        end = roomy(steps)
        wanted = (
            axis.name,
            "log" if axis.log else "linear",
            axis.ends,
            (-0.02 * end, 1.02 * end),
        )
        shown = (
            self.heights.get_ylabel(), self.heights.get_yscale(), self.heights.get_ylim(),
            self.heights.get_xlim(),
        )  # fmt: skip
        if shown != wanted:
            self.heights.set_ylabel(wanted[0])
            self.heights.set_yscale(wanted[1])
            self.heights.set_ylim(*wanted[2])
            self.heights.set_xlim(*wanted[3])
            if axis.log:
                self._show_decades(*axis.ends)
            self._changed = min(self._changed, _AXIS)

    def _show_decades(self, low: float, high: float) -> None:
        # Matplotlib's own labels are formulas, which take longer to draw than everything else.
        first, last = round(math.log10(low)), round(math.log10(high))
        every = max(1, -(-(last - first) // 5))
        decades = range(-(-first // every) * every, last + 1, every)
        labels = ["10" + str(each).translate(_RAISED) for each in decades]
        self.heights.set_yticks([10.0**each for each in decades], labels)
        self.heights.yaxis.set_minor_locator(NullLocator())

    def _show_ways(self, optimizers: Mapping[str, str]) -> None:
        # Lines are kept where they can be: a new one takes as long as to draw it.
        for label in [*self._lines]:
            if optimizers.get(label) != self._lines[label].optimizer:
                self._lines.pop(label).remove()
        for label, way in self.ways.items():
            if label not in self._lines:
                self._lines[label] = _Lines.on(self.plane, self.heights, label, optimizers[label])
            self._lines[label].show(way)
        for text in self._texts:
            text.remove()
        self._texts = self._lost()
        self._changed = min(self._changed, _WAYS)

    def _show_legend(self, labels: list[str]) -> None:
        if labels == self._labels:
            return
        # In this order they are in the legend, too.
        for line in (*(self._lines[each].path for each in self.ways), self._start, self._minima):
            line.remove()
            self.plane.add_line(line)
        self._minima.set_label("minimum" if "minimum" in labels else "_")
        # A path's dots come and go with its length, and the legend is not drawn again for that.
        for label in self.ways:
            self._lines[label].path.set_marker("")
        self.arrange(labels, right=0.3, between=1.2)
        for label, way in self.ways.items():
            self._lines[label].show(way)
        self._labels, self._changed = labels, _LEGEND

    def _lost(self) -> list[Any]:
        """Labels each path that is cut off, at the cut, with how it left the picture."""
        texts: list[Any] = []
        taken: list[tuple[float, float]] = []
        to_axes = self.plane.transData + self.plane.transAxes.inverted()
        for label, way in self.ways.items():
            if not way.fate:
                continue
            x, y = to_axes.transform(way.points[-1])
            down = -0.055 if y > 0.5 else 0.055
            y = min(max(y, 0.03), 0.97)
            while any(abs(x - u) < 0.4 and abs(y - v) < 0.05 for u, v in taken):
                y += down
            taken.append((x, y))
            right = x > 0.5
            texts.append(
                self.plane.text(
                    x + (-0.02 if right else 0.02), y,
                    f"{label} {'diverged' if way.diverged else 'leaves'}",
                    transform=self.plane.transAxes, animated=True,
                    color=self._lines[label].path.get_color(),
                    fontsize=9.5, va="center", ha="right" if right else "left",
                    bbox={"facecolor": "#ffffff", "alpha": 0.8, "edgecolor": "none", "pad": 1.5},
                )
            )  # fmt: skip
        return texts


@dataclasses.dataclass(frozen=True, eq=False)
class _Lines:
    """The lines of an optimizer: its path, its values, and its current position in both."""

    optimizer: str
    path: Any
    curve: Any
    point: Any
    height: Any

    @classmethod
    def on(cls, plane: Axes, heights: Axes, label: str, optimizer: str) -> _Lines:
        style = optimizer_style(optimizer)
        whole = style["linestyle"] == "-"
        spot: dict[str, Any] = {
            "marker": "o" if whole else "D", "markersize": 10 if whole else 9,
            "markeredgecolor": "#ffffff", "color": style["color"], "linestyle": "none",
        }  # fmt: skip
        return cls(
            optimizer,
            *(
                axes.plot([], [], animated=True, **how)[0]
                for axes, how in (
                    (plane, {"label": label, "markersize": 3, **style}),
                    (heights, style), (plane, spot), (heights, spot),
                )
            ),
        )  # fmt: skip

    def show(self, way: Way) -> None:
        # Dots would fill the gaps of a broken line.
        dots = len(way.points) <= _DOTS and self.path.get_linestyle() == "-"
        self.path.set_marker("o" if dots else "")
        self.path.set_data(way.points.T)
        self.curve.set_data(np.arange(len(way.values)), way.values)

    def remove(self) -> None:
        for line in (self.path, self.curve, self.point, self.height):
            line.remove()
