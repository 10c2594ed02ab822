"""The controls that set a schedule: a strategy of the catalog, its parameters, a warm-up."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from keraslr.callbacks import ReduceLROnPlateau
from keraslr.catalog import CATALOG, Range, Strategy, find
from keraslr.schedules import ConstantLR, PerEpoch, Schedule, Warmup, parameters
from widgets.parts._controls import assign, control, read, shared, slider
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import columns, dispose

# A warm-up can precede any strategy, so it is a slider and not a choice of its own.
STRATEGIES = [each.name for each in CATALOG.values() if each.is_schedule and each.cls is not Warmup]
_CLOCKS = (("once an epoch", False), ("at every step", True))
_RATES = "initial_learning_rate", "max_lr"
PLATEAU = "reduce on plateau"


class ScheduleForm(ipywidgets.VBox):
    """Controls for a schedule that counts in epochs.

    Attributes:
        strategy: Dropdown of the catalog's names.
        controls: The strategy's parameters by name.
        warmup: Epochs of warm-up.
        clock: Whether the rate changes once an epoch or at every step.
        common, extra: Boxes to which a panel may add controls.

    Args:
        strategy: Strategy to begin with.
        plateau: Whether the plateau rule is offered, which needs a training that it can watch.
        rate: Rate to begin with, whatever the strategy; None for the catalog's.
    """

    def __init__(self, strategy: str, *, plateau: bool = False, rate: float | None = None):
        self._handler: Callable[[], None] | None = None
        self._events = EventBlock(self._changed)
        self._rate = rate
        self._offered = [*STRATEGIES, *([PLATEAU] if plateau else [])]
        self.strategy = ipywidgets.Dropdown(
            options=self._offered, value=self._offered_strategy(strategy).name,
            **shared("strategy"),
        )  # fmt: skip
        self.warmup = slider(
            Range(0, 30, 0), whole=True,
            **shared("warm-up", "Epochs in which the rate rises to the schedule's first rate."),
        )  # fmt: skip
        self.clock = ipywidgets.Dropdown(
            options=_CLOCKS, value=False,
            **shared("rate changes", "At every step: the schedule also runs within an epoch."),
        )  # fmt: skip
        self.about = ipywidgets.HTML(layout={"width": "100%"})
        self.controls: dict[str, ipywidgets.Widget] = {}
        half = {"width": "100%", "max_width": "430px"}
        self.common = ipywidgets.VBox([self.strategy, self.warmup, self.clock], layout=half)
        self._parameters = ipywidgets.VBox(layout={"width": "100%"})
        self.extra = ipywidgets.VBox(layout={"width": "100%"})
        right = ipywidgets.VBox([self._parameters, self.extra], layout=half)
        super().__init__([columns(self.common, right), self.about], layout={"width": "100%"})
        self.strategy.observe(self._choose, "value")
        self.warmup.observe(self._changed, "value")
        self.clock.observe(self._changed, "value")
        self._choose()

    def on_change(self, handler: Callable[[], None]) -> None:
        """Calls a function whenever the schedule has changed."""
        self._handler = handler

    @property
    def label(self) -> str:
        """The strategy and the values that differ from the catalog's, for a legend."""
        parts = [self.strategy.value]
        for name, widget in self.controls.items():
            with contextlib.suppress(ValueError):
                value = read(name, widget)
                if value != self._values()[name].default:
                    shown = f"{value:.3g}" if isinstance(value, float) else str(value)
                    parts.append(f"{name}={shown if len(shown) < 20 else '...'}")
        if self.warmup.value:
            parts.append(f"warm-up {self.warmup.value}")
        if self.clock.value:
            parts.append("every step")
        return ", ".join(parts)

    def in_epochs(self, factor: float = 1.0) -> Schedule:
        """Returns the schedule, counted in epochs, with its rates times a factor.

        The initial rate of a warm-up is not scaled.

        Raises:
            TypeError, ValueError: A parameter is wrong; the error names it.
        """
        arguments = self._arguments()
        schedule: Schedule
        if self.strategy.value == PLATEAU:
            schedule = ConstantLR(arguments["initial_learning_rate"], factor=1.0)
        else:
            schedule = CATALOG[self.strategy.value].build(**arguments)
        if factor != 1.0:
            schedule = schedule * factor
        return schedule.with_warmup(self.warmup.value) if self.warmup.value else schedule

    @property
    def plateau(self) -> ReduceLROnPlateau | None:
        """The plateau rule that scales the schedule; None if another strategy is chosen.

        Raises:
            TypeError, ValueError: A parameter is wrong; the error names it.
        """
        if self.strategy.value != PLATEAU:
            return None
        arguments = self._arguments()
        del arguments["initial_learning_rate"]
        rule: ReduceLROnPlateau = CATALOG[PLATEAU].build(**arguments)
        return rule

    def in_steps(self, steps_per_epoch: int, factor: float = 1.0) -> PerEpoch:
        """Returns the schedule, counted in optimizer steps.

        Raises:
            TypeError, ValueError: A parameter is wrong; the error names it.
        """
        return self.in_epochs(factor).per_epoch(steps_per_epoch, smooth=self.clock.value)

    def load(self, strategy: str, **values: Any) -> None:
        """Shows a strategy with the given values, and the catalog's for the others.

        Raises:
            TypeError, ValueError: There is no such strategy or parameter; the error names it.
        """
        known = self._offered_strategy(strategy)
        possible = self._values(known.name)
        unknown = [name for name in values if name not in possible]
        if unknown:
            raise TypeError(
                f"values of {known.name} must be among its parameters: {', '.join(possible)}. "
                f"Received: {unknown[0]}={values[unknown[0]]!r}"
            )
        with self._events:
            self.warmup.value = 0
            if self.strategy.value == known.name:
                self._choose()
            self.strategy.value = known.name
            for name, value in values.items():
                assign(self.controls[name], value)

    def set_rate(self, rate: float) -> None:
        """Sets the rate that the strategy starts from or rises to.

        Raises:
            ValueError: The strategy has no such rate.
        """
        name = next((name for name in _RATES if name in self.controls), None)
        if name is None:
            raise ValueError(
                f'strategy must be one with a single rate to set. Received: "{self.strategy.value}"'
            )
        assign(self.controls[name], rate)

    def _choose(self, _: Any = None) -> None:
        strategy = CATALOG[self.strategy.value]
        declared = parameters(strategy.cls if strategy.is_schedule else ConstantLR)
        self.controls = {}
        for name, value in self._values().items():
            if name in declared:
                widget = control(name, declared[name], value)
            else:  # a parameter of the plateau rule
                widget = slider(value, whole=isinstance(value.default, int), **shared(name))
            if widget is not None:
                if self._rate is not None and name in _RATES:
                    assign(widget, self._rate)
                self.controls[name] = widget
                widget.observe(self._changed, "value")
        old = self._parameters.children
        self._parameters.children = list(self.controls.values())
        dispose(*old)
        self.about.value = (
            f"<b>{strategy.cls.__name__}</b> &ndash; good: {html.escape(strategy.good)}. "
            f"Beware: {html.escape(strategy.bad)}."
        )
        self._changed()

    def _values(self, strategy: str | None = None) -> dict[str, Any]:
        """Returns sensible values of the strategy's parameters, by name."""
        chosen = CATALOG[self.strategy.value if strategy is None else strategy]
        rate = {} if chosen.is_schedule else {_RATES[0]: CATALOG["constant"].values[_RATES[0]]}
        return {**rate, **chosen.values}

    def _arguments(self) -> dict[str, Any]:
        return {name: read(name, widget) for name, widget in self.controls.items()}

    def _offered_strategy(self, name: str) -> Strategy:
        strategy = find(name)
        if strategy.name not in self._offered:
            raise ValueError(
                "strategy must be a schedule that stands by itself: "
                f"{', '.join(self._offered)}. Received: {strategy.name!r}"
            )
        return strategy

    def _changed(self, _: Any = None) -> None:
        if self._handler is not None and not self._events.active:
            self._handler()
