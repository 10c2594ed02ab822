"""A network for tests of what training does, and not of what is trained."""

from __future__ import annotations

import keras


def softmax_regression(seed: int) -> keras.Model:
    """One layer; a run of the digits takes it half a second, and the LeNet more than one."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed)),
        ]
    )
