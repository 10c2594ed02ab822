"""Is the rate that an optimizer applies in `fit` the one that the schedule plans?

The rates are read off the weights, without asking the schedule again: example n of the data is the
nth unit vector, so that step n, on that example alone, changes weight n and no other. The weights
begin at zero and the gradient of the hinge loss is exactly 1 there; after one epoch of plain SGD
weight n is minus the rate of step n, with nothing rounded in between.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from measured import (
    QUICKLY,
    STEPS,
    applied,
    compiled,
    compilers,
    fit,
    not_on_torch,
    thinned,
    unit_vectors,
)
from strategies import EXAMPLES

import keraslr

MANY, SOME = thinned(EXAMPLES, every=3), thinned(EXAMPLES, tensorflow=3)
many_schedules = pytest.mark.parametrize("schedule", MANY.values(), ids=MANY)
some_schedules = pytest.mark.parametrize("schedule", SOME.values(), ids=SOME)


@pytest.fixture
def mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def assert_applied(model, expected):
    """The rates are those planned, but for what a compiler rounds otherwise.

    `values` runs operation by operation. In `fit` the schedule is part of a graph, where grappler
    and XLA turn a division by a constant into a multiplication with its inverse and fuse
    operations: up to four units in a float32's last place (6e-8 each) were seen.
    """
    np.testing.assert_allclose(applied(model), expected, rtol=5e-7, atol=0)


def test_the_measurement_sees_a_rate_that_is_wrong():
    # The tests below can fail: a schedule that is one step late is told apart.
    model = compiled(EXAMPLES["exponential decay"])
    fit(model)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_applied(model, EXAMPLES["exponential decay"].values(STEPS, start=1))


@many_schedules
@compilers
def test_every_step_applies_its_rate(schedule, jit_compile):
    model = compiled(schedule, jit_compile=jit_compile)
    fit(model)
    assert int(model.optimizer.iterations) == STEPS
    assert_applied(model, schedule.values(STEPS))


@compilers
@pytest.mark.parametrize(
    "schedule",
    [
        keraslr.StepLR(0.1, 3, gamma=0.5),
        keraslr.MultiStepLR(0.1, [4, 9, 9]),
        keraslr.ConstantLR(0.1, total_iters=7),
        keraslr.PiecewiseConstantLR([4, 9], [0.1, 0.01, 1e-5]),
        keraslr.ExponentialLR(0.1, 0.93),
        keraslr.LambdaLR(0.1, lambda t: 1 / (1 + t), total_iters=20),
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_rates_from_tables_are_applied_to_the_bit(schedule, jit_compile):
    # There is nothing in these that could be rounded otherwise.
    model = compiled(schedule, jit_compile=jit_compile)
    fit(model)
    np.testing.assert_array_equal(applied(model), schedule.values(STEPS))


@some_schedules
@not_on_torch
def test_several_steps_in_one_execution_apply_theirs(schedule):
    # 40 steps as 5 executions of 7 and one of 5: the counter runs on within an execution.
    model = compiled(schedule, steps_per_execution=7, **QUICKLY)
    fit(model)
    assert_applied(model, schedule.values(STEPS))


@some_schedules
@pytest.mark.usefixtures("mixed_float16")
def test_mixed_precision_applies_the_full_rate(schedule):
    model = compiled(schedule, **QUICKLY)
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert model.layers[-1].compute_dtype == "float16"
    fit(model)
    assert_applied(model, schedule.values(STEPS))


@pytest.mark.usefixtures("mixed_float16")
def test_steps_that_mixed_precision_skips_do_not_count():
    # 2 ** 17 and 2 ** 16 are infinite in float16: two steps are skipped, the scale is halved each
    # time, and the third step is the schedule's first.
    schedule = keraslr.ExponentialLR(0.1, gamma=0.9)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(schedule), 2.0**17)
    model = compiled(scaled, **QUICKLY)
    fit(model)
    assert_applied(model, [0.0, 0.0, *schedule.values(STEPS - 2)])


@some_schedules
def test_a_saved_run_goes_on_where_it_was(schedule, tmp_path):
    half = STEPS // 2 + 1
    model = compiled(schedule, **QUICKLY)
    fit(model, last=half)
    model.save(tmp_path / "model.keras")

    again = keras.saving.load_model(tmp_path / "model.keras")
    loaded = again.optimizer._learning_rate
    assert loaded == schedule
    assert repr(loaded) == repr(schedule)
    assert loaded.values(200).tobytes() == schedule.values(200).tobytes()
    assert int(again.optimizer.iterations) == half
    fit(again, first=half)
    assert_applied(again, schedule.values(STEPS))


@pytest.mark.parametrize("name", ["composed", "one cycle", "lambda"])
def test_a_run_resumed_from_weights_goes_on_where_it_was(name, tmp_path):
    # The schedule comes from the code that builds the model, the counter from the file; the
    # optimizer's variables are in it once they exist.
    schedule, half = EXAMPLES[name], STEPS // 2
    model = compiled(schedule)
    fit(model, last=half)
    model.save_weights(tmp_path / "run.weights.h5")

    again = compiled(schedule)
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "run.weights.h5")
    assert int(again.optimizer.iterations) == half
    fit(again, first=half)
    assert_applied(again, schedule.values(STEPS))


def test_a_killed_run_resumed_by_keras_goes_on_where_it_was(tmp_path):
    schedule = keraslr.CosineAnnealingLR(0.1, 3).per_epoch(10)
    x, y = unit_vectors(last=10)
    # Each epoch sees the same ten vectors, so a weight sums up the rates of its four steps.
    expected = schedule.values(40).reshape(4, 10).sum(axis=0)

    def run(last_epoch):
        model = compiled(schedule)
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model.fit(
            x, y, batch_size=1, epochs=last_epoch, shuffle=False, verbose=0, callbacks=[backup]
        )
        return model

    run(2)
    resumed = run(4)
    assert int(resumed.optimizer.iterations) == 40
    np.testing.assert_allclose(applied(resumed)[:10], expected, rtol=1e-6)


def test_several_epochs_are_one_count_of_steps():
    schedule = keraslr.ExponentialLR(0.1, gamma=0.9)
    model = compiled(schedule)
    x, y = unit_vectors()
    model.fit(x, y, batch_size=1, epochs=2, shuffle=False, verbose=0)
    expected = schedule.values(2 * STEPS).reshape(2, STEPS).sum(axis=0)
    np.testing.assert_allclose(applied(model), expected, rtol=1e-6)


class Recorder(keras.optimizers.Adam):
    """Adam that keeps the rate of each step in a variable, as its update rule received it."""

    def build(self, variables):
        if not self.built:
            self.rates = keras.Variable(np.zeros(STEPS, "float32"), trainable=False)
        super().build(variables)

    def update_step(self, gradient, variable, learning_rate):
        here = keras.ops.one_hot(keras.ops.cast(self.iterations, "int32"), STEPS)
        self.rates.assign(keras.ops.where(here > 0, learning_rate, self.rates.value))
        super().update_step(gradient, variable, learning_rate)


@compilers
def test_an_ordinary_network_with_adam_gets_every_rate(jit_compile):
    schedule = EXAMPLES["composed"]
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(STEPS * 4, 8)).astype("float32"), rng.integers(0, 3, STEPS * 4)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    optimizer = Recorder(schedule)
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=jit_compile)
    history = model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(optimizer.rates), schedule.values(STEPS), rtol=5e-7, atol=0
    )
