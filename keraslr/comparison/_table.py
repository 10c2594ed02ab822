"""A comparison as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

from rich.table import Table

from keraslr._tables import new_table

# The figures by which a run on images is measured.
FIGURES = ("loss", "accuracy", "val_accuracy")
_HEADINGS = {"loss": "train loss", "accuracy": "train acc.", "val_accuracy": "test acc."}


def headings(figures: Sequence[str]) -> list[str]:
    """Returns the headings of these columns: words for those of images, else Keras's names."""
    if tuple(figures) == FIGURES:
        return list(_HEADINGS.values())
    return list(figures)


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: a schedule's figures after the last epoch, over its finished runs.

    Attributes:
        name: The schedule's name.
        finished, diverged, missing: Number of runs that reached their last epoch, that reached a
            loss that is not finite, and that are still to be done.
        figures: Mean and standard deviation over the finished runs, by the figure's Keras name.
        seconds: Mean wall time of a finished run.
    """

    name: str
    finished: int
    diverged: int
    missing: int
    figures: Mapping[str, tuple[float, float]]
    seconds: float


def comparison_table(
    rows: Sequence[Row], title: str = "", figures: Sequence[str] = FIGURES
) -> Table:
    """Makes a table of the figures after the last epoch, with a row for each schedule.

    Args:
        rows: The rows.
        title: Title of the table.
        figures: Names of the figures to show.
    """
    table = new_table(title)
    table.add_column("schedule")
    table.add_column("runs", justify="right")
    for heading in headings(figures):
        table.add_column(heading, justify="right")
    table.add_column("seconds", justify="right")
    for row in rows:
        cells = [row.name, _count(row.finished, row.diverged, row.missing)]
        for figure in figures:
            mean, deviation = row.figures.get(figure, (math.nan, math.nan))
            known = math.isfinite(mean) and row.finished
            cell = number(mean) if known else "-"
            if known and row.finished > 1:
                cell += " ± " + number(deviation, like=mean)
            cells.append(cell)
        cells.append(f"{row.seconds:.0f}" if row.finished else "-")
        table.add_row(*cells)
    return table


def number(value: float, like: float | None = None) -> str:
    """Returns a figure with three decimals, or with powers of ten where these would say little.

    Args:
        value: The figure.
        like: Figure whose form to use; None for its own.
    """
    size = abs(value if like is None else like)
    return f"{value:.3f}" if 0.001 <= size < 10_000 or size == 0 else f"{value:.1e}"


def _count(finished: int, diverged: int, missing: int) -> str:
    parts = [str(finished)]
    parts += [f"{diverged} diverged"] if diverged else []
    parts += [f"{missing} missing"] if missing else []
    return ", ".join(parts)
