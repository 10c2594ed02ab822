"""What holds for every schedule, whatever its settings."""

from __future__ import annotations

import copy
import dataclasses
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
from measured import array, examples, read_at
from strategies import DECAYS, GAMMAS, LAST_STEP, accepted, compositions, steps_near

import keraslr

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


def cycled_momentum(s, t):
    """PyTorch's momentum: down from the highest by the share that the rate is above its lowest."""
    cycle, low, high = s.schedule, s.base_momentum, s.max_momentum
    if isinstance(cycle, keraslr.OneCycleLR):
        risen = float(cycle.pct_start * cycle.total_steps) - 1
        ends = [(risen, high, low)]
        if cycle.three_phase:
            ends.append((float(2 * cycle.pct_start * cycle.total_steps) - 2, low, high))
        else:
            ends.append((cycle.total_steps - 1, low, high))
        t, begin = min(t, cycle.total_steps - 1), Fraction(0)
        for end, here, there in ends:
            if t <= end or (end is ends[-1][0] and not cycle.three_phase):
                done = (t - begin) / (Fraction(end) - begin)
                return (cosine if cycle.anneal_strategy == "cos" else line)(here, there, done)
            begin = Fraction(end)
        return high
    of_height = dataclasses.replace(cycle, base_lr=0.0, max_lr=1.0)
    return high - (high - low) * cyclic(of_height, t)


def from_function(s, t):
    return s.initial_learning_rate * s.lr_lambda[min(t, s.total_iters)]


def multiplicative(s, t):
    return functools.reduce(
        lambda rate, f: rate * f, s.lr_lambda[: min(t, s.total_iters)], s.initial_learning_rate
    )


def interpolated(s, t):
    i = sum(milestone <= t for milestone in s.milestones)
    if i in (0, len(s.rates)):
        return s.rates[0] if i == 0 else s.rates[-1]
    here, there = s.rates[i - 1], s.rates[i]
    begin, end = s.milestones[i - 1], s.milestones[i]
    done = Fraction(t - begin, end - begin)
    if s.interpolation == "log":
        return here * (there / here) ** float(done)
    return {"linear": line, "cosine": cosine}[s.interpolation](here, there, done)


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
    keraslr.CycledMomentum: cycled_momentum,
    keraslr.LambdaLR: from_function,
    keraslr.MultiplicativeLR: multiplicative,
    keraslr.InterpolatedLR: interpolated,
}


@pytest.mark.parametrize("cls", CLOSED_FORMS, ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=examples(30))
@given(data=st.data())
def test_equals_the_closed_form_at_any_step(cls, data):
    schedule = data.draw(accepted()[cls])
    steps = data.draw(steps_near(schedule))
    expected = np.array([CLOSED_FORMS[cls](schedule, t) for t in steps])
    seen = expected <= HIGHEST
    ours = read_at(schedule, steps)
    # The absolute allowance is measured by the rate, so that tiny rates are held to it as well.
    if cls is keraslr.CycledMomentum:
        scale = 100.0  # 1e-7: near 0 it is the difference of two numbers below 1
    else:
        highest = schedule.base_learning_rate or getattr(schedule, "max_lr", expected.max())
        scale = max(highest, 1e-25)
    np.testing.assert_allclose(ours[seen], expected[seen], rtol=2e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("cls", accepted(), ids=lambda cls: cls.__name__)
@settings(deadline=None, max_examples=examples(30))
@given(data=st.data())
def test_rates_are_finite_and_not_negative(cls, data):
    schedule = data.draw(accepted(gammas=DECAYS)[cls])
    rates = read_at(schedule, data.draw(steps_near(schedule)))
    assert np.isfinite(rates).all()
    assert (rates >= 0).all()


@settings(deadline=None, max_examples=examples(40))
@given(data=st.data())
def test_rates_of_compositions_are_finite_and_not_negative(data):
    schedule = data.draw(compositions(gammas=DECAYS))
    rates = read_at(schedule, data.draw(steps_near(schedule)))
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


@settings(deadline=None, max_examples=examples(30), suppress_health_check=[HealthCheck.too_slow])
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
@settings(deadline=None, max_examples=examples(12))
@given(data=st.data())
def test_wide_settings_survive_every_way_of_copying(cls, data):
    schedule = data.draw(accepted()[cls])
    for way, copied in COPIES.items():
        assert copied(schedule) == schedule, way


def test_the_last_step_of_a_growing_schedule_is_the_last_finite_one():
    # 0.1 * 2 ** n passes float32's largest number at n = 132; until then every digit is there.
    growing = keraslr.ExponentialLR(0.1, gamma=2.0)
    np.testing.assert_array_equal(growing.values(131), np.float32(0.1 * 2.0 ** np.arange(131)))
    assert array(growing(LAST_STEP)) == np.inf


def test_a_growing_cycle_is_followed_as_far_as_the_rate_itself():
    # gamma ** t alone is beyond float32 where the rate is 1e28.
    schedule = keraslr.CyclicLR(
        0.0, 1e-12, step_size_up=1, step_size_down=1, mode="exp_range", gamma=10.0
    )
    np.testing.assert_allclose(array(schedule(41)), 1e29, rtol=2e-6)
