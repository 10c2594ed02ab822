"""The range test leaves the model, its optimizer and the next `fit` as they were."""

from __future__ import annotations

import signal

import keras
import numpy as np
import pytest
import tensorflow as tf
from swept import (
    SGD,
    X,
    Y,
    fitted,
    network,
    state,
    swept,
    with_state,
)

import keraslr
from keraslr import find_learning_rate

# What is put back.


CASES = {
    "plain": with_state,
    "momentum": lambda: with_state(SGD(0.1, momentum=0.9)),
    "schedule": lambda: with_state(keras.optimizers.Adam(keraslr.CosineAnnealingLR(0.01, 20))),
    "averaged": lambda: with_state(SGD(0.1, use_ema=True, ema_overwrite_frequency=2)),
    "weight decay": lambda: with_state(keras.optimizers.AdamW(0.01, clipnorm=1.0)),
    "xla": lambda: with_state("adam", jit_compile=True),
    "several steps an execution": lambda: with_state("adam", steps_per_execution=3),
    "eager": lambda: with_state("adam", run_eagerly=True),
}


def both(make):
    """The same model twice: one for the test, one to compare with."""
    keras.utils.set_random_seed(3)
    first = make()
    keras.utils.set_random_seed(3)
    return first, make()


@pytest.mark.parametrize("make", CASES.values(), ids=CASES)
def test_everything_is_what_it_was(make):
    model = fitted(make())
    before, optimizer, function = state(model), model.optimizer, model.train_function
    rate, steps_per_execution = optimizer._learning_rate, model.steps_per_execution
    swept(model)
    assert model.optimizer is optimizer
    assert optimizer._learning_rate is rate
    assert model.train_function is function
    assert model.steps_per_execution == steps_per_execution
    assert int(optimizer.iterations) == 5
    assert state(model) == before


@pytest.mark.parametrize("case", ["schedule", "averaged"])
@pytest.mark.parametrize("epochs", [0, 1], ids=["new", "mid-training"])
def test_a_fit_after_the_test_is_a_fit_without_it(case, epochs):
    tested, other = both(CASES[case])
    if epochs:
        fitted(tested)
        fitted(other)
    swept(tested)
    assert tested.optimizer.built == bool(epochs)
    assert (tested.train_function is None) == (not epochs)
    assert state(fitted(tested)) == state(fitted(other))


@pytest.mark.usefixtures("mixed_float16")
def test_mixed_precision_keeps_its_loss_scale():
    model = network("adam")
    model.optimizer.initial_scale = 2.0**24  # too much, so that it changes
    fitted(model)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert float(model.optimizer.dynamic_scale) < 2.0**24
    before = state(model)
    swept(model)
    assert state(model) == before


def test_the_test_trains_and_so_there_is_something_to_put_back():
    weights = []

    class Watched(SGD):
        def apply(self, grads, trainable_variables=None):
            super().apply(grads, trainable_variables)
            weights.append(trainable_variables[0].value.numpy())

    swept(network(Watched(), run_eagerly=True))
    assert len(weights) == 12
    assert abs(weights[-1] - weights[0]).max() > 0.01


def test_a_fit_after_the_test_is_not_traced_again():
    traces = 0

    class Counted(keras.Sequential):
        def train_step(self, data):
            nonlocal traces
            traces += 1
            return super().train_step(data)

    model = Counted([keras.Input((6,)), keras.layers.Dense(3)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fitted(model)
    before = traces
    swept(model)
    assert traces == before + 1
    fitted(model)
    assert traces == before + 1


def test_a_model_that_was_not_built_keeps_its_first_weights():
    tested, other = both(lambda: with_state("adam", built=False))
    swept(tested)
    assert tested.built
    assert not tested.optimizer.built
    other.build((None, 6))
    for ours, theirs in zip(tested.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert state(fitted(tested)) == state(fitted(other))


@pytest.mark.parametrize("run_eagerly", [False, True], ids=["graph", "eager"])
def test_a_model_of_ones_own_that_makes_its_variables_late(run_eagerly):
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(3, kernel_initializer="ones")
            self.steps = self.add_weight(shape=(), dtype="int32", trainable=False)
            self.mean = keras.metrics.Mean(name="loss")

        @property
        def metrics(self):
            return [self.mean]

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(
                    keras.losses.sparse_categorical_crossentropy(y, self.inner(x), from_logits=True)
                )
            gradients = tape.gradient(loss, self.inner.trainable_variables)
            self.optimizer.apply(gradients, self.inner.trainable_variables)
            self.steps.assign_add(1)
            self.mean.update_state(loss)
            return {"loss": self.mean.result()}

    model = Own()
    model.compile("adam", run_eagerly=run_eagerly)
    result = swept(model)
    np.testing.assert_array_equal(model.inner.kernel, np.ones((6, 3)))
    assert int(model.steps) == 0
    assert float(model.mean.count) == 0
    assert len(set(result.losses)) == 12  # of each batch alone, and trained


class Unwritable(keras.optimizers.schedules.LearningRateSchedule):
    """As in many a tutorial: without get_config."""

    def __call__(self, step):
        return 0.1


@pytest.mark.parametrize("rate", [Unwritable(), lambda: 0.1], ids=["schedule", "function"])
def test_a_rate_that_no_config_can_hold_is_no_obstacle(rate):
    model = fitted(with_state(SGD(rate, momentum=0.9)))
    before = state(model)
    swept(model)
    assert state(model) == before
    assert model.optimizer._learning_rate is rate


def test_variables_without_weight_decay_are_without_it_in_the_test_too():
    """At a gradient of zero, only the decay moves anything."""
    moved = []

    class Watched(keras.optimizers.AdamW):
        def apply(self, grads, trainable_variables=None):
            before = [each.value.numpy() for each in trainable_variables]
            super().apply([0 * each for each in grads], trainable_variables)
            after = [each.value.numpy() for each in trainable_variables]
            moved.append([(a != b).any() for a, b in zip(before, after, strict=True)])

    optimizer = Watched(0.1, weight_decay=0.1)
    model = network(optimizer, run_eagerly=True)
    optimizer.exclude_from_weight_decay([model.layers[-1].kernel])
    swept(model)
    assert moved[-1] == [True, False, False, False]  # the biases are zero


# Errors and interruptions.


def exploding(step, explosion):
    """Batches, of which the one at `step` explodes."""
    for n in range(100):
        if n == step:
            explosion()
        yield X[n : n + 20], Y[n : n + 20]


def interrupt():
    signal.raise_signal(signal.SIGINT)


def fail():
    raise OSError("the disk is gone")


@pytest.mark.parametrize(("step", "explosion", "error"), [
    (1, interrupt, KeyboardInterrupt),
    (5, interrupt, KeyboardInterrupt),
    (5, fail, OSError),
])  # fmt: skip
def test_an_interruption_between_steps_leaves_no_trace(step, explosion, error):
    model = fitted(with_state())
    before, optimizer = state(model), model.optimizer
    with pytest.raises(error):
        find_learning_rate(model, exploding(step, explosion))
    assert model.optimizer is optimizer
    assert state(model) == before


@pytest.mark.parametrize("epochs", [0, 1], ids=["new", "mid-training"])
def test_an_interruption_in_the_middle_of_a_step_leaves_no_trace(epochs):
    reached = []

    class Interrupted(keras.optimizers.Adam):
        """After some variables have been updated and before the others."""

        armed = False

        def update_step(self, gradient, variable, learning_rate):
            super().update_step(gradient, variable, learning_rate)
            if Interrupted.armed and int(self.iterations) == 4 and variable.shape == (8, 3):
                reached.append(True)
                interrupt()

    tested, other = both(lambda: with_state(Interrupted(), run_eagerly=True))
    if epochs:
        fitted(tested)
        fitted(other)
    optimizer = tested.optimizer
    Interrupted.armed = True
    with pytest.raises(KeyboardInterrupt):
        swept(tested)
    Interrupted.armed = False
    assert reached == [True]
    assert tested.optimizer is optimizer
    assert state(fitted(tested)) == state(fitted(other))


def test_an_interruption_within_a_graph_leaves_no_trace():
    """The layer's variable changes in the graph, and then Ctrl-C comes in the midst of it."""

    def pressed(x):
        interrupt()
        return x

    class Counting(keras.layers.Layer):
        armed = False

        def build(self, shape):
            self.count = self.add_weight(shape=(), trainable=False, initializer="zeros")

        def call(self, x):
            self.count.assign_add(1.0)
            if self.armed:
                x = tf.ensure_shape(tf.py_function(pressed, [x], x.dtype), x.shape)
            return x

    layer = Counting()
    model = fitted(network(layers=[layer]))
    before = state(model)
    layer.armed = True
    # TensorFlow may wrap what a py_function raises; Ctrl-C reaches Python in any case.
    with pytest.raises((KeyboardInterrupt, tf.errors.OpError)):
        swept(model)
    assert float(layer.count) == 5
    assert state(model) == before


def test_a_second_ctrl_c_while_things_are_put_back_changes_nothing():
    model = fitted(network())
    before, kernel, presses = state(model), model.layers[0].kernel.value, []
    assign = type(kernel).assign

    def interrupted(self, *arguments, **options):
        if self is kernel and tf.executing_eagerly() and len(presses) < 2:
            presses.append(True)
            interrupt()
        return assign(self, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(kernel), "assign", interrupted)
        with pytest.raises(KeyboardInterrupt):
            swept(model)
    assert len(presses) == 2
    assert state(model) == before


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_on_progress_raises_ends_the_test_and_leaves_no_trace(error):
    def raising(steps, _):
        moved.append(state(model)[0] != before[0])
        if steps == 3:
            raise error("enough")

    model = fitted(with_state("adam"))
    before, optimizer, moved = state(model), model.optimizer, []
    with pytest.raises(error, match="enough"):
        swept(model, on_progress=raising)
    assert moved == [True] * 3
    assert model.optimizer is optimizer
    assert state(model) == before
