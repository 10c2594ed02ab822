"""Processes of this machine, among which its cores are divided."""

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
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def usual_jobs() -> int:
    """One process for each core. On a GPU one: how many of them pay there has to be measured."""
    import tensorflow as tf

    return 1 if tf.config.list_physical_devices("GPU") else cores()


def threads_of_each(jobs: int) -> int:
    """Threads with which each of so many processes computes, so that all have a core."""
    return max(1, cores() // jobs)


def prepare_process(threads: int) -> None:
    """Has TensorFlow leave the rest of the machine to others; nothing, once it has begun.

    And the process ends when the one that made it does, even if that was killed.

    Args:
        threads: Threads that it computes with. They also decide in which order it sums up, so that
            the same number of them gives the same numbers. Of a GPU's memory it takes what it
            needs, and not all that there is.
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
    # A process of a pool waits for jobs at a pipe of which it has both ends, so that it would never
    # hear that nobody is left to send one.
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def follow() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=follow, name="end with parent", daemon=True).start()


@contextlib.contextmanager
def process_pool(jobs: int) -> Iterator[ProcessPoolExecutor]:
    """So many processes, which are gone at the end, also those in the middle of a job."""
    context = process_context()
    # Ctrl-C is the parent's to handle, also while a process still imports: where it does, this is
    # set by a function that needs no import.
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
    """How processes are made; never by forking this one, whose TensorFlow has begun.

    On Linux by a server of Python's that imports TensorFlow once, and forks before TensorFlow
    begins: the first pool takes the seconds of one import, and later ones none. CUDA is not known
    to bear this, and elsewhere forking is not safe: there each process imports for itself.
    """
    import tensorflow as tf

    if sys.platform != "linux" or tf.config.list_physical_devices("GPU"):
        return multiprocessing.get_context("spawn")
    from multiprocessing import forkserver, resource_tracker

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["keraslr.training"])
    # Blocked here, an interrupt is blocked in the server as well, which would end by it. The
    # server starts the tracker, which unblocks what it has blocked: so that comes first.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    # An interrupt while a process is being made leaves half of one, and this takes as long as the
    # import. In a thread it comes to its end, whatever becomes of who waits for it.
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
    # The server knows the environment in which it began, which may have been changed since.
    os.environ.clear()
    os.environ.update(environment)
