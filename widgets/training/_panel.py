"""The panel that trains a LeNet live and lets a person steer the rate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ipywidgets
import keras

from keraslr.training import LiveRun, Result, Run
from widgets.parts._controls import assign, number, shared
from widgets.parts._downloads import link
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import GOOD, columns, guarded
from widgets.parts._rerun import stop_earlier_panels
from widgets.parts._schedule_form import ScheduleForm
from widgets.schedule import SchedulePanel, schedule_panel_or_none
from widgets.training import _status
from widgets.training._controls import TrainingControls
from widgets.training._picture import TrainingPicture, plan_curve
from widgets.training._queue import RunQueue
from widgets.training._range_test import RangeTestBox
from widgets.training._runs import KeptRun, KeptRuns

_OWN, _LINKED = "this panel's own", "the schedule panel's"


class TrainingPanel(TrainingControls):
    """Trains a LeNet live: pause it, stop it, set the rate by hand, branch off, compare.

    The training runs in a thread, so the notebook stays free. The page updates the panel five times
    a second; without a page, use `train(block=True)`.

    Attributes:
        runs: The kept runs and their table.
        picture: Loss, accuracy and rate of the runs that are ticked in the table.

    Args:
        schedule_panel: A `SchedulePanel` whose schedule can be used instead of the panel's own.
        dataset: "auto", "fashion_mnist" or "digits".
        strategy: Strategy of the catalog to begin with.
        epochs: Passes over the dataset.
        batch_size: Examples per optimizer step.
        seed: Seed of the initial weights and of the order of the examples.
        on_progress: Called in the training's thread with the current `Result`; if it raises, the
            run ends as "failed".

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
    """

    dom_class = "keraslr-training-panel"

    def __init__(
        self,
        schedule_panel: SchedulePanel | None = None,
        *,
        dataset: str = "auto",
        strategy: str = "cosine annealing",
        epochs: int = 10,
        batch_size: int = 256,
        seed: int = 0,
        on_progress: Callable[[Result], None] | None = None,
    ):
        super().__init__()
        self._schedule_panel = schedule_panel_or_none(schedule_panel)
        self._on_progress = on_progress
        self._queue = RunQueue()
        # The state that was drawn last, and the run whose end was said last.
        self._drawn_state: Any = None
        self._end_said: KeptRun | None = None
        self._events = EventBlock()
        self._make_settings(dataset, epochs, batch_size, seed)
        self.form = ScheduleForm(strategy)
        self.form.load(strategy, **self._first_values(strategy, epochs))
        self.source = ipywidgets.Dropdown(
            options=[_OWN] if schedule_panel is None else [_LINKED, _OWN],
            **shared("train under", "Schedule of the next run or branch."),
        )
        self.source.layout.display = "none" if schedule_panel is None else ""
        self.form.layout.display = "" if schedule_panel is None else "none"
        self.range_test = RangeTestBox(
            self._settings, self.clock.start, self._use_rate, self.say_error
        )
        self._make_buttons()
        self.picture: TrainingPicture = TrainingPicture()
        self.runs = KeptRuns(self._kept_changed)
        self.tabs = ipywidgets.Tab(
            [
                columns(*self._halves()),
                ipywidgets.VBox([self.source, self.form], layout={"width": "100%"}),
                self.range_test,
            ],
            layout={"width": "auto"},
        )
        for index, title in enumerate(("Settings", "Schedule", "Range test")):
            self.tabs.set_title(index, title)
        self.fill(
            [
                self.tabs, self._bar(self.start, self.pause, self.halt), self.status,
                self.progress, self._steering(), self.message, self.picture, self.runs,
                self._bar(self.path, self.save), self.saved, self.clock,
                self.clock.starter,
            ]
        )  # fmt: skip
        self._observe()
        self._draw()
        self._enable()
        self.at_close(self.stop)
        stop_earlier_panels(self)

    # For code: what a person does by a click.

    @property
    def schedule(self) -> Any:
        """Schedule of the next run, counted in epochs."""
        if self.source.value == _LINKED and self._schedule_panel is not None:
            return self._schedule_panel.in_epochs()
        return self.form.in_epochs()

    @property
    def run(self) -> LiveRun | None:
        """The run that is chosen in the list: the latest one, unless a person chose another."""
        return self._chosen.live if self._chosen else None

    @property
    def result(self) -> Result | None:
        """Current result of the chosen run."""
        return self.run.result if self.run else None

    @property
    def model(self) -> keras.Model | None:
        """Model of the chosen run."""
        return self.result.model if self.result else None

    @property
    def history(self) -> dict[str, list[float]]:
        """The chosen run's metrics by epoch, named as in Keras's `History.history`.

        Empty before the first run.
        """
        if self.run is None:
            return {}
        record = self.run.record()
        return {
            "loss": list(record.train_loss),
            "accuracy": list(record.train_accuracy),
            "val_loss": list(record.test_loss),
            "val_accuracy": list(record.test_accuracy),
            "learning_rate": [float(record.learning_rate[step - 1]) for step in record.test_steps],
        }

    @property
    def under_way(self) -> bool:
        """Whether a run trains, is paused or waits."""
        return self._queue.under_way

    def train(self, block: bool = False) -> None:
        """Trains with the current settings.

        A run that is under way is stopped first. If the cell that makes the panel calls this, the
        progress appears as soon as the page shows the panel.

        Args:
            block: Whether to wait for the end and leave the last picture as the cell's output.
                Needed where no page updates the panel, as under nbconvert. Ctrl-C then stops the
                run and keeps what is done.
        """
        self.stop()
        self._wait()
        self._begin()
        if block:
            self._block()
            self.picture.leave()

    def stop(self) -> None:
        """Ends the current run, the waiting ones and a range test; may be called twice."""
        with self.lock:
            waiting = self._queue.stop()
            self.range_test.stop()
        for kept in waiting:
            self.runs.remove(kept)
        self._enable()

    def _observe(self) -> None:
        self.form.on_change(self._plan_changed)
        self.start.on_click(self._train_clicked)
        self.pause.on_click(self._pause_clicked)
        self.halt.on_click(self._stop_clicked)
        self.go_on.on_click(self._continue_clicked)
        self.fork.on_click(self._branch_clicked)
        self.save.on_click(self._save_clicked)
        self.hand.observe(self._hand_changed, "value")
        self.rate.observe(self._rate_moved, "value")
        self.chosen.observe(self._chosen_changed, "value")
        self.source.observe(self._source_changed, "value")
        for widget in (self.log_axis, self.epochs):
            widget.observe(self._plan_changed, "value")

    # Handlers.

    @guarded
    def _train_clicked(self, _: Any = None) -> None:
        # A second click may be on its way before the page disables the button.
        if not self.under_way:
            self._begin()

    @guarded
    def _pause_clicked(self, _: Any = None) -> None:
        current = self._queue.current
        if current is None:
            return
        live = current.live
        if live.state == "paused":
            live.resume()
        else:
            live.pause()
        self._refresh()

    @guarded
    def _stop_clicked(self, _: Any = None) -> None:
        self.stop()
        self._refresh()

    @guarded
    def _continue_clicked(self, _: Any = None) -> None:
        kept = self._chosen
        if kept is None or self.under_way:
            return
        rate = number(self.rate) if self.hand.value else None
        kept.live.continue_for(self.more.value, learning_rate=rate)
        self._queue.current = kept
        self._started(kept, f"Continues {kept.name.value} for {self.more.value} epochs.")

    @guarded
    def _branch_clicked(self, _: Any = None) -> None:
        kept = self._chosen
        if kept is None:
            return
        schedule, label = self._wanted()
        name = self.runs.unique(f"{kept.name.value} > {self._name()}")
        live = kept.live
        # While the parent trains, the branch gets the parent's remaining epochs.
        epochs = None if live.under_way else self.more.value
        steps = live.steps_per_epoch
        branch = live.branch(name, schedule.per_epoch(steps, smooth=self._smooth()), epochs=epochs)
        entry = self.runs.add(branch, name, label)
        self._queue.waiting.append(entry)
        self._offer()
        if self._queue.training:
            self.say(f"{name} begins where {kept.name.value} is now, when that has ended.")
            self._draw()
        else:
            self._start_next()

    @guarded
    def _save_clicked(self, _: Any = None) -> None:
        if self._chosen is None:
            return
        path = Path(self.path.value).expanduser()
        if path.suffix != ".keras":
            raise ValueError(f'file must end in ".keras". Received: "{self.path.value}"')
        self._chosen.live.save_model(path)
        data = path.read_bytes()
        shown = link(path.name, data, "application/octet-stream", "download it")
        self.saved.value = f"Saved ({len(data) / 1024:,.0f} KiB): {shown}"
        self.say(f"{self._chosen.name.value} is saved as {path}.", colour=GOOD)

    @guarded
    def _hand_changed(self, _: Any = None) -> None:
        current = self._queue.current
        if self._events.active or current is None:
            return
        if self.hand.value:
            current.live.hold_rate(number(self.rate))
        else:
            current.live.release_rate()
        self._refresh()

    @guarded
    def _rate_moved(self, _: Any = None) -> None:
        current = self._queue.current
        if self._events.active or current is None or not current.live.under_way:
            return
        if self.hand.value:
            current.live.hold_rate(number(self.rate))
        else:
            self.hand.value = True

    @guarded
    def _chosen_changed(self, _: Any = None) -> None:
        self._enable()

    @guarded
    def _source_changed(self, _: Any = None) -> None:
        self.form.layout.display = "" if self.source.value == _OWN else "none"
        self._plan_changed()

    @guarded
    def _plan_changed(self, _: Any = None) -> None:
        self._draw()
        if self._queue.current is None:
            self.say("")  # the plan is right now, whatever the message said of the one before

    @guarded
    def _kept_changed(self, _: Any = None) -> None:
        self._queue.keep(self.runs.kept)
        self._offer()
        self._draw()
        self._enable()

    # While it trains.

    def _current_work(self) -> LiveRun | None:
        current = self._queue.current
        return None if current is None else current.live

    def _ticks_on(self) -> bool:
        return self.under_way or self.range_test.under_way

    def _show_work(self, over: bool) -> None:
        self._refresh()
        self.range_test.tick()
        if over:
            self._enable()

    # What the handlers do.

    def _wanted(self) -> tuple[Any, str]:
        return self.schedule, self._form.label

    def _smooth(self) -> bool:
        return self._form.clock.value

    @property
    def _form(self) -> ScheduleForm:
        """The form that sets the schedule of the next run."""
        if self.source.value == _LINKED and self._schedule_panel is not None:
            return self._schedule_panel.form
        return self.form

    def _name(self) -> str:
        return self.name.value.strip() or self._form.strategy.value

    def _begin(self) -> None:
        schedule, label = self._wanted()
        name, settings, smooth = self.runs.unique(self._name()), self._settings(), self._smooth()

        def described() -> Run:
            # In the run's own thread, because the dataset may have to be downloaded first.
            return settings.run(name, schedule, smooth=smooth)

        live = LiveRun(described, on_progress=self._on_progress)
        if self.hand.value:
            live.hold_rate(number(self.rate))
        self._queue.waiting.append(self.runs.add(live, name, label))
        self._offer()
        self._start_next()

    def _start_next(self) -> None:
        self._started(self._queue.start_next(), "")

    def _started(self, kept: KeptRun, text: str) -> None:
        self._end_said = None
        with self._events:
            self.chosen.value = kept
            self.hand.value = kept.live.held_rate is not None
        self.say(text)
        self._refresh()
        self.clock.start()

    def _refresh(self) -> None:
        """Shows the current run."""
        kept = self._queue.current
        if kept is None:
            self._enable()
            return
        live = kept.live
        ended = not live.under_way  # asked first, as in `_tick`
        state = (live.state, len(live.result.loss), len(self._queue.waiting))
        due = self.picture.is_due or ended or live.state == "paused"
        if state != self._drawn_state and due:
            self._draw()
            self.runs.fill()
            self._drawn_state = state
        self._say_status(live)
        if ended:
            self._release_others(kept)
        if ended and self._queue.waiting:
            self._start_next()
        elif ended and kept is not self._end_said:
            self._end_said = kept
            self._say_end(kept)
        self._enable()

    def _release_others(self, last: KeptRun) -> None:
        """Frees the graphs of the other runs, which would otherwise fill the memory."""
        for kept in self.runs:
            if kept is not last:
                kept.live.release()

    def _say_status(self, live: LiveRun) -> None:
        progress = live.progress
        self.progress.value = progress.steps_done / progress.steps if progress.steps else 0.0
        shown = _status.status(live, len(self._queue.waiting))
        if self.status.value != shown:
            self.status.value = shown

    def _say_end(self, kept: KeptRun) -> None:
        lines, colour = _status.end(kept.name.value, kept.live)
        self.say(*lines, colour=colour)

    def _draw(self) -> None:
        plan, epochs = None, self.epochs.value
        if not self.under_way:
            style, smooth = self.runs.next_style, self._smooth()
            plan = plan_curve(self.schedule, epochs, style, smooth=smooth)
        self.picture.draw(self.runs, plan, epochs, log=self.log_axis.value)

    @property
    def _chosen(self) -> KeptRun | None:
        return self.chosen.value

    def _offer(self) -> None:
        """Updates the list of runs to choose from."""
        options = [(kept.name.value, kept) for kept in self.runs]
        if list(self.chosen.options) == options:
            return
        chosen = self.chosen.value
        with self._events:
            self.chosen.options = options
            kept = [kept for _, kept in options]
            self.chosen.value = chosen if chosen in kept else (kept[-1] if kept else None)

    def _enable(self) -> None:
        busy = self.under_way
        current, chosen = self._current_work(), self._chosen.live if self._chosen else None
        self._enable_buttons(current, chosen, training=busy, testing=self.range_test.under_way)

    @guarded
    def _use_rate(self, rate: float) -> None:
        with self._events:
            assign(self.rate, rate)
        self._form.set_rate(rate)
        self.say(f"The schedule's rate is {rate:.3g} now.", colour=GOOD)
