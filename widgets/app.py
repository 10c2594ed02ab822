"""All panels in tabs, one schedule flowing through them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import ipywidgets

from widgets.advice import AdvicePanel
from widgets.comparison import ComparisonPanel
from widgets.descent import DescentPanel
from widgets.parts._panel import Panel, guarded
from widgets.parts._subject import subject_of
from widgets.schedule import SchedulePanel
from widgets.smoothing import SmoothingPanel
from widgets.training import TrainingPanel

__all__ = ["App"]

# The tabs in their order: title, and what makes the panel. Tests walk this table, too.
TABS: Mapping[str, Callable[[App], Panel]] = MappingProxyType(
    {
        "Schedules": lambda app: app.schedule_panel,
        "Advice": lambda app: AdvicePanel(app.schedule_panel, app.show_schedule),
        "Descent": lambda app: DescentPanel(schedule_panel=app.schedule_panel),
        "Training": lambda app: TrainingPanel(app.problem, schedule_panel=app.schedule_panel),
        "Comparison": lambda app: ComparisonPanel(app.problem, schedule_panel=app.schedule_panel),
        "Smoothing": lambda app: SmoothingPanel(),
    }
)


class App(Panel):
    """All panels in tabs; the schedule of the first tab is trained, compared and descended with.

    A panel is made when its tab is first opened.

    Attributes:
        schedule_panel: The panel of the first tab.
        panels: The panels made so far, by title.
        problem: What is trained and compared; None for images.

    Args:
        problem: A `keraslr.Problem`; a compiled Keras model or a function that builds one, with
            `x`; or "auto", "fashion_mnist" or "digits" for the LeNet on these images. None for
            the LeNet on the images that each panel begins with.
        x, y: Data of a model, as `fit` takes them; see `keraslr.Problem`.
        model: The model as a keyword.
        sample_weight, validation_data, validation_split, steps_per_epoch, validation_steps: The
            other data of a model; see `keraslr.Problem`.

    Raises:
        TypeError, ValueError: An argument is wrong, or the model does not fit the data; the error
            names it.
    """

    dom_class = "keraslr-app"
    schedule_panel: SchedulePanel
    problem: Any

    def __init__(
        self,
        problem: Any = None,
        x: Any = None,
        y: Any = None,
        *,
        model: Any = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
    ) -> None:
        super().__init__()
        data = {
            "y": y, "sample_weight": sample_weight, "validation_data": validation_data,
            "validation_split": validation_split, "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
        }  # fmt: skip
        # Now, so that a mistake is said here and not in a tab.
        subject = subject_of(problem, x, data, model=model)
        self.problem = problem if isinstance(problem, str) else subject.problem
        self.panels: dict[str, Panel] = {}
        self.at_close(self._close_panels)
        self.schedule_panel = SchedulePanel()
        self.tabs = ipywidgets.Tab(
            [ipywidgets.VBox(layout={"width": "100%"}) for _ in TABS], layout={"width": "auto"}
        )
        for index, title in enumerate(TABS):
            self.tabs.set_title(index, title)
        self.fill([self.tabs, self.message])
        self.tabs.selected_index = 0
        self.tabs.observe(self._opened, "selected_index")
        self.panel("Schedules")
        self.picture = self.schedule_panel.picture

    def panel(self, title: str) -> Panel:
        """Returns the panel of a tab, and makes it if needed.

        Raises:
            ValueError: There is no such tab; the error lists them.
        """
        if title not in TABS:
            raise ValueError(f"title must be one of {', '.join(TABS)}. Received: title={title!r}")
        with self.lock:
            if title not in self.panels:
                self.panels[title] = TABS[title](self)
                self.tabs.children[list(TABS).index(title)].children = [self.panels[title]]
            return self.panels[title]

    def show_schedule(self, _: str = "") -> None:
        """Opens the schedule panel's tab."""
        self.tabs.selected_index = 0

    def _close_panels(self) -> None:
        for panel in self.panels.values():
            panel.close()

    @guarded
    def _opened(self, _: Any = None) -> None:
        if self.tabs.selected_index is not None:
            self.panel(list(TABS)[self.tabs.selected_index])
