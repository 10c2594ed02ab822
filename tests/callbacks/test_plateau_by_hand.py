"""The plateau rule outside of the usual fit: by hand, every n steps, averaged, copied, reset."""

from __future__ import annotations

import copy
import io
import math
import pickle

import joblib
import keras
import numpy as np
import pytest
from by_epoch import Applied, Calls, told
from measured import (
    BACKEND,
    QUICKLY,
    STEP_MODES,
    applied,
    compiled,
    compiled_step,
    fit,
    not_on_torch,
    on_tensorflow,
    unit_vectors,
)

import keraslr
from keraslr.callbacks import LearningRateLogger, ReduceLROnPlateau

SIZE = 8
EXPONENTIAL = keraslr.ExponentialLR(0.02, gamma=0.97)
RATES = pytest.mark.parametrize("rate", [0.02, EXPONENTIAL], ids=["constant", "schedule"])


def new(rate=0.02, **arguments):
    return compiled(rate, SIZE, **{**QUICKLY, **arguments})


def halving(monitor="loss", **arguments):
    rule = {"factor": 0.5, "patience": 0, "threshold": 1e6, "threshold_mode": "abs"}
    return ReduceLROnPlateau(monitor, **{**rule, **arguments})


# step(metric), in loops of one's own


METRICS = [3.0, 2.0, 2.5, 2.5, 1.0, 1.5, math.nan, 1.5, 0.5]


def pytorch_scales(metrics, factor=0.5, patience=1):
    """The rule of PyTorch with threshold 0, written out."""
    best, bad, scale, scales = math.inf, 0, 1.0, []
    for metric in metrics:
        best, bad = (metric, 0) if metric < best else (best, bad + 1)
        if bad > patience:
            scale, bad = scale * factor, 0
        scales.append(scale)
    return np.array(scales)


@pytest.mark.parametrize("given", ["optimizer", "model", "model, optimizer by name"])
def test_step_decides_once_a_call(given):
    settings = {"factor": 0.5, "patience": 1, "threshold": 0.0}
    if given == "optimizer":
        rule = ReduceLROnPlateau(optimizer=keras.optimizers.SGD(0.1), **settings)
    else:
        name = "optimizer" if "name" in given else None
        rule = ReduceLROnPlateau("loss", optimizer=name, **settings)
        rule.set_model(new(0.1))
    rates = [(rule.step(metric), rule.learning_rate)[1] for metric in METRICS]
    np.testing.assert_allclose(rates, 0.1 * pytorch_scales(METRICS), rtol=1e-6)


@pytest.mark.parametrize(
    "metric",
    [2, 2.0, np.float32(2), np.array(2.0), np.array([2.0]), keras.ops.array(2.0)],
    ids=["int", "float", "float32", "array", "array of one", "tensor"],
)
def test_step_takes_any_number(metric):
    rule = ReduceLROnPlateau(optimizer=keras.optimizers.SGD(0.1), factor=0.5, patience=0)
    rule.step(metric)
    rule.step(metric)
    assert rule.learning_rate == pytest.approx(0.05)
    assert rule.plateau.numbers()["best"] == 2.0


@pytest.mark.parametrize("mode", STEP_MODES)
@RATES
def test_a_step_compiled_before_sees_each_reduction(mode, rate):
    weight = keras.Variable(np.zeros(3, "float32"), name="weight")
    optimizer = keras.optimizers.SGD(rate)
    optimizer.build([weight])
    rule = ReduceLROnPlateau(optimizer=optimizer, factor=0.5, patience=0, threshold=1e6,
                             threshold_mode="abs")  # fmt: skip
    if BACKEND == "jax" or not isinstance(rate, float):
        # A schedule is a constant of the compiled step, and so are variables under JAX.
        rule.step(1.0)
        rule.reset()

    def update(gradient):
        optimizer.apply([gradient], [weight])

    step = compiled_step(update, mode, lambda: [weight, *optimizer.variables])
    rates = []
    for _ in range(4):
        before = keras.ops.convert_to_numpy(weight)[0]
        step(keras.ops.ones(3))
        rates.append(before - keras.ops.convert_to_numpy(weight)[0])
        rule.step(1.0)
    plain = np.full(4, 0.02) if isinstance(rate, float) else EXPONENTIAL.values(4)
    np.testing.assert_allclose(rates, plain * [1, 1, 0.5, 0.25], rtol=1e-5)


@on_tensorflow
@pytest.mark.parametrize("compiled_model", [True, False])
@pytest.mark.parametrize("hooks", ["all", "without on_epoch_begin", "only on_epoch_end"])
def test_the_hooks_by_hand_decide_once_an_epoch(compiled_model, hooks):
    import tensorflow as tf

    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    optimizer = keras.optimizers.SGD(0.1)
    if compiled_model:
        model.compile(optimizer)
    rule = ReduceLROnPlateau(
        factor=0.5, patience=1, optimizer=None if compiled_model else optimizer
    )
    rule.set_model(model)
    x, y = tf.zeros((4, 1)), tf.ones((4, 1))

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(x) - y) ** 2)
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    if hooks != "only on_epoch_end":
        rule.on_train_begin()
    rates = []
    for epoch in range(6):
        if hooks == "all":
            rule.on_epoch_begin(epoch)
        for _ in range(3):
            loss = step()
        rates.append(float(optimizer.learning_rate))
        rule.on_epoch_end(epoch, {"val_loss": float(loss)})
    np.testing.assert_allclose(rates, [0.1, 0.1, 0.1, 0.05, 0.05, 0.025], rtol=1e-6)


def test_a_list_of_callbacks_by_hand_works():
    model = new()
    x, y = unit_vectors(0, SIZE, SIZE)
    hooks = keras.callbacks.CallbackList(
        [halving(), LearningRateLogger()], model=model, add_history=True, epochs=3, steps=SIZE
    )
    with told():
        hooks.on_train_begin()
        for epoch in range(3):
            hooks.on_epoch_begin(epoch)
            for batch in range(SIZE):
                hooks.on_train_batch_begin(batch)
                logs = model.train_on_batch(
                    x[batch : batch + 1], y[batch : batch + 1], return_dict=True
                )
                hooks.on_train_batch_end(batch, logs)
            hooks.on_epoch_end(epoch, logs)
        hooks.on_train_end()
    np.testing.assert_allclose(applied(model), 0.05, rtol=1e-5)
    history = model.history.history
    for name in ("learning_rate", "applied_learning_rate"):
        np.testing.assert_allclose(np.array(history[name], float), [0.02, 0.02, 0.01], rtol=1e-6)


def test_without_an_optimizer_it_says_how_to_give_one():
    with pytest.raises(ValueError, match=r"ReduceLROnPlateau\(optimizer=\.\.\.\)"):
        ReduceLROnPlateau().step(1.0)
    with pytest.raises(ValueError, match="no state before"):
        ReduceLROnPlateau().plateau  # noqa: B018


# every, window, start


@pytest.mark.parametrize(
    ("rate", "executions"), [(EXPONENTIAL, 1), pytest.param(0.02, 2, marks=not_on_torch)]
)
def test_every_n_steps_it_decides(rate, executions):
    model, rows = new(rate, steps_per_execution=executions), Applied()
    with told():
        history = fit(
            model, 0, SIZE, SIZE, epochs=2,
            callbacks=[halving(every=4), LearningRateLogger(), rows],
        ).history  # fmt: skip
    plain = np.full(16, 0.02) if isinstance(rate, float) else EXPONENTIAL.values(16)
    expected = (plain * np.repeat([1, 1, 0.5, 0.25], 4)).reshape(2, SIZE)
    np.testing.assert_allclose(rows.rows, expected, rtol=2e-5)
    np.testing.assert_allclose(history["learning_rate"], expected[:, -1], rtol=1e-6)


def test_every_n_steps_decides_by_the_mean_of_those_steps():
    # The hinge loss of step n is the target's weight: 1 + (what is not yet learned).
    x = np.eye(SIZE, dtype="float32")
    y = -np.array([1, 1, 1, 1, 0.25, 0.25, 0.25, 0.25], "float32")[:, None]
    model = compiled(1e-6, SIZE, **QUICKLY)
    rule = ReduceLROnPlateau("loss", factor=0.5, patience=9, every=4)
    model.fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[rule])
    # Hinge takes targets of -1 and 1: max(1 - y * 0, 0) is 1 for each.
    assert rule.plateau.numbers()["best"] == pytest.approx(1.0, rel=1e-4)
    model.compile(keras.optimizers.SGD(1e-6), "mae", **QUICKLY)
    model.fit(x, y, batch_size=1, shuffle=False, verbose=0, callbacks=[rule := copy.copy(rule)])
    assert rule.plateau.numbers()["best"] == pytest.approx(0.25, rel=1e-4)


def test_every_goes_on_from_one_epoch_to_the_next():
    model, rows = new(), Applied()
    fit(model, 0, SIZE, SIZE, epochs=3, callbacks=[halving(every=5), rows])
    expected = 0.02 * np.repeat([1, 1, 0.5, 0.25, 0.125], 5)[:24].reshape(3, SIZE)
    np.testing.assert_allclose(rows.rows, expected, rtol=2e-5)


def test_before_start_no_metric_counts():
    model = new()
    history = fit(model, 0, SIZE, SIZE, epochs=5, callbacks=[halving(start=2)]).history
    np.testing.assert_allclose(
        history["learning_rate"], 0.02 * np.array([1, 1, 1, 1, 0.5]), rtol=1e-6
    )
    rows = Applied()
    model.compile(keras.optimizers.SGD(0.02), "hinge", **QUICKLY)
    fit(model, 0, SIZE, SIZE, epochs=2, callbacks=[halving(every=4, start=1), rows])
    np.testing.assert_allclose(
        np.concatenate(rows.rows), np.repeat([0.02, 0.02, 0.02, 0.02], 4), rtol=2e-5
    )


def test_a_window_decides_by_the_mean_of_the_last_metrics():
    metrics = [4.0, 0.0, 4.0, 2.0, 6.0]
    rule = ReduceLROnPlateau(
        optimizer=keras.optimizers.SGD(0.1), factor=0.5, patience=0, window=2, threshold=0
    )
    best, rates = [], []
    for metric in metrics:
        rule.step(metric)
        best.append(rule.plateau.numbers()["best"])
        rates.append(rule.learning_rate)
    # Means: 4, 2, 2, 3, 4.
    assert best == [4, 2, 2, 2, 2]
    np.testing.assert_allclose(rates, 0.1 * np.array([1, 1, 0.5, 0.25, 0.125]), rtol=1e-6)


# reset, restore_best


@pytest.mark.parametrize(
    ("rate", "scale", "when"),
    [(0.02, False, "before fit"), (EXPONENTIAL, True, "between fits")],
)
def test_reset_begins_anew(rate, scale, when):
    model = new(rate)
    rule = halving()
    fit(model, 0, SIZE, SIZE, epochs=3, callbacks=[rule])
    if when == "before fit":
        rule = halving()
    rule.reset(scale=scale)
    fit(model, 0, SIZE, SIZE, callbacks=[rule])
    # The first epoch is the best one again.
    numbers = rule.plateau.numbers()
    assert numbers["scale"] == pytest.approx(1.0 if scale else 0.25)
    assert numbers["num_bad_epochs"] == 0
    plain = 0.02 if isinstance(rate, float) else float(EXPONENTIAL(4 * SIZE))
    assert rule.learning_rate == pytest.approx(plain * numbers["scale"])


def test_the_best_weights_come_back_at_each_reduction():
    model = new()
    seen = []
    metrics = iter([3.0, 1.0, 2.0, 0.5])

    class Own(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.get_weights()[0].copy())
            logs["val_own"] = next(metrics)

    class After(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.get_weights()[0].copy())

    rule = ReduceLROnPlateau("val_own", mode="min", factor=0.5, patience=0, restore_best=True)
    fit(model, 0, SIZE, SIZE, epochs=4, callbacks=[Own(), rule, After()])
    before, after = seen[0::2], seen[1::2]
    for epoch in (0, 1, 3):
        np.testing.assert_array_equal(after[epoch], before[epoch])
    np.testing.assert_array_equal(after[2], before[1])
    assert not np.array_equal(before[2], before[1])


@pytest.mark.parametrize("way", ["weights", pytest.param("tensorflow", marks=on_tensorflow)])
def test_a_checkpoint_of_one_that_keeps_the_best_weights_is_restored(way, tmp_path):
    def keeping():
        return halving("loss", restore_best=True)

    def restored(rule):
        again = new()
        again.optimizer.build(again.trainable_variables)
        rule.set_model(again)
        if way == "weights":
            again.load_weights(tmp_path / "run.weights.h5")
        else:
            import tensorflow as tf

            checkpoint = tf.train.Checkpoint(model=again, optimizer=again.optimizer)
            checkpoint.restore(tf.train.latest_checkpoint(tmp_path)).expect_partial()
        return again

    model = new()
    fit(model, 0, SIZE, SIZE, epochs=3, callbacks=[keeping()])
    # The first epoch is the best, and its weights came back twice.
    np.testing.assert_allclose(applied(model), 0.02, rtol=1e-5)
    if way == "weights":
        model.save_weights(tmp_path / "run.weights.h5")
    else:
        import tensorflow as tf

        tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(tmp_path / "run")
    for rule in (keeping(), halving()):
        again = restored(rule)
        assert float(again.optimizer.learning_rate) == pytest.approx(0.005)
        with told() as texts:
            fit(again, 0, SIZE, SIZE, epochs=1, callbacks=[rule])
        assert float(again.optimizer.learning_rate) == pytest.approx(0.0025)
        # Such a checkpoint has numbers alone, and no arrays of the computer's memory.
        lost = way == "tensorflow" and rule.restore_best
        assert ["restore_best has no weights" in text for text in texts] == [True] * lost


# Copies


def copies(thing):
    yield copy.copy(thing)
    yield copy.deepcopy(thing)
    yield pickle.loads(pickle.dumps(thing))
    file = io.BytesIO()
    joblib.dump(thing, file)
    file.seek(0)
    yield joblib.load(file)


def test_a_copy_of_a_callback_that_was_used_begins_anew():
    rule = halving()
    fit(new(), 0, SIZE, SIZE, epochs=3, callbacks=[rule])
    for again in copies(rule):
        assert again.settings() == rule.settings()
        again.set_model(model := new())
        again.on_train_begin()
        rates = []
        for epoch in range(2):
            again.on_epoch_begin(epoch)
            rates.append(float(model.optimizer.learning_rate))
            again.on_epoch_end(epoch, {"loss": 1.0})
        np.testing.assert_allclose(rates, [0.02, 0.02], rtol=1e-6)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def test_a_tuner_that_copies_the_callbacks_for_each_trial_works():
    # As KerasTuner does: a deep copy for each trial, of callbacks that may have been used.
    given = [halving(), LearningRateLogger()]
    for _ in range(2):
        mine = copy.deepcopy(given)
        with told():
            history = fit(new(), 0, SIZE, SIZE, epochs=3, callbacks=mine).history
        np.testing.assert_allclose(history["learning_rate"], [0.02, 0.02, 0.01], rtol=1e-6)
        given = mine


@pytest.mark.parametrize(("rate", "kind"), [(0.02, "deepcopy"), (EXPONENTIAL, "pickle")])
def test_a_copy_of_a_model_or_an_optimizer_that_was_fitted_is_one_by_itself(rate, kind):
    model = new(rate)
    with told():
        fit(model, 0, SIZE, SIZE, epochs=3, callbacks=[halving(), LearningRateLogger()])
    other = copy.deepcopy(model) if kind == "deepcopy" else pickle.loads(pickle.dumps(model))
    assert float(other.optimizer.learning_rate) == float(model.optimizer.learning_rate)
    optimizer = copy.deepcopy(other.optimizer)
    with told():
        fit(other, 0, SIZE, SIZE, epochs=2, callbacks=[halving(), LearningRateLogger()])
    plain = 0.02 if isinstance(rate, float) else float(EXPONENTIAL(5 * SIZE))
    assert float(other.optimizer.learning_rate) == pytest.approx(plain / 16)
    plain = 0.02 if isinstance(rate, float) else float(EXPONENTIAL(3 * SIZE))
    assert float(model.optimizer.learning_rate) == pytest.approx(plain / 4)
    assert float(optimizer.learning_rate) == pytest.approx(plain / 4)


# mode="auto"


class Own(keras.metrics.Mean):
    """A metric whose name tells nothing."""


@pytest.mark.parametrize(
    ("metrics", "monitor", "mode"),
    [
        (["accuracy"], "val_accuracy", "max"),
        (["acc"], "val_acc", "max"),
        (["mae"], "val_mae", "min"),
        ([keras.metrics.AUC(name="x")], "val_x", "max"),
        ([keras.metrics.MeanSquaredError(name="y")], "y", "min"),
        ([keras.metrics.F1Score(name="z")], "z", "max"),
        ([keras.metrics.R2Score()], "val_r2_score", "max"),
        ([], "loss", "min"),
        ([], "val_loss", "min"),
        ([], "head_loss", "min"),
        ([], "val_head_accuracy", "max"),
        ([], "val_out_top5_accuracy", "max"),
        ([], "val_binary_io_u", None),
        ([Own(name="score")], "val_score", None),
        ([], "learning_rate", None),
        ([], "neg_loss", None),
    ],
)
def test_the_mode_is_found_where_it_can_be(metrics, monitor, mode):
    model = compiled(0.1, metrics=metrics)
    rule = ReduceLROnPlateau(monitor)
    rule.set_model(model)
    if mode is None:
        with pytest.raises(ValueError, match=f'mode must be "min" or "max".*{monitor}'):
            rule.on_train_begin()
    else:
        rule.on_train_begin()
        assert rule.plateau.mode == mode


def test_the_outputs_metrics_have_their_modes():
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd", {"a": "mse", "b": "mse"},
        metrics={"a": [keras.metrics.R2Score(name="q")], "b": ["mae"]}, **QUICKLY,
    )  # fmt: skip
    rules = [ReduceLROnPlateau(each, patience=9) for each in ("a_q", "b_mae", "val_a_loss", "loss")]
    x, y = np.eye(4, dtype="float32"), {name: np.ones((4, 1), "float32") for name in ("a", "b")}
    model.fit(x, y, verbose=0, validation_data=(x, y), callbacks=rules)
    assert [rule.plateau.mode for rule in rules] == ["max", "min", "min", "min"]


def test_an_accuracy_that_gets_better_is_left_alone():
    model = new(metrics=["accuracy"])
    values = iter([0.1, 0.2, 0.3, 0.4])

    class Better(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            logs["val_accuracy"] = next(values)

    rule = ReduceLROnPlateau("val_accuracy", factor=0.5, patience=0)
    fit(model, 0, SIZE, SIZE, epochs=4, callbacks=[Better(), rule])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)


# Words of Keras


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"min_delta": 1e-4}, r'threshold=0.0001, threshold_mode="abs"'),
        ({"epsilon": 1e-4}, r'threshold=0.0001, threshold_mode="abs"'),
        ({"min_rate": 0.1}, "min_lr=0.1"),
        ({"metric": "loss"}, "monitor='loss'"),
        ({"pacience": 3}, "has the arguments monitor, .* groups.*pacience=3"),
    ],
)
def test_a_word_of_others_is_answered_with_ours(arguments, said):
    with pytest.raises(TypeError, match=said):
        ReduceLROnPlateau(**arguments)


# A constant rate stays a variable


def test_a_rate_that_is_assigned_is_the_rate_in_the_next_step():
    model, rows = new(), Applied()

    def give(model):
        model.optimizer.learning_rate.assign(0.01)

    fit(
        model, 0, SIZE, SIZE, epochs=4,
        callbacks=[halving(), Calls("on_train_batch_end", 2, give, 3), rows],
    )  # fmt: skip
    expected = [[0.02] * 8, [0.02] * 8, [0.01] * 8, [0.005] * 8]
    np.testing.assert_allclose(rows.rows[:2], expected[:2], rtol=2e-5)
    np.testing.assert_allclose(rows.rows[3], expected[3], rtol=2e-5)
    np.testing.assert_allclose(rows.rows[2][-1], 0.01, rtol=2e-5)


def test_a_scheduler_of_keras_that_sets_each_epochs_rate_is_obeyed():
    model, rows = new(), Applied()
    falling = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.02 / (1 + epoch))
    fit(model, 0, SIZE, SIZE, epochs=3, callbacks=[falling, halving(), rows])
    for epoch, row in enumerate(rows.rows):
        np.testing.assert_allclose(row, 0.02 / (1 + epoch), rtol=2e-5)


# validation_freq


@pytest.mark.parametrize("freq", [2, [2, 4, 5]])
def test_the_epochs_without_validation_are_known_from_fit(freq):
    x, y = unit_vectors(0, SIZE, SIZE)
    history = fit(
        new(), 0, SIZE, SIZE, epochs=6, validation_data=(x, y), validation_freq=freq,
        callbacks=[halving("val_loss")],
    ).history  # fmt: skip
    validated = [2, 4, 6] if freq == 2 else freq
    reduced = [sum(each < epoch for each in validated[1:]) for epoch in range(1, 7)]
    np.testing.assert_allclose(history["learning_rate"], 0.02 * 0.5 ** np.array(reduced), rtol=1e-6)
