"""Verdicts, spreads and the names of results: what every reproduced comparison stands on."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from keraslr.published import _parts
from keraslr.published._parts import Job, Plan, Spread, Verdict, judged

TEN = Spread(mean=0.250, deviation=0.002, count=10)


@pytest.mark.parametrize(
    ("published", "pytorch", "here", "verdict"),
    [
        # Published alone: within three deviations of ours, on both sides, and not a bit more.
        (0.2559, None, TEN, Verdict.REPRODUCED),
        (0.2441, None, TEN, Verdict.REPRODUCED),
        (0.2561, None, TEN, Verdict.NOT_REPRODUCED),
        (0.2439, None, TEN, Verdict.NOT_REPRODUCED),
        # PyTorch alone: three combined standard errors, here 3 * sqrt(2) * 0.002 / sqrt(10).
        (None, Spread(0.2526, 0.002, 10), TEN, Verdict.AGREES),
        (None, Spread(0.2528, 0.002, 10), TEN, Verdict.DIFFERS),
        (None, Spread(0.2472, 0.002, 10), TEN, Verdict.DIFFERS),
        # More runs, smaller errors: what ten could not tell apart, a hundred do.
        (None, Spread(0.2526, 0.002, 100), Spread(0.250, 0.002, 100), Verdict.DIFFERS),
        # Both: neither makes up for the other.
        (0.251, Spread(0.2501, 0.002, 10), TEN, Verdict.REPRODUCED),
        (0.251, Spread(0.2601, 0.002, 10), TEN, Verdict.NOT_REPRODUCED),
        (0.271, Spread(0.2501, 0.002, 10), TEN, Verdict.NOT_REPRODUCED),
        # Nothing to compare with, or to compare.
        (None, None, TEN, Verdict.NOT_COMPARED),
        (0.250, TEN, None, Verdict.NOT_COMPARED),
        (0.250, TEN, Spread(0.250, 0.0, 1), Verdict.NOT_COMPARED),
    ],
)
def test_a_figure_is_judged(published, pytorch, here, verdict):
    assert judged(published, pytorch, here) is verdict


@pytest.mark.parametrize("lost", [math.nan, math.inf])
def test_a_run_that_diverged_reproduces_nothing(lost):
    assert judged(0.25, TEN, Spread(lost, lost, 10)) is Verdict.NOT_REPRODUCED
    assert judged(None, TEN, Spread(lost, 0.002, 10)) is Verdict.DIFFERS


def test_a_spread_is_that_of_a_sample():
    spread = Spread.of([1.0, 2.0, 3.0, 6.0])
    assert (spread.mean, spread.count) == (3.0, 4)
    assert spread.deviation == pytest.approx(math.sqrt(14 / 3))
    assert spread.error == pytest.approx(math.sqrt(14 / 3) / 2)
    assert spread.shown(2) == "3.00 ± 2.16"


def test_a_deviation_that_was_taken_with_n_is_made_one_with_n_minus_1():
    values = [1.0, 2.0, 3.0, 6.0]
    taken = Spread.of_population(3.0, math.sqrt(14 / 4), 4)
    assert taken.deviation == pytest.approx(Spread.of(values).deviation)
    assert (taken.mean, taken.count) == (3.0, 4)


def test_one_run_has_no_deviation():
    spread = Spread.of([0.1234])
    assert (spread.deviation, spread.error) == (0.0, 0.0)
    assert spread.shown(3) == "0.123"


@pytest.mark.parametrize(
    ("plan", "seeds"),
    [
        (Plan(), 10),
        (Plan(quick=True), 2),
        (Plan(seeds=4), 4),
        (Plan(quick=True, seeds=4), 4),
    ],
)
def test_the_plan_says_how_many_seeds(plan, seeds):
    assert plan.seeds_of(10, quick=2) == range(seeds)


def work(**arguments):
    return arguments


def other_work(**arguments):
    return arguments


JOB = Job("airfoil", "AdaGrad, 0.1", 3, 1.5, work, {"rate": 0.1, "options": {"a": 1, "b": [1]}})


def test_a_results_file_is_readable():
    assert JOB.file.startswith("airfoil-adagrad-0.1-seed3-")
    assert JOB.file.endswith(".json")
    name = dataclasses.replace(JOB, name="../../etc: a/b\\c").file
    assert name.startswith("airfoil-..-..-etc-a-b-c-seed3-")
    assert not set(name) & set("/\\: ")


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": {"rate": 0.2, "options": {"a": 1, "b": [1]}}},
        {"arguments": {"rate": 0.1, "options": {"a": 2, "b": [1]}}},
        {"arguments": {"rate": 0.1, "options": {"a": 1, "b": [2]}}},
        {"arguments": {"rate": 0.1}},
        {"arguments": {"rate": 0.1, "options": {"a": 1, "b": [1]}, "more": None}},
        {"function": other_work},
        {"seed": 4},
        {"part": "descent"},
        {"name": "AdaGrad, 0.2"},
    ],
)
def test_what_a_result_depends_on_is_in_its_files_name(change):
    assert dataclasses.replace(JOB, **change).file != JOB.file


def test_what_a_result_does_not_depend_on_is_not_in_its_files_name():
    turned = {"options": {"b": [1], "a": 1}, "rate": 0.1}
    assert dataclasses.replace(JOB, arguments=turned, cost=9.0).file == JOB.file


def test_arguments_must_be_what_json_holds():
    with pytest.raises(TypeError, match="not JSON serializable"):
        _ = dataclasses.replace(JOB, arguments={"rate": object()}).file


@pytest.mark.parametrize("name", ["airfoil", "polynomial"])
def test_every_run_of_the_data_is_one_job_that_json_holds(name):
    from keraslr.published import _airfoil, _polynomial

    part = {"airfoil": _airfoil, "polynomial": _polynomial}[name].PART
    jobs = part.jobs(Plan(seeds=2))
    if not jobs:
        pytest.skip(part.findings(Plan(), []).left_out)
    assert [job.name for job in jobs] == [run["name"] for run in _parts.read_data(name)["runs"]]
    assert len({job.file for job in jobs}) == len(jobs)
    for job in jobs:
        assert job.part == name
        assert job.cost > 0
        assert json.loads(json.dumps(dict(job.arguments))) == dict(job.arguments)
        assert job.arguments["seeds"] == [0, 1]
