"""The list of schedules to compare, and the fields that add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import ipywidgets

from keraslr.catalog import CATALOG
from keraslr.published import lenet_schedules
from keraslr.schedules import PerEpoch, Schedule, parse
from widgets.parts._controls import shared
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import columns
from widgets.schedule import SchedulePanel, schedule_panel_or_none

_LONGEST_NAME = 40


class ScheduleChoice:
    """A list of schedules that count in epochs: documented ones, the catalog's, and added ones.

    Attributes:
        schedules: The offered schedules, by name.
        documented: Names of the documented schedules, as their source meant them.
        chosen: The list; its value is a tuple of names.
        adding: Fields and buttons that add a schedule to the list.

    Args:
        own: Schedules that are offered and chosen at first; if empty, the documented ones are.
        schedule_panel: A `SchedulePanel` whose curves a button adds; None for no such button.
        on_error: Called with the error of a schedule that cannot be added.
    """

    def __init__(
        self,
        own: Mapping[str, Schedule],
        schedule_panel: SchedulePanel | None,
        on_error: Callable[[Exception], None],
    ):
        if not isinstance(own, Mapping):
            raise TypeError(
                f"schedules must be a mapping from names to schedules. Received: {own!r}"
            )
        self._panel, self._on_error = schedule_panel_or_none(schedule_panel), on_error
        self._handler: Callable[[], None] | None = None
        self._events = EventBlock(self._changed)
        self._groups: dict[str, str] = {}
        self.schedules: dict[str, Schedule] = {}
        self.documented = tuple(lenet_schedules())
        self._offer_built_in()
        self.chosen = ipywidgets.SelectMultiple(
            rows=11, **shared("schedules", "Ctrl (or Command) and a click chooses several.")
        )
        self.expression = ipywidgets.Text(
            placeholder="StepLR(0.3, step_size=10)",
            **shared("own schedule", "One Python expression; the schedule counts in epochs."),
        )
        self.name = ipywidgets.Text(
            placeholder="the line itself", **shared("its name", "Name in the legend.")
        )
        self.add_button = ipywidgets.Button(
            description="Add", icon="plus", layout={"width": "90px"},
            tooltip="Adds the schedule to the list and chooses it",
        )  # fmt: skip
        self.add_curves = ipywidgets.Button(
            description="Add the schedule panel's", icon="line-chart", layout={"width": "210px"},
            tooltip="Adds the schedule panel's curve and its pinned curves",
        )  # fmt: skip
        half = {"width": "100%", "max_width": "430px"}
        buttons = [self.add_button] + ([self.add_curves] if schedule_panel is not None else [])
        self.adding = columns(
            ipywidgets.VBox([self.expression, self.name], layout=half),
            ipywidgets.HBox(
                buttons, layout={**half, "flex_flow": "row wrap", "align_items": "flex-end"}
            ),
        )
        self._show(self.documented)
        for index, (name, schedule) in enumerate(own.items()):
            if index == 0:
                self.chosen.value = ()
            self.add(name, schedule)
        self.chosen.observe(self._changed, "value")
        self.add_button.on_click(self._add_clicked)
        self.add_curves.on_click(self._add_curves_clicked)

    def on_change(self, handler: Callable[[], None]) -> None:
        """Calls a function whenever other schedules are chosen."""
        self._handler = handler

    def add(self, name: str, schedule: Schedule) -> None:
        """Adds a schedule to the list and chooses it.

        An added schedule of the same name is replaced. A documented one or one of the catalog
        stays, and its source is added to its name.

        Args:
            name: Name of the schedule.
            schedule: Schedule that counts in epochs; of a `PerEpoch`, the inner one.

        Raises:
            TypeError, ValueError: An argument is wrong; the error names it.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"name must be a string that is not blank. Received: {name!r}")
        if not isinstance(schedule, Schedule):
            raise TypeError(f"schedule must be a keraslr schedule. Received: schedule={schedule!r}")
        name, chosen = name.strip(), list(self.chosen.value)
        if self._groups.get(name, "own") != "own" and self.schedules[name] != schedule:
            apart = f"{name} ({self._groups[name]})"
            self.schedules = {_renamed(key, name, apart): s for key, s in self.schedules.items()}
            self._groups = {_renamed(key, name, apart): g for key, g in self._groups.items()}
            self.documented = tuple(_renamed(each, name, apart) for each in self.documented)
            chosen = [_renamed(each, name, apart) for each in chosen]
        self._groups.setdefault(name, "own")
        self.schedules[name] = schedule
        self._show([*chosen, name])

    def choose(self, names: Iterable[str]) -> None:
        """Chooses these schedules and no others."""
        self.chosen.value = tuple(names)

    def in_steps(self, name: str, steps_per_epoch: int) -> PerEpoch:
        """Returns the schedule of that name, counted in optimizer steps."""
        schedule = self.schedules[name]
        if isinstance(schedule, PerEpoch):
            return schedule.schedule.per_epoch(steps_per_epoch, smooth=schedule.smooth)
        return schedule.per_epoch(steps_per_epoch)

    def _offer_built_in(self) -> None:
        meant, run = lenet_schedules(), lenet_schedules("as run")
        offered = [("documented", name, schedule) for name, schedule in meant.items()]
        offered += [
            ("documented", f"{name}, as run", schedule)
            for name, schedule in run.items()
            if schedule != meant[name]
        ]
        offered += [
            (
                "catalog",
                each.name if each.name not in meant else f"{each.name} (catalog)",
                each.build(),
            )
            for each in CATALOG.values()
            if each.is_schedule
        ]
        for group, name, schedule in offered:
            self._groups[name], self.schedules[name] = group, schedule

    def _show(self, names: Iterable[str]) -> None:
        """Fills the list and chooses these names."""
        with self._events:
            # The added ones first: the list shows its beginning.
            order = sorted(self.schedules, key=lambda name: self._groups[name] != "own")
            self.chosen.options = [(f"{self._groups[name]}: {name}", name) for name in order]
            self.chosen.value = tuple(dict.fromkeys(names))

    def _changed(self, _: object = None) -> None:
        if self._handler is not None and not self._events.active:
            self._handler()

    def _add_clicked(self, _: object) -> None:
        text = self.expression.value.strip()
        try:
            schedule = parse(text)
            name = self.name.value.strip() or (
                text if len(text) <= _LONGEST_NAME else f"{type(schedule).__name__} ..."
            )
            self.add(name, schedule)
        except (TypeError, ValueError) as error:
            self._on_error(error)

    def _add_curves_clicked(self, _: object) -> None:
        assert self._panel is not None
        if self._panel.schedule is None:
            self._on_error(ValueError("The schedule panel shows no schedule."))
            return
        curves = {pin.label: pin.schedule for pin in self._panel.pins}
        for name, schedule in {**curves, self._panel.form.label: self._panel.schedule}.items():
            self.add(name, schedule)


def _renamed(name: str, old: str, new: str) -> str:
    return new if name == old else name
