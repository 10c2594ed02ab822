"""The reproduction as tables, as Markdown and as a page. Nothing is computed or trained here."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from keraslr._files import write_whole
from keraslr.published._comparisons import PARTS
from keraslr.published._parts import Findings, Line, Verdict

if TYPE_CHECKING:
    from keraslr.published._reproduction import Reproduction

# Reproduced comparisons. A column without an entry is left out.

_COLUMNS = {
    "run": lambda line: line.name,
    "figure": lambda line: line.figure,
    "published": lambda line: line.published,
    "PyTorch": lambda line: line.pytorch,
    "here": lambda line: line.here,
    "verdict": lambda line: line.verdict.value,
    "note": lambda line: line.note,
}
_NUMBERS = ("published", "PyTorch", "here")
_KINDS = {
    Verdict.REPRODUCED: "good",
    Verdict.AGREES: "good",
    Verdict.NOT_REPRODUCED: "bad",
    Verdict.DIFFERS: "bad",
}
_MARKS = {True: "holds", False: "does not hold", None: "cannot be told"}


def _columns(found: Findings) -> list[str]:
    compared = any(line.verdict is not Verdict.NOT_COMPARED for line in found.lines)
    return [
        name
        for name, cell in _COLUMNS.items()
        if any(cell(line) for line in found.lines) and (compared or name != "verdict")
    ]


def reproduction_tables(reproduction: Reproduction) -> list[RenderableType]:
    """For each part a heading, its table, its claims and what was left out."""
    shown: list[RenderableType] = []
    for name, found in reproduction.findings.items():
        shown.append(Text(f"\n{PARTS[name].title}", style="bold"))
        if found.left_out:
            shown.append(Text(found.left_out, style="yellow"))
        if found.lines:
            table = Table()
            columns = _columns(found)
            for column in columns:
                table.add_column(column, justify="right" if column in _NUMBERS else "left")
            for line in found.lines:
                style = {"good": "green", "bad": "red"}.get(_KINDS.get(line.verdict, ""), "")
                cells = [Text(_COLUMNS[column](line)) for column in columns]
                table.add_row(*cells, style=style if "verdict" in columns else None)
            shown.append(table)
        if found.statements:
            table = Table("claim", "here", "numbers", show_lines=True)
            for each in found.statements:
                table.add_row(Text(each.claim), _MARKS[each.holds], Text(each.evidence))
            shown.append(table)
    return shown


def reproduction_markdown(reproduction: Reproduction) -> str:
    """The tables and claims as Markdown."""
    lines = []
    for name, found in reproduction.findings.items():
        lines += [f"### {PARTS[name].title}", ""]
        if found.left_out:
            lines += [found.left_out, ""]
        if found.lines:
            columns = _columns(found)
            lines += [_row(columns), _row(["---:" if c in _NUMBERS else "---" for c in columns])]
            lines += [_row([_COLUMNS[column](line) for column in columns]) for line in found.lines]
            lines.append("")
        for each in found.statements:
            lines.append(f"- {each.claim} **{_MARKS[each.holds].capitalize()}.** {each.evidence}")
        if found.statements:
            lines.append("")
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def save_reproduction(reproduction: Reproduction, folder: str | os.PathLike[str]) -> None:
    """Writes `report.html`, which needs nothing beside it, `table.md` and the pictures.

    Raises:
        OSError: The folder cannot be written; the error names the path.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = Path(folder)
    parts = []
    for name, found in reproduction.findings.items():
        columns = _columns(found)
        pictures = []
        for index, picture in enumerate(found.pictures):
            content = _png(picture)
            slug = re.sub(r"[^a-z0-9]+", "-", picture.title.lower()).strip("-")[:60]
            write_whole(folder / "pictures" / f"{name}-{index + 1:02d}-{slug}.png", content)
            pictures.append((picture.title, base64.b64encode(content).decode()))
        rows = [[(c, _COLUMNS[c](line), _kind(c, line)) for c in columns] for line in found.lines]
        parts.append(
            {
                "name": name,
                "title": PARTS[name].title,
                "found": found,
                "columns": columns,
                "rows": rows,
                "pictures": pictures,
            }
        )
    statements = [each for found in reproduction.findings.values() for each in found.statements]
    environment = Environment(
        loader=PackageLoader("keraslr.published"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html.j2").render(
        title="Published comparisons of learning-rate schedules and optimizers, run again in Keras",
        about=(
            "Each published figure beside what PyTorch gives over several seeds and what Keras's "
            "optimizers and keraslr's schedules give here. A published single run is reproduced "
            "when it lies within three standard deviations of ours and the means, ours and "
            "PyTorch's, differ by less than three of their combined standard errors; a figure "
            "without chance in it, when all its printed digits are the same."
        ),
        notes=_notes(reproduction),
        counts=reproduction.counts(),
        claims=(sum(each.holds is True for each in statements), len(statements)),
        machine=machine_line(reproduction),
        parts=parts,
    )
    write_whole(folder / "report.html", page)
    write_whole(folder / "table.md", reproduction_markdown(reproduction))


def machine_line(reproduction: Reproduction) -> str:
    """When and where it ran, in a line."""
    machine = reproduction.machine
    return (
        f"{machine['date']}, {machine['cores']} cores ({machine['processor']}), Python "
        f"{machine['python']}, TensorFlow {machine['tensorflow']}, Keras {machine['keras']}, "
        f"keraslr {machine['keraslr']}. {reproduction.done} of {reproduction.jobs} jobs, "
        f"{reproduction.job_seconds / 60:.1f} minutes of one core together."
    )


def _notes(reproduction: Reproduction) -> list[str]:
    notes = []
    if reproduction.plan.quick:
        notes.append("A quick run: what takes long is left out, and each part says what.")
    if reproduction.interrupted:
        notes.append("Interrupted: start the same command again to do what is missing.")
    notes += [f"{name} failed: {error}" for name, error in reproduction.failures.items()]
    return notes


def _kind(column: str, line: Line) -> str:
    if column == "verdict":
        return _KINDS.get(line.verdict, "")
    return "number" if column in _NUMBERS else ""


def _png(picture: Any) -> bytes:
    from keraslr.plotting import LOCK, picture_figure

    figure, content = picture_figure(picture), io.BytesIO()
    with LOCK:
        figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
