"""The picture of a training panel: its runs, and the plan of the next one."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterable

import numpy as np

from keraslr.plotting import TrainingChart, TrainingCurve
from keraslr.schedules import Schedule
from keraslr.summary import summarize, thinned
from keraslr.training._steering import planned_rates
from widgets.parts._picture import Picture
from widgets.training._runs import KeptRun
from widgets.training._settings import Plan

# Drawing takes at most a fifth of the time: the rest is for the training and the controls.
_SHARE = 4
# Points of a line, about as many as the picture has pixels.
_POINTS = 600
# Steps per epoch of a plan in epochs, whatever the data.
_STEPS_PER_EPOCH = 100
_NOTHING = np.empty(0)


class TrainingPicture(Picture):
    """Loss, another figure and rate of the runs that are shown.

    Args:
        figure: Name of the other figure, without "val_"; "" for none.
        validation: Word for the validation data; "" if there are none.
        loss: Whether there is a loss.
    """

    chart: TrainingChart

    def __init__(
        self, figure: str = "accuracy", validation: str = "test", *, loss: bool = True
    ) -> None:
        super().__init__(TrainingChart(figure, validation, loss))
        self._figure = figure
        self._drawn_at = self._drawing_took = 0.0

    @property
    def is_due(self) -> bool:
        """Whether drawing again would still leave the training enough of the time."""
        return time.perf_counter() - self._drawn_at > _SHARE * self._drawing_took

    def draw(
        self,
        runs: Iterable[KeptRun],
        plan: TrainingCurve | None,
        epochs: int,
        *,
        log: bool,
        figure: str | None = None,
    ) -> None:
        """Draws the runs whose row is ticked.

        Args:
            runs: The runs that are kept.
            plan: Curve of the next run; None while one trains.
            epochs: Epochs of the next run.
            log: Whether the rate's axis is logarithmic.
            figure: Name of the other figure from now on; None for the one before.
        """
        begin = time.perf_counter()
        self._figure = self._figure if figure is None else figure
        shown = [kept for kept in runs if kept.show.value]
        curves = [run_curve(kept, self._figure) for kept in shown]
        end = max([kept.end for kept in shown], default=0.0)
        if plan is not None:
            curves.append(plan)
            end = max(end, float(epochs))
        self.chart.draw(curves, end or float(epochs), log=log, figure=self._figure)
        self.show()
        self._drawn_at = time.perf_counter()
        self._drawing_took = self._drawn_at - begin


def run_curve(kept: KeptRun, figure: str) -> TrainingCurve:
    """Returns the curve of a run as far as it has trained, and the plan of the rest.

    Args:
        kept: The run.
        figure: Name of the figure beside the loss, without "val_"; "" for none.
    """
    record, per_epoch = kept.live.record(), kept.per_epoch
    if not per_epoch:
        return TrainingCurve(kept.name.value, kept.style)
    begin = kept.live.first_step / per_epoch
    steps = np.arange(1, record.steps_done + 1) / per_epoch + begin
    tests = np.asarray(record.test_steps) / per_epoch + begin

    def training(name: str) -> np.ndarray:
        # An empty record gives NaNs, which are not drawn, so that all have the same times.
        values = record.steps.get(name, np.full(len(steps), np.nan))
        return thinned(steps, values)[1]

    def validation(name: str) -> np.ndarray:
        return np.asarray(record.epochs.get(f"val_{name}", np.full(len(tests), np.nan)))

    planned = kept.planned
    at, ahead = _some(record.steps_done), _some(len(planned))
    rates = np.asarray(record.learning_rate, float)
    return TrainingCurve(
        kept.name.value, kept.style, thinned(steps, steps)[0], training("loss"), training(figure),
        tests, validation("loss"), validation(figure),
        *_to_the_end(at / per_epoch + begin, rates[at], 1 / per_epoch),
        *_to_the_end(ahead / per_epoch + begin, planned[ahead], 1 / per_epoch),
    )  # fmt: skip


def plan_curve(
    plan: Plan, epochs: int, style: int, steps_per_epoch: int | None = None
) -> TrainingCurve:
    """Returns the curve of a run to come: its rates alone.

    Args:
        plan: Its schedule.
        epochs: Length of the run.
        style: Number of the line's style.
        steps_per_epoch: Steps of an epoch, which a schedule that counts in steps needs; None while
            nobody knows: such a schedule then has no curve.
    """
    schedule = plan.in_steps(_STEPS_PER_EPOCH)
    if plan.in_epochs or not callable(schedule):
        steps_per_epoch = _STEPS_PER_EPOCH
    times = rates = _NOTHING
    if steps_per_epoch is not None and isinstance(schedule, Schedule):
        summary = summarize(schedule, epochs * steps_per_epoch)
        times = np.append(summary.at, summary.steps) / steps_per_epoch
        rates = np.append(summary.rates, summary.rates[-1:])
    elif steps_per_epoch is not None:
        rates = _rates(schedule, epochs * steps_per_epoch)
        at = _some(len(rates))
        times, rates = _to_the_end(at / steps_per_epoch, rates[at], 1 / steps_per_epoch)
    return TrainingCurve("next run", style, planned_times=times, planned=rates)


def _to_the_end(times: np.ndarray, rates: np.ndarray, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the rates with the end of the last step, until which its rate is applied."""
    if not len(times):
        return times, rates
    return np.append(times, times[-1] + step), np.append(rates, rates[-1])


# Kept, because Keras's own schedules take a step at a time.
_rates = functools.lru_cache(maxsize=2)(planned_rates)


def _some(n: int) -> np.ndarray:
    """Returns as many of n indices as a picture shows, the last one among them."""
    if not n:
        return np.empty(0, np.int64)
    return np.unique(np.append(np.arange(0, n, max(1, n // _POINTS)), n - 1))
