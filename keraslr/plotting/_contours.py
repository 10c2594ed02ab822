"""Objectives as pictures: levels over a plane, or the curve of one variable."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap

from keraslr.objectives import Objective

View: TypeAlias = tuple[tuple[float, float], ...]

GREY = "#9aa5b1"

# White at low values, where the paths end.
_SHADES = LinearSegmentedColormap.from_list("height", ["#ffffff", "#d3dde8"])


def contours(axes: Axes, objective: Objective, paths: Sequence[Any]) -> None:
    """Draws the levels of an objective over its view, widened to the paths nearby."""
    view = []
    for (low, high), along in zip(objective.view, range(2), strict=True):
        reached = np.concatenate([np.asarray(path[along], float) for path in paths])
        reached = reached[np.isfinite(reached) & (reached > 2 * low - high)]
        reached = reached[reached < 2 * high - low]
        span = high - low
        view.append((min([low, *(reached - 0.05 * span)]), max([high, *(reached + 0.05 * span)])))
    draw_levels(axes, objective, tuple(view))
    for minimum in objective.minima:
        axes.plot(*minimum, marker="*", color="#000000", markersize=9, linestyle="none", zorder=5)


def draw_levels(axes: Axes, objective: Objective, view: View, shaded: bool = False) -> list[Any]:
    """Draws an objective of two variables and returns the artists, which can be removed."""
    grid, values = surface(objective, view)
    # Levels are dense at low values, since the paths meet at the floor of the valley.
    low, high = values.min(), values.max()
    levels = low + (high - low) * np.linspace(0, 1, 18) ** 3
    x, y = np.moveaxis(grid, -1, 0)
    artists = []
    if shaded:
        colours = _SHADES(np.linspace(0, 1, len(levels) - 1))
        artists.append(axes.contourf(x, y, values, levels=levels, colors=colours))
    artists.append(
        axes.contour(
            x, y, values, levels=levels[1:-1], colors=GREY, linewidths=0.6, linestyles="solid"
        )
    )
    axes.set_xlim(*view[0])
    axes.set_ylim(*view[1])
    return artists


@functools.lru_cache(maxsize=32)
def surface(objective: Objective, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Returns points that cover the view, (n, 1) or (n, n, 2), and the values there."""
    size = 400 if objective.dimension == 1 else 200
    grid = np.stack(np.meshgrid(*(np.linspace(*ends, size) for ends in view)), axis=-1)
    return grid, objective.values(grid)


def in_plane(objective: Objective, points: np.ndarray) -> np.ndarray:
    """Returns the positions of points in the picture, (n, 2); in one dimension, on the curve."""
    if objective.dimension == 1:
        return np.column_stack([points[:, 0], objective.values(points)])
    return points
