"""All published descents without noise, in a process that has only imported Keras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks._measurement import Goal, Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed


def _ours(quick: bool) -> Repeat:
    import keras  # noqa: F401

    def work() -> None:
        for job in _jobs(quick):
            job.function(**job.arguments)

    return timed(work)


def _loop(quick: bool) -> Repeat:
    import keras
    import numpy as np
    import tensorflow as tf

    from keraslr.catalog import DESCENT_OPTIMIZERS
    from keraslr.objectives import OBJECTIVES

    def work() -> None:
        for job in _jobs(quick):
            each = job.arguments
            objective = OBJECTIVES[each["objective"]]
            point = keras.Variable(np.array(each["start"]), dtype="float64")
            kind = DESCENT_OPTIMIZERS[each["optimizer"]]
            optimizer = kind.build(each["learning_rate"], **each["arguments"])
            way = [point.numpy()]
            for _ in range(each["steps"]):
                with tf.GradientTape() as tape:
                    value = objective(point.value)
                optimizer.apply([tape.gradient(value, point.value)], [point])
                way.append(point.numpy())

    return timed(work)


def _jobs(quick: bool) -> list[Any]:
    from keraslr.published import PARTS, Plan

    jobs = [job for job in PARTS["descent"].jobs(Plan()) if "noise" not in job.arguments]
    return jobs[:1] if quick else jobs


def _sides() -> Sequence[Side]:
    return [Side("descend", _ours), Side("a loop over optimizer.apply", _loop)]


def _pairs() -> Sequence[Pair]:
    what = "all published descents without noise, compiling included"
    return [Pair(what, "descend", "a loop over optimizer.apply", Goal(seconds=2.0))]


SUBJECT = Subject(_sides, _pairs, rounds=5, fresh=True)
