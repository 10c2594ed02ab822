"""Figures that are redrawn as fast as a slider moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from keraslr.plotting._png import encoded
from keraslr.plotting._style import LOCK

DPI = 110


class Chart:
    """A figure that is kept and redrawn when its contents change.

    A new figure takes three times as long as a kept one whose lines get new data, and so does a new
    layout. So the margins are fixed, in inches, and wide enough for any tick label, and the pixels
    of the axes are kept as long as their limits and texts stay the same. Lines and titles have to
    be `animated`: they are drawn over these pixels.

    Attributes:
        figure: The figure.
    """

    def __init__(self, size: tuple[float, float]):
        with LOCK:
            self.figure = Figure(figsize=size, dpi=DPI)
            self.canvas = FigureCanvasAgg(self.figure)
        self._frame: Any = None
        self._background: Any = None
        self._arranged: Any = None

    def arrange(
        self,
        labels: Sequence[str] = (),
        *,
        left: float = 0.85,
        right: float = 0.15,
        top: float = 0.15,
        between: float = 0.75,
    ) -> None:
        """Sets the margins, and a legend below the axes if there are several lines.

        Args:
            labels: Labels of the legend, those of the lines in the first axes; a single line gets
                no legend.
            left, right, top: Margins in inches.
            between: Inches between axes side by side.
        """
        with LOCK:
            handles: Any
            handles, names = self.figure.axes[0].get_legend_handles_labels()
            looks = [(each.get_color(), each.get_linestyle()) for each in handles]
            shown = tuple(labels) if len(labels) > 1 else ()
            wanted = shown, looks, left, right, top, between
            if wanted == self._arranged:
                return
            self._arranged, self._frame = wanted, None
            for old in list(self.figure.legends):
                old.remove()
            width, height = self.figure.get_size_inches()
            rows = 0
            if len(labels) > 1:
                widest = 0.75 + 0.085 * max(map(len, labels))
                columns = max(1, min(len(labels), int(width / widest)))
                rows = -(-len(labels) // columns)
                self.figure.legend(
                    handles, names, loc="lower center", ncols=columns, frameon=False,
                    fontsize=9, borderaxespad=0.2,
                )  # fmt: skip
            bottom = 0.55 + 0.2 * rows
            self.figure.subplots_adjust(
                left=left / width, right=1 - right / width, top=1 - top / height,
                bottom=bottom / height, wspace=between * len(self.figure.axes) / width,
            )  # fmt: skip

    def png(self) -> bytes:
        """Returns the picture as a PNG."""
        with LOCK:
            frame = [
                (
                    axes.get_xlim(), axes.get_ylim(), axes.get_xscale(), axes.get_yscale(),
                    axes.get_xlabel(), axes.get_ylabel(),
                )
                for axes in self.figure.axes
            ]  # fmt: skip
            if frame == self._frame:
                self.canvas.restore_region(self._background)
            else:
                self.canvas.draw()
                self._frame = frame
                self._background = self.canvas.copy_from_bbox(self.figure.bbox)
            for axes in self.figure.axes:
                for artist in (*axes.lines, axes.title) if axes.get_visible() else ():
                    axes.draw_artist(artist)
            return encoded(np.asarray(self.canvas.buffer_rgba()))


def figure_png(figure: Figure) -> bytes:
    """Returns any figure as a PNG."""
    with LOCK:
        figure.set_dpi(DPI)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        return encoded(np.asarray(canvas.buffer_rgba()))
