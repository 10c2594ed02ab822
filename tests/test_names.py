"""The public names: that they are listed, documented, and there after `import keraslr` alone."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import keraslr

ROOT = Path(keraslr.__file__).parents[1]
SUBMODULES = [
    module.name for module in pkgutil.iter_modules(keraslr.__path__) if module.name[0] != "_"
]
# All except those that have nothing for users, such as `jobs`.
OFFERED = [name for name in SUBMODULES if importlib.import_module(f"keraslr.{name}").__all__]


@pytest.mark.parametrize(
    "name", ["keraslr", *(f"keraslr.{name}" for name in SUBMODULES), "widgets"]
)
def test_a_public_module_lists_its_names_and_each_is_documented(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for each in module.__all__:
        value = getattr(module, each)
        if isinstance(value, type) or inspect.isfunction(value):
            assert inspect.getdoc(value), f"{name}.{each}"
            # A dataclass without one has its signature there.
            assert not value.__doc__.startswith(f"{each}("), f"{name}.{each}"


def in_a_new_process(code):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_modules_are_attributes_that_are_imported_when_they_are_used():
    found = in_a_new_process(
        f"""
        import json
        import sys
        import keras
        before = set(sys.modules)
        import keraslr
        imported = sorted(set(sys.modules) - before)
        listed = dir(keraslr)
        reached = [getattr(keraslr, name).__name__ for name in {OFFERED}]
        print(json.dumps([imported, listed, reached]))
        """
    )
    imported, listed, reached = found
    # Keras and its backend bring a lot themselves; ours brings nothing from elsewhere.
    assert {name.partition(".")[0] for name in imported} == {"keraslr"}
    for heavy in ("plotting", "published", "objectives", "descent", "snippets", "cli"):
        assert f"keraslr.{heavy}" not in imported
    assert set(OFFERED) | set(keraslr.__all__) <= set(listed)
    assert reached == [f"keraslr.{name}" for name in OFFERED]


def test_the_top_offers_every_module_that_has_public_names():
    assert sorted(keraslr._MODULES) == OFFERED
    with pytest.raises(AttributeError, match="module 'keraslr' has no attribute 'live'"):
        keraslr.live  # noqa: B018
