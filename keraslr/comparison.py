"""Many runs: several schedules, each with several seeds."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keraslr import datasets
from keraslr._files import write_whole
from keraslr.schedules import Schedule
from keraslr.schedules._parameters import Number
from keraslr.training import Result, Run, train, with_null

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Called with the run under way, the steps done of it, the steps done in all, and those to be done.
Progress = Callable[[Run, int, int, int], None]

_TITLES = {"lenet": "LeNet", "fashion_mnist": "Fashion-MNIST"}

FIGURES = ("train_loss", "train_accuracy", "test_accuracy")


@dataclasses.dataclass(frozen=True)
class Series:
    """One figure against time, over runs that differ in their seed.

    Attributes:
        mean, low, high: Arrays of one shape: mean, lowest and highest of the runs.
        runs: Number of runs.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    runs: int


@dataclasses.dataclass(frozen=True)
class Curve:
    """What a comparison draws of one schedule.

    Attributes:
        rate_epochs, rate: Applied learning rate against time in epochs, a value a step.
        epochs: Epochs 1..n for the figures.
        train_loss, test_accuracy: Figures over the seeds.
    """

    rate_epochs: np.ndarray
    rate: np.ndarray
    epochs: np.ndarray
    train_loss: Series
    test_accuracy: Series


@dataclasses.dataclass(frozen=True)
class Row:
    """A schedule's line in the table: figures after the last epoch, over its finished runs.

    Attributes:
        name: The schedule's name.
        finished, diverged, missing: Number of runs that reached their last epoch, that left the
            finite numbers, and that are still to be done.
        figures: Mean and standard deviation over the finished runs, by figure.
        seconds: Mean wall time of a finished run.
    """

    name: str
    finished: int
    diverged: int
    missing: int
    figures: Mapping[str, tuple[float, float]]
    seconds: float


class Comparison:
    """The results of `compare`.

    Attributes:
        runs: What was asked for.
        results: What is done, in the same order; None for a run that is still to be done.
        interrupted: Whether it was stopped before its end.
    """

    def __init__(
        self, runs: Sequence[Run], results: Sequence[Result | None], interrupted: bool = False
    ):
        self.runs, self.results, self.interrupted = tuple(runs), tuple(results), interrupted

    @property
    def names(self) -> list[str]:
        """The schedules' names, in their order."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @property
    def title(self) -> str:
        """What was compared, in a line."""
        run, seeds = self.runs[0], len({run.seed for run in self.runs})
        model = run.model if isinstance(run.model, str) else run.model.__name__
        data = run.dataset if isinstance(run.dataset, str) else run.dataset.name
        model, data = _TITLES.get(model, model), _TITLES.get(data, data)
        return (
            f"{model} on {data}, {run.optimizer}, batch size {run.batch_size}, "
            f"{run.epochs} {'epoch' if run.epochs == 1 else 'epochs'}, "
            f"{seeds} {'seed' if seeds == 1 else 'seeds (band: lowest to highest)'}"
        )

    def of(self, name: str) -> list[Result]:
        """The results of one schedule that reached their last epoch."""
        pairs = zip(self.runs, self.results, strict=True)
        return [r for run, r in pairs if run.name == name and r and r.status == "finished"]

    def rows(self) -> list[Row]:
        """The table, a row a schedule."""
        return [self._row(name) for name in self.names]

    def _row(self, name: str) -> Row:
        finished = self.of(name)
        statuses = [
            result.status if result else "missing"
            for run, result in zip(self.runs, self.results, strict=True)
            if run.name == name
        ]
        figures = {}
        for figure in FIGURES:
            last = [getattr(result, figure)[-1] for result in finished]
            figures[figure] = (
                (float(np.mean(last)), float(np.std(last))) if last else (math.nan, math.nan)
            )
        return Row(
            name=name,
            finished=len(finished),
            diverged=statuses.count("diverged"),
            missing=len(statuses) - len(finished) - statuses.count("diverged"),
            figures=figures,
            seconds=float(np.mean([r.wall_time for r in finished])) if finished else math.nan,
        )

    def curves(self) -> dict[str, Curve]:
        """What is drawn, by schedule; schedules without a finished run are left out."""
        curves = {}
        for name in self.names:
            finished = self.of(name)
            if finished:
                rates = np.asarray(finished[0].learning_rate)
                epochs = len(finished[0].train_loss)
                curves[name] = Curve(
                    rate_epochs=np.arange(len(rates)) * (epochs / len(rates)),
                    rate=rates,
                    epochs=np.arange(1, epochs + 1),
                    train_loss=_series([r.train_loss for r in finished]),
                    test_accuracy=_series([r.test_accuracy for r in finished]),
                )
        return curves

    def plot(self) -> Figure:
        """Rate, training loss and test accuracy against epoch."""
        from keraslr.plotting import comparison_figure

        return comparison_figure(self)

    def summary(self) -> dict[str, Any]:
        """The table and every run's last figures, as JSON holds them."""
        return {
            "title": self.title,
            "interrupted": self.interrupted,
            "table": [with_null(dataclasses.asdict(row)) for row in self.rows()],
            "runs": [
                {**run.description(), "status": result.status if result else "missing"}
                | ({f: with_null(getattr(result, f)[-1:]) for f in FIGURES} if result else {})
                for run, result in zip(self.runs, self.results, strict=True)
            ],
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `results.json` and `comparison.png`; returns the picture's path."""
        from keraslr.plotting import write_figure

        folder = Path(folder)
        write_whole(folder / "results.json", json.dumps(self.summary(), indent=1, allow_nan=False))
        return write_figure(self.plot(), folder / "comparison.png")

    def __str__(self) -> str:
        from keraslr.report import comparison_table, text

        return text(comparison_table(self))

    __repr__ = __str__


def compare(
    schedules: Mapping[str, Schedule | float],
    *,
    epochs: int = 30,
    seeds: int | Iterable[int] = 1,
    dataset: str | datasets.Dataset = "auto",
    model: str | Callable[..., Any] = "lenet",
    initialization: str = "pytorch",
    optimizer: str = "SGD",
    optimizer_arguments: Mapping[str, Any] | None = None,
    batch_size: int = 256,
    clock: str = "step",
    output: str | os.PathLike[str] | None = None,
    executor: Executor | None = None,
    on_progress: Progress | None = None,
) -> Comparison:
    """Trains a model under several schedules, each with several seeds.

    With `output`, each finished run is written there at once and whole, and a second call does
    only what is missing. Ctrl-C ends it early: what is done is kept and returned.

    Args:
        schedules: Schedules (or constant rates) by name.
        epochs: Epochs of each run.
        seeds: How many seeds (0, 1, ...), or the seeds.
        dataset: "auto", "fashion_mnist", "digits" or a `Dataset`.
        model: "lenet", or a function of a seed that builds a Keras model.
        initialization: First weights of a named model, "pytorch" or "keras".
        optimizer: Name of a class of `keras.optimizers`.
        optimizer_arguments: Its arguments other than the learning rate.
        batch_size: Examples per optimizer step.
        clock: Whether the schedules count in "step" or in "epoch".
        output: Folder for the results; made if it is missing.
        executor: Where the runs go, for example a `ProcessPoolExecutor`; here, one after another,
            if it is left out.
        on_progress: Called as it trains (with an executor, when a run has ended) with the run, the
            steps done of it, the steps done in all and the steps to be done in all.

    Returns:
        The `Comparison`: a table as text, `.rows()`, `.plot()` and every run's result.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        DatasetError: The dataset cannot be had, or is damaged.
        OSError: The folder cannot be written; the error names the path.
    """
    if not isinstance(schedules, Mapping) or not schedules:
        raise TypeError(
            f"schedules must be a mapping from names to schedules. Received: {schedules!r}"
        )
    if clock not in ("step", "epoch"):
        raise ValueError(f'clock must be "step" or "epoch". Received: clock={clock!r}')
    data = datasets.load(dataset) if isinstance(dataset, str) else dataset
    batch_size = Number("", int, at_least=1).validated("batch_size", batch_size)
    steps_per_epoch = math.ceil(len(data.x_train) / batch_size)
    seeds = range(seeds) if isinstance(seeds, int) else tuple(seeds)
    runs = [
        Run(
            name=name,
            schedule=_clocked(schedule, steps_per_epoch if clock == "epoch" else 1),
            dataset=data.name if isinstance(dataset, str) else dataset,
            model=model,
            initialization=initialization,
            optimizer=optimizer,
            optimizer_arguments=dict(optimizer_arguments or {}),
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
        )
        for name, schedule in schedules.items()
        for seed in seeds
    ]
    if not runs:
        raise ValueError(f"seeds must be an integer >= 1 or hold a seed. Received: {seeds!r}")
    paths = [_path(output, run) for run in runs]
    results: list[Result | None] = [_finished(path) for path in paths]
    missing = [index for index, result in enumerate(results) if result is None]
    jobs = [_Job(index, runs[index], paths[index]) for index in missing]
    meter = _Meter(on_progress, epochs * steps_per_epoch, len(jobs))
    interrupted = False
    try:
        for job, result in _in_order(jobs, meter) if executor is None else _on(executor, jobs):
            results[job.index] = result
            if result.status == "interrupted":
                raise KeyboardInterrupt
            meter.ended(job.run)
    except KeyboardInterrupt:
        interrupted = True
    comparison = Comparison(runs, results, interrupted)
    if output is not None:
        comparison.save(output)
    return comparison


@dataclasses.dataclass(frozen=True)
class _Job:
    index: int
    run: Run
    path: Path | None


class _Meter:
    """Adds up the steps of runs that all have as many."""

    def __init__(self, on_progress: Progress | None, steps: int, runs: int):
        self.on_progress, self.steps, self.total, self.before = on_progress, steps, steps * runs, 0

    def __call__(self, run: Run, steps_done: int) -> None:
        if self.on_progress:
            self.on_progress(run, steps_done, self.before + steps_done, self.total)

    def ended(self, run: Run) -> None:
        """Counts a run as done, also one that diverged on the way."""
        self(run, self.steps)
        self.before += self.steps


def _in_order(jobs: Sequence[_Job], meter: _Meter) -> Iterator[tuple[_Job, Result]]:
    """Trains here, one run after another."""
    for job in jobs:
        yield job, _train_and_save(job, meter)


def _on(executor: Executor, jobs: Sequence[_Job]) -> Iterator[tuple[_Job, Result]]:
    """Trains on an executor, and yields each run as it ends."""
    futures = {executor.submit(_train_and_save, job): job for job in jobs}
    try:
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        for future in futures:
            future.cancel()


def _train_and_save(job: _Job, meter: _Meter | None = None) -> Result:
    report = None
    if meter is not None:

        def report(steps_done: int, *_: Any) -> None:
            meter(job.run, steps_done)

    result = train(job.run, on_progress=report)
    if job.path is not None:
        result.save(job.path)
    # The weights stay where they were trained: many runs would be many models in memory.
    return dataclasses.replace(result, model=None)


def _clocked(schedule: Schedule | float, steps_per_epoch: int) -> Schedule | float:
    if isinstance(schedule, Schedule) and steps_per_epoch > 1:
        return schedule.per_epoch(steps_per_epoch)
    return schedule


def _path(output: str | os.PathLike[str] | None, run: Run) -> Path | None:
    """Where a run's result lies: a readable name, and a hash of all that it was asked for."""
    if output is None:
        return None
    name = re.sub(r"[^a-z0-9]+", "-", run.name.lower()).strip("-") or "run"
    return Path(output) / "runs" / f"{name}-seed{run.seed}-{run.key()}.json"


def _finished(path: Path | None) -> Result | None:
    """The result that lies there, if its run needs no other start."""
    if path is None or not path.exists():
        return None
    try:
        result = Result.load(path)
    except (ValueError, KeyError, TypeError):
        return None  # not one of ours, or of an older form: the run is done again
    return result if result.status in ("finished", "diverged") else None


def _series(values: Sequence[Sequence[float]]) -> Series:
    stacked = np.asarray(values, np.float64)
    return Series(stacked.mean(0), stacked.min(0), stacked.max(0), len(stacked))
