"""Tables for a terminal, or as plain text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.table import Table

# Width of the output where it is not a terminal.
_WIDTH = 160


def show(table: RenderableType) -> None:
    """Prints a table, in the width of the terminal if there is one."""
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    console.print(table)


def text(table: RenderableType) -> str:
    """Returns a table as plain text."""
    file = io.StringIO()
    # Rich would show it in a notebook's page, and leave the file empty.
    Console(file=file, width=_WIDTH, color_system=None, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def new_table(title: str = "") -> Table:
    """Returns an empty table with a left-aligned title."""
    return Table(title=title or None, title_justify="left", title_style="bold")
