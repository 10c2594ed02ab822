"""Programs in which a rate, a count or a mode once came out wrong, most of them in silence."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from by_epoch import Applied, told
from measured import QUICKLY, compiled, fit, not_on_torch, on_tensorflow, unit_vectors

import keraslr
from keraslr.callbacks import (
    BackupAndRestore,
    EpochSchedule,
    LearningRateLogger,
    ReduceLROnPlateau,
)
from keraslr.callbacks._direction import direction_of

SIZE = 8
HALVES = keraslr.ExponentialLR(0.1, gamma=0.5)


def new(rate=0.1, **arguments):
    return compiled(rate, SIZE, **{**QUICKLY, **arguments})


def halving(monitor="loss", **arguments):
    rule = {"factor": 0.5, "patience": 0, "threshold": 1e6, "threshold_mode": "abs"}
    return ReduceLROnPlateau(monitor, **{**rule, **arguments})


def driven(model, *callbacks, **arguments):
    log = LearningRateLogger(per_step=False)
    history = fit(model, 0, SIZE, SIZE, callbacks=[*callbacks, log], **arguments).history
    return history["applied_learning_rate"]


# The next fold, from what the last one was made of


def test_a_schedule_of_epochs_begins_anew_with_an_optimizer_from_a_config():
    first, rates = new(), [0.1, 0.05, 0.025]
    assert driven(first, EpochSchedule(HALVES), epochs=3) == pytest.approx(rates)
    next_one = new(keras.optimizers.SGD.from_config(first.optimizer.get_config()))
    assert driven(next_one, EpochSchedule(HALVES), epochs=3) == pytest.approx(rates)


@pytest.mark.parametrize(
    ("rate", "begin"),
    [(0.1, 0.025), (keraslr.ConstantLR(0.1, factor=1.0), 0.1)],
    ids=["constant", "schedule"],
)
def test_a_plateau_rule_begins_anew_with_an_optimizer_from_a_config(rate, begin):
    first = new(rate)
    fit(first, 0, SIZE, SIZE, epochs=3, callbacks=[halving()])
    rule = halving()
    next_one = new(keras.optimizers.SGD.from_config(first.optimizer.get_config()))
    history = fit(next_one, 0, SIZE, SIZE, epochs=3, callbacks=[rule]).history
    # The first epoch of a fold is the best so far, whatever the last fold's was.
    assert history["learning_rate"] == pytest.approx([begin, begin, begin / 2])


def test_the_epochs_of_a_fold_on_the_same_model_begin_anew_if_asked():
    model, drive = new(), EpochSchedule(HALVES)
    driven(model, drive, epochs=2)
    drive.reset()
    assert driven(model, drive, epochs=2) == pytest.approx([0.1, 0.05])
    drive = EpochSchedule(HALVES)
    drive.reset()
    assert driven(model, drive, epochs=1) == pytest.approx([0.1])


# The order of callbacks


class Score(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = 1.0


def test_a_backup_that_is_made_before_the_decision_is_told(tmp_path):
    rule = halving("score", mode="max")
    for callbacks, number in (
        ([BackupAndRestore(tmp_path / "a"), Score(), rule], 1),
        ([Score(), rule, BackupAndRestore(tmp_path / "b")], 0),
    ):
        with told() as texts:
            fit(new(), 0, SIZE, SIZE, epochs=2, callbacks=callbacks)
        assert len([text for text in texts if "put BackupAndRestore last" in text]) == number


# Which way is better


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("error_detection_accuracy", "max"), ("distance_iou", "max"), ("dice_loss", "min"),
        ("f1_score", "max"), ("recall_at_k", "max"), ("auc_2", "max"), ("error_rate", "min"),
        ("mean_absolute_error_1", "min"), ("accuracy_drop", None), ("f1_std", None),
        ("no_accuracy", None), ("depth_map", None), ("cosine_similarity", None), ("rate", None),
    ],
)  # fmt: skip
def test_the_last_part_of_a_name_tells(name, mode):
    assert direction_of(f"val_{name}") == mode


def abs_rel(y_true, y_pred):
    return keras.ops.mean(keras.ops.abs(y_true - y_pred))


def test_the_name_of_an_output_tells_nothing():
    inputs = keras.Input((4,))
    outputs = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("error", "accuracy")}
    model = keras.Model(inputs, outputs)
    model.compile(
        "sgd", dict.fromkeys(outputs, "mse"),
        metrics={"error": ["accuracy"], "accuracy": [abs_rel]}, **QUICKLY,
    )  # fmt: skip
    x, y = np.eye(4, dtype="float32"), {name: np.ones((4, 1), "float32") for name in outputs}
    rule = ReduceLROnPlateau("error_accuracy")
    model.fit(x, y, verbose=0, callbacks=[rule])
    assert rule.plateau.mode == "max"
    with pytest.raises(ValueError, match=r'mode must be "min" or "max".*accuracy_abs_rel'):
        model.fit(x, y, verbose=0, callbacks=[ReduceLROnPlateau("accuracy_abs_rel")])


def test_a_metric_of_several_values_is_refused_with_its_remedy():
    rule = ReduceLROnPlateau(optimizer=keras.optimizers.SGD(0.1))
    for metric in (np.ones(3), [1.0, 2.0], None):
        with pytest.raises(ValueError, match=r'one value.*average="macro".*monitor=\'val_loss\''):
            rule.step(metric)


# Optimizers


class Around(keras.optimizers.Optimizer):
    """As those that average weights: the rate is that of the optimizer inside."""

    def __init__(self, inner):
        super().__init__(learning_rate=0.0)
        self.inner = inner

    def build(self, variables):
        super().build(variables)
        self.inner.build(variables)

    def apply(self, grads, trainable_variables=None):
        self.inner.apply(grads, trainable_variables)
        self._iterations.assign_add(1)

    learning_rate = property(lambda self: self.inner.learning_rate)


@on_tensorflow
def test_the_rate_of_a_wrapped_optimizer_is_the_one_that_is_applied():
    model, rows = new(Around(keras.optimizers.SGD(0.1))), Applied()
    with told():
        rates = driven(model, halving(), rows, epochs=3)
    assert rates == pytest.approx([0.1, 0.1, 0.05])
    np.testing.assert_allclose([row[0] for row in rows.rows], rates, rtol=1e-5)
    model = new(Around(keras.optimizers.SGD(0.1)))
    assert driven(model, EpochSchedule(HALVES), epochs=2) == pytest.approx([0.1, 0.05])


@pytest.mark.parametrize("schedule", [HALVES.per_epoch(SIZE), HALVES.per_epoch(4)])
def test_a_clock_in_batches_is_right_where_gradients_are_accumulated(schedule):
    """`per_epoch(n)` of the epoch's batches, and of those of one update."""
    optimizer = keras.optimizers.SGD(schedule, gradient_accumulation_steps=4)
    log = LearningRateLogger()
    with told() as texts:
        history = fit(new(optimizer), 0, SIZE, SIZE, epochs=2, callbacks=[log]).history
    assert not texts
    expected = schedule.values(2 * SIZE)[3::4].reshape(2, 2)
    for name in ("applied", "planned"):
        each = [list(rates) for rates in history[f"{name}_learning_rate"]]
        np.testing.assert_allclose(each, expected, rtol=1e-6)


def test_a_logger_that_comes_with_the_second_fit_goes_on():
    model = new(HALVES.per_epoch(SIZE))
    fit(model, 0, SIZE, SIZE, epochs=2)
    with told() as texts:
        assert driven(model, epochs=2) == pytest.approx([0.025, 0.0125])
    assert not texts


# Data of unknown length


def unknown():
    import tensorflow as tf

    x, y = unit_vectors(0, SIZE, SIZE)
    return tf.data.Dataset.from_tensor_slices((x, y)).filter(lambda x, y: True).batch(1)


@on_tensorflow
@not_on_torch
def test_executions_in_part_are_counted_as_what_they_were():
    model, rows = new(steps_per_execution=3), Applied()
    line = keraslr.LinearLR(0.1, start_factor=1.0, end_factor=0.5, total_iters=5)
    drive = EpochSchedule(line, smooth=True)
    rule = ReduceLROnPlateau("loss", patience=9)
    with told() as texts:
        model.fit(unknown(), epochs=2, verbose=0, callbacks=[drive, rule, rows])
    assert not texts
    # The executions of the second epoch begin at steps 0, 3 and 6 of 8.
    expected = 0.1 * (1 - 0.1 * (1 + np.array([0, 0, 0, 3, 3, 3, 6, 6]) / 8))
    np.testing.assert_allclose(rows.rows[1], expected, rtol=2e-5)


@on_tensorflow
def test_the_length_that_is_advised_is_the_right_one():
    model = new(HALVES.per_epoch(7), steps_per_execution=3)
    with told() as texts:
        model.fit(unknown(), epochs=1, verbose=0, callbacks=[LearningRateLogger()])
    assert len(texts) == 1
    assert "use per_epoch(8)" in texts[0]


class OwnStep(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


@on_tensorflow
def test_a_step_of_ones_own_is_told_one_length():
    inputs = keras.Input((SIZE,))
    model = OwnStep(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(HALVES.per_epoch(SIZE)), "mse", **QUICKLY)
    with told() as texts:
        model.fit(unknown(), epochs=1, verbose=0, callbacks=[LearningRateLogger()])
    assert len(texts) == 1
    assert f"had {SIZE} steps, but the optimizer's counter rose by {SIZE + 1}" in texts[0]
