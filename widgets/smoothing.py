"""The panel that shows how much past gradients count."""

from __future__ import annotations

from typing import Any

import ipywidgets
import numpy as np

from keraslr.plotting import LineChart, line_style
from keraslr.smoothing import effective_samples, mean_weights, momentum_weights
from widgets.parts._controls import shared
from widgets.parts._panel import Panel, columns, guarded, table
from widgets.parts._picture import Picture

__all__ = ["SmoothingPanel"]

_KINDS = {
    "momentum: beta^k": ("beta", momentum_weights),
    "RMSProp's mean: (1 - gamma) gamma^k": ("gamma", mean_weights),
}
_VALUES = (0.5, 0.9, 0.95, 0.99)


class SmoothingPanel(Panel):
    """Shows the weight of the gradient of k steps ago, for several decay factors.

    Attributes:
        weights: The weights shown, by decay factor: float64 arrays.
    """

    dom_class = "keraslr-smoothing-panel"

    def __init__(self) -> None:
        super().__init__()
        self.weights: dict[float, np.ndarray] = {}
        self.kind = ipywidgets.Dropdown(options=list(_KINDS), **shared("weights"))
        self.steps = ipywidgets.IntSlider(value=60, min=10, max=500, **shared("steps back"))
        self.log_axis = ipywidgets.Checkbox(value=False, **shared("log axis"))
        self.values, self.shown = [], []
        half = {"width": "100%", "max_width": "460px"}
        rows = []
        for index, value in enumerate(_VALUES):
            slider = ipywidgets.FloatSlider(
                value=value, min=0.0, max=0.999, step=0.001, readout_format=".3f",
                description=" ", style={"description_width": "4px"},
                layout={"width": "100%", "max_width": "340px"},
            )  # fmt: skip
            show = ipywidgets.Checkbox(
                value=index > 0, indent=False, description=f"value {index + 1}",
                style={"description_width": "initial"}, layout={"width": "84px"},
            )  # fmt: skip
            colour = line_style(index)["color"]
            mark = ipywidgets.HTML(f'<span style="color: {colour}; font-size: 18px">&#9632;</span>')
            rows.append(ipywidgets.HBox([mark, show, slider], layout=dict(half)))
            self.values.append(slider)
            self.shown.append(show)
        self.chart = LineChart("steps back, k", "weight")
        self.picture = Picture(self.chart)
        self.numbers = ipywidgets.HTML(layout={"width": "100%"})
        self.fill(
            [
                columns(
                    ipywidgets.VBox([self.kind, self.steps, self.log_axis], layout=half),
                    ipywidgets.VBox(rows, layout=half),
                ),
                self.picture, self.message, self.numbers,
            ]
        )  # fmt: skip
        for widget in (self.kind, self.steps, self.log_axis, *self.values, *self.shown):
            widget.observe(self._draw, "value")
        self._draw()

    @guarded
    def _draw(self, _: Any = None) -> None:
        symbol, weigh = _KINDS[self.kind.value]
        steps, lines, rows = self.steps.value, [], []
        self.weights = {}
        for index, (slider, show) in enumerate(zip(self.values, self.shown, strict=True)):
            if not show.value:
                continue
            value = round(slider.value, 3)
            weights = self.weights[value] = weigh(value, steps)
            label = f"{symbol} = {value:g}"
            lines.append((label, index, np.arange(steps), weights))
            rows.append(
                [
                    label,
                    f"{effective_samples(value):.4g}",
                    f"{weights[0]:.4g}",
                    f"{weights[-1]:.3g}",
                ]
            )
        self.chart.draw(lines, "weight of the gradient", log=self.log_axis.value)
        self.picture.show()
        head = ["", f"1 / (1 - {symbol})", "weight of this step", f"{steps - 1} steps ago"]
        self.numbers.value = table(head, rows) if rows else ""
        self.say("" if rows else "Choose a value to see its weights.")
