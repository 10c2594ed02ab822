"""The redraw of a panel after a slider was moved, without a browser.

The rival draws the same curve into a new figure and saves it, as a cell under `interact` does.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

from benchmarks._measurement import Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed

_EPOCHS, _STEPS = 30, 235


def _panel(quick: bool) -> Repeat:
    from widgets import SchedulePanel

    panel = SchedulePanel("cosine annealing", epochs=_EPOCHS)
    control = panel.form.controls["T_max"]
    moves, times = itertools.cycle((10, 12, 15, 20, 25)), 5

    def work() -> None:
        for _ in range(times):
            control.value = next(moves)

    return timed(work, times)


def _new_figure(quick: bool) -> Repeat:
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    import keraslr

    moves, times = itertools.cycle((10, 12, 15, 20, 25)), 5

    def work() -> None:
        for _ in range(times):
            schedule = keraslr.CosineAnnealingLR(0.1, T_max=next(moves)).per_epoch(_STEPS)
            rates = schedule.values(_EPOCHS * _STEPS)
            figure = Figure(figsize=(8, 4.5), dpi=110)
            axes = figure.add_subplot(xlabel="epoch", ylabel="learning rate")
            axes.plot(np.arange(len(rates)) / _STEPS, rates)
            FigureCanvasAgg(figure).print_png(io.BytesIO())

    return timed(work, times)


def _sides() -> Sequence[Side]:
    return [Side("SchedulePanel", _panel), Side("a new matplotlib figure", _new_figure)]


def _pairs() -> Sequence[Pair]:
    return [Pair("a schedule panel's redraw", "SchedulePanel", "a new matplotlib figure")]


SUBJECT = Subject(_sides, _pairs, rounds=9)
