"""Descents on an objective, against a Python loop over the same optimizer."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks._measurement import Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed

_OBJECTIVE, _OPTIMIZER, _RATE = "bowl", "Adam", 0.1
_STEPS = 1_000


def _ours(quick: bool) -> Repeat:
    from keraslr.descent import descend

    steps, times = (20, 1) if quick else (_STEPS, 20)

    def work() -> None:
        for seed in range(times):
            descend(_OBJECTIVE, _OPTIMIZER, learning_rate=_RATE, steps=steps, noise=0.1, seed=seed)

    return timed(work, times * steps)


def _loop(quick: bool) -> Repeat:
    import keras
    import numpy as np
    import tensorflow as tf

    from keraslr.catalog import DESCENT_OPTIMIZERS
    from keraslr.objectives import OBJECTIVES

    objective, steps = OBJECTIVES[_OBJECTIVE], 20 if quick else _STEPS
    rng = np.random.default_rng(0)

    def work() -> None:
        point = keras.Variable(np.array(objective.start), dtype="float64")
        optimizer = DESCENT_OPTIMIZERS[_OPTIMIZER].build(_RATE)
        way = [point.numpy()]
        for _ in range(steps):
            with tf.GradientTape() as tape:
                value = objective(point.value)
            gradient = tape.gradient(value, point.value)
            optimizer.apply([gradient + 0.1 * rng.standard_normal(len(way[0]))], [point])
            way.append(point.numpy())

    return timed(work, steps)


def _sides() -> Sequence[Side]:
    return [Side("descend", _ours), Side("a loop over optimizer.apply", _loop)]


def _pairs() -> Sequence[Pair]:
    what = f"a step of a noisy descent of {_STEPS:,}"
    return [Pair(what, "descend", "a loop over optimizer.apply")]


SUBJECT = Subject(_sides, _pairs, rounds=7)
