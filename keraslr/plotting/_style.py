"""Shared by all figures: colours, lines, axes, and writing to a file."""

from __future__ import annotations

import io
import math
import os
import threading
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keraslr._files import write_whole

# Okabe and Ito's colours, which people with any colour vision can tell apart, without their
# yellow (too faint on white); from the eighth line on with another dash.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("-", "--", ":", "-.")

_ROOMS = 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0

# Matplotlib is not thread-safe, and a training thread's owner draws while others do.
LOCK = threading.RLock()


def line_style(index: int) -> dict[str, Any]:
    """Returns colour, dash and width of the line number `index`."""
    return {
        # Lower lines are wider, so that a line covered by another still shows beside it.
        "linewidth": max(1.2, 2.6 - 0.4 * index),
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
    }


def tidy(axes: Axes, x: str, y: str) -> None:
    """Sets labels and a faint grid, and removes the frame."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.02)


def short_ticks(axes: Axes) -> None:
    """Writes small and large numbers with a common power of ten, for which there is room."""
    axes.ticklabel_format(axis="y", scilimits=(-3, 4), useMathText=True)


def roomy(high: float) -> float:
    """Returns an axis limit above `high` that seldom changes while `high` moves."""
    if high <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(high))
    # A little less: 100 must not need 125 because of its last digit.
    return power * next((each for each in _ROOMS if each * power >= high * (1 - 1e-9)), 10.0)


def legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Adds a legend below the axes, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside lower center", ncols=min(columns, len(labels)),
            frameon=False,
        )  # fmt: skip


def write_figure(figure: Figure, path: str | os.PathLike[str]) -> Path:
    """Writes a picture, whole or not at all; the path's ending chooses the format.

    Raises:
        ValueError: Matplotlib does not know the format; the error lists the known ones.
        OSError: The path cannot be written.
    """
    path = Path(path)
    picture = io.BytesIO()
    with LOCK:
        figure.savefig(picture, format=path.suffix.lstrip(".") or "png", dpi=120)
    write_whole(path, picture.getvalue())
    return path
