"""The view of a picture of trajectories: part of the plane, axis of values, paths."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence

import numpy as np

from keraslr.descent import Trajectory
from keraslr.objectives import Objective
from keraslr.plotting._contours import View, in_plane, surface

# A view is widened by quarters of its span, so that it and its contours mostly stay where they are
# while a slider is moved, and by one span at most: more would make a dot of all the rest.
_PARTS, _WIDEST = 4, 1.0

# What the logarithmic axis of values goes down from its top, and the stops of its lower end.
_DECADES, _STOP = 12, 2


@dataclasses.dataclass(frozen=True, eq=False)
class Way:
    """The part of a trajectory that a picture shows.

    Attributes:
        points: The path, float64 array (n, 2); one that leaves the picture ends at its edge.
        values: The objective's value at each step, as the axis shows it, float64 array (m,).
        left_at: The step that left the picture for good; None for no such step.
        diverged: Whether the values are no longer finite, or left the picture upwards.
        fate: How the trajectory left the picture, in words; "" if it ended inside.
    """

    points: np.ndarray
    values: np.ndarray
    left_at: int | None
    diverged: bool
    fate: str


@dataclasses.dataclass(frozen=True)
class Heights:
    """The axis of values.

    Attributes:
        name: Label of the axis.
        lowest: Value that is subtracted on a logarithmic axis.
        ends: Limits of the axis.
        log: Whether the axis is logarithmic.
    """

    name: str
    lowest: float
    ends: tuple[float, float]
    log: bool

    @classmethod
    def of(
        cls,
        objective: Objective,
        view: View,
        start: Sequence[float],
        trajectories: Collection[Trajectory],
        left_at: Sequence[int | None],
    ) -> Heights:
        """Chooses limits that hold the visible values, rounded so that they seldom change."""
        _, heights = surface(objective, view)
        low, high = float(heights.min()), float(heights.max())
        within = [each.values[:left] for each, left in zip(trajectories, left_at, strict=True)]
        values = np.concatenate([objective.values([start]), *within])
        if objective.minima:
            lowest = float(objective.values(objective.minima).min())
            gaps = values - lowest
            positive = gaps[gaps > 0]
            # A view need not hold the lowest value there is: the wave has lower ones outside.
            if len(positive) and gaps.min() > -1e-9 * (high - low):
                top = 1.5 * min(float(gaps.max()), high - lowest)
                bottom = max(float(positive.min()), top / 10**_DECADES)
                floor = _STOP * math.floor(math.log10(bottom) / _STOP)
                ends = 10.0**floor, 10.0 ** math.ceil(math.log10(top))
                return cls("value above the minimum" if lowest else "value", lowest, ends, True)
        part = (high - low) / 20
        bottom, top = max(float(values.min()), low), min(float(values.max()), high)
        ends = part * (math.floor(bottom / part) - 1), part * (math.ceil(top / part) + 1)
        return cls("value", 0.0, ends, False)

    def shown(self, values: np.ndarray) -> np.ndarray:
        """Returns values as the axis shows them, clipped so that their pixels stay finite."""
        low, high = self.ends
        if self.log:
            return np.clip(values - self.lowest, low / 1e30, high * 1e30)
        return np.clip(values, low - 100 * (high - low), high + 100 * (high - low))


def widened(
    objective: Objective, start: Sequence[float], trajectories: Collection[Trajectory]
) -> View:
    """Returns the objective's view, widened to the paths that stay near it."""
    low, high = np.array(objective.view).T
    span = high - low
    bottom, top = np.minimum(low, start), np.maximum(high, start)
    for each in trajectories:
        ends = each.points.min(axis=0), each.points.max(axis=0)
        near = (ends[0] > low - _WIDEST * span).all() and (ends[1] < high + _WIDEST * span).all()
        if near and each.diverged_at is None:
            bottom, top = np.minimum(bottom, ends[0]), np.maximum(top, ends[1])
    part = span / _PARTS
    bottom = low - part * np.ceil((low - bottom) / part)
    top = high + part * np.ceil((top - high) / part)
    return tuple(zip(bottom.tolist(), top.tolist(), strict=True))


def path_in(
    objective: Objective, trajectory: Trajectory, view: View
) -> tuple[np.ndarray, int | None]:
    """Returns the points up to the edge of the view, and the step that crossed it for good."""
    points = trajectory.points
    low, high = np.array(view).T
    little = 1e-9 * (high - low)
    inside = ((points > low - little) & (points < high + little)).all(axis=1)
    last = int(np.flatnonzero(inside)[-1])
    left_at = None
    if last < len(points) - 1:
        left_at = last + 1
        begin, way = points[last], points[left_at] - points[last]
        edge = np.where(way > 0, high, low)
        part = min((e - b) / w for e, b, w in zip(edge, begin, way, strict=True) if w)
        points = np.vstack([points[:left_at], begin + part * way])
    # What it did in between far outside must not be too much for the pixels' numbers.
    far = 1e3 * (high - low)
    return in_plane(objective, np.clip(points, low - far, high + far)), left_at


def way_in(
    trajectory: Trajectory, points: np.ndarray, left_at: int | None, values: np.ndarray
) -> Way:
    """Describes how a trajectory with this path and these values appears in the picture."""
    if trajectory.diverged_at is not None:
        fate, diverged = f"diverged at step {trajectory.diverged_at}", True
    elif left_at is None:
        fate, diverged = "", False
    else:
        diverged = bool(trajectory.values[-1] > trajectory.values[0])
        fate = f"{'diverged, ' if diverged else ''}left the picture at step {left_at}"
    return Way(points, values, left_at, diverged, fate)
