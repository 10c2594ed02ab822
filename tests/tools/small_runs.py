"""Descriptions of runs that take a second."""

from __future__ import annotations

import keras
import numpy as np
from networks import softmax_regression

from keraslr import datasets

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
