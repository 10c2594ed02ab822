"""The controls of a training panel: what is trained, the buttons, and the hand on the rate."""

from __future__ import annotations

from typing import Any

import ipywidgets

from keraslr.catalog import Range
from widgets.parts._controls import shared, slider
from widgets.parts._optimizer_form import OptimizerForm
from widgets.parts._panel import Panel, columns


class TrainingControls(Panel):
    """Makes and arranges the controls; what they do is the panel's."""

    def _make_settings(self, dataset: str, epochs: int, batch_size: int, seed: int) -> None:
        self.dataset = ipywidgets.Dropdown(
            options=[
                ("Fashion-MNIST, else digits", "auto"),
                ("Fashion-MNIST", "fashion_mnist"), ("scikit-learn's digits", "digits"),
            ],
            value=dataset, **shared("dataset"),
        )  # fmt: skip
        self.optimizer = OptimizerForm("momentum")
        self.epochs = ipywidgets.IntSlider(value=epochs, min=1, max=60, **shared("epochs"))
        self.batch_size = ipywidgets.BoundedIntText(
            value=batch_size, min=1, max=60_000, **shared("batch size")
        )
        self.seed = ipywidgets.BoundedIntText(value=seed, min=0, max=2**31 - 1, **shared("seed"))
        self.name = ipywidgets.Text(
            placeholder="the schedule's, if left empty", **shared("name of the run")
        )
        self.log_axis = ipywidgets.Checkbox(value=False, **shared("log rate axis"))

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
            Range(1e-5, 3.0, 0.01, log=True), **shared("rate by hand", "Moving it takes the rate.")
        )
        self.hand = ipywidgets.ToggleButton(
            value=False, description="Rate by hand", icon="hand-paper-o",
            tooltip="On: the rate is the slider's. Off: the schedule's.",
        )  # fmt: skip
        self.more = ipywidgets.BoundedIntText(
            value=2, min=1, max=200, description="more epochs",
            style={"description_width": "88px"}, layout={"width": "160px"},
        )  # fmt: skip
        self.go_on = ipywidgets.Button(
            description="Continue", icon="forward",
            tooltip="Trains the chosen run for so many more epochs, at the rate by hand if that "
            "is on, else under its schedule",
        )  # fmt: skip
        self.fork = ipywidgets.Button(
            description="Branch", icon="code-fork",
            tooltip="A new run from the chosen run's present weights, under the schedule that is "
            "set now",
        )  # fmt: skip
        self.chosen = ipywidgets.Dropdown(
            options=[], description="of run", style={"description_width": "60px"},
            layout={"width": "300px", "max_width": "100%"},
        )  # fmt: skip
        self.path = ipywidgets.Text(
            value="lenet.keras", description="file", style={"description_width": "60px"},
            layout={"width": "300px", "max_width": "100%"},
        )  # fmt: skip
        self.save = ipywidgets.Button(
            description="Save the model", icon="save", layout={"width": "150px"}
        )
        self.saved = ipywidgets.HTML()

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

    @staticmethod
    def _first_values(strategy: str, epochs: int) -> dict[str, Any]:
        """Values with which the LeNet learns from the first epoch on."""
        if strategy != "cosine annealing":
            return {}
        return {"initial_learning_rate": 0.05, "T_max": epochs}
