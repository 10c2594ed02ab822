"""Runs jobs: here one after another, in other processes, or on an executor."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from keraslr.jobs._job import Job, Outcome, Parcel
from keraslr.jobs._processes import prepare_process, process_pool
from keraslr.jobs._store import Store

# Each job that has ended, with its outcome or error.
Ended = Generator[tuple[Job, Outcome | Exception], None, None]

_ASK_SECONDS = 0.2


class Meter:
    """Adds up the progress of several jobs.

    Args:
        jobs: The jobs.
        on_progress: Called with a job, the part of it that is done, the part of all jobs that is
            done, and the total, all in the unit of the jobs' cost.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        on_progress: Callable[[Job, float, float, float], None] | None = None,
    ):
        self._on_progress = on_progress
        self.total = sum(job.cost for job in jobs)
        self._done: dict[int, float] = {}

    def __call__(self, job: Job, done: float) -> None:
        """Records the progress of a job."""
        self._done[id(job)] = done
        if self._on_progress is not None:
            self._on_progress(job, done, sum(self._done.values()), self.total)

    def ended(self, job: Job) -> None:
        """Counts a job as done, even if it ended early."""
        self(job, job.cost)


def dispatch(
    jobs: Sequence[Job],
    *,
    processes: int | None = None,
    threads: int | None = None,
    executor: Executor | None = None,
    store: Store | None = None,
    meter: Callable[[Job, float], None] = lambda job, done: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Ended:
    """Runs jobs and yields each as it ends, with its outcome or the exception that ended it.

    The longest jobs begin first, so that none is left over while other cores idle. After the
    generator is closed no other job begins: processes are ended, and jobs that wait on an executor
    are cancelled.

    Args:
        jobs: Jobs to run.
        processes: Number of processes of this machine that run the jobs; None for none.
        threads: Number of threads that each process or worker computes with; None leaves it to
            TensorFlow.
        executor: Executor that runs the jobs. Without it and without processes, the jobs run here,
            one after another.
        store: Store to which each outcome is written as it arrives.
        meter: Called with a job under way and the part of its cost that is done. Not called for the
            jobs of an executor.
        should_stop: Asked about five times a second whether to end early. A job that runs here and
            reports its progress then ends with what it has; processes are ended, and jobs under
            way on an executor go on.

    Raises:
        OSError: An outcome cannot be written; the error names the path.
        RuntimeError: A process was killed, or could not start.
    """
    jobs = sorted(jobs, key=lambda job: -job.cost)
    if not jobs:
        return
    if processes is not None:
        yield from _in_processes(jobs, processes, threads, store, meter, should_stop)
    elif executor is not None:
        yield from _on_executor(executor, jobs, threads, store, meter, should_stop)
    else:
        yield from _here(jobs, store, meter, should_stop)


def _here(
    jobs: Sequence[Job],
    store: Store | None,
    meter: Callable[[Job, float], None],
    should_stop: Callable[[], bool],
) -> Ended:
    for job in jobs:
        if should_stop():
            return
        outcome: Outcome | Exception
        try:
            outcome = _done(job, functools.partial(meter, job), should_stop)
        except Exception as error:
            outcome = error
        yield from _kept(job, outcome, store)


def _in_processes(
    jobs: Sequence[Job],
    processes: int,
    threads: int | None,
    store: Store | None,
    meter: Callable[[Job, float], None],
    should_stop: Callable[[], bool],
) -> Ended:
    with tempfile.TemporaryDirectory() as folder, process_pool(processes) as pool:
        board = _Board.made(Path(folder) / "board", len(jobs))
        for job, outcome in _on_executor(pool, jobs, threads, store, meter, should_stop, board):
            if isinstance(outcome, BrokenProcessPool):
                raise RuntimeError(
                    "a process ended before its run did. In a script, the call of compare with "
                    'jobs must be under `if __name__ == "__main__":`, since each process imports '
                    "the script; otherwise the system may have killed it for lack of memory"
                ) from outcome
            yield job, outcome


def _on_executor(
    executor: Executor,
    jobs: Sequence[Job],
    threads: int | None,
    store: Store | None,
    meter: Callable[[Job, float], None],
    should_stop: Callable[[], bool],
    board: _Board | None = None,
) -> Ended:
    # Without a board, nobody knows where the executor is, and nobody may wait for a job under way:
    # so its worker writes the outcome too, if it can.
    by_name, their_store = board is not None, store if board is None else None
    futures = {
        executor.submit(
            _done_elsewhere, Parcel((job, their_store), by_name=by_name), threads, board, place
        ): place
        for place, job in enumerate(jobs)
    }  # fmt: skip
    waiting = set(futures)
    seen: dict[int, float] = {}
    try:
        while waiting:
            ended, waiting = wait(waiting, _ASK_SECONDS, FIRST_COMPLETED)
            for future in sorted(ended, key=futures.__getitem__):
                error = future.exception()
                if error is not None and not isinstance(error, Exception):
                    raise error
                outcome = future.result() if error is None else error
                yield from _kept(jobs[futures[future]], outcome, store)
            done = board.read() if board is not None else {}
            for place in sorted(futures[future] for future in waiting):
                if done.get(place, 0) > seen.get(place, 0):
                    seen[place] = done[place]
                    meter(jobs[place], done[place])
            if should_stop():
                return
    finally:
        for future in futures:
            future.cancel()


def _kept(job: Job, outcome: Outcome | Exception, store: Store | None) -> Ended:
    if store is not None and isinstance(outcome, Outcome):
        store.write(job, outcome)
    yield job, outcome


def _done(job: Job, report: Callable[[float], None], should_stop: Callable[[], bool]) -> Outcome:
    hooks = {"report": report, "should_stop": should_stop} if job.reports_progress else {}
    begin = time.perf_counter()
    result = job.function(**job.arguments, **hooks)
    return Outcome(result, round(time.perf_counter() - begin, 2))


def _done_elsewhere(
    parcel: Parcel, threads: int | None, board: _Board | None, place: int
) -> Outcome:
    if threads is not None:
        prepare_process(threads)
    job, store = parcel.open()
    outcome = _done(job, functools.partial(_tell, board, place), lambda: False)
    if store is not None:
        with contextlib.suppress(OSError):  # another machine may not have that folder
            store.write(job, outcome)
    return outcome


def _tell(board: _Board | None, place: int, done: float) -> None:
    if board is not None:
        board.write(place, done)


@dataclasses.dataclass(frozen=True)
class _Board:
    """A file in which processes record the progress of their jobs."""

    path: Path

    @classmethod
    def made(cls, path: Path, jobs: int) -> _Board:
        np.zeros(jobs).tofile(path)
        return cls(path)

    def write(self, place: int, done: float) -> None:
        number = np.float64(done).tobytes()
        with self.path.open("r+b") as file:
            file.seek(place * len(number))
            file.write(number)

    def read(self) -> dict[int, float]:
        return dict(enumerate(np.fromfile(self.path).tolist()))
