"""What the docstrings of public names say, and that their examples are true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from measured import BACKEND, on_tensorflow

import keraslr
from keraslr.schedules import parameters

PUBLIC = [name for name in keraslr.__all__ if not name.startswith("__")]
SCHEDULES = [
    cls
    for name in PUBLIC
    if inspect.isclass(cls := getattr(keraslr, name))
    and issubclass(cls, keraslr.Schedule)
    and cls is not keraslr.Schedule
]
MODULES = ["keraslr"] + [
    module.name
    for module in pkgutil.walk_packages(keraslr.__path__, "keraslr.")
    if not module.name.endswith("__main__")
]
if BACKEND != "tensorflow":
    # The others train or draw, on TensorFlow.
    there = r"keraslr\.(schedules|optimizers|callbacks|advice|catalog|checks|summary)"
    MODULES = [name for name in MODULES if re.match(there, name)]


def args_of(text):
    """The names in the `Args:` part of a docstring."""
    lines = inspect.cleandoc(text).splitlines()
    assert "Args:" in lines
    names = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            names.append(line.strip().partition(":")[0].lstrip("*"))
    return names


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_have_a_docstring(name):
    value = getattr(keraslr, name)
    assert "\n" in inspect.getdoc(value)
    assert value.__module__.startswith("keraslr.")


@pytest.mark.parametrize("cls", SCHEDULES, ids=lambda cls: cls.__name__)
def test_docstrings_of_schedules_have_formula_arguments_and_example(cls):
    assert args_of(cls.__doc__) == list(parameters(cls))
    for name, parameter in parameters(cls).items():
        assert f"    {name}: {parameter.meaning} " in cls.__doc__
    assert re.search(r"    (lr|momentum)\((t|step)\) = ", cls.__doc__)
    assert "Example:\n    >>> " in cls.__doc__


@pytest.mark.parametrize(
    "name", [name for name in PUBLIC if inspect.isfunction(getattr(keraslr, name))]
)
def test_docstrings_of_functions_name_every_argument(name):
    function = getattr(keraslr, name)
    parameters = list(inspect.signature(function).parameters)
    if not parameters:
        assert "Args:" not in function.__doc__
        return
    assert args_of(function.__doc__) == parameters


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, extraglobs={**vars(keraslr), **vars(module)})
    assert result.failed == 0
    # Each schedule shows one.
    assert result.attempted >= sum(cls.__module__ == name for cls in SCHEDULES)


@on_tensorflow  # for the others see test_backends.py
def test_importing_is_light():
    # What Keras itself imports is not this package's doing.
    script = """
        import sys
        import keras
        before = set(sys.modules)
        import keraslr
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
        # Keras itself imports Matplotlib in some versions.
        assert "keraslr.plotting" not in sys.modules
        from keraslr.snippets import pytorch_snippet
        pytorch_snippet(keraslr.StepLR(0.1, 3).with_warmup(2))
        assert "torch" not in sys.modules
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=Path(keraslr.__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    imported = set(done.stdout.split())
    assert "keraslr" in imported
    heavy = {"IPython", "ipywidgets", "matplotlib", "pandas", "rich", "scipy", "sklearn", "tqdm"}
    assert not imported & heavy
