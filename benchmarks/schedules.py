"""The values of a long schedule, in one call."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence

import numpy as np

from benchmarks._measurement import Goal, Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed

_STEPS = 1_000_000
# Steps measured where a step is slow; the compared figure is the time per step.
_EAGER_STEPS = 1_000
_WARMUP = 10_000

_OURS = {
    "cosine": "CosineAnnealingLR(0.1, T_max=1_000_000)",
    "warm-up and cosine": "Warmup(CosineAnnealingLR(0.1, T_max=990_000), 10_000, start_lr=0.01)",
}


def _ours(text: str, quick: bool) -> Repeat:
    import keraslr

    schedule, steps = keraslr.parse(text), 10_000 if quick else _STEPS
    return timed(lambda: schedule.values(steps), steps)


def _torch(warmup: bool, quick: bool) -> Repeat:
    import torch
    from torch.optim import lr_scheduler

    warnings.filterwarnings("ignore", message="Detected call of `lr_scheduler.step")
    warnings.filterwarnings("ignore", message="The epoch parameter in `scheduler.step")
    steps = 1_000 if quick else _STEPS

    def work() -> None:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1)
        rest = _STEPS - _WARMUP * warmup
        scheduler: lr_scheduler.LRScheduler = lr_scheduler.CosineAnnealingLR(optimizer, rest)
        if warmup:
            rising = lr_scheduler.LinearLR(optimizer, 0.1, 1.0, _WARMUP)
            scheduler = lr_scheduler.SequentialLR(optimizer, [rising, scheduler], [_WARMUP])
        rates = np.empty(steps)
        for step in range(steps):
            rates[step] = optimizer.param_groups[0]["lr"]
            scheduler.step()

    return timed(work, steps)


def _keras(quick: bool) -> Repeat:
    import keras

    schedule, steps = keras.optimizers.schedules.CosineDecay(0.1, _STEPS), _EAGER_STEPS
    if quick:
        steps = 20
    return timed(lambda: [float(schedule(step)) for step in range(steps)], steps)


def _optax(quick: bool) -> Repeat:
    import optax

    schedule, steps = optax.cosine_decay_schedule(0.1, _STEPS), 10_000 if quick else _STEPS
    return timed(lambda: np.asarray(schedule(np.arange(steps))), steps)


def _sides() -> Sequence[Side]:
    return [
        *(
            Side(name, functools.partial(_ours, text), process="ours")
            for name, text in _OURS.items()
        ),
        Side("PyTorch, step by step", functools.partial(_torch, False), needs="torch"),
        Side("PyTorch's SequentialLR", functools.partial(_torch, True), needs="torch"),
        Side("Keras's CosineDecay, step by step", _keras, process="ours"),
        Side("optax, on an array", _optax, needs="optax"),
    ]


def _pairs() -> Sequence[Pair]:
    goal = Goal(ratio=0.05)
    return [
        Pair("a value of 1,000,000: cosine", "cosine", "PyTorch, step by step", goal),
        Pair(
            "a value of 1,000,000: warm-up and cosine", "warm-up and cosine",
            "PyTorch's SequentialLR", goal,
        ),
        Pair("a value of 1,000,000: cosine", "cosine", "Keras's CosineDecay, step by step"),
        Pair("a value of 1,000,000: cosine", "cosine", "optax, on an array"),
    ]  # fmt: skip


SUBJECT = Subject(_sides, _pairs, rounds=5)
