"""The time of an import without its dependencies, each in a new interpreter."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Sequence

from benchmarks._measurement import Goal, Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat

# Packages that a user has imported anyway; TensorFlow comes with Keras.
_BEFORE = {
    "keraslr": "keras",
    "widgets": "keraslr, ipywidgets, matplotlib.figure, matplotlib.backends.backend_agg, "
    "matplotlib.ticker, PIL.PngImagePlugin",
}


def _import(before: str, imported: str, quick: bool) -> Repeat:
    code = "import gc, time\n"
    # Collected first: the garbage of these imports takes a quarter of a second.
    code += f"import {before}\ngc.collect()\n" if before else ""
    code += f"begin = time.perf_counter()\nimport {imported}\nprint(time.perf_counter() - begin)"

    # Compiled files are used, as in every import except the first.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

    def repeat() -> float:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return float(done.stdout.split()[-1])

    return repeat


def _sides() -> Sequence[Side]:
    return [
        Side("import keraslr", functools.partial(_import, "keras", "keraslr")),
        Side("import keras", functools.partial(_import, "", "keras")),
        Side("import widgets", functools.partial(_import, _BEFORE["widgets"], "widgets")),
        Side("import of what widgets needs", functools.partial(_import, "", _BEFORE["widgets"])),
    ]


def _pairs() -> Sequence[Pair]:
    return [
        Pair(
            "import keraslr, Keras imported", "import keraslr", "import keras",
            Goal(seconds=0.05),
        ),
        Pair(
            "import widgets, what it needs imported", "import widgets",
            "import of what widgets needs",
        ),
    ]  # fmt: skip


SUBJECT = Subject(_sides, _pairs, rounds=7)
