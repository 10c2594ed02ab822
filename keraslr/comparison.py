"""Many runs: several schedules, each with several seeds."""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from pathlib import Path
from typing import Any

from keraslr import datasets
from keraslr._compared import FIGURES, Comparison, Curve, Row, Series
from keraslr.schedules import Schedule
from keraslr.schedules._parameters import Number
from keraslr.training import Result, Run, train

__all__ = ["FIGURES", "Comparison", "Curve", "Progress", "Row", "Series", "compare"]

# Called with the run under way, the steps done of it, the steps done in all, and those to be done.
Progress = Callable[[Run, int, int, int], None]

# Runs that need no other start.
_ENDED = ("finished", "diverged")
_ASK_SECONDS = 0.2


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
    earlier: Comparison | None = None,
    executor: Executor | None = None,
    on_progress: Progress | None = None,
    on_result: Callable[[Comparison], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Comparison:
    """Trains a model under several schedules, each with several seeds.

    With `output`, each finished run is written there at once and whole, and a second call does
    only what is missing. Ctrl-C and `should_stop` end it early: what is done is kept and returned.

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
        earlier: A comparison whose finished runs are not done again where they are asked for here.
        executor: Where the runs go, for example a `ProcessPoolExecutor`; here, one after another,
            if it is left out.
        on_progress: Called as it trains (with an executor, when a run has ended) with the run, the
            steps done of it, the steps done in all and the steps to be done in all.
        on_result: Called with the comparison as it stands, after each run that ends.
        should_stop: Asked some five times a second; once it says True, the run under way ends as
            "stopped", and no other begins. Runs on an executor cannot be stopped: those that wait
            are cancelled, those under way go on without being waited for (and with `output` are
            still written).

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
    known = _by_key(earlier)
    results = [_found(_path(output, run), run, known) for run in runs]
    jobs = [
        _Job(index, runs[index], _path(output, runs[index]))
        for index, result in enumerate(results)
        if result is None
    ]
    meter = _Meter(on_progress, epochs * steps_per_epoch, len(jobs))
    asked = should_stop or (lambda: False)
    interrupted = False
    done = _in_order(jobs, meter, asked) if executor is None else _on(executor, jobs, asked)
    try:
        for job, result in done:
            results[job.index] = result
            if result.status == "interrupted":
                raise KeyboardInterrupt
            interrupted = result.status == "stopped"
            if not interrupted:
                meter.ended(job.run)
            if on_result is not None:
                on_result(Comparison(runs, results, interrupted))
            if interrupted:
                break
    except KeyboardInterrupt:
        interrupted = True
    # Stopped between two runs, it leaves some that never began.
    interrupted = interrupted or any(result is None for result in results)
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


def _in_order(
    jobs: Sequence[_Job], meter: _Meter, should_stop: Callable[[], bool]
) -> Iterator[tuple[_Job, Result]]:
    """Trains here, one run after another."""
    for job in jobs:
        if should_stop():
            return
        yield job, _train_and_save(job, meter, should_stop)


def _on(
    executor: Executor, jobs: Sequence[_Job], should_stop: Callable[[], bool]
) -> Iterator[tuple[_Job, Result]]:
    """Trains on an executor, and yields each run as it ends."""
    futures = {executor.submit(_train_and_save, job): job for job in jobs}
    waiting = set(futures)
    try:
        while waiting:
            ended, waiting = wait(waiting, _ASK_SECONDS, FIRST_COMPLETED)
            for future in sorted(ended, key=lambda each: futures[each].index):
                yield futures[future], future.result()
            if should_stop():
                return
    finally:
        for future in futures:
            future.cancel()


def _train_and_save(
    job: _Job, meter: _Meter | None = None, should_stop: Callable[[], bool] | None = None
) -> Result:
    report = None
    if meter is not None:

        def report(steps_done: int, *_: Any) -> None:
            meter(job.run, steps_done)

    result = train(job.run, on_progress=report, should_stop=should_stop)
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


def _by_key(earlier: Comparison | None) -> dict[str, Result]:
    """The results that need not be made again, by their run's key."""
    if earlier is None:
        return {}
    if not isinstance(earlier, Comparison):
        raise TypeError(f"earlier must be a Comparison. Received: {earlier!r}")
    pairs = zip(earlier.runs, earlier.results, strict=True)
    return {run.key(): result for run, result in pairs if result and result.status in _ENDED}


def _found(path: Path | None, run: Run, known: Mapping[str, Result]) -> Result | None:
    """The run's result, if it lies there or is known."""
    if path is not None and path.exists():
        try:
            written = Result.load(path)
        except (ValueError, KeyError, TypeError):
            pass  # not one of ours, or of an older form: the run is done again
        else:
            if written.status in _ENDED:
                return written
    result = known.get(run.key()) if known else None
    if path is not None and result is not None:
        result.save(path)
    return result
