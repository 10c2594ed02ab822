"""A cell that is run again stops the panels that it made before."""

from __future__ import annotations

import sys
import weakref
from typing import Any, Protocol


class Stoppable(Protocol):
    """A panel whose work goes on after its cell has ended."""

    def stop(self) -> None:
        """Ends the work; does nothing if it has ended."""


# By cell: its latest execution, and the panels that this made.
_MADE: dict[str, tuple[str, weakref.WeakSet[Any]]] = {}


def stop_earlier_panels(panel: Stoppable) -> None:
    """Stops the panels that earlier executions of the current cell made, and notes this one.

    Does nothing outside a notebook.
    """
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
    """Returns the current cell and the execution of it; None outside a notebook."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return None
    parent = shell.kernel.get_parent("shell")
    if parent.get("msg_type", parent.get("header", {}).get("msg_type")) != "execute_request":
        return None
    # If the front end does not name its cells, a cell with the same text is the same cell.
    cell = parent.get("metadata", {}).get("cellId") or parent["content"]["code"]
    return cell, parent["header"]["msg_id"]
