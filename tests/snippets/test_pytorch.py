"""The PyTorch code of a schedule gives PyTorch the same rates."""

from __future__ import annotations

import bisect
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import compositions

import keraslr
from keraslr.catalog import CATALOG
from keraslr.snippets import pytorch_snippet
from keraslr.snippets._formulas import Formulas

RELATIVE, ABSOLUTE = 2e-6, 1e-9
COSINE = keraslr.CosineAnnealingLR(0.1, T_max=30)
STEP = keraslr.StepLR(0.1, step_size=5, gamma=0.5)
CYCLE = keraslr.OneCycleLR(0.05, total_steps=30)
CONSTANT = keraslr.ConstantLR(0.1, factor=1.0)


def excess(ours, expected):
    """By how much the worst value is off, as a multiple of what is allowed."""
    allowed = np.maximum(RELATIVE * np.abs(expected), ABSOLUTE)
    return float(np.max(np.abs(ours.astype(np.float64) - expected) / allowed))


def golden_cases():
    """Each case's expression, what was told of the run, the text, and torch's rates."""
    with np.load(Path(__file__).parents[1] / "goldens" / "snippets.npz") as file:
        columns = [file[name].tolist() for name in ("expressions", "told", "texts")]
        for expression, told, text, row in zip(*columns, file["values"], strict=True):
            yield expression, json.loads(told), text, row[~np.isnan(row)]


CASES = list(golden_cases())


@pytest.mark.parametrize(
    ("expression", "told", "text", "rates"),
    [pytest.param(*case, id=f"{number} {case[0][:60]}") for number, case in enumerate(CASES)],
)
def test_the_code_is_the_one_that_pytorch_ran_with_these_rates(expression, told, text, rates):
    schedule = keraslr.parse(expression)
    assert pytorch_snippet(schedule, **told) == text
    assert len(rates) >= 28
    assert excess(schedule.values(len(rates)), rates) <= 1


def test_pytorch_ran_every_strategy_in_every_way():
    told = [expression for expression, *_ in CASES]
    for strategy in CATALOG.values():
        if strategy.is_schedule:
            plain = repr(strategy.build())
            ways = [expression for expression in told if plain in expression]
            assert len(ways) >= 6, strategy.name
            assert {plain, f"({plain} * 0.3)", f"{plain}.with_warmup(3).per_epoch(4)"} <= set(ways)


# The schedulers that PyTorch has, as far as schedules are written with them.
PYTORCHS = {
    "ChainedScheduler", "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts",
    "CyclicLR", "ExponentialLR", "LambdaLR", "LinearLR", "MultiStepLR", "MultiplicativeLR",
    "OneCycleLR", "PolynomialLR", "SequentialLR", "StepLR",
}  # fmt: skip


def test_pytorch_ran_every_one_of_its_own_schedulers():
    made = set(re.findall(r"lr_scheduler\.(\w+)\(", "".join(text for _, _, text, _ in CASES)))
    assert made == PYTORCHS


@pytest.mark.parametrize(
    "strategy", [each for each in CATALOG.values() if each.is_schedule], ids=lambda each: each.name
)
def test_a_class_that_pytorch_has_is_used(strategy):
    schedule, name = strategy.build(), strategy.cls.__name__
    name = "SequentialLR" if name == "Warmup" else name
    text = pytorch_snippet(schedule.per_epoch(10))
    wanted = name if name in PYTORCHS else "LambdaLR"
    assert f"scheduler = torch.optim.lr_scheduler.{wanted}(" in text
    assert ("def rate(t):" in text) == (name not in PYTORCHS)


@pytest.mark.parametrize(
    ("schedule", "told", "once_per_epoch"),
    [
        (COSINE.per_epoch(7), {}, True),
        (COSINE.per_epoch(7), {"steps_per_epoch": 7}, True),
        (COSINE.per_epoch(7) * 2, {}, True),
        (COSINE, {}, False),
        (COSINE, {"steps_per_epoch": 7}, False),
        (COSINE.per_epoch(7, smooth=True), {}, False),
        (COSINE.per_epoch(7), {"steps_per_epoch": 8}, False),
        (COSINE.per_epoch(7).with_warmup(3), {}, False),
    ],
)
def test_the_scheduler_is_stepped_where_its_clock_ticks(schedule, told, once_per_epoch):
    text = pytorch_snippet(schedule, epochs=3, **told)
    loop = text[text.index("for epoch in range(3):") :].splitlines()
    assert loop[-2:] == [
        "        optimizer.step()",
        ("    " if once_per_epoch else "        ") + "scheduler.step()",
    ]


@pytest.mark.parametrize(
    ("schedule", "told", "comment"),
    [
        (CYCLE, {}, "OneCycleLR ends with an error after its 30 steps; in keraslr the last rate"),
        (CYCLE, {"epochs": 4, "steps_per_epoch": 8}, "OneCycleLR would end with an error after"),
        (CYCLE.per_epoch(5), {"epochs": 31}, "OneCycleLR would end with an error after its 30"),
        (STEP.then(keraslr.ExponentialLR(0.2, 0.9), at=3), {}, "share the optimizer's one initial"),
        (STEP.then(keraslr.get("multiplicative"), at=3), {}, "MultiplicativeLR would go on from"),
        (keraslr.ChainedScheduler([STEP, COSINE]), {}, "other rates with a CosineAnnealingLR"),
        (STEP.per_epoch(7), {"steps_per_epoch": 8}, "schedule has 7 batches, one of the loader 8"),
        (STEP.per_epoch(1).clipped(0.01), {}, "lr=1.0 by rate(t), the learning rate of epoch t"),
        (STEP.clipped(0.01), {}, "lr=1.0 by rate(t), the learning rate of batch t"),
        (STEP.per_epoch(1), {}, "Yours: model, loss_function, epochs and loader with 1 batch per"),
    ],
)
def test_a_comment_says_where_pytorch_differs(schedule, told, comment):
    comments = " ".join(re.findall("^# (.*)$", pytorch_snippet(schedule, **told), re.MULTILINE))
    assert comment in comments


@pytest.mark.parametrize(
    ("schedule", "momentum", "said"),
    [
        (STEP, 0.9, True),
        (STEP.per_epoch(5), 0.9, True),
        (CONSTANT.with_warmup(5), 0.9, True),
        (CONSTANT.then(keraslr.ConstantLR(0.2, factor=1.0), at=5), 0.9, True),
        (STEP, 0.0, False),
        (CONSTANT, 0.9, False),
        (CONSTANT.per_epoch(5) * 2, 0.9, False),
    ],
)
def test_a_comment_names_the_rule_of_momentum_where_it_matters(schedule, momentum, said):
    text = pytorch_snippet(schedule, momentum=momentum)
    comments = " ".join(re.findall("^# (.*)$", text, re.MULTILINE))
    line = 'keraslr.optimizers.SGD(schedule, momentum=0.9, momentum_rule="pytorch") takes the same'
    assert (line in comments) == said
    assert ("momentum" in comments) == said


def test_a_one_cycle_that_fits_its_run_needs_no_comment():
    for schedule, told in [
        (CYCLE, {"epochs": 5, "steps_per_epoch": 6}),
        (CYCLE.per_epoch(6), {"epochs": 30}),
    ]:
        text = pytorch_snippet(schedule, **told)
        assert "OneCycleLR(" in text
        assert "error" not in text


def test_long_tables_are_written_short_where_that_gives_the_same():
    power = keraslr.LambdaLR(0.1, lambda t: 0.5 * 0.999**t, total_iters=5000)
    assert "lambda t: 0.5 * 0.999 ** min(t, 5000)" in pytorch_snippet(power)
    stairs = keraslr.LambdaLR(0.1, lambda t: 0.5 ** (t // 100), total_iters=1000)
    assert len(pytorch_snippet(stairs)) < 900
    flat = keraslr.MultiplicativeLR(0.1, lambda t: 0.9, total_iters=400)
    assert "lambda t: 0.9 if t <= 400 else 1.0" in pytorch_snippet(flat)
    still = keraslr.LambdaLR(0.1, lambda t: max(0.0, 1 - 0.1 * t), total_iters=900)
    assert "factors[min(t, 10)]" in pytorch_snippet(still)
    # Nothing is left out of what follows no rule.
    odd = keraslr.LambdaLR(0.1, lambda t: 0.5 + 0.4 * math.sin(t * t), total_iters=200)
    for text in (pytorch_snippet(odd), pytorch_snippet(odd.clipped(0.06))):
        listed = re.search(r"factors = \[(.*?)\]", text, re.DOTALL).group(1)
        assert [float(each) for each in listed.split(",") if each.strip()] == list(odd.lr_lambda)
        assert max(map(len, text.splitlines())) <= 100


def test_a_factor_goes_into_the_rates_where_they_can_hold_it():
    assert "lr=0.3)" in pytorch_snippet(keraslr.StepLR(0.1, 5) * 3)
    # Scaled, this rate would be below float32's smallest.
    text = pytorch_snippet(keraslr.StepLR(1e-37, 5) * 0.01)
    assert "return 1e-37 * 0.1 ** (t // 5)" in text
    assert "return 0.01 * step(t)" in text


def called(schedule):
    """The schedule's rates in 80 steps, from its plain Python function."""
    fractions = "smooth=True" in repr(schedule)
    formulas = Formulas(fractions)
    formulas.add(schedule, "rate")
    names = {"math": math, "bisect": bisect}
    for function in formulas.functions:
        exec(function, names)
    return np.array([names["rate"](t) for t in range(80)], dtype=float)


GAMMAS = st.sampled_from([1.0]) | st.floats(0.3, 1.0) | st.floats(1.0, 1.05)


@settings(deadline=None, max_examples=30)
@given(schedule=compositions(gammas=GAMMAS).filter(lambda each: "Momentum" not in repr(each)))
def test_the_formula_of_any_composition_gives_its_rates(schedule):
    assert excess(schedule.values(80), called(schedule)) <= 1


@pytest.mark.parametrize(
    "strategy", [s for s in CATALOG.values() if s.is_schedule], ids=lambda s: s.name
)
def test_the_formula_of_every_strategy_gives_its_rates(strategy):
    schedule = strategy.build()
    assert excess(schedule.values(80), called(schedule)) <= 1
    smooth = schedule.per_epoch(3, smooth=True)
    assert excess(smooth.values(80), called(smooth)) <= 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"epochs": 0}, ValueError, "epochs must be an integer >= 1. Received: epochs=0"),
        ({"steps_per_epoch": "4"}, TypeError, "steps_per_epoch must be an integer >= 1"),
        ({"momentum": 1.0}, ValueError, "momentum must be a number >= 0 and < 1. Received"),
    ],
)
def test_wrong_numbers_for_pytorch_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        pytorch_snippet(STEP, **arguments)


def test_a_momentum_is_not_written_for_pytorch():
    with pytest.raises(ValueError, match="Received: CycledMomentum, a momentum"):
        pytorch_snippet(CYCLE.momentum_schedule().per_epoch(3))
