"""A model and data of one's own, from a Python file."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from keraslr.cli._arguments import UsageError, checked

_PARTS = (
    "x", "y", "sample_weight", "validation_data", "validation_split", "steps_per_epoch",
    "validation_steps", "validation_batch_size", "prepare",
)  # fmt: skip


def add_own_problem(command: argparse.ArgumentParser) -> None:
    """Adds `--model` and `--data`."""
    command.add_argument(
        "--model", metavar="FILE.py:NAME",
        help="function of no argument or of a seed, in a Python file, that returns a compiled "
        "Keras model; or such a model",
    )  # fmt: skip
    command.add_argument(
        "--data", metavar="FILE.py:NAME",
        help="function of no argument, in a Python file, that returns (x, y), (x, y, "
        "validation_data), data that come in batches, or a dict of the arguments of "
        "keraslr.Problem; or one of these",
    )  # fmt: skip


def own_problem(options: argparse.Namespace) -> Any:
    """Returns the problem of `--model` and `--data`; None without them.

    Raises:
        UsageError: One of them is missing, or does not name what it should.
    """
    if options.model is None and options.data is None:
        return None
    for name, other in (("model", "data"), ("data", "model")):
        if getattr(options, name) is None:
            raise UsageError(f"--{name} must be given with --{other}")
    from keraslr.problems import Problem

    build, data = _named("model", options.model), _named("data", options.data)
    parts = _parts(data() if callable(data) and not hasattr(data, "shape") else data)
    name = Path(options.data.rpartition(":")[0]).stem
    return checked(Problem, name, build, **parts)


def _parts(data: Any) -> dict[str, Any]:
    """Returns the data as arguments of a problem."""
    if isinstance(data, Mapping) and "x" in data:
        unknown = sorted(set(data) - set(_PARTS))
        if unknown:
            raise UsageError(
                f"--data must name a dict with {', '.join(_PARTS)}; it has {', '.join(unknown)}"
            )
        return dict(data)
    if isinstance(data, tuple):
        if len(data) not in (2, 3):
            raise UsageError(
                "--data must name (x, y), (x, y, validation_data), data that come in batches, or a "
                f"dict; it has a tuple of {len(data)}"
            )
        return dict(zip(("x", "y", "validation_data"), data, strict=False))
    return {"x": data}


def _named(option: str, text: str) -> Any:
    """Returns what a text of the form FILE.py:NAME names."""
    file, colon, name = text.rpartition(":")
    if not colon or not file.endswith(".py") or not name.isidentifier():
        raise UsageError(f"--{option} must have the form FILE.py:NAME, as in recipe.py:build")
    module = _imported(option, Path(file))
    if not hasattr(module, name):
        known = [each for each in vars(module) if not each.startswith("_")]
        raise UsageError(
            f"--{option}: {file} has no {name!r}; it has {', '.join(known) or 'no names'}"
        )
    return getattr(module, name)


def _imported(option: str, path: Path) -> ModuleType:
    """Imports the file, as Python imports it: once, with its folder on the path.

    Other processes then import it by its name.
    """
    if not path.is_file():
        raise UsageError(f"--{option}: there is no file {path}")
    path = path.resolve()
    known = sys.modules.get(path.stem)
    if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path:
        return known
    folder = str(path.parent)
    spec = importlib.util.find_spec(path.stem)
    if known is not None or (spec is not None and Path(spec.origin or "").resolve() != path):
        raise UsageError(
            f"--{option}: {path.name} has the name of another module, {path.stem!r}: rename it"
        )
    if folder not in sys.path:
        sys.path.insert(0, folder)
        # For the processes that train, too.
        before = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = folder if not before else os.pathsep.join((folder, before))
    try:
        return importlib.import_module(path.stem)
    except Exception as error:
        raise UsageError(
            f"--{option}: {path.name} cannot be imported: {type(error).__name__}: {error}"
        ) from error
