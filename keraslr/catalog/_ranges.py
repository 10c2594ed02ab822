"""Sensible values of a parameter: those that controls begin with and offer."""

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
    """Initial value of a parameter without a range: a list of numbers, or a choice."""

    default: Any
