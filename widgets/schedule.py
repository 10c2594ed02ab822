"""The panel that shows a strategy, its parameters as sliders, and its curve."""

from __future__ import annotations

import dataclasses
import html
import math
from typing import Any

import ipywidgets
import numpy as np

from keraslr import check, snippets
from keraslr.plotting import ScheduleChart, line_style
from keraslr.schedules import PerEpoch, Schedule
from keraslr.summary import Summary, summarize
from widgets.parts._controls import shared
from widgets.parts._downloads import csv_text, link
from widgets.parts._panel import GOOD, Panel, columns, dispose, guarded, table
from widgets.parts._picture import Picture
from widgets.parts._run_settings import size_control
from widgets.parts._schedule_form import ScheduleForm

__all__ = ["SchedulePanel"]

MOST_PINS = 8
_MOST_ROWS = 100_000


@dataclasses.dataclass(frozen=True)
class Pin:
    """A curve that stays in the picture for comparison.

    Attributes:
        label: Name in the legend.
        schedule: Schedule, counted in optimizer steps.
        epochs: Length of its run.
        summary: Rates of the run.
    """

    label: str
    schedule: PerEpoch
    epochs: int
    summary: Summary


class SchedulePanel(Panel):
    """Shows the curve of a strategy of the catalog, with a slider for each parameter.

    Attributes:
        schedule: The schedule shown, counted in optimizer steps, as `keras.optimizers` takes it.
        pins: The curves that stay in the picture for comparison.

    Args:
        strategy: Name of a strategy of the catalog.
        epochs: Length of the run.
        batch_size: Examples per optimizer step.
        dataset_size: Training examples.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> panel = SchedulePanel("step decay", epochs=20)
        >>> panel.schedule
        PerEpoch(schedule=StepLR(initial_learning_rate=0.1, step_size=10, gamma=0.5), steps_per_epoch=235, smooth=False)
    """  # noqa: E501

    dom_class = "keraslr-schedule-panel"

    def __init__(
        self,
        strategy: str = "cosine annealing",
        epochs: int = 30,
        batch_size: int = 256,
        dataset_size: int = 60_000,
    ):
        super().__init__()
        self.schedule: PerEpoch | None = None
        self.pins: list[Pin] = []
        self.form = ScheduleForm(strategy)
        self.epochs = size_control("epochs", epochs)
        self.batch_size = size_control("batch_size", batch_size)
        self.dataset_size = size_control("dataset_size", dataset_size)
        self.scaling = ipywidgets.Checkbox(
            value=False,
            **shared(
                "linear scaling", "Rates in proportion to the batch size; the sliders hold for 256."
            ),
        )
        self.log_axis = ipywidgets.Checkbox(value=False, **shared("log axis"))
        self.form.common.children = (
            *self.form.common.children,
            self.epochs, self.batch_size, self.dataset_size,
        )  # fmt: skip
        self.form.extra.children = self.scaling, self.log_axis
        self.chart = ScheduleChart()
        self.picture = Picture(self.chart)
        self.pin = ipywidgets.Button(description="Pin this curve", icon="thumb-tack")
        self.clear = ipywidgets.Button(description="Remove all pins", disabled=True)
        self._pinned = ipywidgets.VBox(layout={"width": "100%"})
        self.epoch = ipywidgets.BoundedFloatText(
            value=0, min=0, max=epochs, step=1, description="at epoch",
            style={"description_width": "62px"}, layout={"width": "150px"},
        )  # fmt: skip
        self.numbers = ipywidgets.HTML()
        self.code = ipywidgets.HTML(layout={"width": "100%"})
        self.tabs = ipywidgets.Tab(
            [
                ipywidgets.VBox([self._pin_bar(), self._pinned], layout={"width": "100%"}),
                ipywidgets.VBox([self.code], layout={"width": "100%"}),
            ],
            layout={"width": "auto"},
        )
        self.tabs.set_title(0, "Pinned curves")
        self.tabs.set_title(1, "Code and values")
        shown = ipywidgets.VBox([self.picture], layout={"flex": "1 1 480px", "min_width": "300px"})
        beside = ipywidgets.VBox([self.numbers, self.epoch], layout={"flex": "0 0 190px"})
        self.fill([self.form, columns(shown, beside), self.message, self.tabs])
        self.form.on_change(self._draw)
        for widget in (
            self.epochs, self.batch_size, self.dataset_size, self.scaling, self.log_axis,
        ):  # fmt: skip
            widget.observe(self._draw, "value")
        self.epoch.observe(self._show_numbers, "value")
        self.tabs.observe(self._show_code, "selected_index")
        self.pin.on_click(self._pin)
        self.clear.on_click(self._unpin_all)
        self._show_pins()
        self._draw()

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch; the last step takes the remaining examples."""
        return math.ceil(self.dataset_size.value / self.batch_size.value)

    def in_epochs(self) -> Schedule:
        """Returns the schedule counted in epochs, for another batch size or dataset.

        Raises:
            TypeError, ValueError: A parameter is wrong; the error names it.
        """
        return self.form.in_epochs(self._factor())

    def load(self, strategy: str, **values: Any) -> None:
        """Shows a strategy with the given values, and the catalog's for the others.

        Raises:
            TypeError, ValueError: There is no such strategy or parameter; the error names it.
        """
        with self.lock:
            self.form.load(strategy, **values)

    def _factor(self) -> float:
        return self.batch_size.value / 256 if self.scaling.value else 1.0

    def _pin_bar(self) -> ipywidgets.HBox:
        return ipywidgets.HBox([self.pin, self.clear], layout={"flex_flow": "row wrap"})

    @guarded
    def _draw(self, _: Any = None) -> None:
        epochs, steps_per_epoch = self.epochs.value, self.steps_per_epoch
        # After an error the last good curve stays, and the message says what is wrong.
        schedule = self.form.in_steps(steps_per_epoch, self._factor())
        summary = summarize(schedule, epochs * steps_per_epoch)
        self.schedule, self._summary = schedule, summary
        label = f"now: {self.form.label}" if self.pins else self.form.label
        curves = [(label, summary, steps_per_epoch)]
        curves += [(pin.label, pin.summary, pin.schedule.steps_per_epoch) for pin in self.pins]
        self.chart.draw(curves, unit="epoch", log=self.log_axis.value)
        self.picture.show()
        # The findings come last, because a person who moves a slider waits for the picture.
        findings = check(schedule, epochs * steps_per_epoch, steps_per_epoch)
        if findings:
            self.say(*map(str, findings), colour="#9a5b00")
        else:
            self.say(
                f"The schedule fits a run of {epochs} epochs of {steps_per_epoch:,} steps.",
                colour=GOOD,
            )
        self._show_numbers()
        self._show_code()

    @guarded
    def _show_numbers(self, _: Any = None) -> None:
        if self.schedule is None:
            return
        per_epoch, summary = self.schedule.steps_per_epoch, self._summary
        last_epoch = (summary.steps - 1) / per_epoch
        if self.epoch.max != last_epoch:
            self.epoch.max = last_epoch
        step = int(self.epoch.value * per_epoch)
        rows = [
            ("first", summary.first),
            (f"peak (epoch {summary.peak_step / per_epoch:.4g})", summary.peak),
            ("mean", summary.mean),
            ("last", summary.last),
            (f"at epoch {self.epoch.value:.4g}", float(self.schedule(np.int64(step)))),
        ]
        self.numbers.value = table(["rate", ""], [[name, f"{rate:.4g}"] for name, rate in rows])

    @guarded
    def _show_code(self, _: Any = None) -> None:
        # Only while the tab is open: the picture must not wait for the code.
        if self.schedule is None or self.tabs.selected_index != 1:
            return
        epochs, batch_size = self.epochs.value, self.batch_size.value
        blocks = (
            ("Keras", snippets.keras_line(self.schedule)),
            (
                "Training with it",
                snippets.fit_snippet(self.schedule, epochs=epochs, batch_size=batch_size),
            ),
            ("The same in PyTorch", snippets.pytorch_snippet(self.schedule, epochs=epochs)),
        )
        self.code.value = self._values_link() + "".join(
            f"<b>{title}</b><pre>{html.escape(code)}</pre>" for title, code in blocks
        )

    def _values_link(self) -> str:
        assert self.schedule is not None
        steps, per_epoch = self._summary.steps, self.schedule.steps_per_epoch
        every = math.ceil(steps / _MOST_ROWS)
        at = np.arange(0, steps, every)
        rates = np.asarray(self.schedule(at), np.float32)
        rows = (
            (step, f"{step / per_epoch:.6g}", str(rate))
            for step, rate in zip(at, rates, strict=True)
        )
        text = csv_text(("step", "epoch", "learning_rate"), rows)
        said = "every step" if every == 1 else f"every {every}th step"
        shown = link("learning_rates.csv", text, "text/csv", "Download the values as CSV")
        return f"{shown} ({len(at):,} rows, {said})<br>"

    @guarded
    def _pin(self, _: Any) -> None:
        if self.schedule is None:
            return
        if len(self.pins) == MOST_PINS:
            raise ValueError(
                f"{MOST_PINS} curves are pinned, which is the maximum: remove one first."
            )
        label, taken = self.form.label, {pin.label for pin in self.pins}
        number = 1
        while label in taken:
            number += 1
            label = f"{self.form.label} ({number})"
        self.pins.append(Pin(label, self.schedule, self.epochs.value, self._summary))
        self._show_pins()
        self._draw()

    @guarded
    def _unpin(self, button: ipywidgets.Button) -> None:
        self.pins = [pin for pin in self.pins if pin is not button.pin]
        self._show_pins()
        self._draw()

    @guarded
    def _unpin_all(self, _: Any) -> None:
        self.pins = []
        self._show_pins()
        self._draw()

    def _show_pins(self) -> None:
        rows = []
        for index, pin in enumerate(self.pins, start=1):
            remove = ipywidgets.Button(
                icon="times", tooltip=f"Remove {pin.label}", layout={"width": "34px"}
            )
            remove.pin = pin
            remove.on_click(self._unpin)
            swatch = (
                f'<span style="color: {line_style(index)["color"]}">&#9632;</span> '
                f"{html.escape(pin.label)} &ndash; {pin.epochs} epochs of "
                f"{pin.schedule.steps_per_epoch:,} steps"
            )
            rows.append(ipywidgets.HBox([remove, ipywidgets.HTML(swatch)]))
        if not rows:
            rows = [
                ipywidgets.HTML(
                    f"Up to {MOST_PINS} pinned curves stay in the picture for comparison."
                )
            ]
        old = self._pinned.children
        self._pinned.children = rows
        dispose(*old)
        self.clear.disabled = not self.pins


def schedule_panel_or_none(panel: Any) -> SchedulePanel | None:
    """Returns the panel that another panel was given to read schedules from.

    Raises:
        TypeError: The argument is neither a `SchedulePanel` nor None.
    """
    if panel is not None and not isinstance(panel, SchedulePanel):
        raise TypeError(
            f"schedule_panel must be a SchedulePanel or None. Received: schedule_panel={panel!r}"
        )
    return panel
