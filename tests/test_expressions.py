"""Schedules from text: what is understood, and that nothing is run."""

from __future__ import annotations

import pytest

from keraslr import (
    ChainedScheduler,
    Clipped,
    CosineAnnealingLR,
    HeldAfter,
    LinearLR,
    OneCycleLR,
    PerEpoch,
    Scaled,
    SequentialLR,
    StepLR,
    Warmup,
    parse,
)

STEP = StepLR(0.1, step_size=30)


@pytest.mark.parametrize(
    ("text", "schedule"),
    [
        ("StepLR(0.1, 30)", STEP),
        ("  StepLR(initial_learning_rate=1e-1, step_size=30)\n", STEP),
        ("StepLR(0.1, 30).per_epoch(5, smooth=True)", PerEpoch(STEP, 5, True)),
        ("StepLR(0.1, 30).with_warmup(5)", Warmup(STEP, 5)),
        ("StepLR(0.1, 30).clipped(max_lr=0.05)", Clipped(STEP, 0.0, 0.05)),
        ("StepLR(0.1, 30).held_after(3)", HeldAfter(STEP, 3)),
        ("StepLR(0.1, 30).then(LinearLR(0.1), at=5)", SequentialLR([STEP, LinearLR(0.1)], [5])),
        ("2 * StepLR(0.1, 30)", Scaled(STEP, 2)),
        ("StepLR(0.1, 30) * 2", Scaled(STEP, 2)),
        ("ChainedScheduler([StepLR(0.1, 30), LinearLR(0.1)])",
         ChainedScheduler([STEP, LinearLR(0.1)])),
        ("ChainedScheduler((StepLR(0.1, 30),))", ChainedScheduler([STEP])),
        ("OneCycleLR(0.1, total_steps=50, anneal_strategy='linear', three_phase=True)",
         OneCycleLR(0.1, total_steps=50, anneal_strategy="linear", three_phase=True)),
        ("CosineAnnealingLR(0.3, T_max=15).held_after(15).with_warmup(5).per_epoch(235)",
         CosineAnnealingLR(0.3, 15).held_after(15).with_warmup(5).per_epoch(235)),
    ],
)  # fmt: skip
def test_what_is_understood(text, schedule):
    assert parse(text) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "0.1",
        "'StepLR'",
        "StepLR",
        "StepLR(0.1,",
        "StepLR(0.1, 30); StepLR(0.1, 30)",
        "steplr(0.1, 30)",
        "print('x')",
        "eval('1')",
        "__import__('os').system('true')",
        "StepLR(0.1, 30).__class__",
        "StepLR(0.1, 30).__init__(0.2)",
        "StepLR(0.1, 30).get_config()",
        "StepLR(0.1, 30)._set('gamma', 2)",
        "StepLR(0.1, len('abc'))",
        "StepLR(0.1, [n for n in (1, 2)][0])",
        "StepLR(0.1, (lambda: 30)())",
        "StepLR(0.1, f'{30}')",
        "StepLR(0.1, (n := 30))",
        "StepLR(0.1, 10**9)",
        "StepLR(*(0.1, 30))",
        "StepLR(**{'initial_learning_rate': 0.1})",
        "StepLR(0.1, 30) * StepLR(0.1, 30)",
        "2 * 3",
        "StepLR(0.1, 30) + StepLR(0.1, 30)",
        "'a'.per_epoch(3)",
        "StepLR(0.1, b'30')",
        "StepLR(0.1, 3j)",
        "StepLR(0.1, ...)",
        "\x00",
        "(" * 5000,
        "2 * " * 3000 + "StepLR(0.1, 30)",
        "StepLR(0.1, 30)" + ".held_after(1)" * 3000,
    ],
)
def test_what_is_refused(text):
    with pytest.raises(ValueError, match="a schedule must be written like"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("StepLR(-0.1, 30)", ValueError, "initial_learning_rate must be a number > 0"),
        ("StepLR(0.1, 2.5)", TypeError, "step_size must be an integer >= 1"),
        ("StepLR(0.1)", TypeError, "step_size"),
        ("StepLR(0.1, 30, speed=2)", TypeError, "speed"),
        ("StepLR(0.1, 30).held_after(-1)", ValueError, "t must be"),
    ],
)
def test_a_wrong_parameter_is_named(text, error, said):
    with pytest.raises(error, match=said):
        parse(text)


def test_only_text_is_parsed():
    with pytest.raises(TypeError, match="text must be a string"):
        parse(STEP)
