"""What is there under Keras's other backends, and that the check of a new device checks."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, array, compiled, fit, on_tensorflow

import keraslr
from benchmarks import backend
from keraslr.callbacks import LearningRateLogger, ReduceLROnPlateau

ROOT = Path(__file__).resolve().parent.parent
SCHEDULE = keraslr.ExponentialLR(0.1, gamma=0.97)


@pytest.mark.backends("jax", "torch")
def test_it_needs_nothing_but_keras_numpy_and_the_backend():
    """A process that finds no TensorFlow and none of what only panels and reports need."""
    program = """
        import importlib.machinery as machinery
        import sys

        hidden = {"tensorflow", "IPython", "ipywidgets", "matplotlib", "sklearn", "tqdm"}
        find = machinery.PathFinder.find_spec
        machinery.PathFinder.find_spec = lambda name, *rest: (
            None if name.partition(".")[0] in hidden else find(name, *rest)
        )
        import keraslr
        import keraslr.advice, keraslr.catalog, keraslr.checks, keraslr.snippets, keraslr.summary
        from benchmarks import backend

        assert not hidden & set(sys.modules)
        checks = backend.goldens(every=400)
        assert all(check["passed"] and check["cases"] for check in checks.values()), checks
        keraslr.show_versions()
        try:
            keraslr.compare({"constant": 0.1})
        except RuntimeError as error:
            print(error)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), BACKEND],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown, said = done.stdout.splitlines()
    assert f"{BACKEND} " in shown.replace(f"backend {BACKEND}", "")
    assert "tensorflow" not in shown
    assert said == (
        "training needs Keras on TensorFlow (KERAS_BACKEND=tensorflow). "
        f"Received: backend={BACKEND!r}"
    )


@on_tensorflow
@pytest.mark.parametrize(
    "use",
    [
        lambda: keraslr.descent.descend("bowl", "sgd", learning_rate=0.1),
        lambda: keraslr.objectives.OBJECTIVES["bowl"].gradient([1.0, 1.0]),
    ],
    ids=["descent", "gradient"],
)
def test_what_needs_tensorflow_says_so(use, monkeypatch):
    importlib.import_module("keraslr.descent")
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(RuntimeError, match=r"needs Keras on TensorFlow.*backend='jax'"):
        use()


def test_a_new_device_is_held_against_pytorch():
    found = backend.goldens(every=80)
    assert len(found) == (2 if BACKEND == "torch" else 3)
    for name, check in found.items():
        assert check["passed"], name
        assert check["cases"] >= 1
        assert 0 <= check["deviation"] < 2e-6


def test_a_device_with_other_numbers_is_told(monkeypatch, capsys, tmp_path):
    values = keraslr.Schedule.values
    monkeypatch.setattr(keraslr.Schedule, "values", lambda *args: values(*args) * (1 + 3e-6))
    goldens = backend.goldens
    monkeypatch.setattr(backend, "goldens", lambda every: goldens(8 * every))
    monkeypatch.setattr(backend, "_compiled", None)
    monkeypatch.setattr(backend, "ratios", lambda *_: {})
    monkeypatch.setattr(sys, "argv", ["backend", "--quick", "--json", str(tmp_path / "found.json")])
    with pytest.raises(SystemExit, match="differ from PyTorch's"):
        backend.main()
    printed = capsys.readouterr().out
    assert f"backend: {BACKEND}" in printed
    assert printed.count("NOT PyTorch's") == 1
    assert '"passed": false' in (tmp_path / "found.json").read_text()


def test_ratios_are_of_rounds_in_which_both_were_measured():
    found = backend._ratio([1.0, 2.0, 6.0], [2.0, 8.0, 2.0])
    assert found["ratio"] == 0.5
    assert (found["low"], found["high"]) == (0.375, 1.75)
    assert (found["seconds"], found["rival_seconds"]) == (2.0, 2.0)


# What callbacks keep is numbered among an optimizer's variables under JAX, but in no file.


def followed(optimizer, **arguments):
    model = compiled(optimizer, **QUICKLY)
    rule = ReduceLROnPlateau("loss", factor=0.5, patience=0, threshold=1e6, threshold_mode="abs")
    fit(model, last=10, epochs=3, callbacks=[rule, LearningRateLogger()], **arguments)
    return model


def inner(model):
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


def adam():
    return keras.optimizers.Adam(SCHEDULE, name="same")


def scaled_adam():
    return keras.optimizers.LossScaleOptimizer(adam(), 2.0**4, name="around")


@pytest.mark.filterwarnings("ignore:the learning rate applied:UserWarning")
@pytest.mark.parametrize("make", [adam, scaled_adam])
def test_files_fit_an_optimizer_with_callbacks_and_one_without(make, tmp_path):
    model = followed(make())
    model.save_weights(tmp_path / "with.weights.h5")
    plain = compiled(make(), **QUICKLY)
    fit(plain, last=10)
    plain.load_weights(tmp_path / "with.weights.h5")  # a warning, if the numbers did not fit
    assert int(plain.optimizer.iterations) == 30
    # The moments, too.
    ours, theirs = (inner(each).variables[1:3] for each in (model, plain))
    for kept, loaded in zip(ours, theirs, strict=True):
        assert np.count_nonzero(array(kept)) == 10
        np.testing.assert_array_equal(array(kept), array(loaded))
    # And the other way round; what the callbacks have kept stays.
    fit(plain, last=10)
    plain.save_weights(tmp_path / "without.weights.h5")
    model.load_weights(tmp_path / "without.weights.h5")
    assert int(model.optimizer.iterations) == 40
    assert float(model.optimizer.learning_rate) == pytest.approx(SCHEDULE.values(41)[40] / 4)
