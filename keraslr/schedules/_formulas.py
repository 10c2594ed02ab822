"""Helpers that write the formulas of schedules, as Python functions of t."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

# Width of a line in the code that is written.
WIDTH = 88


class Formulas(Protocol):
    """Functions written so far.

    Attributes:
        tick: Expression of the whole tick: "t", or "int(t)" for a clock that shows fractions.
    """

    tick: str

    def add(self, schedule: Any, name: str = "") -> str:
        """Writes the function of a schedule, unless there is one; returns its name."""


def tidy(value: float) -> float:
    """Returns `value` without the last digit or two, which are rounding errors."""
    return float(f"{value:.15g}")


def listed(values: Iterable[object]) -> str:
    """Returns a list of numbers as code, over several lines if it is long."""
    text = ", ".join(map(repr, values))
    if len(text) <= WIDTH - 24:
        return f"[{text}]"
    lines = textwrap.wrap(f"{text},", WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["[", *(f"    {line}" for line in lines), "]"])


def since(begin: int) -> str:
    """Returns the formula of the steps since `begin`."""
    return f"t - {begin}" if begin else "t"


def rising(start: float, end: str, steps: int, mode: str) -> str:
    """Returns the formula of a warm-up from `start` to `end`, as a function of t."""
    share = {"linear": f"t / {steps}", "cosine": f"(1 - math.cos(math.pi * t / {steps})) / 2"}
    if mode == "constant":
        return repr(start)
    if start == 0:
        return share[mode] if end == "1" else f"{end} * {share[mode]}"
    return f"{start!r} + ({end} - {start!r}) * {share[mode]}"


def between(low: float, high: object, share: str) -> str:
    """Returns the formula from `low`, where the share is 0, to `high`, where it is 1."""
    return f"{high!r} * {share}" if low == 0 else f"{low!r} + ({high!r} - {low!r}) * {share}"


class Table:
    """A list of factors in little code: a constant, a power, a staircase, or else the list itself.

    The last factor holds from its index on.

    Attributes:
        formula: Of an index, `{t}`; with `{factors}` where the name of the list goes.
        values: What has to be listed; empty for a constant or a power.
    """

    def __init__(self, factors: Sequence[float]):
        changes = [t for t in range(1, len(factors)) if factors[t] != factors[t - 1]]
        kept = list(factors[: changes[-1] + 1]) if changes else [factors[0]]
        first, last = kept[0], len(kept) - 1
        ratio = tidy(kept[1] / first) if changes and first else 0.0
        self.values: list[float] = []
        if not changes:
            self.formula = repr(first)
        elif last >= 3 and ratio > 0 and _alike(kept, [first * ratio**t for t in range(last + 1)]):
            power = f"{ratio!r} ** min({{t}}, {last})"
            self.formula = power if first == 1 else f"{first!r} * {power}"
        elif 3 * len(changes) < last:
            self.values = [first, *(factors[t] for t in changes)]
            self.formula = f"{{factors}}[bisect.bisect_right({changes}, {{t}})]"
        else:
            self.values = kept
            self.formula = f"{{factors}}[min({{t}}, {last})]"


def _alike(some: Sequence[float], others: Sequence[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(some, others, strict=True))
