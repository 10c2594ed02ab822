"""The plotted curves against their formulas, written out once more without the package."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest

from keraslr.published import _curves
from keraslr.published._parts import Plan, Verdict, read_data

DATA = {each["name"]: each for each in read_data("curves")["curves"]}


def falling_cosine(t, high, low, length):
    return low + (high - low) * (1 + np.cos(np.pi * t / length)) / 2


def factor():
    rate, rates = 2.0, []
    for _ in range(50):
        rate = max(0.01, rate * 0.9)  # before the first value
        rates.append(rate)
    return rates


def warmup_cosine():
    t = np.arange(30)
    after = falling_cosine(np.minimum(t - 5, 15), 0.3, 0.01, 15)
    return np.where(t < 5, 0.3 * t / 5, after)


def restarts(t_mult):
    rates, length = [], 10
    while len(rates) < 70:
        rates.extend(falling_cosine(np.arange(length), 0.1, 0.001, length))
        length *= t_mult
    return rates[:70]


def triangle():
    t = np.arange(10_000)
    return 0.001 + 0.005 * (1 - np.abs(t / 2000 % 2 - 1))


def one_cycle():
    t = np.arange(1000)
    up = falling_cosine(t, 0.1 / 25, 0.1, 299)
    down = falling_cosine(t - 299, 0.1, 0.1 / 25 / 1e4, 700)
    return np.where(t <= 299, up, down)


def plateau():
    # The rule for a relative threshold of 1e-4, from scratch.
    rate, best, bad, rates = 0.1, np.inf, 0, []
    for loss in DATA["reduce on plateau"]["validation_loss"]:
        rates.append(rate)
        best, bad = (loss, 0) if loss < best * (1 - 1e-4) else (best, bad + 1)
        if bad > 5:
            rate, bad = rate * 0.1, 0
    return rates


EPOCHS, K = np.arange(30), np.arange(40)
FORMULAS = {
    "factor": [factor()],
    "multi-step": [np.where(EPOCHS < 15, 0.5, 0.25)],
    "cosine": [falling_cosine(np.minimum(EPOCHS, 20), 0.3, 0.01, 20)],
    "warm-up cosine": [warmup_cosine()],
    "lambda": [0.05 * 0.5 ** np.arange(10), 0.05 * 0.95 ** np.arange(100)],
    "step": [0.1 * 0.5 ** (EPOCHS // 10), 0.1 * 0.1 ** (np.arange(90) // 30)],
    "exponential": [0.1 * 0.9**EPOCHS],
    "cosine annealing": [falling_cosine(np.arange(31), 0.1, 0.0, 30)],
    "cosine warm restarts": [restarts(1), restarts(2)],
    "linear": [0.1 * (1 - 0.9 * np.minimum(np.arange(100), 80) / 80)],
    "cyclical": [triangle()],
    "one cycle": [one_cycle()],
    "reduce on plateau": [plateau()],
    "effective sample weights, momentum": [beta**K for beta in (0.95, 0.9, 0.6, 0.0)],
    "effective sample weights, RMSProp": [
        (1 - gamma) * gamma**K for gamma in (0.95, 0.9, 0.8, 0.7)
    ],
}
MEASURED = [name for name in FORMULAS if name.startswith("effective")]


@pytest.fixture(scope="module")
def results():
    return [
        (job, json.loads(json.dumps(job.function(**json.loads(json.dumps(job.arguments))))))
        for job in _curves.PART.jobs(Plan())
    ]


@pytest.fixture(scope="module")
def findings(results):
    return _curves.PART.findings(Plan(), results)


def test_all_fifteen_are_there():
    jobs = _curves.PART.jobs(Plan(quick=True))
    assert [job.name for job in jobs] == list(FORMULAS) == list(DATA)
    assert len(jobs) == 15
    assert {job.part for job in jobs} == {_curves.PART.name} == {"curves"}
    assert len({job.file for job in jobs}) == 15


@pytest.mark.parametrize("name", FORMULAS)
def test_curves_are_their_formulas(results, name):
    drawn = next(result for job, result in results if job.name == name)
    assert len(drawn) == len(FORMULAS[name])
    for values, expected in zip(drawn.values(), FORMULAS[name], strict=True):
        assert len(values) == len(expected)
        # Rates are float32, whose steps near the highest one are what a cosine's zero can miss.
        exact = {"rtol": 1e-12, "atol": 0} if name in MEASURED else {"rtol": 5e-6, "atol": 1e-9}
        np.testing.assert_allclose(values, expected, **exact)


def test_the_points_are_on_the_formulas():
    # So that the figures of the data are not the program's own, written down.
    for name, curve in DATA.items():
        lines = curve.get("lines", [curve])
        for line, expected in zip(lines, FORMULAS[name], strict=True):
            assert len(line["points"]) >= 4, name
            for place, value in line["points"].items():
                assert value == pytest.approx(expected[int(place)], rel=1e-8, abs=1e-15), name


def test_every_point_is_met(findings):
    assert len(findings.lines) == sum(len(lines) for lines in FORMULAS.values())
    assert {line.verdict for line in findings.lines} == {Verdict.REPRODUCED}
    shown = {line.name: line for line in findings.lines}
    linear = shown["linear: factor from 1 to 0.1 in 80 epochs"]
    assert linear.figure == "at epoch 0, 40, 80, 99"
    assert linear.published == linear.here == "0.1, 0.055, 0.01, 0.01"
    assert shown["factor: factor 0.9, floor 0.01"].here.startswith("1.8, 1.62")
    assert "24 lines, 24 of which" in findings.summary


@pytest.mark.parametrize("name", FORMULAS)
def test_a_point_that_is_missed_is_told(results, name):
    changed = copy.deepcopy(results)
    drawn = next(result for job, result in changed if job.name == name)
    label = next(iter(drawn))
    place = int(list(DATA[name].get("lines", [DATA[name]])[0]["points"])[-1])
    drawn[label][place] = drawn[label][place] * 1.00001 + 1e-10
    found = _curves.PART.findings(Plan(), changed)
    wrong = [line.name for line in found.lines if line.verdict is Verdict.NOT_REPRODUCED]
    assert wrong == [f"{name}: {label}"]


def test_the_plateau_rule_is_the_real_callback(monkeypatch):
    class Never(_curves.ReduceLROnPlateau):
        def _decide(self, metric):
            pass

    curve = DATA["reduce on plateau"]
    arguments = {key: curve[key] for key in _curves._KINDS["plateau"][1]}
    assert _curves.plateau(**arguments)[curve["label"]][-1] == pytest.approx(0.001)
    monkeypatch.setattr(_curves, "ReduceLROnPlateau", Never)
    assert _curves.plateau(**arguments)[curve["label"]][-1] == pytest.approx(0.1)


def test_there_is_a_picture_of_each_curve(findings, results):
    assert [picture.title for picture in findings.pictures] == list(FORMULAS)
    for picture, (_, drawn) in zip(findings.pictures, results, strict=True):
        assert list(picture.lines) == list(drawn)
        for label, (x, y) in picture.lines.items():
            assert x == list(range(len(y)))
            assert y == drawn[label]
            assert not picture.log_y or min(y) > 0


def test_what_is_not_there_is_left_out(results):
    found = _curves.PART.findings(Plan(), results[:2])
    assert len(found.lines) == len(found.pictures) == 2
    assert found.summary.startswith("2 curves with 2 lines")
