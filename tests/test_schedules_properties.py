"""What holds for every schedule, whatever its settings."""

from __future__ import annotations

import copy
import functools
import json
import math
import pickle
from fractions import Fraction

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import DECAYS, GAMMAS, LAST_STEP, LONGEST, accepted, compositions, steps_near

import keraslr
from keraslr.schedules import parameters, registered

# The value beyond which a growing schedule need not be followed any more.
HIGHEST = 1e30
NAMES = vars(keraslr)


# Closed forms of PyTorch's schedulers, in exact or double precision and for one tick at a time.


def cosine(start, end, done):
    """Half a cosine wave; `done` is a fraction, so that what is left of it is exact too."""
    left = math.sin(math.pi / 2 * float(1 - done)) ** 2
    return start * left + end * math.sin(math.pi / 2 * float(done)) ** 2


def line(start, end, done):
    return float(Fraction(start) * (1 - done) + Fraction(end) * done)


def power(first, ratio, n):
    """first * ratio ** n, or infinity."""
    exponent = math.log(first) + n * math.log(ratio)
    if exponent > 600:
        return math.inf
    return math.exp(exponent) if abs(n) > 1000 else first * ratio**n


def constant(s, t):
    return s.initial_learning_rate * (s.factor if t < s.total_iters else 1)


def linear(s, t):
    done = Fraction(min(t, s.total_iters), s.total_iters)
    return s.initial_learning_rate * line(s.start_factor, s.end_factor, done)


def step(s, t):
    return power(s.initial_learning_rate, s.gamma, t // s.step_size)


def multi_step(s, t):
    return power(s.initial_learning_rate, s.gamma, sum(m <= t for m in s.milestones))


def exponential(s, t):
    return power(s.initial_learning_rate, s.gamma, t)


def polynomial(s, t):
    left = Fraction(max(s.total_iters - t, 0), s.total_iters)
    return s.initial_learning_rate * float(left) ** s.power


def annealing(s, t):
    within = t % (2 * s.T_max)
    done = Fraction(min(within, 2 * s.T_max - within), s.T_max)
    return cosine(s.initial_learning_rate, s.eta_min, done)


def warm_restarts(s, t):
    length = s.T_0
    while s.T_mult > 1 and t >= length:
        t, length = t - length, length * s.T_mult
    return cosine(s.initial_learning_rate, s.eta_min, Fraction(t % length, length))


def cyclic(s, t):
    up, down = s.step_size_up, s.step_size_down or s.step_size_up
    cycles, within = divmod(t, up + down)
    height = Fraction(within, up) if within < up else Fraction(up + down - within, down)
    scale = {
        "triangular": 1.0,
        "triangular2": power(1.0, 0.5, cycles),
        "exp_range": power(1.0, s.gamma, t),
    }[s.mode]
    swing = (s.max_lr - s.base_lr) * scale if s.max_lr > s.base_lr else 0.0
    if swing > HIGHEST:
        return math.inf  # also at the foot of a cycle: its peak is out of sight
    return s.base_lr + swing * float(height)


def one_cycle(s, t):
    total = s.total_steps
    first = s.max_lr / s.div_factor
    # Of these PyTorch's own roundings are part of the definition.
    ends = [(float(s.pct_start * total) - 1, first, s.max_lr)]
    if s.three_phase:
        ends.append((float(2 * s.pct_start * total) - 2, s.max_lr, first))
        ends.append((total - 1, first, first / s.final_div_factor))
    else:
        ends.append((total - 1, s.max_lr, first / s.final_div_factor))
    t, begin = min(t, total - 1), Fraction(0)
    for end, here, there in ends:
        if t <= end or end is ends[-1][0]:
            done = (t - begin) / (Fraction(end) - begin)
            return (cosine if s.anneal_strategy == "cos" else line)(here, there, done)
        begin = Fraction(end)
    raise AssertionError("a step after the end")


def from_function(s, t):
    return s.initial_learning_rate * s.lr_lambda[min(t, s.total_iters)]


def multiplicative(s, t):
    return functools.reduce(
        lambda rate, f: rate * f, s.lr_lambda[: min(t, s.total_iters)], s.initial_learning_rate
    )


CLOSED_FORMS = {
    keraslr.ConstantLR: constant,
    keraslr.LinearLR: linear,
    keraslr.StepLR: step,
    keraslr.MultiStepLR: multi_step,
    keraslr.ExponentialLR: exponential,
    keraslr.PolynomialLR: polynomial,
    keraslr.CosineAnnealingLR: annealing,
    keraslr.CosineAnnealingWarmRestarts: warm_restarts,
    keraslr.CyclicLR: cyclic,
    keraslr.OneCycleLR: one_cycle,
    keraslr.LambdaLR: from_function,
    keraslr.MultiplicativeLR: multiplicative,
}


@pytest.mark.parametrize("cls", CLOSED_FORMS, ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_equals_the_closed_form_at_any_step(cls, data):
    schedule = data.draw(accepted()[cls])
    steps = data.draw(steps_near(schedule))
    expected = np.array([CLOSED_FORMS[cls](schedule, t) for t in steps])
    seen = expected <= HIGHEST
    ours = schedule(np.array(steps)).numpy()
    # The absolute allowance is measured by the rate, so that tiny rates are held to it as well.
    scale = max(schedule.base_learning_rate or schedule.max_lr, 1e-25)
    np.testing.assert_allclose(ours[seen], expected[seen], rtol=2e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("cls", accepted(), ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_rates_are_finite_and_not_negative(cls, data):
    schedule = data.draw(accepted(gammas=DECAYS)[cls])
    rates = schedule(np.array(data.draw(steps_near(schedule)))).numpy()
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_rates_of_compositions_are_finite_and_not_negative(data):
    schedule = data.draw(compositions(gammas=DECAYS))
    rates = schedule(np.array(data.draw(steps_near(schedule)))).numpy()
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()


def through_json(schedule):
    return type(schedule).from_config(json.loads(json.dumps(schedule.get_config())))


def through_keras(schedule):
    text = json.dumps(keras.saving.serialize_keras_object(schedule))
    return keras.saving.deserialize_keras_object(json.loads(text))


def through_optimizer(schedule):
    optimizer = keras.optimizers.SGD(schedule)
    return type(optimizer).from_config(optimizer.get_config())._learning_rate


COPIES = {
    "config": lambda schedule: type(schedule).from_config(schedule.get_config()),
    "json": through_json,
    "keras": through_keras,
    "optimizer": through_optimizer,
    "pickle": lambda schedule: pickle.loads(pickle.dumps(schedule)),
    "deepcopy": copy.deepcopy,
    "repr": lambda schedule: eval(repr(schedule), dict(NAMES)),
    "parse": lambda schedule: keraslr.parse(repr(schedule)),
}


@settings(deadline=None, max_examples=120, suppress_health_check=[HealthCheck.too_slow])
@given(compositions(gammas=GAMMAS))
def test_compositions_survive_every_way_of_copying(schedule):
    rates = schedule.values(90).tobytes()
    for way, copied in COPIES.items():
        again = copied(schedule)
        assert again == schedule, way
        assert hash(again) == hash(schedule), way
        assert repr(again) == repr(schedule), way
        assert again.values(90).tobytes() == rates, way


@pytest.mark.parametrize("cls", accepted(), ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_wide_settings_survive_every_way_of_copying(cls, data):
    schedule = data.draw(accepted()[cls])
    for way, copied in COPIES.items():
        assert copied(schedule) == schedule, way


# What each parameter refuses. Written out, and not read from the declarations that it is to check.

INNER = keraslr.ConstantLR(0.1)


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
    keras.optimizers.schedules.CosineDecay(0.1, 10),
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


@settings(deadline=None, max_examples=200)
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


@settings(deadline=None, max_examples=200)
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


def test_the_last_step_of_a_growing_schedule_is_the_last_finite_one():
    # 0.1 * 2 ** n passes float32's largest number at n = 132; until then every digit is there.
    growing = keraslr.ExponentialLR(0.1, gamma=2.0)
    np.testing.assert_array_equal(growing.values(131), np.float32(0.1 * 2.0 ** np.arange(131)))
    assert growing(LAST_STEP).numpy() == np.inf


def test_a_growing_cycle_is_followed_as_far_as_the_rate_itself():
    # gamma ** t alone is beyond float32 where the rate is 1e28.
    schedule = keraslr.CyclicLR(
        0.0, 1e-12, step_size_up=1, step_size_down=1, mode="exp_range", gamma=10.0
    )
    np.testing.assert_allclose(schedule(41).numpy(), 1e29, rtol=2e-6)
