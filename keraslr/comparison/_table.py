"""A comparison as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from keraslr._tables import new_table

if TYPE_CHECKING:
    from keraslr.comparison._results import Comparison


def comparison_table(
    comparison: Comparison, published: Mapping[str, Mapping[str, float]] | None = None
) -> Table:
    """Figures after the last epoch, a row a schedule, with the published ones where given.

    Args:
        comparison: The results.
        published: Published figures by schedule and figure.
    """
    table = new_table(comparison.title)
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
