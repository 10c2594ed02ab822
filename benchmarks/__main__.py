"""Measurements of keraslr against its rivals, as one table of ratios.

    python -m benchmarks [--json FILE] [--only NAME] [--quick] [--threads N]

Each line is measured against its rival in the same run: in turns, several times, with the same
number of threads. A ratio is our time over the rival's time, the median of the rounds; below 1 ours
is faster. A line that misses its goal says by how much.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks._measurement import Measurement, Subject
from benchmarks._table import headline, machine, table

SUBJECTS = (
    "schedules", "training_step", "epoch", "own_models", "descents", "published", "redraw",
    "imports",
)  # fmt: skip
# The variables that the libraries read when they start.
THREADS = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures the subjects and prints the table."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for all numbers")
    parser.add_argument(
        "--only", action="append", choices=SUBJECTS, help="measure only this; repeatable"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, two rounds: only for a trial"
    )
    parser.add_argument(
        "--threads", type=int, default=os.cpu_count(), help="threads of each library"
    )
    options = parser.parse_args(arguments)
    os.environ.update(dict.fromkeys(THREADS, str(options.threads)))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    measurements: list[Measurement] = []
    absent: dict[str, list[str]] = {}
    for name in SUBJECTS:
        if options.only and name not in options.only:
            continue
        print(f"{name} ...", file=sys.stderr, flush=True)
        subject: Subject = importlib.import_module(f"benchmarks.{name}").SUBJECT
        found = subject.measure(options.quick)
        measurements += found.measurements
        for package, sides in found.absent.items():
            absent.setdefault(package, []).extend(sides)
    known = machine(options.threads)
    # A file has no width, so the table gets enough for its lines.
    console = Console(width=None if sys.stdout.isatty() else 300)
    console.print(headline(known), soft_wrap=True, highlight=False)
    console.print(table(measurements))
    for package, sides in absent.items():
        print(f"Left out, because {package} is not installed: {', '.join(sides)}.")
    if options.json:
        whole = {
            "machine": known,
            "quick": options.quick,
            "measurements": [each.plain() for each in measurements],
            "absent": absent,
        }
        options.json.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
