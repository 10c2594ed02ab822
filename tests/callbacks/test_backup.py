"""Backups of `fit`: written whole, and a resumed run equals one that was not interrupted."""

from __future__ import annotations

import json
import os
import shutil
import warnings

import keras
import numpy as np
import pytest
from measured import BACKEND, not_on_torch, on_tensorflow

import keraslr
from keraslr.callbacks import (
    BackupAndRestore,
    BackupWarning,
    LearningRateLogger,
    ReduceLROnPlateau,
)
from keraslr.callbacks._fit import arguments_of_fit

EPOCHS, STEPS, BATCH = 4, 6, 4
X = np.random.default_rng(0).normal(size=(STEPS * BATCH, 5)).astype("float32")
Y = X[:, :1] * 2 + 0.1
QUICK = {"run_eagerly": True} if BACKEND == "torch" else {}


def network(optimizer=None, **arguments):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(1),
        ]
    )
    schedule = keraslr.CosineAnnealingLR(0.1, T_max=EPOCHS).with_warmup(1).per_epoch(STEPS)
    optimizer = optimizer or keras.optimizers.SGD(schedule, momentum=0.9)
    model.compile(optimizer, "mse", metrics=["mae"], **arguments)
    return model


class Cut(keras.callbacks.Callback):
    """Ends the run at the end of a batch, or in the validation of an epoch (batch None)."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise InterruptedError

    def on_test_begin(self, logs=None):
        if (self.epoch, None) == self.at:
            raise InterruptedError


class Batches(keras.callbacks.Callback):
    """The batches that were begun and ended."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.begun.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.ended.append(batch)


def data_arrays():
    return {"x": X, "y": Y, "batch_size": BATCH}


class Indexed(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return STEPS

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        return X[part], Y[part]


def tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y))


DATA = {
    "arrays": lambda: {**data_arrays(), "shuffle": False},
    "arrays, shuffled": data_arrays,
    "indexed": lambda: {"x": Indexed(), "shuffle": False},
    "indexed, shuffled": lambda: {"x": Indexed(workers=2), "shuffle": True},
    "tf.data": lambda: {"x": tf_data().batch(BATCH), "shuffle": False},
    "tf.data, one stream": lambda: {
        "x": tf_data().shuffle(24, seed=3).repeat().batch(BATCH),
        "steps_per_epoch": STEPS - 1,
        "shuffle": False,
    },
}


def train(model, folder, data, *callbacks, save_freq="epoch", **arguments):
    """Trains with all callbacks; returns the history."""
    logger = LearningRateLogger()
    rule = ReduceLROnPlateau("loss", patience=0, threshold=0.5)
    backup = BackupAndRestore(folder, save_freq)
    return model.fit(
        epochs=EPOCHS, verbose=0, callbacks=[backup, logger, rule, *callbacks],
        **{**data, **arguments},
    ).history  # fmt: skip


def interrupted(model, at, *arguments, **options):
    with pytest.raises(InterruptedError):
        train(model, *arguments, Cut(*at), **options)


def state_of(model):
    return [keras.ops.convert_to_numpy(v) for v in (*model.weights, *model.optimizer.variables)]


def assert_same(resumed, whole):
    for ours, theirs in zip(state_of(resumed), state_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class TestResumedRun:
    """It has the weights, counters, rates and means of a run that was not interrupted."""

    # That the rule has reduced the rate is what it is there for.
    pytestmark = pytest.mark.filterwarnings("ignore:.*ReduceLROnPlateau.*:UserWarning")

    @pytest.mark.parametrize("kind", DATA)
    @pytest.mark.parametrize(("save_freq", "at", "first"), [("epoch", (2, 3), (2, 0)), (2, (2, 4), (2, 4))])
    def test_equals_the_uninterrupted_run(self, tmp_path, kind, save_freq, at, first, capsys):
        data = DATA[kind]
        whole = network(**QUICK)
        history = train(whole, tmp_path / "whole", data())
        interrupted(network(**QUICK), at, tmp_path / "cut", data(), save_freq=save_freq)
        capsys.readouterr()
        resumed, batches = network(**QUICK), Batches()
        again = train(resumed, tmp_path / "cut", data(), batches, save_freq=save_freq)
        assert_same(resumed, whole)
        print(capsys.readouterr().out, batches.begun, again, history)
        for name in ("loss", "mae", "learning_rate"):
            assert again[name] == history[name][2:]
        assert list(again["applied_learning_rate"][1]) == list(history["applied_learning_rate"][3])
