"""Results of many runs: several schedules, each with several seeds."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from keraslr._chart_data import Curve, Series
from keraslr._files import with_null, write_whole
from keraslr._tables import text
from keraslr.comparison._table import FIGURES, Row, comparison_table
from keraslr.training import Result, Run
from keraslr.training._result import RATE

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

_TITLES = {"lenet": "LeNet", "fashion_mnist": "Fashion-MNIST"}


class Comparison:
    """The results of `compare`.

    Attributes:
        runs: The runs that were requested.
        results: Their results, in the same order; None for a run that is still to be done.
        interrupted: Whether the comparison was stopped before its end.
    """

    def __init__(
        self, runs: Sequence[Run], results: Sequence[Result | None], interrupted: bool = False
    ):
        self.runs, self.results, self.interrupted = tuple(runs), tuple(results), interrupted

    @property
    def names(self) -> list[str]:
        """Names of the schedules, in their order."""
        return list(dict.fromkeys(run.name for run in self.runs))

    @property
    def title(self) -> str:
        """Model, data and settings, in a line."""
        run, seeds = self.runs[0], len({run.seed for run in self.runs})
        described = run.description()
        # A function has its module and the functions around it in front of its name.
        model, data = described["model"].rpartition(".")[2], run.data_name
        model, data = _TITLES.get(model, model), _TITLES.get(data, data)
        return (
            f"{model} on {data}, {described['optimizer']}, batch size {run.batch_size}, "
            f"{run.epochs} {'epoch' if run.epochs == 1 else 'epochs'}, "
            f"{seeds} {'seed' if seeds == 1 else 'seeds (band: lowest to highest)'}"
        )

    def of(self, name: str) -> list[Result]:
        """Returns the results of one schedule's finished runs; `results` has the others too.

        Raises:
            ValueError: There is no schedule of that name.
        """
        if name not in self.names:
            raise ValueError(
                f"name must be one of {', '.join(self.names)}. Received: name={name!r}"
            )
        pairs = zip(self.runs, self.results, strict=True)
        return [r for run, r in pairs if run.name == name and r and r.status == "finished"]

    @property
    def figures(self) -> list[str]:
        """Figures of the results' epochs by their Keras names, without the learning rate."""
        names = dict.fromkeys(name for result in self.results if result for name in result.epochs)
        return [name for name in names if name != RATE]

    @property
    def columns(self) -> list[str]:
        """Figures of the table: three for images, else all."""
        known = self.figures
        if self.runs[0].problem is None and (not known or set(FIGURES) <= set(known)):
            return list(FIGURES)
        return known

    def rows(self) -> list[Row]:
        """Returns the rows of the table, one for each schedule."""
        return [self._row(name) for name in self.names]

    def _row(self, name: str) -> Row:
        finished = self.of(name)
        statuses = [
            result.status if result else "missing"
            for run, result in zip(self.runs, self.results, strict=True)
            if run.name == name
        ]
        figures = {}
        for figure in self.figures:
            last = [result.epochs[figure][-1] for result in finished if figure in result.epochs]
            figures[figure] = (
                (float(np.mean(last)), float(np.std(last))) if last else (math.nan, math.nan)
            )
        return Row(
            name=name,
            finished=len(finished),
            diverged=statuses.count("diverged"),
            missing=len(statuses) - len(finished) - statuses.count("diverged"),
            figures=figures,
            seconds=float(np.mean([r.wall_time for r in finished])) if finished else math.nan,
        )

    def curves(self) -> dict[str, Curve]:
        """Returns the curves by schedule, without schedules that have no finished run."""
        curves = {}
        for name in self.names:
            finished = self.of(name)
            if finished:
                # Runs that a callback stopped early are shorter: the curve ends with the shortest.
                shortest = min(finished, key=lambda result: result.epochs_done)
                rates = np.asarray(shortest.learning_rate)
                epochs = shortest.epochs_done
                curves[name] = Curve(
                    rate_epochs=np.arange(len(rates)) * (epochs / len(rates)),
                    rate=rates,
                    epochs=np.arange(1, epochs + 1),
                    figures={
                        figure: _series([r.epochs[figure][:epochs] for r in finished])
                        for figure in finished[0].epochs
                        if figure != RATE
                    },
                )
        return curves

    def plot(self, figure: str | None = None) -> Figure:
        """Draws rate, training loss and another figure against epoch.

        Args:
            figure: Name of the other figure, one of `figures`; None for the first metric on the
                validation data, or the validation loss.

        Raises:
            ValueError: There is no such figure.
        """
        from keraslr.plotting import comparison_figure

        if figure is not None and figure not in self.figures:
            raise ValueError(
                f"figure must be one of {', '.join(self.figures) or '(none yet)'}. "
                f"Received: figure={figure!r}"
            )
        return comparison_figure(self.curves(), self.title, figure)

    def summary(self) -> dict[str, Any]:
        """Returns the table and the last figures of every run, as JSON holds them."""
        return {
            "title": self.title,
            "interrupted": self.interrupted,
            "table": [with_null(dataclasses.asdict(row)) for row in self.rows()],
            "runs": [
                {**run.description(), "status": result.status if result else "missing"}
                | ({f: with_null(v[-1:]) for f, v in result.epochs.items()} if result else {})
                for run, result in zip(self.runs, self.results, strict=True)
            ],
        }

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `results.json` and `comparison.png`; returns the picture's path."""
        from keraslr.plotting import write_figure

        folder = Path(folder)
        write_whole(folder / "results.json", json.dumps(self.summary(), indent=1, allow_nan=False))
        return write_figure(self.plot(), folder / "comparison.png")

    def table(self, figures: Sequence[str] | None = None) -> Table:
        """Returns the table, with a row for each schedule.

        Args:
            figures: Names of the figures to show; None for `columns`.
        """
        return comparison_table(
            self.rows(), self.title, self.columns if figures is None else figures
        )

    def __str__(self) -> str:
        return text(self.table())

    __repr__ = __str__


def _series(values: Sequence[Sequence[float]]) -> Series:
    stacked = np.asarray(values, np.float64)
    return Series(stacked.mean(0), stacked.min(0), stacked.max(0), len(stacked))
