"""Writes findings as tables, as Markdown and as a page. Nothing is computed or trained here."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from keraslr._chart_data import LineFigure
from keraslr._files import write_whole
from keraslr.jobs._job import slug
from keraslr.published._comparisons import PARTS
from keraslr.published._parts import Findings, Line, Verdict

# A column without an entry is left out.
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


def reproduction_tables(findings: Mapping[str, Findings]) -> list[RenderableType]:
    """Returns for each part its heading, its table, its claims and a note on left-out runs."""
    shown: list[RenderableType] = []
    for name, found in findings.items():
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


def findings_markdown(findings: Mapping[str, Findings]) -> str:
    """Returns the tables and claims as Markdown."""
    lines = []
    for name, found in findings.items():
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


def save_report(
    findings: Mapping[str, Findings],
    folder: str | os.PathLike[str],
    *,
    counts: Mapping[str, int],
    machine: str,
    notes: Sequence[str],
) -> None:
    """Writes a self-contained `report.html`, `table.md` and the pictures.

    Args:
        findings: Findings by part.
        folder: Folder to write to.
        counts: Number of figures with each verdict.
        machine: Date, machine and versions of the run, in a line.
        notes: Sentences at the top of the page.

    Raises:
        OSError: The folder cannot be written; the error names the path.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    folder = Path(folder)
    parts = []
    for name, found in findings.items():
        columns = _columns(found)
        pictures = []
        for index, picture in enumerate(found.pictures):
            content = _png(picture)
            file = f"{name}-{index + 1:02d}-{slug(picture.title)[:60]}.png"
            write_whole(folder / "pictures" / file, content)
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
    statements = [each for found in findings.values() for each in found.statements]
    environment = Environment(
        loader=PackageLoader("keraslr.published"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True,
    )  # fmt: skip
    page = environment.get_template("report.html.j2").render(
        title="Published comparisons of learning-rate schedules and optimizers, run again in Keras",
        about=(
            "Each published figure beside PyTorch's over several seeds and the one that Keras's "
            "optimizers and keraslr's schedules give here. A published single run is reproduced "
            "if it lies within three standard deviations of ours and the means, ours and "
            "PyTorch's, differ by less than three of their combined standard errors; a figure "
            "that involves no randomness, if all its printed digits are the same."
        ),
        notes=notes,
        counts=counts,
        claims=(sum(each.holds is True for each in statements), len(statements)),
        machine=machine,
        parts=parts,
    )
    write_whole(folder / "report.html", page)
    write_whole(folder / "table.md", findings_markdown(findings))


def _kind(column: str, line: Line) -> str:
    if column == "verdict":
        return _KINDS.get(line.verdict, "")
    return "number" if column in _NUMBERS else ""


def _png(picture: LineFigure) -> bytes:
    from keraslr.plotting import LOCK, line_figure

    figure, content = line_figure(picture), io.BytesIO()
    with LOCK:
        figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
