"""What all tests share."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path

# Before TensorFlow is imported: its start-up messages are not the tests' business.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Beside other workers each has one core: threads that wait for one another would only spin. And
# numbers that are to be equal to the bit need as many threads everywhere.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

import pytest


def pytest_collection_modifyitems(config, items):
    """Puts the files into an order, and leaves out what is about something the backend lacks."""
    # No worker should be left with a long file when the others are done. So those in the browser
    # come first, and then the last by their names, among which there are more long ones.
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
    """Has garbage looked for among what tests make, and not each time among all modules, too."""
    gc.collect()
    gc.freeze()


_NO_SKIPS = os.environ.get("KERASLR_NO_SKIPS") == "1"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Where KERASLR_NO_SKIPS is set, a skipped test is a failed one."""
    report = yield
    if _NO_SKIPS and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped where nothing may be: {report.longrepr}"
    return report


@pytest.fixture
def slices_of(monkeypatch):
    """Says how many steps each slice has, whatever the machine and the environment say.

    Of the runs that begin afterwards, also in programs that are started.
    """
    return lambda steps: monkeypatch.setenv("KERASLR_SLICE_STEPS", str(steps))


@pytest.fixture(scope="session")
def quick_kernels(tmp_path_factory):
    """Kernels that Jupyter starts have TensorFlow imported, where they can."""
    if sys.platform != "linux":
        yield
        return
    from kernels import kernel_path

    with kernel_path(tmp_path_factory.mktemp("jupyter")) as path, pytest.MonkeyPatch.context() as m:
        m.setenv("JUPYTER_PATH", str(path))
        yield


@pytest.fixture(scope="session")
def fashion_mnist_folder() -> Path:
    """Where Fashion-MNIST lies, if it does."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    folder = home / "datasets" / "fashion-mnist"
    if not (folder / "train-images-idx3-ubyte.gz").exists():
        pytest.skip(f"Fashion-MNIST is not in {folder} (set KERAS_HOME to a cache that has it)")
    return folder
