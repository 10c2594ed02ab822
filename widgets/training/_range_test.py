"""The range test of a training panel: which learning rate?"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import ipywidgets
import keras

from keraslr import datasets, find_learning_rate, optimizers
from keraslr.models import lenet
from keraslr.plotting import figure_png
from keraslr.range_test import RangeTest
from widgets.parts._controls import shared
from widgets.parts._panel import columns, dispose

STEPS = 300


class _StoppedError(Exception):
    """The person has seen enough."""


class RangeTestBox(ipywidgets.VBox):
    """Runs a range test in a thread, shows it, and offers its rates.

    Attributes:
        result: What it found, or None.
        under_way: Whether it runs.

    Args:
        settings: Gives the dataset's name, the optimizer's class name and arguments, the batch
            size and the seed.
        on_start: Called when it was started, so that the panel's clock ticks.
        on_rate: Called with the rate that was chosen.
    """

    def __init__(
        self,
        settings: Callable[[], dict[str, Any]],
        on_start: Callable[[], None],
        on_rate: Callable[[float], None],
    ):
        self._settings, self._on_start, self._on_rate = settings, on_start, on_rate
        self.result: RangeTest | None = None
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._steps, self._shown = 0, True
        self.begin = ipywidgets.Button(description="Run range test", icon="search")
        self.end = ipywidgets.Button(description="Stop test", icon="stop", disabled=True)
        self.low = ipywidgets.FloatLogSlider(
            value=1e-3, min=-6, max=0, step=0.1, readout_format=".1e", **shared("lowest rate")
        )
        self.high = ipywidgets.FloatLogSlider(
            value=10.0, min=-3, max=2, step=0.1, readout_format=".1e", **shared("highest rate")
        )
        self.progress = ipywidgets.IntProgress(max=STEPS, layout={"width": "100%"})
        self.progress.layout.visibility = "hidden"
        self.picture = ipywidgets.Image(
            format="png", layout={"width": "100%", "max_width": "760px", "display": "none"}
        )
        self.picture.add_class("keraslr-range-picture")
        self.rates = ipywidgets.HBox(layout={"flex_flow": "row wrap"})
        self.said = ipywidgets.HTML(
            f"Trains a new LeNet for up to {STEPS} steps under a rising rate, with the optimizer, "
            "data, batch size and seed of the settings, and reads rates off the loss."
        )
        super().__init__(
            [
                self.said, columns(self.low, self.high),
                ipywidgets.HBox([self.begin, self.end], layout={"flex_flow": "row wrap"}),
                self.progress, self.rates, self.picture,
            ],
            layout={"width": "100%"},
        )  # fmt: skip
        self.begin.on_click(lambda _: self.start())
        self.end.on_click(lambda _: self.stop())

    @property
    def under_way(self) -> bool:
        """Whether it runs, or what it found is still to be shown."""
        return not self._shown

    def start(self) -> None:
        """Begins; it may be under way already."""
        if self.under_way:
            return
        settings = self._settings() | {"min_lr": self.low.value, "max_lr": self.high.value}
        self._stop.clear()
        self._error, self._steps, self._shown, self.result = None, 0, False, None
        self.begin.disabled, self.end.disabled = True, False
        self.progress.layout.visibility = "visible"
        self._thread = threading.Thread(
            target=self._work, args=(settings,), name="keraslr range test", daemon=True
        )
        self._thread.start()
        self._on_start()

    def stop(self) -> None:
        """Ends it; it may have ended."""
        self._stop.set()

    def tick(self) -> None:
        """Shows how far it is, and at its end what it found.

        Raises:
            Exception: What ended it early, for the panel's message.
        """
        if self._shown:
            return
        self.progress.value = self._steps
        if self._thread is not None and self._thread.is_alive():
            return
        self._shown = True
        self.begin.disabled, self.end.disabled = False, True
        self.progress.layout.visibility = "hidden"
        if self.result is not None:
            self._show(self.result)
        elif self._error is not None and not isinstance(self._error, _StoppedError):
            raise self._error

    def _work(self, settings: dict[str, Any]) -> None:
        # No widget is touched here: that is `tick`'s, on the page's own thread.
        try:
            data = datasets.load(settings["dataset"])
            name, arguments = settings["optimizer"]
            kind = getattr(keras.optimizers, name, None) or getattr(optimizers, name)
            model = lenet(seed=settings["seed"])
            model.compile(
                kind(learning_rate=settings["min_lr"], **arguments),
                keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            )
            examples = min(len(data.x_train), STEPS * settings["batch_size"])
            images = data.x_train[:examples].astype("float32") / 255
            self.result = find_learning_rate(
                model, images, data.y_train[:examples],
                min_lr=settings["min_lr"], max_lr=settings["max_lr"], steps=STEPS,
                batch_size=min(settings["batch_size"], examples), seed=settings["seed"],
                on_progress=self._on_progress,
            )  # fmt: skip
        except Exception as error:
            self._error = error

    def _on_progress(self, steps: int, _: int) -> None:
        self._steps = steps
        if self._stop.is_set():
            raise _StoppedError

    def _show(self, result: RangeTest) -> None:
        self.picture.value = figure_png(result.plot())
        self.picture.layout.display = ""
        buttons = []
        for name, rate in result.suggestions.items():
            if rate is not None:
                button = ipywidgets.Button(
                    description=f"Use {rate:.2g} ({name})",
                    tooltip="Sets the schedule's rate and the one by hand",
                    layout={"width": "auto"},
                )
                button.on_click(lambda _, rate=rate: self._on_rate(rate))
                buttons.append(button)
        old = self.rates.children
        self.rates.children = buttons
        dispose(*old)
        self.said.value = result.problem or (
            "Three rules, one click each. The steepest is often too high to train at; the valley "
            "is the safer start."
        )
