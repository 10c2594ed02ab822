"""Shared by the golden scripts: a schedule as data, its keraslr line, and the torch run behind it.

Needs PyTorch and NumPy, and never keraslr: a golden must not depend on what it is there to check.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

TORCH_VERSION = "2.13.0"

try:
    import torch
    from torch.optim import lr_scheduler
except ImportError:
    sys.exit(f"These goldens are made with torch=={TORCH_VERSION}, which is not installed here.")
if torch.__version__.split("+")[0] != TORCH_VERSION:
    # Another version may follow other rules or round otherwise, and the files name this one.
    sys.exit(f"These goldens are made with torch=={TORCH_VERSION}. Received: {torch.__version__}.")

Values = npt.NDArray[np.float64]
Optimizer = torch.optim.Optimizer
Scheduler = lr_scheduler.LRScheduler

# torch's OneCycleLR ends after total_steps; keraslr holds its last value, for this long here.
HELD_STEPS = 20


def text_of(options: dict[str, Any]) -> str:
    # repr of a float is the shortest text that reads back as the same double.
    return "".join(f", {name}={value!r}" for name, value in options.items())


@dataclass(frozen=True)
class Spec:
    """One schedule. `rate` is its first argument, whichever name that has in its class."""

    name: str
    rate: float
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.name}({self.rate!r}{text_of(self.options)})"

    def attach(self, optimizer: Optimizer, **extra: Any) -> Scheduler:
        kind = getattr(lr_scheduler, self.name)
        if self.name == "LambdaLR":
            return kind(optimizer, lr_lambda=held(**self.options))
        if self.name == "MultiplicativeLR":
            return kind(optimizer, lr_lambda=then_one(**self.options))
        if self.name in ("CyclicLR", "OneCycleLR"):
            return kind(optimizer, self.rate, **{"cycle_momentum": False, **self.options, **extra})
        return kind(optimizer, **self.options)


@dataclass(frozen=True)
class Joined:
    """Several schedules on one optimizer, attached to it in their order."""

    name: str
    rate: float
    parts: tuple[Spec, ...]
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = ", ".join(str(part) for part in self.parts)
        return f"{self.name}(schedules=({parts}){text_of(self.options)})"

    def attach(self, optimizer: Optimizer) -> Scheduler:
        schedulers = [part.attach(optimizer) for part in self.parts]
        if self.name == "ChainedScheduler":
            return lr_scheduler.ChainedScheduler(schedulers, optimizer)
        return lr_scheduler.SequentialLR(optimizer, schedulers, list(self.options["milestones"]))


def held(lr_lambda: Sequence[float], total_iters: int) -> Callable[[int], float]:
    """LambdaLR's function from f(0)..f(total_iters): the last number for good, as in keraslr."""
    return lambda t: lr_lambda[min(t, total_iters)]


def then_one(lr_lambda: Sequence[float], total_iters: int) -> Callable[[int], float]:
    """MultiplicativeLR's function from f(1)..f(total_iters): 1 afterwards, so the rate stays."""

    def factor(t: int) -> float:
        if t < 1:
            raise ValueError(f"torch asked for f({t}), which no number stands for")
        return lr_lambda[t - 1] if t <= total_iters else 1.0

    return factor


def make_optimizer(rate: float, kind: str = "SGD") -> Optimizer:
    # The rate is a Python float and not a tensor, so torch computes in double precision.
    parameters = [torch.zeros(1, requires_grad=True)]
    if kind == "Adam":
        return torch.optim.Adam(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9)


def learning_rate(optimizer: Optimizer) -> float:
    return optimizer.param_groups[0]["lr"]


def momentum(optimizer: Optimizer) -> float:
    group = optimizer.param_groups[0]
    return group["betas"][0] if "betas" in group else group["momentum"]


def drive(
    spec: Spec | Joined,
    steps: int,
    every: int = 1,
    smooth: bool = False,
    kind: str = "SGD",
    read: Callable[[Optimizer], float] = learning_rate,
    **extra: Any,
) -> Values:
    """What torch uses in each of `steps` optimizer steps, read just before the step.

    The scheduler is stepped once in `every` steps; or, `smooth`, before each of them with the
    epoch as a fraction. torch's documentation makes that call after the step instead, with the
    epoch of the step that is over: every value then comes one step late, and the first twice.
    """
    optimizer = make_optimizer(spec.rate, kind)
    scheduler = spec.attach(optimizer, **extra)
    values = []
    for step in range(steps):
        epoch, batch = divmod(step, every)
        if smooth:
            scheduler.step(epoch + batch / every)
        elif step and batch == 0:
            scheduler.step()
        values.append(read(optimizer))
        optimizer.step()
    return np.array(values, dtype=np.float64)


def hold_last(values: Values) -> Values:
    return np.concatenate([values, np.full(HELD_STEPS, values[-1])])


def six_digits(value: float) -> float:
    return float(f"{value:.6g}")


def uniform(rng: random.Random, low: float, high: float) -> float:
    return six_digits(rng.uniform(low, high))


def log_uniform(rng: random.Random, low: float, high: float) -> float:
    return six_digits(math.exp(rng.uniform(math.log(low), math.log(high))))


def cyclic(rng: random.Random, rate: float, ticks: int, index: int) -> Spec:
    """A CyclicLR whose slopes differ in length; in each fifth the second is left to its default."""
    longest = max(4, ticks // 4)
    up = rng.randint(2, longest)
    down = rng.choice([size for size in range(1, longest + 1) if size != up])
    mode = ("triangular", "triangular2", "exp_range")[index % 3]
    options: dict[str, Any] = {
        "max_lr": six_digits(rate * log_uniform(rng, 1.5, 50.0)),
        "step_size_up": up,
        "step_size_down": None if index % 5 == 4 else down,
        "mode": mode,
    }
    if mode == "exp_range":
        options["gamma"] = uniform(rng, 0.97, 0.9999)
    return Spec("CyclicLR", rate, options)


def one_cycle(rng: random.Random, rate: float, ticks: int, index: int) -> Spec:
    """A OneCycleLR of about `ticks` steps; four in a row have both strategies in both shapes."""
    three_phase = index // 2 % 2 == 1
    if index % 3 == 2:
        per_epoch = rng.randint(7, 19)
        length: dict[str, int] = {"epochs": ticks // per_epoch, "steps_per_epoch": per_epoch}
    else:
        length = {"total_steps": ticks}
    options: dict[str, Any] = {
        **length,
        # With three phases torch needs room for the third; more than half leaves it none. The
        # peak lies well after the first step: pct_start * total_steps == 1 divides by zero.
        "pct_start": uniform(rng, 0.05, 0.45 if three_phase else 0.95),
        "anneal_strategy": ("cos", "linear")[index % 2],
        "div_factor": log_uniform(rng, 2.0, 100.0),
        "final_div_factor": log_uniform(rng, 10.0, 1e4),
        "three_phase": three_phase,
    }
    return Spec("OneCycleLR", rate, options)


def one_cycle_steps(spec: Spec) -> int:
    options = spec.options
    return options.get("total_steps") or options["epochs"] * options["steps_per_epoch"]


def padded(rows: Sequence[Sequence[float] | Values]) -> Values:
    """Rows of unequal length as one array; what lies beyond the end of a row is NaN."""
    table = np.full((len(rows), max(map(len, rows))), np.nan)
    for line, row in zip(table, rows, strict=True):
        line[: len(row)] = row
    return table


def save(script: str, name: str, **arrays: Any) -> None:
    path = Path(script).with_name(name)
    np.savez_compressed(path, **arrays, torch_version=np.array(TORCH_VERSION))
    print(f"{name}: {path.stat().st_size} bytes")
