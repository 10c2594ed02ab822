"""`keraslr list`: the catalog as a table."""

from __future__ import annotations

import argparse
from typing import Any

from rich.table import Table

from keraslr._tables import new_table, show
from keraslr.catalog import CATALOG


def add_list(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "list", allow_abbrev=False, help="show the catalog of strategies",
        description="Shows the catalog: every strategy with its class, its parameters with their "
        "defaults in plot, when to use it and what to beware of.",
    )  # fmt: skip
    command.set_defaults(command=_list)


def _list(options: argparse.Namespace) -> int:
    show(catalog_table())
    return 0


def catalog_table() -> Table:
    """Returns the catalog: name, class, parameters with their defaults, when to use it."""
    table = new_table()
    for heading in ("strategy", "class", "parameters", "good for", "beware"):
        table.add_column(heading, overflow="fold")
    for each in CATALOG.values():
        defaults = [_shown(name, value.default) for name, value in each.values.items()]
        table.add_row(each.name, each.cls.__name__, ", ".join(defaults), each.good, each.bad)
        table.add_section()
    return table


def _shown(name: str, default: object) -> str:
    shown = repr(default)
    return f"{name}={shown if len(shown) <= 40 else '...'}"
