"""Small models for the range test, and the test run on them."""

from __future__ import annotations

import keras
import numpy as np

from keraslr import RangeTest, find_learning_rate

RNG = np.random.default_rng(0)
X = RNG.normal(size=(200, 6)).astype("float32")
Y = (X @ RNG.normal(size=(6, 3))).argmax(axis=1)


# Models with what there is to put back.


def network(optimizer="sgd", layers=(), built=True, seed=0, **arguments):
    def drawn(n):
        return {"kernel_initializer": keras.initializers.GlorotUniform(seed + n)}

    model = keras.Sequential(
        [
            *([keras.Input((6,))] if built else []),
            keras.layers.Dense(8, activation="relu", **drawn(0)),
            *layers,
            keras.layers.Dense(3, **drawn(1)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    # Off unless asked for: "auto" is XLA where there is a GPU.
    model.compile(optimizer, loss, metrics=["accuracy"], **{"jit_compile": False, **arguments})
    return model


def with_state(optimizer="sgd", **arguments):
    layers = [keras.layers.BatchNormalization(), keras.layers.Dropout(0.3, seed=7)]
    return network(optimizer, layers, **arguments)


def fitted(model, epochs=1):
    model.fit(X, Y, batch_size=40, epochs=epochs, shuffle=False, verbose=0)
    return model


def state(model):
    """All numbers of a model and its optimizer, as bits."""
    variables = [*model.variables, *model.metrics_variables, *model.optimizer.variables]
    return [each.value.numpy().tobytes() for each in variables]


def swept(model, x=X, y=Y, **arguments):
    arguments = {"min_lr": 1e-4, "max_lr": 10.0, "steps": 12, "batch_size": 20, **arguments}
    return find_learning_rate(model, x, y, **arguments)


# The sweep.


def unit_vectors(model, **arguments):
    """The rates that were applied, read off the weights as they stood before they were put back.

    Example n is the nth unit vector and is seen in step n alone; the weights begin at zero, where
    the gradient of the hinge loss is 1.
    """
    seen = []
    size = arguments["steps"]
    data = [
        (np.eye(size, dtype="float32")[n : n + 1], -np.ones((1, 1), "float32")) for n in range(size)
    ]

    class Data:
        def __iter__(self):
            for n, batch in enumerate(data):
                yield batch
                # The step on this batch is done once the next one is asked for.
                seen.append(-model.get_weights()[0][n, 0])
            yield batch

    # A further step, so that the last of these is seen.
    rates = find_learning_rate(model, Data(), **{**arguments, "steps": size + 1}).learning_rates
    return np.array(seen), rates[:size]


def linear_model(size, optimizer, **arguments):
    model = keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", dtype="float32"),
        ]
    )
    model.compile(optimizer, "hinge", **{"jit_compile": False, **arguments})
    return model


SGD = keras.optimizers.SGD


# The rules.

RATES = np.geomspace(1e-5, 10.0, 61)  # ten steps a decade


def curve(smoothed, sweep="exponential", rates=RATES, **arguments):
    smoothed = np.asarray(smoothed, float)
    return RangeTest(rates[: len(smoothed)], smoothed, smoothed, sweep=sweep, **arguments)


def known_curve():
    """Flat to 1e-3, falls straight to 1e-1 (twice as fast from 3e-2), rises from there."""
    step = np.arange(61)
    return 10 - np.interp(step, [0, 20, 35, 40, 60], [0, 0, 3, 5, -20])
