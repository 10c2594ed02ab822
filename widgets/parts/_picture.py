"""A picture in a notebook, redrawn in place."""

from __future__ import annotations

import sys

import ipywidgets

from keraslr.plotting import Chart


class Picture(ipywidgets.Image):
    """An image that shows a chart.

    One `Image` whose bytes are replaced does not flicker, and needs no extension: it works in
    JupyterLab, Notebook, Voila, VS Code and Colab.
    """

    def __init__(self, chart: Chart):
        self.chart = chart
        width = int(chart.figure.get_figwidth() * 110)
        super().__init__(format="png", layout={"width": "100%", "max_width": f"{width}px"})
        self.add_class("keraslr-picture")

    def show(self) -> None:
        """Shows the current chart."""
        self.value = self.chart.png()

    def leave(self) -> None:
        """Adds the picture to the cell's output, for readers without a kernel."""
        if "IPython" in sys.modules:
            from IPython.core.getipython import get_ipython
            from IPython.display import Image, display

            if get_ipython() is not None:
                display(Image(data=self.value, format="png"))
