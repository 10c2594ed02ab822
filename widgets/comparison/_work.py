"""A comparison in a thread, and a record of how far it is."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from typing import Any

from keraslr import datasets
from keraslr.comparison import Comparison, compare
from keraslr.schedules import PerEpoch
from keraslr.training import Run

# A shorter time says nothing about the rest.
_LEAST = 1.0


class ComparisonWork:
    """A comparison that a thread of its own makes.

    The thread knows no widget. It writes the attributes below, each at once, and whoever wants to
    know reads them.

    Attributes:
        note: A sentence about the dataset, where another stands in for it; else "".
        at: The run under way, the number of runs to be done, and the share of the steps that is
            done; None until the first steps are.
        ended: Number of runs that have ended.
        comparison: As it stands; None before a run has ended.
        error: What ended the thread too early.
        stopping: Whether it has been told to end.

    Args:
        schedules: Schedules whose inner ones count in epochs; how many steps an epoch has depends
            on the dataset.
        dataset: Name of the dataset.
        arguments: The other arguments of `compare`.
    """

    def __init__(self, schedules: Mapping[str, PerEpoch], dataset: str, arguments: dict[str, Any]):
        self._schedules, self._dataset, self._arguments = dict(schedules), dataset, arguments
        # Python before 3.13 takes a thread for dead whose `join` was interrupted by Ctrl-C, so it
        # says by itself when it is over.
        self._stop, self._over = threading.Event(), threading.Event()
        self._began = time.monotonic()
        self._took: float | None = None
        self.note = ""
        self.at: tuple[Run, int, float] | None = None
        self._first: tuple[float, float] | None = None
        self.ended = 0
        self.comparison: Comparison | None = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._do, name="keraslr-comparison", daemon=True)
        self._thread.start()

    @property
    def under_way(self) -> bool:
        """Whether it has not ended."""
        return not self._over.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it has been told to end."""
        return self._stop.is_set()

    @property
    def seconds(self) -> float:
        """Since it began, until it ended."""
        return self._took if self._took is not None else time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Until its end, as far as can be told; None where it cannot."""
        if self.at is None or self._first is None:
            return None
        # From the first steps on: what comes before, such as imports, comes once.
        (then, before), share = self._first, self.at[2]
        taken = time.monotonic() - then
        if taken < _LEAST or share <= before:
            return None
        return taken * (1 - share) / (share - before)

    def stop(self) -> None:
        """Ends the run under way, and begins no other; it may have ended."""
        self._stop.set()

    def wait(self, seconds: float | None = None) -> None:
        """Waits for its end, at most so long."""
        if self._thread is not threading.current_thread() and self._over.wait(seconds):
            self._thread.join()

    def _do(self) -> None:
        try:
            data = datasets.load(self._dataset)
            self.note = data.note if data.substitute else ""
            per_epoch = math.ceil(len(data.x_train) / self._arguments["batch_size"])
            steps = self._arguments["epochs"] * per_epoch

            def progressed(run: Run, _: int, done: int, total: int) -> None:
                self.at = run, total // steps, done / total
                if self._first is None:
                    self._first = time.monotonic(), done / total

            def ended(comparison: Comparison) -> None:
                self.comparison, self.ended = comparison, self.ended + 1

            self.comparison = compare(
                {
                    name: each.schedule.per_epoch(per_epoch, smooth=each.smooth)
                    for name, each in self._schedules.items()
                },
                dataset=data.name,
                on_progress=progressed,
                on_result=ended,
                should_stop=self._stop.is_set,
                **self._arguments,
            )
        except BaseException as error:  # whatever it is, it belongs before the person's eyes
            self.error = error
        self._took = time.monotonic() - self._began
        self._over.set()
