"""A figure in a notebook, redrawn in place."""

from __future__ import annotations

import io

import ipywidgets
from matplotlib.figure import Figure

from keraslr.plotting import LOCK


class Picture(ipywidgets.Image):
    """An image that shows a matplotlib figure.

    One `Image` whose bytes are replaced does not flicker, and needs no extension: it works in
    JupyterLab, Colab and Voila.
    """

    def __init__(self) -> None:
        super().__init__(format="png", layout={"width": "100%", "max_width": "960px"})
        self.add_class("keraslr-picture")

    def show(self, figure: Figure) -> None:
        """Replaces the picture."""
        buffer = io.BytesIO()
        with LOCK:
            figure.savefig(buffer, format="png", dpi=110)
        self.value = buffer.getvalue()
