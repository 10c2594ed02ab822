"""The panel that trains several schedules, each with several seeds."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

import ipywidgets

from keraslr._chart_data import label, usual_figure
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.catalog._run_sizes import DATASET_SIZES
from keraslr.comparison import Comparison, Curve
from keraslr.plotting import ComparisonChart
from keraslr.summary import Summary, summarize
from widgets.comparison._results import (
    downloads,
    duration,
    no_better_than_guessing,
    outcome,
    plan_in_words,
    results_table,
)
from widgets.comparison._schedule_choice import ScheduleChoice
from widgets.comparison._work import ComparisonWork
from widgets.parts._controls import shared
from widgets.parts._event_block import EventBlock
from widgets.parts._optimizer_form import AS_COMPILED, OPTIMIZER_CLASSES, with_compiled
from widgets.parts._panel import GOOD, columns, guarded
from widgets.parts._picture import Picture
from widgets.parts._rerun import stop_earlier_panels
from widgets.parts._run_settings import dataset_control, size_control
from widgets.parts._subject import subject_of
from widgets.parts._worker import Work
from widgets.parts._working_panel import WorkingPanel
from widgets.schedule import SchedulePanel

_NOTE = "comes with\nthe first run"
# Seconds that closing the panel waits for the run under way.
_LONGEST_WAIT = 5.0
# Steps of an epoch in a plan, where nobody has counted those of the data.
_STEPS_OF_A_PLAN = 100


class ComparisonPanel(WorkingPanel):
    """Trains a model under several schedules with several seeds, and shows them side by side.

    The runs train one after another in a thread, so the notebook stays free. The page updates the
    panel five times a second; without a page, use `run(block=True)`. Finished runs are kept: with
    more seeds or other schedules only the missing runs are trained.

    Attributes:
        choice: The offered schedules; `choice.chosen.value` holds the names of the chosen ones.
        picture: Rate, training loss and another figure of the chosen schedules.
        figure: Dropdown of the other figures, for the picture.

    Args:
        problem: What is trained: a `keraslr.Problem`; a compiled Keras model or a function that
            builds one, with `x`; or "auto", "fashion_mnist" or "digits" for the LeNet on these
            images. None for the digits.
        x, y: Data of a model, as `fit` takes them; see `keraslr.Problem`.
        model: The model as a keyword.
        dataset: The name of the images as a keyword.
        sample_weight, validation_data, validation_split, steps_per_epoch, validation_steps: The
            other data of a model; see `keraslr.Problem`.
        schedules: Schedules counted in epochs, by name, which are chosen at first and offered
            beside the documented ones and the catalog's; or pairs of a schedule, or a rate, and a
            `keraslr.callbacks.ReduceLROnPlateau`. None: the documented ones are chosen or, for
            one's own problem, three of the catalog at the rate that the model was compiled with.
        schedule_panel: A `SchedulePanel` whose curves can be added by a click.
        epochs: Epochs of each run; None for 30, or 10 for one's own problem.
        batch_size: Examples per optimizer step; None for one that suits the data. Data that come in
            batches keep their own.

    Raises:
        TypeError, ValueError: An argument is wrong, or the model does not fit the data; the error
            names it.

    Example:
        >>> from keraslr import CosineAnnealingLR, StepLR
        >>> panel = ComparisonPanel(
        ...     schedules={"step": StepLR(0.1, 9), "cosine": CosineAnnealingLR(0.1, 30)}
        ... )
        >>> panel.choice.chosen.value
        ('step', 'cosine')
    """

    dom_class = "keraslr-comparison-panel"

    def __init__(
        self,
        problem: Any = None,
        x: Any = None,
        y: Any = None,
        *,
        model: Any = None,
        dataset: Any = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        schedules: Mapping[str, Any] | None = None,
        schedule_panel: SchedulePanel | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
    ):
        super().__init__()
        data = {
            "y": y, "sample_weight": sample_weight, "validation_data": validation_data,
            "validation_split": validation_split, "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
        }  # fmt: skip
        self.subject = subject_of(problem, x, data, model=model, dataset=dataset, usual="digits")
        self._work: ComparisonWork | None = None
        # What was drawn last, the latest comparison, and all runs that have ever ended.
        self._drawn: Comparison | None = None
        self._last: Comparison | None = None
        self._kept: Comparison | None = None
        self._settings_of_last: tuple[Any, ...] = ()
        self._planned: list[tuple[str, Summary, int]] = []
        self._settings_block = EventBlock(self._show_plan)
        self._make_settings(epochs, batch_size)
        self.choice = ScheduleChoice(
            {} if schedules is None else schedules, schedule_panel, self.say_error, self.subject,
            self.epochs.value,
        )  # fmt: skip
        self._make_bar()
        self._chart = ComparisonChart(figure=self.figure.value or "", loss=self.subject.has_loss)
        self.picture = Picture(self._chart)
        self.table = ipywidgets.HTML(layout={"width": "100%"})
        self.links = ipywidgets.HTML(layout={"width": "100%"})
        self._curves: Mapping[str, Curve] = {}
        half = {"width": "100%", "max_width": "430px"}
        settings = [self.dataset, self.optimizer, self.epochs, self.batch_size, self.seeds]
        buttons = ipywidgets.HBox(
            [self.start, self.halt, self.published, self.status],
            layout={"flex_flow": "row wrap", "align_items": "center"},
        )
        self.fill(
            [
                columns(
                    ipywidgets.VBox([self.choice.chosen], layout=half),
                    ipywidgets.VBox([*settings, self.log_axis], layout=half),
                ),
                self.choice.adding, buttons, self.progress, self.message, self.figure,
                self.picture,
                self.table, self.links, self.clock, self.clock.starter,
            ]
        )  # fmt: skip
        self.choice.on_change(self._show_plan)
        self.dataset.observe(self._dataset_changed, "value")
        for widget in settings:
            widget.observe(self._show_plan, "value")
        for widget in (self.log_axis, self.figure):
            widget.observe(self._redraw, "value")
        self.start.on_click(lambda _: self.run())
        self.halt.on_click(lambda _: self.stop())
        self.published.on_click(self._as_published)
        self._show_plan()
        self.at_close(self._stop_and_wait)
        stop_earlier_panels(self)

    # For code: what a person does by a click.

    @property
    def comparison(self) -> Comparison | None:
        """The latest comparison, as far as it is done; None before its first run has ended."""
        work = self._work
        return self._last if work is None or work.comparison is None else work.comparison

    def add(self, name: str, schedule: Any) -> None:
        """Adds a schedule to the list and chooses it.

        Args:
            name: Name of the schedule. A schedule added earlier under this name is replaced; a
                documented one or one of the catalog stays under another name.
            schedule: Schedule that counts in epochs; of a `PerEpoch`, the inner one. Or a pair of
                it, or of a rate, and a `ReduceLROnPlateau`.

        Raises:
            TypeError, ValueError: An argument is wrong; the error names it.
        """
        with self.lock:
            self.choice.add(name, schedule)

    def run(self, block: bool = False) -> None:
        """Trains the missing runs; does nothing while runs are under way.

        Args:
            block: Whether to wait for the end, and draw on the way. Needed where no page updates
                the panel, as under nbconvert. Ctrl-C then stops the runs and keeps what is done.
        """
        self._begin(clocked=not block)
        if block:
            self._block()

    def stop(self) -> None:
        """Ends the run under way and begins no other; may be called twice, from any thread."""
        # Without the lock, which is held while a picture is drawn.
        work = self._work
        if work is not None:
            work.stop()

    def _stop_and_wait(self) -> None:
        self.stop()
        self._wait(_LONGEST_WAIT)

    # Set-up.

    def _make_settings(self, epochs: int | None, batch_size: int | None) -> None:
        own = self.subject.problem is not None
        self.dataset = dataset_control(self.subject.dataset)
        self.dataset.layout.display = "none" if own else ""
        self.optimizer = ipywidgets.Dropdown(
            options=with_compiled(OPTIMIZER_CLASSES, self.subject.optimizer if own else None),
            **shared("optimizer"),
        )
        epochs = 10 if own and epochs is None else epochs
        self.epochs = size_control(
            "epochs", epochs, f"The listed schedules are sized for {epochs or 30} epochs."
        )
        if batch_size is None:
            batch_size = 32 if own else DATASET_SIZES[self.dataset.value].batch_size
        self.batch_size = size_control("batch_size", batch_size)
        if self.subject.has_own_batches:
            self.batch_size.layout.display = "none"
        others = [name for name in self.subject.figures if name != "loss"]
        self.figure = ipywidgets.Dropdown(
            options=[(label(name), name) for name in others], value=usual_figure(others),
            description="figure", style={"description_width": "60px"},
            layout={"width": "300px", "max_width": "100%"},
        )  # fmt: skip
        if len(others) < 2:
            self.figure.layout.display = "none"
        self.seeds = size_control(
            "seeds", tooltip="Runs of each schedule, each from other initial weights."
        )
        self.log_axis = ipywidgets.Checkbox(value=False, **shared("log loss axis"))

    def _make_bar(self) -> None:
        self.start = ipywidgets.Button(description="Run", icon="play", button_style="primary")
        self.halt = ipywidgets.Button(description="Stop", icon="stop", disabled=True)
        self.published = ipywidgets.Button(
            description="As published", icon="book",
            tooltip="Sets the documented runs: Fashion-MNIST, 30 epochs, batch size 256. Without "
            "a GPU each takes minutes.",
        )  # fmt: skip
        if self.subject.problem is not None:
            self.published.layout.display = "none"
        self.progress = ipywidgets.FloatProgress(
            value=0, min=0, max=1, layout={"width": "100%", "height": "14px"}
        )
        self.status = ipywidgets.HTML(layout={"flex": "1 1 300px", "margin": "2px 8px"})
        self.status.add_class("keraslr-status")

    # Before a run.

    def _settings(self) -> tuple[Any, ...]:
        return (
            self.dataset.value, self.optimizer.value, self.epochs.value, self.batch_size.value,
        )  # fmt: skip

    @guarded
    def _dataset_changed(self, change: Any) -> None:
        # A batch size that a person has set is kept.
        if self.batch_size.value == DATASET_SIZES[change["old"]].batch_size:
            self.batch_size.value = DATASET_SIZES[change["new"]].batch_size

    @guarded
    def _as_published(self, _: Any = None) -> None:
        if self.under_way:
            return
        with self._settings_block:
            self.dataset.value, self.optimizer.value = "fashion_mnist", "SGD"
            self.epochs.value, self.batch_size.value = 30, 256
            self.choice.choose(self.choice.documented)

    @guarded
    def _show_plan(self, _: Any = None) -> None:
        if self._settings_block.active or self.under_way:
            return
        self._plan()
        self.progress.value = 0.0
        self._draw(self._known_curves())
        self._say_plan()

    def _say_plan(self) -> None:
        schedules = {
            name: self.choice.in_steps(name, per_epoch) for name, _, per_epoch in self._planned
        }
        optimizer = self.optimizer.value
        self.say(
            *plan_in_words(
                schedules, self.epochs.value, self.seeds.value,
                self.subject.optimizer if optimizer == AS_COMPILED else optimizer,
                counted=self._steps_per_epoch is not None,
            )
        )  # fmt: skip

    @guarded
    def _redraw(self, _: Any = None) -> None:
        self._draw(self._curves)

    def _draw(self, curves: Mapping[str, Curve]) -> None:
        self._curves = curves
        self._chart.draw(
            curves, self._planned, note=_NOTE, log=self.log_axis.value,
            figure=self.figure.value or "",
        )  # fmt: skip
        self.picture.show()

    def _plan(self) -> None:
        names = self.choice.chosen.value
        if not names:
            raise ValueError("Choose a schedule; Ctrl (or Command) and a click chooses several.")
        # The schedules of the last runs first: they keep their colours, which the table shows, too.
        before = [] if self._last is None else self._last.names
        names = [
            *(name for name in before if name in names),
            *(name for name in names if name not in before),
        ]
        for name in names:
            self.subject.require_monitored(self.choice.plateau(name))
        per_epoch = self._steps_per_epoch or _STEPS_OF_A_PLAN
        steps = self.epochs.value * per_epoch
        self._planned = [
            (name, summarize(self.choice.in_steps(name, per_epoch), steps), per_epoch)
            for name in names
        ]

    @property
    def _steps_per_epoch(self) -> int | None:
        """Steps of an epoch; None while nobody has counted them."""
        size = self.batch_size.value
        if self.subject.problem is not None:
            return self.subject.steps(size)
        return math.ceil(DATASET_SIZES[self.dataset.value].training_examples / size)

    def _known_curves(self) -> dict[str, Curve]:
        """Returns the curves of the last runs that are chosen again with unchanged settings."""
        if self._last is None or self._settings() != self._settings_of_last:
            return {}
        ran = {run.name: (run.schedule, run.plateau) for run in self._last.runs}
        again = {
            name for name, _, per_epoch in self._planned
            if name in ran and ran[name][0] == self.choice.in_steps(name, per_epoch)
            and _equal(ran[name][1], self.choice.plateau(name))
        }  # fmt: skip
        return {name: curve for name, curve in self._last.curves().items() if name in again}

    # While it runs.

    @guarded
    def _begin(self, clocked: bool) -> None:
        self._tick()
        if self.under_way:
            return
        self._plan()
        self._say_plan()
        # Built now, because the list may change while the runs train.
        schedules = {name: self.choice.in_steps(name, 1) for name, *_ in self._planned}
        plateaus = {name: self.choice.plateau(name) for name in schedules}
        optimizer = self.optimizer.value
        self._work = ComparisonWork(
            schedules,
            {name: each for name, each in plateaus.items() if each is not None},
            self.subject,
            self.dataset.value,
            {
                "optimizer": None if optimizer == AS_COMPILED else optimizer,
                "epochs": self.epochs.value,
                "batch_size": self.batch_size.value,
                "seeds": self.seeds.value,
                "earlier": self._kept,
            },
        )
        self._work.start()
        self._settings_of_last = self._settings()
        self._enable(False)
        self.links.value = ""
        self._show_progress(self._work)
        if clocked:
            self.clock.start()

    def _current_work(self) -> Work | None:
        return self._work

    def _show_work(self, over: bool) -> None:
        work = self._work
        if work is None:
            return
        if work.comparison is not None and work.comparison is not self._drawn:
            self._drawn = work.comparison
            self._draw(work.comparison.curves())
            self.table.value = results_table(work.comparison)
        if over:
            self._ended(work)
        else:
            self._show_progress(work)

    def _show_progress(self, work: ComparisonWork) -> None:
        if work.at is None:
            text, share = "Preparing ...", 0.0
        else:
            run, runs, share = work.at
            text = f"Run {min(work.ended + 1, runs)} of {runs}: {run.name}, seed {run.seed}"
            left = work.seconds_left
            if left is not None:
                text += f"; {duration(left)} left"
        if work.stopping:
            text = "Stopping ..."
        self.progress.value = share
        self.status.value = html.escape(text)

    def _ended(self, work: ComparisonWork) -> None:
        self._work = None
        self._enable(True)
        done = work.comparison
        if done is not None:
            self._last = done
            kept = self._kept or Comparison((), ())
            self._kept = Comparison(kept.runs + done.runs, kept.results + done.results)
            self.links.value = downloads(done)
        self.status.value = ""
        if work.error is not None:
            self.say_error(work.error)
            return
        assert done is not None
        lines = outcome(done, work.ended, work.seconds)
        if done.interrupted:
            self.say(*lines, work.note)
            return
        self.progress.value = 1.0
        self.say(*lines, work.note, no_better_than_guessing(done), colour=GOOD)

    def _enable(self, on: bool) -> None:
        for widget in (
            self.choice.chosen, self.dataset, self.optimizer, self.epochs, self.batch_size,
            self.seeds, self.published, self.start,
        ):  # fmt: skip
            widget.disabled = not on
        self.halt.disabled = on


def _equal(one: ReduceLROnPlateau | None, other: ReduceLROnPlateau | None) -> bool:
    return (one and one.settings()) == (other and other.settings())
