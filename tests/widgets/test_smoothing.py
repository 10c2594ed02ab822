"""The smoothing panel, without a browser."""

from __future__ import annotations

import numpy as np
from panels import is_picture, text

from widgets import SmoothingPanel


def test_weights_of_several_values_at_once():
    panel = SmoothingPanel()
    assert is_picture(panel.picture)
    assert list(panel.weights) == [0.9, 0.95, 0.99]
    np.testing.assert_allclose(panel.weights[0.9], 0.9 ** np.arange(60))
    before = bytes(panel.picture.value)
    panel.kind.index = 1
    np.testing.assert_allclose(panel.weights[0.9], 0.1 * 0.9 ** np.arange(60))
    assert bytes(panel.picture.value) != before
    panel.values[1].value = 0.8
    panel.shown[2].value = False
    panel.log_axis.value = True
    panel.steps.value = 10
    assert list(panel.weights) == [0.8, 0.99]
    assert len(panel.weights[0.8]) == 10
    assert "gamma = 0.8" in text(panel.numbers)


def test_no_value_is_said():
    panel = SmoothingPanel()
    for show in panel.shown:
        show.value = False
    assert panel.weights == {}
    assert "Choose a value" in text(panel.message)
