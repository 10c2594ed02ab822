"""`keraslr plot`: the picture of a schedule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from keraslr import catalog
from keraslr._parameters import Choice, Flag, Number, Optional, Parameter, Several
from keraslr.cli._arguments import Parser, checked, count, strategy_schedule
from keraslr.schedules import Schedule, parameters, parse
from keraslr.schedules._registry import Inner


def add_plot(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "plot",
        allow_abbrev=False,
        help="draw a schedule",
        usage="%(prog)s STRATEGY [its options] [--ticks N] [--log] [--output FILE]",
        description="Draws a strategy of the catalog, or an expression like "
        '"StepLR(0.1, step_size=30).with_warmup(5)". A strategy\'s own options are shown by '
        "`keraslr plot STRATEGY --help`.",
        add_help=False,
    )
    command.add_argument("strategy", metavar="STRATEGY", nargs="?")
    command.add_argument("-h", "--help", action="store_true", help="show this help")
    command.add_argument(
        "--ticks", type=count, metavar="N",
        help="number of ticks; default: 30, or 1.5 times the longest length in the schedule",
    )  # fmt: skip
    command.add_argument("--log", action="store_true", help="logarithmic rate axis")
    command.add_argument(
        "--output", type=Path, default=Path("schedule.png"), metavar="FILE",
        help="picture file; its extension sets the format; default: %(default)s",
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
        schedule = checked(parse, options.strategy)
    else:
        schedule = _with_options(options)
        if schedule is None:
            return 0
    from keraslr.plotting import schedule_figure, write_figure

    ticks = options.ticks or max([30, *(3 * n // 2 for n in _lengths(schedule))])
    figure = checked(schedule_figure, {repr(schedule): schedule}, ticks, log=options.log)
    checked(write_figure, figure, options.output)
    print(f"{schedule!r}\nPicture: {options.output}")
    return 0


def _with_options(options: argparse.Namespace) -> Schedule | None:
    """Returns the schedule of a catalog strategy with the options; None if its help was shown."""
    strategy = checked(catalog.find, options.strategy)
    strategy_schedule(strategy.name)  # refuses a strategy that cannot be drawn
    parser = Parser(
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
    return strategy_schedule(strategy.name, **vars(parser.parse_args(options.rest)))


def _add_option(
    parser: argparse.ArgumentParser, name: str, parameter: Parameter, default: Any
) -> None:
    """Adds an option for a declared parameter."""
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
            settings["type"] = lambda text: checked(parse, text)
            settings["metavar"] = "SCHEDULE"
    parser.add_argument(*flags, **settings)


def _lengths(schedule: Schedule) -> list[int]:
    """Returns all lengths in ticks of a schedule and of the schedules within it."""
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
