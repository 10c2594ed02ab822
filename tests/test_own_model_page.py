"""What docs/own-model.md says of errors and of the differences from `fit`."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
from kinds import Largest

import keraslr
from keraslr.training import train

PAGE = Path(__file__).resolve().parent.parent / "docs" / "own-model.md"
ERRORS = re.findall(r"^\| `(.*?)` \|", PAGE.read_text().rpartition("## Errors")[2], re.MULTILINE)

X, Y = np.ones((40, 8), "float32"), np.ones((40, 1), "float32")


def build(*, loss="mse", outputs=1, metrics=()):
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(outputs)])
    model.compile(keras.optimizers.SGD(), loss, metrics=list(metrics))
    return model


def not_compiled():
    return keras.Sequential([keras.Input((8,)), keras.layers.Dense(1)])


def without_weights():
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    return model


def dataset():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y))


def numbered():
    import tensorflow as tf

    return dataset().enumerate().map(lambda i, pair: (pair[0] + tf.cast(i, tf.float32), pair[1]))


class OwnStep(keras.Model):
    """Its train step applies another optimizer than the compiled one."""

    def __init__(self):
        super().__init__()
        self.dense, self.its_optimizer = keras.layers.Dense(1), keras.optimizers.SGD()

    def train_step(self, data):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self.dense(data[0]) - data[1]) ** 2)
        weights = self.dense.trainable_variables
        self.its_optimizer.apply(tape.gradient(loss, weights), weights)
        return {"loss": loss}


def own_step():
    model = OwnStep()
    model.compile()
    return model


def frozen_first():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        raise ValueError(
            "the optimizers of a MultiOptimizer must have learning rates > 0 at step 0"
        )
    model = build()
    groups = {".*bias": keras.optimizers.SGD(0.1)}
    optimizers = keras.optimizers.OptimizerMap(keras.optimizers.SGD(0.0), groups)
    model.compile(keras.optimizers.MultiOptimizer(optimizers), "mse")
    return model


def endless():
    while True:
        yield X[:8], Y[:8]


def never_the_same():
    model = build()
    model.layers[0].kernel.assign(np.random.default_rng().normal(size=(8, 1)))
    return model


def compared(schedule=0.1, **changes):
    arguments = {"model": build, "x": X, "y": Y, "epochs": 1, **changes}
    return keraslr.compare({"it": schedule}, **arguments)


def in_batches(x, **changes):
    return compared(x=x, y=None, **changes)


keras_cosine = keras.optimizers.schedules.CosineDecay
rules = keraslr.callbacks
CASES = {
    "model must be compiled": [
        lambda: compared(model=not_compiled),
        lambda: compared(model=not_compiled()),
    ],
    "model cannot be copied": [lambda: compared(model=without_weights())],
    "x must be given with a model": [lambda: compared(model=build(), x=None, y=None)],
    "x must be left out with a problem": [
        lambda: compared(problem=keraslr.Problem("it", build, X, Y))
    ],
    "x must be an array of examples": [lambda: compared(x=X.tolist(), y=Y.tolist())],
    "x, y and sample_weight must hold the same number of examples": [lambda: compared(y=Y[:30])],
    "y must be None if x comes in batches": [lambda: compared(x=dataset().batch(8))],
    "validation_data must be (x, y)": [lambda: compared(validation_data=X)],
    "validation_split must be left out for data that come in batches": [
        lambda: in_batches(dataset().batch(8), validation_split=0.1)
    ],
    "steps_per_epoch must be given": [
        lambda: in_batches(endless()),
        lambda: in_batches(dataset().batch(8).repeat()),
    ],
    "steps_per_epoch must be left out for arrays": [lambda: compared(steps_per_epoch=3)],
    "the model cannot be trained on the data": [
        lambda: compared(x=X[:, :7]),
        lambda: compared(
            model=lambda: build(loss="sparse_categorical_crossentropy", outputs=3), y=np.full(40, 7)
        ),
        lambda: in_batches(dataset()),
    ],
    "the train step must apply model.optimizer": [lambda: compared(model=own_step)],
    "the optimizers of a MultiOptimizer must have learning rates > 0 at step 0": [
        lambda: compared(model=frozen_first)
    ],
    "schedule must be a schedule": [lambda: compared("cosine"), lambda: compared(lambda step: 0.1)],
    "schedule must be a number > 0": [lambda: compared(0), lambda: compared(-0.1)],
    'clock must be "step"': [lambda: compared(keras_cosine(0.1, 10), clock="epoch")],
    "plateau must be a keraslr.callbacks.ReduceLROnPlateau": [
        lambda: compared((0.1, keras.callbacks.ReduceLROnPlateau()))
    ],
    "validation_data must be given": [lambda: compared((0.1, rules.ReduceLROnPlateau("val_loss")))],
    "monitor must be a metric in the logs": [
        lambda: compared((0.1, rules.ReduceLROnPlateau("mae")))
    ],
    "x must be a function that returns a new generator": [
        lambda: in_batches(endless(), steps_per_epoch=2, seeds=2)
    ],
    "model must take images": [lambda: compared(x=None, y=None)],
    "callbacks must be a function": [
        lambda: compared(callbacks=[keras.callbacks.EarlyStopping("loss")])
    ],
    "hence its learning rate is not settable": [
        lambda: compared(callbacks=lambda: [keras.callbacks.LearningRateScheduler(lambda e: 0.1)])
    ],
    "optimizer must be given with optimizer_arguments": [
        lambda: compared(optimizer_arguments={"momentum": 0.9})
    ],
    "model must be a function that builds the same first weights": [
        lambda: compared(model=never_the_same, output="results")
    ],
    "problem must have a name to store its results": [
        lambda: in_batches(numbered().shuffle(40).batch(8), output="results")
    ],
    "x must be a function that can be sent to another process": [
        lambda: in_batches(endless(), steps_per_epoch=3, jobs=2)
    ],
    "figure must be one of": [lambda: compared().plot("accuracy")],
}


def test_the_table_of_errors_is_that_of_the_cases():
    assert list(CASES) == ERRORS


@pytest.mark.parametrize("said", CASES)
def test_each_error_of_the_table_is_raised(said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for case in CASES[said]:
        with pytest.raises((TypeError, ValueError, KeyError), match=re.escape(said)):
            case()


# The differences from `fit`.


def run_of(model, x=X, y=Y, **changes):
    problem = keraslr.Problem("it", model, x, y, validation_data=(X, Y))
    return keraslr.Run("it", 0.01, problem, **{"epochs": 2, "batch_size": 16, **changes})


@pytest.mark.parametrize(("every_batch", "calls"), [(False, 2), (True, 6)])
def test_batch_hooks_come_once_a_slice(slices_of, every_batch, calls):
    slices_of(100)
    called = []
    hook = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: called.append(1))
    hook.every_batch = every_batch
    train(run_of(build, callbacks=lambda: [hook]))
    assert len(called) == calls


@pytest.mark.parametrize("name", ["error", "loss"])
def test_a_train_step_without_a_metric_is_averaged(name):
    import tensorflow as tf

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1, kernel_initializer="ones")

        def call(self, x):
            return self.dense(x)

        def train_step(self, data):
            with tf.GradientTape() as tape:
                error = tf.reduce_mean((self(data[0]) - data[1]) ** 2)
            variables = self.trainable_variables
            self.optimizer.apply(tape.gradient(error, variables), variables)
            return {name: error}

    def own():
        model = Own()
        model.compile("sgd")
        return model

    problem = keraslr.Problem("it", own, X, Y)
    result = train(keraslr.Run("it", 0.01, problem, epochs=1, batch_size=16))
    mean = np.average(result.steps[name], weights=[16, 16, 8])
    assert result.epochs[name] == [pytest.approx(mean)]


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_data_of_unknown_length_take_no_empty_step():
    import tensorflow as tf

    data = dataset().batch(16).filter(lambda x, y: tf.constant(True))
    result = train(run_of(build, data, None))
    model = build()
    model.fit(data, epochs=2, verbose=0, shuffle=False)
    assert int(result.model.optimizer.iterations) == 6
    assert int(model.optimizer.iterations) == 8


def test_some_metrics_have_right_values_per_step_and_on_validation_data():
    metrics = [keras.metrics.F1Score(threshold=0.5), Largest()]
    result = train(run_of(lambda: build(metrics=metrics)))
    assert set(result.steps) == {"loss", "largest", "learning_rate"}  # F1Score has a vector
    # All examples are the same here: an epoch's largest error is that of its first step.
    assert result.epochs["largest"][0] == pytest.approx(result.steps["largest"][0], rel=1e-5)
    errors = np.abs(result.model.predict(X, verbose=0) - Y)
    assert result.epochs["val_largest"][-1] == pytest.approx(errors.max(), rel=1e-5)
    # All examples are the same here.
    assert result.steps["largest"][0] == pytest.approx(np.sqrt(result.steps["loss"][0]), rel=1e-5)
