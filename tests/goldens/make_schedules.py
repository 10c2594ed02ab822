"""Makes schedules.npz: the learning rates that torch's own schedulers give, step by step.

Run in an environment with NumPy and the torch that `_torch.py` names:

    python tests/goldens/make_schedules.py
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from _torch import (
    Joined,
    Spec,
    Values,
    cyclic,
    drive,
    hold_last,
    log_uniform,
    one_cycle,
    one_cycle_steps,
    padded,
    save,
    six_digits,
    uniform,
)

SEED = 71
CASES = 26
Case = tuple[str, Values]
Draw = Callable[[random.Random, float, int], dict[str, Any]]


def some_minimum(rng: random.Random, rate: float) -> float:
    return rng.choice([0.0, six_digits(rate * rng.uniform(0.001, 0.3))])


def constant(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    return {"factor": uniform(rng, 0.01, 1.0), "total_iters": rng.randint(1, ticks * 3 // 4)}


def linear(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    start, end = log_uniform(rng, 0.001, 1.0), uniform(rng, 0.01, 1.0)
    return {"start_factor": start, "end_factor": end, "total_iters": rng.randint(1, ticks * 3 // 4)}


def step(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    return {"step_size": rng.randint(2, ticks // 2), "gamma": uniform(rng, 0.1, 1.1)}


def multi_step(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    # With repetition: a milestone that is given twice counts twice in torch.
    milestones = rng.choices(range(1, ticks), k=rng.randint(1, 7))
    milestones += rng.choices(milestones, k=rng.randint(0, 2))
    return {"milestones": tuple(sorted(milestones)), "gamma": uniform(rng, 0.1, 1.2)}


def exponential(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    return {"gamma": uniform(rng, 0.93, 1.01)}


def polynomial(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    return {"total_iters": rng.randint(ticks // 4, ticks * 3 // 4), "power": uniform(rng, 0.3, 4.0)}


def cosine(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    return {"T_max": rng.randint(2, ticks // 2), "eta_min": some_minimum(rng, rate)}


def warm_restarts(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    times = rng.choice([1, 2, 3])
    first = rng.randint(1, max(2, ticks // (4 * times)))
    return {"T_0": first, "T_mult": times, "eta_min": some_minimum(rng, rate)}


def lambdas(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    last = rng.randint(4, min(60, ticks))
    numbers = tuple(uniform(rng, 0.01, 1.5) for _ in range(last + 1))
    return {"lr_lambda": numbers, "total_iters": last}


def multiplicative(rng: random.Random, rate: float, ticks: int) -> dict[str, Any]:
    last = rng.randint(4, min(60, ticks))
    return {"lr_lambda": tuple(uniform(rng, 0.85, 1.1) for _ in range(last)), "total_iters": last}


DRAWS: dict[str, Draw] = {
    "ConstantLR": constant,
    "LinearLR": linear,
    "StepLR": step,
    "MultiStepLR": multi_step,
    "ExponentialLR": exponential,
    "PolynomialLR": polynomial,
    "CosineAnnealingLR": cosine,
    "CosineAnnealingWarmRestarts": warm_restarts,
    "CyclicLR": lambda rng, rate, ticks: cyclic(rng, rate, ticks, rng.randrange(15)).options,
    "LambdaLR": lambdas,
    "MultiplicativeLR": multiplicative,
}

# Measured with torch 2.13.0: these multiply the rate that is there, so a chain of them is the
# product of their factors. The others set the rate and undo what came before them in the chain,
# and CosineAnnealingLR adds to it when eta_min > 0 or once t > T_max; see `chained`.
CHAINABLE = (
    "ConstantLR",
    "LinearLR",
    "StepLR",
    "MultiStepLR",
    "ExponentialLR",
    "PolynomialLR",
    "MultiplicativeLR",
    "CosineAnnealingLR",
)

# Each of these is among the cases whatever the seed: first or last values, restarts at every
# step, a factor of exactly 0 or 1, growth instead of decay, the ends of the range of rates.
CORNERS: tuple[tuple[Spec, int], ...] = (
    (Spec("ConstantLR", 0.1, {"factor": 1.0, "total_iters": 5}), 160),
    (Spec("ConstantLR", 10.0, {"factor": 1e-6, "total_iters": 1}), 160),
    (Spec("LinearLR", 0.1, {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 100}), 160),
    # Here torch ends not at 0 but at about 1e-18, of either sign: its recursion rounds.
    (Spec("LinearLR", 0.1, {"start_factor": 0.3, "end_factor": 0.0, "total_iters": 37}), 160),
    (Spec("LinearLR", 1e-5, {"start_factor": 1e-6, "end_factor": 1.0, "total_iters": 150}), 160),
    (Spec("LinearLR", 0.1, {"start_factor": 0.5, "end_factor": 0.5, "total_iters": 30}), 160),
    (Spec("LinearLR", 0.1, {"start_factor": 0.5, "end_factor": 1.0, "total_iters": 1}), 160),
    (Spec("StepLR", 0.1, {"step_size": 1, "gamma": 0.95}), 400),
    (Spec("StepLR", 1e-5, {"step_size": 20, "gamma": 2.0}), 400),
    (Spec("StepLR", 0.1, {"step_size": 7, "gamma": 1.0}), 160),
    (Spec("MultiStepLR", 0.1, {"milestones": (5, 5, 5, 20), "gamma": 0.3}), 160),
    (Spec("MultiStepLR", 0.001, {"milestones": (1, 2, 3, 150, 150), "gamma": 1.5}), 160),
    (Spec("MultiStepLR", 0.1, {"milestones": (500,), "gamma": 0.1}), 160),
    (Spec("ExponentialLR", 10.0, {"gamma": 0.99999}), 400),
    (Spec("ExponentialLR", 1e-5, {"gamma": 1.02}), 400),
    (Spec("PolynomialLR", 0.1, {"total_iters": 1, "power": 1.0}), 160),
    (Spec("PolynomialLR", 0.1, {"total_iters": 399, "power": 0.5}), 400),
    (Spec("PolynomialLR", 10.0, {"total_iters": 5000, "power": 0.9}), 400),
    (Spec("CosineAnnealingLR", 0.1, {"T_max": 1, "eta_min": 0.0}), 160),
    (Spec("CosineAnnealingLR", 0.1, {"T_max": 2, "eta_min": 0.01}), 160),
    (Spec("CosineAnnealingLR", 10.0, {"T_max": 399, "eta_min": 0.0}), 400),
    (Spec("CosineAnnealingLR", 1e-5, {"T_max": 5000, "eta_min": 1e-7}), 400),
    (Spec("CosineAnnealingWarmRestarts", 0.1, {"T_0": 1, "T_mult": 1, "eta_min": 0.0}), 160),
    (Spec("CosineAnnealingWarmRestarts", 0.1, {"T_0": 1, "T_mult": 2, "eta_min": 0.001}), 400),
    (Spec("CosineAnnealingWarmRestarts", 0.1, {"T_0": 1, "T_mult": 3, "eta_min": 0.0}), 400),
    (Spec("CyclicLR", 0.1, {"max_lr": 1.0, "step_size_up": 1, "step_size_down": 1}), 160),
    (Spec("CyclicLR", 1e-5, {"max_lr": 10.0, "step_size_up": 1, "step_size_down": 9}), 400),
    (
        Spec(
            "CyclicLR",
            0.01,
            {"max_lr": 0.1, "step_size_up": 9, "step_size_down": 1, "mode": "triangular2"},
        ),
        400,
    ),
    (Spec("OneCycleLR", 0.1, {"total_steps": 10}), 10),
    (Spec("OneCycleLR", 10.0, {"total_steps": 200, "pct_start": 0.25, "three_phase": True}), 200),
    (Spec("OneCycleLR", 1e-5, {"total_steps": 360, "pct_start": 0.5}), 360),
    (Spec("OneCycleLR", 0.1, {"epochs": 3, "steps_per_epoch": 67, "pct_start": 0.9}), 201),
)


def random_rate(rng: random.Random) -> float:
    return log_uniform(rng, 1e-5, 10.0)


def within_float32(values: Values) -> bool:
    # keraslr computes in float32, whose normal numbers end at 1.2e-38 and 3.4e38.
    sizes = np.abs(values[values != 0])
    return bool(np.all(sizes > 1e-25) and np.all(sizes < 1e25))


def check_close(spec: Joined, values: Values, expected: Values) -> None:
    if not np.allclose(values, expected, rtol=1e-10, atol=0.0):
        at = int(np.argmax(~np.isclose(values, expected, rtol=1e-10, atol=0.0)))
        raise AssertionError(f"{spec}: torch {values[at]!r} at {at}, not {expected[at]!r}")


def single(rng: random.Random, name: str) -> Case:
    rate, steps = random_rate(rng), rng.randint(160, 400)
    spec = Spec(name, rate, DRAWS[name](rng, rate, steps))
    return str(spec), drive(spec, steps)


def one_cycle_case(rng: random.Random, index: int) -> Case:
    spec = one_cycle(rng, random_rate(rng), rng.randint(160, 380), index)
    # torch computes one value more, beyond its curve (a cosine that rises, a line that goes
    # below zero), and raises at the next; keraslr keeps the rate of the last step.
    return str(spec), hold_last(drive(spec, one_cycle_steps(spec)))


def smooth_restarts(rng: random.Random) -> Case:
    # At least 4 steps an epoch, hence at most 100 epochs: with T_mult=3 and a given epoch, torch
    # takes epoch 121 * T_0 for the end of a period, since math.log(243, 3) is below 5.
    every, steps = rng.randint(4, 16), rng.randint(160, 400)
    rate, name = random_rate(rng), "CosineAnnealingWarmRestarts"
    spec = Spec(name, rate, DRAWS[name](rng, rate, steps // every))
    return f"{spec}.per_epoch({every}, smooth=True)", drive(spec, steps, every, smooth=True)


def per_epoch(rng: random.Random, name: str) -> Case:
    every, steps, rate = rng.randint(2, 12), rng.randint(160, 400), random_rate(rng)
    spec = Spec(name, rate, DRAWS[name](rng, rate, steps // every))
    return f"{spec}.per_epoch({every})", drive(spec, steps, every)


def sequential(rng: random.Random, index: int) -> Case:
    """Three schedules in turn, each on its own clock from the milestone at which it begins.

    Measured with torch 2.13.0, for every ordered choice of three classes: all do this, except
    - MultiplicativeLR in second or third place: at its milestone torch asks for f(0) and
      multiplies the rate that the schedule before it left, instead of going back to its own;
    - OneCycleLR whose max_lr / div_factor is not the common rate: it rewrites the optimizer's
      `initial_lr`, from which the rate of the whole and the schedulers made later start.
    """
    rate, steps = random_rate(rng), rng.randint(160, 400)
    if index == 0:
        # div_factor is a power of two: max_lr / div_factor is then the common rate exactly.
        last = Spec("OneCycleLR", 16 * rate, {"total_steps": 400, "div_factor": 16.0})
        names = ["StepLR", "LinearLR"]
    else:
        last = None
        names = rng.sample(sorted(set(DRAWS) - {"MultiplicativeLR"}), 3)
        if index % 6 == 1:
            names[0] = "MultiplicativeLR"
    parts = [Spec(name, rate, DRAWS[name](rng, rate, steps // 2)) for name in names]
    parts += [last] if last else []
    first = rng.randint(10, steps // 3)
    second = rng.randint(first + 10, steps - 40)
    spec = Joined("SequentialLR", rate, tuple(parts), {"milestones": (first, second)})
    values = drive(spec, steps)
    lengths = (first, second - first, steps - second)
    alone = [drive(part, length) for part, length in zip(parts, lengths, strict=True)]
    check_close(spec, values, np.concatenate(alone))
    return str(spec), values


def chained(rng: random.Random) -> Case:
    """The common rate times the product of the three factors, where torch gives that product."""
    rate, steps = random_rate(rng), rng.randint(160, 400)
    parts = [Spec(name, rate, DRAWS[name](rng, rate, steps)) for name in rng.sample(CHAINABLE, 3)]
    for i, part in enumerate(parts):
        if part.name == "CosineAnnealingLR":
            longest = {"T_max": rng.randint(steps - 1, 2 * steps), "eta_min": 0.0}
            parts[i] = replace(part, options=longest)
    spec = Joined("ChainedScheduler", rate, tuple(parts))
    values = drive(spec, steps)
    factors = [drive(part, steps) / rate for part in parts]
    check_close(spec, values, rate * np.prod(factors, axis=0))
    return str(spec), values


def collect(name: str, draw: Callable[[random.Random, int], Case]) -> list[Case]:
    # A generator for each kind: a change to one kind leaves the cases of all others as they are.
    rng = random.Random(f"{SEED} {name}")
    cases: list[Case] = []
    while len(cases) < CASES:
        case = draw(rng, len(cases))
        if within_float32(case[1]):
            cases.append(case)
    return cases


def main() -> None:
    cases: list[Case] = []
    for spec, steps in CORNERS:
        values = drive(spec, steps)
        cases.append((str(spec), hold_last(values) if spec.name == "OneCycleLR" else values))
    kinds = sorted(DRAWS)
    for name in kinds:
        cases += collect(name, lambda rng, _, name=name: single(rng, name))
    cases += collect("OneCycleLR", one_cycle_case)
    cases += collect("smooth", lambda rng, _: smooth_restarts(rng))
    cases += collect("per epoch", lambda rng, i: per_epoch(rng, kinds[i % len(kinds)]))
    cases += collect("SequentialLR", sequential)
    cases += collect("ChainedScheduler", lambda rng, _: chained(rng))
    expressions, rows = zip(*cases, strict=True)
    if not all(np.isfinite(row).all() for row in rows):
        raise AssertionError("NaN marks the end of a row, so no value may be NaN")
    save(__file__, "schedules.npz", expressions=np.array(expressions), values=padded(rows))


if __name__ == "__main__":
    main()
