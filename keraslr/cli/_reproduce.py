"""`keraslr reproduce`: a new run of the published comparisons."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

from keraslr import published
from keraslr.cli._arguments import add_dask, add_dataset, checked, count, dask_executor
from keraslr.jobs import _processes


def add_reproduce(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "reproduce",
        allow_abbrev=False,
        help="run the published comparisons again",
        description="Runs every published comparison again and prints the published figures, "
        "PyTorch's and ours with a verdict. After an interruption the same command does only the "
        "missing runs.",
    )
    command.add_argument(
        "--quick", action="store_true",
        help="leave out the long runs: some minutes instead of most of an hour",
    )  # fmt: skip
    command.add_argument(
        "--only", type=lambda text: text.split(","), metavar="PART,...",
        help=f"only these parts, of {','.join(published.PARTS)}",
    )  # fmt: skip
    command.add_argument(
        "--seeds", type=count, metavar="N",
        help="seeds of each random comparison; default: as many as its part defines",
    )  # fmt: skip
    command.add_argument(
        "--jobs", type=count, metavar="N",
        help="number of processes, each on one core; default: one per core, or one on a GPU",
    )  # fmt: skip
    add_dask(command)
    add_dataset(command)
    command.add_argument(
        "--output", type=Path, default=Path("results"), metavar="DIR",
        help="folder for report.html, results.json, the pictures and every run; default: "
        "%(default)s",
    )  # fmt: skip
    command.set_defaults(command=_reproduce)


def _reproduce(options: argparse.Namespace) -> int:
    from keraslr import _tables, datasets
    from keraslr.published import _report, reproduce

    dataset = options.dataset
    parts = options.only or published.PARTS
    if any(part.images for name, part in published.PARTS.items() if name in parts):
        data = datasets.load(dataset)
        dataset = data.name
        if data.substitute:
            print(data.note)
    with _executor(options) as executor, _bar() as progress:
        found = checked(
            reproduce,
            quick=options.quick,
            only=options.only,
            seeds=options.seeds,
            output=options.output,
            executor=executor,
            dataset=dataset,
            on_progress=progress,
        )
        found.save(options.output)
    for shown in _report.reproduction_tables(found.findings):
        _tables.show(shown)
    counts = [f"{count} {name}" for name, count in found.counts().items() if count]
    if counts:
        print(f"\n{', '.join(counts)}.")
    print(found.machine_line)
    for name in ("report.html", "results.json"):
        print(f"{name}: {options.output / name}")
    for name, error in found.failures.items():
        print(f"keraslr: {name} failed: {' '.join(error.split())}", file=sys.stderr)
    if found.interrupted:
        print("Interrupted: start the same command again to do the missing runs.")
        return 130
    return 1 if found.failures else 0


def _executor(options: argparse.Namespace) -> contextlib.AbstractContextManager[Executor]:
    """Returns an executor: processes of this machine, or a Dask cluster."""
    if options.dask is not None:
        return dask_executor(options)
    return _processes.process_pool(options.jobs or _processes.usual_jobs())


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[float, float, published.Job | None], None]]:
    """Shows a progress bar with the time left."""
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(elapsed_when_finished=False),
    )  # fmt: skip
    # Jobs end minutes apart, so the speed is averaged over a long period.
    with Progress(*columns, speed_estimate_period=1800, redirect_stdout=False) as bar:
        task = bar.add_task("starting", total=None)

        def progress(done: float, total: float, job: published.Job | None) -> None:
            described = "running" if job is None else f"{job.part}: {job.name}, seed {job.seed}"
            bar.update(task, completed=done, total=total or 1, description=described)
            if not bar.console.is_terminal and job is not None:
                print(f"{done / total:4.0%}  {described}", flush=True)

        yield progress
