"""A strategy, its parameters as sliders, and its curve."""

from __future__ import annotations

import html
from typing import Any

import ipywidgets

from keraslr import check
from keraslr.catalog import CATALOG
from keraslr.plotting import schedule_figure
from keraslr.schedules import Schedule, Warmup, parameters
from widgets._controls import LAYOUT, STYLE, control, read
from widgets._picture import Picture


class SchedulePanel(ipywidgets.VBox):
    """Choose a strategy of the catalog, move its sliders, see the curve.

    Attributes:
        schedule: The schedule that is shown, counted in epochs.
    """

    def __init__(self, strategy: str = "cosine annealing", epochs: int = 30):
        self.schedule: Schedule | None = None
        names = [each.name for each in CATALOG.values() if each.is_schedule]
        # A warm-up leads up to any strategy, so it is a slider and not a choice of its own.
        names = [name for name in names if CATALOG[name].cls is not Warmup]
        shared: dict[str, Any] = {"style": STYLE, "layout": LAYOUT}
        self.strategy = ipywidgets.Dropdown(
            options=names, value=strategy, description="strategy", **shared
        )
        self.epochs = ipywidgets.IntSlider(
            value=epochs, min=1, max=200, description="epochs", **shared
        )
        self.warmup = ipywidgets.IntSlider(
            value=0, min=0, max=30, description="warm-up epochs", **shared
        )
        self.log_axis = ipywidgets.Checkbox(value=False, description="log axis", **shared)
        self.controls: dict[str, ipywidgets.Widget] = {}
        self.about, self.message, self.code = (ipywidgets.HTML() for _ in range(3))
        self.message.add_class("keraslr-message")
        self.picture = Picture()
        self._sliders = ipywidgets.VBox()
        super().__init__(
            [
                ipywidgets.HBox(
                    [
                        ipywidgets.VBox([self.strategy, self.epochs, self.warmup, self.log_axis]),
                        self._sliders,
                    ],
                    layout={"flex_flow": "row wrap", "grid_gap": "4px 24px"},
                ),
                self.about,
                self.picture,
                self.message,
                self.code,
            ]
        )
        self.add_class("keraslr-schedule-panel")
        self.strategy.observe(self._choose, "value")
        for widget in (self.epochs, self.warmup, self.log_axis):
            widget.observe(self._draw, "value")
        self._choose()

    def _choose(self, _: Any = None) -> None:
        strategy = CATALOG[self.strategy.value]
        self.controls = {}
        for name, parameter in parameters(strategy.cls).items():
            if name in strategy.values:
                widget = control(name, parameter, strategy.values[name])
                if widget is not None:
                    self.controls[name] = widget
                    widget.observe(self._draw, "value")
        self._sliders.children = list(self.controls.values())
        self.about.value = (
            f"<b>{strategy.cls.__name__}</b>. Good for: {html.escape(strategy.good)}. "
            f"Beware: {html.escape(strategy.bad)}."
        )
        self._draw()

    def _draw(self, _: Any = None) -> None:
        try:
            arguments = {name: read(name, widget) for name, widget in self.controls.items()}
            schedule = CATALOG[self.strategy.value].build(**arguments)
            if self.warmup.value:
                schedule = schedule.with_warmup(self.warmup.value)
        except (TypeError, ValueError) as error:
            # The last good curve stays: a message says what is wrong with the new one.
            self.message.value = f"<span style='color:#b00020'>{html.escape(str(error))}</span>"
            return
        self.schedule = schedule
        curve = {self.strategy.value: schedule}
        self.picture.show(
            schedule_figure(curve, self.epochs.value, unit="epoch", log=self.log_axis.value)
        )
        findings = check(schedule, self.epochs.value)
        self.message.value = "<br>".join(html.escape(str(finding)) for finding in findings)
        shown = repr(schedule)
        self.code.value = f"<code>{html.escape(shown)}</code>" if len(shown) < 400 else ""
