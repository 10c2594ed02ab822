"""What every parameter of every schedule refuses, and how the error says so."""

from __future__ import annotations

import math
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import examples
from strategies import LONGEST

import keraslr
from keraslr.schedules import parameters, registered

# What each parameter refuses. Written out, and not read from the declarations that it is to check.

INNER = keraslr.ConstantLR(0.1)
CYCLE = keraslr.CyclicLR(0.1, 0.5)


class Text:
    """Something that is no number, with a repr that can be looked for."""

    def __repr__(self):
        return "<no number>"


NO_NUMBERS = (
    True,
    False,
    "0.5",
    b"1",
    1j,
    [0.5],
    (1,),
    {},
    Text(),
    np.array([1.0]),
    np.bool_(True),
)
NOT_REAL = (math.nan, math.inf, -math.inf, 1e300, -1e300, 1e-300, 10**400, 10**5000, *NO_NUMBERS)
NOT_WHOLE = (1.0, 2.5, math.nan, math.inf, Fraction(1, 2), np.float32(3), *NO_NUMBERS)
NEGATIVE = (-1e-9, -0.5, -3, -1e30)
TOO_LONG = (LONGEST + 1, 2**31, 2**63, 10**400, 10**5000)
NO_SEQUENCES = (5, 0.5, None, True, "12", b"12", {1: 2}, Text())
NO_SCHEDULES = (
    None,
    0.1,
    "StepLR(0.1, 2)",
    keraslr.ConstantLR,
    keras.optimizers.schedules.PolynomialDecay(0.1, 10, cycle=True),
    {"class_name": "StepLR", "config": {"initial_learning_rate": 0.1, "step_size": 2}},
)


def names(*options):
    """What a choice refuses."""
    return (*(option.upper() for option in options), "", options[0] + " ", None, 1, True, options)


POSITIVE = (*NOT_REAL, *NEGATIVE, 0, 0.0, None)
NOT_NEGATIVE = (*NOT_REAL, *NEGATIVE, None)
UP_TO_ONE = (*NOT_NEGATIVE, 1.0000001, 2, 1e30)
TICKS = (*NOT_WHOLE, *TOO_LONG, 0, -1, -(10**5000), None)
TICKS_OR_ZERO = tuple(value for value in TICKS if value != 0 or value is False)
FLAG = (0, 1, None, "True", 1.0, np.bool_(True))


def optional(values):
    return tuple(value for value in values if value is not None)


def each_in(values, *around):
    """Sequences that hold one wrong value each."""
    before, after = around
    return tuple([*before, value, *after] for value in values)


# Of each class: settings that are accepted, and per parameter the values that are not.
REFUSED = {
    keraslr.ConstantLR: (
        {"initial_learning_rate": 0.1, "factor": 0.5, "total_iters": 5},
        {
            "initial_learning_rate": POSITIVE,
            "factor": (*POSITIVE, 1.0000001, 2),
            "total_iters": TICKS,
        },
    ),
    keraslr.LinearLR: (
        {"initial_learning_rate": 0.1, "start_factor": 0.5, "end_factor": 1.0, "total_iters": 5},
        {
            "initial_learning_rate": POSITIVE,
            "start_factor": (*POSITIVE, 1.0000001, 2),
            "end_factor": UP_TO_ONE,
            "total_iters": TICKS,
        },
    ),
    keraslr.StepLR: (
        {"initial_learning_rate": 0.1, "step_size": 3, "gamma": 0.1},
        {"initial_learning_rate": POSITIVE, "step_size": TICKS, "gamma": POSITIVE},
    ),
    keraslr.MultiStepLR: (
        {"initial_learning_rate": 0.1, "milestones": [3, 3, 5], "gamma": 0.1},
        {
            "initial_learning_rate": POSITIVE,
            "milestones": (*NO_SEQUENCES, *each_in(TICKS_OR_ZERO, [2], []), [3, 2], [0, 5, 4]),
            "gamma": POSITIVE,
        },
    ),
    keraslr.PiecewiseConstantLR: (
        {"boundaries": [3, 5], "rates": [0.1, 0.2, 0.3]},
        {
            "boundaries": (*NO_SEQUENCES, *each_in(TICKS_OR_ZERO, [2], []), [3, 3], [5, 3]),
            "rates": (*NO_SEQUENCES, *each_in(NOT_NEGATIVE, [0.1], [0.1]), []),
        },
    ),
    keraslr.InterpolatedLR: (
        {"milestones": [3, 5], "rates": [0.1, 0.2], "interpolation": "linear"},
        {
            "milestones": (*NO_SEQUENCES, *each_in(TICKS_OR_ZERO, [2], []), [3, 3], [5, 3]),
            "rates": (*NO_SEQUENCES, *each_in(NOT_NEGATIVE, [0.1], []), []),
            "interpolation": names("linear", "cosine", "log"),
        },
    ),
    keraslr.ExponentialLR: (
        {"initial_learning_rate": 0.1, "gamma": 0.9},
        {"initial_learning_rate": POSITIVE, "gamma": POSITIVE},
    ),
    keraslr.PolynomialLR: (
        {"initial_learning_rate": 0.1, "total_iters": 5, "power": 2.0},
        {"initial_learning_rate": POSITIVE, "total_iters": TICKS, "power": POSITIVE},
    ),
    keraslr.CosineAnnealingLR: (
        {"initial_learning_rate": 0.1, "T_max": 5, "eta_min": 0.0},
        {"initial_learning_rate": POSITIVE, "T_max": TICKS, "eta_min": NOT_NEGATIVE},
    ),
    keraslr.CosineAnnealingWarmRestarts: (
        {"initial_learning_rate": 0.1, "T_0": 5, "T_mult": 2, "eta_min": 0.0},
        {
            "initial_learning_rate": POSITIVE,
            "T_0": TICKS,
            "T_mult": TICKS,
            "eta_min": NOT_NEGATIVE,
        },
    ),
    keraslr.CyclicLR: (
        {
            "base_lr": 0.1,
            "max_lr": 0.5,
            "step_size_up": 5,
            "step_size_down": 4,
            "mode": "triangular",
            "gamma": 1.0,
        },
        {
            "base_lr": NOT_NEGATIVE,
            "max_lr": (*POSITIVE, 0.09),
            "step_size_up": TICKS,
            "step_size_down": optional(TICKS),
            "mode": names("triangular", "triangular2", "exp_range"),
            "gamma": POSITIVE,
        },
    ),
    keraslr.OneCycleLR: (
        {
            "max_lr": 0.1,
            "total_steps": 20,
            "epochs": None,
            "steps_per_epoch": None,
            "pct_start": 0.3,
            "anneal_strategy": "cos",
            "div_factor": 25.0,
            "final_div_factor": 1e4,
            "three_phase": False,
        },
        {
            "max_lr": POSITIVE,
            "total_steps": TICKS,
            "epochs": optional(TICKS),
            "steps_per_epoch": optional(TICKS),
            "pct_start": (*UP_TO_ONE, 1 / 20),
            "anneal_strategy": names("cos", "linear"),
            "div_factor": POSITIVE,
            "final_div_factor": POSITIVE,
            "three_phase": FLAG,
        },
    ),
    keraslr.CycledMomentum: (
        {"schedule": CYCLE, "base_momentum": 0.5, "max_momentum": 0.9},
        {
            "schedule": (*NO_SCHEDULES, INNER, CYCLE.per_epoch(2), CYCLE * 0.5, [CYCLE]),
            "base_momentum": (*NOT_NEGATIVE, 1, 1.0, 2, 0.91),
            "max_momentum": (*NOT_NEGATIVE, 1, 1.0, 2, 0.49),
        },
    ),
    keraslr.LambdaLR: (
        {"initial_learning_rate": 0.1, "lr_lambda": [1.0, 0.5, 0.1], "total_iters": 2},
        {
            "initial_learning_rate": POSITIVE,
            "lr_lambda": (*NO_SEQUENCES, *each_in(NOT_NEGATIVE, [1.0], [1.0]), []),
            "total_iters": TICKS_OR_ZERO,
        },
    ),
    keraslr.MultiplicativeLR: (
        {"initial_learning_rate": 0.1, "lr_lambda": [1.0, 0.5], "total_iters": 2},
        {
            "initial_learning_rate": POSITIVE,
            "lr_lambda": (*NO_SEQUENCES, *each_in(NOT_NEGATIVE, [1.0], []), []),
            "total_iters": TICKS,
        },
    ),
    keraslr.FactorLR: (
        {"initial_learning_rate": 0.1, "factor": 0.9, "stop_factor_lr": 1e-7},
        {"initial_learning_rate": POSITIVE, "factor": POSITIVE, "stop_factor_lr": NOT_NEGATIVE},
    ),
    keraslr.InversePowerLR: (
        {"initial_learning_rate": 0.1, "beta": 0.1, "alpha": 0.5},
        {"initial_learning_rate": POSITIVE, "beta": POSITIVE, "alpha": POSITIVE},
    ),
    keraslr.InverseSqrtLR: (
        {"initial_learning_rate": 0.1, "num_warmup_steps": 5, "timescale": 7},
        {
            "initial_learning_rate": POSITIVE,
            "num_warmup_steps": TICKS_OR_ZERO,
            "timescale": optional(TICKS),
        },
    ),
    keraslr.WarmupStableDecayLR: (
        {
            "initial_learning_rate": 0.1,
            "num_warmup_steps": 5,
            "num_stable_steps": 5,
            "num_decay_steps": 5,
            "warmup_type": "linear",
            "decay_type": "cosine",
            "min_lr_ratio": 0.0,
        },
        {
            "initial_learning_rate": POSITIVE,
            "num_warmup_steps": TICKS_OR_ZERO,
            "num_stable_steps": TICKS_OR_ZERO,
            "num_decay_steps": TICKS_OR_ZERO,
            "warmup_type": names("linear", "cosine", "1-sqrt"),
            "decay_type": names("linear", "cosine", "1-sqrt"),
            "min_lr_ratio": UP_TO_ONE,
        },
    ),
    keraslr.PerEpoch: (
        {"schedule": INNER, "steps_per_epoch": 3, "smooth": False},
        {"schedule": NO_SCHEDULES, "steps_per_epoch": TICKS, "smooth": FLAG},
    ),
    keraslr.Warmup: (
        {"schedule": INNER, "steps": 3, "start_lr": 0.0, "mode": "linear"},
        {
            "schedule": NO_SCHEDULES,
            "steps": TICKS,
            "start_lr": NOT_NEGATIVE,
            "mode": names("linear", "constant", "cosine"),
        },
    ),
    keraslr.SequentialLR: (
        {"schedules": [INNER, INNER], "milestones": [3]},
        {
            "schedules": (*NO_SEQUENCES, INNER, *each_in(NO_SCHEDULES, [INNER], []), []),
            "milestones": (*NO_SEQUENCES, *each_in(TICKS, [], []), [3, 3], [4, 3]),
        },
    ),
    keraslr.ChainedScheduler: (
        {"schedules": [INNER, INNER]},
        {"schedules": (*NO_SEQUENCES, INNER, *each_in(NO_SCHEDULES, [INNER], []), [])},
    ),
    keraslr.Scaled: (
        {"schedule": INNER, "factor": 2.0},
        {"schedule": NO_SCHEDULES, "factor": POSITIVE},
    ),
    keraslr.Clipped: (
        {"schedule": INNER, "min_lr": 0.1, "max_lr": 0.5},
        {
            "schedule": NO_SCHEDULES,
            "min_lr": (*NOT_NEGATIVE, 0.51),
            "max_lr": (*optional(POSITIVE), 0.09),
        },
    ),
    keraslr.HeldAfter: (
        {"schedule": INNER, "t": 3},
        {"schedule": NO_SCHEDULES, "t": TICKS_OR_ZERO},
    ),
}

PACKAGE_CLASSES = {
    name: cls for name, cls in registered().items() if cls.__module__.startswith("keraslr.")
}


def test_table_of_refused_values_is_complete():
    table = {cls: (list(valid), list(refused)) for cls, (valid, refused) in REFUSED.items()}
    assert table == {
        cls: (list(parameters(cls)), list(parameters(cls))) for cls in PACKAGE_CLASSES.values()
    }


@pytest.mark.parametrize("cls", REFUSED, ids=lambda cls: cls.__name__)
def test_accepted_settings_of_the_table_are_accepted(cls):
    valid, _ = REFUSED[cls]
    assert cls(**valid).get_config().keys() == valid.keys()


def shown(value):
    """How an error repeats a value: its repr, and no more of it than a line."""
    try:
        text = repr(value)
    except ValueError:
        return "thousands of digits"
    return text[:200]


def wrong_values():
    for cls, (valid, refused) in REFUSED.items():
        for name, values in refused.items():
            for i, value in enumerate(values):
                case = f"{cls.__name__}-{name}-{i}-{type(value).__name__}"
                yield pytest.param(cls, {**valid, name: value}, name, value, id=case)


@pytest.mark.parametrize(("cls", "arguments", "name", "value"), list(wrong_values()))
def test_refused_values_are_named(cls, arguments, name, value):
    with pytest.raises((TypeError, ValueError)) as caught:
        cls(**arguments)
    said, _, received = str(caught.value).partition("Received: ")
    assert name in said
    assert " must " in said
    if isinstance(value, list):
        # A sequence is repeated whole, or by its wrong element, or by what else it has too few of.
        assert any(f"{name}[{i}]={shown(each)}" in received for i, each in enumerate(value)) or (
            shown(value) in received or f"{len(value)} {name}" in received
        )
    else:
        assert shown(value) in received


@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -1.0, 1e300], ids=repr)
def test_refusals_distinguish_wrong_types_from_wrong_values(value):
    with pytest.raises(ValueError, match="initial_learning_rate must be a number > 0"):
        keraslr.ExponentialLR(value, gamma=0.5)


@pytest.mark.parametrize("value", ["0.1", None, True, 1j, [0.1]], ids=repr)
def test_a_wrong_type_is_a_type_error(value):
    with pytest.raises(TypeError, match="initial_learning_rate must be a number > 0"):
        keraslr.ExponentialLR(value, gamma=0.5)


@settings(deadline=None, max_examples=examples(200))
@given(
    value=st.floats(max_value=0.0)
    | st.floats(min_value=3.5e38)
    | st.floats(1e-300, 1e-39)
    | st.just(math.nan)
    | st.integers(max_value=0)
    | st.text(max_size=5)
    | st.booleans()
    | st.complex_numbers()
    | st.lists(st.floats(), max_size=2)
)
def test_no_rate_but_a_positive_float32_is_accepted(value):
    with pytest.raises((TypeError, ValueError), match="initial_learning_rate must be a number > 0"):
        keraslr.ConstantLR(value)


@settings(deadline=None, max_examples=examples(200))
@given(
    value=st.integers(max_value=0)
    | st.integers(min_value=LONGEST + 1)
    | st.floats()
    | st.text(max_size=5)
    | st.booleans()
    | st.fractions()
)
def test_no_length_but_a_positive_integer_is_accepted(value):
    with pytest.raises((TypeError, ValueError), match="step_size must be an integer >= 1"):
        keraslr.StepLR(0.1, value)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (np.float32(0.25), 0.25),
        (np.float64(0.1), 0.1),
        (np.int64(2), 2.0),
        (Fraction(1, 4), 0.25),
        (1, 1.0),
    ],
    ids=repr,
)
def test_numbers_of_any_kind_become_floats(value, kept):
    schedule = keraslr.ExponentialLR(value, gamma=value)
    assert (schedule.initial_learning_rate, schedule.gamma) == (kept, kept)
    assert type(schedule.initial_learning_rate) is float


@pytest.mark.parametrize("value", [np.int64(7), np.uint8(7), 7], ids=repr)
def test_integers_of_any_kind_become_ints(value):
    schedule = keraslr.MultiStepLR(0.1, milestones=np.array([value, 9]))
    assert schedule.milestones == (7, 9)
    assert {type(each) for each in schedule.milestones} == {int}
    assert type(keraslr.StepLR(0.1, value).step_size) is int
