"""`keraslr compare`: the LeNet, or a model of one's own, under several schedules."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keraslr import problems, published
from keraslr.cli._arguments import (
    UsageError,
    add_dask,
    add_dataset,
    checked,
    count,
    dask_executor,
    strategy_schedule,
)
from keraslr.cli._own_problem import add_own_problem, own_problem
from keraslr.schedules import Schedule, parse

# The published batch size; with it, the digits would have six steps per epoch.
_BATCH_SIZE = 256
_DIGITS_BATCH_SIZE = 16
_OWN_BATCH_SIZE = 32


def add_compare(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "compare",
        allow_abbrev=False,
        help="train the LeNet, or a model of one's own, under several schedules and compare",
        description="Trains the LeNet, or the model of --model on the data of --data, under each "
        "schedule with each seed, and prints a table. After an interruption the same command does "
        "only the missing runs.",
    )
    command.add_argument(
        "--schedules",
        nargs="+",
        metavar="SCHEDULE",
        default=list(published.lenet_schedules()),
        help="published runs (%(default)s), strategies of the catalog, or expressions like "
        '"mine=CosineAnnealingLR(0.3, T_max=20)"; counted in epochs unless --clock says otherwise',
    )
    command.add_argument(
        "--epochs", type=count, default=5, help="number of epochs; default: %(default)s"
    )
    command.add_argument(
        "--seeds", type=count, default=1, help="number of seeds; default: %(default)s"
    )
    add_dataset(command)
    add_own_problem(command)
    command.add_argument(
        "--batch-size", type=count,
        help=f"examples per step; default: {_BATCH_SIZE}, {_DIGITS_BATCH_SIZE} for the digits, or "
        "32 with --model",
    )  # fmt: skip
    command.add_argument(
        "--clock", choices=("epoch", "step"), default="epoch",
        help="unit in which the schedules count; default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--jobs", type=count, metavar="N",
        help="number of processes, which share the cores; default: one per core, at most one "
        "per run, or one on a GPU",
    )  # fmt: skip
    command.add_argument(
        "--threads", type=count, metavar="N",
        help="threads per process; default: the cores divided by the processes, or 1 on a cluster",
    )  # fmt: skip
    add_dask(command)
    command.add_argument(
        "--output", type=Path, default=Path("results"), metavar="DIR",
        help="folder for results.json, comparison.png and every run; default: %(default)s",
    )  # fmt: skip
    command.set_defaults(command=_compare)


def _named_schedules(texts: Sequence[str]) -> dict[str, Schedule]:
    known = published.lenet_schedules()
    named: dict[str, Schedule] = {}
    for text in texts:
        name, equals, expression = text.partition("=")
        if "(" in name or not equals:
            name, expression = text, text
        name, expression = name.strip(), expression.strip()
        if name in named:
            raise UsageError(f"--schedules must have different names, and {name!r} is there twice")
        if expression in known:
            named[name] = known[expression]
        elif "(" in expression:
            named[name] = checked(parse, expression)
        else:
            named[name] = strategy_schedule(expression)
    return named


def _compare(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from keraslr import _tables, comparison
    from keraslr.training import Run

    schedules = _named_schedules(options.schedules)
    problem = own_problem(options)
    what, batch_size = {"problem": problem}, options.batch_size or _OWN_BATCH_SIZE
    if problem is None:
        problem = problems.load(options.dataset)
        if problem.substitute:
            print(problem.note)
        what = {"dataset": problem.name}
        batch_size = options.batch_size or (
            _DIGITS_BATCH_SIZE if problem.name == "digits" else _BATCH_SIZE
        )
    steps_per_epoch = problem.counted_steps(batch_size)
    with contextlib.ExitStack() as stack:
        if options.dask is None:
            where = {"jobs": options.jobs or "auto", "threads": options.threads}
        else:
            executor = stack.enter_context(dask_executor(options))
            where = {"executor": executor, "threads": options.threads or 1}
        bar = stack.enter_context(
            tqdm(unit="step", unit_scale=True, dynamic_ncols=True, delay=1e-9)
        )

        def progress(run: Run, steps_done: int, done: int, total: int) -> None:
            epoch = min(run.epochs, 1 + steps_done // steps_per_epoch)
            bar.total = total
            bar.set_description(f"{run.name}, seed {run.seed}, epoch {epoch}/{run.epochs}", False)
            bar.update(done - bar.n)

        result = checked(
            comparison.compare,
            schedules,
            epochs=options.epochs,
            seeds=options.seeds,
            **what,
            batch_size=batch_size,
            clock=options.clock,
            output=options.output,
            on_progress=progress,
            **where,
        )
    _tables.show(result.table())
    print(f"Numbers: {options.output / 'results.json'}")
    print(f"Picture: {options.output / 'comparison.png'}")
    if result.interrupted:
        print("Interrupted: start the same command again to do the missing runs.")
        return 130
    return 0
