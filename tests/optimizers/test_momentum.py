"""A scheduled momentum is applied, step by step, as the formula says."""

from __future__ import annotations

import inspect

import keras
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, STEP_MODES, array, compiled_step, thinned
from momenta import (
    GRADIENTS,
    KINDS,
    RATE,
    STEPS,
    assert_applied,
    compiled,
    each_formula,
    every_kind,
    every_mode,
    fit,
    made,
    momenta,
    rates,
    weight_of,
)

import keraslr
from keraslr.optimizers import SGD, Adam


@each_formula
def test_the_measurement_sees_a_momentum_that_is_wrong(kind):
    model = compiled(made(kind), **QUICKLY)
    fit(model)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_applied(weight_of(model), kind, rates(), momenta(start=1), GRADIENTS)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_applied(weight_of(model), kind, rates(), momenta() + 1e-3, GRADIENTS)


@each_formula
@every_mode
def test_every_step_applies_its_momentum(kind, mode):
    model = compiled(made(kind), **mode)
    fit(model)
    assert int(model.optimizer.iterations) == STEPS
    assert_applied(weight_of(model), kind, rates(), momenta(), GRADIENTS)


class Counted(keras.optimizers.schedules.LearningRateSchedule):
    """A constant that counts how often it was asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return keras.ops.convert_to_tensor(0.5)


@every_kind
def test_all_variables_of_a_step_share_one_evaluation(kind):
    counted, variables = Counted(), [keras.Variable(0.0) for _ in range(5)]
    optimizer = made(kind, counted)
    for steps in (1, 2):
        optimizer.apply([keras.ops.convert_to_tensor(1.0)] * 5, variables)
        assert counted.calls == steps


@every_kind
def test_a_bare_loop_applies_it_step_by_step(kind):
    optimizer, weight, seen = made(kind), keras.Variable(0.0), []
    for gradient in GRADIENTS.astype("float32"):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        seen.append(float(array(weight)))
    _, fixed, definition, tolerance = KINDS[kind]
    expected = definition(rates(), momenta(), GRADIENTS, **fixed)
    np.testing.assert_allclose(seen, expected, rtol=tolerance)


@each_formula
def test_accumulated_gradients_count_as_steps_for_both_schedules(kind):
    model = compiled(made(kind, gradient_accumulation_steps=3), **QUICKLY)
    fit(model)
    updates = slice(2, None, 3)
    means = GRADIENTS.reshape(-1, 3).mean(axis=1)
    assert_applied(weight_of(model), kind, rates()[updates], momenta()[updates], means)


@each_formula
def test_mixed_precision_applies_the_full_momentum(kind):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(made(kind), **QUICKLY)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    fit(model)
    assert_applied(weight_of(model), kind, rates(), momenta(), GRADIENTS)


def test_steps_that_mixed_precision_skips_do_not_count():
    # 2 ** 18 is infinite in float16 and so are 2 ** 17 and 2 ** 16: three steps are skipped.
    keras.config.set_dtype_policy("mixed_float16")
    try:
        scaled = keras.optimizers.LossScaleOptimizer(made("sgd"), 2.0**18)
        model = compiled(scaled, **QUICKLY)
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model)
    skipped = STEPS - int(model.optimizer.iterations)
    assert skipped >= 3
    left = STEPS - skipped
    assert_applied(weight_of(model), "sgd", rates(left), momenta(left), GRADIENTS[skipped:])


def test_the_schedule_of_another_package_is_applied_too():
    falling = keras.optimizers.schedules.ExponentialDecay(0.9, decay_steps=10, decay_rate=0.5)
    model = compiled(made("nesterov", falling))
    fit(model)
    assert_applied(
        weight_of(model), "nesterov", rates(), 0.9 * 0.5 ** (np.arange(STEPS) / 10), GRADIENTS
    )


def test_a_momentum_per_epoch_changes_with_the_epoch():
    slow = keraslr.CyclicLR(0.1, 0.2, step_size_up=2).momentum_schedule(0.5, 0.9).per_epoch(6)
    model = compiled(made("sgd", slow), **QUICKLY)
    fit(model)
    assert_applied(weight_of(model), "sgd", rates(), np.repeat([0.9, 0.7, 0.5, 0.7], 6), GRADIENTS)


# A constant schedule: Keras's own numbers, to the bit.

CONSTANTS = thinned([0.9, 0.123, 0.0], every=2)
DTYPES = {
    "tensorflow": ["float32", "float16", "bfloat16"],
    "jax": ["float32", "bfloat16"],
    "torch": ["float32"],
}[BACKEND]


def assert_same(ours, theirs, settings=""):
    """To the bit; but under PyTorch Keras's classes are others, which round otherwise."""
    ours, theirs = array(ours), array(theirs)
    if BACKEND == "torch":
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=settings)
    else:
        assert ours.tobytes() == theirs.tobytes(), settings


def constant(value, mode, dtype):
    yield keraslr.PiecewiseConstantLR([10**6], [value, 0.3])
    if mode != "eager" and dtype == "float32":
        # Known to a compiler beforehand, which may round what follows otherwise.
        yield keraslr.PiecewiseConstantLR([], [value])


def pairs(mode, dtype):
    """Keras's optimizers, each with ours that should be the same."""
    for value in CONSTANTS if dtype == "float32" else CONSTANTS[:1]:
        for schedule in constant(value, mode, dtype):
            for nesterov in (False, True):
                # For a momentum of 0 Keras keeps no velocity, and XLA rounds the shorter formula
                # once less.
                if not (value == 0.0 and mode == "xla"):
                    yield (
                        keras.optimizers.SGD(0.01, value, nesterov),
                        SGD(0.01, schedule, nesterov),
                    )
            for amsgrad in (False, True):
                yield (
                    keras.optimizers.Adam(0.01, value, amsgrad=amsgrad),
                    Adam(0.01, schedule, amsgrad=amsgrad),
                )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", STEP_MODES)
def test_a_constant_schedule_gives_the_bits_of_keras(mode, dtype):
    both = list(pairs(mode, dtype))
    weights = [[keras.Variable(np.linspace(-1, 1, 5), dtype=dtype) for _ in range(2)] for _ in both]
    for optimizers, variables in zip(both, weights, strict=True):
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.build([variable])

    # All in one function: a compilation costs more than its runs.
    def step(gradient):
        for optimizers, variables in zip(both, weights, strict=True):
            for optimizer, variable in zip(optimizers, variables, strict=True):
                optimizer.apply([gradient], [variable])

    def variables():
        flat = [variable for pair in weights for variable in pair]
        return flat + [each for pair in both for optimizer in pair for each in optimizer.variables]

    step = compiled_step(step, mode, variables)
    rng = np.random.default_rng(1)
    for _ in range(8 if mode == "eager" else 60):
        gradient = rng.normal(size=5) * 10.0 ** rng.integers(-3, 2)
        step(keras.ops.cast(gradient.astype("float32"), dtype))

    for (theirs, ours), (their_weight, our_weight) in zip(both, weights, strict=True):
        settings = f"{theirs.get_config()} {ours.get_config()}"
        assert our_weight.dtype == their_weight.dtype == dtype
        assert_same(our_weight, their_weight, settings)
        # Without the counters; Keras's SGD has nothing else where the momentum is 0.
        for ours_own, keras_own in zip(ours.variables[2:], theirs.variables[2:], strict=False):
            assert_same(ours_own, keras_own, settings)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(RATE, 0.9), keras.optimizers.SGD(RATE, 0.9)),
        (SGD(RATE), keras.optimizers.SGD(RATE)),
        (Adam(RATE, 0.8), keras.optimizers.Adam(RATE, 0.8)),
        (Adam(), keras.optimizers.Adam()),
    ],
    ids=["sgd", "plain sgd", "adam", "adam's defaults"],
)
def test_a_number_is_keras_itself(ours, theirs):
    weights = []
    for optimizer in (ours, theirs):
        weight = keras.Variable([0.5, -0.5])
        for gradient in GRADIENTS:
            optimizer.apply([keras.ops.convert_to_tensor([gradient, -1.0], "float32")], [weight])
        weights.append(weight)
    assert_same(*weights)
    assert len(ours.variables) == len(theirs.variables)
    own = {"name", "momentum_rule", "dampening"}
    assert {k: v for k, v in ours.get_config().items() if k not in own} == {
        k: v for k, v in theirs.get_config().items() if k not in own
    }


@pytest.mark.parametrize(
    ("ours", "theirs"), [(SGD, keras.optimizers.SGD), (Adam, keras.optimizers.Adam)]
)
def test_arguments_are_those_of_keras(ours, theirs):
    def arguments(cls):
        # The default of the name is another one in each version of Keras.
        return [
            (each.name, each.kind, each.name == "name" or each.default)
            for each in inspect.signature(cls).parameters.values()
            if each.kind is not each.KEYWORD_ONLY  # what Keras does not have
        ]

    assert arguments(ours) == arguments(theirs)


# Refused.


@pytest.mark.parametrize("cls", [SGD, Adam])
@pytest.mark.parametrize(
    "value",
    [True, False, "0.9", None, [0.9], 1j, lambda: 0.9, np.array([0.9]), keraslr.OneCycleLR],
    ids=["True", "False", "text", "None", "list", "complex", "function", "array", "class"],
)
def test_what_is_neither_number_nor_schedule_is_a_type_error(cls, value):
    name = cls.scheduled
    rule = "must be a number >= 0 and <=? 1, or a LearningRateSchedule"
    with pytest.raises(TypeError, match=rf"^{name} {rule}\. Received: {name}="):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (SGD, -0.1),
        (SGD, 1.0000001),
        (SGD, float("nan")),
        (Adam, -1e-9),
        (Adam, 1.0),
        (Adam, float("inf")),
    ],
)
def test_numbers_out_of_range_are_value_errors(cls, value):
    name = cls.scheduled
    with pytest.raises(ValueError, match=rf"^{name} must be a number >= 0 .*{name}={value!r}"):
        cls(**{name: value})


def test_both_ends_of_the_range_are_accepted():
    assert [SGD(momentum=value).momentum for value in (0, 0.0, 1.0, np.float32(0.5))] == [
        0.0,
        0.0,
        1.0,
        0.5,
    ]
    assert Adam(beta_1=0.0).beta_1 == 0.0
