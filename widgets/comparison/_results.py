"""The texts of a comparison panel: the plan, the table of results, and the downloads."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence

from keraslr import check
from keraslr._files import with_null
from keraslr.comparison import Comparison, Row
from keraslr.comparison._table import headings, number
from keraslr.plotting import line_style
from keraslr.published import Published, collapsed, published_figures
from keraslr.schedules import PerEpoch
from keraslr.summary import summarize
from keraslr.training._result import RATE
from widgets.parts._downloads import csv_text, link
from widgets.parts._panel import table

# Keys of the published figures, by Keras's names.
_PUBLISHED = {"loss": "train_loss", "accuracy": "train_accuracy", "val_accuracy": "test_accuracy"}
_SGD_RATE = 0.03
_MOST_FINDINGS = 4
_SMALL = '<div style="line-height: 1.45; font-size: 12px">{}</div>'


def plan_in_words(
    schedules: Mapping[str, PerEpoch],
    epochs: int,
    seeds: int,
    optimizer: str,
    *,
    counted: bool = True,
) -> list[str]:
    """Returns lines that say how much is to be trained, and what `check` finds.

    Args:
        schedules: The schedules, by name.
        epochs: Epochs of a run.
        seeds: Runs of each schedule.
        optimizer: Name of the optimizer's class.
        counted: Whether the steps of an epoch are those of the data.
    """
    per_epoch = next(iter(schedules.values())).steps_per_epoch
    steps, runs = epochs * per_epoch, len(schedules) * seeds
    each = "each " if runs > 1 else ""
    plan = (
        f"{_count(runs, 'run')} ({_count(len(schedules), 'schedule')}, {_count(seeds, 'seed')}), "
        f"{each}of {_count(epochs, 'epoch')}"
    )
    if counted:
        plan += f" of {_count(per_epoch, 'step')}: {_count(runs * steps, 'step')} in all."
    else:
        plan += ", whose steps the first run counts."
    lines = [plan]
    peak = max(summarize(schedule, steps).peak for schedule in schedules.values())
    if optimizer != "SGD" and peak > _SGD_RATE:
        lines.append(f"Rates of up to {peak:.2g} suit SGD; {optimizer} may need lower ones.")
    findings = [
        f"{name}: {finding}"
        for name, schedule in schedules.items()
        for finding in check(schedule, steps, per_epoch)
    ]
    if len(findings) > _MOST_FINDINGS:
        rest = len(findings) - _MOST_FINDINGS + 1
        findings[_MOST_FINDINGS - 1 :] = [f"... and {rest} more findings."]
    return lines + findings


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def published(comparison: Comparison) -> dict[str, Published]:
    """Returns the published figures of the schedules that have some, by name."""
    first = {run.name: run for run in reversed(comparison.runs)}
    found = {name: published_figures(first[name]) for name in comparison.names}
    return {name: each for name, each in found.items() if each is not None}


def results_table(comparison: Comparison) -> str:
    """Returns the table as HTML: a row per schedule, and its published figures below.

    The figures are those after the last epoch.
    """
    known, shown = published(comparison), comparison.columns
    rows = []
    for index, row in enumerate(comparison.rows()):
        rows.append(_cells(row, line_style(index)["color"], shown))
        if row.name in known:
            each = known[row.name]
            said = "published" if each.way == "as run" else "published*"
            figures = [f"{each.figures[_PUBLISHED[figure]]:.3f}" for figure in shown]
            rows.append([_grey(text) for text in (f"&emsp;{said}", "", *figures, "")])
    notes = [f"* {name}: {each.note}" for name, each in known.items() if each.note]
    if notes:
        notes.insert(0, "* The source meant this run, and printed the figures of another:")
    small = "".join(_SMALL.format(html.escape(note)) for note in notes)
    title = f'<div style="line-height: 1.5"><b>{html.escape(comparison.title)}</b></div>'
    head = ("schedule", "seeds", *headings(shown), "seconds")
    # Without a width of its own, so that a wide table scrolls and does not widen the page.
    scrolled = f'<div style="width: 0; min-width: 100%">{table(head, rows)}</div>'
    return title + scrolled + small


def outcome(comparison: Comparison, now: int, seconds: float) -> list[str]:
    """Returns lines that say how many runs are done, `now` of them in these seconds."""
    rows = comparison.rows()
    diverged = sum(row.diverged for row in rows)
    done = sum(row.finished for row in rows) + diverged
    said = f"{done} of {_count(len(comparison.runs), 'run')} done"
    apart = [f"{diverged} of them diverged."] if diverged else []
    if comparison.interrupted:
        return [f"Stopped after {duration(seconds)}: {said}, and kept. Run does the rest.", *apart]
    return [f"{said}, {now} of them now, in {duration(seconds)}.", *apart]


def duration(seconds: float) -> str:
    """Returns a time in words."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d} min" if minutes else f"{rest} s"


def no_better_than_guessing(comparison: Comparison) -> str:
    """Returns a sentence about the networks that learned nothing; "" if all learned."""
    said: list[str] = []
    if comparison.runs[0].problem is not None:
        return ""  # only of ten classes it is known what guessing gives
    for name in comparison.names:
        runs = comparison.of(name)
        dead = sum(
            collapsed({"status": r.status, "train_accuracy": r.train_accuracy}) for r in runs
        )
        said += [f"{name} ({dead} of {len(runs)})"] if dead else []
    if not said:
        return ""
    return (
        f"No better than guessing at the end: {', '.join(said)}. Either too high a rate has killed "
        "the units, or there were too few steps."
    )


def _cells(row: Row, colour: str, shown: Sequence[str]) -> list[str]:
    runs = row.finished + row.diverged + row.missing
    seeds = str(runs) if row.finished == runs else f"{row.finished} of {runs}"
    seeds += f", {row.diverged} diverged" if row.diverged else ""
    figures = []
    for figure in shown:
        mean, deviation = row.figures.get(figure, (math.nan, math.nan))
        spread = f" ± {number(deviation, like=mean)}" if row.finished > 1 else ""
        figures.append(f"{number(mean)}{spread}" if math.isfinite(mean) else "&ndash;")
    return [
        f'<span style="color: {colour}">&#9632;</span> {html.escape(row.name)}',
        seeds,
        *figures,
        f"{row.seconds:.1f}" if row.finished else "&ndash;",
    ]


def _grey(text: str) -> str:
    return f'<span style="opacity: .7">{text}</span>'


def downloads(comparison: Comparison) -> str:
    """Returns the links to the results as JSON and as CSV, as HTML."""
    return (
        "Download: "
        + " &nbsp; ".join(
            (
                link("comparison.json", to_json(comparison), "application/json", "comparison.json"),
                link("comparison.csv", to_csv(comparison), "text/csv", "comparison.csv"),
            )
        )
        + " (a line per epoch)"
    )


def to_json(comparison: Comparison) -> str:
    """Returns the table, the published figures, and every run's figures by epoch, as JSON."""
    summary = comparison.summary()
    for run, result in zip(summary["runs"], comparison.results, strict=True):
        if result is not None:
            run |= {name: with_null(values) for name, values in result.epochs.items()}
            run["wall_time"], run["device"] = result.wall_time, result.device
    summary["published"] = {
        name: {"way": each.way, **each.figures} for name, each in published(comparison).items()
    }
    return json.dumps(summary, indent=1, allow_nan=False)


def to_csv(comparison: Comparison) -> str:
    """Returns a line per epoch of each run; the learning rate is that of the epoch's last step."""
    names = [RATE, *comparison.figures]
    rows = []
    for run, result in zip(comparison.runs, comparison.results, strict=True):
        if result is None:
            continue
        for epoch in range(result.epochs_done):
            figures = [
                result.epochs[name][epoch] if name in result.epochs else "" for name in names
            ]
            rows.append((run.name, run.seed, result.status, epoch + 1, *figures))
    return csv_text(("schedule", "seed", "status", "epoch", *names), rows)
