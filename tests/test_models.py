"""The LeNet is that of the published comparison, and the ResNet-50 has its recipe's optimizer."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import keraslr
from keraslr.models import lenet, resnet50


def test_lenet_has_the_published_layers():
    model = lenet()
    assert model.count_params() == 61_706
    assert model.input_shape == (None, 28, 28, 1)
    shapes = [layer.output.shape[1:] for layer in model.layers if layer.name[:5] != "re_lu"]
    assert shapes == [
        (28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (400,), (120,), (84,), (10,),
    ]  # fmt: skip


def test_relu_behind_the_pooling_changes_no_number():
    # The published network has it before; outputs and gradients are the same to the bit.
    ours, layers = lenet(seed=0), keras.layers
    published = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(6, 5, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(120, activation="relu"),
            layers.Dense(84, activation="relu"),
            layers.Dense(10),
        ]
    )
    published.set_weights(ours.get_weights())
    rng = np.random.default_rng(0)
    x, y = rng.random((64, 28, 28, 1), np.float32), rng.integers(0, 10, 64)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    outcome = []
    for model in (ours, published):
        with tf.GradientTape() as tape:
            value = loss(y, model(x))
        outcome.append([value, *tape.gradient(value, model.trainable_variables)])
    for here, there in zip(*outcome, strict=True):
        np.testing.assert_array_equal(np.asarray(here), np.asarray(there))


def test_it_gives_logits():
    out = np.asarray(lenet(seed=0)(np.random.default_rng(0).random((4, 28, 28, 1), np.float32)))
    assert out.shape == (4, 10)
    assert out.min() < 0  # neither a ReLU nor a softmax behind the last layer
    assert not np.allclose(out.sum(1), 1)


def test_pytorch_initialization_is_uniform_to_the_root_of_fan_in():
    model = lenet("pytorch", seed=3)
    fans = [25, 25, 150, 150, 400, 400, 120, 120, 84, 84]
    for weight, fan_in in zip(model.weights, fans, strict=True):
        values, bound = np.asarray(weight), 1 / np.sqrt(fan_in)
        assert np.abs(values).max() <= bound
        assert np.abs(values).max() > 0.5 * bound  # biases too are drawn
        if values.size > 500:
            assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)


def test_keras_initialization_is_keras_own():
    model = lenet("keras", seed=3)
    assert not any(np.asarray(weight).any() for weight in model.weights[1::2])  # biases: zero
    limit = np.sqrt(6 / (400 + 120))
    assert np.abs(np.asarray(model.weights[4])).max() == pytest.approx(limit, rel=0.01)


@pytest.mark.parametrize("initialization", ["pytorch", "keras"])
def test_a_seed_decides_the_weights(initialization):
    first, same, other = (lenet(initialization, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first[::2], other[::2], strict=True))
    # And layers of one model do not repeat each other's draws.
    assert not np.array_equal(first[0].ravel()[:50], first[2].ravel()[:50])


def test_an_unknown_initialization_is_refused():
    with pytest.raises(ValueError, match="'xavier'"):
        lenet("xavier")


@pytest.mark.parametrize("momentum", [0.9, 0.0])
def test_resnet50_has_the_momentum_of_its_recipe(momentum, monkeypatch):
    # Built in an instant, since only the optimizer is looked at.
    monkeypatch.setattr(keras.applications, "ResNet50", lambda **_: lenet(seed=0))
    schedule = keraslr.StepLR(0.4, step_size=30)
    optimizer = resnet50(schedule, momentum=momentum).optimizer
    assert optimizer.momentum_rule == "pytorch"
    assert (optimizer.momentum, optimizer.nesterov) == (momentum, momentum > 0)
    assert optimizer._learning_rate == schedule
