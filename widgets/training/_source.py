"""Where the schedule of the next run comes from."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from keraslr.callbacks import ReduceLROnPlateau
from keraslr.schedules import Schedule
from keraslr.training._run import described_schedule, schedule_and_plateau
from widgets.parts._controls import shared
from widgets.parts._schedule_form import ScheduleForm
from widgets.parts._subject import Subject
from widgets.schedule import SchedulePanel
from widgets.training._settings import Plan

GIVEN, LINKED, OWN = "the given schedule", "the schedule panel's", "this panel's own"
_LONGEST = 60


class ScheduleSource(ipywidgets.VBox):
    """A choice between a given schedule, that of a schedule panel, and a form.

    Attributes:
        source: Dropdown of the sources; hidden where there is one.
        form: The form.

    Args:
        subject: What is trained.
        given: Schedule or rate, or a pair of it and a plateau rule; None for none.
        panel: A schedule panel; None for none.
        strategy: Strategy that the form begins with.

    Raises:
        TypeError, ValueError: The given schedule is none, or its plateau rule has nothing to watch.
    """

    def __init__(self, subject: Subject, given: Any, panel: SchedulePanel | None, strategy: str):
        self._subject, self._panel = subject, panel
        self._given: Plan | None = None
        if given is not None:
            schedule, plateau = schedule_and_plateau(given)
            subject.require_monitored(plateau)
            label = described_schedule(schedule)
            if plateau is not None:
                label += f", ReduceLROnPlateau({_unusual(plateau)})"
            self._given = Plan(schedule, plateau, label, _short_name(schedule), in_epochs=False)
        self.form = ScheduleForm(strategy, plateau=True, rate=subject.rate)
        there = ((GIVEN, self._given), (LINKED, panel), (OWN, self.form))
        options = [name for name, each in there if each is not None]
        self.source = ipywidgets.Dropdown(
            options=options, **shared("train under", "Schedule of the next run or branch.")
        )
        self.source.layout.display = "none" if len(options) == 1 else ""
        self._said = ipywidgets.HTML(layout={"width": "100%"})
        if self._given is not None:
            self._said.value = f"<code>{html.escape(self._given.label)}</code>"
        super().__init__([self.source, self._said, self.form], layout={"width": "100%"})
        self._show_form()

    def on_change(self, handler: Callable[[], None]) -> None:
        """Calls a function whenever the schedule has changed, except in a schedule panel."""

        def changed(_: Any) -> None:
            self._show_form()
            handler()

        self.form.on_change(handler)
        self.source.observe(changed, "value")

    def plan(self) -> Plan:
        """Returns the current schedule.

        Raises:
            TypeError, ValueError: A parameter is wrong; the error names it.
        """
        if self.source.value == GIVEN and self._given is not None:
            return self._given
        form = self._shown_form
        schedule: Schedule
        if self.source.value == LINKED and self._panel is not None:
            schedule = self._panel.in_epochs()
        else:
            schedule = form.in_epochs()
        plateau = form.plateau
        self._subject.require_monitored(plateau)
        return Plan(schedule, plateau, form.label, form.strategy.value, smooth=form.clock.value)

    def set_rate(self, rate: float) -> None:
        """Sets the rate that the chosen form starts from; leaves a given schedule for the form."""
        if self.source.value == GIVEN:
            self.source.value = OWN
        self._shown_form.set_rate(rate)

    @property
    def _shown_form(self) -> ScheduleForm:
        if self.source.value == LINKED and self._panel is not None:
            return self._panel.form
        return self.form

    def _show_form(self) -> None:
        self.form.layout.display = "" if self.source.value == OWN else "none"
        self._said.layout.display = "" if self.source.value == GIVEN else "none"


def _unusual(plateau: ReduceLROnPlateau) -> str:
    """Returns the monitor, and the settings that differ from the defaults."""
    usual = ReduceLROnPlateau().settings()
    settings = plateau.settings().items()
    return ", ".join(
        f"{name}={value!r}" for name, value in settings if name == "monitor" or value != usual[name]
    )


def _short_name(schedule: Any) -> str:
    text = f"constant {schedule:g}" if isinstance(schedule, float) else repr(schedule)
    return text if len(text) <= _LONGEST else type(schedule).__name__
