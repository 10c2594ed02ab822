"""The picture of a training panel: its runs, and the plan of the next one."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np

from keraslr.plotting import TrainingChart, TrainingCurve
from keraslr.schedules import PerEpoch, Schedule
from keraslr.summary import summarize, thinned
from widgets.parts._picture import Picture
from widgets.training._runs import KeptRun

# Drawing takes at most a fifth of the time: the rest is for the training and the controls.
_SHARE = 4
# Points of a line, about as many as the picture has pixels.
_POINTS = 600
# Steps per epoch of a plan, before the dataset is known.
_STEPS_PER_EPOCH = 100


class TrainingPicture(Picture):
    """Loss, accuracy and rate of the runs that are shown."""

    chart: TrainingChart

    def __init__(self) -> None:
        super().__init__(TrainingChart())
        self._drawn_at = self._drawing_took = 0.0

    @property
    def is_due(self) -> bool:
        """Whether drawing again would still leave the training enough of the time."""
        return time.perf_counter() - self._drawn_at > _SHARE * self._drawing_took

    def draw(
        self, runs: Iterable[KeptRun], plan: TrainingCurve | None, epochs: int, *, log: bool
    ) -> None:
        """Draws the runs whose row is ticked.

        Args:
            runs: The runs that are kept.
            plan: Curve of the next run; None while one trains.
            epochs: Epochs of the next run.
            log: Whether the rate's axis is logarithmic.
        """
        begin = time.perf_counter()
        shown = [kept for kept in runs if kept.show.value]
        curves = [run_curve(kept) for kept in shown]
        end = max([kept.end for kept in shown], default=0.0)
        if plan is not None:
            curves.append(plan)
            end = max(end, float(epochs))
        self.chart.draw(curves, end or float(epochs), log=log)
        self.show()
        self._drawn_at = time.perf_counter()
        self._drawing_took = self._drawn_at - begin


def run_curve(kept: KeptRun) -> TrainingCurve:
    """Returns the curve of a run as far as it has trained, and the plan of the rest."""
    live = kept.live
    record, per_epoch = live.record(), live.steps_per_epoch
    if not per_epoch:
        return TrainingCurve(kept.name.value, kept.style)
    begin = live.first_step / per_epoch
    steps = np.arange(1, len(record.loss) + 1) / per_epoch + begin
    times, loss = thinned(steps, record.loss)
    _, metric = thinned(steps, record.accuracy)
    tests = np.asarray(record.test_steps) / per_epoch + begin
    planned = live.planned
    at = _some(len(record.learning_rate))
    ahead = _some(len(planned))
    return TrainingCurve(
        kept.name.value, kept.style, times, loss, metric,
        tests, np.asarray(record.test_loss), np.asarray(record.test_accuracy),
        at / per_epoch + begin, record.learning_rate[at],
        ahead / per_epoch + begin, planned[ahead],
    )  # fmt: skip


def plan_curve(schedule: Schedule, epochs: int, style: int, *, smooth: bool) -> TrainingCurve:
    """Returns the curve of a run to come: its rates alone.

    Args:
        schedule: Schedule, counted in epochs.
        epochs: Length of the run.
        style: Number of the line's style.
        smooth: Whether the rate changes at every step.
    """
    plan: PerEpoch = schedule.per_epoch(_STEPS_PER_EPOCH, smooth=smooth)
    summary = summarize(plan, epochs * _STEPS_PER_EPOCH)
    times = np.append(summary.at, summary.steps) / _STEPS_PER_EPOCH
    rates = np.append(summary.rates, summary.rates[-1:])
    return TrainingCurve("next run", style, planned_times=times, planned=rates)


def _some(n: int) -> np.ndarray:
    """Returns as many of n indices as a picture shows, the last one among them."""
    if not n:
        return np.empty(0, np.int64)
    return np.unique(np.append(np.arange(0, n, max(1, n // _POINTS)), n - 1))
