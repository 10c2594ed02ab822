"""An epoch of models of one's own, as `fit` on arrays trains them.

Each side trains the same compiled model on the same arrays, with shuffled batches. Ours records
every step; `fit` keeps the figures of the epoch, as it does by itself.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks._measurement import Goal, Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed

_BATCH, _RATE = 32, 0.01


def _tabular(examples: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A small network, of which a step takes less time than a call from Python."""
    import keras

    x = np.random.default_rng(0).normal(size=(examples, 10)).astype("float32")
    layers = [keras.layers.Dense(units, "relu") for units in (32, 32)]
    model = keras.Sequential([keras.Input((10,)), *layers, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(_RATE), "mse", metrics=["mae"])
    return model, x, x.sum(1)


def _text(examples: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A classifier of words, with an Embedding."""
    import keras

    x = np.random.default_rng(0).integers(0, 5000, (examples, 40))
    model = keras.Sequential(
        [
            keras.Input((40,)),
            keras.layers.Embedding(5000, 32),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(32, "relu"),
            keras.layers.Dense(1, "sigmoid"),
        ]
    )
    model.compile(keras.optimizers.Adam(_RATE), "binary_crossentropy", metrics=["accuracy"])
    return model, x, (x.mean(1) > 2500).astype("int64")


def _convolutional(examples: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """A convolutional network with batch normalisation."""
    import keras

    rng = np.random.default_rng(0)
    x = rng.normal(size=(examples, 16, 16, 3)).astype("float32")
    blocks = [
        layer
        for filters in (16, 32)
        for layer in (
            keras.layers.Conv2D(filters, 3, padding="same", use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.MaxPooling2D(),
        )
    ]
    pooled = keras.layers.GlobalAveragePooling2D()
    model = keras.Sequential([keras.Input((16, 16, 3)), *blocks, pooled, keras.layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(_RATE, momentum=0.9), loss, metrics=["accuracy"])
    return model, x, rng.integers(0, 10, examples)


_MODELS: dict[str, tuple[Callable[[int], Any], int]] = {
    "MLP on tabular data": (_tabular, 20_000),
    "text, with Embedding": (_text, 10_000),
    "convolutions with batch normalisation": (_convolutional, 4_000),
}


def _made(name: str, quick: bool) -> tuple[Any, np.ndarray, np.ndarray]:
    make, examples = _MODELS[name]
    return make(examples // 20 if quick else examples)


def _ours(name: str, quick: bool) -> Repeat:
    from keraslr import Problem
    from keraslr.training import Result, Run
    from keraslr.training._trainer import Trainer

    model, x, y = _made(name, quick)
    problem = Problem("benchmark", model, x, y)
    run = Run("benchmark", _RATE, problem, batch_size=_BATCH)
    trainer = Trainer(run, problem, Result({}))
    return timed(lambda: trainer.advance(1))


def _fit(name: str, quick: bool) -> Repeat:
    model, x, y = _made(name, quick)
    return timed(lambda: model.fit(x, y, batch_size=_BATCH, verbose=0))


def _sides() -> Sequence[Side]:
    return [
        side
        for name in _MODELS
        for side in (
            Side(f"train: {name}", functools.partial(_ours, name)),
            Side(f"fit on arrays: {name}", functools.partial(_fit, name)),
        )
    ]


def _pairs() -> Sequence[Pair]:
    return [
        Pair(f"epoch: {name}", f"train: {name}", f"fit on arrays: {name}", Goal(ratio=1.0))
        for name in _MODELS
    ]


SUBJECT = Subject(_sides, _pairs, rounds=5)
