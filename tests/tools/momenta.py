"""Optimizers with a scheduled momentum, and the weights that their formulas give."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, thinned

import keraslr
from keraslr.optimizers import SGD, Adam

STEPS = 24
RATE = keraslr.OneCycleLR(1e-3, total_steps=STEPS)
MOMENTUM = RATE.momentum_schedule(0.5, 0.95)
# Eighths, which a float16 holds too.
GRADIENTS = np.random.default_rng(0).integers(1, 12, STEPS) / 8
MODES = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
    "several steps at once": {**QUICKLY, "steps_per_execution": 7},
}
if BACKEND == "jax":
    del MODES["graph"], MODES["eager"]
elif BACKEND == "torch":
    MODES = {"eager": {}}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def sgd(rates, momenta, gradients, nesterov=False):
    """The weight after each step of SGD, beginning at 0."""
    weight = velocity = 0.0
    weights = []
    for rate, momentum, gradient in zip(rates, momenta, gradients, strict=True):
        velocity = momentum * velocity - rate * gradient
        weight += momentum * velocity - rate * gradient if nesterov else velocity
        weights.append(weight)
    return weights


def sgd_of_pytorch(
    rates, momenta, gradients, momentum_rule="pytorch", nesterov=False, dampening=0.0
):
    """The weight after each step of PyTorch's SGD, beginning at 0."""
    weight = velocity = 0.0
    weights = []
    for n, (rate, momentum, gradient) in enumerate(zip(rates, momenta, gradients, strict=True)):
        velocity = momentum * velocity + (1 - dampening) * gradient if n else gradient
        weight -= rate * (gradient + momentum * velocity if nesterov else velocity)
        weights.append(weight)
    return weights


def adam(rates, momenta, gradients, amsgrad=False):
    """The weight after each step of Adam, beginning at 0."""
    weight = m = v = highest = 0.0
    weights = []
    for n, (rate, beta_1, gradient) in enumerate(zip(rates, momenta, gradients, strict=True), 1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = 0.999 * v + 0.001 * gradient**2
        highest = max(highest, v) if amsgrad else v
        alpha = rate * np.sqrt(1 - 0.999**n) / (1 - beta_1**n)
        weight -= alpha * m / (np.sqrt(highest) + 1e-7)
        weights.append(weight)
    return weights


def rates(n=STEPS):
    return RATE.values(n).astype(np.float64)


def momenta(n=STEPS, start=0):
    return MOMENTUM.values(n, start).astype(np.float64)


# Class, arguments besides the schedules, and what they should give. In float32 1 - 0.999 has four
# digits, and its root goes into every step of Adam.
KINDS = {
    "sgd": (SGD, {}, sgd, 2e-6),
    "nesterov": (SGD, {"nesterov": True}, sgd, 2e-6),
    "adam": (Adam, {}, adam, 3e-5),
    "amsgrad": (Adam, {"amsgrad": True}, adam, 3e-5),
    "pytorch": (SGD, {"momentum_rule": "pytorch", "dampening": 0.25}, sgd_of_pytorch, 2e-6),
    "pytorch nesterov": (
        SGD, {"momentum_rule": "pytorch", "nesterov": True}, sgd_of_pytorch, 2e-6,
    ),
}  # fmt: skip
every_kind = pytest.mark.parametrize("kind", thinned(KINDS, every=2))
each_formula = pytest.mark.parametrize("kind", ["nesterov", "adam", "pytorch"])


def made(kind, momentum=MOMENTUM, **arguments):
    cls, fixed, _, _ = KINDS[kind]
    return cls(RATE, **{cls.scheduled: momentum}, **fixed, **arguments)


def assert_applied(weight, kind, *planned):
    _, fixed, definition, tolerance = KINDS[kind]
    np.testing.assert_allclose(weight, definition(*planned, **fixed)[-1], rtol=tolerance)


def compiled(optimizer, **mode):
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(optimizer, loss="hinge", **mode)
    return model


def fit(model, first=0, last=STEPS):
    x = GRADIENTS[first:last, None].astype("float32")
    model.fit(x, -np.ones_like(x), batch_size=1, shuffle=False, verbose=0)


def weight_of(model):
    return float(model.get_weights()[0][0, 0])
