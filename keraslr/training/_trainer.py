"""The Python part of training: the epochs of a run, their record, and the checks for a stop."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np

from keraslr.datasets import Dataset
from keraslr.training._loop import Loop
from keraslr.training._result import OnProgress, Result
from keraslr.training._run import Run, model_of, optimizer_of


class Trainer:
    """The model, the optimizer and the loop of a run, for training some epochs at a time.

    Keras makes them in the first call of `advance`, in the thread of that call.

    Args:
        run: Run to train; its `epochs` are not used here.
        data: Dataset of the run.
        result: Result to write into. It must hold whole epochs; its lists only grow.
        learning_rate: Function of the optimizer's step that replaces the run's schedule.
        first_epoch: Number of the first epoch: the order of the examples depends on it.
        state: State to start from, returned by `state` of a trainer of the same run; None for
            first weights.
        distribution_strategy: `tf.distribute.Strategy` to train with; None for one device.

    Attributes:
        optimizer: Optimizer of the run; None until it is made. The same holds for the model in the
            result.
        made: Whether model, optimizer and loop are made.
        released: Whether they were released again, except their numbers.
        steps: Total steps after the requested epochs.
        epochs_begun: Epochs with at least one step done, those before `first_epoch` included.
        examples: Number of examples trained on.
        test_steps: Per epoch: steps done at its test.
        whole: Whether the weights exist, and are those after the last step in the result.
    """

    def __init__(
        self,
        run: Run,
        data: Dataset,
        result: Result,
        *,
        learning_rate: Any = None,
        first_epoch: int = 0,
        state: Sequence[np.ndarray] | None = None,
        distribution_strategy: Any = None,
    ):
        self.run, self.data, self.result = run, data, result
        self.optimizer: Any = None
        epochs = len(result.train_loss)
        self.steps, self.examples = 0, epochs * len(data.x_train)
        self.test_steps = [(epoch + 1) * self.steps_per_epoch for epoch in range(epochs)]
        self.epochs_begun, self.made, self.whole = first_epoch, False, False
        self.released = False
        self._learning_rate = run.schedule if learning_rate is None else learning_rate
        self._first_state = state
        self._loop: Any = None
        self._model: Any = None
        self._distribution_strategy = distribution_strategy
        self._watch = _Stopwatch(result.wall_time)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps per epoch."""
        return -(-len(self.data.x_train) // self.run.batch_size)

    @property
    def seconds(self) -> float:
        """Wall time of `advance` so far, except the time spent in `should_stop`."""
        return self._watch.seconds

    def state(self) -> list[np.ndarray]:
        """Returns all numbers of the model and of the optimizer."""
        if self.released:
            assert self._first_state is not None
            return list(self._first_state)
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables()]

    def release(self) -> None:
        """Releases model, optimizer and graphs; the next `advance` makes them again."""
        if self.made:
            self._first_state = self.state()
            self.made, self.released = False, True
            self._loop = self._model = self.optimizer = self.result.model = None

    def model(self) -> keras.Model:
        """Returns the current model; a copy if it was released."""
        return self._new_model() if self.released else self._model

    def advance(
        self,
        epochs: int,
        on_progress: OnProgress | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_epoch: Callable[[], None] | None = None,
    ) -> None:
        """Trains N more epochs, as `train` does, and sets `result.status`.

        An unfinished epoch is not resumed. Errors and Ctrl-C are raised, and the result then holds
        all steps before them. `on_epoch` is called after each whole epoch, while its state is
        available.
        """
        result, result.status = self.result, "running"
        scope = (
            contextlib.nullcontext()
            if self._distribution_strategy is None
            else self._distribution_strategy.scope()
        )
        try:
            with self._watch.running(True), scope:
                result.status = self._advanced(epochs, on_progress, should_stop, on_epoch)
        finally:
            self._note_time()

    def _advanced(
        self,
        epochs: int,
        on_progress: OnProgress | None,
        should_stop: Callable[[], bool] | None,
        on_epoch: Callable[[], None] | None,
    ) -> str:
        def told() -> bool:
            with self._watch.running(False):
                stop = should_stop is not None and should_stop()
            return stop if self._distribution_strategy is None else self._any_worker(stop)

        if not self.made:
            self._make_model()
            if told():
                return "stopped"
            self._make_loop()
        self.steps = len(self.result.loss) + epochs * self.steps_per_epoch
        for _ in range(epochs):
            status = self._epoch(on_progress, told)
            if status != "running":
                return status
            if on_epoch is not None:
                self._note_time()
                on_epoch()
        # As `fit` does at its end: with use_ema, the averages replace the weights.
        self.optimizer.finalize_variable_values(self._model.trainable_variables)
        return "finished"

    def _new_model(self) -> keras.Model:
        model = model_of(self.run)
        # The optimizer's numbers come after the model's.
        for variable, value in zip(model.variables, self._first_state or (), strict=False):
            variable.assign(value)
        return model

    def _make_model(self) -> None:
        self.result.model = self._model = self._new_model()
        self.optimizer = optimizer_of(self.run, self._learning_rate)

    def _make_loop(self) -> None:
        what = self._model, self.optimizer, self.data, self.run.batch_size
        if self._distribution_strategy is None:
            self._loop = Loop(*what)
        else:
            from keraslr.training._distributed import ReplicatedLoop

            self._loop = ReplicatedLoop(*what, self._distribution_strategy)
        self.result.device = self._loop.device
        if self._first_state is not None:
            for variable, value in zip(self._variables(), self._first_state, strict=True):
                variable.assign(value)
            self._first_state = None
        self.made = self.whole = True
        self.released = False

    def _any_worker(self, stop: bool) -> bool:
        """Returns whether any worker has to stop: no worker can continue alone."""
        from keraslr.training._cluster import mean_over_workers

        return mean_over_workers(self._distribution_strategy, float(stop)) > 0

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self.optimizer.variables]

    def _epoch(self, on_progress: OnProgress | None, told: Callable[[], bool]) -> str:
        """Trains one epoch, records it in the result, and returns the status after it."""
        loop, result, epoch = self._loop, self.result, self.epochs_begun
        begin, first_of_epoch, done = self.seconds, len(result.loss), 0
        # From seed and epoch alone, so that a single epoch can be trained again.
        loop.shuffle(np.random.default_rng([self.run.seed, epoch]).permutation(loop.examples))
        while done < loop.steps_per_epoch:
            if told():
                return "stopped"
            self.whole = False
            loss, accuracy, rate = loop.slice(done)
            infinite = np.flatnonzero(~np.isfinite(loss))
            kept = int(infinite[0]) + 1 if len(infinite) else len(loss)
            for record, values in (
                (result.loss, loss),
                (result.accuracy, accuracy),
                (result.learning_rate, rate),
            ):
                record.extend(_short(values[:kept]))
            self.examples += int(loop.sizes(done, kept).sum())
            self.epochs_begun = epoch + 1
            if len(infinite):
                return "diverged"
            self.whole = True
            self._note_time()
            done += kept
            if done < loop.steps_per_epoch and on_progress is not None:
                on_progress(len(result.loss), self.steps, result)
        test: Any = None
        for test in loop.evaluate():
            if test is None and told():
                return "stopped"
        sizes = loop.sizes(0, done)
        losses, accuracies = result.loss[first_of_epoch:], result.accuracy[first_of_epoch:]
        # All together, after the slow part, so that Ctrl-C leaves lists of one length.
        result.train_loss.append(float(np.average(losses, weights=sizes)))
        result.train_accuracy.append(float(np.average(accuracies, weights=sizes)))
        result.test_loss.append(test[0])
        result.test_accuracy.append(test[1])
        result.epoch_seconds.append(round(self.seconds - begin, 4))
        self.test_steps.append(len(result.loss))
        if on_progress is not None:
            self._note_time()
            on_progress(len(result.loss), self.steps, result)
        # No training loss of an epoch shows the effect of its last update.
        return "running" if math.isfinite(test[0]) else "diverged"

    def _note_time(self) -> None:
        self.result.wall_time = seconds = round(self.seconds, 3)
        self.result.examples_per_second = round(self.examples / seconds, 1) if seconds else 0.0


class _Stopwatch:
    """A stopwatch that can be paused.

    Attributes:
        seconds: Seconds for which the stopwatch ran.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._counted, self._since, self._runs = seconds, 0.0, False

    @property
    def seconds(self) -> float:
        return self._counted + (time.perf_counter() - self._since if self._runs else 0.0)

    @contextlib.contextmanager
    def running(self, runs: bool) -> Iterator[None]:
        """Starts or pauses the stopwatch within the `with` block."""
        before = self._runs
        self._set(runs)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, runs: bool) -> None:
        self._counted, self._since, self._runs = self.seconds, time.perf_counter(), runs


def _short(values: np.ndarray) -> list[float]:
    """Returns float32 numbers as their shortest decimals: 0.3, not 0.30000001192092896."""
    return [float(str(value)) for value in values]
