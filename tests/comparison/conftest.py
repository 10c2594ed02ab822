"""A small comparison, run once for all tests."""

from __future__ import annotations

import pytest
from comparisons import SCHEDULES, SMALL

from keraslr.comparison import compare


@pytest.fixture(scope="session")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    return folder, compare(SCHEDULES, seeds=2, output=folder, **SMALL)
