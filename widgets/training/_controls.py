"""The controls of a training panel: settings, buttons, and the rate by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from keraslr._chart_data import metrics_of
from keraslr.catalog import Range
from keraslr.training import LiveRun
from widgets.parts._controls import shared, slider
from widgets.parts._optimizer_form import OptimizerForm
from widgets.parts._panel import columns
from widgets.parts._run_settings import dataset_control, size_control
from widgets.parts._subject import Subject
from widgets.parts._working_panel import WorkingPanel
from widgets.training._picture import TrainingPicture
from widgets.training._range_test import RangeTestBox
from widgets.training._runs import IMAGES, KeptRuns
from widgets.training._settings import RunSettings


class TrainingControls(WorkingPanel):
    """Makes and arranges the controls; `TrainingPanel` says what they do."""

    subject: Subject

    def _make_settings(self, epochs: int, batch_size: int | None, seed: int) -> None:
        own = self.subject.problem is not None
        if batch_size is None:
            batch_size = 32 if own else 256
        self.dataset = dataset_control(self.subject.dataset)
        self.dataset.layout.display = "none" if own else ""
        self.optimizer = OptimizerForm("momentum", self.subject.optimizer if own else None)
        self.epochs = size_control("epochs", epochs)
        self.batch_size = size_control("batch_size", batch_size)
        if self.subject.has_own_batches:
            self.batch_size.layout.display = "none"
        self.seed = size_control("seed", seed)
        metrics = metrics_of(self.subject.figures)
        self.metric = ipywidgets.Dropdown(
            options=metrics, description="metric", style={"description_width": "60px"},
            layout={"width": "300px", "max_width": "100%"},
        )  # fmt: skip
        if len(metrics) < 2:
            self.metric.layout.display = "none"
        self.name = ipywidgets.Text(
            placeholder="empty: the strategy's name", **shared("name of the run")
        )
        self.log_axis = ipywidgets.Checkbox(value=False, **shared("log rate axis"))

    def _settings(self) -> RunSettings:
        """Returns the current settings."""
        optimizer, arguments = self.optimizer.settings
        return RunSettings(
            self.subject, self.dataset.value, optimizer, arguments,
            self.epochs.value, self.batch_size.value, self.seed.value,
        )  # fmt: skip

    def _halves(self) -> list[ipywidgets.VBox]:
        left = [self.dataset, self.epochs, self.batch_size, self.seed]
        right = [self.optimizer, self.name, self.log_axis]
        return [
            ipywidgets.VBox(half, layout={"width": "100%", "max_width": "430px"})
            for half in (left, right)
        ]

    def _make_buttons(self) -> None:
        self.start = ipywidgets.Button(description="Train", icon="play", button_style="primary")
        self.pause = ipywidgets.Button(description="Pause", icon="pause")
        self.halt = ipywidgets.Button(description="Stop", icon="stop")
        self.status = ipywidgets.HTML(layout={"width": "100%"})
        self.status.add_class("keraslr-status")
        self.progress = ipywidgets.FloatProgress(
            value=0, min=0, max=1, layout={"width": "100%", "height": "14px"}
        )
        self.rate = slider(
            Range(1e-5, 3.0, 0.01, log=True),
            **shared("rate by hand", "Moving the slider sets the rate by hand."),
        )
        self.hand = ipywidgets.ToggleButton(
            value=False, description="Rate by hand", icon="hand-paper-o",
            tooltip="On: the slider sets the rate. Off: the schedule does.",
        )  # fmt: skip
        self.more = ipywidgets.BoundedIntText(
            value=2, min=1, max=200, description="more epochs",
            style={"description_width": "88px"}, layout={"width": "160px"},
        )  # fmt: skip
        self.go_on = ipywidgets.Button(
            description="Continue", icon="forward",
            tooltip="Trains the chosen run for this many more epochs, at the rate by hand if that "
            "is on, otherwise under its schedule",
        )  # fmt: skip
        self.fork = ipywidgets.Button(
            description="Branch", icon="code-fork",
            tooltip="Starts a new run from the chosen run's current weights, under the current "
            "schedule",
        )  # fmt: skip
        self.chosen = ipywidgets.Dropdown(
            options=[], description="of run", style={"description_width": "60px"},
            layout={"width": "300px", "max_width": "100%"},
        )  # fmt: skip
        self.path = ipywidgets.Text(
            value="lenet.keras" if self.subject.problem is None else "model.keras",
            description="file", style={"description_width": "60px"},
            layout={"width": "300px", "max_width": "100%"},
        )  # fmt: skip
        self.save = ipywidgets.Button(
            description="Save the model", icon="save", layout={"width": "150px"}
        )
        self.saved = ipywidgets.HTML()

    def _make_boxes(self, on_kept: Callable[[], None], on_rate: Callable[[float], None]) -> None:
        """Makes range test, picture and table of runs, for images or for one's own problem."""
        start = self.clock.start
        if self.subject.problem is None:
            self.range_test = RangeTestBox(self._settings, start, on_rate, self.say_error)
            self.picture: TrainingPicture = TrainingPicture()
            self.runs = KeptRuns(on_kept, IMAGES)
            return
        self.range_test = RangeTestBox(
            self._settings, start, on_rate, self.say_error,
            rates=(1e-5, 1.0), model="a new copy of the model",
        )  # fmt: skip
        words = "validation" if self.subject.has_validation else ""
        self.picture = TrainingPicture(self.metric.value or "", words, loss=self.subject.has_loss)
        self.runs = KeptRuns(on_kept, {name: name for name in self.subject.figures})

    def _arranged_tabs(self, schedule: ipywidgets.Widget) -> ipywidgets.Tab:
        tabs = ipywidgets.Tab(
            [columns(*self._halves()), schedule, self.range_test], layout={"width": "auto"}
        )
        for index, title in enumerate(("Settings", "Schedule", "Range test")):
            tabs.set_title(index, title)
        return tabs

    def _enable_buttons(
        self, current: LiveRun | None, chosen: LiveRun | None, *, training: bool, testing: bool
    ) -> None:
        """Disables the buttons that would do nothing.

        Args:
            current: The run that trains, or trained last.
            chosen: The run that is chosen in the list.
            training: Whether a run trains, is paused or waits.
            testing: Whether a range test is under way.
        """
        state = None if current is None else current.state
        ended = chosen is not None and chosen.state in ("finished", "stopped")
        for widget, enabled in (
            (self.start, not training),
            (self.pause, state in ("training", "paused")),
            (self.halt, training or testing),
            (self.go_on, ended and not training),
            (self.fork, chosen is not None and chosen.result.steps_done > 0),
            (self.save, ended),
        ):
            if widget.disabled == enabled:
                widget.disabled = not enabled
        label, icon = ("Resume", "play") if state == "paused" else ("Pause", "pause")
        if self.pause.description != label:
            self.pause.description, self.pause.icon = label, icon

    @staticmethod
    def _bar(*children: ipywidgets.Widget) -> ipywidgets.HBox:
        return ipywidgets.HBox(
            list(children), layout={"flex_flow": "row wrap", "align_items": "center"}
        )

    def _steering(self) -> ipywidgets.VBox:
        return ipywidgets.VBox(
            [
                columns(self.rate, self.hand),
                self._bar(self.chosen, self.more, self.go_on, self.fork),
            ],
            layout={"width": "100%"},
        )

    def _first_values(self, strategy: str, epochs: int) -> dict[str, Any]:
        """Returns values with which the LeNet, or one's own model, learns from the first epoch."""
        if strategy != "cosine annealing":
            return {}
        rate = 0.05 if self.subject.problem is None else self.subject.rate
        return {"T_max": epochs} | ({} if rate is None else {"initial_learning_rate": rate})
