"""What Python does around the loop: the epochs of a run, their record, and how it is stopped."""

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
    """The model, the optimizer and the loop of a run, which train some epochs at a time.

    Keras makes all of it in the first call of `advance`, in whose thread.

    Args:
        run: What to train; its `epochs` do not matter here.
        data: Its dataset.
        result: What to write into. Its lists only grow. What it holds are whole epochs.
        learning_rate: A function of the optimizer's step in place of the run's schedule.
        first_epoch: Number of the first epoch: the order of the examples depends on it.
        state: What `state` of a trainer of such a run gave, to begin from; None for first weights.
        distribution_strategy: A `tf.distribute.Strategy` to train under; None for one device.

    Attributes:
        optimizer: None until it is made, and so is the model in the result.
        made: Whether all is made that Keras makes.
        released: Whether it was let go of again, but for its numbers.
        steps: Steps there will be after the epochs that were asked for.
        epochs_begun: Epochs of which a step was done, those before `first_epoch` included.
        examples: Examples trained on.
        test_steps: Per epoch: steps done when the test was made.
        whole: Whether the weights are there, and are those after the last step in the result.
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
        self._strategy = distribution_strategy
        self._watch = _Stopwatch(result.wall_time)

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return -(-len(self.data.x_train) // self.run.batch_size)

    @property
    def seconds(self) -> float:
        """Wall time of `advance` so far, but for what `should_stop` took of it."""
        return self._watch.seconds

    def state(self) -> list[np.ndarray]:
        """All numbers of the model and of the optimizer."""
        if self.released:
            assert self._first_state is not None
            return list(self._first_state)
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables()]

    def release(self) -> None:
        """Lets go of model, optimizer and graphs, which the next `advance` makes again."""
        if self.made:
            self._first_state = self.state()
            self.made, self.released = False, True
            self._loop = self._model = self.optimizer = self.result.model = None

    def model(self) -> keras.Model:
        """The model as it is now; a copy, where it was let go of."""
        return self._new_model() if self.released else self._model

    def advance(
        self,
        epochs: int,
        on_progress: OnProgress | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_epoch: Callable[[], None] | None = None,
    ) -> None:
        """Trains that many epochs more, as `train` does; `result.status` says how it ended.

        An epoch that was broken off is not taken up again. Errors, and Ctrl-C, are passed on with
        the result up to them. After each whole epoch, while its state is at hand, `on_epoch` is
        called.
        """
        result, result.status = self.result, "running"
        scope = contextlib.nullcontext() if self._strategy is None else self._strategy.scope()
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
            return stop if self._strategy is None else self._any_worker(stop)

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
        # As `fit` does at its end: with use_ema, the weights become their averages.
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
        if self._strategy is None:
            self._loop = Loop(*what)
        else:
            from keraslr.training._distributed import ReplicatedLoop

            self._loop = ReplicatedLoop(*what, self._strategy)
        self.result.device = self._loop.device
        if self._first_state is not None:
            for variable, value in zip(self._variables(), self._first_state, strict=True):
                variable.assign(value)
            self._first_state = None
        self.made = self.whole = True
        self.released = False

    def _any_worker(self, stop: bool) -> bool:
        """Whether one of the workers is to stop: none may go on alone."""
        from keraslr.training._cluster import mean_over_workers

        return mean_over_workers(self._strategy, float(stop)) > 0

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self.optimizer.variables]

    def _epoch(self, on_progress: OnProgress | None, told: Callable[[], bool]) -> str:
        """Trains an epoch into the result; returns the status after it."""
        loop, result, epoch = self._loop, self.result, self.epochs_begun
        begin, first_of_epoch, done = self.seconds, len(result.loss), 0
        # Of the seed and the epoch alone, so that an epoch can be run again by itself.
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
        # All at once, after the last that takes time: Ctrl-C leaves them of one length.
        result.train_loss.append(float(np.average(losses, weights=sizes)))
        result.train_accuracy.append(float(np.average(accuracies, weights=sizes)))
        result.test_loss.append(test[0])
        result.test_accuracy.append(test[1])
        result.epoch_seconds.append(round(self.seconds - begin, 4))
        self.test_steps.append(len(result.loss))
        if on_progress is not None:
            self._note_time()
            on_progress(len(result.loss), self.steps, result)
        # The last update of an epoch shows in no training loss of it.
        return "running" if math.isfinite(test[0]) else "diverged"

    def _note_time(self) -> None:
        self.result.wall_time = seconds = round(self.seconds, 3)
        self.result.examples_per_second = round(self.examples / seconds, 1) if seconds else 0.0


class _Stopwatch:
    """Adds up seconds.

    Attributes:
        seconds: Seconds for which it ran.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._counted, self._since, self._runs = seconds, 0.0, False

    @property
    def seconds(self) -> float:
        return self._counted + (time.perf_counter() - self._since if self._runs else 0.0)

    @contextlib.contextmanager
    def running(self, runs: bool) -> Iterator[None]:
        """Lets it run, or stand still, for a while."""
        before = self._runs
        self._set(runs)
        try:
            yield
        finally:
            self._set(before)

    def _set(self, runs: bool) -> None:
        self._counted, self._since, self._runs = self.seconds, time.perf_counter(), runs


def _short(values: np.ndarray) -> list[float]:
    """Float32 numbers as the shortest decimals that are theirs: 0.3, not 0.30000001192092896."""
    return [float(str(value)) for value in values]
