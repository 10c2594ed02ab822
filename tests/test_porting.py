"""Do the lines of the porting pages give what the libraries give that they are from?"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import porting_tables
import pytest
from measured import ABSOLUTE, RELATIVE

import keraslr

LINES = porting_tables.lines()
GOLDEN_LINES = [line for line in LINES if line.library != "keras"]

with np.load(Path(__file__).parent / "goldens" / "porting.npz") as file:
    VERSIONS = json.loads(str(file["versions"]))
    SCHEDULES = json.loads(str(file["schedules"]))
    GOLDENS = {
        (library, theirs): row[~np.isnan(row)]
        for library, theirs, row in zip(
            file["libraries"].tolist(), file["lines"].tolist(), file["values"], strict=True
        )
    }


def named(line):
    return f"{line.library}: {line.theirs[:60]}"


def ours(line):
    schedule = eval(line.ours, {**vars(keraslr), "math": math})
    assert isinstance(schedule, keraslr.Schedule)
    return schedule.values(line.steps).astype(np.float64)


def assert_ported(line, expected):
    """Equal, or apart by what the remark says and no less."""
    assert expected.shape == (line.steps,)
    difference = np.abs(ours(line) - expected)
    allowed = np.maximum(RELATIVE * np.abs(expected), ABSOLUTE)
    if not line.deviation:
        at = int(np.argmax(difference - allowed))
        assert difference[at] <= allowed[at], f"step {at}: {expected[at]}, here {ours(line)[at]}"
        return
    assert (difference <= line.deviation + allowed).all()
    # A remark that says more than there is would hide an error.
    assert (difference - allowed).max() > 0.9 * line.deviation


@pytest.mark.parametrize("line", GOLDEN_LINES, ids=named)
def test_lines_give_what_their_library_gave(line):
    assert_ported(line, GOLDENS[line.library, line.theirs])


@pytest.mark.parametrize(
    "library", [each for each in porting_tables.importable() if each == "keras" or each in VERSIONS]
)
def test_lines_give_what_an_installed_library_gives(library):
    """Keras always; the others where they are installed, whatever their version."""
    tried = [line for line in LINES if line.library == library]
    assert len(tried) >= 8
    for line in tried:
        assert_ported(line, porting_tables.rates(line))


def test_goldens_are_those_of_the_pages():
    assert len(GOLDENS) == len(GOLDEN_LINES)
    assert set(GOLDENS) == {(line.library, line.theirs) for line in GOLDEN_LINES}


@pytest.mark.parametrize("library", sorted(VERSIONS))
def test_pages_say_which_version_was_asked(library):
    assert f"{library} {VERSIONS[library]}" in porting_tables.page(library)


@pytest.mark.parametrize("library", porting_tables.LIBRARIES.values())
def test_pages_leave_no_schedule_out(library):
    names = SCHEDULES.get(library) or porting_tables.schedules(library)
    assert len(names) >= 5
    text = porting_tables.page(library)
    assert [name for name in names if name not in text] == []
