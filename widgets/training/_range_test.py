"""The range test of a training panel, which suggests learning rates."""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets
import keras

from keraslr import datasets, find_learning_rate, optimizers
from keraslr.models import lenet
from keraslr.plotting import figure_png
from keraslr.range_test import RangeTest
from widgets.parts._controls import shared
from widgets.parts._panel import columns, dispose
from widgets.parts._worker import Worker
from widgets.training._settings import RunSettings

STEPS = 300


class RangeTestWork(Worker):
    """A range test in a thread of its own, and its record.

    Attributes:
        steps: Steps that are done.
        result: The result; None before the end.

    Args:
        settings: Settings of the run that the range test is for.
        min_lr: Lowest rate.
        max_lr: Highest rate.
    """

    def __init__(self, settings: RunSettings, min_lr: float, max_lr: float):
        super().__init__("keraslr range test")
        self._settings, self._min_lr, self._max_lr = settings, min_lr, max_lr
        self.steps = 0
        self.result: RangeTest | None = None

    def _work(self) -> None:
        settings, name = self._settings, self._settings.optimizer
        data = datasets.load(settings.dataset)
        kind = getattr(keras.optimizers, name, None) or getattr(optimizers, name)
        model = lenet(seed=settings.seed)
        model.compile(
            kind(learning_rate=self._min_lr, **settings.optimizer_arguments),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        examples = min(len(data.x_train), STEPS * settings.batch_size)
        images = data.x_train[:examples].astype("float32") / 255
        self.result = find_learning_rate(
            model, images, data.y_train[:examples],
            min_lr=self._min_lr, max_lr=self._max_lr, steps=STEPS,
            batch_size=min(settings.batch_size, examples), seed=settings.seed,
            on_progress=self._on_progress,
        )  # fmt: skip

    def _on_progress(self, steps: int, _: int) -> None:
        self.steps = steps
        self._end_if_stopped()


class RangeTestBox(ipywidgets.VBox):
    """Runs a range test in a thread, shows it, and offers the rates that it suggests.

    Attributes:
        result: Result of the last range test that was not stopped; None if there is none.
        work: The range test that is under way; None if there is none.

    Args:
        settings: Returns the settings of the run that the range test is for.
        on_start: Called when a range test starts, so that the panel's clock ticks.
        on_rate: Called with the rate that a person chooses.
        on_error: Called with the error that ended a range test early.
    """

    def __init__(
        self,
        settings: Callable[[], RunSettings],
        on_start: Callable[[], None],
        on_rate: Callable[[float], None],
        on_error: Callable[[BaseException], None],
    ):
        self._settings, self._on_start = settings, on_start
        self._on_rate, self._on_error = on_rate, on_error
        self.result: RangeTest | None = None
        self.work: RangeTestWork | None = None
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
        """Whether it runs, or its result is still to be shown."""
        return self.work is not None

    def start(self) -> None:
        """Starts a range test; does nothing while one is under way."""
        if self.under_way:
            return
        self.result = None
        self.work = RangeTestWork(self._settings(), self.low.value, self.high.value)
        self.begin.disabled, self.end.disabled = True, False
        self.progress.layout.visibility = "visible"
        self.work.start()
        self._on_start()

    def stop(self) -> None:
        """Tells the range test to end; does nothing if it has ended."""
        work = self.work
        if work is not None:
            work.stop()

    def tick(self) -> None:
        """Shows how far the range test is and, at its end, its result."""
        work = self.work
        if work is None:
            return
        over = not work.under_way
        self.progress.value = work.steps
        if not over:
            return
        self.work = None
        self.begin.disabled, self.end.disabled = False, True
        self.progress.layout.visibility = "hidden"
        if work.error is not None:
            self._on_error(work.error)
        elif work.result is not None:
            self.result = work.result
            self._show(work.result)

    def _show(self, result: RangeTest) -> None:
        self.picture.value = figure_png(result.plot())
        self.picture.layout.display = ""
        buttons = []
        for name, rate in result.suggestions.items():
            if rate is not None:
                button = ipywidgets.Button(
                    description=f"Use {rate:.2g} ({name})",
                    tooltip="Sets the rate of the schedule and the rate by hand",
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
