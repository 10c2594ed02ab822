"""Yogi against its definition, and with all that an optimizer of Keras can do besides."""

from __future__ import annotations

import inspect
import json
import math

import keras
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, STEP_MODES, array, compiled_step, compilers, on_tensorflow

import keraslr
from keraslr.optimizers import Yogi

STEPS = 40
BEGIN = np.array([1.0, -2.0, 0.5])
# Large and small in turn, so that v grows and shrinks.
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 3)) * np.repeat(
    [0.1, 10.0, 0.01, 1.0], STEPS // 4
).reshape(-1, 1)
DEFAULTS = {
    "learning_rate": 0.01,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-3,
    "initial_accumulator_value": 1e-6,
}
# In float32 1 - 0.999 has four digits, and its root goes into every step.
TOLERANCE = 3e-5


def yogi(gradients, rates=0.01, beta_1=0.9, beta_2=0.999, epsilon=1e-3, v=1e-6, weight_decay=0.0):
    """Weights, m and v after each step, in double precision."""
    rates = np.broadcast_to(rates, len(gradients))
    weight, m, v = BEGIN.copy(), np.zeros(3), np.full(3, v)
    states = []
    for n, (rate, gradient) in enumerate(zip(rates, gradients, strict=True), 1):
        weight = weight - weight * weight_decay * rate
        m = beta_1 * m + (1 - beta_1) * gradient
        v = v - (1 - beta_2) * np.sign(v - gradient**2) * gradient**2
        m_hat, v_hat = m / (1 - beta_1**n), v / (1 - beta_2**n)
        weight = weight - rate * m_hat / (np.sqrt(v_hat) + epsilon)
        states.append((weight, m, v))
    return [np.array(each) for each in zip(*states, strict=True)]


def run(optimizer, gradients=GRADIENTS, mode="eager"):
    """The weights, m and v after each step, as Keras applies them."""
    weight, states = keras.Variable(BEGIN, dtype="float32"), []
    optimizer.build([weight])

    def step(gradient):
        optimizer.apply([gradient], [weight])

    step = compiled_step(step, mode, lambda: [weight, *optimizer.variables])
    for gradient in gradients:
        step(keras.ops.convert_to_tensor(gradient, "float32"))
        (m,), (v,) = optimizer._momentums, optimizer._velocities
        states.append([array(each) for each in (weight, m, v)])
    return [np.array(each) for each in zip(*states, strict=True)]


def assert_close(seen, expected):
    # What is compared is how far the weight has come, not where it was to begin with. Each of its
    # steps is rounded to the digits that a weight of 2 has.
    np.testing.assert_allclose(seen - BEGIN, expected - BEGIN, rtol=TOLERANCE, atol=2e-6)


@pytest.mark.parametrize("mode", STEP_MODES)
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"learning_rate": 0.1, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-7},
        {"beta_1": 0.0, "beta_2": 0.0},
        {"initial_accumulator_value": 0.0, "beta_2": 0.99},
        {"initial_accumulator_value": 4.0, "beta_2": 0.99},
    ],
    ids=str,
)
def test_every_step_is_that_of_the_definition(settings, mode):
    given = dict(settings)
    named = {"learning_rate": "rates", "initial_accumulator_value": "v"}
    expected = yogi(GRADIENTS, **{named.get(key, key): given[key] for key in given})
    weights, m, v = run(Yogi(**settings), mode=mode)
    assert_close(weights, expected[0])
    np.testing.assert_allclose(m, expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(v, expected[2], rtol=1e-5, atol=1e-12)


def test_the_defaults_are_those_of_the_paper_and_begin_at_nothing():
    config = Yogi().get_config()
    assert {name: config[name] for name in DEFAULTS} == pytest.approx(DEFAULTS)
    assert config["name"] == "yogi"
    optimizer = Yogi()
    optimizer.build([keras.Variable(BEGIN)])
    assert np.all(keras.ops.convert_to_numpy(optimizer._momentums[0].value) == 0)
    np.testing.assert_allclose(optimizer._velocities[0].value, 1e-6, rtol=1e-6)


def test_the_second_moment_falls_by_the_squares_of_small_gradients():
    # Where Adam's would fall by a share of itself: to 0.99 of it, and not to 0.9999.
    gradients = np.full((3, 3), 0.1)
    _, _, v = run(Yogi(beta_2=0.99, initial_accumulator_value=1.0), gradients)
    np.testing.assert_allclose(v[:, 0], [0.9999, 0.9998, 0.9997], rtol=1e-6)
    _, _, v = run(Yogi(beta_2=0.99, initial_accumulator_value=0.0), gradients)
    np.testing.assert_allclose(v[:, 0], [0.0001, 0.0002, 0.0003], rtol=1e-6)


def test_a_weight_without_gradient_stays_where_it_is():
    gradients = GRADIENTS * [1.0, 0.0, 1.0]
    weights, _, v = run(Yogi(initial_accumulator_value=0.0), gradients)
    assert np.all(weights[:, 1] == BEGIN[1])
    assert np.all(v[:, 1] == 0)
    assert np.isfinite(weights).all()


def test_the_rate_may_follow_a_schedule():
    schedule = keraslr.CosineAnnealingLR(0.1, T_max=STEPS)
    weights, _, _ = run(Yogi(schedule), mode=STEP_MODES[-1])
    assert_close(weights, yogi(GRADIENTS, rates=schedule.values(STEPS))[0])


def test_weights_decay():
    weights, _, _ = run(Yogi(weight_decay=0.5))
    assert_close(weights, yogi(GRADIENTS, weight_decay=0.5)[0])


NORMS = np.linalg.norm(GRADIENTS, axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("argument", "gradients"),
    [
        ({"clipvalue": 0.5}, np.clip(GRADIENTS, -0.5, 0.5)),
        ({"clipnorm": 0.5}, GRADIENTS * np.minimum(1, 0.5 / NORMS)),
        ({"global_clipnorm": 0.5}, GRADIENTS * np.minimum(1, 0.5 / NORMS)),
        ({"loss_scale_factor": 8.0}, GRADIENTS / 8),
    ],
    ids=["clipvalue", "clipnorm", "global_clipnorm", "loss_scale_factor"],
)
def test_gradients_are_prepared_as_keras_does(argument, gradients):
    weights, _, _ = run(Yogi(**argument))
    assert_close(weights, yogi(gradients)[0])


@pytest.mark.parametrize("mode", ["xla"] if BACKEND == "jax" else STEP_MODES[:2])
def test_accumulated_gradients_are_one_update(mode):
    weights, _, _ = run(Yogi(gradient_accumulation_steps=4), mode=mode)
    expected, _, _ = yogi(GRADIENTS.reshape(-1, 4, 3).mean(axis=1))
    assert_close(weights[3::4], expected)
    assert np.all(weights[:3] == BEGIN.astype("float32"))


def test_weights_are_averaged():
    optimizer = Yogi(use_ema=True, ema_momentum=0.8)
    weight = keras.Variable(BEGIN, dtype="float32")
    for gradient in GRADIENTS:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [weight])
    optimizer.finalize_variable_values([weight])
    weights, _, _ = yogi(GRADIENTS)
    average = weights[0]
    for each in weights[1:]:
        average = 0.8 * average + 0.2 * each
    assert_close(array(weight), average)


@on_tensorflow
def test_rows_of_an_embedding_that_come_twice_are_added_up():
    import tensorflow as tf

    # 1 and 2 for the same row are a gradient of 3: its square is 9, and not 1 + 4.
    table = keras.Variable(np.ones((4, 1)), dtype="float32")
    twice = tf.IndexedSlices(tf.constant([[1.0], [2.0]]), tf.constant([1, 1]), tf.constant([4, 1]))
    optimizer = Yogi(beta_2=0.9, initial_accumulator_value=0.0)
    optimizer.apply([twice], [table])
    np.testing.assert_allclose(array(optimizer._velocities[0])[:, 0], [0, 0.9, 0, 0], rtol=1e-6)


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(128, 6)).astype("float32")
    return x, (x[:, :1] * x[:, 1:2] > 0).astype("float32")


def compiled(optimizer, **mode):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(16, activation="tanh"),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model.compile(optimizer, "binary_crossentropy", **mode)
    return model


@compilers
def test_a_network_learns(jit_compile):
    x, y = data()
    model = compiled(Yogi(0.1), jit_compile=jit_compile)
    losses = model.fit(x, y, batch_size=64, epochs=25, verbose=0).history["loss"]
    assert losses[0] > 0.6
    assert losses[-1] < 0.3


def test_mixed_precision_is_scaled_and_learns():
    x, y = data()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(Yogi(0.1), **QUICKLY)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert model.fit(x, y, batch_size=64, epochs=25, verbose=0).history["loss"][-1] < 0.3


def test_a_saved_run_goes_on_as_if_it_had_not_been(tmp_path):
    x, y = data()

    def fit(model, epochs):
        model.fit(x, y, batch_size=32, epochs=epochs, shuffle=False, verbose=0)

    settings = {"beta_1": 0.8, "epsilon": 1e-4, "initial_accumulator_value": 1e-3}
    whole = compiled(Yogi(keraslr.ExponentialLR(0.05, 0.95), **settings), **QUICKLY)
    fit(whole, 4)
    model = compiled(Yogi(keraslr.ExponentialLR(0.05, 0.95), **settings), **QUICKLY)
    fit(model, 2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is Yogi
    assert again.optimizer.get_config() == model.optimizer.get_config()
    for loaded, saved in zip(again.optimizer.variables, model.optimizer.variables, strict=True):
        np.testing.assert_array_equal(array(loaded), array(saved))
    fit(again, 2)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_config_rebuilds_it():
    optimizer = Yogi(
        keraslr.StepLR(0.5, 3), 0.5, 0.75, 0.125, 0.25, weight_decay=0.5, clipnorm=2.0, name="mine"
    )
    config = json.loads(json.dumps(optimizer.get_config()))
    again = Yogi.from_config(config)
    assert again.get_config() == optimizer.get_config()
    assert (again.beta_1, again.beta_2, again.epsilon) == (0.5, 0.75, 0.125)
    assert again.initial_accumulator_value == 0.25
    assert again._learning_rate == keraslr.StepLR(0.5, 3)
    serialized = keras.saving.serialize_keras_object(optimizer)
    assert type(keras.saving.deserialize_keras_object(serialized)) is Yogi


def test_it_takes_the_arguments_of_every_optimizer():
    def common(cls):
        parameters = list(inspect.signature(cls).parameters.values())
        first = [each.name for each in parameters].index("weight_decay")
        return [(each.name, each.kind, each.default) for each in parameters[first:]]

    ours, theirs = common(Yogi), common(keras.optimizers.Adam)
    assert [each for each in ours if each[0] != "name"] == [
        each for each in theirs if each[0] != "name"
    ]
    assert list(inspect.signature(Yogi).parameters)[:5] == list(DEFAULTS)
    with pytest.raises(ValueError, match="speed"):
        Yogi(speed=2)


@pytest.mark.parametrize("name", DEFAULTS)
@pytest.mark.parametrize("value", [True, "0.5", None, [0.5], 1j], ids=repr)
def test_what_is_no_number_is_a_type_error(name, value):
    with pytest.raises(TypeError, match=rf"^{name} must be a number .*Received: {name}="):
        Yogi(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in DEFAULTS for value in (-0.1, math.nan, math.inf, 1e300)),
        ("beta_1", 1.0),
        ("beta_2", 1),
        ("epsilon", 0.0),
    ],
)
def test_a_number_out_of_range_is_a_value_error(name, value):
    with pytest.raises(ValueError, match=rf"^{name} must be a number .*Received: {name}="):
        Yogi(**{name: value})


def test_the_lowest_of_each_range_is_accepted():
    optimizer = Yogi(0, 0, 0, 1e-30, 0)
    assert (optimizer.beta_1, optimizer.beta_2, optimizer.initial_accumulator_value) == (0, 0, 0)
    assert float(optimizer.learning_rate) == 0
