"""Do schedules give the numbers of PyTorch, Keras and Hugging Face?"""

from __future__ import annotations

import collections
import itertools
import math
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import ABSOLUTE, BACKEND, RELATIVE, array, examples, read_at, thinned
from strategies import accepted, steps_near

import keraslr

GOLDENS = Path(__file__).parents[1] / "goldens"

CLASSES = (
    "ChainedScheduler",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CyclicLR",
    "ExponentialLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PerEpoch",
    "PolynomialLR",
    "SequentialLR",
    "StepLR",
)


def golden_cases(name):
    """Each case's expression and PyTorch's values, in double precision."""
    with np.load(GOLDENS / name) as file:
        for expression, row in zip(file["expressions"].tolist(), file["values"], strict=True):
            ends = np.flatnonzero(np.isnan(row))
            yield expression, row[: ends[0]] if ends.size else row


CASES = collections.defaultdict(list)
for case in golden_cases("schedules.npz"):
    CASES[type(keraslr.parse(case[0])).__name__].append(case)
MOMENTUM_CASES = list(golden_cases("momentum.npz"))
LONGEST = max(len(expected) for cases in [*CASES.values(), MOMENTUM_CASES] for _, expected in cases)


def excess(ours, expected):
    """By how much the worst value is off, as a multiple of what is allowed."""
    assert ours.dtype == np.float32
    assert ours.shape == expected.shape
    allowed = np.maximum(RELATIVE * np.abs(expected), ABSOLUTE)
    return float(np.max(np.abs(ours.astype(np.float64) - expected) / allowed))


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        pytest.param(*case, id=case[0][:80])
        for cases in [*CASES.values(), MOMENTUM_CASES]
        # Under JAX more are among those that are compiled below, and all in benchmarks/backend.py.
        for case in (thinned(cases) if BACKEND == "jax" else cases)
    ],
)
def test_equals_pytorch(expression, expected):
    # All of one length, for which JAX compiles every operation once.
    ours = keraslr.parse(expression).values(LONGEST)[: len(expected)]
    assert excess(ours, expected) <= 1


def under_xla(function):
    if BACKEND == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


@pytest.mark.parametrize(
    "cases", [CASES[name] for name in CLASSES] + [MOMENTUM_CASES], ids=[*CLASSES, "momentum"]
)
@pytest.mark.backends("tensorflow", "jax")
def test_equals_pytorch_under_xla(cases):
    # XLA has its own sine, power and exponential, and fuses what stands side by side. All cases
    # of a class go into one function: a compilation costs more than its run.
    cases = thinned(cases, every=3, tensorflow=3)
    schedules = [keraslr.parse(expression) for expression, _ in cases]
    longest = max(len(expected) for _, expected in cases)

    def rates(steps):
        return keras.ops.stack([schedule(steps) for schedule in schedules])

    given = array(under_xla(rates)(keras.ops.arange(longest, dtype="int32")))
    for ours, (expression, expected) in zip(given, cases, strict=True):
        assert excess(ours[: len(expected)], expected) <= 1, expression


def test_goldens_cover_every_pytorch_schedule():
    assert sorted(CASES) == sorted(CLASSES)


@pytest.mark.parametrize("name", CLASSES)
def test_goldens_are_many_and_long(name):
    assert sum(len(expected) >= 150 for _, expected in CASES[name]) >= 20


def parsed(name):
    return [(keraslr.parse(expression), len(expected)) for expression, expected in CASES[name]]


def test_goldens_hold_both_shapes_of_one_cycle_with_both_strategies():
    kinds = collections.Counter(
        (schedule.three_phase, schedule.anneal_strategy)
        for schedule, steps in parsed("OneCycleLR")
        if steps > schedule.length
    )
    assert set(kinds) == set(itertools.product([True, False], ["cos", "linear"]))
    assert min(kinds.values()) >= 5


def test_goldens_hold_every_mode_of_the_cycle_with_unequal_slopes():
    kinds = collections.Counter(
        schedule.mode
        for schedule, steps in parsed("CyclicLR")
        if schedule.step_size_down not in (None, schedule.step_size_up)
        and steps > 2 * schedule.cycle_length
    )
    assert set(kinds) == {"triangular", "triangular2", "exp_range"}
    assert min(kinds.values()) >= 3


def test_goldens_hold_the_momentum_of_every_kind_of_cycle():
    kinds = collections.Counter()
    for expression, expected in MOMENTUM_CASES:
        schedule = keraslr.parse(expression)
        assert type(schedule) is keraslr.CycledMomentum
        cycle = schedule.schedule
        if isinstance(cycle, keraslr.OneCycleLR):
            kinds[cycle.three_phase, cycle.anneal_strategy] += len(expected) > cycle.length
        else:
            kinds[cycle.mode] += len(expected) >= 150
    assert len(kinds) == 7
    assert min(kinds.values()) >= 5
    assert sum(kinds.values()) >= 60


@pytest.mark.parametrize("name", ["SequentialLR", "ChainedScheduler"])
def test_goldens_join_three_schedules(name):
    assert sum(len(schedule.schedules) == 3 for schedule, _ in parsed(name)) >= 20


def test_goldens_count_epochs_in_both_ways():
    smooth = collections.Counter(schedule.smooth for schedule, _ in parsed("PerEpoch"))
    assert min(smooth[True], smooth[False]) >= 20


@pytest.mark.parametrize(
    ("name", "last_event", "at_least"),
    [
        ("ConstantLR", lambda s: s.total_iters, 20),
        ("LinearLR", lambda s: s.total_iters, 20),
        ("StepLR", lambda s: 2 * s.step_size, 20),
        ("MultiStepLR", lambda s: s.milestones[-1], 20),
        ("PolynomialLR", lambda s: s.total_iters, 20),
        ("CosineAnnealingLR", lambda s: 2 * s.T_max, 20),
        ("CosineAnnealingWarmRestarts", lambda s: s.T_0 * (1 + s.T_mult), 20),
        ("OneCycleLR", lambda s: s.length, 20),
        ("LambdaLR", lambda s: s.total_iters, 20),
        ("MultiplicativeLR", lambda s: s.total_iters, 20),
        ("SequentialLR", lambda s: s.milestones[-1], 20),
    ],
)
def test_goldens_run_past_the_last_event(name, last_event, at_least):
    assert sum(steps > last_event(schedule) for schedule, steps in parsed(name)) >= at_least


# Schedules that PyTorch does not have, against their definitions in double precision.


def inverse_sqrt(schedule, t):
    """transformers.get_inverse_sqrt_schedule, times the optimizer's rate."""
    warmup = schedule.num_warmup_steps
    if t < warmup:
        return schedule.initial_learning_rate * t / max(1, warmup)
    timescale = schedule.timescale if schedule.timescale is not None else warmup or 10_000
    shifted = t + (timescale - warmup)
    return schedule.initial_learning_rate / math.sqrt(shifted / timescale)


def warmup_stable_decay(schedule, t):
    """transformers.get_wsd_schedule with its half cosine, times the optimizer's rate."""
    warmup, stable = schedule.num_warmup_steps, schedule.num_stable_steps
    decay, floor = schedule.num_decay_steps, schedule.min_lr_ratio
    if t < warmup:
        done = t / warmup
        share = {
            "linear": done,
            "cosine": math.sin(math.pi / 2 * done) ** 2,  # (1 - cos(pi * done)) / 2
            "1-sqrt": done / (1 + math.sqrt(1 - done)),  # 1 - sqrt(1 - done)
        }[schedule.warmup_type]
    elif t < warmup + stable:
        share = 1.0
    elif t < warmup + stable + decay:
        done = (t - warmup - stable) / decay
        left = (warmup + stable + decay - t) / decay
        share = {
            "linear": left,
            "cosine": math.sin(math.pi / 2 * left) ** 2,  # (1 + cos(pi * done)) / 2
            "1-sqrt": left / (1 + math.sqrt(done)),  # 1 - sqrt(done)
        }[schedule.decay_type]
    else:
        share = 0.0
    return schedule.initial_learning_rate * (floor + (1 - floor) * share)


def factor(schedule, t):
    """The factor scheduler of Dive into Deep Learning."""
    power = t * math.log(schedule.factor) + math.log(schedule.initial_learning_rate)
    return max(schedule.stop_factor_lr, math.exp(min(power, 700.0)))


def inverse_power(schedule, t):
    """The polynomial decay of Dive into Deep Learning."""
    return schedule.initial_learning_rate * (1 + schedule.beta * t) ** -schedule.alpha


@pytest.mark.parametrize(
    ("cls", "definition"),
    [
        (keraslr.InverseSqrtLR, inverse_sqrt),
        (keraslr.WarmupStableDecayLR, warmup_stable_decay),
        (keraslr.FactorLR, factor),
        (keraslr.InversePowerLR, inverse_power),
    ],
)
@settings(deadline=None, max_examples=examples(30))
@given(data=st.data())
def test_equals_its_definition(cls, definition, data):
    schedule = data.draw(accepted()[cls])
    steps = data.draw(steps_near(schedule))
    expected = np.array([definition(schedule, t) for t in steps])
    seen = expected < 1e30  # what grows is followed so far
    ours = read_at(schedule, steps)
    # The absolute allowance is measured by the rate, so that tiny rates are held to it as well.
    near_zero = ABSOLUTE * schedule.initial_learning_rate
    np.testing.assert_allclose(ours[seen], expected[seen], rtol=RELATIVE, atol=near_zero)


def test_definitions_are_met_at_values_worked_out_by_hand():
    # So that the definitions above are not taken on trust.
    assert inverse_sqrt(keraslr.InverseSqrtLR(0.4, 100, timescale=50), 100 + 150) == 0.2
    assert inverse_sqrt(keraslr.InverseSqrtLR(0.4, 0), 30_000) == 0.2
    assert inverse_sqrt(keraslr.InverseSqrtLR(0.4, 100), 300) == pytest.approx(0.4 / 3**0.5)
    stable = keraslr.WarmupStableDecayLR(1.0, 4, 10, 4, "1-sqrt", "1-sqrt", min_lr_ratio=0.2)
    assert warmup_stable_decay(stable, 3) == pytest.approx(0.2 + 0.8 * 0.5)
    assert warmup_stable_decay(stable, 15) == pytest.approx(0.2 + 0.8 * 0.5)
    assert warmup_stable_decay(stable, 18) == 0.2
    assert factor(keraslr.FactorLR(2.0, 0.5, 0.3), 2) == pytest.approx(0.5)
    assert inverse_power(keraslr.InversePowerLR(0.1, 1.0, 0.5), 3) == 0.05


@settings(deadline=None, max_examples=examples(20))
@given(data=st.data())
def test_equals_the_piecewise_schedule_of_keras(data):
    ours = data.draw(accepted(most=2000)[keraslr.PiecewiseConstantLR])
    if not ours.boundaries:
        return  # Keras's needs at least one
    theirs = keras.optimizers.schedules.PiecewiseConstantDecay(
        list(ours.boundaries), list(ours.rates)
    )
    steps = data.draw(steps_near(ours, last=4000))
    expected = [float(theirs(np.int32(t))) for t in steps]
    np.testing.assert_array_equal(read_at(ours, steps), np.float32(expected))
