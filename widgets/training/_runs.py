"""The runs of a training panel: a table to name, show, compare, remove and export runs."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ipywidgets
import numpy as np

from keraslr._files import with_null
from keraslr.plotting import line_style
from keraslr.training import LiveRun
from keraslr.training._result import RATE
from keraslr.training._steering import planned_rates
from widgets.parts._downloads import csv_text, link
from widgets.parts._panel import columns, dispose
from widgets.training._settings import RunSettings

# Columns before and after those of the figures.
_BEFORE = "show", "name", "schedule", "epochs"
_AFTER = "time", "state", ""
# Figures beside which there is room for long names.
_FEW = 4
# Headings of the figures of images; those of other problems have Keras's names.
IMAGES = {
    "loss": "train loss", "val_loss": "test loss", "accuracy": "train acc.",
    "val_accuracy": "test acc.",
}  # fmt: skip
_ONE_LINE = "display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis"


@dataclasses.dataclass(eq=False)
class KeptRun:
    """A run and its row of the table.

    Attributes:
        live: The run.
        settings: Settings of the run, or of the one that it branched from.
        schedule: Label of its schedule.
        style: Number of its line's style.
        show: Checkbox; ticked if the run is drawn.
        name: Editable name.
        cells: The other columns by their headings, in the table's order.
        remove: Button that removes the run.
        figures: Names of the figures, by the headings of their columns.
    """

    live: LiveRun
    settings: RunSettings
    schedule: str
    style: int
    show: ipywidgets.Checkbox
    name: ipywidgets.Text
    cells: dict[str, ipywidgets.HTML]
    remove: ipywidgets.Button
    figures: Mapping[str, str]
    _planned: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0, np.float32))

    @property
    def widgets(self) -> list[ipywidgets.Widget]:
        """The widgets of the row."""
        return [self.show, self.name, *self.cells.values(), self.remove]

    def fill(self) -> None:
        """Writes the current figures into the row."""
        result, live = self.live.result, self.live
        texts = {
            "schedule": html.escape(self.schedule),
            "epochs": str(result.epochs_done),
            "time": f"{result.wall_time or sum(result.epoch_seconds):.0f} s",
            "state": live.state,
        }
        for column, cell in self.cells.items():
            figure = self.figures.get(column)
            text = texts[column] if figure is None else _last(result.epochs.get(figure, []))
            shown = f'<span title="{text}" style="{_ONE_LINE}">{text}</span>'
            if cell.value != shown:
                cell.value = shown

    @property
    def is_of_images(self) -> bool:
        """Whether images with a name are trained on, and not one's own problem."""
        return self.settings.subject.problem is None

    @property
    def per_epoch(self) -> int | None:
        """Steps of an epoch; None while nobody knows."""
        return self.live.steps_per_epoch or self.settings.steps_per_epoch

    @property
    def planned(self) -> np.ndarray:
        """The rates that the schedule alone gives; empty while nobody knows how many."""
        rates = self.live.planned
        if len(rates) or self.live.run is None or self.per_epoch is None:
            return rates
        # In the first epoch of data of unknown length, of which the panel has counted the steps.
        steps = (self.live.epochs or 1) * self.per_epoch
        if len(self._planned) != steps:
            self._planned = planned_rates(self.live.run.schedule, steps)
        return self._planned

    @property
    def end(self) -> float:
        """Epoch at which the run is to end, counted from the start of the run it branched from."""
        per_epoch = self.per_epoch
        steps = self.live.progress.steps or len(self.planned)
        return (self.live.first_step + steps) / per_epoch if steps and per_epoch else 0.0


class KeptRuns(ipywidgets.VBox):
    """The table of runs.

    Attributes:
        kept: The runs.
        next_style: Number of the next run's line style.

    Args:
        on_change: Called when a run was renamed, shown, hidden or removed.
        figures: Headings of the figures' columns, by the figures' names.
    """

    def __init__(self, on_change: Callable[[], None], figures: Mapping[str, str]):
        self._on_change, self.next_style = on_change, 0
        self._figures = {heading: figure for figure, heading in figures.items()}
        self._head = (*_BEFORE, *self._figures, *_AFTER)
        self.kept: list[KeptRun] = []
        # As wide as a bold heading, or as a number.
        widths = [max(62, 8 * len(heading)) for heading in self._figures]
        few = len(widths) <= _FEW
        self._name_width, schedule = (210, 120) if few else (124, 80)
        grid = [
            "44px", f"{self._name_width}px", f"minmax({schedule}px, 1.6fr)", "52px",
            *(f"{width}px" for width in widths), "52px", "minmax(70px, .8fr)", "36px",
        ]  # fmt: skip
        fixed = 44 + self._name_width + schedule + 52 + 52 + 70 + 36
        self._grid = ipywidgets.GridBox(
            layout={
                "grid_template_columns": " ".join(grid), "grid_gap": "0 8px",
                "align_items": "center",
                "min_width": f"{fixed + sum(widths) + 8 * (len(grid) - 1)}px",
            }
        )  # fmt: skip
        self.export = ipywidgets.Button(
            description="Export all runs", icon="download", disabled=True,
            layout={"width": "150px"},
        )  # fmt: skip
        self.links = ipywidgets.HTML()
        self.export.on_click(lambda _: self._export())
        scroll = ipywidgets.Box([self._grid], layout={"overflow": "auto hidden", "width": "100%"})
        super().__init__([scroll, columns(self.export, self.links)], layout={"width": "100%"})
        self._arrange()

    def __iter__(self) -> Iterator[KeptRun]:
        return iter(self.kept)

    def __len__(self) -> int:
        return len(self.kept)

    def unique(self, name: str) -> str:
        """Returns the name, with a number added if another run has it."""
        taken, free, number = {each.name.value for each in self.kept}, name, 1
        while free in taken:
            number += 1
            free = f"{name} ({number})"
        return free

    def add(self, live: LiveRun, settings: RunSettings, name: str, schedule: str) -> KeptRun:
        """Adds a run under a name, and returns its row."""
        style = self.next_style
        self.next_style += 1
        colour = line_style(style)["color"]
        kept = KeptRun(
            live, settings, schedule, style,
            ipywidgets.Checkbox(
                value=True, indent=False, layout={"width": "40px"}
            ),
            ipywidgets.Text(
                value=name, continuous_update=False,
                layout={"width": f"{self._name_width - 4}px", "border": f"2px solid {colour}"},
            ),
            {column: ipywidgets.HTML() for column in self._head[2:-1]},
            ipywidgets.Button(icon="times", tooltip="Remove", layout={"width": "34px"}),
            self._figures,
        )  # fmt: skip
        kept.show.observe(lambda _: self._on_change(), "value")
        kept.name.observe(lambda change: self._rename(kept, change), "value")
        kept.remove.on_click(lambda _: self.remove(kept))
        kept.fill()
        self.kept.append(kept)
        self._arrange()
        return kept

    def remove(self, kept: KeptRun) -> None:
        """Stops a run and removes it from the table."""
        if kept in self.kept:
            kept.live.stop()
            self.kept.remove(kept)
            self._arrange()
            dispose(*kept.widgets)
            self._on_change()

    def fill(self) -> None:
        """Writes the current figures into all rows."""
        for kept in self.kept:
            kept.fill()

    def to_json(self) -> str:
        """Returns all runs with every step as JSON."""
        runs = []
        for kept in self.kept:
            plain = json.loads(kept.live.result.to_json())
            runs.append({"name": kept.name.value, **plain})
        return json.dumps(with_null(runs), indent=1, allow_nan=False)

    def to_csv(self) -> str:
        """Returns all runs as CSV, a line per epoch."""
        records = [kept.live.record() for kept in self.kept]
        known = dict.fromkeys(name for record in records for name in record.epochs)
        names = [*(name for name in known if name != RATE), RATE]
        rows: list[tuple[Any, ...]] = []
        for kept, record in zip(self.kept, records, strict=True):
            for epoch, seconds in enumerate(record.epoch_seconds):
                figures = [
                    record.epochs[name][epoch] if name in record.epochs else "" for name in names
                ]
                rows.append((kept.name.value, kept.schedule, epoch + 1, *figures, seconds))
        head = ("name", "schedule", "epoch", *names, "seconds")
        return csv_text(head, rows)

    def _rename(self, kept: KeptRun, change: Any) -> None:
        others = {each.name.value for each in self.kept if each is not kept}
        name = change["new"].strip()
        if not name or name in others:
            # An empty name, or another run's, is refused.
            kept.name.value = change["old"]
            return
        self._on_change()

    def _arrange(self) -> None:
        head = [
            ipywidgets.HTML(
                f'<b style="white-space: nowrap">{html.escape(text)}</b>',
                layout={"margin": "0 2px"},
            )
            for text in self._head
        ]
        old = self._grid.children[: len(self._head)]
        cells = [widget for kept in self.kept for widget in kept.widgets]
        self._grid.children = (
            [*head, *cells]
            if self.kept
            else [
                ipywidgets.HTML(
                    "Runs are kept here to compare them.", layout={"grid_column": "1 / -1"}
                )
            ]
        )
        dispose(*old)
        self.export.disabled = not self.kept
        self.links.value = ""

    def _export(self) -> None:
        # Made on request, because they hold every step of every run.
        self.links.value = " &nbsp; ".join(
            (
                link("runs.json", self.to_json(), "application/json", "runs.json (every step)"),
                link("runs.csv", self.to_csv(), "text/csv", "runs.csv (a line per epoch)"),
            )
        )


def _last(values: list[float]) -> str:
    if not values:
        return "&ndash;"
    last = values[-1]
    if not math.isfinite(last):
        return "not finite"
    if last and not 0.001 <= abs(last) < 10_000:
        return f"{last:.2e}"
    return f"{last:.4f}" if abs(last) < 10 else f"{last:.5g}"
