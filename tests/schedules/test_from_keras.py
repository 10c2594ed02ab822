"""Are Keras's own schedules taken wherever a schedule is, with their values?"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from measured import RELATIVE, array

import keraslr
from keraslr.schedules._from_keras import from_keras

K = keras.optimizers.schedules

TAKEN = {
    "exponential": K.ExponentialDecay(0.1, 10, 0.5),
    "staircase": K.ExponentialDecay(0.1, 10, 0.5, staircase=True),
    "piecewise": K.PiecewiseConstantDecay([10, 20], [0.1, 0.05, 0.01]),
    "polynomial": K.PolynomialDecay(0.1, 30, end_learning_rate=0.0, power=2.0),
    "line": K.PolynomialDecay(0.1, 30, end_learning_rate=0.01),
    "inverse time": K.InverseTimeDecay(0.1, 10, 0.5),
    "inverse staircase": K.InverseTimeDecay(0.1, 10, 0.5, staircase=True),
    "cosine": K.CosineDecay(0.1, 30, alpha=0.01),
    "warm-up and cosine": K.CosineDecay(0.01, 30, warmup_target=0.1, warmup_steps=5),
    "restarts": K.CosineDecayRestarts(0.1, 8, t_mul=2.0, alpha=0.1),
}


@pytest.mark.parametrize("schedule", TAKEN.values(), ids=TAKEN)
def test_the_counterpart_has_its_values(schedule):
    expected = [float(array(schedule(step))) for step in range(40)]
    # Keras computes in float32: a cosine's end is a difference of numbers near 1.
    np.testing.assert_allclose(from_keras(schedule).values(40), expected, 2 * RELATIVE, 1e-8)


def test_it_is_taken_wherever_a_schedule_is():
    cosine = TAKEN["cosine"]
    ours = keraslr.CosineAnnealingLR(0.1, T_max=30, eta_min=0.001).held_after(30)
    warmup = keraslr.LinearLR(0.1, total_iters=5)
    assert keraslr.Warmup(cosine, 5) == ours.with_warmup(5)
    assert keraslr.PerEpoch(cosine, 10) == ours.per_epoch(10)
    assert keraslr.SequentialLR([warmup, cosine], [5]) == warmup.then(ours, at=5)
    assert keraslr.check(cosine, 100) == keraslr.check(ours, 100)


class Own(K.LearningRateSchedule):
    def __call__(self, step):
        return 0.1 / (step + 1.0)

    def get_config(self):
        return {}


@pytest.mark.parametrize(
    "schedule",
    [
        Own(),
        K.PolynomialDecay(0.1, 30, cycle=True),
        K.PolynomialDecay(0.1, 30, end_learning_rate=0.01, power=2.0),
        K.CosineDecayRestarts(0.1, 8, m_mul=0.5),
        K.CosineDecayRestarts(0.1, 8, t_mul=1.5),
        K.ExponentialDecay(0.1, 2.5, 0.5),
    ],
)
def test_one_without_a_counterpart_is_refused_with_a_remedy_that_works(schedule):
    with pytest.raises(TypeError, match=r"has a counterpart here.*LambdaLR\(1\.0, lambda t: float"):
        keraslr.Warmup(schedule, 5)
    as_table = keraslr.LambdaLR(1.0, lambda t: float(schedule(t)), total_iters=12)
    expected = [float(array(schedule(step))) for step in range(12)]
    np.testing.assert_allclose(as_table.values(12), expected, RELATIVE, 1e-8)
