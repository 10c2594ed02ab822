"""What a schedule takes, gives and is."""

from __future__ import annotations

import dataclasses
import math

import keras
import numpy as np
import pytest
from measured import BACKEND, array, on_tensorflow, thinned
from strategies import EXAMPLES

import keraslr
from keraslr import (
    ChainedScheduler,
    Clipped,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CycledMomentum,
    CyclicLR,
    ExponentialLR,
    FactorLR,
    HeldAfter,
    InverseSqrtLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PerEpoch,
    PiecewiseConstantLR,
    Scaled,
    SequentialLR,
    StepLR,
    Warmup,
    WarmupStableDecayLR,
)
from keraslr.schedules import parameters, registered

STEPS = 40
BIG = 2**24 + 1  # the first integer that a float32 does not hold

every_schedule = pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
SOME = thinned(EXAMPLES)
some_schedules = pytest.mark.parametrize("schedule", SOME.values(), ids=SOME)


def close(rates, expected):
    """Equal but for the last digits.

    A graph may round otherwise than single operations, and a sine or a root otherwise in the
    middle of an array than at its end, where the processor's vectors do not fit any more.
    """
    np.testing.assert_allclose(rates, expected, rtol=5e-7, atol=0)


def test_examples_hold_every_class():
    classes = {type(schedule) for schedule in EXAMPLES.values()}
    assert classes == {
        cls for cls in registered().values() if cls.__module__.startswith("keraslr.")
    }


# What it takes, and what it gives.


@some_schedules
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (0, 4), (1, 1, 1)], ids=str)
def test_rates_have_the_shape_of_the_steps(schedule, shape):
    steps = np.random.default_rng(0).integers(0, STEPS, shape)
    rates = schedule(steps)
    assert tuple(rates.shape) == shape
    assert keras.backend.standardize_dtype(rates.dtype) == "float32"
    close(array(rates), schedule.values(STEPS)[steps])


def native_steps():
    """Step 7 as tensors and variables of the backend's own."""
    if BACKEND == "jax":
        import jax.numpy as jnp

        return [jnp.asarray(7), jnp.asarray([7], "uint8")]
    if BACKEND == "torch":
        import torch

        return [torch.tensor(7), torch.tensor([7], dtype=torch.int32)]
    import tensorflow as tf

    return [
        tf.constant(7),
        tf.constant([7], tf.int64),
        tf.constant(7, tf.uint8),
        tf.Variable(7),
        tf.Variable([7], dtype=tf.int64),
    ]


@pytest.mark.parametrize(
    "step",
    [
        7,
        np.int32(7),
        np.int64(7),
        np.uint8(7),
        np.array(7, np.int16),
        [7, 7],
        (7,),
        *native_steps(),
        keras.Variable(7, dtype="int32", trainable=False),
        keras.Variable([[7]], dtype="int32" if BACKEND == "jax" else "int64", trainable=False),
        keras.ops.convert_to_tensor(7, "uint16"),
    ],
    ids=lambda step: f"{type(step).__name__}-{getattr(step, 'dtype', '')}",
)
@some_schedules
def test_steps_may_be_integers_of_any_kind(schedule, step):
    rates = keras.ops.convert_to_numpy(schedule(step))
    assert rates.dtype == np.float32
    close(rates, np.full(np.shape(rates), schedule.values(8)[7]))


@pytest.mark.parametrize(
    "step",
    [1.0, np.float32(1), np.array([1.5]), [0.5], True, np.array([True]), "1", np.array("1")],
    ids=repr,
)
def test_steps_must_be_integers(step):
    with pytest.raises(TypeError, match=r"step must be made of integers\. Received: step="):
        StepLR(0.1, 2)(step)


@pytest.mark.parametrize("make", [keras.ops.convert_to_tensor, keras.Variable])
def test_float_tensors_are_no_steps(make):
    with pytest.raises(TypeError, match=r"step must be made of integers.*float32"):
        StepLR(0.1, 2)(make(1.0))


@pytest.mark.parametrize("step", [-1, np.int64(-1), np.array([3, -2]), [0, -1], ((-5,),)], ids=repr)
def test_steps_must_not_be_negative(step):
    with pytest.raises(ValueError, match=r"step must be >= 0\. Received: step="):
        StepLR(0.1, 2)(step)


def test_steps_that_the_backend_cannot_count_are_refused():
    # JAX would begin again below zero.
    largest = 2**31 - 1 if BACKEND == "jax" else 2**63 - 1
    last = MultiStepLR(1.0, [2**30 - 1], gamma=0.5).values(2, start=2**30 - 2)
    np.testing.assert_array_equal(last, [1.0, 0.5])
    with pytest.raises(ValueError, match=rf"step must be <= {largest}\. .*step={largest + 1}"):
        StepLR(0.1, 2)(largest + 1)


@pytest.fixture(params=["float16", "bfloat16", "float64"])
def floatx(request):
    before = keras.config.floatx()
    keras.config.set_floatx(request.param)
    yield request.param
    keras.config.set_floatx(before)


# Computed here, where float32 is still the default.
PLAIN = {name: (s.values(STEPS), (s * 1e-9).values(STEPS)) for name, s in EXAMPLES.items()}


@pytest.mark.parametrize("name", EXAMPLES)
def test_rates_do_not_depend_on_the_default_float(name, floatx):
    schedule = EXAMPLES[name]
    for again, expected in zip((schedule, schedule * 1e-9), PLAIN[name], strict=True):
        rates = again.values(STEPS)
        assert rates.dtype == np.float32
        np.testing.assert_array_equal(rates, expected)


@every_schedule
@on_tensorflow
@pytest.mark.parametrize(
    ("dtype", "shape"),
    [("int32", ()), ("int64", (None,)), ("int32", (None, None)), ("int64", (2, None))],
    ids=str,
)
def test_graphs_have_no_branches_on_the_step(schedule, dtype, shape):
    import tensorflow as tf

    # Without autograph a Python `if` or `while` on a symbolic step raises, and so does a loop
    # over steps whose number is unknown.
    @tf.function(autograph=False, input_signature=[tf.TensorSpec(shape, dtype)])
    def rates(steps):
        return schedule(steps)

    size = STEPS if shape else 1
    steps = np.arange(size).reshape([2] * (len(shape) - 1) + [-1] if shape else ())
    given = rates(tf.constant(steps, dtype))
    assert given.dtype == tf.float32
    close(given.numpy(), schedule.values(size).reshape(steps.shape))


@some_schedules
def test_values_are_the_rates_of_the_steps_one_by_one(schedule):
    one_by_one = [float(schedule(step)) for step in range(STEPS)]
    rates = schedule.values(STEPS)
    assert rates.dtype == np.float32
    close(rates, one_by_one)


@some_schedules
def test_values_may_start_later(schedule):
    close(schedule.values(9, start=13), schedule.values(22)[13:])


def test_values_of_no_steps_are_an_empty_array():
    rates = StepLR(0.1, 2).values(0)
    assert (rates.shape, rates.dtype) == ((0,), np.float32)


def test_values_are_computed_in_one_call(monkeypatch):
    calls = []
    at = StepLR.at
    monkeypatch.setattr(StepLR, "at", lambda self, t: calls.append(1) or at(self, t))
    assert StepLR(0.1, 2).values(1000).shape == (1000,)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"n": -1}, ValueError, "n must be an integer >= 0. Received: n=-1"),
        ({"n": 2.0}, TypeError, "n must be an integer >= 0. Received: n=2.0"),
        ({"n": True}, TypeError, "n must be an integer >= 0. Received: n=True"),
        ({"n": 1, "start": -1}, ValueError, "start must be an integer >= 0. Received: start=-1"),
        ({"n": 1, "start": None}, TypeError, "start must be an integer >= 0. Received: start=None"),
    ],
)
def test_values_refuses_what_is_no_number_of_steps(arguments, error, text):
    with pytest.raises(error, match=text):
        StepLR(0.1, 2).values(**arguments)


# No drift where float32 counts in twos, or in sixty-fours.

DROP = MultiStepLR(1.0, [1], gamma=0.5)


@pytest.mark.parametrize("tick", [BIG, 2**25 + 3, 10**9 + 1])
@pytest.mark.parametrize(
    ("make", "before", "after"),
    [
        (lambda t: StepLR(1.0, t, 0.5), 1, 0.5),
        (lambda t: MultiStepLR(1.0, [5, t, t + 10], 0.5), 0.5, 0.25),
        (lambda t: ConstantLR(1.0, 0.5, total_iters=t), 0.5, 1),
        (lambda t: PiecewiseConstantLR([5, t - 1], [4.0, 2.0, 1.0]), 2, 1),
        (lambda t: DROP.per_epoch(t), 1, 0.5),
        (lambda t: DROP.per_epoch(t, smooth=True), 1, 0.5),
        (lambda t: ConstantLR(1.0, 1.0).then(ConstantLR(2.0, 1.0), at=t), 1, 2),
        (lambda t: ConstantLR(2.0, 1.0).with_warmup(t, start_lr=1.0, mode="constant"), 1, 2),
        (lambda t: DROP.with_warmup(t - 1, start_lr=1.0), 1, 0.5),
        (lambda t: MultiStepLR(1.0, [t], 0.5).held_after(t), 1, 0.5),
        (lambda t: StepLR(1.0, t, 0.5).held_after(t - 1), 1, 1),
        (lambda t: CyclicLR(1.0, 2.0, t - 1, 1), 2, 1),
        (lambda t: WarmupStableDecayLR(1.0, 0, t, 0, min_lr_ratio=0.5), 1, 0.5),
        (lambda t: CosineAnnealingWarmRestarts(1.0, t, eta_min=1.0), 1, 1),
    ],
)
def test_jumps_come_at_their_tick_however_late(make, before, after, tick):
    schedule = make(tick)
    np.testing.assert_array_equal(schedule.values(3, start=tick - 2), [before, before, after])
    # The iteration counter of a Keras optimizer is a 32-bit integer.
    late = keras.Variable([tick - 1, tick], dtype="int32", trainable=False)
    np.testing.assert_array_equal(array(schedule(late)), [before, after])


@pytest.mark.parametrize(
    ("schedule", "period"),
    [
        (CosineAnnealingLR(0.1, 7, eta_min=0.01), 14),
        (CosineAnnealingWarmRestarts(0.1, 7), 7),
        (CyclicLR(0.01, 0.1, 3, 8), 11),
        (CosineAnnealingLR(0.1, 3).per_epoch(5), 30),
        (CosineAnnealingWarmRestarts(0.1, 3).per_epoch(5, smooth=True), 15),
        (CyclicLR(0.01, 0.1, 3, 4).with_warmup(70), 7),
    ],
    ids=str,
)
def test_cycles_are_the_same_after_a_billion_steps(schedule, period):
    first = 10 * period  # after any warm-up
    many = 10**9 // period * period
    np.testing.assert_array_equal(
        schedule.values(3 * period, start=many), schedule.values(3 * period, start=first)
    )


def test_restarts_of_growing_cycles_come_at_their_tick():
    # A logarithm of t puts the fifth start of T_mult=3, at 121 * T_0, one tick late.
    starts = [(3**i - 1) // 2 for i in range(1, 18)]
    schedule = CosineAnnealingWarmRestarts(0.5, T_0=1, T_mult=3)
    np.testing.assert_array_equal(array(schedule(np.array(starts))), np.float32(0.5))
    assert (array(schedule(np.array(starts[2:]) - 1)) < 0.05).all()


@pytest.mark.parametrize("length", [10, 1000, 10**6, 10**9])
@pytest.mark.parametrize(
    ("make", "share"),
    [
        (lambda n: LinearLR(1.0, 1.0, 0.0, n), lambda x: x),
        (lambda n: keraslr.PolynomialLR(1.0, n, power=2.0), lambda x: x**2),
        (lambda n: CosineAnnealingLR(1.0, n), lambda x: math.sin(math.pi / 2 * x) ** 2),
        (lambda n: WarmupStableDecayLR(1.0, 0, 0, n, decay_type="linear"), lambda x: x),
    ],
)
def test_the_last_steps_before_zero_keep_their_digits(make, share, length):
    # 1 - t / T and 1 + cos(x) have none left there.
    rates = make(length).values(3, start=length - 2)
    np.testing.assert_allclose(
        rates, [share(2 / length), share(1 / length), 0.0], rtol=1e-6, atol=0
    )


# Combinators and their methods.

FALL = LinearLR(0.8, start_factor=1.0, end_factor=0.0, total_iters=4)  # 0.8 0.6 0.4 0.2 0
HALVED = ExponentialLR(0.8, gamma=0.5)  # 0.8 0.4 0.2 0.1


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (FALL.per_epoch(2), [0.8, 0.8, 0.6, 0.6, 0.4, 0.4, 0.2]),
        (FALL.per_epoch(2, smooth=True), [0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]),
        (FALL.per_epoch(1), [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]),
        (FALL.per_epoch(2).per_epoch(2), [0.8] * 4 + [0.6] * 4 + [0.4] * 4),
        (FALL.per_epoch(2, True).per_epoch(2), [0.8, 0.8, 0.7, 0.7, 0.6, 0.6]),
        (FALL.per_epoch(2, True).per_epoch(2, True), [0.8, 0.75, 0.7, 0.65, 0.6]),
        (StepLR(0.8, 1, 0.5).per_epoch(2, smooth=True), [0.8, 0.8, 0.4, 0.4, 0.2]),
        (HALVED.per_epoch(2, smooth=True), [0.8, 0.8 * 0.5**0.5, 0.4, 0.4 * 0.5**0.5]),
        (FALL.with_warmup(4), [0.0, 0.2, 0.4, 0.6, 0.8, 0.6, 0.4]),
        (FALL.with_warmup(4, start_lr=0.4), [0.4, 0.5, 0.6, 0.7, 0.8, 0.6]),
        (FALL.with_warmup(2, start_lr=1.0), [1.0, 0.9, 0.8, 0.6]),
        (FALL.with_warmup(2, 0.1, "constant"), [0.1, 0.1, 0.8, 0.6]),
        (FALL.with_warmup(2, 0.4, mode="cosine"), [0.4, 0.6, 0.8, 0.6]),
        (
            FALL.with_warmup(4, mode="cosine"),
            [0.4 * (1 - math.cos(math.pi * x / 4)) for x in range(5)],
        ),
        (FALL.with_warmup(2).per_epoch(2), [0.0, 0.0, 0.4, 0.4, 0.8, 0.8, 0.6]),
        (FALL.with_warmup(2).per_epoch(2, True), [0.0, 0.2, 0.4, 0.6, 0.8, 0.7, 0.6]),
        (FALL.per_epoch(2).with_warmup(2), [0.0, 0.4, 0.8, 0.8, 0.6, 0.6]),
        (FALL.then(HALVED, at=2), [0.8, 0.6, 0.8, 0.4, 0.2]),
        (FALL.then(HALVED, at=2).then(FALL, at=3), [0.8, 0.6, 0.8, 0.8, 0.6]),
        (FALL.then(HALVED.with_warmup(2), at=1), [0.8, 0.0, 0.4, 0.8, 0.4]),
        (FALL.then(HALVED, at=2).per_epoch(2, True), [0.8, 0.7, 0.6, 0.5, 0.8]),
        (FALL * 0.5, [0.4, 0.3, 0.2, 0.1, 0.0]),
        (3 * FALL, [2.4, 1.8, 1.2, 0.6, 0.0]),
        (0.5 * FALL * 0.5, [0.2, 0.15, 0.1]),
        (FALL.clipped(), [0.8, 0.6, 0.4, 0.2, 0.0]),
        (FALL.clipped(0.3), [0.8, 0.6, 0.4, 0.3, 0.3]),
        (FALL.clipped(max_lr=0.5), [0.5, 0.5, 0.4, 0.2, 0.0]),
        (FALL.clipped(0.3, 0.5), [0.5, 0.5, 0.4, 0.3, 0.3]),
        (FALL.clipped(0.3, 0.3), [0.3, 0.3, 0.3, 0.3]),
        (FALL.held_after(2), [0.8, 0.6, 0.4, 0.4, 0.4]),
        (FALL.held_after(0), [0.8, 0.8, 0.8]),
        (FALL.held_after(1).per_epoch(2, True), [0.8, 0.7, 0.6, 0.6, 0.6, 0.6]),
        (FALL.per_epoch(2, True).held_after(3), [0.8, 0.7, 0.6, 0.5, 0.5, 0.5]),
        (ChainedScheduler([FALL, HALVED]), [0.8, 0.3, 0.1, 0.025, 0.0]),
        (ChainedScheduler([FALL]), [0.8, 0.6, 0.4]),
        (ChainedScheduler([FALL, FALL.with_warmup(2)]), [0.0, 0.3, 0.4, 0.15]),
        (SequentialLR([FALL], []), [0.8, 0.6, 0.4]),
        (MultiStepLR(0.8, []), [0.8, 0.8, 0.8]),
        (MultiStepLR(0.8, [0, 2, 2], 0.5), [0.4, 0.4, 0.1]),
        (PiecewiseConstantLR([], [0.8]), [0.8, 0.8]),
        (PiecewiseConstantLR([0, 2], [0.3, 0.2, 0.1]), [0.3, 0.2, 0.2, 0.1]),
        (LambdaLR(0.8, [0.5], total_iters=0), [0.4, 0.4]),
        (CyclicLR(0.3, 0.3, mode="exp_range", gamma=2.0), [0.3, 0.3]),
        (CyclicLR(0.3, 0.3, mode="triangular2"), [0.3, 0.3]),
        (InverseSqrtLR(0.8, 0, timescale=1), [0.8, 0.8 / 2**0.5, 0.8 / 3**0.5, 0.4]),
        (FactorLR(0.8, 0.5, stop_factor_lr=1.0), [1.0, 1.0]),
    ],
    ids=str,
)
def test_combinators_and_corner_cases_give(schedule, expected):
    np.testing.assert_allclose(schedule.values(len(expected)), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        (FALL.per_epoch(3), PerEpoch(FALL, steps_per_epoch=3, smooth=False)),
        (FALL.per_epoch(3, smooth=True), PerEpoch(FALL, 3, True)),
        (FALL.with_warmup(5), Warmup(FALL, steps=5, start_lr=0.0, mode="linear")),
        (FALL.with_warmup(5, 0.1, "cosine"), Warmup(FALL, 5, 0.1, "cosine")),
        (FALL.then(HALVED, at=3), SequentialLR((FALL, HALVED), (3,))),
        (
            FALL.then(HALVED, at=3).then(FALL, at=5).then(HALVED, at=9),
            SequentialLR((FALL, HALVED, FALL, HALVED), (3, 5, 9)),
        ),
        # What comes after may be a sequence itself, with a clock of its own: that one stays.
        (
            FALL.then(HALVED.then(FALL, at=2), at=3),
            SequentialLR((FALL, SequentialLR((HALVED, FALL), (2,))), (3,)),
        ),
        (FALL.clipped(0.1, 0.5), Clipped(FALL, min_lr=0.1, max_lr=0.5)),
        (FALL.clipped(), Clipped(FALL, 0.0, None)),
        (FALL.held_after(3), HeldAfter(FALL, t=3)),
        (FALL * 2, Scaled(FALL, factor=2.0)),
        (2 * FALL, Scaled(FALL, 2.0)),
        # The defaults of PyTorch, which are not the same for both.
        (OneCycleLR(1.0, 9).momentum_schedule(), CycledMomentum(OneCycleLR(1.0, 9), 0.85, 0.95)),
        (CyclicLR(0.1, 1.0).momentum_schedule(), CycledMomentum(CyclicLR(0.1, 1.0), 0.8, 0.9)),
        (
            CyclicLR(0.1, 1.0).momentum_schedule(0.5, max_momentum=0.6).per_epoch(3),
            PerEpoch(CycledMomentum(CyclicLR(0.1, 1.0), 0.5, 0.6), 3),
        ),
    ],
)
def test_methods_are_short_for_classes(short, long):
    assert short == long


@pytest.mark.parametrize("at", [3, 2])
def test_a_chain_of_then_goes_forwards(at):
    with pytest.raises(ValueError, match=rf"milestones must be .*increasing.*\(3, {at}\)"):
        FALL.then(HALVED, at=3).then(FALL, at=at)


@pytest.mark.parametrize("factor", ["2", None, FALL, [2], True], ids=repr)
def test_only_numbers_multiply_a_schedule(factor):
    with pytest.raises(TypeError, match="factor must be a number > 0"):
        FALL * factor


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: CyclicLR(0.2, 0.1),
            r"max_lr must be >= base_lr. Received: max_lr=0.1, base_lr=0.2",
        ),
        (
            lambda: CyclicLR(0.1, 0.2).momentum_schedule(0.9, 0.8),
            r"max_momentum must be >= base_momentum. Received: max_momentum=0.8, base_momentum=0.9",
        ),
        (
            lambda: OneCycleLR(0.1),
            (
                r"total_steps must be given, or both epochs and steps_per_epoch. "
                r"Received: epochs=None, steps_per_epoch=None"
            ),
        ),
        (lambda: OneCycleLR(0.1, epochs=3), r"total_steps must be given.*epochs=3"),
        (lambda: OneCycleLR(0.1, steps_per_epoch=3), r"total_steps must be given"),
        (
            lambda: OneCycleLR(0.1, total_steps=10, epochs=3, steps_per_epoch=4),
            r"total_steps must equal epochs \* steps_per_epoch.*total_steps=10, epochs=3",
        ),
        (
            lambda: OneCycleLR(0.1, epochs=2**20, steps_per_epoch=2**20),
            r"total_steps must be .*<= 1073741823. Received: total_steps=1099511627776",
        ),
        (
            lambda: OneCycleLR(0.1, total_steps=10, pct_start=0.1),
            r"pct_start \* total_steps must not be 1.*pct_start=0.1, total_steps=10",
        ),
        (
            lambda: OneCycleLR(0.1, epochs=2, steps_per_epoch=5, pct_start=0.1),
            r"pct_start \* total_steps must not be 1",
        ),
        (
            lambda: OneCycleLR(0.1, 20, div_factor=1e-20, final_div_factor=1e-20),
            r"div_factor and final_div_factor must keep the rates within float32's range.*1e-20",
        ),
        (
            lambda: OneCycleLR(1e30, 20, div_factor=1e-20),
            r"div_factor .*must keep the rates within float32's range.*div_factor=1e-20",
        ),
        (
            lambda: PiecewiseConstantLR([1, 2], [0.1, 0.2]),
            r"rates must hold one number more than boundaries. Received: 2 rates, 2 boundaries",
        ),
        (
            lambda: SequentialLR([FALL, HALVED], [1, 2]),
            r"milestones must hold one integer less .* Received: 2 milestones, 2 schedules",
        ),
        (
            lambda: ChainedScheduler([FALL, ExponentialLR(0.1, 0.5)]),
            (
                r"schedules must share one initial learning rate. Received: LinearLR with 0.8, "
                r"ExponentialLR with 0.1"
            ),
        ),
        (
            lambda: ChainedScheduler([FALL, CyclicLR(0.1, 0.8)]),
            r"schedules must share one initial learning rate. .*CyclicLR with none",
        ),
        (
            lambda: Clipped(FALL, 0.5, 0.1),
            r"max_lr must be >= min_lr. Received: max_lr=0.1, min_lr=0.5",
        ),
        (
            lambda: LambdaLR(0.1, [1.0, 0.5], total_iters=2),
            (
                r"lr_lambda must be a function or hold a number for each t = 0\.\.2, 3 in all. "
                r"Received: 2 numbers"
            ),
        ),
        (
            lambda: MultiplicativeLR(0.1, [1.0, 0.5, 0.1], total_iters=2),
            r"lr_lambda must be .* for each t = 1\.\.2, 2 in all. Received: 3 numbers",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_one_cycle_takes_its_length_in_either_way():
    in_epochs = OneCycleLR(0.1, epochs=5, steps_per_epoch=8)
    assert (in_epochs.length, in_epochs.total_steps) == (40, 40)
    np.testing.assert_array_equal(in_epochs.values(50), OneCycleLR(0.1, 40).values(50))


@pytest.mark.parametrize(
    ("schedule", "base"),
    [
        (FALL, 0.8),
        (FALL.per_epoch(2), 0.8),
        (FALL.with_warmup(2), 0.8),
        (FALL.clipped(0.1), 0.8),
        (FALL.held_after(2), 0.8),
        (FALL * 0.5, 0.4),
        (CyclicLR(0.1, 0.8) * 0.5, None),
        (FALL.then(HALVED, at=2), 0.8),
        (FALL.then(ExponentialLR(0.1, 0.5), at=2), None),
        (FALL.then(CyclicLR(0.1, 0.8), at=2), None),
        (ChainedScheduler([FALL, HALVED]), 0.8),
        (CyclicLR(0.1, 0.8), None),
        (OneCycleLR(0.1, 10), None),
        (OneCycleLR(0.1, 10).momentum_schedule(), None),
        (PiecewiseConstantLR([], [0.1]), None),
    ],
    ids=str,
)
def test_base_learning_rate_is_what_factors_multiply(schedule, base):
    assert schedule.base_learning_rate == base


# LambdaLR and MultiplicativeLR keep the numbers of a function.


@pytest.mark.parametrize(
    ("cls", "ticks"), [(LambdaLR, [0, 1, 2, 3]), (MultiplicativeLR, [1, 2, 3])]
)
def test_functions_are_called_once_for_each_tick_and_never_again(cls, ticks):
    called = []

    def half(t):
        called.append(t)
        return np.float32(0.5)

    schedule = cls(0.1, half, total_iters=3)
    schedule.values(10)
    assert called == ticks
    assert {type(t) for t in called} == {int}
    assert schedule.lr_lambda == (0.5,) * len(ticks)
    assert cls(0.1, [0.5] * len(ticks), total_iters=3) == schedule


@pytest.mark.parametrize("value", [-1.0, math.nan, None, "1", 1e300], ids=repr)
def test_what_a_function_returns_is_checked(value):
    with pytest.raises((TypeError, ValueError), match=r"lr_lambda\[2\] must be a number >= 0"):
        LambdaLR(0.1, lambda t: value if t == 2 else 1.0, total_iters=3)


def test_an_error_in_a_function_reaches_the_person():
    with pytest.raises(ZeroDivisionError):
        LambdaLR(0.1, lambda t: 1 / t, total_iters=3)
    assert MultiplicativeLR(0.1, lambda t: 1 / t, total_iters=3).lr_lambda[0] == 1.0


# A schedule is a value.


@every_schedule
def test_schedules_are_frozen(schedule):
    name = next(iter(parameters(type(schedule))))
    before = repr(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, name, 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(schedule, name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.anything = 1
    assert repr(schedule) == before


@every_schedule
def test_schedules_are_equal_and_hashed_by_value(schedule):
    twin = type(schedule).from_config(schedule.get_config())
    assert twin is not schedule
    assert twin == schedule
    assert {schedule: "found"}[twin] == "found"


def test_no_two_examples_are_equal():
    assert len(set(EXAMPLES.values())) == len(EXAMPLES)


@pytest.mark.parametrize(
    "other",
    [
        StepLR(0.1, 3, gamma=0.2),
        StepLR(0.1, 4),
        StepLR(0.2, 3),
        MultiStepLR(0.1, [3]),
        StepLR(0.1, 3) * 1.0,
        "StepLR(0.1, 3)",
        None,
    ],
    ids=repr,
)
def test_schedules_with_any_difference_are_unequal(other):
    assert StepLR(0.1, 3) != other


def test_sequences_are_kept_as_tuples_whatever_they_came_as():
    milestones = [3, 5]
    schedule = MultiStepLR(0.1, milestones)
    milestones.append(9)
    assert schedule == MultiStepLR(0.1, (m for m in (3, 5))) == MultiStepLR(0.1, np.array([3, 5]))
    assert schedule.milestones == (3, 5)


def test_a_schedule_goes_into_any_keras_optimizer():
    schedule = StepLR(0.5, 2)
    for cls in (keras.optimizers.SGD, keras.optimizers.AdamW, keras.optimizers.Lion):
        assert float(cls(learning_rate=schedule).learning_rate) == 0.5


# linear_scaling


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"learning_rate": 0.1, "batch_size": 256}, 0.1),
        ({"learning_rate": 0.1, "batch_size": 8192}, 3.2),
        ({"learning_rate": 0.1, "batch_size": 64}, 0.025),
        ({"learning_rate": 0.2, "batch_size": 96, "base_batch_size": 32}, 0.6),
        ({"learning_rate": 1, "batch_size": np.int64(1), "base_batch_size": 4}, 0.25),
    ],
)
def test_linear_scaling_is_in_proportion(arguments, expected):
    scaled = keraslr.linear_scaling(**arguments)
    assert type(scaled) is float
    assert scaled == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize(
    ("arguments", "error", "name"),
    [
        ({"learning_rate": 0.0, "batch_size": 1}, ValueError, "learning_rate"),
        ({"learning_rate": math.nan, "batch_size": 1}, ValueError, "learning_rate"),
        ({"learning_rate": "0.1", "batch_size": 1}, TypeError, "learning_rate"),
        ({"learning_rate": 0.1, "batch_size": 0}, ValueError, "batch_size"),
        ({"learning_rate": 0.1, "batch_size": 32.0}, TypeError, "batch_size"),
        ({"learning_rate": 0.1, "batch_size": True}, TypeError, "batch_size"),
        ({"learning_rate": 0.1, "batch_size": 1, "base_batch_size": 0}, ValueError, "base_batch_"),
        ({"learning_rate": 0.1, "batch_size": 1, "base_batch_size": None}, TypeError, "base_batch"),
    ],
)
def test_linear_scaling_names_what_is_wrong(arguments, error, name):
    with pytest.raises(error, match=f"^{name}.* must be a"):
        keraslr.linear_scaling(**arguments)
