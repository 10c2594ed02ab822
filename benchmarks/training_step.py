"""A training step of the LeNet under each schedule, within Keras's own compiled `train_step`."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks._measurement import Goal, Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed

_BATCH = 256
# Few steps in many rounds: the speed of a machine changes from second to second, and the median of
# many short turns resolves a difference of 1 %, while that of a few long turns does not.
_STEPS, _ROUNDS = 5, 81
_FIT_BATCHES = 20
_COMPOSED = "PerEpoch(Warmup(cosine))"
_CONSTANT, _DECAY = "a constant rate", "Keras's CosineDecay"
_FIT, _CALLBACK = "fit with cosine", "fit with Keras's LearningRateScheduler"


def _strategies() -> list[str]:
    from keraslr.catalog import CATALOG

    return [name for name, strategy in CATALOG.items() if strategy.is_schedule]


def _rate(name: str) -> Any:
    import keras

    import keraslr

    if name in (_CONSTANT, _CALLBACK):
        return 0.01
    if name == _DECAY:
        return keras.optimizers.schedules.CosineDecay(0.01, 10_000)
    if name == _COMPOSED:
        return keraslr.CosineAnnealingLR(0.01, T_max=25).with_warmup(5).per_epoch(235)
    if name == _FIT:
        return keraslr.CosineAnnealingLR(0.01, T_max=25).per_epoch(235)
    return keraslr.get(name)


def _compiled(name: str) -> Any:
    import keras

    from keraslr.models import lenet

    model = lenet(seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(_rate(name)), loss, metrics=["accuracy"])
    return model


def _data(batches: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    size = batches * _BATCH
    return rng.random((size, 28, 28, 1), np.float32), rng.integers(0, 10, size)


def _step(name: str, quick: bool) -> Repeat:
    """Returns a repeat of the compiled step alone, on a batch in memory."""
    import tensorflow as tf

    # Many models are traced here on purpose, and TensorFlow would warn of them.
    tf.get_logger().setLevel("ERROR")
    model, steps = _compiled(name), 2 if quick else _STEPS
    model.make_train_function()
    batches = iter(tf.data.Dataset.from_tensors(_data(1)).repeat())

    def work() -> None:
        for _ in range(steps):
            logs = model.train_function(batches)
        np.asarray(logs["loss"])  # waits until the steps have finished

    return timed(work, steps)


def _fit(name: str, quick: bool) -> Repeat:
    """Returns a repeat of an epoch of `fit`, which calls the callback."""
    import keras

    model, batches = _compiled(name), 2 if quick else _FIT_BATCHES
    x, y = _data(batches)
    follow = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.999)
    callbacks = [follow] if name == _CALLBACK else []
    arguments = {"batch_size": _BATCH, "epochs": 1, "verbose": 0, "callbacks": callbacks}
    return timed(lambda: model.fit(x, y, **arguments), batches)


def _sides() -> Sequence[Side]:
    # All in one process: the difference between two processes is larger than the measured one.
    return [
        *(
            Side(name, functools.partial(_step, name), process="steps")
            for name in (_CONSTANT, _DECAY, *_strategies(), _COMPOSED)
        ),
        *(Side(name, functools.partial(_fit, name), process="steps") for name in (_FIT, _CALLBACK)),
    ]


def _pairs() -> Sequence[Pair]:
    goal = Goal(ratio=1.02)
    return [
        *(
            Pair(f"LeNet step: {name}", name, _CONSTANT, goal)
            for name in (*_strategies(), _COMPOSED)
        ),
        Pair(f"LeNet step: {_COMPOSED}", _COMPOSED, _DECAY),
        Pair("LeNet step in fit: cosine", _FIT, _CALLBACK),
    ]


SUBJECT = Subject(_sides, _pairs, rounds=_ROUNDS)
