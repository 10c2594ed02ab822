"""Trains several schedules, each with several seeds."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from typing import Any

import keras

from keraslr import datasets
from keraslr._environment import require_tensorflow
from keraslr._parameters import Number
from keraslr.comparison._results import Comparison
from keraslr.jobs import _processes
from keraslr.jobs._dispatch import Meter, dispatch
from keraslr.jobs._job import Job, Outcome, packed
from keraslr.jobs._store import Store
from keraslr.problems import Problem
from keraslr.problems._data import comes_in_batches
from keraslr.problems._problem import UNNAMED
from keraslr.schedules import Schedule
from keraslr.training import Result, Run, train
from keraslr.training._run import problem_of, require_dataset
from keraslr.training._train import require_trainable

# Statuses of runs that need not be trained again.
_ENDED = ("finished", "diverged")


def compare(
    schedules: Mapping[str, Any],
    *,
    problem: Problem | str | None = None,
    model: Any = "lenet",
    x: Any = None,
    y: Any = None,
    sample_weight: Any = None,
    validation_data: Any = None,
    validation_split: float = 0.0,
    steps_per_epoch: int | None = None,
    validation_steps: int | None = None,
    epochs: int = 30,
    seeds: int | Iterable[int] = 1,
    dataset: str | datasets.Dataset = "auto",
    initialization: str = "pytorch",
    optimizer: str | None = None,
    optimizer_arguments: Mapping[str, Any] | None = None,
    batch_size: int | None = None,
    callbacks: Callable[..., Any] | None = None,
    clock: str = "step",
    output: str | os.PathLike[str] | None = None,
    earlier: Comparison | None = None,
    jobs: int | str | None = None,
    threads: int | None = None,
    executor: Executor | None = None,
    on_progress: Callable[[Run, int, int, int], None] | None = None,
    on_result: Callable[[Comparison], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Comparison:
    """Trains a model under several schedules, each with several seeds.

    With `output`, each finished run is written there at once and whole, and a second call does
    only what is missing. Ctrl-C and `should_stop` end it early: what is done is kept and returned.

    Args:
        schedules: By name: schedules, keraslr's or Keras's, constant rates, or pairs
            `(schedule or rate, keraslr.callbacks.ReduceLROnPlateau(...))`.
        problem: What is trained: a `keraslr.Problem`, or "auto", "fashion_mnist" or "digits". Or
            leave it out, and pass `model` and `x`.
        model: With `x`: a compiled Keras model, or a function of no argument or of a seed that
            builds one; see `keraslr.Problem`. With `dataset`: "lenet", or a function of a seed that
            builds a Keras model from images to ten logits.
        x: Data as `fit` takes them, with `model`; see `keraslr.Problem`.
        y: Targets; None if x has them.
        sample_weight: Weights of the examples; None for equal weights.
        validation_data: Data to validate on after each epoch; None for none.
        validation_split: Share of the examples to validate on instead.
        steps_per_epoch: Batches of an epoch, for data that come in batches and never end.
        validation_steps: The same for `validation_data`.
        epochs: Epochs of each run.
        seeds: Number of seeds (0, 1, ...), or the seeds themselves.
        dataset: Without a problem: "auto", "fashion_mnist", "digits" or a `Dataset`.
        initialization: First weights of a named model, "pytorch" or "keras".
        optimizer: Name of a class of `keras.optimizers`; None for the one that the model was
            compiled with, or for SGD with a dataset.
        optimizer_arguments: Its arguments other than the learning rate.
        batch_size: Examples per optimizer step; None for 32, or 256 with a dataset.
        callbacks: Function of no argument, or of the run, that returns Keras callbacks for one
            run; see `keraslr.Run`.
        clock: Whether the schedules count in "step" or in "epoch".
        output: Folder for the results; made if it is missing.
        earlier: A comparison whose finished runs are taken over instead of trained again.
        jobs: Number of processes of this machine that train the runs, >= 1, or "auto": one for each
            core, at most one for each run, and none on a GPU or for a single run. None trains here,
            one run after another. A script that passes `jobs` needs an
            `if __name__ == "__main__":`, since each process imports the script. The model may be
            any function, including a lambda or a function of a notebook cell.
        threads: Number of threads that each of these processes computes with, >= 1; by default the
            number of cores divided by `jobs`. The numbers of a run depend on nothing else: with
            the same `threads` they are equal to the bit, whatever `jobs` is. With other `threads`
            sums are taken in another order, and the numbers agree to rounding, at first.
        executor: Executor that trains the runs instead of `jobs`, for example a Dask client's
            `get_executor()`. There `threads` applies to a worker that has not begun to compute;
            None leaves it to TensorFlow, which takes all cores.
        on_progress: Called during training (with an executor, when a run has ended) with the run,
            its steps done, the steps done in all and the steps to be done in all.
        on_result: Called with the current comparison after each run that ends.
        should_stop: Asked about five times a second; once it returns True, the run under way ends
            as "stopped", and no other begins. With `jobs`, as with Ctrl-C, the processes are ended,
            and their runs have no result. Runs on an executor cannot be stopped: waiting runs are
            cancelled, and runs under way go on in the background (and with `output` are still
            written).

    Returns:
        The `Comparison`: a table as text, `.rows()`, `.plot()` and every run's result.

    Raises:
        TypeError, ValueError: An argument is wrong, or the model does not fit the data; the error
            names it, before anything is trained.
        DatasetError: The dataset is not available, or is damaged.
        OSError: The folder cannot be written; the error names the path.
        RuntimeError: One of the processes was killed, or could not start.
    """
    if not isinstance(schedules, Mapping) or not schedules:
        raise TypeError(
            f"schedules must be a mapping from names to schedules. Received: {schedules!r}"
        )
    if clock not in ("step", "epoch"):
        raise ValueError(f'clock must be "step" or "epoch". Received: clock={clock!r}')
    data = {
        "y": y, "sample_weight": sample_weight, "validation_data": validation_data,
        "validation_split": validation_split, "steps_per_epoch": steps_per_epoch,
        "validation_steps": validation_steps,
    }  # fmt: skip
    problem = _problem(problem, model, x, data)
    what: dict[str, Any] = {"problem": problem}
    if not isinstance(problem, Problem):
        dataset = dataset if problem is None else problem
        require_dataset(dataset)
        require_tensorflow()  # before anything is downloaded
        loaded = datasets.load(dataset) if isinstance(dataset, str) else dataset
        dataset = loaded.name if isinstance(dataset, str) else dataset
        what = {"dataset": dataset, "model": model, "initialization": initialization}
    require_tensorflow()
    first = Run(
        "first", 1.0, **what, optimizer=optimizer, optimizer_arguments=optimizer_arguments or {},
        epochs=epochs, batch_size=batch_size, callbacks=callbacks,
    )  # fmt: skip
    every = problem_of(first).counted_steps(first.batch_size)
    seeds = range(seeds) if isinstance(seeds, int) else tuple(seeds)
    runs = [
        dataclasses.replace(
            first,
            name=name,
            schedule=_clocked(schedule, every if clock == "epoch" else 1),
            seed=seed,
        )
        for name, schedule in schedules.items()
        for seed in seeds
    ]
    if not runs:
        raise ValueError(f"seeds must be an integer >= 1 or hold a seed. Received: {seeds!r}")
    processes, threads = _checked_jobs(jobs, threads, executor, len(runs))
    if processes is not None:
        _require_portable(model if problem is None or isinstance(problem, str) else problem)
    if isinstance(problem, Problem):
        if len(runs) > 1 and not problem.can_restart:
            raise ValueError(
                "x must be a function that returns a new generator, since several runs cannot "
                f"share one. Received: {len(runs)} runs, x of type {type(problem.x).__name__}"
            )
        require_trainable(first)
    store = None if output is None else Store.below(output, _encoded, _decoded)
    known = _by_key(earlier)
    # A key builds the model, which has to be repeatable for that: only where one is looked up.
    keyed = store is not None or bool(known)
    asked = [_job(run, epochs * every, keyed) for run in runs]
    results = [_found(job, store, known) for job in asked]
    missing = [job for job, result in zip(asked, results, strict=True) if result is None]
    places = {id(job): place for place, job in enumerate(asked)}

    def tell(job: Job, done: float, overall: float, total: float) -> None:
        if on_progress is not None:
            on_progress(job.arguments["run"], int(done), int(overall), int(total))

    meter = Meter(missing, tell)
    ended = dispatch(
        missing, processes=processes, threads=threads, executor=executor, store=store,
        meter=meter, should_stop=should_stop or (lambda: False),
    )  # fmt: skip
    interrupted = False
    try:
        with contextlib.closing(ended):
            for job, outcome in ended:
                if isinstance(outcome, Exception):
                    raise outcome
                result = results[places[id(job)]] = outcome.result
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
    """Returns the number of processes, None for training here, and of threads for each."""
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
        # Counts all requested runs, not only the missing ones, so that an interrupted comparison
        # goes on with as many threads as it began with.
        jobs = min(_processes.usual_jobs(), runs)
        if jobs == 1 and threads is None:
            return None, None  # another process would only cost its start
    processes: int = count.validated("jobs", jobs)
    return processes, threads or _processes.threads_of_each(processes)


def _problem(
    problem: Problem | str | None, model: Any, x: Any, data: Mapping[str, Any]
) -> Problem | str | None:
    """Returns the problem of these arguments; None for one of images."""
    given = [
        name
        for name, value in data.items()
        if value is not None and not (name == "validation_split" and value == 0)
    ]
    if x is None:
        if given:
            raise ValueError(
                f"x must be given with {given[0]}: data as fit takes them. Received: x=None"
            )
        if problem is None and isinstance(model, keras.Model):
            raise ValueError(
                "x must be given with a model: compare(schedules, model=model, x=x, y=y), or "
                "problem=keraslr.Problem(name, model, x, y). "
                f"Received: model={model.name!r}, x=None"
            )
        return problem
    if problem is not None:
        raise ValueError(
            f"x must be left out with a problem, which has its own data. Received: {problem!r}"
        )
    if isinstance(model, str):
        raise ValueError(
            "model must be given with x: a compiled Keras model, or a function that builds one. "
            f"Received: model={model!r}"
        )
    return Problem(UNNAMED, model, x, **data)


def _clocked(schedule: Any, steps_per_epoch: int) -> Any:
    if steps_per_epoch == 1:
        return schedule
    if isinstance(schedule, tuple | list) and schedule:
        return (_clocked(schedule[0], steps_per_epoch), *schedule[1:])
    if isinstance(schedule, Schedule):
        return schedule.per_epoch(steps_per_epoch)
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        raise ValueError(
            'clock must be "step" with a schedule of Keras\'s own, which counts in steps. '
            f'Received: clock="epoch", {type(schedule).__name__}'
        )
    return schedule


def _job(run: Run, steps: int, keyed: bool) -> Job:
    digest = run.key() if keyed else ""
    return Job("", run.name, run.seed, steps, _trained, {"run": run}, digest, True)


def _trained(run: Run, report: Callable[[float], None], should_stop: Callable[[], bool]) -> Result:
    result = train(run, on_progress=lambda done, *_: report(done), should_stop=should_stop)
    # The weights stay where they were trained: many runs would be many models in memory.
    return dataclasses.replace(result, model=None)


def _encoded(job: Job, outcome: Outcome) -> str:
    return outcome.result.to_json()


def _decoded(text: str) -> Outcome | None:
    result = Result.from_json(text)
    return Outcome(result, result.wall_time) if result.status in _ENDED else None


def _require_portable(what: Any) -> None:
    """Raises a `TypeError` unless another process can get the model and the data."""
    parts = {"model": what}
    if isinstance(what, Problem):
        names = ("x", "y", "sample_weight", "validation_data", "prepare")
        # Arrays can be sent, and packing them here would only take time.
        parts = {
            name: getattr(what, name)
            for name in names
            if comes_in_batches(getattr(what, name)) or callable(getattr(what, name))
        }
        parts["model"] = what.build
    for name, part in parts.items():
        try:
            packed(part, by_name=True)
        except TypeError as error:
            raise TypeError(
                f"{name} must be a function that can be sent to another process, to be trained "
                f"with jobs: a function that returns the {'model' if name == 'model' else 'data'}. "
                f"Received: {name}={part!r}, which {error}"
            ) from None


def _by_key(earlier: Comparison | None) -> dict[str, Result]:
    """Returns the results that need not be trained again, by the key of their run."""
    if earlier is None:
        return {}
    if not isinstance(earlier, Comparison):
        raise TypeError(f"earlier must be a Comparison. Received: {earlier!r}")
    pairs = zip(earlier.runs, earlier.results, strict=True)
    return {run.key(): result for run, result in pairs if result and result.status in _ENDED}


def _found(job: Job, store: Store | None, known: Mapping[str, Result]) -> Result | None:
    """Returns the result of the run, if it is stored or known."""
    if store is not None and (written := store.read(job)) is not None:
        return written.result
    result = known.get(job.digest) if known else None
    if store is not None and result is not None:
        store.write(job, Outcome(result, result.wall_time))
    return result
