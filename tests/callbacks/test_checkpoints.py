"""Does a checkpoint of a run with some callbacks go into one with others, and lose nothing?"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from by_epoch import stopping, told
from measured import BACKEND, QUICKLY, compiled, fit, on_tensorflow, thinned

import keraslr
from keraslr.callbacks import EpochSchedule, LearningRateLogger, ReduceLROnPlateau

SIZE = 8
RATES = {"constant": 0.02, "schedule": keraslr.ExponentialLR(0.02, gamma=0.99)}


def halving(monitor="loss"):
    rule = {"factor": 0.5, "patience": 0, "threshold": 1e6, "threshold_mode": "abs"}
    return ReduceLROnPlateau(monitor, **rule)


def callbacks(kinds, rate):
    made = {
        "plateau": halving,
        "logger": LearningRateLogger,
        "clock": lambda: EpochSchedule(keraslr.StepLR(0.02, step_size=2, gamma=0.5)),
    }
    # A schedule in the optimizer and one in the callback exclude each other.
    return [made[each]() for each in kinds if each != "clock" or isinstance(rate, float)]


def new(rate):
    optimizer = keras.optimizers.Adam(RATES[rate], name="adam")
    return compiled(optimizer, SIZE, **QUICKLY)


def trained(rate, kinds, epochs=2):
    model = new(rate)
    with told():
        fit(model, 0, SIZE, SIZE, epochs=epochs, callbacks=callbacks(kinds, RATES[rate]))
    return model


def state(model):
    """Returns what the optimizer knows of the training: its counter and moments, by their paths."""
    optimizer = model.optimizer
    moments = [*optimizer._momentums, *optimizer._velocities]
    return [int(optimizer.iterations), *(keras.ops.convert_to_numpy(each) for each in moments)]


def same_state(one, other):
    assert one[0] == other[0]
    assert any(np.any(each) for each in one[1:])
    for a, b in zip(one[1:], other[1:], strict=True):
        np.testing.assert_array_equal(a, b)


def prepared(rate, kinds):
    model = new(rate)
    model.optimizer.build(model.trainable_variables)
    for each in callbacks(kinds, RATES[rate]):
        each.set_model(model)
    return model


def by_weights_file(model, rate, kinds, folder):
    model.save_weights(folder / "run.weights.h5")
    again = prepared(rate, kinds)
    again.load_weights(folder / "run.weights.h5")
    return again


def by_keras_file(model, rate, kinds, folder):
    model.save(folder / "model.keras")
    again = keras.saving.load_model(folder / "model.keras")
    for each in callbacks(kinds, RATES[rate]):
        each.set_model(again)
    return again


def by_tensorflow_checkpoint(model, rate, kinds, folder):
    import tensorflow as tf

    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(folder / "run")
    again = prepared(rate, kinds)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path)
    return again


WAYS = [by_weights_file, by_keras_file]
if BACKEND == "tensorflow":
    WAYS.append(by_tensorflow_checkpoint)

NONE, PLATEAU, LOGGER, CLOCK = (), ("plateau",), ("logger",), ("clock",)
ALL = ("clock", "plateau", "logger")
KINDS = {"nothing": NONE, "plateau": PLATEAU, "logger": LOGGER, "clock": CLOCK, "all": ALL}
# Each kind comes and goes with a constant rate; with a schedule, those that scale or record it.
PAIRS = [
    ("constant", "nothing", "all"), ("schedule", "nothing", "plateau"),
    ("constant", "all", "nothing"), ("schedule", "plateau", "nothing"),
    ("constant", "plateau", "clock"), ("schedule", "plateau", "logger"),
    ("constant", "clock", "plateau"), ("schedule", "nothing", "logger"),
    ("constant", "logger", "plateau"), ("constant", "clock", "nothing"),
    ("constant", "plateau", "logger"), ("constant", "nothing", "clock"),
    ("constant", "all", "all"),
]  # fmt: skip
CHOSEN = {f"{a} to {b}, {rate}": (rate, KINDS[a], KINDS[b]) for rate, a, b in PAIRS}
CHOSEN = thinned(CHOSEN, every=3)


@pytest.fixture(scope="module")
def models():
    """A trained model of each kind, made once: nothing here trains it on."""
    made = {}

    def get(rate, kinds):
        if (rate, kinds) not in made:
            made[rate, kinds] = trained(rate, kinds)
        return made[rate, kinds]

    return get


@pytest.mark.parametrize(("rate", "first", "second"), CHOSEN.values(), ids=CHOSEN)
@pytest.mark.parametrize("way", WAYS)
def test_counter_and_moments_come_along(models, way, first, second, rate, tmp_path):
    model = models(rate, first)
    again = way(model, rate, second, tmp_path)
    same_state(state(again), state(model))
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])


@pytest.mark.parametrize(
    ("way", "rate", "first", "second"),
    [
        (by_weights_file, "constant", NONE, ALL),
        (by_weights_file, "schedule", ALL, ALL),
        (by_keras_file, "schedule", ALL, NONE),
        (by_keras_file, "constant", ALL, ALL),
        pytest.param(by_tensorflow_checkpoint, "schedule", ALL, ALL, marks=on_tensorflow),
    ],
)
def test_the_run_goes_on(models, way, first, second, rate, tmp_path):
    again = way(models(rate, first), rate, second, tmp_path)
    with told() as texts:
        fit(
            again, 0, SIZE, SIZE, epochs=3, initial_epoch=2,
            callbacks=callbacks(second, RATES[rate]),
        )  # fmt: skip
    assert int(again.optimizer.iterations) == 3 * SIZE
    assert not [text for text in texts if "scaled it" not in text]


@pytest.mark.parametrize(
    ("rate", "first", "second"),
    [("constant", NONE, ALL), ("schedule", LOGGER, NONE), ("constant", CLOCK, PLATEAU)],
)
def test_a_backup_of_one_run_is_restored_in_the_other(first, second, rate, tmp_path):
    begun = []

    class Look(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if not begun:
                begun.append((epoch, *state(self.model)))

    def run(kinds, *more):
        model = new(rate)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        with told():
            fit(
                model, 0, SIZE, SIZE, epochs=3,
                callbacks=[*callbacks(kinds, RATES[rate]), backup, *more],
            )  # fmt: skip
        return model

    with pytest.raises(KeyboardInterrupt):
        run(first, stopping(2))
    model = run(second, Look())
    assert begun[0][:2] == (2, 2 * SIZE)
    assert np.any(begun[0][2])
    assert int(model.optimizer.iterations) == 3 * SIZE


@on_tensorflow
def test_a_backup_ends_like_a_run_that_was_not_stopped(tmp_path):
    def run(folder, *more):
        model = new("schedule")
        backup = keras.callbacks.BackupAndRestore(tmp_path / folder)
        with told():
            fit(
                model, 0, SIZE, SIZE, epochs=4,
                callbacks=[*callbacks(ALL, RATES["schedule"]), backup, *more],
            )  # fmt: skip
        return model

    with pytest.raises(KeyboardInterrupt):
        run("stopped", stopping(2, 3))
    stopped, whole = run("stopped"), run("whole")
    np.testing.assert_array_equal(stopped.get_weights()[0], whole.get_weights()[0])
    same_state(state(stopped), state(whole))


def test_a_file_of_scaled_loss_comes_along(tmp_path):
    def made():
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.02), 8.0)
        return compiled(scaled, SIZE, **QUICKLY)

    for number, (first, second) in enumerate([(NONE, ALL), (ALL, NONE)]):
        model, again = made(), made()
        with told():
            fit(model, 0, SIZE, SIZE, callbacks=callbacks(first, 0.02))
        model.save_weights(tmp_path / f"{number}.weights.h5")
        again.optimizer.build(again.trainable_variables)
        for each in callbacks(second, 0.02):
            each.set_model(again)
        again.load_weights(tmp_path / f"{number}.weights.h5")
        inner = [each.optimizer.inner_optimizer for each in (model, again)]
        assert int(inner[1].iterations) == SIZE
        np.testing.assert_array_equal(
            *(keras.ops.convert_to_numpy(each._momentums[0]) for each in inner)
        )


def test_the_scale_of_a_run_with_a_plateau_is_the_rate_of_one_without(models, tmp_path):
    # Two reductions in three epochs; a constant rate is in the file as it is then.
    model = trained("constant", PLATEAU, epochs=3)
    again = by_weights_file(model, "constant", NONE, tmp_path)
    assert float(again.optimizer.learning_rate) == pytest.approx(0.005)
    # Taken up again by the rule, it is the rate from then on.
    fit(again, 0, SIZE, SIZE, epochs=2, callbacks=[halving()])
    assert float(again.optimizer.learning_rate) == pytest.approx(0.0025)


def test_weights_without_an_optimizer_are_loaded_as_ever(models, tmp_path):
    model = models("constant", ALL)
    model.save_weights(tmp_path / "run.weights.h5")
    again = keras.Sequential(
        [keras.Input((SIZE,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    again.load_weights(tmp_path / "run.weights.h5")
    np.testing.assert_array_equal(again.get_weights()[0], model.get_weights()[0])
