"""Many runs: several schedules, each with several seeds."""

from __future__ import annotations

import contextlib
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from keraslr import datasets
from keraslr._environment import require_tensorflow
from keraslr._parameters import Number
from keraslr.comparison._results import Comparison
from keraslr.jobs import _dispatch, _processes
from keraslr.jobs._dispatch import Progress
from keraslr.schedules import Schedule
from keraslr.training import Result, Run
from keraslr.training._run import require_dataset

# Runs that need no other start.
_ENDED = ("finished", "diverged")


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
    jobs: int | str | None = None,
    threads: int | None = None,
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
        jobs: Processes of this machine that the runs go to, >= 1, or "auto": one for each core, as
            far as there are runs, and on a GPU or for a single run none. None: here, one after
            another. A script that says `jobs` needs an `if __name__ == "__main__":`, and the model
            has to be one by name or a function of a file, since each process imports it.
        threads: Threads that each of these processes computes with, >= 1; the cores divided by
            `jobs`, if left out. The numbers of a run depend on nothing else: they are the same, to
            the bit, whatever `jobs` is with the same `threads`. With other `threads` sums are
            taken in another order, and the numbers agree to rounding, at first.
        executor: Where the runs go in place of `jobs`, for example a Dask client's
            `get_executor()`. There `threads` are those of a worker that has not begun to compute;
            None leaves that to TensorFlow, which takes all cores.
        on_progress: Called as it trains (with an executor, when a run has ended) with the run, the
            steps done of it, the steps done in all and the steps to be done in all.
        on_result: Called with the comparison as it stands, after each run that ends.
        should_stop: Asked some five times a second; once it says True, the run under way ends as
            "stopped", and no other begins. With `jobs`, as with Ctrl-C, the processes are ended,
            and their runs have no result. Runs on an executor cannot be stopped: those that wait
            are cancelled, those under way go on without being waited for (and with `output` are
            still written).

    Returns:
        The `Comparison`: a table as text, `.rows()`, `.plot()` and every run's result.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        DatasetError: The dataset cannot be had, or is damaged.
        OSError: The folder cannot be written; the error names the path.
        RuntimeError: One of the processes was killed, or could not begin.
    """
    if not isinstance(schedules, Mapping) or not schedules:
        raise TypeError(
            f"schedules must be a mapping from names to schedules. Received: {schedules!r}"
        )
    if clock not in ("step", "epoch"):
        raise ValueError(f'clock must be "step" or "epoch". Received: clock={clock!r}')
    require_dataset(dataset)
    require_tensorflow()  # before anything is downloaded
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
    processes, threads = _checked_jobs(jobs, threads, executor, len(runs))
    known = _by_key(earlier)
    results = [_found(_path(output, run), run, known) for run in runs]
    missing = [
        _dispatch.Job(index, runs[index], _path(output, runs[index]))
        for index, result in enumerate(results)
        if result is None
    ]
    meter = _dispatch.Meter(on_progress, epochs * steps_per_epoch, len(missing))
    asked = should_stop or (lambda: False)
    if processes is not None and missing:
        done = _dispatch.in_processes(processes, threads or 1, missing, meter, asked)
    elif executor is not None:
        done = _dispatch.on_executor(executor, missing, meter, asked, threads)
    else:
        done = _dispatch.here(missing, meter, asked)
    interrupted = False
    try:
        with contextlib.closing(done):
            for job, result in done:
                results[job.index] = result
                if result.status == "interrupted":
                    raise KeyboardInterrupt
                interrupted = result.status == "stopped"
                if not interrupted:
                    meter.ended(job)
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


def _checked_jobs(
    jobs: int | str | None, threads: int | None, executor: Executor | None, runs: int
) -> tuple[int | None, int | None]:
    """How many processes, None for none of their own, and how many threads each."""
    count = Number("", int, at_least=1)
    if jobs is not None and executor is not None:
        raise ValueError(
            f"jobs must be left out with an executor, which has its own. Received: jobs={jobs!r}"
        )
    if threads is not None:
        threads = count.validated("threads", threads)
        if jobs is None and executor is None:
            raise ValueError(
                "threads must be left out without jobs and without an executor: this process has "
                f"its own. Received: threads={threads}"
            )
    if jobs is None:
        return None, threads
    if isinstance(jobs, str):
        if jobs != "auto":
            raise ValueError(
                f'jobs must be None, "auto" or an integer >= 1. Received: jobs={jobs!r}'
            )
        # Of all runs that were asked for, not of those that are missing: so that a comparison
        # which was interrupted goes on with as many threads as it began with.
        jobs = min(_processes.usual_jobs(), runs)
        if jobs == 1 and threads is None:
            return None, None  # a process of its own would only have to start
    processes: int = count.validated("jobs", jobs)
    return processes, threads or _processes.threads_of_each(processes)


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
