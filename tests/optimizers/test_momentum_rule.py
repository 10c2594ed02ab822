"""While the rate moves, each rule of momentum gives the weights of its own framework."""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, STEP_MODES, array, compiled_step, thinned
from momenta import (
    GRADIENTS,
    RATE,
    STEPS,
    assert_applied,
    compiled,
    fit,
    made,
    momenta,
    rates,
    sgd_of_pytorch,
    weight_of,
)

import keraslr
from keraslr.optimizers import SGD

with np.load(Path(__file__).parents[1] / "goldens" / "sgd.npz") as file:
    GOLDEN_GRADIENTS = file["gradients"]
    columns = [file[name].tolist() for name in ("rates", "arguments", "cycled")]
    CASES = [
        (keraslr.parse(rate), json.loads(arguments), cycled, weights)
        for rate, arguments, cycled, weights in zip(*columns, file["values"], strict=True)
    ]


def ported(rate, arguments, cycled, rule="pytorch"):
    """Our optimizer for a case of the goldens."""
    if not np.isnan(cycled[0]):
        arguments = {**arguments, "momentum": rate.momentum_schedule(*cycled)}
    return SGD(rate, **arguments, momentum_rule=rule)


def descended(optimizers, mode, gradients=GOLDEN_GRADIENTS):
    """The weights after each step, (optimizers, steps); all begin at 1."""
    weights = [keras.Variable(1.0) for _ in optimizers]
    for optimizer, weight in zip(optimizers, weights, strict=True):
        optimizer.build([weight])

    # All in one function: a compilation costs more than its runs.
    def step(gradient):
        for optimizer, weight in zip(optimizers, weights, strict=True):
            optimizer.apply([gradient], [weight])

    def variables():
        return weights + [each for optimizer in optimizers for each in optimizer.variables]

    step, seen = compiled_step(step, mode, variables), []
    for gradient in gradients.astype("float32"):
        step(keras.ops.convert_to_tensor(gradient))
        seen.append([float(array(weight)) for weight in weights])
    return np.transpose(seen)


@pytest.mark.parametrize("mode", STEP_MODES)
def test_pytorchs_rule_gives_the_weights_of_pytorch(mode):
    cases = CASES if mode == STEP_MODES[-1] else CASES[::5]
    found = descended([ported(*case[:3]) for case in cases], mode)
    for case, weights in zip(cases, found, strict=True):
        np.testing.assert_allclose(weights, case[3], rtol=2e-6, atol=2e-6, err_msg=f"{case[:3]}")


def test_goldens_move_the_rate_in_every_way_and_keep_it():
    moving = [case for case in CASES if np.ptp(case[0].values(len(GOLDEN_GRADIENTS))) > 0.02]
    kinds = {type(rate).__name__ for rate, *_ in moving}
    assert kinds == {"StepLR", "CosineAnnealingLR", "OneCycleLR", "CyclicLR"}
    for name, value in (("nesterov", True), ("dampening", 0.3), ("momentum", 0.9)):
        assert sum(arguments.get(name) == value for _, arguments, *_ in moving) >= 6
    assert len(moving) < len(CASES)
    assert any(cycled[0] == 0.6 for _, _, cycled, _ in moving)


def test_keras_rule_gives_the_weights_of_keras_and_not_of_pytorch():
    cases = [case for case in CASES if np.isnan(case[2][0]) and not case[1].get("dampening")]
    cases = thinned(cases, every=5, tensorflow=2)
    arguments = [(rate, given) for rate, given, *_ in cases]
    mode = STEP_MODES[-1]
    ours = descended([SGD(rate, **given) for rate, given in arguments], mode)
    keras_own = descended([keras.optimizers.SGD(rate, **given) for rate, given in arguments], mode)
    if BACKEND == "torch":  # where Keras's class is another, which rounds otherwise
        np.testing.assert_allclose(ours, keras_own, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(ours, keras_own)
    for (rate, given, _, of_torch), weights in zip(cases, ours, strict=True):
        apart = np.abs(weights - of_torch).max()
        if given["momentum"] and np.ptp(rate.values(len(of_torch))):
            assert apart > 0.03, (rate, given)
        else:
            assert apart < 1e-5, (rate, given)


@pytest.mark.parametrize(
    ("rule", "weights"),
    [
        ({"momentum_rule": "pytorch"}, [0.9, 0.71, 0.6829, 0.64851]),
        ({"momentum_rule": "keras"}, [0.9, 0.71, 0.529, 0.3561]),
        ({}, [0.9, 0.71, 0.529, 0.3561]),
    ],
    ids=["pytorch", "keras", "default"],
)
def test_four_steps_under_a_rate_that_falls(rule, weights):
    optimizer = SGD(keraslr.StepLR(0.1, step_size=2), momentum=0.9, **rule)
    found = descended([optimizer], "eager", np.ones(4))[0]
    np.testing.assert_allclose(found, weights, rtol=1e-6)


# With what Keras does around the update.


def test_steps_that_mixed_precision_skips_are_not_the_first():
    # 2 ** 18 is infinite in float16 and so are 2 ** 17 and 2 ** 16: three steps are skipped.
    keras.config.set_dtype_policy("mixed_float16")
    try:
        scaled = keras.optimizers.LossScaleOptimizer(made("pytorch"), 2.0**18)
        model = compiled(scaled, **QUICKLY)
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model)
    left = int(model.optimizer.iterations)
    assert left <= STEPS - 3
    assert_applied(weight_of(model), "pytorch", rates(left), momenta(left), GRADIENTS[-left:])


def test_clipping_and_weight_decay_are_those_of_keras():
    optimizer = SGD(
        RATE, momentum=0.9, momentum_rule="pytorch", clipvalue=0.75, weight_decay=0.5, nesterov=True
    )
    found = descended([optimizer], "eager", GRADIENTS)[0]
    expected, weight = [], 1.0
    steps = np.diff(
        sgd_of_pytorch(rates(), [0.9] * STEPS, GRADIENTS.clip(max=0.75), nesterov=True), prepend=0.0
    )
    for rate, step in zip(rates(), steps, strict=True):
        weight += step - rate * 0.5 * weight
        expected.append(weight)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_rows_of_an_embedding_keep_their_velocity():
    model = keras.Sequential(
        [keras.Input((1,), dtype="int32"), keras.layers.Embedding(2, 1, "zeros")]
    )
    optimizer = SGD(keraslr.StepLR(0.1, step_size=1), momentum=0.5, momentum_rule="pytorch")
    model.compile(optimizer, lambda _, output: output, **QUICKLY)
    model.fit(np.array([[0], [1]]), np.zeros((2, 1)), batch_size=1, shuffle=False, verbose=0)
    # Row 0 has its gradient of 1 in the first step, and moves in the second by its velocity.
    np.testing.assert_allclose(model.get_weights()[0].ravel(), [-0.105, -0.01], rtol=1e-6)


# Files of the other rule.


def built(optimizer):
    model = compiled(optimizer, **QUICKLY)
    optimizer.build(model.trainable_variables)
    return model


def trained(optimizer):
    model = built(optimizer)
    optimizer.apply([keras.ops.ones((1, 1))])
    return model


@pytest.mark.parametrize(("saved", "loading"), [("keras", "pytorch"), ("pytorch", "keras")])
@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scaling"])
def test_a_checkpoint_of_the_other_rule_is_refused(saved, loading, scaled, tmp_path):
    def model(rule):
        optimizer = SGD(RATE, momentum=0.9, momentum_rule=rule)
        return built(keras.optimizers.LossScaleOptimizer(optimizer) if scaled else optimizer)

    model(saved).save_weights(tmp_path / "run.weights.h5")
    text = (
        rf'momentum_rule must be that of the checkpoint.*Received: momentum_rule="{loading}" and '
        rf'a checkpoint of "{saved}"\. Pass momentum_rule="{saved}"'
    )
    with pytest.raises(ValueError, match=text):
        model(loading).load_weights(tmp_path / "run.weights.h5")


def test_keras_own_sgd_says_that_it_does_not_read_the_velocity(tmp_path):
    trained(SGD(RATE, momentum=0.9, momentum_rule="pytorch")).save_weights(
        tmp_path / "a.weights.h5"
    )
    other = trained(keras.optimizers.SGD(RATE, momentum=0.9))
    before = array(other.optimizer.momentums[0])
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        other.load_weights(tmp_path / "a.weights.h5")
    assert array(other.optimizer.momentums[0]) == before != 0


def test_without_a_momentum_both_rules_read_each_others_files(tmp_path):
    trained(SGD(RATE, momentum_rule="pytorch", use_ema=True)).save_weights(
        tmp_path / "a.weights.h5"
    )
    other = built(SGD(RATE, use_ema=True))
    other.load_weights(tmp_path / "a.weights.h5")
    assert int(other.optimizer.iterations) == 1


# Refused.


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"momentum_rule": "torch"}, ValueError,
         'momentum_rule must be one of "keras", "pytorch". Received: momentum_rule=\'torch\''),
        ({"momentum_rule": None}, TypeError, "momentum_rule must be one of"),
        ({"momentum_rule": "pytorch", "dampening": 1.5}, ValueError,
         "dampening must be a number >= 0 and <= 1. Received: dampening=1.5"),
        ({"momentum_rule": "pytorch", "dampening": "0.5"}, TypeError, "dampening must be a number"),
        ({"momentum": 0.9, "dampening": 0.5}, ValueError,
         'which has none. Received: dampening=0.5. Pass momentum_rule="pytorch" to use it'),
        ({"momentum_rule": "pytorch", "nesterov": True}, ValueError,
         "Received: nesterov=True, momentum=0.0, dampening=0.0. Pass a momentum"),
        ({"momentum_rule": "pytorch", "nesterov": True, "momentum": 0.9, "dampening": 0.5},
         ValueError, "Received: nesterov=True, momentum=0.9, dampening=0.5. Pass a momentum"),
    ],
)  # fmt: skip
def test_wrong_rules_are_named_with_their_remedy(arguments, error, text):
    with pytest.raises(error) as caught:
        SGD(**arguments)
    assert text in str(caught.value)
