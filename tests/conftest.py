"""Fixtures and hooks of all tests."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Before TensorFlow is imported: its start-up messages would clutter the output of the tests.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Each test worker has one core, where threads that wait for each other would only spin. And results
# are equal bit for bit only with the same number of threads everywhere.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest


def pytest_collection_modifyitems(config, items):
    """Orders the files, and deselects tests that the backend does not support."""
    # No worker should still have a long file when the others are done. So browser tests come first,
    # then the files in reverse order of their names, because more of the last ones are long.
    places = {path: place for place, path in enumerate(dict.fromkeys(item.path for item in items))}
    items.sort(key=lambda item: ("browser" not in item.path.parts, -places[item.path]))
    marks = {item: item.get_closest_marker("backends") for item in items}
    if not any(marks.values()):
        return
    import keras

    backend = keras.backend.backend()
    apart = {item for item, mark in marks.items() if mark and backend not in mark.args}
    config.hook.pytest_deselected(items=list(apart))
    items[:] = [item for item in items if item not in apart]


def pytest_collection_finish():
    """Limits garbage collection to objects made by tests, without those of all modules."""
    gc.collect()
    gc.freeze()


_NO_SKIPS = os.environ.get("KERASLR_NO_SKIPS") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Makes a skipped test fail if KERASLR_NO_SKIPS is set."""
    report = yield
    if _NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, although KERASLR_NO_SKIPS forbids it: {report.longrepr}"
    return report


@pytest.fixture
def slices_of(monkeypatch):
    """Returns a function that sets the steps of each slice.

    The setting applies to all runs that start afterwards, also in programs started by the test.
    """
    return lambda steps: monkeypatch.setenv("KERASLR_SLICE_STEPS", str(steps))


@pytest.fixture(scope="session")
def quick_kernels(tmp_path_factory):
    """Makes Jupyter start kernels with TensorFlow already imported; on Linux only."""
    if sys.platform != "linux":
        yield
        return
    from kernels import kernel_path

    with kernel_path(tmp_path_factory.mktemp("jupyter")) as path, pytest.MonkeyPatch.context() as m:
        m.setenv("JUPYTER_PATH", str(path))
        yield


@pytest.fixture(scope="session")
def fashion_mnist_folder() -> Path:
    """Folder of Fashion-MNIST; skips the test if the data are missing."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    folder = home / "datasets" / "fashion-mnist"
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"Fashion-MNIST is not in {folder} (set KERAS_HOME to a cache that has it)")
    return folder
