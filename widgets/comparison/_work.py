"""A comparison in a thread, and the record of its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

from keraslr import datasets
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.comparison import Comparison, compare
from keraslr.schedules import PerEpoch
from keraslr.training import Run
from widgets.parts._subject import Subject
from widgets.parts._worker import Worker

# Seconds of training from which the rest can be estimated.
_LEAST = 1.0


class ComparisonWork(Worker):
    """A comparison in a thread of its own, and its record.

    Attributes:
        note: A sentence that says which data replace the wanted ones; "" if none do.
        at: Current run, number of runs to train, and share of the steps that is done; None before
            the first steps.
        ended: Number of runs that have ended.
        comparison: Current comparison; None before a run has ended.

    Args:
        schedules: Schedules whose inner ones count in epochs; the steps per epoch come from the
            data.
        plateaus: Plateau rules that scale the schedules of these names.
        subject: What is trained.
        dataset: Name of the dataset; without meaning for one's own problem.
        arguments: The other arguments of `compare`.
    """

    def __init__(
        self,
        schedules: Mapping[str, PerEpoch],
        plateaus: Mapping[str, ReduceLROnPlateau],
        subject: Subject,
        dataset: str,
        arguments: dict[str, Any],
    ):
        super().__init__("keraslr-comparison")
        self._schedules, self._plateaus = dict(schedules), dict(plateaus)
        self._subject, self._dataset, self._arguments = subject, dataset, arguments
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
        size = self._arguments["batch_size"]
        what: dict[str, Any] = {"problem": self._subject.problem}
        if self._subject.problem is None:
            data = datasets.load(self._dataset)
            self.note = data.note if data.substitute else ""
            per_epoch = math.ceil(len(data.x_train) / size)
            what = {"dataset": data.name}
        else:
            per_epoch = self._subject.counted_steps(size)
        steps = self._arguments["epochs"] * per_epoch

        def progressed(run: Run, _: int, done: int, total: int) -> None:
            self.at = run, total // steps, done / total
            if self._first is None:
                self._first = time.monotonic(), done / total

        def ended(comparison: Comparison) -> None:
            self.comparison, self.ended = comparison, self.ended + 1

        def counted(name: str, each: PerEpoch) -> Any:
            schedule = each.schedule.per_epoch(per_epoch, smooth=each.smooth)
            plateau = self._plateaus.get(name)
            return schedule if plateau is None else (schedule, plateau)

        self.comparison = compare(
            {name: counted(name, each) for name, each in self._schedules.items()},
            **what,
            on_progress=progressed,
            on_result=ended,
            should_stop=self._stop.is_set,
            **self._arguments,
        )
