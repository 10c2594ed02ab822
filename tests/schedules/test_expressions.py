"""Schedules from text: what is understood, and that nothing is run."""

from __future__ import annotations

import pytest
from strategies import EXAMPLES

from keraslr import (
    ChainedScheduler,
    Clipped,
    CosineAnnealingLR,
    CycledMomentum,
    CyclicLR,
    HeldAfter,
    LambdaLR,
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
        ("OneCycleLR(0.1, total_steps=200).momentum_schedule(0.85, 0.95)",
         CycledMomentum(OneCycleLR(0.1, total_steps=200), 0.85, 0.95)),
        ("CyclicLR(0.1, 0.5).momentum_schedule(max_momentum=0.99).per_epoch(5)",
         PerEpoch(CycledMomentum(CyclicLR(0.1, 0.5), 0.8, 0.99), 5)),
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
        "StepLR(0.1, 30).momentum_schedule()",
        "OneCycleLR(0.1, 30).per_epoch(2).momentum_schedule(0.8, 0.9)",
        "OneCycleLR(0.1, 30).momentum_schedule",
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
        ("OneCycleLR(0.1, 30).momentum_schedule(0.8, 1)", ValueError, "max_momentum must be"),
        (
            "StepLR(0.1, 30).momentum_schedule()",
            ValueError,
            "momentum_schedule, which StepLR lacks",
        ),
    ],
)
def test_a_wrong_parameter_is_named(text, error, said):
    with pytest.raises(error, match=said):
        parse(text)


def test_only_text_is_parsed():
    with pytest.raises(TypeError, match="text must be a string"):
        parse(STEP)


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
def test_every_repr_is_understood(schedule):
    assert parse(repr(schedule)) == schedule


@pytest.mark.parametrize(
    ("text", "why"),
    [
        # One deeper than the arguments of the innermost call may be.
        ("StepLR(0.1, 30)" + " * 1" * 100, "nested too deeply"),
        ("2 * " * 900 + "StepLR(0.1, 30)", "nested too deeply"),
        ("StepLR(0.1, 30)" + ".per_epoch(2)" * 500, "nested too deeply"),
        ("StepLR(0.1, " + "[" * 150 + "]" * 150 + ")", "nested too deeply"),
        # So deep that Python's own parser gives up, or in Python 3.10 crashes.
        ("StepLR(0.1, 30)" + ".held_after(1)" * 100_000, "too long"),
        ("1-" * 100_000 + "1", "too long"),
        ("StepLR(0.1, 30)" + "[0]" * 100_000, "too long"),
        ("-" * 40_000 + "1", "not a Python expression"),
        ("not " * 100_000 + "1", "too long"),
    ],
    ids=lambda value: value[:20],
)
def test_depth_is_refused_before_it_does_harm(text, why):
    with pytest.raises(ValueError, match=f"this is {why}") as caught:
        parse(text)
    assert len(str(caught.value)) < 400


def test_a_hundred_levels_are_understood():
    assert parse("StepLR(0.1, 30)" + " * 1" * 99).values(1) == STEP.values(1)


def test_a_long_table_is_no_depth():
    schedule = LambdaLR(0.1, lambda t: 1e-6 / (1 + t) ** 3, total_iters=20_000)
    assert len(repr(schedule)) > 400_000
    assert parse(repr(schedule)) == schedule


@pytest.mark.parametrize(
    "text",
    [
        "StepLR(0.1, 30)",
        "StepLR(0.1, 30) * 2",
        "eval('1')",
        "StepLR(0.1, eval('30'))",
        "__import__('os').system('true')",
        "StepLR(0.1, 30).then(exec('1'), at=2)",
        "LambdaLR(0.1, 'lambda t: exec(str(t))', 3)",
        "LambdaLR(0.1, eval, 3)",
        "LambdaLR(0.1, lambda t: eval('1'), 3)",
    ],
)
def test_nothing_is_run(text, monkeypatch):
    ran = []
    with monkeypatch.context() as patched:
        patched.setattr("os.system", ran.append)
        for name in ("eval", "exec"):
            patched.setattr(f"builtins.{name}", lambda *arguments: ran.append(arguments))
        try:
            parse(text)
        except (TypeError, ValueError):
            refused = True
        else:
            refused = False
    assert ran == []
    assert refused == ("eval" in text or "exec" in text or "__import__" in text)
