"""The range test of a training panel, without a browser."""

from __future__ import annotations

import threading

import pytest
from panels import learning, text, ticking
from waiting import PATIENCE

from keraslr import datasets
from widgets import TrainingPanel
from widgets.training._range_test import RangeTestWork


def test_a_range_test_offers_rates():
    panel = learning()
    panel.range_test.begin.click()
    assert panel.range_test.begin.disabled
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert bytes(panel.range_test.picture.value).startswith(b"\x89PNG")
    suggested = panel.range_test.result.valley
    button = next(b for b in panel.range_test.rates.children if "valley" in b.description)
    button.click()
    assert panel.form.in_epochs().initial_learning_rate == pytest.approx(suggested)
    panel.train(block=True)
    assert panel.history["learning_rate"][0] == pytest.approx(suggested)


def test_a_range_test_can_be_stopped(monkeypatch):
    reached, opened = threading.Event(), threading.Event()
    progressed = RangeTestWork._on_progress

    def held(work, steps, total):
        if steps == 4:
            reached.set()
            assert opened.wait(PATIENCE)
        progressed(work, steps, total)

    monkeypatch.setattr(RangeTestWork, "_on_progress", held)
    panel = TrainingPanel(dataset="digits", batch_size=512)
    panel.range_test.begin.click()
    work = panel.range_test.work
    ticking(panel, reached.is_set)
    panel.range_test.end.click()
    panel.range_test.end.click()
    opened.set()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert work.steps == 4
    assert panel.range_test.result is None
    assert not panel.range_test.begin.disabled
    assert text(panel.message) == ""


def test_an_error_of_a_range_test_is_a_message(monkeypatch):
    panel = learning()

    def missing(name):
        raise datasets.DatasetError(f"{name} is nowhere")

    monkeypatch.setattr(datasets, "load", missing)
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert "digits is nowhere" in text(panel.message)


def test_an_error_of_a_range_test_stays_beside_an_ended_run(monkeypatch):
    """The run's end is said once, and not over what comes after it."""
    panel = learning(epochs=1)
    panel.train(block=True)
    assert "finished" in text(panel.message)

    def missing(name):
        raise datasets.DatasetError(f"{name} is nowhere")

    monkeypatch.setattr(datasets, "load", missing)
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert text(panel.message) == "digits is nowhere"
