"""Models and data of many kinds, as users write them: what `fit` trains, runs train too."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from keraslr import Problem, StepLR

L = keras.layers
EXAMPLES = 52  # no multiple of the batch size


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=(EXAMPLES, *shape)).astype("float32")


def classes(count=3, seed=1):
    return np.random.default_rng(seed).integers(0, count, EXAMPLES)


def _sequential(inputs, *layers):
    return keras.Sequential([keras.Input(inputs), *layers])


def regression():
    def build():
        model = _sequential((4,), L.Dense(8), L.BatchNormalization(), L.ReLU(), L.Dense(1))
        model.compile("adam", "mse", metrics=["mae"])
        return model

    return Problem("regression", build, numbers(4), numbers(1, seed=2), validation_split=0.25)


def two_outputs():
    def build():
        inputs = keras.Input((4,), name="features")
        hidden = L.Dense(8, "relu")(inputs)
        outputs = {"a": L.Dense(1, name="a")(hidden), "b": L.Dense(3, name="b")(hidden)}
        model = keras.Model({"features": inputs}, outputs)
        cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(
            "sgd",
            {"a": "mse", "b": cross_entropy},
            loss_weights={"a": 0.3, "b": 1.0},
            metrics={"b": ["accuracy"]},
            weighted_metrics={"a": ["mae"]},
        )
        return model

    targets = {"a": numbers(1, seed=3), "b": classes()}
    return Problem(
        "two outputs",
        build,
        {"features": numbers(4)},
        targets,
        validation_data=({"features": numbers(4, seed=5)}, targets),
    )


def own_train_step():
    class Model(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = L.Dense(1)
            self.distance = keras.metrics.Mean("distance")

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.abs(self(x, training=True) - y))
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            self.distance.update_state(loss, sample_weight=keras.ops.shape(x)[0])
            return {"distance": self.distance.result()}

    def build():
        model = Model()
        model.compile(keras.optimizers.RMSprop(), "mae")
        return model

    return Problem("own train_step", build, numbers(4), numbers(1, seed=2))


def text(dropout=0.3):
    def build():
        model = _sequential((6,), L.Embedding(20, 5), L.LSTM(4), L.Dropout(dropout), L.Dense(3))
        optimizer = keras.optimizers.SGD(momentum=0.9, clipnorm=0.5)
        model.compile(
            optimizer,
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        return model

    words = np.random.default_rng(0).integers(0, 20, (EXAMPLES, 6))
    return Problem("text", build, words, classes())


def text_without_dropout():
    return text(dropout=0.0)


def weighted():
    def build():
        model = _sequential((4,), L.Dense(1, "sigmoid"))
        model.compile(
            "adamw", "binary_crossentropy", metrics=["auc"], weighted_metrics=["accuracy"]
        )
        return model

    weights = np.random.default_rng(3).random(EXAMPLES)
    return Problem("weighted", build, numbers(4), classes(2), sample_weight=weights)


def mixed_precision():
    def build():
        keras_policy = keras.DTypePolicy("mixed_float16")
        model = _sequential((4,), L.Dense(8, "relu", dtype=keras_policy), L.Dense(1))
        model.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()), "mse")
        return model

    return Problem("mixed precision", build, numbers(4), numbers(1, seed=2))


def accumulated():
    def build():
        model = _sequential((4,), L.Dense(1))
        model.compile(keras.optimizers.SGD(gradient_accumulation_steps=3), "mse")
        return model

    return Problem("accumulated", build, numbers(4), numbers(1, seed=2))


def averaged():
    def build():
        model = _sequential((4,), L.Dense(1))
        model.compile(keras.optimizers.Adam(use_ema=True, ema_overwrite_frequency=5), "mse")
        return model

    return Problem("averaged", build, numbers(4), numbers(1, seed=2))


def regularised():
    def build():
        inputs = keras.Input((8, 8, 1))
        x = L.Conv2D(3, 3, kernel_regularizer="l2")(inputs)
        x = L.GlobalAveragePooling2D()(L.ActivityRegularization(0.01)(L.BatchNormalization()(x)))
        model = keras.Model(inputs, L.Dense(3)(x))
        model.compile("adagrad", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    return Problem("regularised", build, numbers(8, 8, 1), classes(), validation_split=0.2)


def compiled_by_xla():
    def build():
        model = _sequential((4,), L.Dense(8, "tanh"), L.Dense(1))
        model.compile("sgd", "mse", jit_compile=True)
        return model

    return Problem("compiled by XLA", build, numbers(4), numbers(1, seed=2))


def eager():
    def build():
        model = _sequential((4,), L.Dense(1))
        model.compile("sgd", "mse", metrics=["mae"], run_eagerly=True)
        return model

    return Problem("eager", build, numbers(4), numbers(1, seed=2), validation_split=0.25)


def several_optimizers():
    def build():
        model = _sequential((4,), L.Dense(8, name="body"), L.Dense(1, name="head"))
        rates = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.1))
        rates[".*body/.*"] = keras.optimizers.Adam(0.01)
        model.compile(keras.optimizers.MultiOptimizer(rates), "mse")
        return model

    return Problem("several optimizers", build, numbers(4), numbers(1, seed=2))


def groups_with_schedules():
    """The default optimizer has no variables left; one group is frozen."""

    def build():
        model = _sequential(
            (4,), L.Dense(8, name="body"), L.Dense(3, name="neck"), L.Dense(1, name="head")
        )
        decay = keras.optimizers.schedules.ExponentialDecay(0.2, 5, 0.5)
        groups = {
            ".*head/.*": keras.optimizers.SGD(StepLR(0.1, step_size=3), momentum=0.9),
            ".*body/.*": keras.optimizers.Adam(decay),
            ".*neck/.*": keras.optimizers.SGD(0.0),
        }
        rates = keras.optimizers.OptimizerMap(keras.optimizers.SGD(7.0), groups)
        model.compile(keras.optimizers.MultiOptimizer(rates), "mse")
        return model

    return Problem("groups with schedules", build, numbers(4), numbers(1, seed=2))


class Adversaries(keras.Model):
    """Two networks with an optimizer each, as in a GAN; the metrics tell the loss of each.

    Args:
        of_generator: Attribute that holds the optimizer of the generator.
        run_eagerly: As `compile` takes it.
    """

    def __init__(self, of_generator="optimizer", run_eagerly=False, **rates):
        super().__init__()
        self.d = _sequential((2,), L.Dense(4, "tanh"), L.Dense(1))
        self.g = _sequential((3,), L.Dense(2))
        self.of_generator = of_generator
        self.d_loss, self.g_loss = keras.metrics.Mean("d_loss"), keras.metrics.Mean("g_loss")
        compiled = {"d": 0.01, "g": 0.02, **rates}
        self.compile(keras.optimizers.SGD(compiled["g"]), run_eagerly=run_eagerly)
        self.d_optimizer = keras.optimizers.Adam(compiled["d"])
        if of_generator != "optimizer":
            setattr(self, of_generator, keras.optimizers.SGD(compiled["g"], momentum=0.9))

    @property
    def metrics(self):
        return [self.d_loss, self.g_loss]

    def train_step(self, data):
        noise, real = data
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(
                keras.ops.softplus(-self.d(real)) + keras.ops.softplus(self.d(self.g(noise)))
            )
        weights = self.d.trainable_variables
        self.d_optimizer.apply(tape.gradient(loss, weights), weights)
        self.d_loss.update_state(loss)
        with tf.GradientTape() as tape:
            loss = keras.ops.mean(keras.ops.softplus(-self.d(self.g(noise))))
        weights = self.g.trainable_variables
        getattr(self, self.of_generator).apply(tape.gradient(loss, weights), weights)
        self.g_loss.update_state(loss)
        return {"d_loss": self.d_loss.result(), "g_loss": self.g_loss.result()}


def two_networks(**arguments):
    return Problem("two networks", lambda: Adversaries(**arguments), numbers(3), numbers(2, seed=2))


def dataset():
    def build():
        model = _sequential((4,), L.Dense(1))
        model.compile("sgd", "mse", metrics=["mae"])
        return model

    whole = tf.data.Dataset.from_tensor_slices((numbers(4), numbers(1, seed=2)))
    return Problem("dataset", build, whole.batch(8), validation_data=whole.take(20).batch(6))


def dataset_of_unknown_length():
    kept = dataset()
    unknown = kept.x.unbatch().filter(lambda x, y: x[0] > -1).batch(8)
    return Problem("dataset of unknown length", kept.build, unknown)


class Pieces(keras.utils.PyDataset):
    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.ended = 0

    def __len__(self):
        return 7

    def __getitem__(self, index):
        part = slice(8 * index, 8 * index + 8)
        return numbers(4)[part], numbers(1, seed=2)[part]

    def on_epoch_end(self):
        self.ended += 1


def py_dataset():
    return Problem("PyDataset", dataset().build, Pieces(workers=2))


def generator():
    def batches():
        for index in range(1000):
            yield Pieces()[index % 7]

    return Problem("generator", dataset().build, batches, steps_per_epoch=5)


class Largest(keras.metrics.Metric):
    """The largest error so far, whose variable is no sum."""

    def __init__(self):
        super().__init__(name="largest")
        self.value = self.add_weight(shape=(), initializer="zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        errors = keras.ops.abs(y_true - y_pred)
        self.value.assign(keras.ops.maximum(self.value, keras.ops.max(errors)))

    def result(self):
        return 1.0 * self.value


KINDS = (
    regression, two_outputs, own_train_step, text, weighted, mixed_precision, accumulated, averaged,
    regularised, compiled_by_xla, eager, two_networks, dataset, dataset_of_unknown_length,
    py_dataset, generator,
)  # fmt: skip
if hasattr(keras.optimizers, "MultiOptimizer"):
    KINDS += (several_optimizers, groups_with_schedules)
