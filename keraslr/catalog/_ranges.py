"""Sensible values of a parameter, as controls begin with and offer them."""

from __future__ import annotations

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Range:
    """Sensible values of a parameter, as a control offers them; others are accepted in code.

    Attributes:
        low: Lowest value.
        high: Highest value.
        default: Value to begin with.
        log: Whether equal steps of a control are equal factors.
    """

    low: float
    high: float
    default: Any
    log: bool = False


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A value to begin with where there is no range: a list of numbers, or a choice."""

    default: Any
