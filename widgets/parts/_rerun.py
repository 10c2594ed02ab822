"""Which cell made a panel: run again, it ends what the panel of before still does."""

from __future__ import annotations

import sys
import weakref
from typing import Any, Protocol


class Stoppable(Protocol):
    """What a cell leaves running."""

    def stop(self) -> None:
        """Ends it; it may have ended."""


# By cell: the execution that made them, and what it made.
_MADE: dict[str, tuple[str, weakref.WeakSet[Any]]] = {}


def claim(panel: Stoppable) -> None:
    """Notes that the cell that is being run made a panel, and stops those that it made before."""
    where = _cell()
    if where is None:
        return
    cell, execution = where
    before, panels = _MADE.get(cell, ("", weakref.WeakSet()))
    if before != execution:
        for old in list(panels):
            old.stop()
        panels = weakref.WeakSet()
    panels.add(panel)
    _MADE[cell] = execution, panels


def _cell() -> tuple[str, str] | None:
    """The cell, and which of its executions this is; None outside of a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    parent = shell.kernel.get_parent("shell")
    if parent.get("msg_type", parent.get("header", {}).get("msg_type")) != "execute_request":
        return None
    # Where the front-end does not name its cells, one with the same text is the same.
    cell = parent.get("metadata", {}).get("cellId") or parent["content"]["code"]
    return cell, parent["header"]["msg_id"]
