"""Copies of compiled models: what layers have learned before, adapted or frozen comes with them."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import keraslr
from keraslr import Problem, Run, compare
from keraslr.training import train

L = keras.layers
X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32") * 3 + 5
Y = X[:, :1]
TEXTS = np.array(["a good movie", "a bad film"] * 32)


def network(*layers, shape=(3,), **compiled):
    model = keras.Sequential([keras.Input(shape, dtype=compiled.pop("dtype", None)), *layers])
    model.compile(**{"optimizer": "sgd", "loss": "mse", **compiled})
    return model


def untrained_loss(model, x, y, seed=0):
    """The loss of a copy whose weights do not move."""
    problem = Problem("it", model, x, y, validation_data=(x, y))
    result = train(Run("it", 1e-12, problem, epochs=1, batch_size=64, seed=seed))
    return result.epochs["val_loss"][0], result.model


def test_adapted_statistics_come_with_a_copy():
    normalization = L.Normalization()
    normalization.adapt(X)
    model = network(normalization, L.Dense(1))
    expected = model.evaluate(X, Y, verbose=0)
    assert untrained_loss(model, X, Y)[0] == pytest.approx(expected, rel=1e-5)
    _, other = untrained_loss(model, X, Y, seed=1)
    np.testing.assert_array_equal(other.layers[0].mean, normalization.mean)
    assert not np.array_equal(other.layers[1].kernel, model.layers[1].kernel)


def test_vocabularies_come_with_a_copy():
    words = L.TextVectorization(50, output_sequence_length=4)
    words.adapt(TEXTS)
    model = network(
        words, L.Embedding(50, 8), L.GlobalAveragePooling1D(), L.Dense(1, "sigmoid"),
        shape=(1,), dtype="string", optimizer="adam", loss="binary_crossentropy",
    )  # fmt: skip
    labels = np.array([1, 0] * 32)
    data = tf.data.Dataset.from_tensor_slices((TEXTS, labels)).batch(16)
    result = compare({"it": 0.1}, model=model, x=data, epochs=12, seeds=2)
    for each in result.results:
        assert each.epochs["loss"][-1] < 0.5 * each.epochs["loss"][0]


def test_frozen_weights_stay_for_every_seed():
    base = keras.Sequential([keras.Input((3,)), L.Dense(4), L.BatchNormalization()])
    base.trainable = False
    model = network(base, L.Dense(1), L.BatchNormalization())
    model.layers[2].moving_mean.assign([7.0])
    copies = [Problem("it", model, X, Y).model(seed) for seed in (0, 1, 2)]
    for copy in copies:
        for ours, theirs in zip(copy.layers[0].weights, base.weights, strict=True):
            np.testing.assert_array_equal(ours, theirs)
    kernels = [np.asarray(copy.layers[1].kernel) for copy in (model, *copies)]
    assert np.array_equal(kernels[0], kernels[1])
    assert not np.array_equal(kernels[2], kernels[1])
    assert not np.array_equal(kernels[2], kernels[3])
    assert [float(copy.layers[2].moving_mean[0]) for copy in copies] == [7.0, 0.0, 0.0]


def squared(y_true, y_pred):
    return keras.ops.mean(keras.ops.square(y_true - y_pred), -1)


class Loss(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return squared(y_true, y_pred)


class Metric(keras.metrics.Mean):
    def __init__(self, name="own", **arguments):
        super().__init__(name=name, **arguments)

    def update_state(self, y_true, y_pred, sample_weight=None):
        return super().update_state(squared(y_true, y_pred))


def test_losses_and_metrics_of_ones_own_are_taken():
    model = network(L.Dense(1), loss=Loss(), metrics=[squared, Metric()])
    result = compare({"it": 1e-4}, model=model, x=X, y=Y, epochs=1).results[0]
    figures = [result.epochs[name][0] for name in ("loss", "squared", "own")]
    assert figures == pytest.approx([figures[0]] * 3, rel=1e-4)


class Shifted(L.Layer):
    """Keeps a number that no file holds."""

    shift = 0.0

    def adapt(self, x):
        self.shift = float(np.mean(x))

    def call(self, x):
        return x - self.shift


def test_a_copy_that_gives_other_outputs_is_refused():
    layer = Shifted()
    layer.adapt(X)
    model = network(layer, L.Dense(1))
    with pytest.raises(ValueError, match=r"copy gives other outputs.*not saved with it"):
        compare({"it": 0.1}, model=model, x=X, y=Y, epochs=1)
    with pytest.raises(ValueError, match=r"copy gives other outputs.*not saved with it"):
        train(Run("it", 0.1, Problem("it", model, X, Y), epochs=1, seed=1))


# Models with steps of their own, as Keras's examples write them.


class Own(keras.Model):
    def train_step(self, data):
        x, y = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(self(x, training=True) - y))
        weights = self.trainable_variables
        self.optimizer.apply(tape.gradient(loss, weights), weights)
        return {"my_loss": loss}


def own():
    inputs = keras.Input((3,))
    model = Own(inputs, L.Dense(1)(inputs))
    model.compile(optimizer="adam")
    return model


class WithoutCall(keras.Model):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = L.Dense(2), L.Dense(3)
        self.tracker = keras.metrics.Mean("reconstruction")

    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.square(self.decoder(self.encoder(x)) - x))
        weights = self.trainable_weights
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights, strict=True))
        self.tracker.update_state(loss)
        return {"reconstruction": self.tracker.result()}


def without_call():
    model = WithoutCall()
    model.compile(optimizer="adam")
    return model


@pytest.mark.parametrize(
    ("build", "data", "figure"),
    [(own, {"x": X, "y": Y}, "my_loss"), (without_call, {"x": X}, "reconstruction")],
)
def test_a_model_with_a_train_step_alone_is_trained(build, data, figure):
    result = compare({"it": 0.01}, model=build, epochs=8, **data).results[0]
    assert result.epochs[figure][-1] < result.epochs[figure][0]


def test_a_generator_of_one_run_loses_nothing():
    def batches():
        for number in range(8):
            yield np.full((1, 3), number, "float32"), np.zeros((1, 1), "float32")

    def build():
        return network(L.Dense(1, kernel_initializer="ones"), loss=lambda y, p: p / 3)

    result = compare({"it": 1e-12}, model=build, x=batches(), steps_per_epoch=4, epochs=2)
    assert result.results[0].steps["loss"] == pytest.approx(list(range(8)), abs=1e-4)


def test_errors_within_the_validation_say_what_is_wrong():
    def build():
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return network(L.Dense(3), loss=loss)

    labels = np.arange(64) % 3
    with pytest.raises(ValueError, match="label value of 3 which is outside") as error:
        compare({"it": 0.1}, model=build, x=X, y=labels, validation_data=(X, labels + 1), epochs=1)
    assert "File" not in str(error.value)


def test_other_arguments_are_named_with_the_remedy():
    for schedule, said in (
        (lambda step: 0.1, r"keraslr\.LambdaLR"),
        ("cosine", r"keraslr\.parse"),
        (keraslr.callbacks.ReduceLROnPlateau(), r"pair \(schedule or rate"),
    ):
        with pytest.raises(TypeError, match=said):
            compare({"it": schedule}, model=own, x=X, y=Y, epochs=1)
    result = compare({"it": 0.1}, model=own, x=X, y=Y, epochs=1)
    with pytest.raises(ValueError, match="name must be one of it"):
        result.of("typo")


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has none yet")
def test_optimizers_that_a_function_chooses():
    def build():
        kinds = {"encoder": keras.optimizers.Adam(0.1), "head": keras.optimizers.SGD(0.01)}
        chosen = keras.optimizers.MultiOptimizer(
            lambda variable: kinds[variable.path.split("/")[-2]]
        )
        return network(L.Dense(4, name="encoder"), L.Dense(1, name="head"), optimizer=chosen)

    result = compare({"it": 0.01}, model=build, x=X, y=Y, epochs=1)
    assert result.results[0].status == "finished"
