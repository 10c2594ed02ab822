"""The values of schedules: steps of any kind, dtypes, late ticks."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from measured import BACKEND, array, on_tensorflow, thinned
from strategies import EXAMPLES

import keraslr
from keraslr import (
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    LinearLR,
    MultiStepLR,
    PiecewiseConstantLR,
    StepLR,
    WarmupStableDecayLR,
)
from keraslr.schedules import registered

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
