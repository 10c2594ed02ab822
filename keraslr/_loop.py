"""How a run is trained: the loop that TensorFlow runs, and what Python does around it.

A step of a small network takes less time than Python's way into and out of it. So the data lie on
the device as they are on disk, one byte a pixel, and one call of the graph trains a slice of an
epoch: it takes the batches by their place in the order, and records every step. A LeNet epoch so
takes half the time of `fit` on arrays.

The model and the optimizer are plain Keras, and the numbers those of `fit` with the same order.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.datasets import Dataset
from keraslr.training import Progress, Result, Run, model_of, optimizer_of

# A slice takes about this long: short enough to stop in, long enough to cost nothing.
_SLICE_SECONDS = 0.2
_TEST_BATCH = 1000


class _OnDevice:
    """A dataset's arrays as tensors. Loops that train on the dataset at one time share them.

    Attributes:
        train, test: Images (uint8) and labels.
    """

    _all: weakref.WeakValueDictionary[tuple[int, str], _OnDevice] = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, data: Dataset):
        self._data = data  # or another dataset might get its id
        # int64, because TensorFlow keeps int32 tensors in the host's memory also on a GPU.
        self.train = tf.constant(data.x_train), tf.constant(data.y_train, tf.int64)
        self.test = tf.constant(data.x_test), tf.constant(data.y_test, tf.int64)

    @classmethod
    def of(cls, data: Dataset) -> _OnDevice:
        """Those that there are, or new ones; they go with the last loop that has them."""
        # Where TensorFlow would put them now: that depends on the scope that the caller is in.
        key = id(data), tf.constant(0, tf.int64).device
        with cls._lock:
            held = cls._all.get(key)
            if held is None:
                held = cls._all[key] = cls(data)
            return held


class Loop:
    """Trains a model on a dataset that it holds on the device.

    Attributes:
        model, optimizer: What is trained, and how.
        steps_per_epoch: Optimizer steps; the last one takes what is left of the data.
        device: Name of the device.
    """

    def __init__(
        self, model: keras.Model, optimizer: keras.Optimizer, data: Dataset, batch_size: int
    ):
        self.model, self.optimizer, self.batch_size = model, optimizer, batch_size
        self.examples = len(data.x_train)
        self.steps_per_epoch = -(-self.examples // batch_size)
        self._data = _OnDevice.of(data)
        self._test_examples = len(data.x_test)
        self.device = self._data.train[0].device.rpartition("device:")[2]
        optimizer.build(model.trainable_variables)
        # Graphs of this instance alone, traced here and once. The data are arguments of theirs, so
        # that no graph which lives on for whatever reason keeps them. As for `fit`, no autograph.
        number = tf.TensorSpec([], tf.int32)
        self._slice = tf.function(self._slice_steps, autograph=False).get_concrete_function(
            *map(_spec, self._data.train), tf.TensorSpec([None], tf.int64), number, number
        )
        self._evaluate = tf.function(self._evaluate_piece, autograph=False).get_concrete_function(
            *map(_spec, self._data.test), number, tf.TensorSpec([], tf.float32), number
        )
        self._slice_length = 4
        self._order = tf.range(self.examples, dtype=tf.int64)

    def shuffle(self, order: np.ndarray) -> None:
        """Takes the examples of the next epoch in this order, an integer array (examples,)."""
        self._order = tf.constant(order, tf.int64)

    def slice(self, first: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Trains the next steps of the epoch, beginning with the step number `first`.

        Returns:
            Loss (mean over the batch), share of right answers before the step, and learning rate
            applied: float32 arrays with a value a step.
        """
        steps = min(self._slice_length, self.steps_per_epoch - first)
        begin = time.perf_counter()
        loss, accuracy, rate = self._slice(
            *self._data.train, self._order, tf.constant(first), tf.constant(steps)
        )
        record = loss.numpy(), accuracy.numpy(), rate.numpy()
        per_step = (time.perf_counter() - begin) / steps
        # At most doubled: one slow slice, or one fast one, does not say much.
        self._slice_length = max(1, min(2 * steps, int(_SLICE_SECONDS / per_step)))
        return record

    def evaluate(self) -> Iterator[tuple[float, float] | None]:
        """Goes through the test data, and between their pieces says None, so that one may stop.

        Yields:
            At last mean loss and share of right answers over the test data; before that, None.
        """
        loss, right = tf.constant(0.0), tf.constant(0)
        for begin in range(0, self._test_examples, _TEST_BATCH):
            if begin:
                yield None
            loss, right = self._evaluate(*self._data.test, tf.constant(begin), loss, right)
        yield float(loss) / self._test_examples, int(right) / self._test_examples

    def sizes(self, first: int, steps: int) -> np.ndarray:
        """Examples in each of these steps."""
        begins = np.arange(first, first + steps) * self.batch_size
        return np.minimum(self.batch_size, self.examples - begins)

    def _slice_steps(
        self,
        all_images: tf.Tensor,
        all_labels: tf.Tensor,
        order: tf.Tensor,
        first: tf.Tensor,
        steps: tf.Tensor,
    ) -> Any:
        losses = tf.TensorArray(tf.float32, steps, element_shape=())
        accuracies = tf.TensorArray(tf.float32, steps, element_shape=())
        rates = tf.TensorArray(tf.float32, steps, element_shape=())

        def step(i: tf.Tensor, losses: Any, accuracies: Any, rates: Any) -> Any:
            begin = (first + i) * self.batch_size
            chosen = order[begin : begin + self.batch_size]
            images, labels = tf.gather(all_images, chosen), tf.gather(all_labels, chosen)
            loss, accuracy, rate = self._step(images, labels)
            return (
                i + 1,
                losses.write(i, loss),
                accuracies.write(i, accuracy),
                rates.write(i, rate),
            )

        _, *records = tf.while_loop(
            lambda i, *_: i < steps,
            step,
            (tf.constant(0), losses, accuracies, rates),
            parallel_iterations=1,  # each step needs the weights of the one before
        )
        return tuple(record.stack() for record in records)

    def _step(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.model(_pixels(images), training=True)
            loss = tf.reduce_mean(_cross_entropy(labels, logits))
            loss += sum(tf.cast(each, tf.float32) for each in self.model.losses)
            scaled = self.optimizer.scale_loss(loss)  # which `apply` takes back
        gradients = tape.gradient(scaled, variables)
        # Before the update, which counts the step: this is the rate that it applies.
        rate = tf.cast(tf.convert_to_tensor(self.optimizer.learning_rate), tf.float32)
        # Outside a replica, because within one Keras sums the gradients over all replicas, even if
        # there is but one, by way of a custom gradient; and each custom gradient in a graph stays
        # in TensorFlow's global register, and with it the graph, the weights and what else it has.
        tf.distribute.get_replica_context().merge_call(
            lambda _: self.optimizer.apply(gradients, variables)
        )
        return loss, tf.reduce_mean(tf.cast(_right(labels, logits), tf.float32)), rate

    def _evaluate_piece(
        self,
        all_images: tf.Tensor,
        all_labels: tf.Tensor,
        begin: tf.Tensor,
        loss: tf.Tensor,
        right: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = (each[begin : begin + _TEST_BATCH] for each in (all_images, all_labels))
        logits = self.model(_pixels(images), training=False)
        loss += tf.reduce_sum(_cross_entropy(labels, logits))
        right += tf.reduce_sum(tf.cast(_right(labels, logits), tf.int32))
        return loss, right


class Trainer:
    """The model, the optimizer and the loop of a run, which train some epochs at a time.

    Keras makes all of it in the first call of `advance`, in whose thread.

    Args:
        run: What to train; its `epochs` do not matter here.
        data: Its dataset.
        result: What to write into. Its lists only grow.
        learning_rate: A function of the optimizer's step in place of the run's schedule.
        first_epoch: Number of the first epoch: the order of the examples depends on it.
        state: What `state` of a trainer of such a run gave, to begin from; None for first weights.

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
    ):
        self.run, self.data, self.result = run, data, result
        self.optimizer: Any = None
        self.steps, self.examples, self.test_steps = 0, 0, list[int]()
        self.epochs_begun, self.made, self.whole = first_epoch, False, False
        self.released = False
        self._learning_rate = run.schedule if learning_rate is None else learning_rate
        self._first_state = state
        self._loop: Any = None
        self._model: Any = None
        self._watch = _Stopwatch()

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
        on_progress: Progress | None = None,
        should_stop: Callable[[], bool] | None = None,
    ) -> None:
        """Trains that many epochs more, as `train` does; `result.status` says how it ended.

        An epoch that was broken off is not taken up again. Errors, and Ctrl-C, are passed on with
        the result up to them.
        """
        result, result.status = self.result, "running"
        try:
            with self._watch.running(True):
                result.status = self._advanced(epochs, on_progress, should_stop)
        finally:
            self._note_time()

    def _advanced(
        self,
        epochs: int,
        on_progress: Progress | None,
        should_stop: Callable[[], bool] | None,
    ) -> str:
        def told() -> bool:
            with self._watch.running(False):
                return should_stop is not None and should_stop()

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
        self._loop = Loop(self._model, self.optimizer, self.data, self.run.batch_size)
        self.result.device = self._loop.device
        if self._first_state is not None:
            for variable, value in zip(self._variables(), self._first_state, strict=True):
                variable.assign(value)
            self._first_state = None
        self.made = self.whole = True
        self.released = False

    def _variables(self) -> list[Any]:
        return [*self._model.variables, *self.optimizer.variables]

    def _epoch(self, on_progress: Progress | None, told: Callable[[], bool]) -> str:
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

    def __init__(self) -> None:
        self._counted, self._since, self._runs = 0.0, 0.0, False

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


def _spec(tensor: tf.Tensor) -> tf.TensorSpec:
    return tf.TensorSpec(tensor.shape, tensor.dtype)


def _pixels(images: tf.Tensor) -> tf.Tensor:
    return tf.cast(images, tf.float32) / 255.0


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    logits = tf.cast(logits, tf.float32)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def _right(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.argmax(logits, 1, output_type=tf.int64), labels)


def _short(values: np.ndarray) -> list[float]:
    """Float32 numbers as the shortest decimals that are theirs: 0.3, not 0.30000001192092896."""
    return [float(str(value)) for value in values]
