"""The table of measurements, and the machine they were made on."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path

from rich import box
from rich.table import Table

from benchmarks._measurement import Measurement, shown_time
from benchmarks._timing import Spread

_PACKAGES = ("keraslr", "tensorflow", "keras", "numpy", "torch", "optax")


def machine(threads: int) -> dict[str, str]:
    """Returns date, machine and versions; a package that is not installed is left out."""
    found = {
        "date": date.today().isoformat(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "threads": str(threads),
        "memory": _memory(),
        "python": platform.python_version(),
    }
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    known = Path("/proc/cpuinfo")
    text = known.read_text(encoding="utf-8") if known.exists() else ""
    named = re.search(r"^model name\s*: (.+)$", text, re.MULTILINE)
    return named[1] if named else platform.processor() or platform.machine()


def _memory() -> str:
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # not on Windows
        return "unknown"
    return f"{size / 2**30:.0f} GiB"


def table(measurements: Sequence[Measurement]) -> Table:
    """Returns the table, with one line per measurement."""
    shown = Table(box=box.MARKDOWN)
    shown.add_column("what")
    shown.add_column("against")
    for name in ("ours", "theirs", "ratio", "quartiles", "goal"):
        shown.add_column(name, justify="right")
    shown.add_column("verdict")
    shown.add_column("peak MiB", justify="right")
    for each in measurements:
        ratio = each.ratio
        shown.add_row(
            each.what,
            each.rival,
            shown_time(Spread.of(each.ours.seconds).median),
            shown_time(Spread.of(each.theirs.seconds).median),
            f"{ratio.median:.3g}",
            f"{ratio.low:.3g} to {ratio.high:.3g}",
            str(each.goal),
            each.verdict,
            f"{each.ours.peak:.0f} / {each.theirs.peak:.0f}",
        )
    return shown


def headline(known: Mapping[str, str]) -> str:
    """Returns the machine in one line."""
    versions = ", ".join(
        f"{name} {known[name]}" for name in ("python", *_PACKAGES) if name in known
    )
    return (
        f"{known['date']}; {known['processor']}, {known['cores']} cores, {known['memory']}, "
        f"{known['threads']} threads; {versions}"
    )
