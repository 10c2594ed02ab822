"""Makes snippets.npz: PyTorch code that keraslr writes, and the rates that it trains with.

Every other script here leaves keraslr out. This one takes the code from it, and what is kept of the
run is torch's own. Run in an environment with keraslr and the torch that `_torch.py` names:

    python tests/goldens/make_snippets.py
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from _torch import Values, learning_rate, padded, save
from torch.optim.optimizer import register_optimizer_step_pre_hook

import keraslr
from keraslr.catalog import CATALOG
from keraslr.snippets import pytorch_snippet

BATCHES = 4
EPOCHS = 40

# Of a catalog's schedule: each in steps, each in epochs of `BATCHES` batches.
IN_STEPS = ("{}", "{}.with_warmup(3)", "({} * 0.3)")
IN_EPOCHS = (
    "{}.per_epoch(4)",
    "{}.with_warmup(3).per_epoch(4)",
    "{}.per_epoch(4, smooth=True)",
)


@dataclass(frozen=True)
class Case:
    """A schedule, what `pytorch_snippet` is told of the run, and the run."""

    expression: str
    told: dict[str, Any] = field(default_factory=dict)
    epochs: int = 10
    batches: int = BATCHES


COSINE = "CosineAnnealingLR(0.1, T_max=30, eta_min=0.001)"
STEP = "StepLR(0.1, step_size=5, gamma=0.5)"
ONE_CYCLE = "OneCycleLR(0.1, total_steps=30)"
LINEAR = "LinearLR(0.1, start_factor=0.5, total_iters=12)"
EXPONENTIAL = "ExponentialLR(0.1, gamma=0.9)"
# No power of anything, and too many for one line.
FACTORS = tuple(round(1 / (1 + 0.01 * t * t), 4) for t in range(30))
STAIRS = tuple(0.5 ** (t // 12) for t in range(100))

COMPOSED = (
    # The three shapes of a warm-up, from 0, from below the rate and from above it.
    Case(f"{COSINE}.with_warmup(5, start_lr=0.01)"),
    Case(f"{COSINE}.with_warmup(5, mode='cosine')"),
    Case(f"{COSINE}.with_warmup(5, start_lr=0.02, mode='cosine')"),
    Case(f"{COSINE}.with_warmup(5, mode='constant')"),
    Case(f"{COSINE}.with_warmup(5, start_lr=0.02, mode='constant')"),
    Case(f"{COSINE}.with_warmup(5, start_lr=0.3)"),
    Case(f"{COSINE}.with_warmup(5, start_lr=0.01).per_epoch(4)", {"epochs": 40}, EPOCHS),
    # To a schedule that does not begin at its initial rate, and to one that begins at 0.
    Case(f"{LINEAR}.with_warmup(5)"),
    Case("CyclicLR(0.0, 0.1, step_size_up=6).with_warmup(5)"),
    Case(f"{STEP}.with_warmup(3).with_warmup(4, start_lr=0.05)"),
    # Sequences, also within each other.
    Case(f"{LINEAR}.then({COSINE}, at=12).then({EXPONENTIAL}, at=25)"),
    Case(f"{STEP}.with_warmup(4).then({EXPONENTIAL}.with_warmup(6), at=20)"),
    Case(f"SequentialLR([{LINEAR}.then({STEP}, at=9), {EXPONENTIAL}], milestones=[21])"),
    Case(f"SequentialLR([{LINEAR}, {STEP}.then({EXPONENTIAL}, at=30)], milestones=[9])"),
    Case(f"{STEP}.then(ExponentialLR(0.05, gamma=0.9), at=9)"),
    Case(f"{STEP}.then(MultiplicativeLR(0.1, {(0.9,) * 8}, total_iters=8), at=9)"),
    Case(f"MultiplicativeLR(0.1, {FACTORS[1:9]}, total_iters=8).then({STEP}, at=9)"),
    Case(f"LambdaLR(0.1, {FACTORS}, total_iters=29).then(LambdaLR(0.1, {FACTORS[:5]}, 4), at=9)"),
    Case(f"{STEP}.then(OneCycleLR(1.6, total_steps=40, div_factor=16.0), at=9)"),
    Case(f"{STEP}.per_epoch(4).then({EXPONENTIAL}.per_epoch(4), at=20)", {}, EPOCHS),
    Case(f"{STEP}.per_epoch(4).then({EXPONENTIAL}.per_epoch(4), at=21)", {}, EPOCHS),
    # Chains that multiply in PyTorch as well, and chains that do not.
    Case(f"ChainedScheduler([{STEP}, {LINEAR}])"),
    Case(f"ChainedScheduler([{STEP}, {LINEAR}, {EXPONENTIAL}]).per_epoch(4)", {}, EPOCHS),
    Case(f"ChainedScheduler([{STEP}.per_epoch(4), {LINEAR}.per_epoch(4)])", {}, EPOCHS),
    Case(f"ChainedScheduler([{STEP}, {COSINE}])"),
    Case(f"ChainedScheduler([{STEP}, {LINEAR}]).with_warmup(3)"),
    # What PyTorch has nothing for.
    Case(f"{COSINE}.held_after(30)"),
    Case(f"{COSINE}.clipped(0.02, 0.08)"),
    Case(f"{COSINE}.clipped(0.02).per_epoch(4)", {}, EPOCHS),
    Case(f"{COSINE}.per_epoch(4).clipped(0.02)", {}, EPOCHS),
    Case(f"{COSINE}.per_epoch(4).with_warmup(10)", {}, EPOCHS),
    Case(f"({STEP}.then({COSINE}.held_after(20), at=6) * 0.5).with_warmup(3).per_epoch(4, True)"),
    Case("WarmupStableDecayLR(0.1, 6, 10, 12, '1-sqrt', '1-sqrt', min_lr_ratio=0.1)"),
    Case("WarmupStableDecayLR(0.1, 6, 10, 12, 'cosine', 'linear')"),
    Case("InverseSqrtLR(0.1, 0)"),
    Case("InterpolatedLR([3, 9, 25], [0.01, 0.1, 0.0], interpolation='cosine')"),
    Case("InterpolatedLR([3, 9, 25], [0.01, 0.1, 0.001], interpolation='log').per_epoch(4, True)"),
    # Cycles in every mode; one cycle within and beyond its length.
    Case("CyclicLR(0.001, 0.1, 4, 7, mode='triangular2')"),
    Case("CyclicLR(0.001, 0.1, 4, 7, mode='triangular2').per_epoch(4, smooth=True)"),
    Case("CyclicLR(0.001, 0.1, 4, 7, mode='exp_range', gamma=0.97).with_warmup(5)"),
    Case("CyclicLR(0.001, 0.1, 4, 7, mode='exp_range', gamma=0.97).held_after(30)"),
    Case(ONE_CYCLE, {"epochs": 5, "steps_per_epoch": 6}, 5, 6),
    Case(ONE_CYCLE, {"epochs": 10, "steps_per_epoch": 4}),
    Case("OneCycleLR(0.1, 30, anneal_strategy='linear', three_phase=True)", {}, 5, 6),
    Case("OneCycleLR(0.1, 30, three_phase=True)", {"epochs": 10, "steps_per_epoch": 4}),
    Case("OneCycleLR(0.1, 30, pct_start=1.0)", {}, 5, 6),
    # An epoch of the schedule that is none of the loader's, and SGD with momentum.
    Case(f"{STEP}.per_epoch(4)", {"epochs": 7, "steps_per_epoch": 6}, 7, 6),
    Case(f"{STEP}.per_epoch(4)", {"epochs": 10, "steps_per_epoch": 4, "momentum": 0.9}),
    # Tables: longer than a line, a staircase, and one of a single number.
    Case(f"LambdaLR(0.1, {FACTORS}, total_iters=29)"),
    Case(f"LambdaLR(0.1, {FACTORS}, total_iters=29).per_epoch(4, smooth=True)", {}, EPOCHS),
    Case(f"LambdaLR(0.1, {STAIRS}, total_iters=99)"),
    Case(f"MultiplicativeLR(0.1, {FACTORS[1:]}, total_iters=29)"),
    Case(f"MultiplicativeLR(0.1, {FACTORS[1:]}, total_iters=29).per_epoch(4, smooth=True)"),
    Case("LambdaLR(0.1, (0.5,), total_iters=0)"),
)


def cases() -> Iterator[Case]:
    for strategy in CATALOG.values():
        if strategy.is_schedule:
            # Without a known length the code has a OneCycleLR, which ends with its last step.
            ticks = 30 if strategy.name == "one cycle" else EPOCHS
            for form in (*IN_STEPS, *IN_EPOCHS):
                epochs = ticks if form in IN_EPOCHS else ticks // BATCHES
                yield Case(form.format(strategy.build()), {}, epochs)
    yield from COMPOSED


def trained(text: str, epochs: int, batches: int) -> Values:
    """The rate of each optimizer step while the code runs, whole and as it stands."""
    rates: list[float] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: rates.append(learning_rate(optimizer))
    )
    example = torch.zeros(1, 1)
    yours = {
        "model": torch.nn.Linear(1, 1),
        "loss_function": torch.nn.functional.mse_loss,
        "loader": [(example, example)] * batches,
        "epochs": epochs,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exec(text, yours)
    hook.remove()
    return np.array(rates)


def main() -> None:
    rows, texts, every = [], [], list(cases())
    for case in every:
        text = pytorch_snippet(keraslr.parse(case.expression), **case.told)
        row = trained(text, case.epochs, case.batches)
        if len(row) != case.epochs * case.batches or not np.isfinite(row).all():
            raise AssertionError(f"{case}: {len(row)} rates\n{text}")
        texts.append(text)
        rows.append(row)
    save(
        __file__,
        "snippets.npz",
        expressions=np.array([case.expression for case in every]),
        told=np.array([json.dumps(case.told) for case in every]),
        texts=np.array(texts),
        values=padded(rows),
    )


if __name__ == "__main__":
    main()
