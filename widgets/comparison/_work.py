"""A comparison in a thread, and the record of its progress."""

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

# Seconds of training from which the rest can be estimated.
_LEAST = 1.0


class ComparisonWork(Worker):
    """A comparison in a thread of its own, and its record.

    Attributes:
        note: A sentence that says which dataset replaces the wanted one; "" if none does.
        at: Current run, number of runs to train, and share of the steps that is done; None before
            the first steps.
        ended: Number of runs that have ended.
        comparison: Current comparison; None before a run has ended.

    Args:
        schedules: Schedules whose inner ones count in epochs; the steps per epoch come from the
            dataset.
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
        """Estimated seconds to the end; None while too little is known."""
        if self.at is None or self._first is None:
            return None
        # Counted from the first steps: what comes before, such as imports, comes once.
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
