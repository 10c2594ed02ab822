"""What training cannot do right is refused at once, with a sentence that says what to do."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import softmax_regression

from keraslr import CosineAnnealingLR, compare, datasets
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.training import LiveRun, Run, SteeredSchedule, train

layers = keras.layers
IMAGES, LABELS = np.zeros((4, 28, 28, 1), np.uint8), np.arange(4, dtype=np.int32)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"x_train": IMAGES / 255}, TypeError, "x_train and x_test must hold the same kind"),
        ({"x_train": IMAGES / 255, "x_test": IMAGES[..., 0] / 255}, ValueError, "of one shape"),
        ({"x_train": IMAGES.astype(str)}, TypeError, "x_train must be an array of numbers"),
        ({"x_test": IMAGES.astype(np.int32)}, TypeError, "x_test must be a uint8 array.*int32"),
        ({"x_train": IMAGES.tolist()}, TypeError, "x_train must be an array of numbers.*list"),
        ({"x_train": IMAGES[..., 0]}, ValueError, r"x_train must have the shape.*\(4, 28, 28\)"),
        ({"x_test": np.zeros((4, 32, 32, 3), np.uint8)}, ValueError, "x_test must have the shape"),
        ({"y_train": LABELS / 1.0}, TypeError, "y_train must be an array of integers.*float64"),
        ({"y_train": LABELS > 1}, TypeError, "y_train must be an array of integers.*bool"),
        ({"y_test": LABELS.tolist()}, TypeError, "y_test must be an array of integers.*list"),
        ({"y_train": LABELS[:, None]}, ValueError, r"y_train must have the shape.*ravel"),
        (
            {"y_test": np.eye(4, 10, dtype=int)},
            ValueError,
            r"y_test must have the shape.*np\.argmax\(labels, axis=1\)",
        ),
        ({"y_train": LABELS + 7}, ValueError, "y_train must be classes.* from 7 to 10"),
        ({"y_test": LABELS - 1}, ValueError, "y_test must be classes.* from -1 to 2"),
        ({"y_train": LABELS[:3]}, ValueError, "4 examples, 3 labels"),
        ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, ValueError, "at least 1"),
    ],
)
def test_a_dataset_that_would_be_misread_is_refused(change, error, said):
    parts = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES, "y_test": LABELS}
    with pytest.raises(error, match=said):
        datasets.Dataset("mine", **{**parts, **change})


def test_features_are_taken_as_they_are():
    """Against `fit` on the same batches: nothing is divided."""
    x = np.random.default_rng(0).normal(size=(40, 4)).astype("float32")
    y = (x[:, 0] > 0).astype("int64")
    data = datasets.Dataset("mine", x, y, x, y)

    def build():
        return keras.Sequential([keras.Input((4,)), layers.Dense(2, kernel_initializer="ones")])

    result = train(Run("it", 0.5, dataset=data, model=build, batch_size=8, epochs=2))
    model = build()
    model.compile(
        keras.optimizers.SGD(0.5), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    for epoch in range(2):
        order = np.random.default_rng([0, epoch]).permutation(40)
        model.fit(x[order], y[order], batch_size=8, shuffle=False, verbose=0)
    np.testing.assert_array_equal(
        result.model.layers[0].kernel.numpy(), model.layers[0].kernel.numpy()
    )
    for wrong in (build().layers[0], layers.Dense(1), layers.Dense(2, activation="softmax")):
        ended = keras.Sequential([keras.Input((4,)), wrong])
        if wrong.units == 2 and wrong.activation is keras.activations.linear:
            continue
        with pytest.raises(ValueError, match="compiled, or end in logits of the 2 classes"):
            train(Run("it", 0.5, dataset=data, model=lambda seed, ended=ended: ended))


@pytest.mark.parametrize("kind", [np.uint8, np.int64])
def test_labels_of_any_integer_kind_are_taken(kind):
    labels = LABELS.astype(kind)
    run = Run(
        "it", 0.1, dataset=datasets.Dataset("mine", IMAGES, labels, IMAGES, labels),
        model=softmax_regression, epochs=1,
    )  # fmt: skip
    assert train(run).status == "finished"


def tiny():
    return datasets.Dataset("mine", IMAGES, LABELS, IMAGES, LABELS)


class Subclassed(keras.Model):
    """Ends in what its argument says, which no config shows."""

    def __init__(self, ends_in):
        super().__init__()
        self.flatten, self.dense, self.ends_in = layers.Flatten(), layers.Dense(10), ends_in

    def call(self, images):
        return self.ends_in(self.dense(self.flatten(images)))


def stack(*last, functional=False):
    if functional:
        images = keras.Input((28, 28, 1))
        outputs = layers.Flatten()(images)
        for each in last:
            outputs = each(outputs)
        return keras.Model(images, outputs)
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), *last])


ENDS = {
    "an activation": lambda: stack(layers.Dense(10, activation="softmax")),
    "sigmoid": lambda: stack(layers.Dense(10, activation="sigmoid")),
    "a layer": lambda: stack(layers.Dense(10), layers.Softmax()),
    "an Activation": lambda: stack(layers.Dense(10), layers.Activation("softmax")),
    "a float32 cast": lambda: stack(
        layers.Dense(10, activation="softmax"), layers.Activation("linear", dtype="float32")
    ),
    "an operation": lambda: stack(layers.Dense(10), keras.ops.softmax, functional=True),
    "a model within": lambda: keras.Sequential(
        [keras.Input((28, 28, 1)), stack(layers.Dense(10, activation="softmax"))]
    ),
    "without Input": lambda: keras.Sequential(
        [layers.Flatten(), layers.Dense(10, activation="softmax")]
    ),
    "its own call": lambda: Subclassed(keras.ops.softmax),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_model_that_ends_in_probabilities_is_refused(end):
    run = Run("it", 0.1, dataset=tiny(), model=lambda seed: ENDS[end]())
    with pytest.raises(ValueError, match=r"end in ten logits.*leave the last activation"):
        train(run)


@pytest.mark.parametrize(
    "build",
    [
        lambda seed: stack(layers.Dense(10)),
        lambda seed: stack(layers.Dense(10), layers.Activation("linear")),
        lambda seed: stack(layers.Dense(10), layers.Activation("log_softmax")),  # are logits
        lambda seed: keras.Sequential([layers.Flatten(), layers.Dense(10)]),
        lambda seed: Subclassed(lambda x: x),
    ],
    ids=["dense", "linear", "log_softmax", "without Input", "subclassed"],
)
def test_a_model_that_ends_in_logits_is_trained(build):
    result = train(Run("it", 0.1, dataset=tiny(), model=build, epochs=1))
    assert result.status == "finished"


@pytest.mark.parametrize(
    ("build", "error", "said"),
    [
        (lambda seed: stack(layers.Dense(1)), ValueError, r"ten logits.*\(None, 1\)"),
        (lambda seed: Subclassed(lambda x: x[:, :3]), ValueError, r"ten logits.*\(4, 3\)"),
        (lambda seed: None, TypeError, "returns a keras.Model.*None"),
        (lambda seed: layers.Dense(10), TypeError, "returns a keras.Model.*Dense"),
    ],
)
def test_a_model_of_another_kind_is_refused(build, error, said):
    with pytest.raises(error, match=said):
        train(Run("it", 0.1, dataset=tiny(), model=build))


def compiled():
    model = softmax_regression(0)
    model.compile("sgd", "mse")
    return model


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"dataset": (IMAGES, LABELS)}, TypeError, r"datasets\.Dataset\(.*type tuple"),
        ({"dataset": IMAGES}, TypeError, r"datasets\.Dataset\(.*type ndarray"),
        ({"dataset": None}, TypeError, r"datasets\.Dataset\(.*NoneType"),
        ({"dataset": "cats"}, ValueError, "'cats'"),
        ({"model": compiled()}, TypeError, r"not a built model.*def build\(seed\).*Sequential"),
        ({"model": softmax_regression(0)}, TypeError, "not a built model"),
        ({"model": 3}, TypeError, "model must be the name of a model or a function of a seed"),
        ({"model": lambda seed, width: None}, TypeError, "function of no argument, or of one"),
    ],
)
def test_wrong_data_and_models_are_refused_before_anything_is_spent(change, error, said):
    with pytest.raises(error, match=said):
        Run("it", 0.1, **change)
    if isinstance(change.get("model"), keras.Model):
        error, said = ValueError, "x must be given with a model"
    with pytest.raises(error, match=said):
        compare({"it": 0.1}, **{"dataset": tiny(), **change})


@pytest.mark.parametrize(
    "run",
    [compiled(), keras.Sequential, Run, lambda seed: None, "it", None, CosineAnnealingLR(0.1, 2)],
    ids=["a model", "a class", "Run", "of a seed", "text", "None", "a schedule"],
)
def test_what_is_no_run_is_refused_when_it_is_given(run):
    with pytest.raises(TypeError, match=r"run must be a Run, as keraslr\.training\.Run\("):
        LiveRun(run)
    with pytest.raises(TypeError, match=r"run must be a Run, as keraslr\.training\.Run\("):
        train(run)


def test_functions_that_are_none_are_refused_when_they_are_given():
    run = Run("it", 0.1, dataset=tiny(), model=softmax_regression)
    with pytest.raises(TypeError, match="on_progress must be a function"):
        LiveRun(run, on_progress="print")
    for name in ("on_progress", "should_stop"):
        with pytest.raises(TypeError, match=f"{name} must be a function"):
            train(run, **{name: True})


@pytest.mark.parametrize(
    ("schedule", "first_step", "error", "said"),
    [
        ("cosine", 0, TypeError, "schedule must be a number"),
        (-0.1, 0, ValueError, "schedule must be a number"),
        (0.1, -1, ValueError, "first_step must be an integer >= 0"),
        (0.1, 0.5, TypeError, "first_step must be an integer >= 0"),
    ],
)
def test_a_steered_schedule_of_the_wrong_kind_is_refused(schedule, first_step, error, said):
    with pytest.raises(error, match=said):
        SteeredSchedule(schedule, first_step)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (ReduceLROnPlateau("loss", every=3), "once an epoch.*every=3"),
        (ReduceLROnPlateau(optimizer=keras.optimizers.SGD(0.1)), "optimizer must hold names"),
        (ReduceLROnPlateau(groups=[keras.optimizers.SGD(0.1)]), "groups must hold names"),
    ],
)
def test_a_plateau_rule_that_a_run_cannot_apply_is_refused(rule, said):
    with pytest.raises(ValueError, match=said):
        Run("it", (0.1, rule), dataset=tiny())
    with pytest.raises(ValueError, match=said):
        compare({"it": (0.1, rule)}, dataset=tiny())
