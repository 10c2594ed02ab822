"""The learning rates of a fit, as the live picture reads them."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keraslr
from widgets.parts import _fit_rates


class OneByOne(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that takes a single step."""

    def __call__(self, step):
        return 1.0 / (1.0 + float(step))


@pytest.mark.parametrize(
    ("schedule", "points"),
    [
        (keraslr.ExponentialLR(1.0, gamma=0.999), 1250),
        (keras.optimizers.schedules.CosineDecay(1.0, 9000), 1250),
        (keras.optimizers.schedules.PiecewiseConstantDecay([5000], [1.0, 0.5]), 1250),
        (OneByOne(), 157),
    ],
)
def test_any_schedule_is_known_at_enough_steps(schedule, points):
    optimizer = keras.optimizers.SGD(schedule)
    rates = _fit_rates.FitRates()
    rates.read(optimizer, 0)
    at, planned = rates.planned(10_000)
    assert points <= len(at) <= points + 2
    assert (at[0], at[-2], at[-1]) == (0, 9999, 10_000)
    some = [0, 1, 50, -2]
    expected = [float(schedule(step)) for step in at[some].astype(int).tolist()]
    np.testing.assert_allclose(planned[some], expected, rtol=1e-5, atol=1e-7)


def test_rates_that_change_at_each_step_are_thinned():
    optimizer = keras.optimizers.SGD(0.1)
    rates = _fit_rates.FitRates()
    for step in range(3100):
        optimizer.learning_rate = 0.1 + step
        rates.read(optimizer, step)
    at, applied = rates.applied(3100)
    assert len(at) <= 3002
    np.testing.assert_allclose(applied[:-1], 0.1 + at[:-1], rtol=1e-6)
    assert at[-2] == 3099
