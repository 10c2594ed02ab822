"""Descents on surfaces: published points, settings, noise, divergence, errors."""

from __future__ import annotations

import dataclasses
import itertools
import threading
import time

import keras
import numpy as np
import pytest
from descent_formulas import assert_steps_of_formula

import keraslr
from keraslr import descent
from keraslr.catalog import DESCENT_OPTIMIZERS
from keraslr.descent import descend
from keraslr.objectives import OBJECTIVES

every_optimizer = pytest.mark.parametrize("name", DESCENT_OPTIMIZERS)

# Dive into Deep Learning (2023), 12.3 and 12.6 to 12.8: where 20 steps from (-5, -2) end.
PUBLISHED = [
    ("bowl", "SGD", 0.1, {}, "-0.057646 -0.000073"),
    ("flat bowl", "SGD", 0.4, {}, "-0.943467 -0.000073"),
    ("flat bowl", "SGD", 0.6, {}, "-0.387814 -1673.365109"),
    ("flat bowl", "momentum", 0.6, {"momentum": 0.5}, "0.007188 0.002553"),
    ("flat bowl", "momentum", 0.6, {"momentum": 0.25}, "-0.126340 -0.186632"),
    (
        "flat bowl", "Adagrad", 0.4, {"epsilon": 1e-6, "initial_accumulator_value": 0.0},
        "-2.382563 -0.158591",
    ),
    (
        "flat bowl", "Adagrad", 2.0, {"epsilon": 1e-6, "initial_accumulator_value": 0.0},
        "-0.002295 -0.000000",
    ),
    ("flat bowl", "RMSprop", 0.4, {"rho": 0.9, "epsilon": 1e-6}, "-0.010599 0.000000"),
]  # fmt: skip


@pytest.mark.parametrize(("objective", "optimizer", "rate", "arguments", "end"), PUBLISHED)
def test_published_digits(objective, optimizer, rate, arguments, end):
    way = descend(
        objective, optimizer, learning_rate=rate, start=(-5, -2), steps=20, **arguments
    )  # fmt: skip
    assert " ".join(f"{x:.6f}" for x in way.end) == end


@every_optimizer
def test_every_step_is_that_of_the_formula(name):
    assert_steps_of_formula(name)


@every_optimizer
def test_parameters_reach_the_optimizer(name):
    # With noise, or Lion's signs would be the same for any decay.
    settings = {"learning_rate": 0.1, "steps": 20, "noise": 2.0}
    usual = descend("flat bowl", name, **settings).points
    for parameter, values in DESCENT_OPTIMIZERS[name].values.items():
        assert values.low <= values.default <= values.high
        other = values.low if values.default != values.low else values.high
        # Epsilon's whole range is too small to see where nothing else is.
        other = 0.5 if parameter == "epsilon" else other
        changed = descend("flat bowl", name, **settings, **{parameter: other})
        assert np.abs(changed.points - usual).max() > 1e-6, parameter


@every_optimizer
def test_the_defaults_are_those_of_keras(name):
    entry = DESCENT_OPTIMIZERS[name]
    built, own = entry.build(0.1), entry.cls(0.1, **entry.fixed).get_config()
    changed = {"momentum"} if entry.cls is keras.optimizers.SGD else set()
    for parameter in set(entry.values) - changed:
        assert getattr(built, parameter) == own[parameter], parameter
    assert all(getattr(built, key) == value for key, value in entry.fixed.items())
    assert entry.learning_rate.low < entry.learning_rate.default < entry.learning_rate.high


@every_optimizer
def test_the_sensible_rate_gets_down(name):
    entry = DESCENT_OPTIMIZERS[name]
    way = descend("bowl", name, learning_rate=entry.learning_rate.default, steps=300)
    assert way.values[-1] < 0.05 * way.values[0]


# What a panel asks


def traces(objective, optimizer, **arguments):
    kind = DESCENT_OPTIMIZERS[optimizer]
    return descent._descent(OBJECTIVES[objective], kind, kind.validated(arguments)).traces


@every_optimizer
def test_only_parameters_make_a_new_trace(name):
    descend("flat bowl", name, learning_rate=0.1)
    assert traces("flat bowl", name) == 1
    for rate in (0.2, keraslr.StepLR(0.1, 5), keras.optimizers.schedules.CosineDecay(0.1, 50)):
        descend("flat bowl", name, learning_rate=rate, steps=30)
    descend("flat bowl", name, learning_rate=[0.1, 0.2, 0.3], start=(1, 1), noise=1.0, seed=3)
    descend("flat bowl", name, learning_rate=0.1, steps=5000)
    assert traces("flat bowl", name) == 1


@every_optimizer
def test_a_thousand_steps_take_less_than_15_milliseconds(name):
    descend("flat bowl", name, learning_rate=0.1, steps=1000)

    def median():
        """Of the processor's time: that of other programs is none of it."""
        seconds = []
        for seed in range(9):
            begin = time.process_time()
            descend("flat bowl", name, learning_rate=0.01 * seed, steps=1000, noise=0.1, seed=seed)
            seconds.append(time.process_time() - begin)
        return np.median(seconds)

    # The best of several: another program may have the caches for a while.
    assert min(median() for _ in range(4)) < 0.015


def test_each_run_begins_anew():
    # Momentum, moments, counters: nothing of the run before may be left.
    for name in DESCENT_OPTIMIZERS:
        first = descend("flat bowl", name, learning_rate=0.1, steps=40).points
        descend("flat bowl", name, learning_rate=0.7, steps=77, noise=3.0)
        again = descend("flat bowl", name, learning_rate=0.1, steps=40).points
        np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("steps", [1, 2, 1023, 1024, 1025, 3000])
def test_any_number_of_steps(steps):
    way = descend("flat bowl", "SGD", learning_rate=0.001, steps=steps)
    assert way.points.shape == (steps + 1, 2)
    assert way.values.shape == (steps + 1,)
    assert way.end[0] == pytest.approx(-5.0 * (1 - 0.0002) ** steps, rel=1e-12)
    assert way.end[1] == pytest.approx(-2.0 * (1 - 0.004) ** steps, rel=1e-11)


def test_threads_do_not_disturb_each_other():
    jobs = [
        {"optimizer": name, "learning_rate": rate, "seed": seed, "noise": 0.5, "steps": 200}
        for seed, (name, rate) in enumerate(
            itertools.product(["momentum", "Adam", "Nadam"], [0.01, 0.02, 0.03, 0.04])
        )
    ]
    alone = [descend("valley", **job).points for job in jobs]
    descent._DESCENTS.clear()  # so that they also compile at the same time
    together, errors = {}, []

    def work(index):
        try:
            for _ in range(5):
                together[index] = descend("valley", **jobs[index]).points
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    for index, expected in enumerate(alone):
        np.testing.assert_array_equal(together[index], expected)
    assert traces("valley", "Adam") == 1


def test_only_so_many_compiled_loops_are_kept(monkeypatch):
    monkeypatch.setattr(descent, "_DESCENTS", type(descent._DESCENTS)())
    monkeypatch.setattr(descent, "_KEPT", 2)
    kind = DESCENT_OPTIMIZERS["momentum"]

    def loop(momentum):
        return descent._descent(OBJECTIVES["bowl"], kind, kind.validated({"momentum": momentum}))

    first, second = loop(0.1), loop(0.2)
    assert loop(0.1) is first
    loop(0.3)
    assert len(descent._DESCENTS) == 2
    assert loop(0.1) is first  # used more lately than the second, which had to go
    assert loop(0.2) is not second


@pytest.fixture
def half_precision():
    keras.config.set_floatx("float16")
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def test_keras_settings_do_not_matter(half_precision):
    descent._DESCENTS.clear()
    assert_steps_of_formula("Adam")
    assert_steps_of_formula("Nadam")
    assert keras.config.floatx() == "float16"


def test_nothing_global_is_changed():
    descent._DESCENTS.clear()
    state = np.random.get_state()[1].copy()
    descend("bowl", "SGD", learning_rate=0.1, noise=1.0)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    # A name that Keras gave would change those of the optimizers that come after.
    assert DESCENT_OPTIMIZERS["SGD"].build(0.1).name == "descent"


# Rates


RATES = {
    "keraslr": keraslr.CosineAnnealingLR(0.3, T_max=20).with_warmup(5),
    "keras": keras.optimizers.schedules.PiecewiseConstantDecay([10, 20], [0.3, 0.2, 0.1]),
    # This one does not take several steps at once.
    "keras with a condition": keras.optimizers.schedules.CosineDecay(
        0.0, 30, warmup_target=0.2, warmup_steps=7
    ),
}


@pytest.mark.parametrize("schedule", RATES.values(), ids=list(RATES))
def test_schedules_have_the_rates_of_training(schedule):
    way = descend("bowl", "SGD", learning_rate=schedule, steps=30)
    expected = [float(schedule(step)) for step in range(30)]
    np.testing.assert_allclose(way.learning_rates, expected, rtol=2e-7)
    x = -5.0 * np.cumprod(1 - 2 * way.learning_rates)
    np.testing.assert_allclose(way.points[1:, 0], x, rtol=1e-12)


def test_a_number_is_not_rounded_to_float32():
    way = descend("parabola", "SGD", learning_rate=0.1, steps=1, start=[1.0])
    assert way.end[0] == pytest.approx(0.8, rel=1e-15)
    assert (way.learning_rates == 0.1).all()


def test_rates_one_by_one():
    for rates in ([0.1, 0.2], (0.1, 0.2), np.array([0.1, 0.2])):
        way = descend("parabola", "SGD", learning_rate=rates)
        np.testing.assert_array_equal(way.learning_rates, [0.1, 0.2])
    assert len(descend("parabola", "SGD", learning_rate=0.1).learning_rates) == 100


# Noise


def test_noise_is_the_seeds():
    def way(**arguments):
        return descend("bowl", "SGD", learning_rate=0.1, steps=50, **arguments).points

    np.testing.assert_array_equal(way(noise=1.0, seed=5), way(noise=1.0, seed=5))
    assert np.abs(way(noise=1.0, seed=5) - way(noise=1.0, seed=6)).max() > 0.01
    np.testing.assert_array_equal(way(seed=5), way(seed=6))
    # The same draws, larger: the way is linear in them.
    quiet, loud = way(noise=0.1, seed=5) - way(), way(noise=1.0, seed=5) - way()
    np.testing.assert_allclose(10 * quiet, loud, rtol=1e-9, atol=1e-12)


def test_fewer_steps_are_the_same_ones():
    arguments = {"learning_rate": 0.1, "noise": 1.0, "seed": 2}
    longer = descend("beale", "Adam", steps=70, **arguments)
    shorter = descend("beale", "Adam", steps=30, **arguments)
    np.testing.assert_array_equal(longer.points[:31], shorter.points)


def test_noise_is_normal_and_independent():
    # Where a constant gradient is all there is, a step is a draw.
    flat = dataclasses.replace(OBJECTIVES["bowl"], name="flat", function=lambda x, y: 0.0 * (x + y))
    way = descend(flat, "SGD", learning_rate=1.0, noise=2.0, steps=20_000, start=(0, 0))
    drawn = np.diff(way.points, axis=0)
    assert np.abs(drawn.mean(0)).max() < 0.05
    np.testing.assert_allclose(drawn.std(0), 2.0, rtol=0.03)
    assert abs(np.corrcoef(drawn.T)[0, 1]) < 0.03
    assert abs(np.corrcoef(drawn[1:, 0], drawn[:-1, 0])[0, 1]) < 0.03


# Divergence


def test_divergence_ends_the_trajectory():
    way = descend("parabola", "SGD", learning_rate=1.1, steps=5000)
    # x = 10 * 1.2^n, and x^2 is above float64's largest from n = 1934 on.
    assert way.diverged_at == 1934
    assert way.points.shape == (1934, 1)
    assert way.values.shape == (1934,)
    assert way.learning_rates.shape == (1933,)
    assert np.isfinite(way.points).all()
    assert np.isfinite(way.values).all()
    assert way.end[0] == pytest.approx(10 * -(1.2**1933), rel=1e-10)


@every_optimizer
def test_divergence_at_once_is_quiet(name, capfd):
    way = descend("rosenbrock", name, learning_rate=[1e300] * 3)
    assert way.diverged_at == 1
    np.testing.assert_array_equal(way.points, [[-1.2, 1.0]])
    assert way.learning_rates.shape == (0,)
    assert "nan" not in capfd.readouterr().err.lower()
    # And it is as before afterwards.
    assert descend("rosenbrock", name, learning_rate=1e-4, steps=3).diverged_at is None


POLE = dataclasses.replace(OBJECTIVES["bowl"], name="pole", function=lambda x, y: y / x)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"objective": "bowle"}, ValueError, 'objective must be one of .*Did you mean "bowl"'),
        ({"objective": None}, TypeError, "objective must be a string"),
        ({"optimizer": "Adamm"}, ValueError, 'optimizer must be one of "SGD".*mean "Adam"'),
        ({"optimizer": keras.optimizers.SGD}, TypeError, "optimizer must be a string"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be a number >= 0.*=-0.1"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be .* finite.*nan"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number >= 0, a schedule"),
        ({"learning_rate": True}, TypeError, r"learning_rate must be .*True \(bool\)"),
        ({"learning_rate": [0.1, "x"]}, TypeError, "learning_rate must be .*'x'"),
        ({"learning_rate": [0.1, -1.0]}, ValueError, r"learning_rate must be .*\[0.1, -1.0\]"),
        ({"learning_rate": [0.1], "steps": 2}, ValueError, "one for each of the 2 steps"),
        ({"learning_rate": [[0.1]]}, ValueError, "one for each of the 1 steps"),
        ({"learning_rate": np.array(0.1)}, TypeError, "learning_rate must be .*ndarray"),
        ({"start": [1.0]}, ValueError, r'start must have .* "bowl" has variables, 2.*\(1.0,\)'),
        ({"start": 1.0}, TypeError, "start must be a sequence"),
        ({"start": [1.0, float("inf")]}, ValueError, r"start\[1\] must be .* finite"),
        (
            {"objective": POLE, "start": [0, 1]}, ValueError,
            r'start must be a point where "pole" is finite.*\[0.0, 1.0\]',
        ),
        ({"steps": 0}, ValueError, "steps must be an integer >= 1.*steps=0"),
        ({"steps": 1.5}, TypeError, "steps must be an integer"),
        ({"noise": -1.0}, ValueError, "noise must be a number >= 0.*noise=-1.0"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0.*seed=-1"),
        ({"momentum": 0.9}, TypeError, "arguments of SGD .*: none. Received: momentum=0.9"),
        (
            {"optimizer": "Adam", "beta_1": 1.0}, ValueError,
            "beta_1 must be a number >= 0 and < 1.*beta_1=1.0",
        ),
        ({"optimizer": "Adam", "epsilon": 0}, ValueError, "epsilon must be a number > 0.*=0"),
        ({"optimizer": "momentum", "momentum": "x"}, TypeError, "momentum must be a number"),
        ({"optimizer": "momentum", "nesterov": True}, TypeError, "momentum must be among its"),
    ],
)  # fmt: skip
def test_refused(arguments, error, said):
    usual = {"objective": "bowl", "optimizer": "SGD", "learning_rate": 0.1}
    with pytest.raises(error, match=said):
        descend(**{**usual, **arguments})
