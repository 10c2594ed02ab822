"""Blocks a panel's handlers while the panel itself sets controls."""

from __future__ import annotations

from collections.abc import Callable


class EventBlock:
    """Tells changes that a panel makes to its own controls from those that a person makes.

    A panel sets controls inside the block, and its handlers return at once while the block is
    active. Blocks nest.

    Args:
        then: Called when the outermost block ends, so that several changes cause one reaction.

    Example:
        >>> block = EventBlock(lambda: print("drawn once"))
        >>> with block:
        ...     print(block.active)
        True
        drawn once
    """

    def __init__(self, then: Callable[[], None] | None = None):
        self._then, self._depth = then, 0

    @property
    def active(self) -> bool:
        """Whether the panel is setting controls."""
        return self._depth > 0

    def __enter__(self) -> None:
        self._depth += 1

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth and self._then is not None:
            self._then()
