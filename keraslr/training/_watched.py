"""What can be read of a run in a thread, at any time and from any thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keraslr.problems import Problem
from keraslr.training._result import LiveProgress, Record, Result
from keraslr.training._run import Run
from keraslr.training._steering import planned_rates

if TYPE_CHECKING:
    from keraslr.training._trainer import Trainer


class WatchedRun:
    """State, progress and figures of a run; `LiveRun` adds the thread and the steering.

    Args:
        run: The run; None if it is not known yet.
        result: Its result, to be filled.
    """

    def __init__(self, run: Run | None, result: Result):
        self.run, self.result = run, result
        self._state, self._under_way, self._stopping = "ready", False, False
        self._trainer: Trainer | None = None
        self._steps: int | None = None
        self._speed: float | None = None
        self._planned = np.empty(0, np.float32)

    def __repr__(self) -> str:
        name = "?" if self.run is None else self.run.name
        steps = "?" if self._steps is None else self._steps
        return f"LiveRun({name!r}: {self.state}, step {self.result.steps_done} of {steps})"

    @property
    def state(self) -> str:
        """Current state.

        "ready", "setting up", "training", "paused", "stopping"; and at the end "finished",
        "stopped", "diverged" (a loss that is not finite) or "failed" (see `error`).
        """
        return "stopping" if self._under_way and self._stopping else self._state

    @property
    def under_way(self) -> bool:
        """Whether the run was started and has not ended; also true while it is paused."""
        return self._under_way

    @property
    def epochs(self) -> int | None:
        """Epochs requested, over all legs; None until the run is known."""
        return self.result.run.get("epochs")

    @property
    def problem(self) -> Problem | None:
        """The problem; None until its data are loaded."""
        return None if self._trainer is None else self._trainer.problem

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps of an epoch; None until the data are loaded, or while nobody knows."""
        return None if self._trainer is None else self._trainer.steps_per_epoch

    @property
    def progress(self) -> LiveProgress:
        """Current progress and speed."""
        done, steps, speed, trainer = (
            self.result.steps_done,
            self._steps,
            self._speed,
            self._trainer,
        )
        left = 0.0 if steps == done else None
        if steps is not None and trainer is not None and speed and self._under_way and done:
            left = (steps - done) * trainer.examples_per_step / speed
        return LiveProgress(done, steps, speed, left)

    @property
    def planned(self) -> np.ndarray:
        """The rates that the schedule alone gives at the steps of the run.

        A float32 array (steps,), empty until the data are loaded.
        """
        steps = self._steps
        if steps is None or self.run is None or len(self._planned) == steps:
            return self._planned
        self._planned = planned_rates(self.run.schedule, steps)
        return self._planned

    def record(self) -> Record:
        """Returns a consistent copy of the figures so far."""
        trainer = self._trainer
        return Record.of(self.result, [] if trainer is None else trainer.test_steps)
