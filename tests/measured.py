"""A model whose weights say which rate each optimizer step applied.

Example n of the data is the nth unit vector, so that step n, on that example alone, changes weight
n and no other. The weights begin at zero and the gradient of the hinge loss is exactly 1 there;
after one epoch of plain SGD weight n is minus the rate of step n, with nothing rounded in between.
"""

from __future__ import annotations

import keras
import numpy as np

STEPS = 40


def unit_vectors(first=0, last=STEPS, size=STEPS):
    return np.eye(size, dtype="float32")[first:last], -np.ones((last - first, 1), "float32")


def compiled(optimizer, size=STEPS, **arguments):
    model = keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer = keras.optimizers.SGD(optimizer)
    model.compile(optimizer, loss="hinge", **arguments)
    return model


def fit(model, first=0, last=STEPS, size=STEPS, **arguments):
    """One epoch over these examples, one a step."""
    x, y = unit_vectors(first, last, size)
    arguments = {"epochs": 1, "batch_size": 1, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, y, **arguments)


def applied(model):
    """The rate of each step, read off the weights."""
    return -model.get_weights()[0][:, 0]
