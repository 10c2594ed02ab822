"""Where the runs of a comparison are trained: here one after another, or in other processes."""

from __future__ import annotations

import dataclasses
import functools
import pickle
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np

from keraslr.jobs._processes import prepare_process, process_pool
from keraslr.training import Result, Run, train

# Called with the run under way, the steps done of it, the steps done in all, and those to be done.
Progress = Callable[[Run, int, int, int], None]
Ended = Generator[tuple["Job", Result], None, None]

_ASK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class Job:
    """A run to be done.

    Attributes:
        index: Its place among the runs that were asked for.
        run: What to train.
        path: Where its result is written; None for nowhere.
    """

    index: int
    run: Run
    path: Path | None


class Meter:
    """Adds up the steps of runs that all have as many."""

    def __init__(self, on_progress: Progress | None, steps: int, runs: int):
        self._on_progress, self._steps, self._total = on_progress, steps, steps * runs
        self._done: dict[int, int] = {}

    def __call__(self, job: Job, steps_done: int) -> None:
        """Tells how far a run is."""
        self._done[job.index] = steps_done
        if self._on_progress:
            self._on_progress(job.run, steps_done, sum(self._done.values()), self._total)

    def ended(self, job: Job) -> None:
        """Counts a run as done, also one that diverged on the way."""
        self(job, self._steps)


def here(jobs: Sequence[Job], meter: Meter, should_stop: Callable[[], bool]) -> Ended:
    """Trains in this process, one run after another."""
    for job in jobs:
        if should_stop():
            return
        yield job, _trained(job, functools.partial(meter, job), should_stop)


def on_executor(
    executor: Executor,
    jobs: Sequence[Job],
    meter: Meter,
    should_stop: Callable[[], bool],
    threads: int | None,
    board: _Board | None = None,
) -> Ended:
    """Trains on an executor, and yields each run as it ends; with a board, follows those under way.

    The threads are those of each process; None for those that TensorFlow has there.
    """
    futures = {executor.submit(_trained_elsewhere, job, threads, board): job for job in jobs}
    waiting = set(futures)
    seen: dict[int, int] = {}
    try:
        while waiting:
            ended, waiting = wait(waiting, _ASK_SECONDS, FIRST_COMPLETED)
            for future in sorted(ended, key=lambda each: futures[each].index):
                job, result = futures[future], future.result()
                if job.path is not None and board is None:
                    result.save(job.path)  # where it was trained may be another machine
                yield job, result
            steps_done = board.read() if board is not None else {}
            for job in [futures[future] for future in waiting]:
                if steps_done.get(job.index, 0) > seen.get(job.index, 0):
                    seen[job.index] = steps_done[job.index]
                    meter(job, steps_done[job.index])
            if should_stop():
                return
    finally:
        for future in futures:
            future.cancel()


def in_processes(
    processes: int,
    threads: int,
    jobs: Sequence[Job],
    meter: Meter,
    should_stop: Callable[[], bool],
) -> Ended:
    """Trains in so many processes of this machine, with so many threads each.

    Close it, and those under way are ended.

    Raises:
        TypeError: The model cannot be built in another process.
        RuntimeError: A process is gone.
    """
    _require_importable(jobs[0].run.model)
    with tempfile.TemporaryDirectory() as folder, process_pool(processes) as pool:
        board = _Board.made(Path(folder) / "steps", 1 + max(job.index for job in jobs))
        try:
            yield from on_executor(pool, jobs, meter, should_stop, threads, board)
        except BrokenProcessPool as error:
            raise RuntimeError(
                "a process ended before its run did. In a script, what calls compare with jobs "
                'must be under `if __name__ == "__main__":`, since each process imports the '
                "script; else it was killed, as the system does where memory runs out"
            ) from error


@dataclasses.dataclass(frozen=True)
class _Board:
    """A file in which processes write down how many steps of their runs are done."""

    path: Path
    runs: int

    @classmethod
    def made(cls, path: Path, runs: int) -> _Board:
        np.zeros(runs, np.int64).tofile(path)
        return cls(path, runs)

    def write(self, index: int, steps_done: int) -> None:
        number = np.int64(steps_done).tobytes()
        with self.path.open("r+b") as file:
            file.seek(index * len(number))
            file.write(number)

    def read(self) -> dict[int, int]:
        return dict(enumerate(np.fromfile(self.path, np.int64).tolist()))


def _trained(
    job: Job,
    report: Callable[[int], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    def tell(steps_done: int, *_: Any) -> None:
        if report is not None:
            report(steps_done)

    result = train(job.run, on_progress=tell, should_stop=should_stop)
    if job.path is not None:
        result.save(job.path)
    # The weights stay where they were trained: many runs would be many models in memory.
    return dataclasses.replace(result, model=None)


def _trained_elsewhere(job: Job, threads: int | None, board: _Board | None) -> Result:
    if threads is not None:
        prepare_process(threads)
    if board is None:
        return _trained(job)
    return _trained(job, lambda steps_done: board.write(job.index, steps_done))


def _require_importable(model: Any) -> None:
    """A `TypeError` for a function that another process cannot find."""
    if isinstance(model, str):
        return
    try:
        pickle.dumps(model)
        # What is typed in, as into a notebook's cells, is in no file.
        in_a_file = hasattr(sys.modules["__main__"], "__file__")
        found = in_a_file or getattr(model, "__module__", None) != "__main__"
    except (pickle.PicklingError, AttributeError, TypeError):
        found = False
    if not found:
        raise TypeError(
            "model must be a function of a file that another process can import, to be trained "
            "with jobs: no lambda, no function within a function, none of a notebook's cells. "
            f"Received: model={model!r}"
        )
