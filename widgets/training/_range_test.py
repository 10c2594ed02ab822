"""The range test of a training panel, which suggests learning rates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import keras
import numpy as np

from keraslr import datasets, find_learning_rate, problems
from keraslr.plotting import figure_png
from keraslr.problems._data import Arrays
from keraslr.range_test import RangeTest
from keraslr.training._run import give_optimizer
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
        settings, problem = self._settings, self._settings.subject.problem
        if problem is None:
            problem = problems.images(datasets.load(settings.dataset))
        model = problem.model(settings.seed)
        give_optimizer(model, settings.optimizer, settings.optimizer_arguments)
        data = problem.data().train
        what: dict[str, Any]
        if isinstance(data, Arrays):
            what = _of_arrays(data, problem.prepare, settings.batch_size)
        else:
            if not data.can_restart and data.source is problem.x:
                raise ValueError(
                    "x must be data that can be read again for a range test, which would take "
                    "batches from the runs: pass a function that returns the generator. "
                    f"Received: {type(data.source).__name__}"
                )
            what = {"x": data.source}
            if problem.prepare is not None:
                what = {"x": _Prepared(data.source, problem.prepare)}
        self.result = find_learning_rate(
            model, **what, min_lr=self._min_lr, max_lr=self._max_lr, steps=STEPS,
            seed=settings.seed, on_progress=self._on_progress,
        )  # fmt: skip

    def _on_progress(self, steps: int, _: int) -> None:
        self.steps = steps
        self._end_if_stopped()


def _of_arrays(
    data: Arrays, prepare: Callable[[Any], Any] | None, batch_size: int
) -> dict[str, Any]:
    """Returns arguments of `find_learning_rate`, with no more examples than the test can use."""
    examples = min(data.examples, STEPS * batch_size)
    batch = data.packed([leaf[:examples] for leaf in data.leaves])
    x, y, weight = keras.utils.unpack_x_y_sample_weight(
        batch if prepare is None else keras.tree.map_structure(np.asarray, prepare(batch))
    )
    return {"x": x, "y": y, "sample_weight": weight, "batch_size": min(batch_size, examples)}


class _Prepared:
    """Batches, each prepared for training."""

    def __init__(self, batches: Any, prepare: Callable[[Any], Any]):
        self._batches, self._prepare = batches, prepare

    def __iter__(self) -> Iterator[Any]:
        return map(self._prepare, iter(self._batches))


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
        rates: Lowest and highest rate to begin with.
        model: Words for the model that is trained.
    """

    def __init__(
        self,
        settings: Callable[[], RunSettings],
        on_start: Callable[[], None],
        on_rate: Callable[[float], None],
        on_error: Callable[[BaseException], None],
        rates: tuple[float, float] = (1e-3, 10.0),
        model: str = "a new LeNet",
    ):
        self._settings, self._on_start = settings, on_start
        self._on_rate, self._on_error = on_rate, on_error
        self.result: RangeTest | None = None
        self.work: RangeTestWork | None = None
        self.begin = ipywidgets.Button(description="Run range test", icon="search")
        self.end = ipywidgets.Button(description="Stop test", icon="stop", disabled=True)
        self.low = ipywidgets.FloatLogSlider(
            value=rates[0], min=-6, max=0, step=0.1, readout_format=".1e", **shared("lowest rate")
        )
        self.high = ipywidgets.FloatLogSlider(
            value=rates[1], min=-3, max=2, step=0.1, readout_format=".1e", **shared("highest rate")
        )
        self.progress = ipywidgets.IntProgress(max=STEPS, layout={"width": "100%"})
        self.progress.layout.visibility = "hidden"
        self.picture = ipywidgets.Image(
            format="png", layout={"width": "100%", "max_width": "760px", "display": "none"}
        )
        self.picture.add_class("keraslr-range-picture")
        self.rates = ipywidgets.HBox(layout={"flex_flow": "row wrap"})
        self.said = ipywidgets.HTML(
            f"Trains {model} for up to {STEPS} steps under a rising rate, with the optimizer, "
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
