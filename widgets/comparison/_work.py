"""A comparison in a thread, and a record of how far it is."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from keraslr import datasets
from keraslr.comparison import Comparison, compare
from keraslr.schedules import PerEpoch
from keraslr.training import Run
from widgets.parts._worker import Worker

# A shorter time says nothing about the rest.
_LEAST = 1.0


class ComparisonWork(Worker):
    """A comparison in a thread of its own, and its record.

    Attributes:
        note: A sentence about the dataset, where another stands in for it; else "".
        at: The run under way, the number of runs to be done, and the share of the steps that is
            done; None until the first steps are.
        ended: Number of runs that have ended.
        comparison: As it stands; None before a run has ended.

    Args:
        schedules: Schedules whose inner ones count in epochs; how many steps an epoch has depends
            on the dataset.
        dataset: Name of the dataset.
        arguments: The other arguments of `compare`.
    """

    def __init__(self, schedules: Mapping[str, PerEpoch], dataset: str, arguments: dict[str, Any]):
        super().__init__("keraslr-comparison")
        self._schedules, self._dataset, self._arguments = dict(schedules), dataset, arguments
        self.note = ""
        self.at: tuple[Run, int, float] | None = None
        self._first: tuple[float, float] | None = None
        self.ended = 0
        self.comparison: Comparison | None = None

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

    def _work(self) -> None:
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
