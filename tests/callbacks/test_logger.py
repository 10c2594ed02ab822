"""Does the logger tell the rate that was applied, and why it is not the planned one?"""

from __future__ import annotations

import csv
import json
import pickle
import warnings

import keras
import numpy as np
import pytest
from measured import (
    BACKEND,
    COMPILERS,
    QUICKLY,
    applied,
    compiled,
    fit,
    not_on_torch,
    on_tensorflow,
    unit_vectors,
)
from programs import Program

import keraslr
from keraslr.callbacks import LearningRateLogger, LearningRateWarning, ReduceLROnPlateau

SCHEDULE = keraslr.ExponentialLR(0.1, gamma=0.97)


def steps(history, name="applied"):
    """All steps of all epochs."""
    return np.concatenate([list(each) for each in history.history[f"{name}_learning_rate"]])


def logged(model, *callbacks, **arguments):
    return fit(model, callbacks=[*callbacks, LearningRateLogger()], **arguments)


@pytest.mark.parametrize(
    ("rate", "compiler", "steps_per_execution"),
    [
        (0.1, 0, 1),
        (SCHEDULE, -1, 1),
        pytest.param(SCHEDULE, 0, 7, marks=not_on_torch),
        pytest.param(0.1, -1, 7, marks=not_on_torch),
    ],
)
def test_it_logs_what_the_weights_say(rate, compiler, steps_per_execution):
    jit_compile = [*COMPILERS.values()][compiler]
    model = compiled(rate, steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    history = logged(model)
    np.testing.assert_allclose(steps(history), applied(model), rtol=5e-7)
    expected = np.full(40, 0.1) if rate == 0.1 else SCHEDULE.values(40)
    np.testing.assert_allclose(steps(history, "planned"), expected, rtol=1e-6)


def test_it_does_not_change_what_is_trained():
    with_it, without = (compiled(keras.optimizers.SGD(SCHEDULE, name="same")) for _ in range(2))
    logged(with_it, epochs=2)
    fit(without, epochs=2)
    np.testing.assert_array_equal(applied(with_it), applied(without))
    if BACKEND != "jax":  # where they are numbered, but in no file: see test_backends.py
        assert len(with_it.optimizer.variables) == len(without.optimizer.variables)
    assert with_it.optimizer.get_config() == without.optimizer.get_config()


@not_on_torch  # which compiles nothing
def test_it_sees_what_the_optimizer_does_not_say():
    # Keras keeps the schedule in the compiled step: the one that replaces it is never applied.
    class Replace(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                self.model.optimizer.learning_rate = keraslr.ConstantLR(0.5, factor=1.0)

    model = compiled(SCHEDULE)
    history = logged(model, Replace(), last=20, epochs=2)
    assert float(model.optimizer.learning_rate) == 0.5
    np.testing.assert_allclose(steps(history), SCHEDULE.values(40), rtol=5e-7)
    expected = SCHEDULE.values(40).reshape(2, 20).sum(axis=0)
    np.testing.assert_allclose(applied(model)[:20], expected, rtol=1e-6)


def test_mixed_precision_logs_no_step_that_was_skipped():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        # Infinite in float16 twice: two steps are skipped, and the third is the schedule's first.
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(SCHEDULE), 2.0**17)
        model = compiled(scaled, **QUICKLY)
        history = logged(model)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(steps(history), SCHEDULE.values(38), rtol=5e-7)


@on_tensorflow
def test_two_replicas_log_one_rate():
    # TensorFlow makes a second CPU only in a process that has none yet.
    code = """
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
from tests.callbacks.test_logger import SCHEDULE, LearningRateLogger, compiled, fit
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = compiled(SCHEDULE, jit_compile=False)
history = fit(model, batch_size=2, callbacks=[LearningRateLogger()])
print(list(history.history["applied_learning_rate"][0]))
"""
    rates = json.loads(Program("-c", code).finished().splitlines()[-1])
    np.testing.assert_allclose(rates, SCHEDULE.values(20), rtol=1e-6)


# Where it is logged


def test_an_epochs_value_is_a_number_and_csv_rows_hold_every_step(tmp_path):
    path = tmp_path / "log.csv"
    history = fit(
        compiled(SCHEDULE), last=10, epochs=3,
        callbacks=[LearningRateLogger(), keras.callbacks.CSVLogger(path)],
    )  # fmt: skip
    rates = history.history["applied_learning_rate"]
    np.testing.assert_allclose(np.array(rates, float), SCHEDULE.values(30)[9::10], rtol=1e-6)
    assert json.loads(json.dumps(rates)) == [float(rate) for rate in rates]
    again = pickle.loads(pickle.dumps(rates))
    assert [list(each) for each in again] == [list(each) for each in rates]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("applied", "planned"):
        cells = [row[f"{name}_learning_rate"].strip('"') for row in rows]
        rates = [rate for cell in cells for rate in json.loads(cell)]
        np.testing.assert_allclose(rates, SCHEDULE.values(30), rtol=1e-6)


def test_csv_rows_hold_one_number_if_asked(tmp_path):
    path = tmp_path / "log.csv"
    fit(
        compiled(SCHEDULE), last=10, epochs=2,
        callbacks=[LearningRateLogger(per_step=False), keras.callbacks.CSVLogger(path)],
    )  # fmt: skip
    with path.open(newline="") as file:
        rates = [float(row["applied_learning_rate"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(rates, SCHEDULE.values(20)[[9, 19]], rtol=1e-6)


@on_tensorflow
def test_tensorboard_has_every_step(tmp_path):
    import tensorflow as tf

    board = keras.callbacks.TensorBoard(tmp_path, update_freq=1)
    fit(compiled(SCHEDULE), last=10, epochs=2, callbacks=[LearningRateLogger(), board])
    scalars: dict[str, dict[int, float]] = {}
    for path in sorted((tmp_path / "train").iterdir()):
        for record in tf.compat.v1.io.tf_record_iterator(str(path)):
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                number = float(tf.make_ndarray(value.tensor)) if value.tensor.dtype == 1 else None
                scalars.setdefault(value.tag, {})[event.step] = number
    expected = SCHEDULE.values(20)
    for name in ("applied", "planned"):
        each = scalars[f"batch_{name}_learning_rate"]
        np.testing.assert_allclose([each[k] for k in sorted(each)], expected, rtol=1e-6)
        epochs = scalars[f"epoch_{name}_learning_rate"]
        np.testing.assert_allclose([epochs[0], epochs[1]], expected[[9, 19]], rtol=1e-6)


def test_the_progress_bar_shows_it(capsys):
    fit(compiled(0.125), callbacks=[LearningRateLogger()], verbose=2)
    assert "applied_learning_rate: 0.125" in capsys.readouterr().out


# Why the two part


def test_a_run_as_planned_gives_no_warning():
    model = compiled(SCHEDULE)
    with warnings.catch_warnings():
        warnings.simplefilter("error", LearningRateWarning)
        first = logged(model, last=10, epochs=2)
        second = logged(model, last=10, epochs=4, initial_epoch=2)
    for history, start in ((first, 0), (second, 20)):
        for name in ("applied", "planned"):
            expected = SCHEDULE.values(20, start)
            np.testing.assert_allclose(steps(history, name), expected, rtol=1e-6)


@pytest.fixture(scope="module")
def of_two_epochs(tmp_path_factory):
    """The file of a model that was trained without the logger."""
    model, path = compiled(SCHEDULE), tmp_path_factory.mktemp("saved") / "model.keras"
    fit(model, epochs=2)
    model.save(path)
    return path


def test_a_checkpoint_with_other_iterations_is_named(of_two_epochs):
    loaded = keras.saving.load_model(of_two_epochs)
    with pytest.warns(LearningRateWarning, match=r"counter stands at 80.*have it at 0 \(a checkpo"):
        history = logged(loaded)
    np.testing.assert_allclose(steps(history), SCHEDULE.values(40, 80), rtol=1e-6)
    np.testing.assert_allclose(steps(history, "planned"), SCHEDULE.values(40), rtol=1e-6)


def test_a_checkpoint_with_the_right_iterations_is_well(of_two_epochs):
    loaded = keras.saving.load_model(of_two_epochs)
    history = logged(loaded, epochs=3, initial_epoch=2)
    np.testing.assert_allclose(steps(history, "planned"), SCHEDULE.values(40, 80), rtol=1e-6)


def test_gradient_accumulation_is_named():
    optimizer = keras.optimizers.SGD(SCHEDULE, gradient_accumulation_steps=4)
    with pytest.warns(LearningRateWarning, match="gradient_accumulation_steps=4.* 4 times too"):
        history = logged(compiled(optimizer))
    np.testing.assert_allclose(steps(history), SCHEDULE.values(40)[3::4], rtol=1e-6)
    np.testing.assert_allclose(steps(history, "planned"), SCHEDULE.values(10), rtol=1e-6)


def test_a_schedule_stretched_for_accumulation_is_well():
    stretched = keraslr.ExponentialLR(0.1, gamma=0.97).per_epoch(4)
    optimizer = keras.optimizers.SGD(stretched, gradient_accumulation_steps=4)
    history = logged(compiled(optimizer))
    for name in ("applied", "planned"):
        np.testing.assert_allclose(steps(history, name), SCHEDULE.values(10), rtol=1e-6)


def test_another_callback_is_named():
    falling = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / (1 + epoch))
    with pytest.warns(LearningRateWarning, match="at update 10 is 0.05, where 0.1.*another callb"):
        history = logged(compiled(0.1), falling, last=10, epochs=2)
    np.testing.assert_allclose(steps(history), np.repeat([0.1, 0.05], 10), rtol=1e-6)


@pytest.mark.parametrize(
    ("rate", "logger_first"), [(0.1, True), (SCHEDULE, False)], ids=["constant", "schedule"]
)
def test_a_reduction_on_a_plateau_is_named(rate, logger_first):
    rule = ReduceLROnPlateau("loss", factor=0.5, patience=0, threshold=1e6, threshold_mode="abs")
    callbacks = [LearningRateLogger(), rule] if logger_first else [rule, LearningRateLogger()]
    with pytest.warns(LearningRateWarning, match=r"ReduceLROnPlateau \(monitor='loss'\).* by 0.5"):
        history = fit(compiled(rate), last=10, epochs=3, callbacks=callbacks)
    planned = np.full(30, 0.1) if rate == 0.1 else SCHEDULE.values(30)
    np.testing.assert_allclose(steps(history, "planned"), planned, rtol=1e-6)
    np.testing.assert_allclose(steps(history), planned * np.repeat([1, 1, 0.5], 10), rtol=1e-6)


@not_on_torch
def test_a_step_compiled_with_another_rate_is_named():
    model = compiled(SCHEDULE)
    logged(model, last=10)
    # The compiled step still has the old schedule; the optimizer does not show it.
    model.optimizer.learning_rate = keraslr.ConstantLR(0.5, factor=1.0)
    with pytest.warns(LearningRateWarning, match="compiled before its learning_rate was replaced"):
        history = logged(model, first=10, last=20)
    np.testing.assert_allclose(steps(history), SCHEDULE.values(10, 10), rtol=1e-6)
    np.testing.assert_allclose(applied(model)[10:20], SCHEDULE.values(10, 10), rtol=1e-6)


def test_one_cause_is_told_once_in_a_fit():
    model = compiled(SCHEDULE)
    fit(model)
    with pytest.warns(LearningRateWarning) as told:
        logged(model, epochs=4)
    assert len([w for w in told if w.category is LearningRateWarning]) == 1


# A checkpoint of another schedule


def backed_up(folder, schedule, epochs, *callbacks):
    x, y = unit_vectors(last=10)
    model = compiled(schedule)
    backup = keras.callbacks.BackupAndRestore(folder, delete_checkpoint=False)
    model.fit(
        x, y, batch_size=1, epochs=epochs, shuffle=False, verbose=0, callbacks=[*callbacks, backup]
    )
    return model


@pytest.mark.parametrize(
    ("callback", "other", "jump"),
    [
        (LearningRateLogger, keraslr.StepLR(0.5, 7), r" rate is 0\.0543\d+, where .* 0\.005\."),
        (lambda: ReduceLROnPlateau("loss"), keras.optimizers.schedules.CosineDecay(0.5, 50), ""),
    ],
    ids=["logger", "plateau"],
)
def test_a_checkpoint_of_another_schedule_is_told(callback, other, jump, tmp_path):
    backed_up(tmp_path, other, 2, callback())
    said = rf"made under another schedule: {type(other).__name__}\(.*ExponentialLR\(.*step 20 the"
    with pytest.warns(LearningRateWarning, match=said + jump):
        backed_up(tmp_path, SCHEDULE, 3, callback())


@pytest.mark.parametrize("rate", [0.1, SCHEDULE], ids=["constant", "schedule"])
def test_a_checkpoint_of_the_same_schedule_is_well_and_the_count_goes_on(rate, tmp_path):
    # Each of the two would warn.
    for epochs in (2, 4):
        callbacks = [LearningRateLogger(), ReduceLROnPlateau("loss")]
        model = backed_up(tmp_path, rate, epochs, *callbacks)
    assert int(model.optimizer.iterations) == 40
    planned = np.full(20, 0.1) if rate == 0.1 else SCHEDULE.values(20, 20)
    np.testing.assert_allclose(steps(model.history, "planned"), planned, rtol=1e-6)


def test_a_bad_argument_is_named():
    with pytest.raises(TypeError, match=r"per_step must be True or False.*per_step=1"):
        LearningRateLogger(per_step=1)
