"""The Python part of training: the epochs of a run, their record, and the checks for a stop."""

from __future__ import annotations

import contextlib
import functools
import inspect
import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.callbacks._attached import Attached
from keraslr.callbacks._rate import scales_of
from keraslr.optimizers._of_a_model import groups_of, optimizers_of
from keraslr.optimizers._tracked import tracked_optimizers
from keraslr.problems import Problem
from keraslr.training._eager_loop import EagerLoop
from keraslr.training._feed import feed_of
from keraslr.training._loop import Loop
from keraslr.training._result import RATE, OnProgress, Result
from keraslr.training._run import Run, model_of
from keraslr.training._steering import RestingPlateau, SteeredSchedule


class Trainer:
    """The model and the loop of a run, for training some epochs at a time.

    Keras makes them in the first call of `advance`, in the thread of that call.

    Args:
        run: Run to train; its `epochs` are not used here.
        problem: Problem of the run.
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
        steps: Total steps after the requested epochs; None while nobody knows.
        steps_per_epoch: Optimizer steps per epoch; None while nobody knows.
        epochs_wanted: Epochs after those requested.
        epochs_begun: Epochs with at least one step done, those before `first_epoch` included.
        examples: Number of examples trained on.
        test_steps: Per epoch: steps done at its test.
        whole: Whether the weights exist, and are those after the last step in the result.
    """

    def __init__(
        self,
        run: Run,
        problem: Problem,
        result: Result,
        *,
        learning_rate: Any = None,
        first_epoch: int = 0,
        state: Sequence[np.ndarray] | None = None,
        distribution_strategy: Any = None,
    ):
        self.run, self.problem, self.result = run, problem, result
        self.optimizer: Any = None
        self._data = problem.data()
        self.steps_per_epoch = problem.steps(run.batch_size)
        epochs, every = result.epochs_done, self.steps_per_epoch
        if every is None and epochs:
            every = self.steps_per_epoch = result.steps_done // epochs
        self.steps: int | None = 0
        self.examples = epochs * (problem.examples or (every or 0) * run.batch_size)
        self.test_steps = [(epoch + 1) * (every or 0) for epoch in range(epochs)]
        self.epochs_begun, self.made, self.whole = first_epoch, False, False
        self.epochs_wanted = first_epoch + run.epochs
        self.released = False
        self._learning_rate = learning_rate
        self._first_state = state
        self._own_numbers = 0
        self._loop: Any = None
        self._model: Any = None
        self._callbacks: Any = None
        self._distribution_strategy = distribution_strategy
        self._watch = _Stopwatch(result.wall_time)

    @property
    def examples_per_step(self) -> float:
        """Mean number of examples of a step; of data that come in batches, so far."""
        if self.problem.examples is not None and self.steps_per_epoch is not None:
            return self.problem.examples / self.steps_per_epoch
        return self.examples / max(1, self.result.steps_done)

    @property
    def seconds(self) -> float:
        """Wall time of `advance` so far, except the time spent in `should_stop`."""
        return self._watch.seconds

    def state(self, *, callbacks: bool = True) -> list[np.ndarray]:
        """Returns all numbers of the model, of the optimizer and of callbacks kept with it.

        Args:
            callbacks: Whether to return those of callbacks.
        """
        count = None if callbacks else self._own_numbers
        if self.released:
            assert self._first_state is not None
            return list(self._first_state)[:count]
        return [keras.ops.convert_to_numpy(variable) for variable in self._variables()[:count]]

    def release(self) -> None:
        """Releases model, optimizer and graphs; the next `advance` makes them again."""
        if self.made:
            self._first_state = self.state()
            self.made, self.released = False, True
            self._loop = self._model = self.optimizer = self.result.model = self._callbacks = None

    def model(self) -> keras.Model:
        """Returns the current model; a copy if it was released."""
        return self._new_model() if self.released else self._model

    def plateau_scale(self) -> float:
        """Returns the product of the plateau rule's reductions; 1 without one."""
        if self._model is None or self.run.plateau is None:
            return 1.0
        return math.prod(scales_of(self.optimizer).values())

    def try_out(self) -> tuple[str, ...]:
        """Returns the names of an epoch's figures, without the learning rate.

        Raises:
            ValueError: The model cannot be trained on the first batch.
        """
        self._make_model()
        self._make_loop()
        self._loop.try_out()
        return (*self._loop._names, *(f"val_{name}" for name in self._loop._test_names))

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
        self.epochs_wanted = self.epochs_begun + epochs
        self._plan(epochs)
        callbacks, self._model.stop_training = self._callbacks, False
        callbacks.set_params({"epochs": self.epochs_wanted, "steps": self.steps_per_epoch})
        callbacks.on_train_begin()
        for left in range(epochs, 0, -1):
            self._plan(left)
            status = self._epoch(on_progress, told)
            if status == "diverged":
                callbacks.on_train_end()
            if status != "running":
                return status
            if on_epoch is not None:
                self._note_time()
                on_epoch()
            if self._model.stop_training:
                break
        # As `fit` does at its end: with use_ema, the averages replace the weights.
        self._model.optimizer.finalize_variable_values(self._model.trainable_variables)
        callbacks.on_train_end()
        return "finished"

    def _plan(self, epochs: int) -> None:
        """Notes the total steps, with N more epochs to come."""
        every = self.steps_per_epoch
        self.steps = None if every is None else self.result.steps_done + epochs * every

    def _new_model(self) -> keras.Model:
        model = model_of(self.run, self.problem, self._learning_rate)
        if not model.built:
            self._build(model)
        # The optimizer's numbers come after the model's.
        for variable, value in zip(model.variables, self._first_state or (), strict=False):
            variable.assign(value)
        return model

    def _build(self, model: keras.Model) -> None:
        """Creates the variables of a model that learns its input's form from the first batch."""
        if type(model).call is keras.Model.call:
            return  # it cannot be called: its `train_step` creates them
        spec = feed_of(self._data.train, self.run.batch_size).spec
        prepare = self.problem.prepare

        def called(batch: Any) -> Any:
            x, *_ = keras.utils.unpack_x_y_sample_weight(prepare(batch) if prepare else batch)
            return model(x)

        # A model that is only ever trained by a `train_step` of its own may not be callable.
        with contextlib.suppress(NotImplementedError):
            tf.function(called, autograph=False).get_concrete_function(spec)

    def _make_model(self) -> None:
        self.result.model = self._model = self._new_model()
        self.optimizer = optimizers_of(self._model)[0]
        # Before the graphs: callbacks put the rate that they scale or record into the optimizer.
        self._callbacks = keras.callbacks.CallbackList(self._made_callbacks(), model=self._model)

    def _made_callbacks(self) -> list[keras.callbacks.Callback]:
        made: list[keras.callbacks.Callback] = []
        if self.run.callbacks is not None:
            wants = inspect.signature(self.run.callbacks).parameters
            found = self.run.callbacks(self.run) if wants else self.run.callbacks()
            if not isinstance(found, list | tuple) or not all(
                isinstance(each, keras.callbacks.Callback) for each in found
            ):
                raise TypeError(
                    "callbacks must be a function that returns a list of Keras callbacks. "
                    f"Received: {found!r}"
                )
            made += found
        if self.run.plateau is not None:
            rule = RestingPlateau(**self.run.plateau.settings())
            if isinstance(self._learning_rate, SteeredSchedule):
                rule.held_by = self._learning_rate
            made.append(rule)
        return made

    def _make_loop(self) -> None:
        data, size, first = self._data, self.run.batch_size, self.epochs_begun
        validation_size = self.problem.validation_batch_size or size
        if self._distribution_strategy is not None:
            from keraslr.training._distributed import ReplicatedLoop, replicated_feed

            if self._model.run_eagerly:
                raise ValueError(
                    "model must be compiled without run_eagerly for a distribution strategy. "
                    f"Received: {self._model.name!r} with run_eagerly=True"
                )
            kind: type[Loop] = ReplicatedLoop
            make: Callable[..., Any] = functools.partial(
                replicated_feed, self._distribution_strategy
            )
        else:
            kind = EagerLoop if self._model.run_eagerly else Loop
            make = feed_of
        train = make(data.train, size, self.run.seed, first)
        validation = None if data.validation is None else make(data.validation, validation_size)
        self._loop = kind(self._model, train, validation, self.problem.prepare)
        if self._first_state is None:
            self.problem.require_faithful_copy(self.run.batch_size)
        if any(getattr(each, "every_batch", False) for each in self._callbacks.callbacks):
            self._loop.slice_steps = 1
        self.result.device = self._loop.device
        if self._first_state is not None:
            self._model.optimizer.build(self._model.trainable_variables)
            # Without the numbers of callbacks, where a branch has other callbacks than its parent.
            variables = self._variables()[: len(self._first_state)]
            if len(variables) < len(self._first_state):
                raise ValueError(
                    "model must be compiled without run_eagerly to go on from a state with several "
                    "optimizers: their variables come with the first graph. "
                    f"Received: {self._model.name!r} with run_eagerly=True"
                )
            for variable, value in zip(variables, self._first_state, strict=True):
                variable.assign(value)
            self._first_state = None
        self._own_numbers = len(self._model.variables) + sum(
            len(each.variables) for each in tracked_optimizers(self._model).values()
        )
        self.made = self.whole = True
        self.released = False

    def _any_worker(self, stop: bool) -> bool:
        """Returns whether any worker has to stop: no worker can continue alone."""
        from keraslr.training._cluster import mean_over_workers

        return mean_over_workers(self._distribution_strategy, float(stop)) > 0

    def _variables(self) -> list[Any]:
        # `model.optimizer` first; a train step of the user's may apply others, too.
        optimizers = tracked_optimizers(self._model).values()
        own = [variable for each in optimizers for variable in each.variables]
        of_callbacks = [
            variable
            for each in optimizers
            for group in groups_of(each)
            for value in vars(group).values()
            if isinstance(value, Attached)
            for variable in value.variables
        ]
        known = {id(variable) for variable in own}
        others = {id(each): each for each in of_callbacks if id(each) not in known}
        return [*self._model.variables, *own, *others.values()]

    def _epoch(self, on_progress: OnProgress | None, told: Callable[[], bool]) -> str:
        """Trains one epoch, records it in the result, and returns the status after it."""
        loop, epoch = self._loop, self.epochs_begun
        loop.begin(epoch)
        try:
            return self._whole_epoch(epoch, on_progress, told)
        finally:
            loop.end()

    def _whole_epoch(
        self, epoch: int, on_progress: OnProgress | None, told: Callable[[], bool]
    ) -> str:
        loop, result, callbacks = self._loop, self.result, self._callbacks
        begin, done, is_last = self.seconds, 0, False
        hooked = any(map(_has_batch_hooks, callbacks.callbacks))
        callbacks.on_epoch_begin(epoch)
        while not is_last:
            if told():
                return "stopped"
            if hooked:
                callbacks.on_train_batch_begin(done)
            self.whole = False
            found = loop.slice(done)
            watched = found.figures.get("loss", next(iter(found.figures.values())))
            infinite = np.flatnonzero(~np.isfinite(watched))
            kept = int(infinite[0]) + 1 if len(infinite) else len(watched)
            for name, values in found.figures.items():
                result.steps.setdefault(name, []).extend(_short(values[:kept]))
            self.examples += int(found.sizes[:kept].sum())
            self.epochs_begun = epoch + 1
            if len(infinite):
                return "diverged"
            self.whole = True
            self._note_time()
            done, is_last = done + kept, found.is_last
            if hooked and kept:
                callbacks.on_train_batch_end(done - 1, loop.epoch_figures())
            if self._model.stop_training:
                is_last = True
            if not is_last and on_progress is not None:
                on_progress(result.steps_done, self.steps or result.steps_done, result)
        if not done:
            raise ValueError("x must hold at least one batch in each epoch. Received: none")
        self.steps_per_epoch = loop.steps_per_epoch
        figures = loop.epoch_figures()
        test: Any = None
        if self._data.validation is not None:
            callbacks.on_test_begin()
            for test in loop.evaluate():
                if test is None and told():
                    return "stopped"
            callbacks.on_test_end(test)
        figures.update({f"val_{name}": value for name, value in (test or {}).items()})
        callbacks.on_epoch_end(epoch, dict(figures))
        figures[RATE] = result.learning_rate[-1]
        # All together, after the slow part, so that Ctrl-C leaves lists of one length.
        for name, value in figures.items():
            result.epochs.setdefault(name, []).append(value)
        result.epoch_seconds.append(round(self.seconds - begin, 4))
        self.test_steps.append(result.steps_done)
        if self.steps is None:
            self._plan(self.epochs_wanted - self.epochs_begun)
        if on_progress is not None:
            self._note_time()
            on_progress(result.steps_done, self.steps or result.steps_done, result)
        # No training loss of an epoch shows the effect of its last update.
        return "running" if math.isfinite(figures.get("val_loss", 0.0)) else "diverged"

    def _note_time(self) -> None:
        self.result.wall_time = seconds = round(self.seconds, 3)
        self.result.examples_per_second = round(self.examples / seconds, 1) if seconds else 0.0


def _has_batch_hooks(callback: keras.callbacks.Callback) -> bool:
    """Returns whether the callback does anything at the beginning or end of a training batch."""
    plain = keras.callbacks.Callback
    return any(
        getattr(getattr(callback, name), "__func__", None) is not getattr(plain, name)
        for name in ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
    )


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
