"""The schedules and settings of a small comparison for tests."""

from __future__ import annotations

from networks import softmax_regression

from keraslr import ConstantLR, ExponentialLR

SCHEDULES = {"high": ConstantLR(0.3, factor=1.0), "falling": ExponentialLR(0.3, gamma=0.5)}
SMALL = {
    "dataset": "digits", "model": softmax_regression, "epochs": 2, "batch_size": 128,
    "clock": "epoch",
}  # fmt: skip
