"""Linear scaling of the learning rate with the batch size."""

from __future__ import annotations

import math

import numpy as np
import pytest

import keraslr

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
