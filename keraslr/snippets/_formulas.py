"""Schedules as plain Python functions of t, for what PyTorch has no scheduler for."""

from __future__ import annotations

import keyword
import re
import textwrap
from collections.abc import Sequence

from keraslr.schedules import Schedule
from keraslr.schedules._formulas import WIDTH


def literal(value: object) -> str:
    """Returns a number or a name as formatters write it."""
    # NumPy's float64 is a float, but not written as one.
    text = repr(float(value) if isinstance(value, float) else value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def wrapped(text: str) -> str:
    """Returns an expression whose line breaks, if any, are within brackets."""
    if len(text) <= WIDTH:
        return text
    lines = textwrap.wrap(text, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["(", *(f"    {line}" for line in lines), ")"])


def bracketed(items: Sequence[str]) -> str:
    """Returns a list of expressions, over several lines if it is long."""
    text = f"[{', '.join(items)}]"
    if len(text) <= WIDTH // 3 and "\n" not in text:
        return text
    return f"[\n{_indented(items)}]"


def call(function: str, arguments: Sequence[str]) -> str:
    """Returns a call, over several lines if one is too long."""
    text = ", ".join(arguments)
    if len(function) + len(text) <= WIDTH - 16 and "\n" not in text:
        return f"{function}({text})"
    if len(text) <= WIDTH - 16 and "\n" not in text:
        return f"{function}(\n    {text}\n)"
    return f"{function}(\n{_indented(arguments)})"


def _indented(items: Sequence[str]) -> str:
    return "".join(f"{textwrap.indent(item, '    ')},\n" for item in items)


class Formulas:
    """Functions of t, one for each schedule within a schedule.

    Attributes:
        tick: Expression of the whole tick.
        functions: The text of each, those that are called before their callers.
    """

    def __init__(self, fractions: bool):
        """Makes an empty collection; `fractions` says whether t may lie between whole ticks."""
        self.functions: list[str] = []
        # A table has entries for whole ticks only.
        self.tick = "int(t)" if fractions else "t"
        self._names: dict[Schedule, str] = {}

    def add(self, schedule: Schedule, name: str = "") -> str:
        """Writes the schedule's function, unless there is one; returns its name."""
        if schedule in self._names:
            return self._names[schedule]
        # Inner schedules first: they get the plain names, and are defined before they are used.
        body = schedule.formula(self)
        name = name or self._free_name(schedule)
        self._names[schedule] = name
        self.functions.append(f"def {name}(t):\n{textwrap.indent(body, '    ')}")
        return name

    def _free_name(self, schedule: Schedule) -> str:
        words = re.findall("[A-Z][a-z]+", type(schedule).__name__.removesuffix("LR"))
        plain = "_".join(words).lower()
        plain = name = "tabulated" if keyword.iskeyword(plain) else plain
        taken, number = set(self._names.values()), 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        return name
