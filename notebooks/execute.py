"""Runs the notebooks from top to bottom, and saves their outputs.

    python notebooks/execute.py                                    all, in full, in place
    python notebooks/execute.py 03_optimizers                      one
    python notebooks/execute.py 03_optimizers --quick --into DIR   shortened, to another folder

A notebook's metadata record the version of keraslr, a hash of the notebook's code and the seconds
that the run took. The tests compare them with the current version and code.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

import keraslr

FOLDER = Path(__file__).resolve().parent
# The environment variable that shortens the notebooks.
QUICK = "KERASLR_QUICK"
# Metadata about the time of execution, not about the result.
_MOMENTARY = "execution", "ExecuteTime"


def names() -> list[str]:
    """Returns the names of the notebooks in order."""
    return sorted(path.stem for path in FOLDER.glob("*.ipynb"))


def read(name: str) -> Any:
    """Reads a notebook of this folder.

    Raises:
        FileNotFoundError: There is no notebook of that name.
    """
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def digest(notebook: Any) -> str:
    """Returns a short hash of the cells' code: outputs with another hash belong to other code."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()[:12]


def execute(notebook: Any, *, quick: bool, seconds: float | None = None) -> Any:
    """Runs a notebook in a new kernel in this folder, and returns it with the new outputs.

    Args:
        notebook: Notebook to run; it is not changed.
        quick: Whether to shorten what takes long.
        seconds: Longest time that a cell may take; None for no limit.

    Raises:
        CellExecutionError: A cell failed; the error shows which and why.
        CellTimeoutError: A cell took too long.
    """
    notebook = nbformat.from_dict(notebook)
    notebook.metadata.pop("widgets", None)
    begin = time.perf_counter()
    environment = {**os.environ, QUICK: "1" if quick else "", "TF_CPP_MIN_LOG_LEVEL": "3"}
    client = NotebookClient(
        notebook, timeout=seconds, kernel_name="python3", resources={"metadata": {"path": FOLDER}},
        # Messages of TensorFlow's C++ code are not the output of a cell.
        extra_arguments=["--IPKernelApp.capture_fd_output=False"], coalesce_streams=True,
    )  # fmt: skip
    client.execute(env=environment)
    for cell in notebook.cells:
        for key in _MOMENTARY:
            cell.metadata.pop(key, None)
    notebook.metadata["keraslr"] = {
        "version": keraslr.__version__,
        "code": digest(notebook),
        "quick": quick,
        "ran": datetime.now(timezone.utc).strftime("%Y-%m-%d"),
        "seconds": round(time.perf_counter() - begin),
    }
    return notebook


def main() -> int:
    """Runs the notebooks named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="such as 03_optimizers; default: all")
    parser.add_argument("--quick", action="store_true", help="shorten what takes long")
    parser.add_argument("--into", type=Path, default=FOLDER, help="folder for the results")
    options = parser.parse_args()
    if options.quick and options.into == FOLDER:
        parser.error("--quick needs --into, since the notebooks here keep outputs of full runs")
    unknown = sorted(set(options.names) - set(names()))
    if unknown:
        parser.error(f"names must be among {', '.join(names())}. Received: {', '.join(unknown)}")
    options.into.mkdir(parents=True, exist_ok=True)
    failed = False
    for name in options.names or names():
        print(f"{name} ... ", end="", flush=True)
        try:
            done = execute(read(name), quick=options.quick)
        except CellExecutionError as error:
            print(f"failed\n{error}", file=sys.stderr)
            failed = True
            continue
        nbformat.write(done, options.into / f"{name}.ipynb")
        print(f"{done.metadata['keraslr']['seconds']} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
