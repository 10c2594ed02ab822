"""Does the clock in epochs give each epoch its rate, however the epochs come about?"""

from __future__ import annotations

import copy
import pickle

import keras
import numpy as np
import pytest
from by_epoch import Applied, stopping, told
from measured import (
    QUICKLY,
    compiled,
    fit,
    not_on_torch,
    on_tensorflow,
    unit_vectors,
)

import keraslr
from keraslr.callbacks import EpochSchedule, LearningRateLogger, ReduceLROnPlateau

SCHEDULE = keraslr.StepLR(0.08, step_size=1, gamma=0.5)
HALVES = 0.08 * 0.5 ** np.arange(8)
SIZE = 8


def new(rate=0.5, **arguments):
    return compiled(rate, SIZE, **{**QUICKLY, **arguments})


def driven(model, *callbacks, schedule=SCHEDULE, last=SIZE, smooth=False, **arguments):
    """Trains; returns the rates of each epoch."""
    rows = Applied()
    drive = EpochSchedule(schedule, smooth=smooth)
    fit(model, 0, last, SIZE, callbacks=[drive, *callbacks, rows], **arguments)
    return rows.rows


def same(rows, expected):
    assert len(rows) == len(expected)
    for row, rates in zip(rows, expected, strict=True):
        np.testing.assert_allclose(row, np.broadcast_to(rates, row.shape), rtol=2e-5)


def test_each_epoch_has_its_rate_whatever_the_model_was_compiled_with():
    same(driven(new(1e-3), epochs=4), HALVES[:4])  # the others are compiled with 0.5


@pytest.mark.parametrize(
    "schedule",
    [keraslr.CosineAnnealingLR(0.08, T_max=5), keras.optimizers.schedules.CosineDecay(0.08, 5)],
    ids=["keraslr", "keras"],
)
def test_within_an_epoch_the_rate_moves_if_asked(schedule):
    rows = driven(new(), schedule=schedule, smooth=True, epochs=3)
    expected = 0.04 * (1 + np.cos(np.pi * np.arange(3 * SIZE) / SIZE / 5))
    same(rows, expected.reshape(3, SIZE))


@not_on_torch
def test_an_execution_of_several_steps_has_the_rate_of_its_first():
    rows = driven(
        new(steps_per_execution=3), schedule=keraslr.LinearLR(0.08, 1.0, 0.5, 1), smooth=True
    )
    expected = 0.08 * (1 - 0.5 * np.array([0, 0, 0, 3, 3, 3, 6, 6]) / 8)
    same(rows, [expected])


# How the epochs come about


def test_a_second_fit_goes_on_with_any_batch_size():
    model = new()
    same(driven(model, epochs=2), HALVES[:2])
    same(driven(model, epochs=2), HALVES[2:4])
    same(driven(model, epochs=1, batch_size=4), HALVES[4:5] / 4)


def test_an_initial_epoch_is_the_epoch():
    model = new()
    same(driven(model, epochs=2), HALVES[:2])
    same(driven(model, epochs=6, initial_epoch=5), HALVES[5:6])
    same(driven(new(), epochs=4, initial_epoch=2), HALVES[2:4])


def test_the_number_of_epochs_trained_is_an_initial_epoch_after_two_fits_from_zero():
    model = new()
    driven(model, epochs=1)
    driven(model, epochs=1)
    same(driven(model, epochs=3, initial_epoch=2), HALVES[2:3])


def test_a_fit_from_zero_is_counted_on_after_it_was_stopped():
    model = new()
    driven(model, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        driven(model, stopping(1, 3), epochs=4)
    # The second epoch of the second fit, its fourth in all, begins again.
    same(driven(model, epochs=3, initial_epoch=1), HALVES[3:5])


def test_an_epoch_that_was_stopped_begins_again_with_its_rate():
    model = new()
    with pytest.raises(KeyboardInterrupt):
        driven(model, stopping(1, 3), epochs=4)
    same(driven(model, epochs=3, initial_epoch=1), HALVES[1:3])


@pytest.mark.parametrize("smooth", [False, True])
@on_tensorflow
def test_data_of_unknown_length_have_the_rates_of_their_epochs(smooth):
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices(unit_vectors(0, SIZE, SIZE)).filter(lambda x, y: True)
    rows = Applied()
    straight = keraslr.LinearLR(0.08, 1.0, 0.5, 2)
    schedule = straight if smooth else SCHEDULE
    drive = EpochSchedule(schedule, smooth=smooth)
    with told() as texts:
        new().fit(data.batch(1), epochs=3, verbose=0, callbacks=[drive, rows, LearningRateLogger()])
    assert not texts
    if not smooth:
        same(rows.rows, HALVES[:3])
        return
    # The first epoch's length is known at its end.
    expected = 0.08 * (1 - 0.25 * np.minimum(np.arange(3 * SIZE) / SIZE, 2))
    same(rows.rows, [0.08, *expected.reshape(3, SIZE)[1:]])


def test_a_generator_is_data_of_unknown_length_too():
    def batches():
        for x, y in zip(*unit_vectors(0, SIZE, SIZE), strict=True):
            yield x[None], y[None]

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return SIZE

        def __getitem__(self, index):
            return next(each for i, each in enumerate(batches()) if i == index)

    rows = Applied()
    new().fit(Data(), epochs=2, verbose=0, shuffle=False, callbacks=[EpochSchedule(SCHEDULE), rows])
    same(rows.rows, HALVES[:2])


@pytest.mark.parametrize(
    ("first", "save_freq", "before"),
    [(True, "epoch", 1), (False, "epoch", 0), (True, 3, 1)],
)
def test_a_backup_goes_on_with_the_epoch(first, save_freq, before, tmp_path):
    def run(*more, epochs=4):
        model, rows = new(), Applied()
        for _ in range(before):
            driven(model)
        drive = EpochSchedule(SCHEDULE)
        backup = keras.callbacks.BackupAndRestore(
            tmp_path / "backup", save_freq=save_freq, delete_checkpoint=False
        )
        both = [backup, drive] if first else [drive, backup]
        fit(model, 0, SIZE, SIZE, epochs=epochs, callbacks=[*both, rows, *more])
        return rows.rows

    with pytest.raises(KeyboardInterrupt):
        run(stopping(2, 4))
    same(run(), HALVES[2 + before : 4 + before])


# With what else acts on the rate


@pytest.mark.parametrize("plateau_first", [True, False])
def test_a_plateau_scales_it(plateau_first):
    rule = ReduceLROnPlateau("loss", factor=0.1, patience=0, threshold=1e6, threshold_mode="abs")
    model, rows = new(), Applied()
    drive = EpochSchedule(SCHEDULE)
    both = [rule, drive] if plateau_first else [drive, rule]
    with told():
        history = fit(
            model, 0, SIZE, SIZE, epochs=4, callbacks=[*both, LearningRateLogger(), rows]
        ).history
    expected = HALVES[:4] * [1, 1, 0.1, 0.01]
    same(rows.rows, expected)
    for name in ("learning_rate", "applied_learning_rate"):
        np.testing.assert_allclose(np.array(history[name], float), expected, rtol=1e-6)
    np.testing.assert_allclose(
        np.array(history["planned_learning_rate"], float), HALVES[:4], rtol=1e-6
    )


def test_mixed_precision_has_the_rates_too():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        rows = driven(new(), epochs=2)
    finally:
        keras.config.set_dtype_policy("float32")
    same(rows, HALVES[:2])


def test_accumulation_of_gradients_has_the_rates_too():
    rows = driven(
        compiled(keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), SIZE, **QUICKLY),
        epochs=2,
    )
    same(rows, HALVES[:2] / 2)


# Saving


def keras_file(model, folder):
    model.save(folder / "model.keras")
    return keras.saving.load_model(folder / "model.keras")


def weights_file(model, folder):
    model.save_weights(folder / "run.weights.h5")
    again = new()
    again.optimizer.build(again.trainable_variables)
    EpochSchedule(SCHEDULE).set_model(again)
    again.load_weights(folder / "run.weights.h5")
    return again


def tensorflow_checkpoint(model, folder):
    import tensorflow as tf

    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(folder / "run")
    again = new()
    again.optimizer.build(again.trainable_variables)
    EpochSchedule(SCHEDULE).set_model(again)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path)
    return again


def copied(model, folder):
    return copy.deepcopy(model)


def pickled(model, folder):
    return pickle.loads(pickle.dumps(model))


@pytest.fixture(scope="module")
def of_two_epochs():
    """A model that was driven; nothing here trains it on."""
    model = new()
    driven(model, epochs=2)
    return model


@pytest.mark.parametrize(
    "again",
    [
        keras_file,
        weights_file,
        pytest.param(tensorflow_checkpoint, marks=on_tensorflow),
        copied,
        pickled,
    ],
)
def test_the_count_is_saved_with_the_model(again, of_two_epochs, tmp_path):
    loaded = again(of_two_epochs, tmp_path)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(HALVES[1])
    same(driven(loaded, epochs=2), HALVES[2:4])


# The logger beside it


@pytest.mark.parametrize(("smooth", "logger_first"), [(False, True), (True, False)])
def test_a_logger_sees_its_rates_and_says_nothing(smooth, logger_first):
    model = new()
    for epochs, initial in ((2, 0), (2, 0), (5, 4)):
        drive, log = EpochSchedule(SCHEDULE, smooth=smooth), LearningRateLogger()
        both = [log, drive] if logger_first else [drive, log]
        with told() as texts:
            history = fit(
                model, 0, SIZE, SIZE, epochs=epochs, initial_epoch=initial, callbacks=both
            ).history
        assert not texts
        for names in zip(
            history["applied_learning_rate"], history["planned_learning_rate"], strict=True
        ):
            np.testing.assert_allclose(list(names[0]), list(names[1]), rtol=1e-6)


# What it says


def test_a_rate_that_other_code_has_set_is_said():
    """Keras's rule would reduce a rate that is set again in the next epoch."""
    by_keras = keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=1e6)
    drive = EpochSchedule(keraslr.ConstantLR(0.1, factor=1.0))
    with told() as texts:
        fit(compiled(0.1, **QUICKLY), 0, 4, epochs=4, callbacks=[drive, by_keras])
    assert len(texts) == 1
    assert "to 0.01 where EpochSchedule had set 0.1;" in texts[0]
    assert "keraslr.callbacks.ReduceLROnPlateau" in texts[0]


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"schedule": 0.1}, TypeError, r"schedule must be a schedule.*schedule=0\.1"),
        ({"schedule": lambda epoch: 0.1}, TypeError, "schedule must be a schedule"),
        ({"schedule": {}}, ValueError, "must not be an empty dict"),
        ({"schedule": {"a": 3}}, TypeError, r"schedule\['a'\] must be a schedule"),
        ({"schedule": SCHEDULE.per_epoch(3)}, ValueError, "without per_epoch"),
        ({"schedule": SCHEDULE, "smooth": 1}, TypeError, "smooth must be True or False.*smooth=1"),
    ],
)
def test_a_bad_argument_is_named(arguments, error, said):
    with pytest.raises(error, match=said):
        EpochSchedule(**arguments)


def test_a_schedule_in_the_optimizer_is_refused():
    with pytest.raises(ValueError, match="must have a number as its learning rate"):
        driven(new(SCHEDULE))


def test_two_for_one_optimizer_are_refused():
    with pytest.raises(ValueError, match=r"one EpochSchedule for an optimizer.*two"):
        driven(new(), EpochSchedule(SCHEDULE))


def test_a_copy_of_one_that_was_used_is_one_that_was_not():
    drive = EpochSchedule(SCHEDULE)
    fit(new(), 0, SIZE, SIZE, epochs=2, callbacks=[drive])
    for again in (copy.deepcopy(drive), pickle.loads(pickle.dumps(drive))):
        rows = Applied()
        fit(new(), 0, SIZE, SIZE, epochs=2, callbacks=[again, rows])
        same(rows.rows, HALVES[:2])
