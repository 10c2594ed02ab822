"""InterpolatedLR: exact at its milestones, a known curve between them."""

from __future__ import annotations

import numpy as np
import pytest
from measured import array

import keraslr
from keraslr import InterpolatedLR

every_curve = pytest.mark.parametrize("curve", ["linear", "cosine", "log"])


@every_curve
def test_milestones_have_exactly_their_rates(curve):
    draw = np.random.default_rng(7)
    milestones = np.unique(draw.integers(0, 2**30 - 1, 200))
    rates = 10.0 ** draw.uniform(-6, 2, len(milestones))
    schedule = InterpolatedLR(milestones, rates, curve)
    np.testing.assert_array_equal(array(schedule(milestones)), rates.astype(np.float32))
    dense = InterpolatedLR(range(200), rates[:200], curve)
    np.testing.assert_array_equal(dense.values(200), rates[:200].astype(np.float32))
    late = schedule.per_epoch(1, smooth=True)
    np.testing.assert_array_equal(array(late(milestones)), rates.astype(np.float32))


@every_curve
def test_rates_are_kept_before_the_first_and_after_the_last_milestone(curve):
    schedule = InterpolatedLR([3, 5], [0.1, 0.2], curve)
    np.testing.assert_array_equal(schedule.values(4), np.float32(0.1))
    np.testing.assert_array_equal(schedule.values(4, start=5), np.float32(0.2))
    np.testing.assert_array_equal(InterpolatedLR([3], [0.1], curve).values(9), np.float32(0.1))


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ("linear", [0.1, 0.0775, 0.055, 0.0325, 0.01]),
        ("cosine", [0.1, 0.01 + 0.09 * (2 + 2**0.5) / 4, 0.055, 0.01 + 0.09 * (2 - 2**0.5) / 4]),
        ("log", [0.1, 0.1 * 10**-0.25, 0.1 * 10**-0.5, 0.1 * 10**-0.75, 0.01]),
    ],
)
def test_the_curve_within_an_epoch_is_the_one_between_epochs(curve, expected):
    steps = len(expected)
    schedule = InterpolatedLR([0, 4], [0.1, 0.01], curve)
    np.testing.assert_allclose(schedule.values(steps), expected, rtol=2e-6, atol=0)
    smooth = InterpolatedLR([0, 1], [0.1, 0.01], curve).per_epoch(4, smooth=True)
    np.testing.assert_allclose(smooth.values(steps), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize("length", [1, 2, 63, 1000, 10**6])
@pytest.mark.parametrize(
    "ends", [(1e-30, 1e-18), (1e-18, 1e-30), (1e-30, 1e3), (1e3, 1e-30), (1e-9, 1e3), (0.1, 0.1)]
)
def test_a_logarithmic_curve_keeps_its_digits_over_many_powers_of_ten(length, ends):
    """At whole ticks wherever the ends are, and within a tick over twelve powers of ten."""
    schedule = InterpolatedLR([5, 5 + length], ends, "log")
    ticks = np.unique(np.linspace(0, length, 999).astype(int))
    low, high = np.log(np.array(ends))
    expected = np.exp(low + (high - low) * ticks / length)
    np.testing.assert_allclose(array(schedule(ticks + 5)), expected, rtol=2e-6, atol=0)
    if length > 1 or max(ends) / min(ends) <= 1e12:
        steps = np.arange(1000)
        smooth = InterpolatedLR([0, length], ends, "log").per_epoch(1000, smooth=True)
        expected = np.exp(low + (high - low) * steps / (1000 * length))
        np.testing.assert_allclose(smooth.values(1000), expected, rtol=2e-6, atol=0)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1, 2], [0.1]), "rates must hold one number for each milestone. Received: 1 rates, 2 m"),
        (([], []), "rates must be a sequence of at least 1"),
        (([1, 2], [0.1, 0.0], "log"), r'rates must be > 0 with interpolation="log".*rates\[1\]=0'),
    ],
)
def test_rates_that_do_not_fit_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        InterpolatedLR(*arguments)


def test_a_milestone_after_the_end_is_found():
    (finding,) = keraslr.check(InterpolatedLR([0, 5, 30], [0.1, 0.2, 0.1]), 30)
    assert finding.code == "milestone-not-reached"
    assert keraslr.check(InterpolatedLR([0, 5, 30], [0.1, 0.2, 0.1]), 31) == []
