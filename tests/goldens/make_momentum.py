"""Makes momentum.npz: the momentum that torch's OneCycleLR and CyclicLR give beside the rate.

Run in an environment with NumPy and the torch that `_torch.py` names:

    python tests/goldens/make_momentum.py
"""

from __future__ import annotations

import random

import numpy as np
from _torch import (
    Spec,
    Values,
    cyclic,
    drive,
    hold_last,
    log_uniform,
    momentum,
    one_cycle,
    one_cycle_steps,
    padded,
    save,
    uniform,
)

SEED = 72
CASES = 28

# The defaults of torch, which are not the same for the two classes, and a range of no width.
CORNERS: tuple[tuple[Spec, float, float, int], ...] = (
    (Spec("OneCycleLR", 0.1, {"total_steps": 200, "pct_start": 0.3}), 0.85, 0.95, 200),
    (Spec("OneCycleLR", 0.1, {"total_steps": 150, "three_phase": True}), 0.85, 0.95, 150),
    (Spec("OneCycleLR", 0.1, {"total_steps": 10}), 0.9, 0.9, 10),
    (Spec("CyclicLR", 0.001, {"max_lr": 0.1, "step_size_up": 20}), 0.8, 0.9, 200),
    (Spec("CyclicLR", 0.001, {"max_lr": 0.1, "step_size_up": 1}), 0.0, 0.99, 160),
)


def drive_momentum(spec: Spec, low: float, high: float, steps: int, optimizer: str) -> Values:
    values = drive(
        spec,
        steps,
        kind=optimizer,
        read=momentum,
        cycle_momentum=True,
        base_momentum=low,
        max_momentum=high,
    )
    # Beyond its end keraslr holds what OneCycleLR gave last, where torch raises.
    return hold_last(values) if spec.name == "OneCycleLR" else values


def main() -> None:
    # The optimizer changes nothing in what is expected: torch writes the same number into SGD's
    # momentum and into the first of Adam's betas, and both ways are on record here.
    settings = [(*corner, "SGD") for corner in CORNERS]
    for name in ("OneCycleLR", "CyclicLR"):
        rng = random.Random(f"{SEED} {name}")
        for index in range(CASES):
            rate, steps = log_uniform(rng, 1e-5, 1.0), rng.randint(160, 380)
            if name == "OneCycleLR":
                spec = one_cycle(rng, rate, steps, index)
                steps = one_cycle_steps(spec)
            else:
                spec = cyclic(rng, rate, steps, index)
            low, high = uniform(rng, 0.5, 0.9), uniform(rng, 0.9, 0.99)
            # The kinds of cases repeat after 4 or 3, so that both optimizers meet every kind.
            settings.append((spec, low, high, steps, "Adam" if index // 4 % 2 else "SGD"))
    expressions = [
        f"{spec}.momentum_schedule({low!r}, {high!r})" for spec, low, high, *_ in settings
    ]
    save(
        __file__,
        "momentum.npz",
        expressions=np.array(expressions),
        optimizers=np.array([optimizer for *_, optimizer in settings]),
        values=padded([drive_momentum(*setting) for setting in settings]),
    )


if __name__ == "__main__":
    main()
