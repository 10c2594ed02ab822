"""The list of schedules to compare, and the fields that add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ipywidgets

from keraslr.callbacks import ReduceLROnPlateau
from keraslr.catalog import CATALOG
from keraslr.published import lenet_schedules
from keraslr.schedules import ConstantLR, PerEpoch, Schedule, parse
from keraslr.training._run import schedule_and_plateau
from widgets.parts._controls import shared
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import columns
from widgets.parts._subject import Subject
from widgets.schedule import SchedulePanel, schedule_panel_or_none

_LONGEST_NAME = 40
# Chosen at first for one's own problem.
_USUAL = ("constant", "step decay", "cosine annealing")


# A schedule, or a pair of one and the plateau rule that scales it.
Offered = Schedule | tuple[Schedule, ReduceLROnPlateau]


class ScheduleChoice:
    """A list of schedules that count in epochs: documented ones, the catalog's, and added ones.

    Attributes:
        schedules: The offered schedules, by name; with a plateau rule a pair.
        documented: Names of the documented schedules, as their source meant them.
        chosen: The list; its value is a tuple of names.
        adding: Fields and buttons that add a schedule to the list.

    Args:
        own: Schedules that are offered and chosen at first; if empty, the documented ones are.
        schedule_panel: A `SchedulePanel` whose curves a button adds; None for no such button.
        on_error: Called with the error of a schedule that cannot be added.
        subject: What is trained. For one's own problem the catalog's schedules begin at the rate
            that the model was compiled with, and the documented ones, which are for the LeNet, are
            left out.
        epochs: Length of the runs, to which schedules of one's own problem are sized.
    """

    def __init__(
        self,
        own: Mapping[str, Any],
        schedule_panel: SchedulePanel | None,
        on_error: Callable[[Exception], None],
        subject: Subject,
        epochs: int,
    ):
        if not isinstance(own, Mapping):
            raise TypeError(
                f"schedules must be a mapping from names to schedules. Received: {own!r}"
            )
        self._panel, self._on_error = schedule_panel_or_none(schedule_panel), on_error
        self._handler: Callable[[], None] | None = None
        self._events = EventBlock(self._changed)
        self._groups: dict[str, str] = {}
        self.schedules: dict[str, Offered] = {}
        self._subject = subject
        self.documented = tuple(lenet_schedules()) if subject.problem is None else ()
        self._offer_documented()
        self._offer_catalog(epochs)
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
        self._show(self.documented or _USUAL)
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

    def add(self, name: str, schedule: Any) -> None:
        """Adds a schedule to the list and chooses it.

        An added schedule of the same name is replaced. A documented one or one of the catalog
        stays, and its source is added to its name.

        Args:
            name: Name of the schedule.
            schedule: Schedule that counts in epochs; of a `PerEpoch`, the inner one. Or a pair of
                it, or of a rate, and a `ReduceLROnPlateau`.

        Raises:
            TypeError, ValueError: An argument is wrong; the error names it.
        """
        if not isinstance(name, str) or not name.strip():
            raise ValueError(f"name must be a string that is not blank. Received: {name!r}")
        if isinstance(schedule, tuple | list):
            schedule = self._pair(schedule)
        elif not isinstance(schedule, Schedule):
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
        """Returns the schedule of that name, counted in optimizer steps, without a plateau rule."""
        schedule = self.schedules[name]
        if isinstance(schedule, tuple):
            schedule = schedule[0]
        if isinstance(schedule, PerEpoch):
            return schedule.schedule.per_epoch(steps_per_epoch, smooth=schedule.smooth)
        return schedule.per_epoch(steps_per_epoch)

    def plateau(self, name: str) -> ReduceLROnPlateau | None:
        """Returns the plateau rule that scales the schedule of that name; None for none."""
        schedule = self.schedules[name]
        return schedule[1] if isinstance(schedule, tuple) else None

    def _pair(self, pair: Any) -> tuple[Schedule, ReduceLROnPlateau]:
        schedule, plateau = schedule_and_plateau(pair)
        if isinstance(schedule, float):
            schedule = ConstantLR(schedule, factor=1.0)
        if not isinstance(schedule, Schedule):
            raise TypeError(
                "schedule must be a keraslr schedule or a rate, with a ReduceLROnPlateau. "
                f"Received: schedule={schedule!r}"
            )
        self._subject.require_monitored(plateau)
        return schedule, plateau

    def _offer_documented(self) -> None:
        if not self.documented:
            return
        meant, run = lenet_schedules(), lenet_schedules("as run")
        offered = [("documented", name, schedule) for name, schedule in meant.items()]
        offered += [
            ("documented", f"{name}, as run", schedule)
            for name, schedule in run.items()
            if schedule != meant[name]
        ]
        for group, name, schedule in offered:
            self._groups[name], self.schedules[name] = group, schedule

    def _offer_catalog(self, epochs: int) -> None:
        rate = self._subject.rate
        for each in CATALOG.values():
            name = f"{each.name} (catalog)" if each.name in self.schedules else each.name
            own: dict[str, Any] = {}
            if rate is not None and "initial_learning_rate" in each.values:
                own["initial_learning_rate"] = rate
            if self._subject.problem is not None and "T_max" in each.values:
                own["T_max"] = epochs
            if self._subject.problem is not None and "step_size" in each.values:
                own["step_size"] = max(1, round(epochs / 3))
            schedule = each.build(**own)
            if not each.is_schedule:
                first = CATALOG["constant"].values["initial_learning_rate"].default
                schedule = (ConstantLR(rate or first, factor=1.0), schedule)
            self._groups[name], self.schedules[name] = "catalog", schedule

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
