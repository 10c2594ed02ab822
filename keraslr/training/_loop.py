"""The training loop that TensorFlow runs, for any Keras model.

A step of a small network takes less time than a call from Python. So one call of the graph trains a
slice of an epoch: for each batch it calls the model's own `train_step`, and records what that
reports and the rate that it applied. All that was compiled counts, since Keras's own step is what
runs, and the numbers equal those of `fit` with the same batches. The gain over `fit` is measured by
`python -m benchmarks --only epoch`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.optimizers._of_a_model import groups_of, learning_rate_of, optimizers_of
from keraslr.optimizers._tracked import applications, names_of, tracked_optimizers
from keraslr.training._step import Graph, compiled_step, refused, scalars, summed_metrics

# Approximate time of a slice: short enough for a quick stop, long enough to cost nothing.
_SLICE_SECONDS = 0.2
# The environment variable that sets the steps of a slice instead, for tests that must not depend on
# the speed of the machine. All workers of a cluster need the same value.
SLICE_STEPS = "KERASLR_SLICE_STEPS"
# Steps of the first slice.
_FIRST_SLICE = 4
# Most steps of a slice, which the graph allocates memory for.
_MAX_SLICE = 1 << 20


def _steps_asked_for() -> int | None:
    """Returns the steps of each slice set in the environment; None if not set."""
    said = os.environ.get(SLICE_STEPS)
    if not said:
        return None
    if not said.isdecimal() or int(said) < 1:
        raise ValueError(f"{SLICE_STEPS} must be an integer >= 1. Received: {said!r}")
    return int(said)


@dataclasses.dataclass(frozen=True, eq=False)
class Slice:
    """What was recorded of the steps of a slice.

    Attributes:
        figures: What the train step reported, by name, and "learning_rate": arrays (steps,).
        sizes: Examples of each batch, integers (steps,).
        is_last: Whether the epoch is over.
    """

    figures: Mapping[str, np.ndarray]
    sizes: np.ndarray
    is_last: bool


class Loop:
    """Trains a compiled model on batches of a feed.

    Args:
        model: Compiled model.
        feed: `ArrayFeed` or `BatchFeed` to train on.
        validation: The same to evaluate; None for none.
        prepare: Function that turns a batch as the feed has it into a batch as `fit` takes it, in
            the graph; None to leave it as it is.

    Attributes:
        slice_steps: Steps of each slice; None for as many as take a fifth of a second. The results
            do not depend on it.
        device: Name of the device.

    Raises:
        ValueError: The model cannot be trained on the batches.
    """

    def __init__(
        self,
        model: keras.Model,
        feed: Any,
        validation: Any = None,
        prepare: Callable[[Any], Any] | None = None,
    ):
        self.model, self._feed, self._validation, self._prepare = model, feed, validation, prepare
        self.slice_steps = _steps_asked_for()
        self._applied: list[keras.Optimizer] = []
        self._slice_length = self._piece_length = _FIRST_SLICE
        self.device = self._device()
        self._names: tuple[str, ...] = ()
        self._step: Any = None
        with self._noting_optimizers():
            self._step, self._names = self._traced(model.train_step, feed, "train_step")
        if self._names:
            self._require_driven()
        self._test: Any = None
        self._test_names: tuple[str, ...] = ()
        if validation is not None:
            self._test, self._test_names = self._traced(model.test_step, validation, "test_step")
        self._slice, self._piece = self._graphs()
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self.model.reset_metrics()
        self._sums = self._sums_now()

    def begin(self, epoch: int) -> None:
        """Begins an epoch."""
        self._begin_epoch()
        self._feed.begin(epoch)
        self._values: dict[str, list[np.ndarray]] = {}
        self._sizes: list[np.ndarray] = []

    def end(self) -> None:
        """Ends an epoch, also one that was stopped."""
        self._feed.end()

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch; None until the first epoch is over if nobody can know."""
        return self._feed.steps

    def slice(self, first: int) -> Slice:
        """Trains the next steps of the epoch, of which `first` are done."""
        steps = min(self.slice_steps or self._slice_length, _MAX_SLICE)
        if self._feed.steps is not None:
            steps = min(steps, self._feed.steps - first)
        begin = time.perf_counter()
        with self._own_gradients(), refused(self.model, "train_step"):
            going, sizes, figures = self._trained_slice(self._feed.arguments(first, steps), steps)
        done = len(sizes)
        if done:
            per_step = (time.perf_counter() - begin) / done
            # At most doubled: one slow or fast slice is little evidence.
            self._slice_length = max(1, min(2 * steps, int(_SLICE_SECONDS / per_step)))
        for name, values in figures.items():
            self._values.setdefault(name, []).append(values)
        self._sizes.append(sizes)
        return Slice(figures, sizes, self._is_last(first, done, going))

    def try_out(self) -> None:
        """Evaluates the first batch, which shows what tracing cannot: targets out of range.

        Does nothing where that would spend the data of a generator, and for a model with a
        `train_step` or `test_step` of its own, which may do anything.
        """
        kind = type(self.model)
        own = any(
            getattr(kind, name) is not getattr(keras.Model, name)
            for name in ("train_step", "test_step")
        )
        if own or not self._feed.can_restart:
            return
        self._feed.begin(0)
        try:
            there, batch = self._feed.take(self._feed.arguments(0, 1), tf.constant(0))
            if there is None or there:
                batch = self._feed.load(batch() if callable(batch) else batch)
                with refused(self.model, "test_step"):
                    self.model.test_step(batch if self._prepare is None else self._prepare(batch))
        finally:
            self._feed.end()

    def _trained_slice(
        self, arguments: Any, steps: int
    ) -> tuple[bool, np.ndarray, dict[str, np.ndarray]]:
        """Trains up to that many steps; returns whether there are more, sizes and figures."""
        going, self._sums, sizes, figures = self._slice(arguments, tf.constant(steps), self._sums)
        recorded = {name: values.numpy() for name, values in figures.items()}
        return bool(going), sizes.numpy(), recorded

    def _tested_piece(self, arguments: Any, steps: int) -> tuple[int, bool, dict[str, Any]]:
        """Evaluates up to that many batches; returns how many, whether more, and the last logs."""
        found, going, logs = self._piece(arguments, tf.constant(steps))
        return int(found), bool(going), logs

    def _is_last(self, first: int, done: int, going: bool) -> bool:
        if self._feed.steps is None:
            if not going:
                self._feed.steps = first + done
            return not going
        if not going and self._feed.is_endless and first + done < self._feed.steps:
            raise ValueError(
                "steps_per_epoch must not exceed the batches that the data hold: they ended after "
                f"{first + done} steps of an epoch. Received: steps_per_epoch={self._feed.steps}"
            )
        return not going or first + done >= self._feed.steps

    def epoch_figures(self) -> dict[str, float]:
        """Returns the figures of the epoch so far, as `fit` reports them.

        Metrics as over all examples at once; what else a train step reports as the mean over the
        examples.
        """
        sizes = np.concatenate(self._sizes) if self._sizes else np.empty(0)
        if not len(sizes):
            return {}
        figures = {
            name: _weighted_mean(np.concatenate(values), sizes)
            for name, values in self._values.items()
            if name != "learning_rate"
        }
        summed, idle = summed_metrics(self.model), set()
        totals = iter(self._sums)
        for metric in summed:
            parts = [next(totals) for _ in metric.variables]
            for variable, total in zip(metric.variables, parts, strict=True):
                variable.assign(total)
            if not any(np.any(total.numpy()) for total in parts):
                # Nothing has updated it: the step reports a figure of that name by itself.
                idle.add(metric.name)
        found = scalars(self.model.get_metrics_result())
        if set(found) == set(figures):
            figures.update((name, float(v)) for name, v in found.items() if name not in idle)
        return figures

    def evaluate(self) -> Iterator[dict[str, float] | None]:
        """Evaluates the validation data piece by piece, so that the caller can stop between pieces.

        Yields:
            None between pieces; at the end the figures, as `evaluate` reports them, without "val_".
        """
        feed = self._validation
        if feed is None:
            yield {}
            return
        self.model.reset_metrics()
        feed.begin(0)
        done, logs = 0, {}
        try:
            while True:
                steps = self.slice_steps or self._piece_length
                if feed.steps is not None:
                    steps = min(steps, feed.steps - done)
                begin = time.perf_counter()
                with refused(self.model, "test_step"):
                    found, going, last = self._tested_piece(feed.arguments(done, steps), steps)
                done += found
                if found:
                    logs = last
                    per_step = (time.perf_counter() - begin) / found
                    self._piece_length = max(1, min(2 * steps, int(_SLICE_SECONDS / per_step)))
                if not going or (feed.steps is not None and done >= feed.steps):
                    break
                yield None
        finally:
            feed.end()
        if not done:
            raise ValueError("validation_data must hold at least one batch. Received: none")
        figures = scalars(self.model.get_metrics_result())
        if set(figures) != set(logs):
            figures = scalars(logs)
        yield {name: float(value) for name, value in figures.items()}

    # The graphs.

    def _device(self) -> str:
        return tf.identity(tf.constant(0, tf.int64)).device.rpartition("device:")[2]

    def _traced(self, step: Any, feed: Any, what: str) -> tuple[Any, tuple[str, ...]]:
        """Returns the compiled step and the names of what it reports.

        Tracing creates the variables that the model, the optimizer and the metrics do not have
        yet, and shows whether the model fits the data.
        """

        compiled = compiled_step(self.model, step, what, self._prepare)
        with self._own_gradients(), refused(self.model, what):
            graph = compiled.get_concrete_function(feed.spec)
        return compiled, tuple(graph.structured_outputs)

    def _graphs(self) -> tuple[Any, Any]:
        # Graphs of this instance alone. The data are arguments, so that a graph that is kept alive
        # elsewhere does not keep the data.
        sums = [tf.TensorSpec(total.shape, total.dtype) for total in self._sums_now()]

        def compiled(function: Any, feed: Any, *more: Any) -> Any:
            signature = None if feed is None else feed.signature()
            if signature is not None:
                # So that a slice with another number of examples is not traced again.
                signature = (signature, tf.TensorSpec([], tf.int32), *more)
            return self._graph(tf.function(function, autograph=False), signature)

        return (
            compiled(self._steps, self._feed, sums),
            compiled(self._steps_of_test, self._validation),
        )

    @staticmethod
    def _graph(function: Any, signature: Any) -> Any:
        return Graph(function, signature)

    def _sums_now(self) -> list[tf.Tensor]:
        metrics = summed_metrics(self.model)
        return [tf.convert_to_tensor(each) for metric in metrics for each in metric.variables]

    def _reset_metrics(self) -> None:
        """Resets the metrics whose figures of a step are those of its batch alone."""
        for metric in summed_metrics(self.model):
            metric.reset_state()

    @contextlib.contextmanager
    def _own_gradients(self) -> Iterator[None]:
        """Keeps Keras from summing the gradients over the replicas, where there is only one.

        It would sum them through a custom gradient, and TensorFlow's global registry keeps each
        custom gradient of a graph, and with it the graph and the weights.
        """
        optimizers = [] if self._is_distributed else self._groups()
        # Past the optimizer's own tracking, so that nothing of it is saved.
        for optimizer in optimizers:
            optimizer.__dict__["_all_reduce_sum_gradients"] = lambda pairs: pairs
        try:
            yield
        finally:
            for optimizer in optimizers:
                optimizer.__dict__.pop("_all_reduce_sum_gradients", None)

    def _groups(self) -> list[keras.Optimizer]:
        """Returns every optimizer that may update weights, also those that nothing steers."""
        named = tracked_optimizers(self.model).values()
        every = [group for each in named for group in groups_of(each)]
        return list({id(each): each for each in (*optimizers_of(self.model), *every)}.values())

    @contextlib.contextmanager
    def _noting_optimizers(self) -> Iterator[None]:
        """Notes which optimizers the train step applies."""
        with applications(self._groups()) as applied:
            try:
                yield
            finally:
                self._applied += applied

    def _require_driven(self) -> None:
        """Raises a `ValueError` unless the train step applies the optimizer with the schedule."""
        if {id(each) for each in self._applied} & {id(each) for each in optimizers_of(self.model)}:
            return
        names = names_of(tracked_optimizers(self.model), self._applied)
        raise ValueError(
            "the train step must apply model.optimizer, whose learning rate the schedule sets: "
            "compile the optimizer that the schedule is to drive as optimizer, with "
            "model.compile(optimizer=...), and apply self.optimizer. "
            f"Received: {self.model.name!r}, whose train step applies {', '.join(names) or 'none'}"
        )

    @property
    def _is_distributed(self) -> bool:
        return self.model.distribute_strategy.num_replicas_in_sync > 1

    def _steps(self, arguments: Any, steps: tf.Tensor, sums: list[tf.Tensor]) -> Any:
        names = self._names
        records = [
            tf.TensorArray(tf.float32, steps, element_shape=()) for _ in (*names, "learning_rate")
        ]
        sizes = tf.TensorArray(tf.int32, steps, element_shape=())

        def body(i: Any, going: Any, sizes: Any, records: Any, sums: Any) -> Any:
            there, batch = self._feed.take(arguments, i)

            def trained() -> Any:
                size, logs, rate, parts = self._train_on(batch() if callable(batch) else batch)
                figures = [*(logs[name] for name in names), rate]
                written = [
                    record.write(i, tf.cast(figure, tf.float32))
                    for record, figure in zip(records, figures, strict=True)
                ]
                added = [total + part for total, part in zip(sums, parts, strict=True)]
                return i + 1, tf.constant(True), sizes.write(i, size), written, added

            if there is None:
                return trained()
            return tf.cond(there, trained, lambda: (i, tf.constant(False), sizes, records, sums))

        i, going, sizes, records, sums = tf.while_loop(
            lambda i, going, *_: going & (i < steps),
            body,
            (tf.constant(0), tf.constant(True), sizes, records, sums),
            parallel_iterations=1,  # each step needs the weights of the one before
        )
        stacked = [record.stack()[:i] for record in records]
        figures = dict(zip((*names, "learning_rate"), stacked, strict=True))
        return going, sums, sizes.stack()[:i], figures

    def _train_on(self, batch: Any) -> tuple[Any, Mapping[str, Any], Any, list[Any]]:
        """Trains on a batch; returns its size, logs, applied rate and metrics' variables."""
        self._reset_metrics()
        # Read before the update, which increments the step: the rate that the update applies.
        rate = learning_rate_of(self.model)
        logs = self._step(self._feed.load(batch))
        return self._feed.size(batch), logs, rate, self._sums_now()

    def _test_on(self, batch: Any) -> Mapping[str, Any]:
        """Evaluates a batch; returns what the test step reports."""
        return self._test(self._validation.load(batch))

    def _steps_of_test(self, arguments: Any, steps: tf.Tensor) -> Any:
        names: tuple[str, ...] = self._test_names
        empty = [tf.zeros([], tf.float32) for _ in names]

        def body(i: Any, going: Any, values: Any) -> Any:
            there, batch = self._validation.take(arguments, i)

            def tested() -> Any:
                logs = self._test_on(batch() if callable(batch) else batch)
                return i + 1, tf.constant(True), [tf.cast(logs[name], tf.float32) for name in names]

            if there is None:
                return tested()
            return tf.cond(there, tested, lambda: (i, tf.constant(False), values))

        i, going, values = tf.while_loop(
            lambda i, going, *_: going & (i < steps),
            body,
            (tf.constant(0), tf.constant(True), empty),
            parallel_iterations=1,
        )
        return i, going, dict(zip(names, values, strict=True))


def _weighted_mean(values: np.ndarray, sizes: np.ndarray) -> float:
    return float(np.average(values.astype(np.float64), weights=sizes))
