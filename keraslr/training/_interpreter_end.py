"""Stops the runs that are still training when the interpreter ends."""

from __future__ import annotations

import atexit
import time
import weakref
from typing import Protocol

# Seconds that the interpreter's end waits for the runs that it stops.
_LAST_SECONDS = 5.0


class Stoppable(Protocol):
    """A run in a thread."""

    def stop(self) -> None:
        """Asks it to end."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it has ended."""


_STARTED: weakref.WeakSet[Stoppable] = weakref.WeakSet()


def stop_at_end(run: Stoppable) -> None:
    """Stops this run when the interpreter ends, unless nobody refers to it any more."""
    _STARTED.add(run)


@atexit.register
def _stop_all() -> None:
    # Without this, TensorFlow would be torn down beneath a thread that computes.
    runs = list(_STARTED)
    for run in runs:
        run.stop()
    end = time.monotonic() + _LAST_SECONDS
    for run in runs:
        run.wait(max(0.0, end - time.monotonic()))
