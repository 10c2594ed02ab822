"""The weights of past gradients are those that the optimizers themselves give them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from keraslr.published._curves import weights
from keraslr.published._parts import read_data
from keraslr.smoothing import effective_samples, mean_weights, momentum_weights

# The plotted ones, with what is known of them and the optimizer that has such weights.
CURVES = [
    (momentum_weights if curve["optimizer"] == "momentum" else mean_weights, curve)
    for curve in read_data("curves")["curves"]
    if curve["kind"] == "weights"
]
LINES = [
    pytest.param(function, line, id=f"{function.__name__}-{line['value']}")
    for function, curve in CURVES
    for line in curve["lines"]
]


def test_both_kinds_of_weights_are_plotted():
    assert {function.__name__ for function, _ in CURVES} == {"momentum_weights", "mean_weights"}
    assert len(LINES) == 8


@pytest.mark.parametrize(("function", "line"), LINES)
def test_the_plotted_weights_are_met(function, line):
    got = function(line["value"], 40)
    for steps, expected in line["points"].items():
        assert got[int(steps)] == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("function", "curve"), CURVES, ids=["momentum", "RMSprop"])
def test_an_optimizer_weighs_its_gradients_so(function, curve):
    arguments = {key: curve[key] for key in ("optimizer", "argument", "read")}
    measured = weights(**arguments, ticks=12, lines=curve["lines"])
    for line in curve["lines"]:
        np.testing.assert_allclose(
            function(line["value"], 12), measured[line["label"]], rtol=1e-6, atol=1e-12
        )


@pytest.mark.parametrize("function", [momentum_weights, mean_weights])
def test_weights_are_doubles_of_the_length_that_was_asked_for(function):
    for n in (0, 1, 7):
        got = function(0.9, n)
        assert got.dtype == np.float64
        assert got.shape == (n,)


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99])
def test_weights_add_up_to_the_effective_samples(beta):
    # Those beyond the n-th are beta ** n of the whole.
    n = 4000
    assert momentum_weights(beta, n).sum() == pytest.approx(effective_samples(beta), rel=1e-12)
    assert mean_weights(beta, n).sum() == pytest.approx(1.0, rel=1e-12)
    assert mean_weights(beta, 10).sum() == pytest.approx(1 - beta**10, rel=1e-12)


def test_values_worked_out_by_hand():
    assert momentum_weights(0.1, 3).tolist() == pytest.approx([1, 0.1, 0.01], rel=1e-15)
    assert mean_weights(0.1, 3).tolist() == pytest.approx([0.9, 0.09, 0.009], rel=1e-15)
    assert momentum_weights(0.0, 3).tolist() == [1, 0, 0]
    assert mean_weights(0, 3).tolist() == [1, 0, 0]
    assert effective_samples(0) == 1
    assert effective_samples(0.9) == pytest.approx(10)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: momentum_weights(1.0, 3), ValueError, "beta must be a number >= 0 and < 1. Rec"),
        (lambda: momentum_weights(-0.1, 3), ValueError, "beta must be .* Received: beta=-0.1"),
        (lambda: momentum_weights("0.9", 3), TypeError, "beta must be a number"),
        (lambda: momentum_weights(0.9, -1), ValueError, "n must be an integer >= 0. Received: n=-"),
        (lambda: momentum_weights(0.9, 3.0), TypeError, "n must be an integer >= 0"),
        (lambda: mean_weights(1.0, 3), ValueError, "gamma must be a number >= 0 and < 1"),
        (lambda: mean_weights(math.nan, 3), ValueError, "gamma must be a number"),
        (lambda: mean_weights(0.9, True), TypeError, "n must be an integer >= 0"),
        (lambda: effective_samples(1), ValueError, "beta must be a number >= 0 and < 1"),
    ],
    ids=range(9),
)
def test_what_is_wrong_is_named(call, error, text):
    with pytest.raises(error, match=text):
        call()
