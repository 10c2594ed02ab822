"""The panel that shows the paths of optimizers down an objective."""

from __future__ import annotations

import html
import math
import re
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np

from keraslr import objectives
from keraslr.catalog import CATALOG, DESCENT_OPTIMIZERS, Range
from keraslr.descent import DEFAULT_STEPS, Trajectory, descend
from keraslr.objectives import OBJECTIVES, Objective
from keraslr.plotting import DescentChart, optimizer_style
from keraslr.schedules import PerEpoch, Schedule
from keraslr.summary import summarize
from widgets.parts._controls import number, shared, slider
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import ERROR, Panel, columns, guarded, table
from widgets.parts._picture import Picture
from widgets.parts._schedule_form import STRATEGIES
from widgets.schedule import SchedulePanel, schedule_panel_or_none

__all__ = ["DescentPanel"]

# Ticks for which the catalog's lengths are sized.
_TICKS = 30
_CONSTANT, _GIVEN, _PANEL = "constant", "given", "panel"

# Parameters that weigh earlier steps; the first of them that an optimizer has gets a slider.
_MEMORY = "momentum", "beta_1", "rho"

# Approximate number of frames of a play, and its milliseconds.
_FRAMES, _DURATION = 100, 5000

# Seconds during which the page may still send the end of a previous run, as a late answer.
_LATE = 0.5


class DescentPanel(Panel):
    """Shows the paths of several optimizers down an objective, with a slider for each rate.

    Attributes:
        objective: The objective that is descended.
        trajectories: The paths, by the optimizers' names.

    Args:
        objective: Name of one of `keraslr.objectives.OBJECTIVES`.
        optimizers: Names of some of `keraslr.catalog.DESCENT_OPTIMIZERS`.
        steps: Number of steps, 1 to 1000.
        schedule_panel: A `SchedulePanel` whose schedule is offered among the others.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> panel = DescentPanel("bowl", ["SGD", "Adam"], steps=50)
        >>> panel.rates["SGD"].value = 0.2
        >>> bool(panel.trajectories["SGD"].values[-1] < 1e-6)
        True
    """

    dom_class = "keraslr-descent-panel"

    def __init__(
        self,
        objective: str = "flat bowl",
        optimizers: Sequence[str] = ("SGD", "momentum", "Adam"),
        steps: int = DEFAULT_STEPS,
        schedule_panel: SchedulePanel | None = None,
    ):
        super().__init__()
        self.objective: Objective = objectives.find(objective)
        self.trajectories: dict[str, Trajectory] = {}
        chosen = [
            objectives.entry(DESCENT_OPTIMIZERS, "optimizers", name).name for name in optimizers
        ]
        self._schedule_panel = schedule_panel_or_none(schedule_panel)
        self._given: tuple[Schedule, int] | None = None
        self._left_ends: dict[int, float] = {}
        self._settings = EventBlock(self._draw)
        self._moving = EventBlock()
        self.objectives = ipywidgets.Dropdown(
            options=[(each.title, name) for name, each in OBJECTIVES.items()],
            value=self.objective.name, **_column("objective"),
        )  # fmt: skip
        self.schedules = ipywidgets.Dropdown(
            options=[_CONSTANT],
            **_column("schedule", "Stretched over the steps; its peak is the optimizer's rate."),
        )
        self._offer_schedules()
        self.steps = ipywidgets.IntSlider(value=steps, min=1, max=1000, **_column("steps"))
        self.start = [
            ipywidgets.FloatSlider(step=0.01, readout_format=".2f", **_column(name))
            for name in ("start x1", "start x2")
        ]
        self.noise = slider(
            Range(0.0, 5.0, 0.0),
            **_column("noise", "Standard deviation of the noise added to the gradient."),
        )
        self.seed = slider(Range(0, 99, 0), whole=True, **_column("noise seed"))
        self.about = ipywidgets.HTML(layout={"width": "100%"})
        self.optimizers = {
            name: ipywidgets.Checkbox(
                value=name in chosen, description=name, indent=False, layout={"width": "auto"}
            )
            for name in DESCENT_OPTIMIZERS
        }
        self.rates: dict[str, ipywidgets.Widget] = {}
        self.memories: dict[str, ipywidgets.Widget] = {}
        self._rows: dict[str, ipywidgets.Widget] = {}
        self._chosen = ipywidgets.VBox(layout={"width": "100%"})
        self._chart = DescentChart()
        self.picture = Picture(self._chart)
        self.play = ipywidgets.Play(show_repeat=False, layout={"width": "auto"})
        self.step = ipywidgets.IntSlider(
            value=0, max=0, description="step", style={"description_width": "40px"},
            layout={"flex": "1 1 auto"},
        )  # fmt: skip
        # Linked in the browser, so that the step does not wait for Python. The slider comes first,
        # because a page takes the second one's value from the first when it is drawn.
        self._link = ipywidgets.jslink((self.step, "value"), (self.play, "value"))
        self.results = ipywidgets.HTML(layout={"width": "100%"})
        self.fill(self._arranged())
        self._observe()
        self._show_chosen()
        self._choose_objective()

    def use_schedule(self, schedule: Schedule, epochs: int = _TICKS) -> None:
        """Gives all optimizers the shape of a schedule, scaled to each optimizer's rate.

        Args:
            schedule: Schedule that counts in epochs; of a `PerEpoch`, the inner one.
            epochs: Epochs of it that are stretched over the steps, an integer >= 1.

        Raises:
            TypeError, ValueError: An argument is wrong; the error names it.
        """
        summarize(schedule, epochs)
        with self.lock, self._settings:
            self._given = schedule, epochs
            self._offer_schedules()
            self.schedules.value = _GIVEN

    def _arranged(self) -> list[ipywidgets.Widget]:
        half = {"width": "100%", "max_width": "430px"}
        boxes = ipywidgets.GridBox(
            list(self.optimizers.values()),
            layout={
                "grid_template_columns": "repeat(auto-fill, minmax(108px, 1fr))",
                "grid_gap": "0 8px", "width": "100%", "margin": "6px 0",
            },
        )  # fmt: skip
        return [
            columns(
                ipywidgets.VBox([self.objectives, self.schedules, self.steps], layout=half),
                ipywidgets.VBox([*self.start, self.noise, self.seed], layout=half),
            ),
            self.about, boxes, self._chosen, self.picture,
            ipywidgets.HBox(
                [self.play, self.step],
                layout={"width": "100%", "max_width": "880px", "align_items": "center"},
            ),
            self.message, self.results,
        ]  # fmt: skip

    def _observe(self) -> None:
        for widget in (self.schedules, self.steps, *self.start, self.noise, self.seed):
            widget.observe(self._changed, "value")
        for widget in self.optimizers.values():
            widget.observe(self._choose_optimizers, "value")
        self.objectives.observe(self._choose_objective, "value")
        self.step.observe(self._mark, "value")
        # ipywidgets 7 has the trait with an underscore.
        switch = "playing" if self.play.has_trait("playing") else "_playing"
        self.play.observe(self._played, switch)
        if self._schedule_panel is not None:
            self._schedule_panel.picture.observe(self._follow, "value")

    def _offer_schedules(self) -> None:
        offered = [(_CONSTANT, _CONSTANT)]
        if self._schedule_panel is not None:
            offered.append(("that of the schedule panel", _PANEL))
        if self._given is not None:
            offered.append(("the given one", _GIVEN))
        offered += [(name, name) for name in STRATEGIES if name != _CONSTANT]
        chosen = self.schedules.value
        self.schedules.options = offered
        self.schedules.value = chosen

    def _row(self, name: str) -> ipywidgets.Widget:
        """Returns the controls of an optimizer, which are kept while it is not chosen."""
        if name in self._rows:
            return self._rows[name]
        entry = DESCENT_OPTIMIZERS[name]

        def described(text: str) -> dict[str, Any]:
            return {
                "description": text, "style": {"description_width": "76px"},
                "layout": {"flex": "1 1 260px", "width": "auto", "max_width": "420px"},
            }  # fmt: skip

        self.rates[name] = slider(entry.learning_rate, **described("rate"))
        controls = [self.rates[name]]
        memory = next((each for each in _MEMORY if each in entry.values), None)
        if memory is not None:
            # A new value means a compilation, which takes too long to follow the slider.
            self.memories[name] = slider(
                entry.values[memory], continuous_update=False, **described(memory)
            )
            controls.append(self.memories[name])
        for widget in controls:
            widget.observe(self._changed, "value")
        sliders = ipywidgets.HBox(controls, layout={"flex": "1 1 0", "flex_flow": "row wrap"})
        label = ipywidgets.HTML(_named(name), layout={"flex": "0 0 118px"})
        self._rows[name] = ipywidgets.HBox([label, sliders], layout={"width": "100%"})
        return self._rows[name]

    def _memory(self, name: str) -> dict[str, float]:
        if name not in self.memories:
            return {}
        return {self.memories[name].description: number(self.memories[name])}

    @guarded
    def _choose_objective(self, _: Any = None) -> None:
        with self._settings:
            self.objective = OBJECTIVES[self.objectives.value]
            flat = self.objective.dimension == 1
            self.start[0].description = "start x" if flat else "start x1"
            self.start[1].layout.display = "none" if flat else ""
            for widget, (low, high), at in zip(
                self.start, self.objective.view, self.objective.start, strict=False
            ):
                # The low end must never lie above the high one, not even in between.
                widget.min, widget.max = min(widget.min, low), max(widget.max, high)
                widget.value, widget.min, widget.max = at, low, high
            formula = re.sub(r"\^(\d+)", r"<sup>\1</sup>", html.escape(self.objective.formula))
            self.about.value = (
                f'<div style="line-height: 1.45; margin: 4px 0"><b>f = {formula}</b> &ndash; '
                f"{html.escape(self.objective.source)}</div>"
            )

    @guarded
    def _choose_optimizers(self, _: Any = None) -> None:
        with self._settings:
            self._show_chosen()

    def _show_chosen(self) -> None:
        self._chosen.children = [
            self._row(name) for name, chosen in self.optimizers.items() if chosen.value
        ]

    @guarded
    def _changed(self, _: Any = None) -> None:
        self._draw()

    @guarded
    def _follow(self, _: Any = None) -> None:
        if self.schedules.value == _PANEL:
            self._draw()

    @guarded
    def _draw(self) -> None:
        if self._settings.active:
            return
        steps = self.steps.value
        start = [each.value for each in self.start[: self.objective.dimension]]
        shape = self._shape(steps)
        # After an error the last picture stays, and the message says what is wrong.
        trajectories = {
            name: descend(
                self.objective, name, learning_rate=number(self.rates[name]) * shape, start=start,
                steps=steps, noise=self.noise.value, seed=self.seed.value, **self._memory(name),
            )
            for name, chosen in self.optimizers.items()
            if chosen.value
        }  # fmt: skip
        self.trajectories = trajectories
        # A marker at the end stays at the end.
        step = steps if self.step.value == self.step.max else min(self.step.value, steps)
        self._chart.draw(self.objective, trajectories, start=start, steps=steps, step=step)
        self.picture.show()
        self._show_steps(steps, step)
        self._say_ends(steps)

    def _shape(self, steps: int) -> np.ndarray | float:
        """Returns the rate of each step as a fraction of the highest."""
        chosen, ticks = self.schedules.value, _TICKS
        schedule: Schedule
        if chosen == _CONSTANT:
            return 1.0
        if chosen == _PANEL:
            if self._schedule_panel is None or self._schedule_panel.schedule is None:
                raise ValueError("The schedule panel shows no schedule.")
            schedule, ticks = self._schedule_panel.schedule, self._schedule_panel.epochs.value
        elif chosen == _GIVEN and self._given is not None:
            schedule, ticks = self._given
        else:
            schedule = CATALOG[chosen].build()
        inner, smooth = schedule, True
        if isinstance(schedule, PerEpoch):
            inner, smooth = schedule.schedule, schedule.smooth
        # A step is a fraction of a tick, so that the last step ends the last tick.
        clock = np.arange(steps, dtype=np.int64) * ticks
        rates = np.asarray(inner.per_epoch(steps, smooth=smooth)(clock), np.float64)
        highest = rates.max()
        return rates / highest if highest > 0 else rates

    def _show_steps(self, steps: int, step: int) -> None:
        """Sets the length of the play and of its slider."""
        if self.step.max == steps:
            return
        if step == steps:
            self._left_ends[self.step.max] = time.monotonic()
        frame = max(1, round(steps / _FRAMES))

        def set_play() -> None:
            # Not its value: the page would answer with a step that may be out of date by then.
            with self.play.hold_sync():
                self.play.step = frame
                self.play.interval = min(max(_DURATION * frame // steps, 50), 250)
                self.play.max = steps

        def set_step() -> None:
            with self.step.hold_sync():
                self.step.max = steps
                self.step.value = step

        # The play's range must include the slider's value at any moment.
        order = (set_play, set_step) if steps > self.step.max else (set_step, set_play)
        with self._moving:
            for each in order:
                each()

    @guarded
    def _mark(self, _: Any = None) -> None:
        if self._moving.active:
            return
        left = self._left_ends.pop(self.step.value, None)
        if left is not None and time.monotonic() - left < _LATE:
            self.step.value = self.step.max  # which calls this again
            return
        self._chart.mark(self.step.value)
        self.picture.show()

    @guarded
    def _played(self, _: Any = None) -> None:
        # The browser stops before a step that would pass the end, and restarts only from the exact
        # end.
        if self.step.value + self.play.step > self.step.max:
            self.play.value = self.step.value = self.step.max

    def _say_ends(self, steps: int) -> None:
        ways, rows = self._chart.ways, []
        for name, each in self.trajectories.items():
            end = "(" + ", ".join(f"{x:.3g}" for x in each.end) + ")"
            if ways[name].fate:
                end = ways[name].fate.replace("left the picture", "left")
            if ways[name].diverged:
                end = f'<span style="color: {ERROR}">{end}</span>'
            row = [_named(name), f"{number(self.rates[name]):.3g}", end, f"{each.values[-1]:.3g}"]
            if self.objective.minima:
                row.append(f"{min(math.dist(each.end, m) for m in self.objective.minima):.3g}")
            rows.append(row)
        head = ["optimizer", "rate", "ended at", "value there"]
        head += ["to a minimum"] if self.objective.minima else []
        self.results.value = table(head, rows) if rows else ""
        lost = [f"{name} {way.fate}." for name, way in ways.items() if way.diverged]
        if not rows:
            self.say("No optimizer is chosen.")
        elif lost:
            self.say(*lost, colour=ERROR)
        else:
            best = min(self.trajectories.values(), key=lambda each: each.values[-1])
            self.say(f"Lowest after {steps} steps: {best.optimizer}, at {best.values[-1]:.4g}.")


def _column(name: str, tooltip: str = "") -> dict[str, Any]:
    """Returns the settings that the controls of the two columns share."""
    return {**shared(name, tooltip), "style": {"description_width": "84px"}}


def _named(name: str) -> str:
    """Returns an optimizer's name beside a sample of its line, as HTML."""
    style = optimizer_style(name)
    dashes = ' stroke-dasharray="5 3"' if style["linestyle"] != "-" else ""
    # On white, as in the picture: black would be invisible on a dark page.
    return (
        f'<span style="background: #fff; color: {style["color"]}; font-weight: 600; '
        'padding: 1px 4px; border-radius: 3px; white-space: nowrap">'
        f'<svg width="20" height="8"><line x1="0" x2="20" y1="4" y2="4" stroke-width="2.4" '
        f'stroke="{style["color"]}"{dashes}/></svg> {html.escape(name)}</span>'
    )
