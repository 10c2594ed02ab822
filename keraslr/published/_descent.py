"""Descents in one and two dimensions: their end points, and the claims about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from keraslr._chart_data import LineFigure
from keraslr.descent import descend
from keraslr.jobs._job import Job
from keraslr.objectives import OBJECTIVES
from keraslr.published._parts import (
    Findings,
    Line,
    Part,
    Plan,
    Results,
    Spread,
    Statement,
    Verdict,
    judged,
    read_data,
)
from keraslr.schedules import parse

_SETTINGS = ("objective", "optimizer", "learning_rate", "start", "steps")
_COORDINATES = ("x1", "x2")


def run(
    objective: str,
    optimizer: str,
    learning_rate: float | Mapping[str, Any],
    start: Sequence[float],
    steps: int,
    arguments: Mapping[str, float],
    noise: float = 0.0,
    seeds: int = 1,
    seen_at: Sequence[int] = (),
) -> dict[str, Any]:
    """Descends with one setting, once for each seed.

    Args:
        objective: Name of one of `OBJECTIVES`.
        optimizer: Name of one of `DESCENT_OPTIMIZERS`.
        learning_rate: A number, or a schedule's text and the t of its first step.
        start: Starting point.
        steps: Number of steps.
        arguments: Parameters of the optimizer.
        noise: Standard deviation of the noise in each component of the gradient.
        seeds: Number of seeds, from 0 on.
        seen_at: Further steps after which the points are recorded.

    Returns:
        `points` (steps + 1, d) and `values` (steps + 1,): the first seed's path; `at`: by number
        of steps, the point of each seed (seeds, d).
    """
    rate: Any = learning_rate
    if isinstance(rate, Mapping):
        rate = parse(rate["schedule"]).values(steps, start=rate["first"])
    ways = [
        descend(
            objective, optimizer, learning_rate=rate, start=start, steps=steps, noise=noise,
            seed=seed, **arguments,
        )
        for seed in range(seeds)
    ]  # fmt: skip
    return {
        "points": ways[0].points.tolist(),
        "values": ways[0].values.tolist(),
        "at": {
            str(step): [way.points[step].tolist() for way in ways] for step in (*seen_at, steps)
        },
    }


def _jobs(plan: Plan) -> list[Job]:
    data = read_data("descent")
    seeds = len(plan.seeds_of(data["seeds"], quick=data["seeds"]))
    steps = {each["name"]: each["steps"] for each in data["runs"]}
    # Two runs of different lengths are compared after the steps of the shorter one.
    seen = {each["than"]: [steps[each["run"]]] for each in data["claims"] if "than" in each}
    jobs = []
    for each in data["runs"]:
        arguments = {key: each[key] for key in _SETTINGS}
        arguments["arguments"] = each.get("arguments", {})
        if "noise" in each:
            arguments |= {"noise": each["noise"], "seeds": seeds}
        if each["name"] in seen:
            arguments["seen_at"] = seen[each["name"]]
        cost = 1.0 + 0.003 * arguments.get("seeds", 1)
        jobs.append(Job("descent", each["name"], 0, cost, run, arguments))
    return jobs


def _findings(plan: Plan, results: Results) -> Findings:
    data = read_data("descent")
    done = {job.name: (job.arguments, result) for job, result in results}
    runs = [each for each in data["runs"] if each["name"] in done]
    lines = [line for each in runs if "published" in each for line in _lines(each, done)]
    exact = {each["name"] for each in runs if "noise" not in each}
    met = {
        kind: [line.verdict for line in lines if (line.name in exact) == kind]
        for kind in (True, False)
    }
    told = [verdict for verdict in met[False] if verdict is not Verdict.NOT_COMPARED]
    random = (
        f"{told.count(Verdict.REPRODUCED)} of {len(told)} coordinates of runs with noise are "
        "reproduced in distribution."
        if told
        else "Of the runs with noise nothing is compared: that takes more than one seed."
    )
    summary = (
        f"{met[True].count(Verdict.REPRODUCED)} of {len(met[True])} runs without noise end at the "
        f"printed digits. {random} {data['figure']}"
    )
    statements = [_statement(each, done) for each in data["claims"]]
    return Findings(summary, lines, statements, _pictures(data, done))


def _lines(each: Mapping[str, Any], done: Mapping[str, Any]) -> list[Line]:
    name, steps, printed = each["name"], each["steps"], each["published"]
    ends = np.array(done[name][1]["at"][str(steps)])
    if "noise" in each:
        return [
            Line(
                name=name,
                figure=f"{coordinate} after {steps} steps",
                published=published,
                pytorch="",
                here=spread.shown(6),
                verdict=judged(float(published), None, spread),
                note=each.get("note", ""),
            )
            for coordinate, published, spread in zip(
                _COORDINATES, printed, map(Spread.of, ends.T.tolist()), strict=True
            )
        ]
    here = [_printed_like(published, x) for published, x in zip(printed, ends[0], strict=True)]
    verdict = Verdict.REPRODUCED if here == printed else Verdict.NOT_REPRODUCED
    figure = f"{', '.join(_COORDINATES)} after {steps} steps"
    return [Line(name, figure, ", ".join(printed), "", ", ".join(here), verdict)]


def _printed_like(published: str, value: float) -> str:
    """Formats a value with as many decimals as the published figure, keeping the sign of zero."""
    return f"{value:.{len(published.partition('.')[2])}f}"


def _statement(claim: Mapping[str, Any], done: Mapping[str, Any]) -> Statement:
    needed = [claim[key] for key in ("run", "than") if key in claim]
    missing = [name for name in needed if name not in done]
    if missing:
        return Statement(claim["claim"], None, f"Not run: {', '.join(missing)}.")
    holds, evidence = _CHECKS[claim["kind"]](claim, *(done[name] for name in needed))
    return Statement(claim["claim"], bool(holds), evidence)


def _left(claim: Mapping[str, Any], done: tuple[Any, Any]) -> tuple[bool, str]:
    """Checks the share of the distance to the minimum that is left along a coordinate."""
    settings, result = done
    objective = OBJECTIVES[settings["objective"]]
    along = np.array(result["points"])[:, claim["coordinate"]]
    minimum = objective.minima[0][claim["coordinate"]]
    share = abs(along[-1] - minimum) / abs(along[0] - minimum)
    holds = claim.get("at_least", 0.0) <= share <= claim.get("at_most", np.inf)
    name = "x" if objective.dimension == 1 else _COORDINATES[claim["coordinate"]]
    evidence = (
        f"{name} = {_shown(along[-1])} after {settings['steps']} steps from {_shown(along[0])}: "
        f"{100 * share:.1f} % of the distance"
    )
    if claim.get("overshoots"):
        crossed = np.diff(np.sign(along - minimum)) != 0
        holds = holds and crossed.all()
        evidence += f", and {crossed.sum()} of {len(crossed)} steps cross the minimum"
    return holds, f"{evidence}."


def _poor_minimum(claim: Mapping[str, Any], done: tuple[Any, Any]) -> tuple[bool, str]:
    """Checks whether the end is nearest to a minimum that is not the lowest."""
    settings, result = done
    objective = OBJECTIVES[settings["objective"]]
    minima = np.array(objective.minima)
    depths = objective.values(minima)
    end = np.array(result["points"][-1])
    near = np.abs(minima - end).sum(axis=1).argmin()
    best = depths.argmin()
    evidence = (
        f"x = {end[0]:.6f} after {settings['steps']} steps, with the value "
        f"{result['values'][-1]:.3f}; the nearest minimum is {depths[near]:.3f} at "
        f"x = {minima[near, 0]:.3f}, the lowest in view {depths[best]:.3f} at "
        f"x = {minima[best, 0]:.3f}."
    )
    return near != best, evidence


def _distances(done: tuple[Any, Any], steps: int) -> np.ndarray:
    """Returns the distance of each seed from the minimum after N steps, (seeds,)."""
    settings, result = done
    minimum = OBJECTIVES[settings["objective"]].minima[0]
    return np.linalg.norm(np.array(result["at"][str(steps)]) - minimum, axis=1)


def _away(claim: Mapping[str, Any], done: tuple[Any, Any]) -> tuple[bool, str]:
    """Checks whether the end is away from the minimum, for most seeds."""
    steps = done[0]["steps"]
    distances = _distances(done, steps)
    farther = (distances > claim["at_least"]).mean()
    evidence = (
        f"After {steps} steps the median distance from the minimum is {np.median(distances):.3f}; "
        f"{100 * farther:.1f} % of {_count(distances)} are farther than {claim['at_least']:g}."
    )
    return farther > 0.5, evidence


def _nearer(
    claim: Mapping[str, Any], one: tuple[Any, Any], two: tuple[Any, Any]
) -> tuple[bool, str]:
    """Checks whether one run is nearer to the minimum than another, for most seeds."""
    steps, last = one[0]["steps"], two[0]["steps"]
    near, far, end = _distances(one, steps), _distances(two, steps), _distances(two, last)
    share = (near < far).mean()
    evidence = (
        f"After {steps} steps the median distance from the minimum is {np.median(near):.3f} "
        f"against {np.median(far):.3f}, and nearer with {100 * share:.1f} % of {_count(near)}; "
        f"after {last} steps the other is at {np.median(end):.3f}."
    )
    return np.median(near) < min(np.median(far), np.median(end)) and share > 0.5, evidence


_CHECKS: Mapping[str, Callable[..., tuple[bool, str]]] = {
    "left": _left,
    "poor minimum": _poor_minimum,
    "away": _away,
    "nearer": _nearer,
}


def _count(seeds: np.ndarray) -> str:
    return f"{len(seeds)} seed{'s' * (len(seeds) > 1)}"


def _shown(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


def _pictures(data: Mapping[str, Any], done: Mapping[str, Any]) -> list[LineFigure]:
    pictures = []
    for each in data["pictures"]:
        names = [name for name in each["runs"] if name in done]
        if not names:
            continue
        title, objective = each["title"], OBJECTIVES[done[names[0]][0]["objective"]]
        ways = {name: done[name][1] for name in names}
        if objective.dimension == 1:
            values = {name: way["values"] for name, way in ways.items()}
            lines = {name: (list(range(len(along))), along) for name, along in values.items()}
            log_y = each.get("log_y", False)
            picture = LineFigure(title, "step", "objective value", lines, log_y=log_y, markers=True)
        else:
            points = {name: np.array(way["points"]) for name, way in ways.items()}
            lines = {name: (way[:, 0].tolist(), way[:, 1].tolist()) for name, way in points.items()}
            picture = LineFigure(
                title, *_COORDINATES, lines, objective=objective.name, markers=True
            )
        pictures.append(picture)
    return pictures


PART = Part("descent", "Descents in one and two dimensions", _jobs, _findings)
