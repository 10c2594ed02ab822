"""A run in a thread of its own, which can be watched and steered while it trains."""

from __future__ import annotations

import dataclasses
import gc
import os
import tempfile
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import keras

from keraslr._environment import require_tensorflow, versions
from keraslr._files import write_whole
from keraslr._parameters import MAX_TICKS, Number
from keraslr.problems._copy import save_uncompiled
from keraslr.training._interpreter_end import stop_at_end
from keraslr.training._origin import Origin, is_description
from keraslr.training._priority import give_way
from keraslr.training._questions import Questions, answered
from keraslr.training._result import Result
from keraslr.training._run import Run, problem_of
from keraslr.training._steering import RATE, SteeredSchedule, write_steering
from keraslr.training._watched import WatchedRun

if TYPE_CHECKING:
    from keraslr.training._trainer import Trainer

_Value = TypeVar("_Value")

_EPOCHS = Number("", int, at_least=1, at_most=MAX_TICKS)

# Seconds that a question waits for the end of the step under way.
_PATIENCE = 2.0
# Slices over which the speed is taken: about ten seconds, tests included.
_SLICES = 50

# Set once a run has let go of its graphs.
_LET_GO = threading.Event()


class LiveRun(WatchedRun):
    """A `Run` that trains in a daemon thread of its own.

    Keras makes the model, the optimizer and the graphs in that thread, under the dtype policy of
    the code that makes the `LiveRun`. All methods may be called from any thread, and in any state
    unless they say otherwise. Steering takes effect after the slice of steps under way, which lasts
    about 0.2 seconds. Several runs may train at the same time. A run that nobody steers gives the
    numbers of `train`, to the bit.

    All runs are stopped when the interpreter ends. A run that nobody refers to any more trains on
    until then.

    Args:
        run: The run, or a function without arguments that returns it. The function is called in the
            thread, where it may take time, for example to load data that the schedule depends on.
        on_progress: Called in the thread, with the result, after each slice and each test. If it
            raises an error, the run ends as "failed", and the result so far is kept.

    Attributes:
        run: The run; None until the function has returned it.
        result: The result, which grows during training; do not change it. A reader in another
            thread may find lists of different lengths: `record` returns a consistent copy. Besides
            the run's description, `result.run` may hold "steered", a list of
            `[step, rate by hand or None for the schedule's]`, and "branched_from", which is
            `[parent, first_step]`. Its "epochs" count all epochs requested. Its times leave
            pauses out.
        parent: Name of the run from which this one was branched; None for other runs.
        first_step: Steps before its first weights: those of its parent, and of the parent's
            parents. Step i of the result is step `first_step + i` from the root. 0 without a
            parent.
        error: The error that ended the run as "failed", such as a `DatasetError`; else None.
        held_rate: The rate set by hand; None while the schedule gives the rate.
    """

    def __init__(
        self,
        run: Run | Callable[[], Run],
        *,
        on_progress: Callable[[Result], None] | None = None,
        _origin: Origin | None = None,
    ):
        if not isinstance(run, Run) and not is_description(run):
            raise TypeError(
                "run must be a Run, as keraslr.training.Run(name, schedule, problem) makes "
                f"it, or a function without arguments that returns one. Received: run={run!r}"
            )
        if on_progress is not None and not callable(on_progress):
            raise TypeError(
                "on_progress must be a function of the result, or None. "
                f"Received: on_progress={on_progress!r}"
            )
        self._describe: Callable[[], Any] = run if callable(run) else lambda: run
        self._on_progress = on_progress
        self._origin = Origin() if _origin is None else _origin
        self.parent, self.first_step = self._origin.parent, self._origin.step
        self._first_epoch = self._origin.epochs_begun
        self.error: BaseException | None = None
        self.held_rate: float | None = None
        known = run if isinstance(run, Run) else None
        description = {} if known is None else self._description(known)
        super().__init__(known, Result(description, versions=versions()))
        self._dtype_policy = keras.config.dtype_policy()
        # The state changes under this lock; only the thread changes the rest below.
        self._changed = threading.Condition()
        self._pausing = False
        self._questions = Questions(self._changed)
        self._thread: threading.Thread | None = None
        self._steered: SteeredSchedule | None = None
        self._times: deque[tuple[float, int]] = deque(maxlen=_SLICES)

    # Steering.

    def start(self) -> None:
        """Starts the training. Does nothing unless the run is "ready"."""
        with self._changed:
            if self._state == "ready":
                self._launch(None)

    def pause(self) -> None:
        """Pauses the run after the slice under way, until `resume` or `stop`.

        Does nothing unless the run is under way.
        """
        with self._changed:
            self._pausing = self._under_way

    def resume(self) -> None:
        """Continues a paused run as if it had not been paused."""
        with self._changed:
            self._pausing = False
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends the run as "stopped" after the slice under way, also if it is paused.

        A run that is "ready" will then not start; a run that has ended does not change.
        """
        with self._changed:
            if self._state == "ready":
                self._state = self.result.status = "stopped"
            self._stopping = self._under_way
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the run has ended.

        Args:
            timeout: Most seconds to wait; None for no limit.

        Returns:
            Whether the run has ended. A run that was not started is not waited for.

        Raises:
            RuntimeError: The run's own thread called this, and would wait forever.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("wait must not be called by the run's own thread, as in on_progress")
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout)
            return not self._under_way and self._state != "ready"

    def hold_rate(self, rate: float) -> None:
        """Sets the rate by hand from the next slice on; before the start, from the first step on.

        A plateau rule rests while a rate is held.

        Args:
            rate: Learning rate, >= 0.

        Raises:
            TypeError, ValueError: The rate is not a number >= 0.
        """
        self.held_rate = RATE.validated("rate", rate)

    def release_rate(self) -> None:
        """Returns to the schedule, which goes on as if no rate had been set by hand."""
        self.held_rate = None

    def continue_for(self, epochs: int, learning_rate: float | None = None) -> None:
        """Trains more epochs, with the same model and optimizer, in a new thread.

        An epoch that was stopped in the middle is not continued: the next epoch begins. A run that
        was stopped before it had a model begins from the first weights.

        Args:
            epochs: Number of epochs, >= 1.
            learning_rate: Rate to hold, >= 0; None for the schedule's rate at the current step,
                which also releases a rate that was held.

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
        """Frees the model, optimizer and graphs of a run that has ended: about ten megabytes.

        Their values are kept, so that the run can still be continued, branched and saved; the model
        is then made again, in a second or two. `result.model` is None until the run is continued.
        Does nothing while the run is under way.
        """
        with self._changed:
            if self._trainer is not None and not self._under_way:
                self._trainer.release()
                _LET_GO.set()

    def branch(
        self,
        name: str,
        schedule: Any,
        epochs: int | None = None,
        *,
        on_progress: Callable[[Result], None] | None = None,
    ) -> LiveRun:
        """Returns a new run, not yet started, from the current weights and optimizer state.

        It equals this run except for the arguments. Branched at the end of an epoch, with a
        schedule that continues this run's, it gives this run's numbers, to the bit: its examples
        come in the order of the epochs that this run has not begun.

        Args:
            name: Name of the new run.
            schedule: Schedule of the new run, from t = 0 on, or a constant rate; or a pair of this
                and a `ReduceLROnPlateau`, which goes on if this run has an equal one.
            epochs: Epochs of the new run, >= 1; None for the epochs left in this run, at least 1;
                an epoch that has begun counts as a whole one.
            on_progress: As for a `LiveRun`; this run's function is not passed on.

        Raises:
            TypeError, ValueError: An argument is wrong.
            RuntimeError: There are no weights yet, or a single step takes longer than two seconds.
        """

        def begin() -> tuple[Origin, int]:
            trainer, steps = self._whole("branch"), self.result.steps_done
            left = trainer.epochs_wanted - trainer.epochs_begun
            if trainer.steps is not None and trainer.steps_per_epoch is not None:
                left = -(-(trainer.steps - steps) // trainer.steps_per_epoch)
            place = self.first_step + steps
            parent = trainer.run.name
            state = trainer.state(callbacks=_settings(run.plateau) == _settings(parent_plateau))
            return Origin(parent, place, trainer.epochs_begun, trainer.problem, state), max(1, left)

        run = self._made("branch").run
        parent_plateau = run.plateau
        changes: dict[str, Any] = {"name": name, "schedule": schedule, "plateau": None}
        run = dataclasses.replace(run, **changes, epochs=1 if epochs is None else epochs)
        origin, left = self._between_steps("branch", begin)
        if epochs is None:
            run = dataclasses.replace(run, epochs=left)
        return LiveRun(run, on_progress=on_progress, _origin=origin)

    def save_model(self, path: str | os.PathLike[str]) -> Path:
        """Writes the current model, whole or not at all.

        The saved model is not compiled, so `keras.models.load_model` does not need this package.
        The LeNet's inputs are float images in [0, 1], its outputs logits.

        Args:
            path: File to write, ending in ".keras". Missing folders are made.

        Returns:
            The path.

        Raises:
            ValueError: The path has another ending.
            RuntimeError: There is no model yet, or a single step takes longer than two seconds.
            OSError: The file cannot be written; the error names the path.
        """
        path = Path(path)
        if path.suffix != ".keras":
            raise ValueError(f'path must end in ".keras". Received: path="{path}"')

        def saved() -> bytes:
            model = self._whole("save_model").model()
            with tempfile.TemporaryDirectory() as folder:
                whole = Path(folder) / "model.keras"
                save_uncompiled(model, whole)
                return whole.read_bytes()

        return write_whole(path, self._between_steps("save_model", saved))

    # Internals, for the run and its thread.

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
        """Returns what the function returns when it is called while no step is under way."""
        if threading.current_thread() is self._thread:
            return function()
        with self._changed:
            self._made(what)
            if not self._under_way:
                return function()  # the lock keeps the run from going on
            future = self._questions.ask(function)
        return answered(future, _PATIENCE, what)

    def _description(self, run: Run) -> dict[str, Any]:
        branched = {"branched_from": [self.parent, self.first_step]} if self.parent else {}
        return {**run.description(), **branched}

    def _launch(self, epochs: int | None) -> None:
        """Starts the thread for N epochs, or for the run's own. Call it with the lock held."""
        name = "" if self.run is None else self.run.name
        self._thread = threading.Thread(
            target=self._work, args=(epochs,), name=f"keraslr {name}", daemon=True
        )
        self._thread.start()
        self._under_way, self._state = True, "setting up"
        if self._trainer is not None:
            self._plan(self._trainer, epochs)
        stop_at_end(self)

    def _plan(self, trainer: Trainer, epochs: int | None) -> None:
        """Notes the total numbers of epochs and steps."""
        more = trainer.run.epochs if epochs is None else epochs
        every = trainer.steps_per_epoch
        self._steps = None if every is None else self.result.steps_done + more * every
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
        self._questions.answer(self._ended)

    def _set_up(self, epochs: int | None) -> Trainer | None:
        """Returns the trainer, without its model yet; None if the run was stopped before."""
        require_tensorflow()
        from keraslr.training._trainer import Trainer

        origin = self._origin
        run = self._describe() if self.run is None else self.run
        if not isinstance(run, Run):
            raise TypeError(f"run must be a function that returns a Run. Received: {run!r}")
        problem = problem_of(run) if origin.problem is None else origin.problem
        if self._stopping:
            return None
        named = {"dataset": problem.name} if run.problem is None else {}
        self.result.run = {**self._description(run), **named}
        self.run = run
        if _LET_GO.is_set():
            # Graphs are in reference cycles, which Python might collect only after dozens of runs.
            _LET_GO.clear()
            gc.collect()
        self._steered = SteeredSchedule(run.schedule, origin.step)
        trainer = Trainer(
            run, problem, self.result, learning_rate=self._steered,
            first_epoch=origin.epochs_begun, state=origin.state,
        )  # fmt: skip
        self._plan(trainer, epochs)
        self._trainer, self._origin = trainer, Origin()  # whose weights may go now
        return trainer

    def _before_slice(self) -> bool:
        """Answers questions, waits while paused, sets the rate; returns whether to stop."""
        if self._trainer is not None and self._trainer.made:
            self._questions.answer(self._may_go_on)
            self._steer()
        return self._stopping

    def _after_slice(self, done: int, steps: int, result: Result) -> None:
        assert self._trainer is not None
        self._steps = self._trainer.steps
        self._times.append((self._trainer.seconds, self._trainer.examples))
        (begin, before), (end, after) = self._times[0], self._times[-1]
        if end > begin:
            self._speed = (after - before) / (end - begin)
        if len(self._times) == 2:
            give_way()  # now that TensorFlow has all its threads
        if self._on_progress is not None:
            self._on_progress(result)

    def _may_go_on(self) -> bool:
        paused = self._pausing and not self._stopping
        self._state = "paused" if paused else "training"
        return not paused

    def _ended(self) -> bool:
        write_steering(self.result)  # drops notes of steps that never came
        self._state, self._under_way = self.result.status, False
        self._changed.notify_all()
        return True

    def _steer(self) -> None:
        assert self._steered is not None
        rate = self.held_rate
        # The plateau rule scales what it is given, but a rate set by hand is applied as it is.
        scale = self._trainer.plateau_scale() if self._trainer is not None else 1.0
        self._steered.hold(rate if rate is None or not scale else rate / scale)
        write_steering(self.result, [self.result.steps_done, rate])


def _settings(plateau: Any) -> Any:
    return None if plateau is None else plateau.settings()
