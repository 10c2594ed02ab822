"""The command line: `python -m keraslr`, or `keraslr`."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NoReturn

from keraslr import catalog, published
from keraslr._parameters import Choice, Flag, Number, Optional, Parameter, Several
from keraslr._version import __version__
from keraslr.jobs import _processes
from keraslr.schedules import Schedule, parameters, parse
from keraslr.schedules._registry import Inner

# The published batch size; the digits would get six steps an epoch out of it.
_BATCH_SIZE = 256
_DIGITS_BATCH_SIZE = 16


class UsageError(Exception):
    """What the person asked for cannot be done; the text says why, in a line."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command line, without the program; `sys.argv` if left out.

    Returns:
        0 when all went well, 2 for bad arguments or data, 130 after Ctrl-C.
    """
    from keraslr.datasets import DatasetError

    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except (UsageError, DatasetError, OSError) as error:
        print(f"keraslr: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("keraslr: interrupted", file=sys.stderr)
        return 130


def _run(arguments: list[str]) -> int:
    parser = _Parser(
        prog="keraslr", description="Learning-rate schedules for Keras.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"keraslr {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (_add_reproduce, _add_compare, _add_plot, _add_list):
        add(commands)
    options, rest = parser.parse_known_args(arguments)
    if rest and not hasattr(options, "rest"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return options.command(options)


def _checked(build: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """What `build` returns; its complaint about an argument is the person's to read."""
    try:
        return build(*arguments, **named)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be >= 1, not {number}")
    return number


# reproduce


def _add_reproduce(commands: Any) -> None:
    command = commands.add_parser(
        "reproduce",
        allow_abbrev=False,
        help="run the published comparisons again",
        description="Runs every published comparison again and prints published, PyTorch's and "
        "our figures with a verdict. Started again after an interruption it does only what is "
        "missing.",
    )
    command.add_argument(
        "--quick", action="store_true", help="leave out what takes long; some minutes instead of "
        "most of an hour",
    )  # fmt: skip
    command.add_argument(
        "--only", type=lambda text: text.split(","), metavar="PART,...",
        help=f"of {','.join(published.PARTS)}",
    )  # fmt: skip
    command.add_argument(
        "--seeds", type=_count, metavar="N",
        help="seeds of each random comparison; default: its own number",
    )  # fmt: skip
    command.add_argument(
        "--jobs", type=_count, metavar="N",
        help="processes, each on one core; default: one for each core, or one on a GPU",
    )  # fmt: skip
    _add_dask(command)
    command.add_argument(
        "--dataset", choices=("auto", "fashion_mnist", "digits"), default="auto",
        help="auto is Fashion-MNIST, or scikit-learn's digits where that cannot be had",
    )  # fmt: skip
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
        found = _checked(
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
        print("Interrupted: start the same command again to do what is missing.")
        return 130
    return 1 if found.failures else 0


def _executor(options: argparse.Namespace) -> contextlib.AbstractContextManager[Executor]:
    """Processes of this machine, or a Dask cluster."""
    if options.dask is not None:
        return _dask_executor(options)
    return _processes.process_pool(options.jobs or _processes.usual_jobs())


def _add_dask(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--dask", metavar="ADDRESS",
        help="run on the Dask cluster of this scheduler instead (needs keraslr[dask])",
    )  # fmt: skip


@contextlib.contextmanager
def _dask_executor(options: argparse.Namespace) -> Iterator[Executor]:
    if options.jobs is not None:
        raise UsageError("--jobs must be left out with --dask: the cluster has its own workers")
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--dask needs Dask: pip install 'keraslr[dask]'") from None
    try:
        client = Client(options.dask, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask must be the address of a scheduler: {error}") from None
    with client:
        yield client.get_executor()


@contextlib.contextmanager
def _bar() -> Iterator[Callable[[float, float, published.Job | None], None]]:
    """A progress bar with the time left."""
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
    # Jobs end minutes apart, so the speed is taken over a long while.
    with Progress(*columns, speed_estimate_period=1800, redirect_stdout=False) as bar:
        task = bar.add_task("starting", total=None)

        def progress(done: float, total: float, job: published.Job | None) -> None:
            described = "running" if job is None else f"{job.part}: {job.name}, seed {job.seed}"
            bar.update(task, completed=done, total=total or 1, description=described)
            if not bar.console.is_terminal and job is not None:
                print(f"{done / total:4.0%}  {described}", flush=True)

        yield progress


# compare


def _add_compare(commands: Any) -> None:
    command = commands.add_parser(
        "compare",
        allow_abbrev=False,
        help="train the LeNet under several schedules and compare",
        description="Trains the LeNet under each schedule with each seed, and prints a table. "
        "Started again after an interruption it does only what is missing.",
    )
    command.add_argument(
        "--schedules",
        nargs="+",
        metavar="SCHEDULE",
        default=list(published.lenet_schedules()),
        help="names of documented runs (%(default)s), names of the catalog, or lines like "
        '"mine=CosineAnnealingLR(0.3, T_max=20)"; counted in epochs unless --clock says otherwise',
    )
    command.add_argument("--epochs", type=_count, default=5, help="default: %(default)s")
    command.add_argument("--seeds", type=_count, default=1, help="how many; default: %(default)s")
    command.add_argument(
        "--dataset", choices=("auto", "fashion_mnist", "digits"), default="auto",
        help="auto is Fashion-MNIST, or scikit-learn's digits where that cannot be had",
    )  # fmt: skip
    command.add_argument(
        "--batch-size", type=_count,
        help=f"default: {_BATCH_SIZE}, or for the few digits {_DIGITS_BATCH_SIZE}",
    )  # fmt: skip
    command.add_argument(
        "--clock", choices=("epoch", "step"), default="epoch",
        help="what the schedules count; default: %(default)s",
    )  # fmt: skip
    command.add_argument(
        "--jobs", type=_count, metavar="N",
        help="processes, among which the cores are divided; default: one for each core, as far as "
        "there are runs, or one on a GPU",
    )  # fmt: skip
    command.add_argument(
        "--threads", type=_count, metavar="N",
        help="threads of each process; default: the cores divided by the processes, or 1 on a "
        "cluster",
    )  # fmt: skip
    _add_dask(command)
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
            raise UsageError(f"--schedules must have a name each, and {name!r} is there twice")
        if expression in known:
            named[name] = known[expression]
        elif "(" in expression:
            named[name] = _checked(parse, expression)
        else:
            named[name] = _strategy_schedule(expression)
    return named


def _strategy_schedule(name: str, **arguments: Any) -> Schedule:
    strategy = _checked(catalog.find, name)
    if not strategy.is_schedule:
        raise UsageError(f"{strategy.name} follows a metric, so it has no curve of its own")
    return _checked(strategy.build, **arguments)


def _compare(options: argparse.Namespace) -> int:
    from tqdm import tqdm

    from keraslr import _tables, comparison, datasets
    from keraslr.comparison._table import comparison_table
    from keraslr.training import Run

    schedules = _named_schedules(options.schedules)
    data = datasets.load(options.dataset)
    if data.substitute:
        print(data.note)
    batch_size = options.batch_size or (
        _DIGITS_BATCH_SIZE if data.name == "digits" else _BATCH_SIZE
    )
    steps_per_epoch = -(-len(data.x_train) // batch_size)
    with contextlib.ExitStack() as stack:
        if options.dask is None:
            where = {"jobs": options.jobs or "auto", "threads": options.threads}
        else:
            executor = stack.enter_context(_dask_executor(options))
            where = {"executor": executor, "threads": options.threads or 1}
        bar = stack.enter_context(
            tqdm(unit="step", unit_scale=True, dynamic_ncols=True, delay=1e-9)
        )

        def progress(run: Run, steps_done: int, done: int, total: int) -> None:
            epoch = min(run.epochs, 1 + steps_done // steps_per_epoch)
            bar.total = total
            bar.set_description(f"{run.name}, seed {run.seed}, epoch {epoch}/{run.epochs}", False)
            bar.update(done - bar.n)

        result = _checked(
            comparison.compare,
            schedules,
            epochs=options.epochs,
            seeds=options.seeds,
            dataset=data.name,
            batch_size=batch_size,
            clock=options.clock,
            output=options.output,
            on_progress=progress,
            **where,
        )
    _tables.show(comparison_table(result.rows(), result.title))
    print(f"Numbers: {options.output / 'results.json'}")
    print(f"Picture: {options.output / 'comparison.png'}")
    if result.interrupted:
        print("Interrupted: start the same command again to do what is missing.")
        return 130
    return 0


# plot


def _add_plot(commands: Any) -> None:
    command = commands.add_parser(
        "plot",
        allow_abbrev=False,
        help="draw a schedule",
        usage="%(prog)s STRATEGY [its options] [--ticks N] [--log] [--output FILE]",
        description="Draws a strategy of the catalog, or a line like "
        '"StepLR(0.1, step_size=30).with_warmup(5)". A strategy\'s own options are shown by '
        "`keraslr plot STRATEGY --help`.",
        add_help=False,
    )
    command.add_argument("strategy", metavar="STRATEGY", nargs="?")
    command.add_argument("-h", "--help", action="store_true", help="show this help")
    command.add_argument(
        "--ticks", type=_count, metavar="N",
        help="ticks to draw; default: 30, or 1.5 times the longest length",
    )  # fmt: skip
    command.add_argument("--log", action="store_true", help="logarithmic rate axis")
    command.add_argument(
        "--output", type=Path, default=Path("schedule.png"), metavar="FILE",
        help="picture; its ending chooses the format; default: %(default)s",
    )  # fmt: skip
    command.set_defaults(command=_plot, rest=[], parser=command)


def _plot(options: argparse.Namespace) -> int:
    if options.strategy is None:
        if options.help:
            options.parser.print_help()
            return 0
        options.parser.error("the following arguments are required: STRATEGY")
    if "(" in options.strategy:
        if options.rest:
            options.parser.error(f"unrecognized arguments: {' '.join(options.rest)}")
        schedule = _checked(parse, options.strategy)
    else:
        schedule = _with_options(options)
        if schedule is None:
            return 0
    from keraslr.plotting import schedule_figure, write_figure

    ticks = options.ticks or max([30, *(3 * n // 2 for n in _lengths(schedule))])
    figure = _checked(schedule_figure, {repr(schedule): schedule}, ticks, log=options.log)
    _checked(write_figure, figure, options.output)
    print(f"{schedule!r}\nPicture: {options.output}")
    return 0


def _with_options(options: argparse.Namespace) -> Schedule | None:
    """The catalog's strategy with the options given; None if its help was shown."""
    strategy = _checked(catalog.find, options.strategy)
    _strategy_schedule(strategy.name)  # refuses what cannot be drawn
    parser = _Parser(
        prog=f'keraslr plot "{strategy.name}"',
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        description=f"{strategy.cls.__name__}. Good for: {strategy.good}. Beware: {strategy.bad}.",
        epilog="Also: --ticks N, --log, --output FILE; see keraslr plot --help.",
    )
    for name, parameter in parameters(strategy.cls).items():
        default = strategy.values[name].default if name in strategy.values else None
        _add_option(parser, name, parameter, default)
    if options.help:
        parser.print_help()
        return None
    return _strategy_schedule(strategy.name, **vars(parser.parse_args(options.rest)))


def _add_option(
    parser: argparse.ArgumentParser, name: str, parameter: Parameter, default: Any
) -> None:
    """An option made from a parameter's declaration."""
    shown = repr(default)
    about = f"{parameter.meaning} {parameter.rule[:1].upper()}{parameter.rule[1:]}."
    about += f" Default: {shown if len(shown) < 60 else 'a decay'}." if default is not None else ""
    settings: dict[str, Any] = {"help": about.replace("%", "%%"), "dest": name}
    flags = [f"--{name.replace('_', '-')}"] + ([f"--{name}"] if "_" in name else [])
    inner = parameter.inner if isinstance(parameter, Optional) else parameter
    if isinstance(inner, Several):
        settings["nargs"] = "*"
        inner = inner.item
    match inner:
        case Flag():
            settings["action"] = argparse.BooleanOptionalAction
        case Choice(options=choices):
            settings["choices"] = choices
        case Number(kind=kind):
            settings["type"] = kind
            settings["metavar"] = "N" if kind is int else "X"
        case Inner():
            settings["type"] = lambda text: _checked(parse, text)
            settings["metavar"] = "SCHEDULE"
    parser.add_argument(*flags, **settings)


def _lengths(schedule: Schedule) -> list[int]:
    """Every length in ticks that a schedule was given, its own and those within it."""
    lengths: list[int] = []
    for name, parameter in parameters(type(schedule)).items():
        value = getattr(schedule, name)
        each = parameter.inner if isinstance(parameter, Optional) else parameter
        values = value if isinstance(each, Several) else (value,)
        each = each.item if isinstance(each, Several) else each
        if isinstance(each, Inner):
            lengths += [length for inner in values for length in _lengths(inner)]
        elif isinstance(each, Number) and each.kind is int:
            lengths += [value for value in values if value is not None]
    return lengths


# list


def _add_list(commands: Any) -> None:
    command = commands.add_parser(
        "list", allow_abbrev=False, help="show the catalog of strategies",
        description="Shows the catalog: every strategy with its class, its parameters with the "
        "values that plot begins with, when to use it and what to beware of.",
    )  # fmt: skip
    command.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> int:
    from keraslr import _tables
    from keraslr.cli._list import catalog_table

    _tables.show(catalog_table())
    return 0
