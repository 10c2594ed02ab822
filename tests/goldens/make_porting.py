"""Makes porting.npz: what the libraries of the porting pages give for the lines printed there.

Run in an environment with NumPy, torch, transformers, timm, JAX and optax:

    python tests/goldens/make_porting.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tools"))

import porting_tables

# Keras is where the tests are, and its lines are run there.
LIBRARIES = [name for name in porting_tables.LIBRARIES.values() if name != "keras"]


def main() -> None:
    missing = sorted(set(LIBRARIES) - set(porting_tables.importable()))
    if missing:
        sys.exit(f"These goldens need {', '.join(LIBRARIES)}. Not installed: {', '.join(missing)}.")
    lines = [line for line in porting_tables.lines() if line.library != "keras"]
    rows = [porting_tables.rates(line) for line in lines]
    if not all(np.isfinite(row).all() for row in rows):
        raise AssertionError("NaN marks the end of a row, so no value may be NaN")
    values = np.full((len(rows), max(map(len, rows))), np.nan)
    for place, row in zip(values, rows, strict=True):
        place[: len(row)] = row
    path = Path(__file__).with_name("porting.npz")
    np.savez_compressed(
        path,
        libraries=np.array([line.library for line in lines]),
        lines=np.array([line.theirs for line in lines]),
        values=values,
        versions=json.dumps({name: porting_tables.version(name) for name in LIBRARIES}),
        schedules=json.dumps({name: porting_tables.schedules(name) for name in LIBRARIES}),
    )
    print(f"{path.name}: {len(rows)} lines, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
