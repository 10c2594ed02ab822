"""The run that trains, and the runs that wait for its end."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection

from widgets.training._runs import KeptRun


class RunQueue:
    """Trains one run after another.

    Attributes:
        current: The run that trains, or trained last; None before the first.
        waiting: The runs that wait, in the order in which they will train.
    """

    def __init__(self) -> None:
        self.current: KeptRun | None = None
        self.waiting: deque[KeptRun] = deque()

    @property
    def training(self) -> bool:
        """Whether the current run is under way."""
        return self.current is not None and self.current.live.under_way

    @property
    def under_way(self) -> bool:
        """Whether a run trains, is paused or waits."""
        return bool(self.waiting) or self.training

    def start_next(self) -> KeptRun:
        """Starts the run that has waited longest, and returns it."""
        self.current = self.waiting.popleft()
        self.current.live.start()
        return self.current

    def stop(self) -> list[KeptRun]:
        """Stops the current run, and returns the runs that will no longer train."""
        waiting, self.waiting = list(self.waiting), deque()
        if self.current is not None:
            self.current.live.stop()
        return waiting

    def keep(self, runs: Collection[KeptRun]) -> None:
        """Forgets the waiting runs that are not among these."""
        self.waiting = deque(kept for kept in self.waiting if kept in runs)
