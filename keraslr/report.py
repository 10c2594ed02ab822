"""Tables from results. Nothing is computed or trained here."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table

from keraslr.catalog import CATALOG

if TYPE_CHECKING:
    from keraslr.comparison import Comparison

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
    Console(file=file, width=_WIDTH, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _table(title: str = "") -> Table:
    return Table(title=title or None, title_justify="left", title_style="bold")


def comparison_table(
    comparison: Comparison, published: Mapping[str, Mapping[str, float]] | None = None
) -> Table:
    """Figures after the last epoch, a row a schedule, with the published ones where given.

    Args:
        comparison: The results.
        published: Published figures by schedule and figure.
    """
    table = _table(comparison.title)
    table.add_column("schedule")
    table.add_column("runs", justify="right")
    columns = {
        "train_loss": ("train loss", "{:.3f}"),
        "train_accuracy": ("train acc.", "{:.3f}"),
        "test_accuracy": ("test acc.", "{:.3f}"),
    }
    for heading, _ in columns.values():
        table.add_column(heading, justify="right")
        if published:
            table.add_column("published", justify="right")
    table.add_column("seconds", justify="right")
    for row in comparison.rows():
        cells = [row.name, _count(row.finished, row.diverged, row.missing)]
        for figure, (_, form) in columns.items():
            mean, deviation = row.figures[figure]
            cell = form.format(mean) if row.finished else "-"
            if row.finished > 1:
                cell += " ± " + form.format(deviation)
            cells.append(cell)
            if published:
                known = published.get(row.name, {}).get(figure)
                cells.append("" if known is None else form.format(known))
        cells.append(f"{row.seconds:.0f}" if row.finished else "-")
        table.add_row(*cells)
    return table


def _count(finished: int, diverged: int, missing: int) -> str:
    parts = [str(finished)]
    parts += [f"{diverged} diverged"] if diverged else []
    parts += [f"{missing} missing"] if missing else []
    return ", ".join(parts)


def catalog_table() -> Table:
    """The catalog: name, class, parameters with their defaults, when to use it."""
    table = _table()
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
