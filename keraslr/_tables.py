"""Tables for a terminal, or as plain text."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType
from rich.table import Table

# Where the output is no terminal, lines are as long as they have to be.
_WIDTH = 160


def show(table: RenderableType) -> None:
    """Prints a table, in the terminal's width where there is a terminal."""
    console = Console()
    console = console if console.is_terminal else Console(width=_WIDTH)
    console.print(table)


def text(table: RenderableType) -> str:
    """A table as plain text."""
    file = io.StringIO()
    # Rich would show it in a notebook's page, and leave the file empty.
    Console(file=file, width=_WIDTH, color_system=None, force_jupyter=False).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def new_table(title: str = "") -> Table:
    """An empty table with a title on its left."""
    return Table(title=title or None, title_justify="left", title_style="bold")
