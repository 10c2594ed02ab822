"""The LeNet on Fashion-MNIST under four schedules, as the source ran it and as it meant to."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keraslr._chart_data import LineFigure
from keraslr.jobs._job import Job
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
from keraslr.schedules import Schedule, parse
from keraslr.training import Result, Run, train

FIGURES = {"train_loss": "train loss", "train_accuracy": "train acc.", "test_accuracy": "test acc."}
_KEPT = ("status", *FIGURES, "test_loss", "wall_time", "device", "versions")
DIGITS = 3
_QUICK_EPOCHS = 5
_EXAMPLES = 60_000
# Chance is 0.1. A network whose units have died stays there; one that learns leaves it at once.
_CHANCE = 0.15

WAYS = {"as run": "as the source ran it", "as meant": "as it meant to"}
_INITIALIZATIONS = {"pytorch": "", "keras": ", Keras's initialisation"}


def lenet_run(
    schedule: str, dataset: str, initialization: str, epochs: int, batch_size: int, seed: int
) -> dict[str, Any]:
    """Trains the LeNet under a schedule that counts in epochs.

    Returns:
        The figures of `Result` per epoch, and the learning rate at the beginning of each.
    """
    from keraslr import datasets

    data = datasets.load(dataset)
    steps_per_epoch = math.ceil(len(data.x_train) / batch_size)
    result = train(
        Run(
            name=schedule,
            schedule=parse(schedule).per_epoch(steps_per_epoch),
            dataset=dataset,
            initialization=initialization,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
        )
    )
    if result.status == "interrupted":
        raise KeyboardInterrupt
    return _plain(result) | {"learning_rate": result.learning_rate[::steps_per_epoch]}


def lenet_schedules(way: str = "as meant") -> dict[str, Schedule]:
    """Returns the four schedules, counted in epochs, by name.

    Args:
        way: "as meant" by the source, or "as run" by it.
    """
    return {run["name"]: parse(run[way]) for run in read_data("lenet")["runs"]}


@dataclasses.dataclass(frozen=True)
class Published:
    """The published figures of a run.

    Attributes:
        name: Name of the run in the source.
        way: "as run" if the figures come from the very same run; "as meant" if the source meant
            this run, but trained another.
        figures: After the last epoch of a single run without a seed: `train_loss`,
            `train_accuracy` and `test_accuracy`.
        note: How the run differed from the one meant, and the consequences; "" for no
            difference.
    """

    name: str
    way: str
    figures: Mapping[str, float]
    note: str = ""


def published_figures(run: Run) -> Published | None:
    """Returns the published figures of a run's settings.

    Figures are published for the LeNet with PyTorch's initialisation on Fashion-MNIST, with plain
    SGD, 30 epochs and batch size 256, under the rates of one of the four schedules. A run with any
    other setting has none; neither has a run on "auto" or on custom data, which may differ.

    Args:
        run: A run whose schedule counts in optimizer steps.

    Returns:
        The figures, or None if none are published.
    """
    data = read_data("lenet")
    asked = (run.dataset, run.model, run.initialization, run.optimizer, run.epochs, run.batch_size)
    published = (
        "fashion_mnist", "lenet", "pytorch", "SGD", data["epochs"], data["batch_size"],
    )  # fmt: skip
    if asked != published or run.optimizer_arguments:
        return None
    known = _published_rates()
    steps = len(next(iter(known.values())))
    # By what it applies, not by how it is written: 0.3 is ConstantLR(0.3, factor=1.0).
    rates = (
        run.schedule.values(steps)
        if isinstance(run.schedule, Schedule)
        else np.full(steps, run.schedule, np.float32)
    )
    for way in WAYS:
        for each in data["runs"]:
            if np.array_equal(rates, known[each["name"], way]):
                note = " ".join(each[key] for key in ("note", "collapse") if key in each)
                return Published(
                    each["name"], way, dict(each["published"]), note if way == "as meant" else ""
                )
    return None


@functools.cache
def _published_rates() -> dict[tuple[str, str], np.ndarray]:
    """Returns the rate of every step, by the name and way of the run."""
    data = read_data("lenet")
    steps_per_epoch = math.ceil(_EXAMPLES / data["batch_size"])
    return {
        (name, way): schedule.per_epoch(steps_per_epoch).values(data["epochs"] * steps_per_epoch)
        for way in WAYS
        for name, schedule in lenet_schedules(way).items()
    }


def collapsed(result: Result | Mapping[str, Any]) -> bool:
    """Returns whether a run ended no better than guessing: its units died, or it diverged.

    Args:
        result: Result of a run of ten classes, or what `lenet_run` returned.
    """
    plain = _plain(result)
    return plain["status"] == "diverged" or plain["train_accuracy"][-1] < _CHANCE


def _plain(result: Result | Mapping[str, Any]) -> dict[str, Any]:
    """Returns the figures of a result as `lenet_run` returns them; also of a result's `vars`."""
    if not isinstance(result, Result):
        if "steps" not in result:
            return dict(result)
        result = Result(**result)
    return {name: getattr(result, name) for name in _KEPT}


def _jobs(plan: Plan) -> list[Job]:
    data = read_data("lenet")
    epochs = _QUICK_EPOCHS if plan.quick else data["epochs"]
    # Of the few digits the published batch size would make six steps an epoch.
    batch_size = data["batch_size_for_digits" if plan.dataset == "digits" else "batch_size"]
    jobs, seen = [], set()
    ways: list[tuple[str, str, Sequence[int]]] = []
    if plan.quick:
        ways.append(("as meant", "pytorch", plan.seeds_of(1)))
    else:
        ways += [(way, "pytorch", plan.seeds_of(5)) for way in WAYS]
        ways.append(("as meant", "keras", plan.seeds_of(data["seeds_with_keras_initialization"])))
    for way, initialization, seeds in ways:
        for run in data["runs"]:
            for seed in seeds:
                arguments = {
                    "schedule": run[way],
                    "dataset": plan.dataset,
                    "initialization": initialization,
                    "epochs": epochs,
                    "batch_size": batch_size,
                    "seed": seed,
                }
                name = f"{run['name']} {initialization} {way}"
                if run["as run"] == run["as meant"]:
                    name = f"{run['name']} {initialization}"
                job = Job("lenet", name, seed, 4.0 * epochs, lenet_run, arguments)
                if job.file not in seen:  # what is run alike both ways is run once
                    seen.add(job.file)
                    jobs.append(job)
    return jobs


def _of(results: Results, schedule: str, initialization: str) -> list[dict[str, Any]]:
    return [
        result
        for job, result in results
        if job.arguments["schedule"] == schedule
        and job.arguments["initialization"] == initialization
    ]


def _findings(plan: Plan, results: Results) -> Findings:
    data = read_data("lenet")
    results = [(job, _plain(result)) for job, result in results]
    compared = not (plan.quick or plan.substitute)
    lines: list[Line] = []
    statements: list[Statement] = []
    pictures: list[LineFigure] = []
    for initialization, suffix in _INITIALIZATIONS.items():
        for way, in_words in WAYS.items():
            shown = {}
            for run in data["runs"]:
                runs = _of(results, run[way], initialization)
                if not runs or (way == "as run" and initialization == "keras"):
                    continue
                learned = [each for each in runs if not collapsed(each)]
                shown[run["name"]] = learned
                reference = run["pytorch"][way] if initialization == "pytorch" else None
                lines += _lines(
                    f"{run['name']}, {way}{suffix}", run, way, runs, learned,
                    reference if compared else None, compared,
                )  # fmt: skip
                if compared and way == "as meant" and initialization == "pytorch":
                    statements += _on_collapse(run, runs, learned)
            if any(shown.values()):
                pictures += _pictures(f"{in_words}{suffix}", shown)
    left_out = ""
    if plan.quick:
        left_out = (
            f"Trained as meant only, with one seed and for {_QUICK_EPOCHS} of {data['epochs']} "
            "epochs, so nothing is compared with the published figures."
        )
    if plan.substitute:
        left_out = (
            "Fashion-MNIST is not available: trained on scikit-learn's digits instead, so the "
            "figures are not compared."
        )
    notes = [f"{run['name']}: {run['note']}" for run in data["runs"] if run.get("note")]
    summary = " ".join([data["about"], *notes])
    return Findings(summary, lines, statements, pictures, left_out)


def _lines(
    name: str,
    run: dict[str, Any],
    way: str,
    runs: list[dict[str, Any]],
    learned: list[dict[str, Any]],
    pytorch: dict[str, list[float]] | None,
    compared: bool,
) -> list[Line]:
    lines = []
    for figure, label in FIGURES.items():
        values = [each[figure][-1] for each in learned]
        here = Spread.of(values) if values else None
        # The printed figures come from the runs as they were run.
        published = run["published"][figure] if compared else None
        reference = None
        dead = len(runs) - len(learned)
        note = f"{dead} of {len(runs)} collapsed" if dead else ""
        if pytorch is not None:
            kept = [
                value
                for value, accuracy in zip(pytorch[figure], pytorch["train_accuracy"], strict=True)
                if accuracy >= _CHANCE
            ]
            reference = Spread.of(kept)
            if len(kept) < len(pytorch[figure]):
                lost = len(pytorch[figure]) - len(kept)
                note += f"{'; ' if note else ''}in PyTorch {lost} of {len(pytorch[figure])}"
        verdict = Verdict.NOT_COMPARED
        if compared and pytorch is not None:
            verdict = judged(published if way == "as run" else None, reference, here)
        lines.append(
            Line(
                name, label,
                "" if published is None else f"{published:.{DIGITS}f}",
                "" if reference is None else reference.shown(DIGITS),
                "" if here is None else here.shown(DIGITS),
                verdict, note,
            )
        )  # fmt: skip
    return lines


def _on_collapse(
    run: dict[str, Any], runs: list[dict[str, Any]], learned: list[dict[str, Any]]
) -> list[Statement]:
    """Checks the claim that a run as meant may collapse, if the data make it."""
    if "collapse" not in run:
        return []
    dead = [each for each in runs if collapsed(each)]
    evidence = f"{len(dead)} of {len(runs)} runs here ended at chance"
    if dead:
        losses = ", ".join(f"{each['train_loss'][-1]:.2f}" for each in dead)
        accuracies = ", ".join(f"{each['test_accuracy'][-1]:.2f}" for each in dead)
        evidence += f" (train loss {losses}; test accuracy {accuracies})"
    if learned:
        means = [f"{np.mean([each[f][-1] for each in learned]):.3f} ({label})"
                 for f, label in FIGURES.items()]  # fmt: skip
        evidence += f"; means over the other {len(learned)}: {', '.join(means)}"
    return [Statement(run["collapse"], bool(dead), evidence + ".")]


def _pictures(title: str, shown: dict[str, list[dict[str, Any]]]) -> list[LineFigure]:
    pictures = []
    for figure, label in (("train_loss", "train loss"), ("test_accuracy", "test accuracy")):
        lines, bands = {}, {}
        for name, runs in shown.items():
            if runs:
                values = np.array([each[figure] for each in runs])
                epochs = list(range(1, values.shape[1] + 1))
                lines[name] = (epochs, values.mean(0).tolist())
                if len(runs) > 1:
                    bands[name] = (epochs, values.min(0).tolist(), values.max(0).tolist())
        pictures.append(LineFigure(f"LeNet, {title}: {label}", "epoch", label, lines, bands))
    return pictures


PART = Part("lenet", "LeNet on Fashion-MNIST under four schedules", _jobs, _findings, images=True)
