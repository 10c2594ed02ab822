"""The benchmarks: that they compare what they say, not how fast this machine is."""

from __future__ import annotations

import importlib
import json
import math
import re

import keras
import pytest

from benchmarks import __main__ as program
from benchmarks import schedules, training_step
from benchmarks._measurement import Goal, Measurement, Pair, Subject, shown_time
from benchmarks._sides import Side, Timed
from benchmarks._timing import Spread, in_turns


def test_turns_are_taken_forwards_and_backwards_after_a_warm_up():
    called = []

    def side(name):
        return lambda: called.append(name) or float(len(called))

    seconds = in_turns({"a": side("a"), "b": side("b")}, rounds=3)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert seconds == {"a": [3.0, 6.0, 7.0], "b": [4.0, 5.0, 8.0]}


def measurement(ours, theirs, **goal):
    return Measurement("it", "other", Timed(ours, 1.0), Timed(theirs, 2.0), Goal(**goal))


def test_a_ratio_is_taken_round_by_round():
    """One of medians would be 2 / 4 here."""
    found = measurement([1.0, 2.0, 30.0], [4.0, 2.0, 40.0])
    assert found.ratio == Spread(0.75, 0.5, 0.875)
    assert found.verdict == ""


@pytest.mark.parametrize(
    ("goal", "verdict"),
    [
        ({"ratio": 0.5}, "met"),
        ({"ratio": 0.4}, "missed: 1.25 times as much"),
        ({"seconds": 1.0}, "met"),
        ({"seconds": 0.8}, "missed: 1.25 times as much"),
    ],
)
def test_a_goal_is_met_or_missed_by_so_much(goal, verdict):
    assert measurement([1.0, 1.0], [2.0, 2.0], **goal).verdict == verdict


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.0, "2 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 µs"), (1.2e-8, "12 ns")],
)
def test_times_are_shown_in_the_unit_that_suits_them(seconds, text):
    assert shown_time(seconds) == text


@pytest.mark.slow
def test_the_table_and_the_numbers_of_a_quick_run(tmp_path, monkeypatch, capsys):
    """With a rival that is nowhere installed, in place of those that may or may not be."""
    own = [side for side in schedules.SUBJECT.sides() if not side.needs]
    absent = Side("the other library", schedules._keras, needs="not_installed_anywhere")
    pairs = [
        Pair("values", "cosine", "Keras's CosineDecay, step by step", Goal(ratio=1e-9)),
        Pair("values", "cosine", "the other library"),
    ]
    subject = Subject(lambda: [*own, absent], lambda: pairs, rounds=5)
    monkeypatch.setattr(schedules, "SUBJECT", subject)
    for name in program.THREADS:
        monkeypatch.setenv(name, "1")
    file = tmp_path / "numbers.json"
    program.main(["--only", "schedules", "--quick", "--threads", "1", "--json", str(file)])
    printed = capsys.readouterr().out
    whole = json.loads(file.read_text())
    (line,) = whole["measurements"]
    assert line["what"] == "values"
    assert len(line["ours"]["seconds"]) == len(line["theirs"]["seconds"]) == 2
    # Ten thousand values in one call, against one call for each: nothing makes that even.
    assert 0 < line["ratio"]["low"] <= line["ratio"]["median"] <= line["ratio"]["high"] < 0.5
    assert line["ours"]["peak"] == line["theirs"]["peak"] > 100
    assert whole["absent"] == {"not_installed_anywhere": ["the other library"]}
    assert whole["machine"]["threads"] == "1"
    assert re.search(r"^\| values +\| Keras's CosineDecay, step by step", printed, re.MULTILINE)
    assert "not_installed_anywhere is not installed: the other library." in printed


# Those that make no process of their own and need nothing that may be missing; how the steps and
# the imports are timed is the same, but takes longer.
@pytest.mark.parametrize("name", ["epoch", "descents", "published", "redraw"])
def test_every_side_can_be_repeated(name):
    for side in importlib.import_module(f"benchmarks.{name}").SUBJECT.sides():
        if not side.needs:
            seconds = side.prepare(True)()
            assert 0 < seconds < math.inf, side.name


def test_every_rate_of_the_steps_is_one_for_an_optimizer():
    rates = [training_step._rate(side.name) for side in training_step.SUBJECT.sides()]
    assert len(rates) > 20
    for rate in rates:
        keras.optimizers.SGD(rate)


@pytest.mark.parametrize("name", program.SUBJECTS)
def test_what_is_compared_is_measured(name):
    subject = importlib.import_module(f"benchmarks.{name}").SUBJECT
    names = [side.name for side in subject.sides()]
    assert len(set(names)) == len(names)
    for pair in subject.pairs():
        assert {pair.ours, pair.theirs} <= set(names)
