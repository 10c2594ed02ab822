"""The runs of a training panel: a table to name, show, compare, remove and export runs."""

from __future__ import annotations

import dataclasses
import html
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets

from keraslr._files import with_null
from keraslr.plotting import line_style
from keraslr.training import LiveRun
from keraslr.training._result import RATE
from widgets.parts._downloads import csv_text, link
from widgets.parts._panel import columns, dispose

_HEAD = (
    "show", "name", "schedule", "epochs", "train loss", "test loss", "train acc.", "test acc.",
    "time", "state", "",
)  # fmt: skip
_GRID = "44px 210px minmax(120px, 1.6fr) 52px 74px 70px 74px 70px 58px minmax(74px, .8fr) 36px"
_ONE_LINE = "display: block; white-space: nowrap; overflow: hidden; text-overflow: ellipsis"


@dataclasses.dataclass(eq=False)
class KeptRun:
    """A run and its row of the table.

    Attributes:
        live: The run.
        schedule: Label of its schedule.
        style: Number of its line's style.
        show: Checkbox; ticked if the run is drawn.
        name: Editable name.
        cells: The other columns, in the table's order.
        remove: Button that removes the run.
    """

    live: LiveRun
    schedule: str
    style: int
    show: ipywidgets.Checkbox
    name: ipywidgets.Text
    cells: dict[str, ipywidgets.HTML]
    remove: ipywidgets.Button

    @property
    def widgets(self) -> list[ipywidgets.Widget]:
        """The widgets of the row."""
        return [self.show, self.name, *self.cells.values(), self.remove]

    def fill(self) -> None:
        """Writes the current figures into the row."""
        result, live = self.live.result, self.live
        done = len(result.test_accuracy)
        figures = {
            "schedule": html.escape(self.schedule),
            "epochs": str(done),
            "train loss": _last(result.train_loss),
            "test loss": _last(result.test_loss),
            "train acc.": _last(result.train_accuracy),
            "test acc.": _last(result.test_accuracy),
            "time": f"{result.wall_time or sum(result.epoch_seconds):.0f} s",
            "state": live.state,
        }
        for column, text in figures.items():
            shown = f'<span title="{text}" style="{_ONE_LINE}">{text}</span>'
            if self.cells[column].value != shown:
                self.cells[column].value = shown

    @property
    def end(self) -> float:
        """Epoch at which the run is to end, counted from the start of the run it branched from."""
        per_epoch = self.live.steps_per_epoch
        steps = self.live.progress.steps
        return (self.live.first_step + steps) / per_epoch if steps and per_epoch else 0.0


class KeptRuns(ipywidgets.VBox):
    """The table of runs.

    Attributes:
        kept: The runs.
        next_style: Number of the next run's line style.

    Args:
        on_change: Called when a run was renamed, shown, hidden or removed.
    """

    def __init__(self, on_change: Callable[[], None]):
        self._on_change, self.next_style = on_change, 0
        self.kept: list[KeptRun] = []
        self._grid = ipywidgets.GridBox(
            layout={
                "grid_template_columns": _GRID, "grid_gap": "0 8px", "align_items": "center",
                "min_width": "900px",
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

    def add(self, live: LiveRun, name: str, schedule: str) -> KeptRun:
        """Adds a run under a name, and returns its row."""
        style = self.next_style
        self.next_style += 1
        colour = line_style(style)["color"]
        kept = KeptRun(
            live, schedule, style,
            ipywidgets.Checkbox(
                value=True, indent=False, layout={"width": "40px"}
            ),
            ipywidgets.Text(
                value=name, continuous_update=False,
                layout={"width": "206px", "border": f"2px solid {colour}"},
            ),
            {column: ipywidgets.HTML() for column in _HEAD[2:-1]},
            ipywidgets.Button(icon="times", tooltip="Remove", layout={"width": "34px"}),
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
                f'<b style="white-space: nowrap">{text}</b>', layout={"margin": "0 2px"}
            )
            for text in _HEAD
        ]
        old = self._grid.children[: len(_HEAD)]
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
    return f"{values[-1]:.4f}" if math.isfinite(values[-1]) else "not finite"
