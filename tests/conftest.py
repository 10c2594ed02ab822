"""What all tests share."""

from __future__ import annotations

import os

# Before TensorFlow is imported: its start-up messages are not the tests' business.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import pytest

_NO_SKIPS = os.environ.get("KERASLR_NO_SKIPS") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where KERASLR_NO_SKIPS is set, a skipped test is a failed one."""
    report = yield
    if _NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report
