"""Each finding is found where it is, and not where it is not."""

from __future__ import annotations

import pytest

from keraslr import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    InverseSqrtLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    PiecewiseConstantLR,
    StepLR,
    WarmupStableDecayLR,
    check,
)

FULL = ConstantLR(0.1, factor=1.0)
SPE = 100  # steps per epoch


def codes(schedule, steps, steps_per_epoch=None):
    return [finding.code for finding in check(schedule, steps, steps_per_epoch)]


@pytest.mark.parametrize(
    ("schedule", "steps", "steps_per_epoch", "code"),
    [
        (MultiStepLR(0.1, [15, 30]), 30, None, "milestone-not-reached"),
        (MultiStepLR(0.1, [15, 30]).per_epoch(SPE), 30 * SPE, None, "milestone-not-reached"),
        (FULL.then(StepLR(0.1, 50), at=200), 200, None, "milestone-not-reached"),
        (PiecewiseConstantLR([100], [0.1, 0.01]), 101, None, "milestone-not-reached"),
        (FULL.with_warmup(200), 200, None, "warm-up-too-long"),
        (FULL.with_warmup(5).per_epoch(SPE), 5 * SPE, SPE, "warm-up-too-long"),
        (InverseSqrtLR(0.1, 200), 100, None, "warm-up-too-long"),
        (WarmupStableDecayLR(0.1, 200, 5, 5), 100, None, "warm-up-too-long"),
        (CosineAnnealingLR(0.1, 20), 22, None, "cosine-rises"),
        (CosineAnnealingLR(0.1, 20).per_epoch(SPE), 30 * SPE, SPE, "cosine-rises"),
        (CosineAnnealingLR(0.1, 20).with_warmup(5), 27, None, "cosine-rises"),
        (ChainedScheduler([LinearLR(0.1), CosineAnnealingLR(0.1, 20)]), 30, None, "cosine-rises"),
        (OneCycleLR(0.1, total_steps=100), 99, None, "one-cycle-length"),
        (OneCycleLR(0.1, total_steps=100), 101, None, "one-cycle-length"),
        (FULL.then(OneCycleLR(0.1, total_steps=100), at=50), 100, None, "one-cycle-length"),
        (OneCycleLR(0.1, total_steps=100).momentum_schedule(), 99, None, "one-cycle-length"),
        (CyclicLR(0.1, 0.5, 10).momentum_schedule(), 30 * SPE, SPE, "per-epoch-driven-per-step"),
        (FULL.with_warmup(1).per_epoch(SPE), 5 * SPE, None, "rate-zero"),
        (LinearLR(0.1, 1.0, 0.0, total_iters=5).per_epoch(SPE), 7 * SPE, SPE, "rate-zero"),
        (ExponentialLR(0.1, 0.5), 10 * SPE, SPE, "rate-zero"),
        (CosineAnnealingLR(0.1, 30).held_after(30), 30 * SPE, SPE, "per-epoch-driven-per-step"),
        (StepLR(0.1, 10), 30 * SPE, SPE, "per-epoch-driven-per-step"),
        (MultiStepLR(0.1, [10, 20]), 30 * SPE, SPE, "per-epoch-driven-per-step"),
        (FULL.with_warmup(5), 30 * SPE, SPE, "per-epoch-driven-per-step"),
        (CosineAnnealingLR(0.1, 3000).per_epoch(SPE), 30 * SPE, SPE, "per-step-driven-per-epoch"),
        (OneCycleLR(0.1, total_steps=3000).per_epoch(SPE), 30 * SPE, SPE,
         "per-step-driven-per-epoch"),
        (StepLR(0.1, 10).per_epoch(SPE), 30 * SPE, SPE + 1, "epoch-length"),
    ],
    ids=lambda value: None if isinstance(value, int) else getattr(value, "__name__", None),
)  # fmt: skip
def test_a_finding_is_found(schedule, steps, steps_per_epoch, code):
    assert code in codes(schedule, steps, steps_per_epoch)


@pytest.mark.parametrize(
    ("schedule", "steps", "steps_per_epoch"),
    [
        (MultiStepLR(0.1, [15, 30]), 31, None),
        (MultiStepLR(0.1, [15, 30]).per_epoch(SPE), 30 * SPE + 1, SPE),
        (FULL.then(StepLR(0.1, 50), at=200), 201, None),
        (PiecewiseConstantLR([100], [0.1, 0.01]), 102, None),
        (FULL.with_warmup(200), 201, None),
        (InverseSqrtLR(0.1, 200), 300, None),
        (CosineAnnealingLR(0.1, 20), 21, None),
        (CosineAnnealingLR(0.1, 20).held_after(20), 100, None),
        (CosineAnnealingLR(0.1, 3000), 30 * SPE, SPE),
        (CosineAnnealingLR(0.1, 30).per_epoch(SPE), 30 * SPE, SPE),
        (CosineAnnealingLR(0.1, 30).per_epoch(SPE, smooth=True), 30 * SPE, SPE),
        (CosineAnnealingLR(0.1, 25).with_warmup(5, start_lr=0.01).per_epoch(SPE), 30 * SPE, SPE),
        (CosineAnnealingLR(0.1, 2500).with_warmup(500), 30 * SPE, SPE),
        (OneCycleLR(0.1, total_steps=3000), 30 * SPE, SPE),
        (FULL.then(OneCycleLR(0.1, total_steps=100), at=50), 150, None),
        (StepLR(0.1, 10).per_epoch(SPE), 30 * SPE, SPE),
        (OneCycleLR(0.1, total_steps=30 * SPE).momentum_schedule(), 30 * SPE, SPE),
        # A momentum of 0 is plain gradient descent, and no epoch without learning.
        (OneCycleLR(0.1, total_steps=30 * SPE).momentum_schedule(0.0, 0.0), 30 * SPE, SPE),
        (ExponentialLR(0.1, 0.9).per_epoch(SPE), 30 * SPE, SPE),
        (FULL, 30 * SPE, SPE),
    ],
    ids=lambda value: None if isinstance(value, int) else repr(value)[:60],
)
def test_a_good_schedule_has_no_findings(schedule, steps, steps_per_epoch):
    assert codes(schedule, steps, steps_per_epoch) == []


def test_a_finding_reads_as_a_sentence():
    (finding,) = check(MultiStepLR(0.1, [15, 30]), 30)
    assert str(finding) == "MultiStepLR never reaches 30: its last tick is t = 29."


def test_a_zero_rate_says_where():
    (finding,) = check(FULL.with_warmup(2).per_epoch(SPE), 4 * SPE, SPE)
    assert "from step 0 to step 99" in str(finding)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((0.1, 10), TypeError, "schedule must be a keraslr schedule"),
        ((FULL, 0), ValueError, "steps must be"),
        ((FULL, 1.5), TypeError, "steps must be"),
        ((FULL, 10, 0), ValueError, "steps_per_epoch must be"),
    ],
)
def test_bad_arguments_are_named(arguments, error, said):
    with pytest.raises(error, match=said):
        check(*arguments)


def test_a_long_run_is_checked_in_an_instant():
    assert codes(CosineAnnealingLR(0.1, 10**9).per_epoch(1), 10**9, 1000) != []
    assert codes(CosineAnnealingLR(0.1, 10**9), 10**9) == []
