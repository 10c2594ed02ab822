"""The learning-rate range test: its sweep, its data, its errors and its figure."""

from __future__ import annotations

from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from swept import (
    SGD,
    X,
    Y,
    curve,
    known_curve,
    linear_model,
    network,
    swept,
    unit_vectors,
)

import keraslr
from keraslr import find_learning_rate
from keraslr.models import lenet


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
            self.optimizer.apply([])  # nothing to learn
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
        ({"y": Y[:100]}, ValueError, "same number of examples. Received: 200 in x, 100 in y"),
        (
            {"sample_weight": np.ones(3)},
            ValueError,
            "same number of examples. Received: 200 in x, 200 in y, 3 in sample_weight",
        ),
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
