"""Does the plateau rule decide as PyTorch's, and does the optimizer apply what it decides?"""

from __future__ import annotations

import functools
import json
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from measured import (
    BACKEND,
    COMPILERS,
    applied,
    compiled,
    fit,
    not_on_torch,
    on_tensorflow,
    thinned,
    unit_vectors,
)

import keraslr
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.callbacks._plateau_state import worst

with np.load(Path(__file__).parents[1] / "goldens" / "plateau.npz") as file:
    GOLDENS = dict(file)

# Rates in double precision, rounded once to float32. JAX has float32 for the scale itself, which is
# rounded at each reduction.
RELATIVE = 5e-7 if BACKEND == "jax" else 1.2e-7

EXPONENTIAL = keraslr.ExponentialLR(0.1, gamma=0.97)
KERAS_OWN = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.97)
# A schedule of Keras and one of ours are scaled by the same code: two tests have one of Keras.
RATES = {"constant": 0.1, "schedule": EXPONENTIAL}
every_rate = pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
# The rule alone is held against all; these are of each mode, see the test of what they cover.
CASES = thinned(range(len(GOLDENS["settings"])), every=12, tensorflow=7)


def compiler(number):
    """Returns the compiler of a number, where the backend has several."""
    return [*COMPILERS.values()][number % len(COMPILERS)]


def halving(**arguments):
    """Halves after each epoch but the first: no metric is ever a million better."""
    rule = {"monitor": "loss", "factor": 0.5, "patience": 0, "threshold_mode": "abs"}
    return ReduceLROnPlateau(**{**rule, "threshold": 1e6, **arguments})


def plan(rate, start, stop):
    if isinstance(rate, float):
        return np.full(stop - start, rate)
    return np.array([float(rate(step)) for step in range(start, stop)])


def settled(case):
    """Settings of a golden case, and its rows cut to their length."""
    epochs = int(GOLDENS["epochs"][case])
    names = ("metrics", "lr", "num_bad_epochs", "best", "cooldown_counter")
    rows = {name: GOLDENS[name][case][:epochs] for name in names}
    return json.loads(str(GOLDENS["settings"][case])), rows


def replay(callback, model, metrics):
    """Calls the callback as `fit` does; yields after each epoch."""
    callback.set_model(model)
    callback.on_train_begin()
    for epoch, metric in enumerate(metrics):
        callback.on_epoch_begin(epoch)
        callback.on_epoch_end(epoch, {callback.monitor: metric})
        yield epoch


@pytest.fixture(scope="module")
def small():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def test_goldens_cover_what_the_rule_has():
    settings = [settled(case)[0] for case in range(len(GOLDENS["settings"]))]
    assert len(settings) >= 60
    for mode in ("min", "max"):
        for threshold_mode in ("rel", "abs"):
            kinds = [(s["mode"], s["threshold_mode"]) for s in settings]
            assert kinds.count((mode, threshold_mode)) >= 15
    for name, usual in (("cooldown", 0), ("min_lr", 0.0), ("eps", 1e-8)):
        assert sum(s[name] != usual for s in settings) >= 15, name
    assert sum(s["patience"] == 0 for s in settings) >= 15
    assert np.isnan(GOLDENS["metrics"][:, 0]).any()
    assert (GOLDENS["metrics"] < 0).any()


@on_tensorflow
def test_the_cases_that_are_replayed_cover_it_too():
    settings = [settled(case)[0] for case in CASES]
    kinds = [(s["mode"], s["threshold_mode"]) for s in settings]
    assert all(kinds.count((m, t)) >= 3 for m in ("min", "max") for t in ("rel", "abs"))
    for name, usual in (("cooldown", 0), ("min_lr", 0.0), ("eps", 1e-8), ("patience", 0)):
        assert sum(s[name] != usual for s in settings) >= 2, name
    assert sum(s["patience"] == 0 for s in settings) >= 5


def test_the_rule_decides_as_pytorch_in_every_case():
    """The rule alone, in doubles; the next test has it in the callback."""
    for case in range(len(GOLDENS["settings"])):
        settings, rows = settled(case)
        rule = ReduceLROnPlateau("val_loss", **settings)
        rate = float(GOLDENS["initial_learning_rates"][case])
        names = ("best", "num_bad_epochs", "cooldown_counter")
        now = {"best": worst(rule.mode), "num_bad_epochs": 0, "cooldown_counter": 0}
        for epoch, metric in enumerate(rows["metrics"].tolist()):
            decided = rule.decide(metric, now, rule.mode)
            now = {name: getattr(decided, name) for name in names}
            assert now == {name: rows[name][epoch] for name in names}, (case, epoch)
            if decided.bad is not None:
                lower = max(rate * rule.factor, rule.min_lr)
                rate = lower if rate - lower > rule.eps else rate
            assert rate == rows["lr"][epoch], (case, epoch)


@pytest.mark.parametrize("case", CASES)
def test_decisions_and_rates_are_those_of_pytorch(small, case):
    settings, rows = settled(case)
    small.compile(keras.optimizers.SGD(float(GOLDENS["initial_learning_rates"][case])), "mse")
    callback = ReduceLROnPlateau("val_loss", **settings)
    for epoch in replay(callback, small, rows["metrics"]):
        state = callback.plateau.numbers()
        for name in ("num_bad_epochs", "best", "cooldown_counter"):
            assert state[name] == rows[name][epoch], (name, epoch)
        assert callback.learning_rate == pytest.approx(rows["lr"][epoch], rel=RELATIVE, abs=0)


@pytest.mark.parametrize("case", thinned(range(4, len(GOLDENS["settings"]), 27), every=2))
def test_on_a_schedule_the_scale_is_the_same_but_for_the_bounds(small, case):
    # min_lr and eps are about the rate itself, so on another rate they are met at other epochs.
    settings, rows = settled(case)
    settings |= {"min_lr": 0.0, "eps": 0.0}
    scales = []
    for rate in (1.0, keraslr.ConstantLR(1.0, factor=1.0)):
        small.compile(keras.optimizers.SGD(rate), "mse")
        callback = ReduceLROnPlateau("val_loss", **settings)
        epochs = replay(callback, small, rows["metrics"])
        scales.append([callback.plateau.numbers()["scale"] for _ in epochs])
    assert scales[0] == scales[1]


# What the optimizer applies


@pytest.mark.parametrize(("rate", "number"), [(0.1, 0), (KERAS_OWN, 1)])
def test_steps_apply_the_schedule_times_the_scale(rate, number):
    model = compiled(rate, jit_compile=compiler(number))
    # Four epochs of ten steps each; each epoch sees other vectors, so that a weight is one rate.
    callback = halving()
    for epoch in range(4):
        fit(model, 10 * epoch, 10 * epoch + 10, callbacks=[callback])
    scales = np.repeat([1.0, 1.0, 0.5, 0.25], 10)
    np.testing.assert_allclose(applied(model), plan(rate, 0, 40) * scales, rtol=5e-7)


@pytest.mark.parametrize(
    ("rate", "number", "steps_per_execution"),
    [
        (EXPONENTIAL, 0, 1),
        (0.1, 1, 1),
        pytest.param(0.1, 0, 4, marks=not_on_torch),
        pytest.param(EXPONENTIAL, 1, 4, marks=not_on_torch),
    ],
)
def test_one_fit_applies_it_too(rate, number, steps_per_execution):
    model = compiled(rate, jit_compile=compiler(number), steps_per_execution=steps_per_execution)
    fit(model, last=10, epochs=4, callbacks=[halving()])
    expected = (plan(rate, 0, 40) * np.repeat([1.0, 1.0, 0.5, 0.25], 10)).reshape(4, 10).sum(0)
    np.testing.assert_allclose(applied(model)[:10], expected, rtol=1e-6)


@every_rate
def test_a_fit_without_it_before_changes_nothing(rate):
    # The training step of the first fit was compiled before there was a scale.
    model = compiled(rate)
    fit(model, 0, 10)
    fit(model, 10, 20, callbacks=[callback := halving()])
    fit(model, 20, 30, callbacks=[callback])
    fit(model, 30, 40, callbacks=[callback])
    scales = np.repeat([1.0, 1.0, 1.0, 0.5], 10)
    np.testing.assert_allclose(applied(model), plan(rate, 0, 40) * scales, rtol=5e-7)


@every_rate
def test_a_new_callback_goes_on_where_the_last_one_stopped(rate):
    model = compiled(rate)
    for epoch in range(4):
        fit(model, 10 * epoch, 10 * epoch + 10, callbacks=[halving()])
    scales = np.repeat([1.0, 1.0, 0.5, 0.25], 10)
    np.testing.assert_allclose(applied(model), plan(rate, 0, 40) * scales, rtol=5e-7)


def test_mixed_precision_is_scaled_too():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(EXPONENTIAL)
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        for epoch in range(4):
            fit(model, 10 * epoch, 10 * epoch + 10, callbacks=[halving()])
    finally:
        keras.config.set_dtype_policy("float32")
    scales = np.repeat([1.0, 1.0, 0.5, 0.25], 10)
    np.testing.assert_allclose(applied(model), EXPONENTIAL.values(40) * scales, rtol=5e-7)


def test_two_metrics_have_a_scale_each():
    model = compiled(EXPONENTIAL, metrics=["mae"])
    for epoch in range(4):
        callbacks = [halving(), halving(monitor="mae", factor=0.1)]
        fit(model, 10 * epoch, 10 * epoch + 10, callbacks=callbacks)
    scales = np.repeat([1.0, 1.0, 0.05, 0.05**2], 10)
    np.testing.assert_allclose(applied(model), EXPONENTIAL.values(40) * scales, rtol=5e-7)


def test_two_callbacks_for_one_metric_are_refused():
    with pytest.raises(ValueError, match=r"one ReduceLROnPlateau for each monitor.*monitor='loss'"):
        fit(compiled(0.1), callbacks=[halving(), halving(patience=3)])


def test_a_rate_that_is_set_is_the_rate():
    model = compiled(0.1)
    fit(model, 0, 10, callbacks=[halving()])
    fit(model, 10, 20, callbacks=[halving()])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
    model.optimizer.learning_rate = 0.2
    fit(model, 20, 30, callbacks=[halving()])
    fit(model, 30, 40, callbacks=[halving()])
    expected = np.repeat([0.1, 0.1, 0.2, 0.1], 10)
    np.testing.assert_allclose(applied(model), expected, rtol=1e-6)


def test_a_keras_rate_scheduler_and_it_work_on_one_rate():
    model = compiled(0.1)
    tenfold = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 10)
    for epoch in range(3):
        fit(model, 10 * epoch, 10 * epoch + 10, callbacks=[tenfold, halving()])
    np.testing.assert_allclose(applied(model)[:30], np.repeat([1.0, 10.0, 50.0], 10), rtol=1e-6)


def test_nan_is_bad():
    model = compiled(0.1)
    x, y = unit_vectors()
    rule = ReduceLROnPlateau("val_loss", patience=1, factor=0.5)
    history = model.fit(
        x, y, epochs=5, verbose=0, callbacks=[rule], validation_data=(x * np.nan, y)
    ).history
    assert np.isnan(history["val_loss"]).all()
    # Bad epochs 1 and 2 reduce, 3 and 4 reduce again; an epoch's rate is that of before.
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


# Saving


def trained(rate, epochs=3):
    model = compiled(rate, metrics=["mae"])
    fit(model, 0, 10, epochs=epochs, callbacks=[halving()])
    return model


@pytest.fixture(scope="module")
def model_of():
    """A trained model of each rate, made once: nothing here trains it on."""
    return functools.cache(trained)


def state_of(model, monitor="loss"):
    rule = halving(monitor=monitor)
    rule.set_model(model)
    return rule.plateau.numbers()


@pytest.mark.parametrize("rate", [0.1, KERAS_OWN], ids=["constant", "schedule"])
def test_a_keras_file_holds_all_of_it(rate, tmp_path):
    model = trained(rate)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    # Before any callback is there: the rate is the scaled one.
    assert float(loaded.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    assert float(loaded.optimizer.learning_rate) == pytest.approx(plan(rate, 30, 31)[0] * 0.25)
    assert int(loaded.optimizer.iterations) == 30
    assert state_of(loaded) == state_of(model)
    for each in (model, loaded):
        fit(each, 0, 10, epochs=2, callbacks=[halving()])
    np.testing.assert_array_equal(applied(loaded), applied(model))
    assert state_of(loaded) == state_of(model)


@every_rate
def test_a_weights_file_holds_all_of_it(rate, model_of, tmp_path):
    model = model_of(rate)
    model.save_weights(tmp_path / "run.weights.h5")
    again = compiled(rate, metrics=["mae"])
    again.optimizer.build(again.trainable_variables)
    halving().set_model(again)
    again.load_weights(tmp_path / "run.weights.h5")
    assert state_of(again) == state_of(model)
    assert float(again.optimizer.learning_rate) == float(model.optimizer.learning_rate)


@every_rate
@on_tensorflow
def test_a_tensorflow_checkpoint_holds_all_of_it(rate, model_of, tmp_path):
    import tensorflow as tf

    model = model_of(rate)
    path = tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "run")
    again = compiled(rate, metrics=["mae"])
    again.optimizer.build(again.trainable_variables)
    halving().set_model(again)
    tf.train.Checkpoint(model=again, optimizer=again.optimizer).restore(path)
    assert state_of(again) == state_of(model)
    assert float(again.optimizer.learning_rate) == float(model.optimizer.learning_rate)


def test_two_metrics_survive_saving(tmp_path):
    model = compiled(EXPONENTIAL, metrics=["mae"])
    callbacks = [halving(), halving(monitor="mae", factor=0.1)]
    fit(model, 0, 10, epochs=2, callbacks=callbacks)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected = float(EXPONENTIAL(20)) * 0.05
    assert float(loaded.optimizer.learning_rate) == pytest.approx(expected)
    fit(loaded, 10, 20, callbacks=callbacks)
    np.testing.assert_allclose(applied(loaded)[10:20], EXPONENTIAL.values(10, 20) * 0.05, rtol=5e-7)


@every_rate
def test_a_copy_by_config_has_the_rate(rate, model_of):
    model = model_of(rate)
    copy = keras.optimizers.SGD.from_config(model.optimizer.get_config())
    copy.iterations.assign(model.optimizer.iterations)
    assert float(copy.learning_rate) == float(model.optimizer.learning_rate)
    json.dumps(model.optimizer.get_config(), allow_nan=False)


@pytest.mark.parametrize(
    ("rate", "monitor", "backup_first"),
    [(0.1, "loss", True), (EXPONENTIAL, "val_loss", False)],
)
def test_the_order_of_callbacks_does_not_matter_to_a_backup(rate, monitor, backup_first, tmp_path):
    x, y = unit_vectors(last=10)

    def run(folder, *lasts):
        for last in lasts:
            model = compiled(rate)
            backup = keras.callbacks.BackupAndRestore(tmp_path / folder, delete_checkpoint=False)
            callbacks = [backup, halving(monitor=monitor)]
            model.fit(
                x, y, batch_size=2, epochs=last, shuffle=False, verbose=0,
                validation_data=(x, y) if monitor == "val_loss" else None,
                callbacks=callbacks if backup_first else callbacks[::-1],
            )  # fmt: skip
        return model

    whole, resumed = run("whole", 4), run("resumed", 2, 4)
    assert state_of(resumed, monitor) == state_of(whole, monitor)
    assert state_of(whole, monitor)["scale"] == 0.5**3
    np.testing.assert_array_equal(applied(resumed), applied(whole))


# What it says


def test_an_unknown_monitor_is_an_error_that_lists_the_known():
    with pytest.raises(KeyError, match=r"loss, mae.*monitor='val_loss'"):
        fit(compiled(0.1, metrics=["mae"]), callbacks=[ReduceLROnPlateau()])


def test_between_validations_the_metric_may_be_missing():
    x, y = unit_vectors()
    model = compiled(0.1)
    for freq, scale in ((2, 0.5), ([2, 4, 5], 0.25)):
        model.compile(keras.optimizers.SGD(0.1), "hinge")
        model.fit(
            x, y, epochs=5, verbose=0, validation_data=(x, y), validation_freq=freq,
            callbacks=[halving(monitor="val_loss", validation_freq=freq)],
        )  # fmt: skip
        assert state_of(model, "val_loss")["scale"] == scale


def test_a_metric_of_another_callback_can_be_monitored():
    class Own(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["score"] = 1.0

    model = compiled(0.1)
    fit(model, epochs=3, callbacks=[Own(), halving(monitor="score", mode="max")])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.025)


def test_the_history_has_the_rate_of_each_epoch():
    history = fit(compiled(0.1), epochs=4, callbacks=[halving()]).history
    assert history["learning_rate"] == pytest.approx([0.1, 0.1, 0.05, 0.025])


def test_verbose_says_what_it_does(capsys):
    fit(compiled(0.1), epochs=3, callbacks=[halving(verbose=1)])
    said = capsys.readouterr().out
    assert "Epoch 2: learning rate from 0.1 to 0.05" in said
    assert "Epoch 3: learning rate from 0.05 to 0.025" in said
    fit(compiled(0.1), epochs=3, callbacks=[halving()])
    assert "learning rate from" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"monitor": 3}, TypeError, "monitor must be the name of a metric.*monitor=3"),
        ({"mode": "least"}, ValueError, 'mode must be one of "auto", "min", "max".*least'),
        ({"factor": 1.0}, ValueError, "factor must be a number > 0 and < 1.*factor=1.0"),
        ({"factor": 0.0}, ValueError, "factor must be .* > 0 .*factor=0.0"),
        ({"patience": -1}, ValueError, "patience must be an integer >= 0.*patience=-1"),
        ({"patience": 1.5}, TypeError, "patience must be an integer.*patience=1.5"),
        ({"threshold": -1e-4}, ValueError, "threshold must be a number >= 0"),
        ({"threshold_mode": "both"}, ValueError, "threshold_mode must be one of"),
        ({"cooldown": -2}, ValueError, "cooldown must be an integer >= 0"),
        ({"min_lr": math.nan}, ValueError, "min_lr must be a number >= 0"),
        ({"min_lr": [0.1, 0.2]}, TypeError, "min_lr must be a number"),
        ({"eps": -1.0}, ValueError, "eps must be a number >= 0"),
        ({"verbose": "yes"}, TypeError, "verbose must be an integer"),
        ({"validation_freq": 0}, ValueError, "validation_freq must be None or an integer >= 1"),
    ],
)
def test_a_bad_argument_is_named(arguments, error, said):
    with pytest.raises(error, match=said):
        ReduceLROnPlateau(**arguments)


def test_a_model_without_an_optimizer_is_refused():
    with pytest.raises(ValueError, match="needs a compiled model"):
        ReduceLROnPlateau().set_model(keras.Sequential([keras.layers.Dense(1)]))
