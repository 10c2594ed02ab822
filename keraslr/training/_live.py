"""A run in a thread of its own, which can be watched and steered while it trains."""

from __future__ import annotations

import atexit
import dataclasses
import gc
import inspect
import os
import tempfile
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import keras
import numpy as np

from keraslr._environment import require_tensorflow, versions
from keraslr._files import write_whole
from keraslr._parameters import MAX_TICKS, Number
from keraslr.datasets import Dataset
from keraslr.schedules import Schedule
from keraslr.training._priority import give_way
from keraslr.training._result import Record, Result
from keraslr.training._run import Run, dataset_of
from keraslr.training._steering import RATE, SteeredSchedule, write_steering

if TYPE_CHECKING:
    from keraslr.training._trainer import Trainer

_Value = TypeVar("_Value")

_EPOCHS = Number("", int, at_least=1, at_most=MAX_TICKS)

# For so many seconds a question waits for the step that is under way.
_PATIENCE = 2.0
# The speed is that of the last so many slices: some ten seconds, with the tests among them.
_SLICES = 50
# For so many seconds the interpreter's end waits for the runs that it stops.
_LAST_SECONDS = 5.0

# Set once a run has let go of its graphs.
_LET_GO = threading.Event()


@dataclasses.dataclass(frozen=True)
class LiveProgress:
    """How far a run is.

    Attributes:
        steps_done: Optimizer steps done.
        steps: Optimizer steps in all, those of all its legs; None until the data are loaded.
        examples_per_second: Training examples per second of late, tests included and pauses not;
            None until two slices are done.
        seconds_left: Seconds of training left at that speed; None where it is unknown, and after
            an end before the last step.
    """

    steps_done: int
    steps: int | None
    examples_per_second: float | None
    seconds_left: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class _Origin:
    """Where a run begins: nowhere, or at some step of another."""

    parent: str | None = None
    step: int = 0
    epochs_begun: int = 0
    data: Dataset | None = None
    state: list[np.ndarray] | None = None


class LiveRun:
    """A `Run` that trains in a daemon thread of its own.

    Keras makes model, optimizer and graphs in that thread, under the dtype policy that holds where
    the `LiveRun` is made. All methods may be called from any thread, and in any state unless they
    say otherwise; those that steer come into force after the slice of steps that is under way, some
    0.2 seconds. Several may train at the same time. What nobody steers gives the numbers of
    `train`, to the bit.

    The interpreter's end stops all. A run that nobody refers to any more trains on until then.

    Args:
        run: What to train, or a function that says it, called in the thread: there it may take
            its time to load data that the schedule depends on.
        on_progress: Called in the thread, with the result, after each slice and each test. If it
            raises, the run ends as "failed", and what was done is kept.

    Attributes:
        run: What is trained; None until the function has said it.
        result: The record, which grows while it trains; do not change it. A reader in another
            thread may find lists of different lengths: `record` gives them as at one moment. Beside
            the run's description, `result.run` may hold "steered", a list of
            `[step, rate by hand or None for the schedule's]`, and "branched_from", which is
            `[parent, first_step]`. Its "epochs" are all that were asked for. Its times leave
            pauses out.
        parent: Name of the run that this one branched off; None if it did not.
        first_step: Steps that led to its first weights, those of its parent and of that one's
            parents, so that step i of the result is step `first_step + i` from the root. 0 without
            a parent.
        error: What ended the run as "failed", such as a `DatasetError`; else None.
        held_rate: The rate by hand; None while the schedule gives it.
    """

    def __init__(
        self,
        run: Run | Callable[[], Run],
        *,
        on_progress: Callable[[Result], None] | None = None,
        _origin: _Origin | None = None,
    ):
        if not isinstance(run, Run) and not _is_description(run):
            raise TypeError(
                "run must be a Run, as keraslr.training.Run(name, schedule, dataset, model) makes "
                f"it, or a function without arguments that returns one. Received: run={run!r}"
            )
        if on_progress is not None and not callable(on_progress):
            raise TypeError(
                "on_progress must be a function of the result, or None. "
                f"Received: on_progress={on_progress!r}"
            )
        self.run = run if isinstance(run, Run) else None
        self._describe: Callable[[], Any] = run if callable(run) else lambda: run
        self._on_progress = on_progress
        self._origin = _Origin() if _origin is None else _origin
        self.parent, self.first_step = self._origin.parent, self._origin.step
        self._first_epoch = self._origin.epochs_begun
        self.error: BaseException | None = None
        self.held_rate: float | None = None
        self.result = Result(
            {} if self.run is None else self._description(self.run), versions=versions()
        )
        self._dtype_policy = keras.config.dtype_policy()
        # How things stand changes under this lock; the rest below is the thread's to change.
        self._changed = threading.Condition()
        self._state, self._under_way, self._stopping, self._pausing = "ready", False, False, False
        self._asked: deque[tuple[Future, Callable[[], Any]]] = deque()
        self._thread: threading.Thread | None = None
        self._trainer: Trainer | None = None
        self._steered: SteeredSchedule | None = None
        self._steps: int | None = None
        self._planned = np.empty(0, np.float32)
        self._speed: float | None = None
        self._times: deque[tuple[float, int]] = deque(maxlen=_SLICES)

    def __repr__(self) -> str:
        name = "?" if self.run is None else self.run.name
        steps = "?" if self._steps is None else self._steps
        return f"LiveRun({name!r}: {self.state}, step {len(self.result.loss)} of {steps})"

    # What is known of it.

    @property
    def state(self) -> str:
        """How things stand.

        "ready", "setting up", "training", "paused", "stopping"; and at the end "finished",
        "stopped", "diverged" (a loss that is not finite) or "failed" (see `error`).
        """
        return "stopping" if self._under_way and self._stopping else self._state

    @property
    def under_way(self) -> bool:
        """Whether it was started and has not ended; also while it is paused."""
        return self._under_way

    @property
    def epochs(self) -> int | None:
        """Epochs that were asked for, those of all its legs; None until the run is known."""
        return self.result.run.get("epochs")

    @property
    def dataset(self) -> Dataset | None:
        """What it is trained on; None until it is loaded."""
        return None if self._trainer is None else self._trainer.data

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch; None until the data are loaded."""
        return None if self._trainer is None else self._trainer.steps_per_epoch

    @property
    def progress(self) -> LiveProgress:
        """How far it is, and how fast."""
        done, steps, speed, trainer = len(self.result.loss), self._steps, self._speed, self._trainer
        left = 0.0 if steps == done else None
        if steps is not None and trainer is not None and speed and self._under_way:
            epochs_left = (steps - done) / trainer.steps_per_epoch
            left = epochs_left * len(trainer.data.x_train) / speed
        return LiveProgress(done, steps, speed, left)

    @property
    def planned(self) -> np.ndarray:
        """The rates that the schedule alone gives at the steps of the run.

        A float32 array (steps,), empty until the data are loaded.
        """
        steps = self._steps
        if steps is None or self.run is None or len(self._planned) == steps:
            return self._planned
        schedule = self.run.schedule
        if isinstance(schedule, Schedule):
            planned = schedule.values(steps)
        else:
            planned = np.full(steps, schedule, np.float32)
        self._planned = planned
        return planned

    def record(self) -> Record:
        """The figures so far, as at one moment, in copies."""
        trainer = self._trainer
        return Record.of(self.result, [] if trainer is None else trainer.test_steps)

    # What it can be told.

    def start(self) -> None:
        """Begins to train. Does nothing unless it is ready."""
        with self._changed:
            if self._state == "ready":
                self._launch(None)

    def pause(self) -> None:
        """Lets it stand still after the slice that is under way, until `resume` or `stop`.

        Does nothing unless it is under way.
        """
        with self._changed:
            self._pausing = self._under_way

    def resume(self) -> None:
        """Lets it go on as if it had not been paused."""
        with self._changed:
            self._pausing = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends it as "stopped" after the slice that is under way, also if it is paused.

        A run that is ready will then not start; one that has ended stays as it is.
        """
        with self._changed:
            if self._state == "ready":
                self._state = self.result.status = "stopped"
            self._stopping = self._under_way
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended.

        Args:
            timeout: For so many seconds at most; None for as long as it takes.

        Returns:
            Whether it has ended. A run that was not started is not waited for.

        Raises:
            RuntimeError: The run's own thread called this, and would wait for ever.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("wait must not be called by the run's own thread, as in on_progress")
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout)
            return not self._under_way and self._state != "ready"

    def hold_rate(self, rate: float) -> None:
        """Takes the rate by hand from the next slice on, or from the start if that is to come.

        Args:
            rate: Learning rate, >= 0.

        Raises:
            TypeError, ValueError: It is none.
        """
        self.held_rate = RATE.validated("rate", rate)

    def release_rate(self) -> None:
        """Gives the rate back to the schedule, which goes on where it would be without the hand."""
        self.held_rate = None

    def continue_for(self, epochs: int, learning_rate: float | None = None) -> None:
        """Trains more epochs, with the same model and optimizer, in a new thread.

        An epoch that was broken off is not taken up again: the next one begins. What `stop` ended
        before it had a model begins from the first weights.

        Args:
            epochs: Number of epochs, >= 1.
            learning_rate: Rate to hold, >= 0; None for the schedule's, from the step on where it
                is, and a rate that was held is released.

        Raises:
            TypeError, ValueError: An argument is wrong.
            RuntimeError: The run is neither "finished" nor "stopped".
        """
        epochs = _EPOCHS.validated("epochs", epochs)
        if learning_rate is not None:
            learning_rate = RATE.validated("learning_rate", learning_rate)
        with self._changed:
            if self._state not in ("finished", "stopped"):
                raise RuntimeError(
                    'continue_for needs a run that is "finished" or "stopped". '
                    f'Received: state="{self.state}"'
                )
            self._stopping = self._pausing = False
            self.held_rate = learning_rate
            self._launch(epochs)

    def release(self) -> None:
        """Lets go of model, optimizer and graphs of a run that has ended: some ten megabytes.

        Their numbers stay, so that it can still go on, be branched off and saved; what is needed
        is made again then, in a second or two. `result.model` is None until it goes on. Does
        nothing while it is under way.
        """
        with self._changed:
            if self._trainer is not None and not self._under_way:
                self._trainer.release()
                _LET_GO.set()

    def branch(
        self,
        name: str,
        schedule: Schedule | float,
        epochs: int | None = None,
        *,
        on_progress: Callable[[Result], None] | None = None,
    ) -> LiveRun:
        """A new run, not yet started, from the present weights and state of the optimizer.

        It has what this run has, but for the arguments. With a schedule that goes on where this
        run's is at the end of an epoch, it gives the numbers of this run, to the bit: the order of
        its examples is that of the epochs that this run has not begun.

        Args:
            name: Its name.
            schedule: Its schedule, from t = 0 on, or a constant rate.
            epochs: Its epochs, >= 1; None for those that this run has left, a broken one counted
                as a whole one and at least 1.
            on_progress: As for a `LiveRun`; this run's is not taken over.

        Raises:
            TypeError, ValueError: An argument is wrong.
            RuntimeError: There are no weights to begin with, or none within two seconds because a
                single step takes longer.
        """

        def begin() -> tuple[_Origin, int]:
            trainer, steps = self._whole("branch"), len(self.result.loss)
            left = -(-(trainer.steps - steps) // trainer.steps_per_epoch)
            place = self.first_step + steps
            parent = trainer.run.name
            state = trainer.state()
            return _Origin(parent, place, trainer.epochs_begun, trainer.data, state), max(1, left)

        run = self._made("branch").run
        changes: dict[str, Any] = {"name": name, "schedule": schedule}
        run = dataclasses.replace(run, **changes, epochs=1 if epochs is None else epochs)
        origin, left = self._between_steps("branch", begin)
        if epochs is None:
            run = dataclasses.replace(run, epochs=left)
        return LiveRun(run, on_progress=on_progress, _origin=origin)

    def save_model(self, path: str | os.PathLike[str]) -> Path:
        """Writes the model as it is now, whole or not at all.

        It is not compiled, so that `keras.models.load_model` needs nothing of this package. Its
        images are floats in [0, 1], its output logits.

        Args:
            path: Where to, ending in ".keras". Missing folders are made.

        Returns:
            The path.

        Raises:
            ValueError: The path ends in something else.
            RuntimeError: There is no model to save, or none within two seconds because a single
                step takes longer.
            OSError: It cannot be written; the error names the path.
        """
        path = Path(path)
        if path.suffix != ".keras":
            raise ValueError(f'path must end in ".keras". Received: path="{path}"')

        def saved() -> bytes:
            model = self._whole("save_model").model()
            with tempfile.TemporaryDirectory() as folder:
                whole = Path(folder) / "model.keras"
                model.save(whole)
                return whole.read_bytes()

        return write_whole(path, self._between_steps("save_model", saved))

    # What only it and its thread do.

    def _made(self, what: str) -> Trainer:
        if self._trainer is None or not (self._trainer.made or self._trainer.released):
            raise RuntimeError(
                f"{what} needs a model, and there is none before the training begins. "
                f'Received: state="{self.state}"'
            )
        return self._trainer

    def _whole(self, what: str) -> Trainer:
        trainer = self._made(what)
        if self.result.status == "diverged" or not trainer.whole:
            raise RuntimeError(
                f"{what} needs whole weights, and a run that diverged or failed within a step has "
                f'none. Received: status="{self.result.status}"'
            )
        return trainer

    def _between_steps(self, what: str, function: Callable[[], _Value]) -> _Value:
        """What the function returns when it is called while no step is under way."""
        if threading.current_thread() is self._thread:
            return function()
        future: Future[_Value] = Future()
        with self._changed:
            self._made(what)
            if not self._under_way:
                return function()  # and the lock keeps it from going on
            self._asked.append((future, function))
            self._changed.notify_all()
        try:
            return future.result(_PATIENCE)
        except FutureTimeoutError:
            if not future.cancel():
                return future.result()
            raise RuntimeError(
                f"{what} needs the end of the step under way, and that did not come within "
                f"{_PATIENCE:g} seconds: pause the run first, or try again"
            ) from None

    def _description(self, run: Run) -> dict[str, Any]:
        branched = {"branched_from": [self.parent, self.first_step]} if self.parent else {}
        return {**run.description(), **branched}

    def _launch(self, epochs: int | None) -> None:
        """Starts the thread for that many epochs, or for the run's. Under the lock."""
        name = "" if self.run is None else self.run.name
        self._thread = threading.Thread(
            target=self._work, args=(epochs,), name=f"keraslr {name}", daemon=True
        )
        self._thread.start()
        self._under_way, self._state = True, "setting up"
        if self._trainer is not None:
            self._plan(self._trainer, epochs)
        _STARTED.add(self)

    def _plan(self, trainer: Trainer, epochs: int | None) -> None:
        """Writes down how many epochs and steps there will be."""
        more = trainer.run.epochs if epochs is None else epochs
        self._steps = len(self.result.loss) + more * trainer.steps_per_epoch
        all_epochs = trainer.epochs_begun - self._first_epoch + more
        self.result.run = {**self.result.run, "epochs": all_epochs}

    def _work(self, epochs: int | None) -> None:
        with self._changed:
            pass  # until `_launch` is done
        try:
            keras.config.set_dtype_policy(self._dtype_policy)  # Keras has one for each thread
            trainer = self._trainer or self._set_up(epochs)
            if trainer is None:
                self.result.status = "stopped"
            else:
                more = trainer.run.epochs if epochs is None else epochs
                trainer.advance(more, self._after_slice, self._before_slice)
        except BaseException as error:
            self.error, self.result.status = error, "failed"
        self._serve(self._ended)

    def _set_up(self, epochs: int | None) -> Trainer | None:
        """All that comes before the model; None where it was stopped before."""
        require_tensorflow()
        from keraslr.training._trainer import Trainer

        origin = self._origin
        run = self._describe() if self.run is None else self.run
        if not isinstance(run, Run):
            raise TypeError(f"run must be a function that returns a Run. Received: {run!r}")
        data = dataset_of(run) if origin.data is None else origin.data
        if self._stopping:
            return None
        self.result.run = {**self._description(run), "dataset": data.name}
        self.run = run
        if _LET_GO.is_set():
            # Graphs are in cycles, which Python would clear away in its own time, and that may be
            # after dozens of runs.
            _LET_GO.clear()
            gc.collect()
        self._steered = SteeredSchedule(run.schedule, origin.step)
        trainer = Trainer(
            run, data, self.result, learning_rate=self._steered,
            first_epoch=origin.epochs_begun, state=origin.state,
        )  # fmt: skip
        self._plan(trainer, epochs)
        self._trainer, self._origin = trainer, _Origin()  # whose weights may go now
        return trainer

    def _before_slice(self) -> bool:
        """Answers, waits while it is paused, and takes the rate; says whether to stop."""
        if self._trainer is not None and self._trainer.made:
            self._serve(self._may_go_on)
            self._steer()
        return self._stopping

    def _after_slice(self, done: int, steps: int, result: Result) -> None:
        assert self._trainer is not None
        self._times.append((self._trainer.seconds, self._trainer.examples))
        (begin, before), (end, after) = self._times[0], self._times[-1]
        if end > begin:
            self._speed = (after - before) / (end - begin)
        if len(self._times) == 2:
            give_way()  # now that TensorFlow has all its threads
        if self._on_progress is not None:
            self._on_progress(result)

    def _serve(self, nothing_to_wait_for: Callable[[], bool]) -> None:
        """Answers what is asked, until that says so, under the lock and with nothing asked."""
        while True:
            with self._changed:
                if not self._asked:
                    if nothing_to_wait_for():
                        return
                    self._changed.wait()
                    continue
                future, function = self._asked.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # the asker's
                    future.set_exception(error)

    def _may_go_on(self) -> bool:
        paused = self._pausing and not self._stopping
        self._state = "paused" if paused else "training"
        return not paused

    def _ended(self) -> bool:
        write_steering(self.result)  # what was held for steps that did not come is not written
        self._state, self._under_way = self.result.status, False
        self._changed.notify_all()
        return True

    def _steer(self) -> None:
        assert self._steered is not None
        rate = self.held_rate
        self._steered.hold(rate)
        write_steering(self.result, [len(self.result.loss), rate])


def _is_description(run: Any) -> bool:
    """Whether this can be called without arguments, and is no class and no model."""
    if not callable(run) or isinstance(run, type | keras.layers.Layer):
        return False
    try:
        inspect.signature(run).bind()
    except TypeError:
        return False
    except ValueError:
        pass  # a builtin without a signature
    return True


# Those that were started and are still referred to.
_STARTED: weakref.WeakSet[LiveRun] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """Or TensorFlow would be taken down beneath a thread that computes."""
    runs = list(_STARTED)
    for run in runs:
        run.stop()
    end = time.monotonic() + _LAST_SECONDS
    for run in runs:
        run.wait(max(0.0, end - time.monotonic()))
