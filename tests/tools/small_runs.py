"""Descriptions of runs that take a second."""

from __future__ import annotations

import os
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import softmax_regression

from keraslr import datasets
from keraslr.training import Run
from keraslr.training._feed import feed_of
from keraslr.training._loop import Loop
from keraslr.training._run import model_of, problem_of

STEPS = 23  # of an epoch of the digits: 1437 / 64, the last of 29 examples
SMALL = {"dataset": "digits", "model": softmax_regression, "batch_size": 64, "epochs": 2}


def build_with_state(seed: int) -> keras.Model:
    """A network with what a bare loop forgets: batch statistics and a penalty on the weights."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(
                16,
                activation="relu",
                kernel_regularizer=keras.regularizers.L2(0.01),
                kernel_initializer=keras.initializers.GlorotUniform(seed),
            ),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed + 1)),
        ]
    )


def loop_of(run: Run) -> Loop:
    """The loop that trains a run of images, not begun."""
    problem = problem_of(run)
    data = problem.data()
    return Loop(
        model_of(run, problem),
        feed_of(data.train, run.batch_size, run.seed),
        feed_of(data.validation, problem.validation_batch_size),
        problem.prepare,
    )


# Memory, and the data on the device.


def noise(train=1000, test=100):
    rng = np.random.default_rng(0)
    parts = [
        part
        for n in (train, test)
        for part in (
            rng.integers(0, 256, (n, 28, 28, 1), np.uint8),
            rng.integers(0, 10, n, np.int32),
        )
    ]
    return datasets.Dataset("noise", *parts)


def resident():
    """Memory of this process in MiB."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("memory is read from /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20
