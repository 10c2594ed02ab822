"""The program: its commands, and the handling of their errors."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from keraslr._version import __version__
from keraslr.cli._arguments import Parser, UsageError
from keraslr.cli._compare import add_compare
from keraslr.cli._list import add_list
from keraslr.cli._plot import add_plot
from keraslr.cli._reproduce import add_reproduce


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: The command line, without the program; `sys.argv` if left out.

    Returns:
        0 on success, 1 if a part failed, 2 for wrong arguments or data, 130 after Ctrl-C.
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
    parser = Parser(
        prog="keraslr", description="Learning-rate schedules for Keras.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"keraslr {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in (add_reproduce, add_compare, add_plot, add_list):
        add(commands)
    options, rest = parser.parse_known_args(arguments)
    if rest and not hasattr(options, "rest"):
        parser.error(f"unrecognized arguments: {' '.join(rest)}")
    options.rest = rest
    return options.command(options)
