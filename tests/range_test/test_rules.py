"""The rules that suggest a rate, on curves with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from swept import (
    RATES,
    curve,
    known_curve,
)

from keraslr import RangeTest
from keraslr.range_test._rules import _longest_decrease


def test_the_rules_on_a_curve_with_known_answers():
    result = curve(known_curve())
    assert RATES[35] <= result.steepest <= RATES[40]
    assert result.valley == pytest.approx(np.sqrt(RATES[20] * RATES[40]))
    assert result.minimum_over_ten == pytest.approx(0.01)
    assert list(result.suggestions) == ["steepest", "valley", "minimum over ten"]
    assert list(result.suggestions.values()) == [
        result.steepest, result.valley, result.minimum_over_ten,
    ]  # fmt: skip


def test_a_linear_sweep_reads_the_same_steps_and_takes_the_arithmetic_mean():
    rates = np.linspace(0.1, 6.1, 61)
    result = curve(known_curve(), "linear", rates)
    assert rates[35] <= result.steepest <= rates[40]
    assert result.valley == pytest.approx((rates[20] + rates[40]) / 2)
    assert result.minimum_over_ten == pytest.approx(rates[40] / 10)


@pytest.mark.parametrize("shift", range(-15, 16, 5))
@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_a_curve_elsewhere_has_its_suggestions_there(shift, scale):
    """Later by n steps: the rates are n steps higher. Higher and larger: the same rates."""
    moved = scale * np.interp(np.arange(61) - shift, np.arange(61), known_curve()) + 7
    there, here = curve(moved), curve(known_curve())
    factor = 10 ** (shift / 10)
    assert there.steepest == pytest.approx(factor * here.steepest)
    assert there.valley == pytest.approx(factor * here.valley)
    assert there.minimum_over_ten == pytest.approx(factor * here.minimum_over_ten)


def test_a_fall_after_the_minimum_is_not_the_steepest():
    """A loss that has exploded also comes down again."""
    exploded = known_curve()
    exploded[50:] = np.linspace(100, 20, 11)
    assert curve(exploded).steepest == curve(known_curve()).steepest


@pytest.mark.parametrize("seed", range(50))
def test_the_longest_decrease_is_the_longest(seed):
    values = np.random.default_rng(seed).integers(0, 12, 14).astype(float)
    lengths = [1] * len(values)  # of the longest decrease that ends there
    for j in range(len(values)):
        for i in range(j):
            if values[i] > values[j]:
                lengths[j] = max(lengths[j], lengths[i] + 1)
    assert _longest_decrease(values) == (max(lengths), int(np.argmax(lengths)))


@pytest.mark.parametrize(
    ("losses", "stopped", "said"),
    [
        (np.full(61, 2.3), "finished", "the loss never fell: raise max_lr or steps"),
        (np.linspace(2, 5, 61), "finished", "never fell before it rose: lower min_lr"),
        (np.geomspace(2, 90, 40), "diverged", "never fell before it rose: lower min_lr"),
        (np.array([2, 1.9, 1.8, 1.7, 1.6, 1, 30, 90.0]), "diverged", "diverged within 8 steps"),
        (np.array([np.nan]), "diverged", "diverged within 1 steps"),
    ],
)
def test_without_a_fall_there_is_no_suggestion_but_a_reason(losses, stopped, said):
    result = curve(losses, stopped=stopped)
    assert set(result.suggestions.values()) == {None}
    assert (result.steepest, result.valley, result.minimum_over_ten) == (None, None, None)
    assert said in result.problem
    assert result.problem in str(result)
    assert repr(result) == str(result)


@pytest.mark.parametrize("smoothing", [0.0, 0.5, 0.8, 0.95])
def test_noise_is_not_taken_for_a_fall_nor_a_fall_for_noise(smoothing):
    def suggested(fall, seed):
        losses = fall + np.random.default_rng(seed).normal(size=100)
        back = np.subtract.outer(np.arange(100), np.arange(100))
        weights = np.where(back >= 0, smoothing ** np.maximum(back, 0), 0)
        smoothed = weights @ losses / weights.sum(axis=1)
        rates = np.geomspace(1e-6, 10, 100)
        return not RangeTest(rates, losses, smoothed, smoothing=smoothing).problem

    fall = -8 / (1 + np.exp((60 - np.arange(100)) / 4))  # eight times the noise
    assert sum(suggested(0, seed) for seed in range(100)) <= 3
    assert sum(suggested(fall, seed) for seed in range(100)) == 100


def test_the_text_is_short_and_has_the_rates():
    result = curve(known_curve())
    assert str(result).splitlines() == [
        "Range test of 61 steps from 1e-05 to 10, where the sweep ended. Suggested rates:",
        f"  steepest: {result.steepest:.3g}",
        "  valley: 0.01",
        "  minimum over ten: 0.01",
    ]
