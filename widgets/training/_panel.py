"""The panel that trains a model live and lets a person steer the rate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from keraslr.training import LiveRun, Result, Run
from widgets.parts._controls import assign, number
from widgets.parts._downloads import link
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import GOOD, guarded
from widgets.parts._rerun import stop_earlier_panels
from widgets.parts._subject import subject_of
from widgets.schedule import SchedulePanel, schedule_panel_or_none
from widgets.training import _status
from widgets.training._controls import TrainingControls
from widgets.training._picture import plan_curve
from widgets.training._queue import RunQueue
from widgets.training._runs import KeptRun
from widgets.training._settings import Plan
from widgets.training._source import ScheduleSource


class TrainingPanel(TrainingControls):
    """Trains a model live: pause it, stop it, set the rate by hand, branch off, compare.

    The training runs in a thread, so the notebook stays free. The page updates the panel five times
    a second; without a page, use `train(block=True)`.

    Attributes:
        runs: The kept runs and their table.
        picture: Loss, a metric and rate of the runs that are ticked in the table.
        metric: Dropdown of the metrics, for the picture.

    Args:
        problem: What is trained: a `keraslr.Problem`; a compiled Keras model or a function that
            builds one, with `x`; or "auto", "fashion_mnist" or "digits" for the LeNet on these
            images, which is what None means. A model is left as it is, and copies are trained. A
            model that is not compiled is trained with SGD and cross-entropy if it ends in logits of
            several classes and `y` holds integer classes.
        x, y: Data of a model, as `fit` takes them; see `keraslr.Problem`.
        model: The model as a keyword.
        dataset: The name of the images as a keyword.
        sample_weight, validation_data, validation_split, steps_per_epoch, validation_steps: The
            other data of a model; see `keraslr.Problem`.
        schedule: The schedule to train under at first, counted in steps, keraslr's or Keras's; or
            a rate; or a pair of either and a `keraslr.callbacks.ReduceLROnPlateau`. None for the
            panel's own, whose controls are always there.
        schedule_panel: A `SchedulePanel` whose schedule can be used instead of the panel's own.
        strategy: Strategy of the catalog that the panel's own schedule begins with.
        epochs: Passes over the data.
        batch_size: Examples per optimizer step; None for `fit`'s 32, or 256 with images. Data that
            come in batches keep their own.
        seed: Seed of the initial weights and of the order of the examples.
        on_progress: Called in the training's thread with the current `Result`; if it raises, the
            run ends as "failed".

    Raises:
        TypeError, ValueError: An argument is wrong, or the model does not fit the data; the error
            names it.

    Example:
        >>> import keras, numpy as np
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse", metrics=["mae"])
        >>> x = np.random.default_rng(0).normal(size=(64, 3))
        >>> panel = TrainingPanel(model, x, x.sum(1), validation_split=0.25, epochs=2)
        >>> panel.train(block=True)
        >>> list(panel.history)
        ['loss', 'mae', 'val_loss', 'val_mae', 'learning_rate']
    """

    dom_class = "keraslr-training-panel"

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
        schedule: Any = None,
        schedule_panel: SchedulePanel | None = None,
        strategy: str = "cosine annealing",
        epochs: int = 10,
        batch_size: int | None = None,
        seed: int = 0,
        on_progress: Callable[[Result], None] | None = None,
    ):
        super().__init__()
        schedule_panel_or_none(schedule_panel)
        data = {
            "y": y, "sample_weight": sample_weight, "validation_data": validation_data,
            "validation_split": validation_split, "steps_per_epoch": steps_per_epoch,
            "validation_steps": validation_steps,
        }  # fmt: skip
        self.subject = subject_of(problem, x, data, model=model, dataset=dataset, compile_here=True)
        self._on_progress = on_progress
        self._queue = RunQueue()
        # The state that was drawn last, and the run whose end was said last.
        self._drawn_state: Any = None
        self._end_said: KeptRun | None = None
        self._events = EventBlock()
        self._make_settings(epochs, batch_size, seed)
        self._sources = ScheduleSource(self.subject, schedule, schedule_panel, strategy)
        self.source, self.form = self._sources.source, self._sources.form
        self.form.load(strategy, **self._first_values(strategy, epochs))
        self._make_buttons()
        self._make_boxes(self._kept_changed, self._use_rate)
        self.tabs = self._arranged_tabs(self._sources)
        self.fill(
            [
                self.tabs, self._bar(self.start, self.pause, self.halt), self.status,
                self.progress, self._steering(), self.message, self.metric, self.picture, self.runs,
                self._bar(self.path, self.save), self.saved, self.clock,
                self.clock.starter,
            ]
        )  # fmt: skip
        self._observe()
        if self.subject.rate is not None:
            assign(self.rate, self.subject.rate)
        self._draw()
        self._enable()
        self.say(self.subject.note)
        self.at_close(self.stop)
        stop_earlier_panels(self)

    # For code: what a person does by a click.

    @property
    def schedule(self) -> Any:
        """Schedule of the next run: counted in epochs, or the given one.

        A pair with a `ReduceLROnPlateau` if there is one.
        """
        plan = self._sources.plan()
        return plan.schedule if plan.plateau is None else (plan.schedule, plan.plateau)

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
        return self.run.record().epochs

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
        self._sources.on_change(self._plan_changed)
        self.start.on_click(self._train_clicked)
        self.pause.on_click(self._pause_clicked)
        self.halt.on_click(self._stop_clicked)
        self.go_on.on_click(self._continue_clicked)
        self.fork.on_click(self._branch_clicked)
        self.save.on_click(self._save_clicked)
        self.hand.observe(self._hand_changed, "value")
        self.rate.observe(self._rate_moved, "value")
        self.chosen.observe(self._chosen_changed, "value")
        for widget in (self.log_axis, self.epochs, self.batch_size, self.metric):
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
        plan, live = self._sources.plan(), kept.live
        name = self.runs.unique(f"{kept.name.value} > {self._name(plan)}")
        # While the parent trains, the branch gets the parent's remaining epochs.
        epochs = None if live.under_way else self.more.value
        steps = kept.per_epoch
        assert steps is not None  # a run with steps has counted them
        branch = live.branch(name, plan.of_a_run(steps), epochs=epochs)
        entry = self.runs.add(branch, kept.settings, name, plan.label)
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

    def _name(self, plan: Plan) -> str:
        return self.name.value.strip() or plan.name

    def _begin(self) -> None:
        plan, settings = self._sources.plan(), self._settings()
        name = self.runs.unique(self._name(plan))

        def described() -> Run:
            # In the run's own thread, because the dataset may have to be downloaded first.
            return settings.run(name, plan)

        live = LiveRun(described, on_progress=self._on_progress)
        if self.hand.value:
            live.hold_rate(number(self.rate))
        self._queue.waiting.append(self.runs.add(live, settings, name, plan.label))
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
        state = (live.state, live.result.steps_done, len(self._queue.waiting))
        due = self.picture.is_due or ended or live.state == "paused"
        if state != self._drawn_state and due:
            self._draw()
            self.runs.fill()
            self._drawn_state = state
        self._say_status(kept)
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

    def _say_status(self, kept: KeptRun) -> None:
        progress = kept.live.progress
        steps = progress.steps or len(kept.planned)
        self.progress.value = min(1.0, progress.steps_done / steps) if steps else 0.0
        shown = _status.status(kept, len(self._queue.waiting))
        if self.status.value != shown:
            self.status.value = shown

    def _say_end(self, kept: KeptRun) -> None:
        lines, colour = _status.end(kept)
        self.say(*lines, colour=colour)

    def _draw(self) -> None:
        plan, epochs = None, self.epochs.value
        if not self.under_way:
            steps = self._settings().usual_steps_per_epoch
            plan = plan_curve(self._sources.plan(), epochs, self.runs.next_style, steps)
        self.picture.draw(
            self.runs, plan, epochs, log=self.log_axis.value, figure=self.metric.value
        )

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
        self._sources.set_rate(rate)
        self.say(f"The schedule's rate is {rate:.3g} now.", colour=GOOD)
