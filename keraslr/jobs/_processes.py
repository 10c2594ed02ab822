"""Processes of this machine, which share its cores."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing.connection
import multiprocessing.context
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor


def cores() -> int:
    """Returns the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_jobs() -> int:
    """Returns the default number of processes: one for each core, or a single one on a GPU.

    How many processes pay off on a GPU has to be measured.
    """
    import tensorflow as tf

    return 1 if tf.config.list_physical_devices("GPU") else cores()


def threads_of_each(jobs: int) -> int:
    """Returns the number of threads for each of N processes, so that each has a core."""
    return max(1, cores() // jobs)


def prepare_process(threads: int) -> None:
    """Limits TensorFlow in this process, so that it leaves the rest of the machine to others.

    Has no effect once TensorFlow has begun to compute. TensorFlow takes the GPU memory that it
    needs instead of all of it. The process also ends when its parent does, even if the parent was
    killed.

    Args:
        threads: Number of threads to compute with. It also decides in which order sums are taken,
            so that the same number of threads gives the same results.
    """
    import tensorflow as tf

    _end_with_parent()
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    with contextlib.suppress(RuntimeError):
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


@functools.cache  # once a process
def _end_with_parent() -> None:
    # A process of a pool waits for jobs at a pipe and holds both ends of it, so it would never
    # notice that nobody is left to send one.
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, name="end with parent", daemon=True).start()


@contextlib.contextmanager
def process_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """Makes a pool of N processes and ends them all on exit, even in the middle of a job."""
    context = process_context()
    # The parent handles Ctrl-C, even while a process is still importing: a process that imports
    # for itself gets an initializer that needs no import.
    begin: Callable[[], object] = functools.partial(signal.signal, signal.SIGINT, signal.SIG_IGN)
    if context.get_start_method() == "forkserver":
        begin = functools.partial(_begin, dict(os.environ))
    pool = ProcessPoolExecutor(jobs, context, initializer=begin)
    try:
        yield pool
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()


def process_context() -> multiprocessing.context.BaseContext:
    """Returns the way in which processes are made; never a fork of this one, which has TensorFlow.

    On Linux, Python's fork server imports TensorFlow once and forks before TensorFlow begins to
    compute: the first pool takes the seconds of one import, later pools none. With CUDA this is
    not known to work, and on other systems forking is not safe: there each process imports for
    itself.
    """
    import tensorflow as tf

    if sys.platform != "linux" or tf.config.list_physical_devices("GPU"):
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keraslr.training"])
    # An interrupt would end the server, so it is blocked here, and with that in the server. The
    # server would start the resource tracker, which unblocks signals: so the tracker comes first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # An interrupt while a process is being made would leave half of one, and the first takes as
    # long as the import. A thread makes it to its end, even if whoever waits is interrupted.
    first = threading.Thread(target=_make_process, args=(context,), daemon=True)
    first.start()
    first.join()
    return context


def _make_process(context: multiprocessing.context.BaseContext) -> None:
    process = context.Process(target=os.getpid, daemon=True)  # type: ignore[attr-defined]
    process.start()
    process.join()


def _begin(environment: dict[str, str]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The server has the environment of its own start, which may have changed since.
    os.environ.clear()
    os.environ.update(environment)
