"""Fixtures of the tests of the range test."""

from __future__ import annotations

import keras
import pytest


@pytest.fixture
def mixed_float16():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")
