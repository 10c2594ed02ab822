"""The published comparisons: their settings and figures, as data."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

from keraslr.schedules import Schedule, parse


@dataclasses.dataclass(frozen=True)
class DocumentedRun:
    """One run of a published comparison.

    Attributes:
        name: Its name.
        schedule: The schedule that its text describes, counted in epochs.
        as_run: The schedule that its code really trained with, where that is another one.
        published: The printed figures, by name.
        note: Why `as_run` differs.
    """

    name: str
    schedule: Schedule
    as_run: Schedule | None
    published: Mapping[str, float]
    note: str


@dataclasses.dataclass(frozen=True)
class Documented:
    """A published comparison.

    Attributes:
        title: What was compared.
        settings: Arguments of `keraslr.compare` that its runs share.
        runs: The runs, by name.
    """

    title: str
    settings: Mapping[str, Any]
    runs: Mapping[str, DocumentedRun]


_SETTINGS = ("dataset", "model", "initialization", "optimizer", "epochs", "batch_size", "clock")


def load(name: str = "fashion_mnist_lenet") -> Documented:
    """A published comparison by the name of its data file.

    Raises:
        ValueError: There is no such comparison; the error lists them.
    """
    folder = resources.files(__package__)
    known = sorted(each.name[:-5] for each in folder.iterdir() if each.name.endswith(".json"))
    if name not in known:
        raise ValueError(f"name must be one of {', '.join(known)}. Received: name={name!r}")
    data = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    runs = {
        run["name"]: DocumentedRun(
            name=run["name"],
            schedule=parse(run["schedule"]),
            as_run=parse(run["as_run"]) if "as_run" in run else None,
            published=run["published"],
            note=run.get("note", ""),
        )
        for run in data["runs"]
    }
    return Documented(data["title"], {key: data[key] for key in _SETTINGS}, runs)
