"""All panels in tabs, one schedule flowing through them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from widgets.advice_panel import AdvicePanel
from widgets.comparison import ComparisonPanel
from widgets.descent_panel import DescentPanel
from widgets.parts._panel import Panel, guarded
from widgets.schedule_panel import SchedulePanel
from widgets.smoothing_panel import SmoothingPanel
from widgets.training import TrainingPanel


class App(Panel):
    """The panels in tabs. What is set in the schedule panel is trained, compared and descended.

    A panel is made when its tab is opened first.

    Attributes:
        schedule_panel: The first tab.
        panels: The panels that have been made, by title.
    """

    def __init__(self) -> None:
        super().__init__("keraslr-app")
        self.schedule_panel = SchedulePanel()
        self._makers: dict[str, Callable[[], Panel]] = {
            "Schedules": lambda: self.schedule_panel,
            "Advice": lambda: AdvicePanel(self.schedule_panel, self._to_schedules),
            "Descent": lambda: DescentPanel(schedule_panel=self.schedule_panel),
            "Training": lambda: TrainingPanel(self.schedule_panel),
            "Comparison": lambda: ComparisonPanel(schedule_panel=self.schedule_panel),
            "Smoothing": SmoothingPanel,
        }
        self.panels: dict[str, Panel] = {}
        self.tabs = ipywidgets.Tab(
            [ipywidgets.VBox(layout={"width": "100%"}) for _ in self._makers],
            layout={"width": "auto"},
        )
        for index, title in enumerate(self._makers):
            self.tabs.set_title(index, title)
        self.fill([self.tabs, self.message])
        self.tabs.selected_index = 0
        self.tabs.observe(self._opened, "selected_index")
        self.panel("Schedules")
        self.picture = self.schedule_panel.picture

    def panel(self, title: str) -> Panel:
        """The panel of that tab, made if it has not been yet.

        Raises:
            ValueError: There is no such tab; the error lists them.
        """
        if title not in self._makers:
            raise ValueError(
                f"title must be one of {', '.join(self._makers)}. Received: title={title!r}"
            )
        with self.lock:
            if title not in self.panels:
                self.panels[title] = self._makers[title]()
                box = self.tabs.children[list(self._makers).index(title)]
                box.children = [self.panels[title]]
            return self.panels[title]

    def close(self) -> None:
        """Stops what runs, and takes the panels off the page."""
        for panel in self.panels.values():
            panel.close()
        super().close()

    @guarded
    def _opened(self, _: Any = None) -> None:
        if self.tabs.selected_index is not None:
            self.panel(list(self._makers)[self.tabs.selected_index])

    def _to_schedules(self, _: str) -> None:
        self.tabs.selected_index = 0
