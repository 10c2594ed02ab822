"""Runs per hour of a comparison: one after another, in processes, and on a Dask cluster.

    python -m benchmarks.runs_per_hour [--jobs 1 2 4] [--dask 1 2] [--runs 4] [--epochs 5]

Trains the LeNet on Fashion-MNIST with one seed per run, each way in turn, and measures the wall
time of the whole comparison, including the start of the processes. On a GPU, the results show how
many processes are worthwhile. Runs with the same number of threads must have the same losses, bit
for bit; the program prints a note if they differ.

`--dask` starts clusters with these numbers of workers on this machine, and needs `keraslr[dask]`.
The start of a cluster is not counted: it precedes the runs.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Sequence
from datetime import date
from typing import Any

from keraslr import ConstantLR, datasets
from keraslr.comparison import Comparison, compare
from keraslr.jobs import _processes


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures each way and prints one line for it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, nargs="*", default=[1, _processes.cores()], metavar="N")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads per process; default: its share"
    )
    parser.add_argument("--dask", type=int, nargs="*", default=[], metavar="WORKERS")
    parser.add_argument("--runs", type=int, default=4, metavar="N", help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--dataset", choices=datasets.NAMES, default="fashion_mnist")
    options = parser.parse_args(arguments)
    machine = (
        f"{_processes.cores()} cores ({platform.machine()}), Python {platform.python_version()}"
    )
    print(f"{date.today()}, {machine}; {options.runs} runs of {options.epochs} epochs")
    datasets.load(options.dataset)
    losses: dict[int, list[list[float]]] = {}

    def measured(name: str, threads: int | None, /, **where: Any) -> None:
        begin = time.perf_counter()
        found = compare(
            {"constant": ConstantLR(0.1, factor=1.0)}, seeds=options.runs, epochs=options.epochs,
            dataset=options.dataset, **where,
        )  # fmt: skip
        seconds = time.perf_counter() - begin
        hourly = 3600 * options.runs / seconds
        each = sum(result.wall_time for result in found.results if result) / options.runs
        note = "" if threads is None else _compared(losses, threads, found)
        print(f"{name:<34} {hourly:7.0f} runs an hour  {seconds:6.1f} s in all, {each:6.1f} s a run"
              f"{note}", flush=True)  # fmt: skip

    for jobs in options.jobs:
        threads = options.threads or _processes.threads_of_each(jobs)
        measured(f"jobs={jobs}, threads={threads}", threads, jobs=jobs, threads=threads)
    for workers in options.dask:
        from distributed import Client, LocalCluster

        threads = options.threads or _processes.threads_of_each(workers)
        cluster = LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None)
        with cluster, Client(cluster) as client:
            measured(f"Dask, {workers} workers, threads={threads}", threads,
                     executor=client.get_executor(), threads=threads)  # fmt: skip
    # Last, because TensorFlow then starts in this process and reserves memory of a GPU.
    measured("here, one after another", None)


def _compared(losses: dict[int, list[list[float]]], threads: int, found: Comparison) -> str:
    own = [result.loss for result in found.results if result]
    return "" if losses.setdefault(threads, own) == own else "  OTHER LOSSES THAN BEFORE"


if __name__ == "__main__":
    main()
