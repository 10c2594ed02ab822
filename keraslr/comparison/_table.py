"""A comparison as a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from rich.table import Table

from keraslr._tables import new_table

FIGURES = ("train_loss", "train_accuracy", "test_accuracy")


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: a schedule's figures after the last epoch, over its finished runs.

    Attributes:
        name: The schedule's name.
        finished, diverged, missing: Number of runs that reached their last epoch, that reached a
            loss that is not finite, and that are still to be done.
        figures: Mean and standard deviation over the finished runs, by figure.
        seconds: Mean wall time of a finished run.
    """

    name: str
    finished: int
    diverged: int
    missing: int
    figures: Mapping[str, tuple[float, float]]
    seconds: float


def comparison_table(rows: Sequence[Row], title: str = "") -> Table:
    """Makes a table of the figures after the last epoch, with a row for each schedule.

    Args:
        rows: The rows.
        title: Title of the table.
    """
    table = new_table(title)
    table.add_column("schedule")
    table.add_column("runs", justify="right")
    columns = {
        "train_loss": ("train loss", "{:.3f}"),
        "train_accuracy": ("train acc.", "{:.3f}"),
        "test_accuracy": ("test acc.", "{:.3f}"),
    }
    for heading, _ in columns.values():
        table.add_column(heading, justify="right")
    table.add_column("seconds", justify="right")
    for row in rows:
        cells = [row.name, _count(row.finished, row.diverged, row.missing)]
        for figure, (_, form) in columns.items():
            mean, deviation = row.figures[figure]
            cell = form.format(mean) if row.finished else "-"
            if row.finished > 1:
                cell += " ± " + form.format(deviation)
            cells.append(cell)
        cells.append(f"{row.seconds:.0f}" if row.finished else "-")
        table.add_row(*cells)
    return table


def _count(finished: int, diverged: int, missing: int) -> str:
    parts = [str(finished)]
    parts += [f"{diverged} diverged"] if diverged else []
    parts += [f"{missing} missing"] if missing else []
    return ", ".join(parts)
