"""Makes sgd.npz: the weight that torch's SGD gives after each step, while its rate moves.

Run in an environment with NumPy and the torch that `_torch.py` names:

    python tests/goldens/make_sgd.py
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from _torch import Spec, Values, save

STEPS = 48
SEED = 72

STEP = Spec("StepLR", 0.1, {"step_size": 7, "gamma": 0.3})
COSINE = Spec("CosineAnnealingLR", 0.1, {"T_max": 20, "eta_min": 0.001})
ONE_CYCLE = Spec("OneCycleLR", 0.1, {"total_steps": STEPS})
CYCLE = Spec("CyclicLR", 0.01, {"max_lr": 0.1, "step_size_up": 5, "step_size_down": 9})
CONSTANT = Spec("ConstantLR", 0.1, {"factor": 1.0})
RATES = (STEP, COSINE, ONE_CYCLE, CYCLE, CONSTANT)

# Arguments of torch.optim.SGD.
WAYS: tuple[dict[str, Any], ...] = (
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.9, "dampening": 0.3},
    {"momentum": 0.5, "dampening": 1.0},
    {"momentum": 0.0},
)


@dataclass(frozen=True)
class Case:
    """A rate, what SGD is given, and the range of a cycled momentum."""

    rate: Spec
    arguments: dict[str, Any]
    cycled: tuple[float, float] | None = None


def cases() -> list[Case]:
    # The four steps that docs and docstrings show, and all combinations.
    shown = Spec("StepLR", 0.1, {"step_size": 2, "gamma": 0.1})
    every = [Case(shown, {"momentum": 0.9})]
    every += [Case(rate, way) for rate in RATES for way in WAYS]
    for rate in (ONE_CYCLE, CYCLE):
        for way in ({}, {"nesterov": True}, {"dampening": 0.3}):
            # torch wants a momentum to cycle, and replaces it.
            every.append(Case(rate, {"momentum": 0.9, **way}, (0.6, 0.95)))
    return every


def descended(case: Case, gradients: Values) -> Values:
    """The weight after each step; it begins at 1."""
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=case.rate.rate, **case.arguments)
    extra: dict[str, Any] = {}
    if case.cycled:
        low, high = case.cycled
        extra = {"cycle_momentum": True, "base_momentum": low, "max_momentum": high}
    scheduler = case.rate.attach(optimizer, **extra)
    weights = []
    for step, gradient in enumerate(gradients.tolist()):
        if step:
            scheduler.step()
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        weights.append(weight.item())
    return np.array(weights)


def main() -> None:
    # Eighths, which are exact in any precision, on both sides of 0. The first four are 1, as the
    # steps that are shown.
    gradients = np.random.default_rng(SEED).integers(-8, 17, STEPS) / 8
    gradients[:4] = 1.0
    every = cases()
    save(
        __file__,
        "sgd.npz",
        gradients=gradients,
        rates=np.array([str(case.rate) for case in every]),
        arguments=np.array([json.dumps(case.arguments) for case in every]),
        cycled=np.array([case.cycled or (np.nan, np.nan) for case in every]),
        values=np.array([descended(case, gradients) for case in every]),
    )


if __name__ == "__main__":
    main()
