"""The range test: its sweep, its rules, and the model that is afterwards what it was."""

from __future__ import annotations

import signal
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import keraslr
from keraslr import RangeTest, find_learning_rate
from keraslr.models import lenet
from keraslr.range_test._rules import _longest_decrease

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)


@pytest.fixture
def mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


# Models with what there is to put back.


def network(optimizer="sgd", layers=(), built=True, seed=0, **arguments):
    def drawn(n):
        return {"kernel_initializer": keras.initializers.GlorotUniform(seed + n)}

    model = keras.Sequential(
        [
            *([keras.Input((6,))] if built else []),
            keras.layers.Dense(8, activation="relu", **drawn(0)),
            *layers,
            keras.layers.Dense(3, **drawn(1)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Off unless asked for: "auto" is XLA where there is a GPU.
    model.compile(optimizer, loss, metrics=["accuracy"], **{"jit_compile": False, **arguments})
    return model


def with_state(optimizer="sgd", **arguments):
    layers = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3, seed=7)]
    return network(optimizer, layers, **arguments)


def fitted(model, epochs=1):
    model.fit(X, Y, batch_size=40, epochs=epochs, shuffle=False, verbose=0)
    return model


def state(model):
    """All numbers of a model and its optimizer, as bits."""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return [each.value.numpy().tobytes() for each in variables]


def swept(model, x=X, y=Y, **arguments):
    arguments = {"min_lr": 1e-4, "max_lr": 10.0, "steps": 12, "batch_size": 20, **arguments}
    return find_learning_rate(model, x, y, **arguments)


# The sweep.


def unit_vectors(model, **arguments):
    """The rates that were applied, read off the weights as they stood before they were put back.

    Example n is the nth unit vector and is seen in step n alone; the weights begin at zero, where
    the gradient of the hinge loss is 1.
    """
    seen = []
    size = arguments["steps"]
    data = [
        (np.eye(size, dtype="float32")[n : n + 1], -np.ones((1, 1), "float32")) for n in range(size)
    ]

    class Data:
        def __iter__(self):
            for n, batch in enumerate(data):
                yield batch
                # The step on this batch is done once the next one is asked for.
                seen.append(-model.get_weights()[0][n, 0])
            yield batch

    # A further step, so that the last of these is seen.
    rates = find_learning_rate(model, Data(), **{**arguments, "steps": size + 1}).learning_rates
    return np.array(seen), rates[:size]


def linear_model(size, optimizer, **arguments):
    model = keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype="float32"),
        ]
    )
    model.compile(optimizer, "hinge", **{"jit_compile": False, **arguments})
    return model


SGD = keras.optimizers.SGD


@pytest.mark.parametrize(
    ("sweep", "jit_compile"),
    [("exponential", False), ("linear", False), ("exponential", True)],
    ids=["exponential", "linear", "exponential xla"],
)
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: SGD(0.3),
        lambda: SGD(keraslr.StepLR(0.3, 2)),
        lambda: keras.optimizers.LossScaleOptimizer(SGD(0.3), 1024.0),
    ],
    ids=["float", "schedule", "loss scale"],
)
def test_every_step_applies_its_rate(optimizer, sweep, jit_compile):
    model = linear_model(24, optimizer(), jit_compile=jit_compile)
    applied, planned = unit_vectors(model, steps=24, sweep=sweep, min_lr=1e-3, max_lr=1.0)
    i = np.arange(24) / 24  # of 25 steps
    formula = 1e-3 * 1000**i if sweep == "exponential" else 1e-3 + (1 - 1e-3) * i
    np.testing.assert_allclose(planned, formula, rtol=1e-6)
    np.testing.assert_array_equal(applied, planned)
    assert not model.get_weights()[0].any()


def test_a_step_that_mixed_precision_skips_does_not_delay_the_sweep():
    # 2 ** 17 is infinite in float16, and so are the gradients of the first steps.
    scaled = keras.optimizers.LossScaleOptimizer(SGD(0.3), 2.0**17)
    model = linear_model(24, scaled)
    model.layers[-1].dtype_policy = "mixed_float16"
    applied, planned = unit_vectors(model, steps=24, min_lr=1e-3, max_lr=1.0)
    np.testing.assert_array_equal(applied[:2], 0)
    np.testing.assert_array_equal(applied[3:], planned[3:])


def test_accumulated_gradients_take_several_batches_a_step():
    model = linear_model(24, SGD(0.3, gradient_accumulation_steps=2))
    seen = 0

    class Data:
        def __iter__(self):
            nonlocal seen
            for row in np.eye(24, dtype="float32"):
                seen += 1
                yield row[None], -np.ones((1, 1), "float32")

    result = find_learning_rate(model, Data(), steps=12)
    assert len(result.learning_rates) == 12
    assert result.learning_rates[-1] == 10.0
    assert seen == 24


def test_the_sweep_has_its_ends_and_the_record_its_shapes():
    result = swept(network(), steps=15, max_lr=0.5)
    assert result.stopped == "finished"
    assert result.learning_rates.shape == result.losses.shape == result.smoothed.shape == (15,)
    np.testing.assert_array_equal(result.learning_rates[[0, -1]], np.float32([1e-4, 0.5]))


def test_the_first_loss_is_that_of_the_untrained_model():
    model = network()
    logits = model.predict(X, verbose=0)
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y, logits)
    assert swept(model, batch_size=200).losses[0] == pytest.approx(float(expected), rel=1e-5)


def test_the_moving_average_is_the_one_described():
    result = swept(network(), smoothing=0.6)
    weights = 0.6 ** np.arange(12)[::-1]
    assert result.smoothed[-1] == pytest.approx(np.average(result.losses, weights=weights))
    assert result.smoothed[0] == result.losses[0]
    np.testing.assert_array_equal(swept(network(), smoothing=0.0).smoothed, result.losses)


def test_the_seed_is_of_the_order():
    first, same, other = (swept(network(), seed=seed).losses for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, same)
    assert other[0] != first[0]


# The data.


def test_each_example_is_seen_once_a_pass():
    """Also where a pass ends within a batch."""
    seen = []

    class Recorded(keras.Model):
        def train_step(self, data):
            x, _ = data
            seen.extend(x.numpy()[:, 0].tolist())
            return {"loss": tf.constant(1.0)}

    model = Recorded()
    model.compile(SGD(), run_eagerly=True)
    x = np.arange(7, dtype="float32")[:, None]
    swept(model, x, x, steps=14, batch_size=3)
    passes = np.reshape(seen, (6, 7))
    np.testing.assert_array_equal(np.sort(passes), np.tile(np.arange(7.0), (6, 1)))
    assert len({tuple(each) for each in passes}) > 1  # shuffled anew


class PyData(keras.utils.PyDataset):
    def __len__(self):
        return 5

    def __getitem__(self, n):
        return X[40 * n : 40 * n + 40], Y[40 * n : 40 * n + 40]


BATCHED = {
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(40),
    "PyDataset": PyData,
    "list": lambda: list(PyData()),
}


@pytest.mark.parametrize("data", BATCHED.values(), ids=BATCHED)
def test_data_in_batches_are_gone_through_again(data):
    # A rate at which nothing moves: the third pass repeats the first.
    tiny = {"min_lr": 1e-30, "max_lr": 2e-30, "steps": 15, "smoothing": 0.0}
    losses = find_learning_rate(network(), data(), **tiny).losses
    np.testing.assert_array_equal(losses[10:], losses[:5])
    assert len(set(losses[:5])) == 5


def test_a_generator_that_is_long_enough_will_do():
    assert len(find_learning_rate(network(), iter(list(PyData()) * 3), steps=15).losses) == 15
    with pytest.raises(ValueError, match="each time it is iterated over"):
        find_learning_rate(network(), iter(PyData()), steps=15)


def test_nested_inputs_and_weights_are_taken_as_fit_takes_them():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, keras.layers.Dense(3)(keras.layers.Add()([a, b])))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    # In float64, as NumPy makes them.
    x = {"a": X[:, :3].astype("float64"), "b": tf.constant(X[:, 3:])}
    result = swept(model, x, Y, batch_size=200)
    weighted = swept(model, x, Y, sample_weight=np.full(200, 3.0), batch_size=200)
    assert weighted.losses[0] == pytest.approx(3 * result.losses[0], rel=1e-5)


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


# Divergence.


def test_a_loss_that_is_not_a_number_ends_the_sweep():
    y = np.zeros((200, 1), "float32")
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", loss=lambda y, p: keras.ops.mean(p**2) / keras.ops.mean(y))
    before = model.get_weights()
    result = swept(model, X, y)
    assert result.stopped == "diverged"
    assert len(result.losses) == 1
    assert not np.isfinite(result.losses[0])
    assert result.suggestions == {"steepest": None, "valley": None, "minimum over ten": None}
    assert "lower min_lr" in str(result)
    np.testing.assert_array_equal(model.get_weights()[0], before[0])


def test_a_loss_that_explodes_ends_the_sweep():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    y = X @ np.ones((6, 1), "float32")
    result = swept(model, X, y, steps=100, max_lr=100.0, batch_size=200)
    assert result.stopped == "diverged"
    assert 20 < len(result.losses) < 100
    above = result.smoothed > 4 * np.minimum.accumulate(result.smoothed)
    assert above[-1]
    assert not above[10:-1].any()
    # For one linear layer the limit is known: 2 over the largest eigenvalue of the Hessian.
    with_bias = np.append(X, np.ones((200, 1)), axis=1)
    limit = 2 / np.linalg.eigvalsh(2 * with_bias.T @ with_bias / 200)[-1]
    assert limit / 100 < result.valley < result.steepest < limit
    assert limit / 10 < 10 * result.minimum_over_ten < 10 * limit


def test_a_negative_loss_is_not_taken_for_divergence():
    # -1 is more than 4 times -1.5.
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1)])
    model.compile("sgd", loss=lambda y, p: keras.ops.mean(p) * 0 - 1.0)
    assert swept(model, X, np.zeros((200, 1)), steps=30).stopped == "finished"


# The rules.

RATES = np.geomspace(1e-5, 10.0, 61)  # ten steps a decade


def curve(smoothed, sweep="exponential", rates=RATES, **arguments):
    smoothed = np.asarray(smoothed, float)
    return RangeTest(rates[: len(smoothed)], smoothed, smoothed, sweep=sweep, **arguments)


def known_curve():
    """Flat to 1e-3, falls straight to 1e-1 (twice as fast from 3e-2), rises from there."""
    step = np.arange(61)
    return 10 - np.interp(step, [0, 20, 35, 40, 60], [0, 0, 3, 5, -20])


def test_the_rules_on_a_curve_with_known_answers():
    result = curve(known_curve())
    assert RATES[35] <= result.steepest <= RATES[40]
    assert result.valley == pytest.approx(np.sqrt(RATES[20] * RATES[40]))
    assert result.minimum_over_ten == pytest.approx(0.01)
    assert list(result.suggestions) == ["steepest", "valley", "minimum over ten"]
    assert list(result.suggestions.values()) == [
        result.steepest, result.valley, result.minimum_over_ten,
    ]  # fmt: skip


def test_a_linear_sweep_reads_the_same_steps_and_takes_the_arithmetic_mean():
    rates = np.linspace(0.1, 6.1, 61)
    result = curve(known_curve(), "linear", rates)
    assert rates[35] <= result.steepest <= rates[40]
    assert result.valley == pytest.approx((rates[20] + rates[40]) / 2)
    assert result.minimum_over_ten == pytest.approx(rates[40] / 10)


@pytest.mark.parametrize("shift", range(-15, 16, 5))
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_curve_elsewhere_has_its_suggestions_there(shift, scale):
    """Later by n steps: the rates are n steps higher. Higher and larger: the same rates."""
    moved = scale * np.interp(np.arange(61) - shift, np.arange(61), known_curve()) + 7
    there, here = curve(moved), curve(known_curve())
    factor = 10 ** (shift / 10)
    assert there.steepest == pytest.approx(factor * here.steepest)
    assert there.valley == pytest.approx(factor * here.valley)
    assert there.minimum_over_ten == pytest.approx(factor * here.minimum_over_ten)


def test_a_fall_after_the_minimum_is_not_the_steepest():
    """A loss that has exploded also comes down again."""
    exploded = known_curve()
    exploded[50:] = np.linspace(100, 20, 11)
    assert curve(exploded).steepest == curve(known_curve()).steepest


@pytest.mark.parametrize("seed", range(50))
def test_the_longest_decrease_is_the_longest(seed):
    values = np.random.default_rng(seed).integers(0, 12, 14).astype(float)
    lengths = [1] * len(values)  # of the longest decrease that ends there
    for j in range(len(values)):
        for i in range(j):
            if values[i] > values[j]:
                lengths[j] = max(lengths[j], lengths[i] + 1)
    assert _longest_decrease(values) == (max(lengths), int(np.argmax(lengths)))


@pytest.mark.parametrize(
    ("losses", "stopped", "said"),
    [
        (np.full(61, 2.3), "finished", "the loss never fell: raise max_lr or steps"),
        (np.linspace(2, 5, 61), "finished", "never fell before it rose: lower min_lr"),
        (np.geomspace(2, 90, 40), "diverged", "never fell before it rose: lower min_lr"),
        (np.array([2, 1.9, 1.8, 1.7, 1.6, 1, 30, 90.0]), "diverged", "diverged within 8 steps"),
        (np.array([np.nan]), "diverged", "diverged within 1 steps"),
    ],
)
def test_without_a_fall_there_is_no_suggestion_but_a_reason(losses, stopped, said):
    result = curve(losses, stopped=stopped)
    assert set(result.suggestions.values()) == {None}
    assert (result.steepest, result.valley, result.minimum_over_ten) == (None, None, None)
    assert said in result.problem
    assert result.problem in str(result)
    assert repr(result) == str(result)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.8, 0.95])
def test_noise_is_not_taken_for_a_fall_nor_a_fall_for_noise(smoothing):
    def suggested(fall, seed):
        losses = fall + np.random.default_rng(seed).normal(size=100)
        back = np.subtract.outer(np.arange(100), np.arange(100))
        weights = np.where(back >= 0, smoothing ** np.maximum(back, 0), 0)
        smoothed = weights @ losses / weights.sum(axis=1)
        rates = np.geomspace(1e-6, 10, 100)
        return not RangeTest(rates, losses, smoothed, smoothing=smoothing).problem

    fall = -8 / (1 + np.exp((60 - np.arange(100)) / 4))  # eight times the noise
    assert sum(suggested(0, seed) for seed in range(100)) <= 3
    assert sum(suggested(fall, seed) for seed in range(100)) == 100


def test_the_text_is_short_and_has_the_rates():
    result = curve(known_curve())
    assert str(result).splitlines() == [
        "Range test of 61 steps from 1e-05 to 10, where the sweep ended. Suggested rates:",
        f"  steepest: {result.steepest:.3g}",
        "  valley: 0.01",
        "  minimum over ten: 0.01",
    ]


# Progress, and how it is stopped.


def test_progress_is_told_after_each_step():
    told = []
    swept(network(), on_progress=lambda *numbers: told.append(numbers))
    assert told == [(n, 12) for n in range(1, 13)]


def test_the_step_that_diverges_is_told_too():
    told = []
    result = swept(network(), max_lr=1e30, on_progress=lambda *numbers: told.append(numbers))
    assert result.stopped == "diverged"
    assert told == [(n, 12) for n in range(1, len(result.losses) + 1)]


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


# The figure.


def test_the_figure_shows_the_curve_and_names_the_rates():
    result = curve(known_curve())
    (axes,) = result.plot().axes
    assert axes.get_xscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("learning rate", "loss")
    labels = axes.get_legend_handles_labels()[1]
    assert labels == [
        "loss", "smoothed loss", f"steepest: {result.steepest:.2g}", "valley: 0.01",
        "minimum over ten: 0.01",
    ]  # fmt: skip
    # The marks lie on the line, where the rates are.
    marks = {
        line.get_label(): line.get_xydata()[0] for line in axes.lines if line.get_marker() in "o^s"
    }
    np.testing.assert_allclose(marks["valley: 0.01"], [0.01, 8.0], rtol=1e-6)


def test_divergence_does_not_squash_the_figure():
    exploded = known_curve()
    exploded[50:] = np.geomspace(50, 1e12, 11)
    (axes,) = curve(exploded, stopped="diverged").plot().axes
    low, high = axes.get_ylim()
    assert low < 5
    assert 10 < high < 15
    (axes,) = curve(np.append(exploded, np.nan)[1:]).plot().axes
    assert axes.get_ylim()[1] < 15


def test_the_figure_of_a_linear_sweep_is_linear_and_one_without_a_fall_says_so():
    (axes,) = curve(known_curve(), "linear", np.linspace(0.1, 6.1, 61)).plot().axes
    assert axes.get_xscale() == "linear"
    for losses in (np.full(61, 2.3), np.array([np.nan]), np.zeros(61)):
        result = curve(losses)
        figure = result.plot()
        assert figure.get_suptitle() == result.problem
        assert np.isfinite(figure.axes[0].get_ylim()).all()


# What is refused, and the bar.


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"min_lr": 0.0}, ValueError, "min_lr must be a number > 0"),
        ({"min_lr": "small"}, TypeError, "min_lr must be a number > 0"),
        ({"max_lr": float("nan")}, ValueError, "max_lr must be a number > 0 and finite"),
        ({"min_lr": 1.0, "max_lr": 1.0}, ValueError, r"max_lr must be > min_lr, 1.0. Received: max_lr=1.0"),  # noqa: E501
        ({"steps": 9}, ValueError, "steps must be an integer >= 10"),
        ({"steps": 20.0}, TypeError, "steps must be an integer"),
        ({"sweep": "cosine"}, ValueError, 'sweep must be one of "exponential", "linear"'),
        ({"batch_size": 0}, ValueError, "batch_size must be None or an integer >= 1"),
        ({"smoothing": 1.0}, ValueError, "smoothing must be a number >= 0 and < 1"),
        ({"stop_factor": 1.0}, ValueError, "stop_factor must be a number > 1"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0"),
        ({"verbose": 2}, ValueError, "verbose must be an integer >= 0 and <= 1"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "x must hold at least one example"),
        ({"x": []}, ValueError, "x must hold at least one example"),
        ({"y": Y[:100]}, ValueError, "same number of examples. Received: 100, 200"),
        ({"sample_weight": np.ones(3)}, ValueError, "same number of examples. Received: 3, 200"),
        ({"x": 3.0}, TypeError, "x must be an array of examples"),
        ({"x": "data.csv"}, TypeError, "x must be an array of examples"),
        ({"y": [1, 2]}, TypeError, "y must be an array of examples"),
        ({"x": PyData()}, ValueError, "y must be None if x comes in batches"),
        ({"x": PyData(), "y": None, "batch_size": 5}, ValueError, "batch_size must be None if"),
        ({"x": PyData(), "y": None, "sample_weight": Y}, ValueError, "sample_weight must be None"),
        ({"x": iter([]), "y": None}, ValueError, "x must hold batches"),
        ({"x": tf.data.Dataset.range(0), "y": None}, ValueError, "x must hold batches"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(arguments, error, said):
    model = network()
    optimizer = model.optimizer
    with pytest.raises(error, match=said):
        find_learning_rate(model, **{"x": X, "y": Y, **arguments})
    assert model.optimizer is optimizer
    assert not optimizer.built


def test_a_model_has_to_be_one_and_compiled():
    with pytest.raises(TypeError, match="model must be a Keras model"):
        find_learning_rate(lambda x: x, X, Y)
    model = keras.Sequential([keras.layers.Dense(3)])
    with pytest.raises(ValueError, match="model must be compiled with an optimizer"):
        find_learning_rate(model, X, Y)
    model.compile(optimizer=None, loss="mse")
    with pytest.raises(ValueError, match="model must be compiled with an optimizer"):
        find_learning_rate(model, X, Y)


def test_a_distributed_model_is_refused():
    model = network()
    model._distribute_strategy = SimpleNamespace(num_replicas_in_sync=2)
    with pytest.raises(ValueError, match=r"must not be distributed.* Received: a model of 2"):
        swept(model)


def test_a_train_step_without_a_loss_is_told_so():
    class Silent(keras.Model):
        def train_step(self, data):
            return {"generator": tf.constant(1.0)}

    model = Silent()
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"report its loss .* Received: 'generator'"):
        swept(model)


def test_another_backend_is_refused(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match="KERAS_BACKEND=tensorflow"):
        swept(network())


def test_the_bar_shows_rate_and_loss_and_silence_is_silent(capfd):
    swept(network())
    assert "step" not in capfd.readouterr().err
    swept(network(), verbose=1)
    shown = capfd.readouterr().err
    assert "12/12" in shown
    assert "rate 1.00e+01, loss " in shown


# On real data.


def images():
    (x, y), _ = keras.datasets.fashion_mnist.load_data()
    return (x[..., None] / 255).astype("float32"), y


def compiled_lenet(rate=0.01, seed=0):
    model = lenet(seed=seed)
    model.compile(SGD(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


@pytest.mark.slow
def test_the_lenet_trains_well_at_what_is_suggested(fashion_mnist_folder):
    x, y = images()
    model = compiled_lenet()
    result = find_learning_rate(model, x, y, steps=300, min_lr=1e-3, batch_size=256)
    # The published runs train it at 0.3, and from about 0.6 on it does not learn.
    assert 0.03 < result.minimum_over_ten < result.valley < 0.5 < 10 * result.minimum_over_ten
    assert result.valley < result.steepest < 2

    trained = compiled_lenet(result.valley)
    trained.fit(x, y, batch_size=256, epochs=1, shuffle=False, verbose=0)
    # A network that knows nothing has a loss of log(10).
    assert trained.evaluate(x[:5000], y[:5000], verbose=0) < 0.5 * np.log(10)
