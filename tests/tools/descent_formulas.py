"""Every optimizer's steps by its formula, in NumPy."""

from __future__ import annotations

import numpy as np

from keraslr.descent import descend

# Each optimizer as its formula, on a vector, in double precision.


def plain(name, gradient, x, rates, noise):
    """The points of a descent by the formula, with the defaults of the table."""
    state = FORMULAS[name]()
    next(state)
    points = [x]
    for n, (rate, z) in enumerate(zip(rates, noise, strict=True), 1):
        points.append(state.send((n, rate, points[-1], gradient(points[-1]) + z)))
    return np.array(points)


def sgd(beta=0.0, nesterov=False):
    v, new = 0.0, None
    while True:
        _, lr, x, g = yield new
        v = beta * v - lr * g
        new = x + (beta * v - lr * g if nesterov else v)


def adagrad():
    total, new = 0.1, None
    while True:
        _, lr, x, g = yield new
        total = total + g * g
        new = x - lr * g / np.sqrt(total + 1e-7)


def rmsprop():
    v, new = 0.0, None
    while True:
        _, lr, x, g = yield new
        v = 0.9 * v + 0.1 * g * g
        new = x - lr * g / np.sqrt(v + 1e-7)


def adadelta():
    squares, steps, new = 0.0, 0.0, None
    while True:
        _, lr, x, g = yield new
        squares = 0.95 * squares + 0.05 * g * g
        step = np.sqrt(steps + 1e-7) / np.sqrt(squares + 1e-7) * g
        steps = 0.95 * steps + 0.05 * step * step
        new = x - lr * step


def adam(weight_decay=0.0, amsgrad=False):
    m, v, highest, new = 0.0, 0.0, 0.0, None
    while True:
        n, lr, x, g = yield new
        x = x - lr * weight_decay * x
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        highest = np.maximum(highest, v) if amsgrad else v
        alpha = lr * np.sqrt(1 - 0.999**n) / (1 - 0.9**n)
        new = x - alpha * m / (np.sqrt(highest) + 1e-7)


def nadam():
    # Keras takes this one number in float32, but not in the product.
    rounded = float(np.float32(0.96))
    m, v, product, new = 0.0, 0.0, 1.0, None
    while True:
        n, lr, x, g = yield new
        now, following = (0.9 * (1 - 0.5 * rounded**k) for k in (n, n + 1))
        product *= 0.9 * (1 - 0.5 * 0.96**n)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        m_hat = following * m / (1 - product * following) + (1 - now) * g / (1 - product)
        new = x - lr * m_hat / (np.sqrt(v / (1 - 0.999**n)) + 1e-7)


def adamax():
    m, u, new = 0.0, 0.0, None
    while True:
        n, lr, x, g = yield new
        m, u = 0.9 * m + 0.1 * g, np.maximum(0.999 * u, np.abs(g))
        new = x - lr * m / ((1 - 0.9**n) * (u + 1e-7))


def lion():
    m, new = 0.0, None
    while True:
        _, lr, x, g = yield new
        new = x - lr * np.sign(0.9 * m + 0.1 * g)
        m = 0.99 * m + 0.01 * g


def yogi():
    m, v, new = 0.0, 1e-6, None
    while True:
        n, lr, x, g = yield new
        m, v = 0.9 * m + 0.1 * g, v - 0.001 * np.sign(v - g * g) * g * g
        new = x - lr * m / (1 - 0.9**n) / (np.sqrt(v / (1 - 0.999**n)) + 1e-3)


FORMULAS = {
    "SGD": sgd,
    "momentum": lambda: sgd(0.9),
    "Nesterov": lambda: sgd(0.9, nesterov=True),
    "Adagrad": adagrad,
    "RMSprop": rmsprop,
    "Adadelta": adadelta,
    "Adam": adam,
    "AdamW": lambda: adam(weight_decay=0.004),
    "Nadam": nadam,
    "AMSGrad": lambda: adam(amsgrad=True),
    "Adamax": adamax,
    "Lion": lion,
    "Yogi": yogi,
}


def assert_steps_of_formula(name):
    rates = np.linspace(0.2, 0.01, 60) * (100 if name == "Adadelta" else 1)
    way = descend("flat bowl", name, learning_rate=rates, noise=0.3, seed=7)
    drawn = 0.3 * np.random.default_rng(7).standard_normal((60, 2))
    expected = plain(name, lambda x: x * [0.2, 4.0], np.array([-5.0, -2.0]), rates, drawn)
    # The signs that Lion goes by would show a difference of any size.
    np.testing.assert_allclose(way.points, expected, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(way.values, expected**2 @ [0.1, 2.0], rtol=1e-9, atol=1e-18)
    np.testing.assert_array_equal(way.learning_rates, rates)
    assert (way.optimizer, way.objective, way.diverged_at) == (name, "flat bowl", None)
