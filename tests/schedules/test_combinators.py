"""Combinators of schedules, their methods, and settings that contradict each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keraslr import (
    ChainedScheduler,
    Clipped,
    CycledMomentum,
    CyclicLR,
    ExponentialLR,
    FactorLR,
    HeldAfter,
    InverseSqrtLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PerEpoch,
    PiecewiseConstantLR,
    Scaled,
    SequentialLR,
    StepLR,
    Warmup,
)

# Combinators and their methods.

FALL = LinearLR(0.8, start_factor=1.0, end_factor=0.0, total_iters=4)  # 0.8 0.6 0.4 0.2 0
HALVED = ExponentialLR(0.8, gamma=0.5)  # 0.8 0.4 0.2 0.1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (FALL.per_epoch(2), [0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2]),
        (FALL.per_epoch(2, smooth=True), [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]),
        (FALL.per_epoch(1), [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        (FALL.per_epoch(2).per_epoch(2), [0.8] * 4 + [0.6] * 4 + [0.4] * 4),
        (FALL.per_epoch(2, True).per_epoch(2), [0.8, 0.8, 0.7, 0.7, 0.6, 0.6]),
        (FALL.per_epoch(2, True).per_epoch(2, True), [0.8, 0.75, 0.7, 0.65, 0.6]),
        (StepLR(0.8, 1, 0.5).per_epoch(2, smooth=True), [0.8, 0.8, 0.4, 0.4, 0.2]),
        (HALVED.per_epoch(2, smooth=True), [0.8, 0.8 * 0.5**0.5, 0.4, 0.4 * 0.5**0.5]),
        (FALL.with_warmup(4), [0.0, 0.2, 0.4, 0.6, 0.8, 0.6, 0.4]),
        (FALL.with_warmup(4, start_lr=0.4), [0.4, 0.5, 0.6, 0.7, 0.8, 0.6]),
        (FALL.with_warmup(2, start_lr=1.0), [1.0, 0.9, 0.8, 0.6]),
        (FALL.with_warmup(2, 0.1, "constant"), [0.1, 0.1, 0.8, 0.6]),
        (FALL.with_warmup(2, 0.4, mode="cosine"), [0.4, 0.6, 0.8, 0.6]),
        (
            FALL.with_warmup(4, mode="cosine"),
            [0.4 * (1 - math.cos(math.pi * x / 4)) for x in range(5)],
        ),
        (FALL.with_warmup(2).per_epoch(2), [0.0, 0.0, 0.4, 0.4, 0.8, 0.8, 0.6]),
        (FALL.with_warmup(2).per_epoch(2, True), [0.0, 0.2, 0.4, 0.6, 0.8, 0.7, 0.6]),
        (FALL.per_epoch(2).with_warmup(2), [0.0, 0.4, 0.8, 0.8, 0.6, 0.6]),
        (FALL.then(HALVED, at=2), [0.8, 0.6, 0.8, 0.4, 0.2]),
        (FALL.then(HALVED, at=2).then(FALL, at=3), [0.8, 0.6, 0.8, 0.8, 0.6]),
        (FALL.then(HALVED.with_warmup(2), at=1), [0.8, 0.0, 0.4, 0.8, 0.4]),
        (FALL.then(HALVED, at=2).per_epoch(2, True), [0.8, 0.7, 0.6, 0.5, 0.8]),
        (FALL * 0.5, [0.4, 0.3, 0.2, 0.1, 0.0]),
        (3 * FALL, [2.4, 1.8, 1.2, 0.6, 0.0]),
        (0.5 * FALL * 0.5, [0.2, 0.15, 0.1]),
        (FALL.clipped(), [0.8, 0.6, 0.4, 0.2, 0.0]),
        (FALL.clipped(0.3), [0.8, 0.6, 0.4, 0.3, 0.3]),
        (FALL.clipped(max_lr=0.5), [0.5, 0.5, 0.4, 0.2, 0.0]),
        (FALL.clipped(0.3, 0.5), [0.5, 0.5, 0.4, 0.3, 0.3]),
        (FALL.clipped(0.3, 0.3), [0.3, 0.3, 0.3, 0.3]),
        (FALL.held_after(2), [0.8, 0.6, 0.4, 0.4, 0.4]),
        (FALL.held_after(0), [0.8, 0.8, 0.8]),
        (FALL.held_after(1).per_epoch(2, True), [0.8, 0.7, 0.6, 0.6, 0.6, 0.6]),
        (FALL.per_epoch(2, True).held_after(3), [0.8, 0.7, 0.6, 0.5, 0.5, 0.5]),
        (ChainedScheduler([FALL, HALVED]), [0.8, 0.3, 0.1, 0.025, 0.0]),
        (ChainedScheduler([FALL]), [0.8, 0.6, 0.4]),
        (ChainedScheduler([FALL, FALL.with_warmup(2)]), [0.0, 0.3, 0.4, 0.15]),
        (SequentialLR([FALL], []), [0.8, 0.6, 0.4]),
        (MultiStepLR(0.8, []), [0.8, 0.8, 0.8]),
        (MultiStepLR(0.8, [0, 2, 2], 0.5), [0.4, 0.4, 0.1]),
        (PiecewiseConstantLR([], [0.8]), [0.8, 0.8]),
        (PiecewiseConstantLR([0, 2], [0.3, 0.2, 0.1]), [0.3, 0.2, 0.2, 0.1]),
        (LambdaLR(0.8, [0.5], total_iters=0), [0.4, 0.4]),
        (CyclicLR(0.3, 0.3, mode="exp_range", gamma=2.0), [0.3, 0.3]),
        (CyclicLR(0.3, 0.3, mode="triangular2"), [0.3, 0.3]),
        (InverseSqrtLR(0.8, 0, timescale=1), [0.8, 0.8 / 2**0.5, 0.8 / 3**0.5, 0.4]),
        (FactorLR(0.8, 0.5, stop_factor_lr=1.0), [1.0, 1.0]),
    ],
    ids=str,
)
def test_combinators_and_corner_cases_give(schedule, expected):
    np.testing.assert_allclose(schedule.values(len(expected)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (FALL.per_epoch(3), PerEpoch(FALL, steps_per_epoch=3, smooth=False)),
        (FALL.per_epoch(3, smooth=True), PerEpoch(FALL, 3, True)),
        (FALL.with_warmup(5), Warmup(FALL, steps=5, start_lr=0.0, mode="linear")),
        (FALL.with_warmup(5, 0.1, "cosine"), Warmup(FALL, 5, 0.1, "cosine")),
        (FALL.then(HALVED, at=3), SequentialLR((FALL, HALVED), (3,))),
        (
            FALL.then(HALVED, at=3).then(FALL, at=5).then(HALVED, at=9),
            SequentialLR((FALL, HALVED, FALL, HALVED), (3, 5, 9)),
        ),
        # What comes after may be a sequence itself, with a clock of its own: that one stays.
        (
            FALL.then(HALVED.then(FALL, at=2), at=3),
            SequentialLR((FALL, SequentialLR((HALVED, FALL), (2,))), (3,)),
        ),
        (FALL.clipped(0.1, 0.5), Clipped(FALL, min_lr=0.1, max_lr=0.5)),
        (FALL.clipped(), Clipped(FALL, 0.0, None)),
        (FALL.held_after(3), HeldAfter(FALL, t=3)),
        (FALL * 2, Scaled(FALL, factor=2.0)),
        (2 * FALL, Scaled(FALL, 2.0)),
        # The defaults of PyTorch, which are not the same for both.
        (OneCycleLR(1.0, 9).momentum_schedule(), CycledMomentum(OneCycleLR(1.0, 9), 0.85, 0.95)),
        (CyclicLR(0.1, 1.0).momentum_schedule(), CycledMomentum(CyclicLR(0.1, 1.0), 0.8, 0.9)),
        (
            CyclicLR(0.1, 1.0).momentum_schedule(0.5, max_momentum=0.6).per_epoch(3),
            PerEpoch(CycledMomentum(CyclicLR(0.1, 1.0), 0.5, 0.6), 3),
        ),
    ],
)
def test_methods_are_short_for_classes(short, long):
    assert short == long


@pytest.mark.parametrize("at", [3, 2])
def test_a_chain_of_then_goes_forwards(at):
    with pytest.raises(ValueError, match=rf"milestones must be .*increasing.*\(3, {at}\)"):
        FALL.then(HALVED, at=3).then(FALL, at=at)


@pytest.mark.parametrize("factor", ["2", None, FALL, [2], True], ids=repr)
def test_only_numbers_multiply_a_schedule(factor):
    with pytest.raises(TypeError, match="factor must be a number > 0"):
        FALL * factor


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: CyclicLR(0.2, 0.1),
            r"max_lr must be >= base_lr. Received: max_lr=0.1, base_lr=0.2",
        ),
        (
            lambda: CyclicLR(0.1, 0.2).momentum_schedule(0.9, 0.8),
            r"max_momentum must be >= base_momentum. Received: max_momentum=0.8, base_momentum=0.9",
        ),
        (
            lambda: OneCycleLR(0.1),
            (
                r"total_steps must be given, or both epochs and steps_per_epoch. "
                r"Received: epochs=None, steps_per_epoch=None"
            ),
        ),
        (lambda: OneCycleLR(0.1, epochs=3), r"total_steps must be given.*epochs=3"),
        (lambda: OneCycleLR(0.1, steps_per_epoch=3), r"total_steps must be given"),
        (
            lambda: OneCycleLR(0.1, total_steps=10, epochs=3, steps_per_epoch=4),
            r"total_steps must equal epochs \* steps_per_epoch.*total_steps=10, epochs=3",
        ),
        (
            lambda: OneCycleLR(0.1, epochs=2**20, steps_per_epoch=2**20),
            r"total_steps must be .*<= 1073741823. Received: total_steps=1099511627776",
        ),
        (
            lambda: OneCycleLR(0.1, total_steps=10, pct_start=0.1),
            r"pct_start \* total_steps must not be 1.*pct_start=0.1, total_steps=10",
        ),
        (
            lambda: OneCycleLR(0.1, epochs=2, steps_per_epoch=5, pct_start=0.1),
            r"pct_start \* total_steps must not be 1",
        ),
        (
            lambda: OneCycleLR(0.1, 20, div_factor=1e-20, final_div_factor=1e-20),
            r"div_factor and final_div_factor must keep the rates within float32's range.*1e-20",
        ),
        (
            lambda: OneCycleLR(1e30, 20, div_factor=1e-20),
            r"div_factor .*must keep the rates within float32's range.*div_factor=1e-20",
        ),
        (
            lambda: PiecewiseConstantLR([1, 2], [0.1, 0.2]),
            r"rates must hold one number more than boundaries. Received: 2 rates, 2 boundaries",
        ),
        (
            lambda: SequentialLR([FALL, HALVED], [1, 2]),
            r"milestones must hold one integer less .* Received: 2 milestones, 2 schedules",
        ),
        (
            lambda: ChainedScheduler([FALL, ExponentialLR(0.1, 0.5)]),
            (
                r"schedules must share one initial learning rate. Received: LinearLR with 0.8, "
                r"ExponentialLR with 0.1"
            ),
        ),
        (
            lambda: ChainedScheduler([FALL, CyclicLR(0.1, 0.8)]),
            r"schedules must share one initial learning rate. .*CyclicLR with none",
        ),
        (
            lambda: Clipped(FALL, 0.5, 0.1),
            r"max_lr must be >= min_lr. Received: max_lr=0.1, min_lr=0.5",
        ),
        (
            lambda: LambdaLR(0.1, [1.0, 0.5], total_iters=2),
            (
                r"lr_lambda must be a function or hold a number for each t = 0\.\.2, 3 in all. "
                r"Received: 2 numbers"
            ),
        ),
        (
            lambda: MultiplicativeLR(0.1, [1.0, 0.5, 0.1], total_iters=2),
            r"lr_lambda must be .* for each t = 1\.\.2, 2 in all. Received: 3 numbers",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_one_cycle_takes_its_length_in_either_way():
    in_epochs = OneCycleLR(0.1, epochs=5, steps_per_epoch=8)
    assert (in_epochs.length, in_epochs.total_steps) == (40, 40)
    np.testing.assert_array_equal(in_epochs.values(50), OneCycleLR(0.1, 40).values(50))


@pytest.mark.parametrize(
    ("schedule", "base"),
    [
        (FALL, 0.8),
        (FALL.per_epoch(2), 0.8),
        (FALL.with_warmup(2), 0.8),
        (FALL.clipped(0.1), 0.8),
        (FALL.held_after(2), 0.8),
        (FALL * 0.5, 0.4),
        (CyclicLR(0.1, 0.8) * 0.5, None),
        (FALL.then(HALVED, at=2), 0.8),
        (FALL.then(ExponentialLR(0.1, 0.5), at=2), None),
        (FALL.then(CyclicLR(0.1, 0.8), at=2), None),
        (ChainedScheduler([FALL, HALVED]), 0.8),
        (CyclicLR(0.1, 0.8), None),
        (OneCycleLR(0.1, 10), None),
        (OneCycleLR(0.1, 10).momentum_schedule(), None),
        (PiecewiseConstantLR([], [0.1]), None),
    ],
    ids=str,
)
def test_base_learning_rate_is_what_factors_multiply(schedule, base):
    assert schedule.base_learning_rate == base


# LambdaLR and MultiplicativeLR keep the numbers of a function.


@pytest.mark.parametrize(
    ("cls", "ticks"), [(LambdaLR, [0, 1, 2, 3]), (MultiplicativeLR, [1, 2, 3])]
)
def test_functions_are_called_once_for_each_tick_and_never_again(cls, ticks):
    called = []

    def half(t):
        called.append(t)
        return np.float32(0.5)

    schedule = cls(0.1, half, total_iters=3)
    schedule.values(10)
    assert called == ticks
    assert {type(t) for t in called} == {int}
    assert schedule.lr_lambda == (0.5,) * len(ticks)
    assert cls(0.1, [0.5] * len(ticks), total_iters=3) == schedule


@pytest.mark.parametrize("value", [-1.0, math.nan, None, "1", 1e300], ids=repr)
def test_what_a_function_returns_is_checked(value):
    with pytest.raises((TypeError, ValueError), match=r"lr_lambda\[2\] must be a number >= 0"):
        LambdaLR(0.1, lambda t: value if t == 2 else 1.0, total_iters=3)


def test_an_error_in_a_function_reaches_the_person():
    with pytest.raises(ZeroDivisionError):
        LambdaLR(0.1, lambda t: 1 / t, total_iters=3)
    assert MultiplicativeLR(0.1, lambda t: 1 / t, total_iters=3).lr_lambda[0] == 1.0
