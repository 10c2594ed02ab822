"""The published descents: are their figures met, and would it be told if they were not?"""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from keraslr.objectives import OBJECTIVES
from keraslr.published import _descent
from keraslr.published._parts import Plan, Verdict, read_data

DATA = read_data("descent")
NOISY = {each["name"] for each in DATA["runs"] if "noise" in each}


def performed(plan, *names):
    """Jobs and results, both by way of JSON, as another process or a later day would have them."""
    return [
        (job, json.loads(json.dumps(job.function(**json.loads(json.dumps(job.arguments))))))
        for job in _descent.PART.jobs(plan)
        if not names or job.name in names
    ]


@pytest.fixture(scope="module")
def results():
    return performed(Plan())


@pytest.fixture(scope="module")
def findings(results):
    return _descent.PART.findings(Plan(), results)


def with_result(results, name, change):
    """The results with one of them changed in place."""
    changed = copy.deepcopy(results)
    change(next(result for job, result in changed if job.name == name))
    return _descent.PART.findings(Plan(), changed)


def test_jobs_are_independent_and_complete():
    jobs = _descent.PART.jobs(Plan())
    assert [job.name for job in jobs] == [each["name"] for each in DATA["runs"]]
    assert len({job.file for job in jobs}) == len(jobs)
    assert {job.part for job in jobs} == {_descent.PART.name} == {"descent"}
    for job in jobs:
        assert job.arguments.get("seeds", 1) == (200 if job.name in NOISY else 1)
    assert [job.arguments for job in _descent.PART.jobs(Plan(quick=True))] == [
        job.arguments for job in jobs
    ]
    few = [job.arguments.get("seeds") for job in _descent.PART.jobs(Plan(seeds=3))]
    assert few.count(3) == len(NOISY)


def test_every_published_figure_is_reproduced(findings):
    exact = [line for line in findings.lines if line.name not in NOISY]
    noisy = [line for line in findings.lines if line.name in NOISY]
    assert (len(exact), len(noisy)) == (8, 6)
    assert all(line.here == line.published for line in exact)
    assert all("±" in line.here for line in noisy)
    assert {line.verdict for line in findings.lines} == {Verdict.REPRODUCED}
    assert "8 of 8 runs without noise" in findings.summary
    assert "6 of 6 coordinates" in findings.summary


def test_every_claim_holds_with_its_numbers(findings):
    assert [each.claim for each in findings.statements] == [
        each["claim"] for each in DATA["claims"]
    ]
    assert all(each.holds is True for each in findings.statements)
    said = [each.evidence for each in findings.statements]
    # 10 * 0.6^10, 10 * 0.9^10, 10 * 1.2^10
    for evidence, x in zip(said, ("0.060466", "3.486784", "61.917364"), strict=False):
        assert f"x = {x} after 10 steps from 10" in evidence
    assert "x = -1.528166" in said[3]
    assert "x2 = -1673.365109 after 20 steps" in said[4]
    assert "200 seeds" in said[5]
    assert "after 1000 steps" in said[6]


def test_the_noise_is_that_of_the_formula(results):
    # The mean of a linear recurrence is the recurrence of the mean; so is the variance.
    by_name = {job.name: result for job, result in results}
    rates = {
        "sgd-constant": np.full(50, 0.1),
        "sgd-exponential": 0.1 * np.exp(-0.1 * np.arange(2, 1002)),
        "sgd-polynomial": 0.1 * (1 + 0.1 * np.arange(2, 52)) ** -0.5,
    }
    for name, along in rates.items():
        ends = np.array(by_name[name]["at"][str(len(along))])
        for coordinate, (curvature, start) in enumerate([(2.0, -5.0), (4.0, -2.0)]):
            mean, variance = start, 0.0
            for rate in along:
                mean *= 1 - curvature * rate
                variance = (1 - curvature * rate) ** 2 * variance + rate**2
            deviation = np.sqrt(variance)
            values = ends[:, coordinate]
            assert abs(values.mean() - mean) < 4 * deviation / np.sqrt(len(values)), name
            assert values.std(ddof=1) == pytest.approx(deviation, rel=0.25), name


def test_a_wrong_digit_is_told(results):
    def nudged(result):
        result["at"]["20"][0][1] += 1e-6

    found = with_result(results, "gd", nudged)
    line = next(line for line in found.lines if line.name == "gd")
    assert line.verdict is Verdict.NOT_REPRODUCED
    assert line.here == "-0.057646, -0.000072"
    assert "7 of 8" in found.summary


def test_another_distribution_is_told(results):
    def moved(result):
        result["at"]["50"] = np.add(result["at"]["50"], [1.0, 0.0]).tolist()

    found = with_result(results, "sgd-constant", moved)
    verdicts = [line.verdict for line in found.lines if line.name == "sgd-constant"]
    assert verdicts == [Verdict.NOT_REPRODUCED, Verdict.REPRODUCED]


@pytest.mark.parametrize(
    ("claim", "name", "change"),
    [
        (0, "x^2, rate 0.2", lambda result: result["points"].append([1.0])),
        (1, "x^2, rate 0.05", lambda result: result["points"].append([0.01])),
        (2, "x^2, rate 1.1", lambda result: result["points"].append([9.0])),
        (2, "x^2, rate 1.1", lambda result: result["points"].append([70.0])),  # the same side
        (3, "x cos(0.15 pi x), rate 2", lambda result: result["points"].append([6.0])),
        (4, "gd-flat-0.6", lambda result: result["points"].append([0.0, 1.0])),
        (5, "sgd-exponential", lambda result: result["at"].update({"1000": [[0.01, 0.0]] * 200})),
        (6, "sgd-exponential", lambda result: result["at"].update({"50": [[0.01, 0.0]] * 200})),
        (6, "sgd-polynomial", lambda result: result["at"].update({"50": [[-0.9, 0.0]] * 200})),
    ],
)
def test_a_claim_that_does_not_hold_is_told(results, claim, name, change):
    found = with_result(results, name, change)
    assert found.statements[claim].holds is False


def test_one_seed_is_not_compared():
    names = ("sgd-constant", "sgd-polynomial")
    plan = Plan(seeds=1)
    found = _descent.PART.findings(plan, performed(plan, *names))
    assert [line.verdict for line in found.lines] == [Verdict.NOT_COMPARED] * 4
    assert "more than one seed" in found.summary
    # And of what has not been run, nothing is said.
    assert all(each.holds is None for each in found.statements)
    assert "sgd-exponential" in found.statements[6].evidence
    assert [list(each.lines) for each in found.pictures] == [list(names)]


def test_pictures_show_the_ways(findings, results):
    drawn = [name for picture in findings.pictures for name in picture.lines]
    assert sorted(drawn) == sorted(each["name"] for each in DATA["runs"])
    by_name = {job.name: (job.arguments, result) for job, result in results}
    for picture in findings.pictures:
        for name, (x, y) in picture.lines.items():
            arguments, result = by_name[name]
            assert len(x) == len(y) == arguments["steps"] + 1
            if picture.objective:
                assert picture.objective == arguments["objective"]
                assert [x[0], y[0]] == [-5.0, -2.0]
                assert [x[-1], y[-1]] == result["at"][str(arguments["steps"])][0]
            else:
                value = OBJECTIVES[arguments["objective"]].values(result["points"][-1])
                assert (x[-1], y[-1]) == (10, pytest.approx(value))
