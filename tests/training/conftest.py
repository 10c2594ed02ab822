"""Fixtures of the tests of training."""

from __future__ import annotations

import pytest
from networks import softmax_regression
from waiting import PATIENCE

from keraslr import datasets
from keraslr.training import Run


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def run(digits):
    """Of one epoch."""
    return Run("it", 0.1, model=softmax_regression, dataset=digits, batch_size=64, epochs=1)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A question waits for the slice that is under way, however long that takes."""
    monkeypatch.setattr("keraslr.training._live._PATIENCE", PATIENCE)
