"""Processes of this machine, among which its cores are divided."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
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
    # Forked processes would inherit a TensorFlow that has begun. Ctrl-C is the parent's to handle,
    # also while they still import: so this is set by a function that needs no import.
    pool = ProcessPoolExecutor(
        jobs,
        multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield pool
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
