"""The training panel, without a browser: what a person clicks, and what a page would ask for."""

from __future__ import annotations

import re
import threading
import time

import keras
import numpy as np
import pytest
from panels import at_step, ended, learning, text, ticking
from waiting import PATIENCE, slices_begun

from keraslr import datasets
from keraslr.training import Run, train
from widgets import SchedulePanel, TrainingPanel


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A branch waits for the slice that is under way, however long that takes."""
    monkeypatch.setattr("keraslr.training._live._PATIENCE", PATIENCE)


# What a run has that is not to end by itself: seconds for its 60 epochs on any machine.
LONG = {"epochs": 60, "batch_size": 8, "on_progress": lambda _: time.sleep(0.1)}


@pytest.fixture
def long():
    """A panel with a long run under way."""
    panel = learning(**LONG)
    panel.start.click()
    at_step(panel, 5)
    live = panel.run
    yield panel
    panel.close()
    assert live.wait(PATIENCE)


def test_it_shows_something_before_the_first_click():
    panel = TrainingPanel()
    assert "keraslr-training-panel" in panel._dom_classes
    assert bytes(panel.picture.value).startswith(b"\x89PNG")
    assert [panel.start.disabled, panel.pause.disabled, panel.halt.disabled] == [False, True, True]
    assert [panel.go_on.disabled, panel.fork.disabled, panel.save.disabled] == [True, True, True]
    assert panel.run is None
    assert panel.history == {}


def test_a_run_is_that_of_train():
    panel = learning()
    panel.start.click()
    ended(panel)
    schedule = panel.schedule.per_epoch(23)
    same = train(
        Run(
            "same", schedule, dataset="digits", optimizer="SGD",
            optimizer_arguments={"momentum": 0.9},
            epochs=2, batch_size=64,
        )
    )  # fmt: skip
    assert panel.result.loss == same.loss
    assert panel.history["val_accuracy"] == same.test_accuracy
    assert panel.history["learning_rate"] == [schedule.values(46)[step] for step in (22, 45)]
    assert panel.result.learning_rate == same.learning_rate
    assert isinstance(panel.model, keras.Model)
    assert re.search(r"finished: test accuracy 0\.\d{4} after 2 epochs", text(panel.message))
    assert "epoch 2 of 2" in panel.status.value
    assert panel.progress.value == 1.0
    assert not panel.clock.on


def test_a_blocking_run_needs_no_page():
    panel = learning()
    before = bytes(panel.picture.value)
    panel.train(block=True)
    assert panel.run.state == "finished"
    assert bytes(panel.picture.value) != before
    assert "finished" in text(panel.message)
    assert not panel.start.disabled


def test_train_clicked_twice_is_one_run(long):
    assert long.start.disabled
    long.start.click()
    assert len(long.runs) == 1
    assert long.run.state == "training"


def test_train_in_code_replaces_the_run_under_way(long):
    first = long.run
    long.epochs.value = 1
    long.batch_size.value = 256
    long.train()
    assert first.state == "stopped"
    assert len(long.runs) == 2
    ended(long)
    assert long.run is not first
    assert long.run.state == "finished"


def test_pause_and_resume(long):
    long.pause.click()
    ticking(long, lambda: long.run.state == "paused")
    assert long.pause.description == "Resume"
    steps = len(long.result.loss)
    for _ in range(3):
        # Its thread answers, and then waits on.
        assert long.run.branch("other", 0.1).first_step == steps
        long._tick()
    assert len(long.result.loss) == steps
    assert "paused" in long.status.value
    long.pause.click()
    at_step(long, steps + 3)
    assert long.pause.description == "Pause"


def test_stop_is_obeyed_after_the_slice_under_way_and_may_come_twice(long, monkeypatch):
    begun = slices_begun(monkeypatch)
    long.halt.click()
    before = len(begun)
    long.halt.click()
    assert long.run.wait(PATIENCE)
    assert len(begun) - before <= 1
    long._tick()
    assert long.run.state == "stopped"
    assert "stopped" in text(long.message)
    assert not long.start.disabled
    assert not long.clock.on


def test_the_rate_can_be_taken_and_given_back(long):
    long.rate.value = 0.001  # moving it takes it
    assert long.hand.value
    step = len(long.result.loss)
    ticking(long, lambda: long.result.learning_rate[-1] == np.float32(0.001))
    assert "by hand" in long.status.value
    long.rate.value = 0.002
    ticking(long, lambda: long.result.learning_rate[-1] == np.float32(0.002))
    long.hand.value = False

    def planned():
        rates = long.run.record().learning_rate
        return rates[-1] == pytest.approx(long.run.planned[len(rates) - 1])

    ticking(long, planned)
    assert [rate for _, rate in long.result.run["steered"]] == [0.001, 0.002, None]
    assert long.result.run["steered"][0][0] >= step


def test_it_can_be_continued_at_a_rate_by_hand():
    panel = learning()
    panel.train(block=True)
    panel.more.value = 3
    panel.rate.value = 0.01
    panel.hand.value = True
    panel.go_on.click()
    ended(panel)
    assert len(panel.runs) == 1
    assert panel.history["learning_rate"][2:] == pytest.approx([0.01] * 3)
    assert len(panel.history["loss"]) == 5
    assert "after 5 epochs" in text(panel.message)


def test_it_can_be_continued_under_its_schedule():
    panel = learning()
    panel.form.load("step decay", initial_learning_rate=0.05, step_size=1)
    panel.train(block=True)
    panel.go_on.click()
    ended(panel)
    assert panel.history["learning_rate"] == pytest.approx([0.05, 0.025, 0.0125, 0.00625])


def test_a_branch_begins_from_the_present_weights():
    panel = learning()
    panel.train(block=True)
    root = panel.run
    panel.form.load("constant", initial_learning_rate=0.001)
    panel.more.value = 1
    panel.fork.click()
    ended(panel)
    assert len(panel.runs) == 2
    branch = panel.run
    assert branch is not root
    assert branch.first_step == 46
    assert branch.result.run["branched_from"] == [root.run.name, 46]
    assert branch.result.learning_rate == pytest.approx([0.001] * 23)
    # It goes on at the loss that the other had reached.
    assert branch.result.loss[0] < root.result.loss[0] - 0.01


def test_a_branch_of_a_run_under_way_waits_for_its_end(long):
    root = long.run
    long.form.load("constant", initial_learning_rate=0.001)
    long.fork.click()
    assert "begins where" in text(long.message)
    branch = long.runs.kept[1].live
    assert branch.first_step <= len(root.result.loss)
    assert branch.state == "ready"
    root.stop()
    ticking(long, lambda: branch.state == "training")
    assert long.run is branch


def test_a_rate_that_diverges_says_so():
    panel = learning()
    panel.form.load("constant")
    panel.rate.max = 12
    panel.rate.value = 1e12
    panel.hand.value = True
    panel.train(block=True)
    assert panel.run.state == "diverged"
    assert re.search(r"diverged at step \d+: .* Lower the rate", text(panel.message))
    assert panel.go_on.disabled
    assert not panel.start.disabled
    panel.go_on.click()
    assert panel.run.state == "diverged"


def test_a_dataset_that_cannot_be_had_says_so(monkeypatch):
    def missing(name):
        raise datasets.DatasetError(f"{name} is nowhere")

    panel = learning()
    monkeypatch.setattr(datasets, "load", missing)
    panel.train(block=True)
    assert panel.run.state == "failed"
    assert "failed: digits is nowhere" in text(panel.message)
    assert not panel.start.disabled


def test_a_substitute_says_so(monkeypatch, tmp_path):
    def unreachable():
        raise datasets.UnreachableError("no network")

    monkeypatch.setattr(datasets, "fashion_mnist", unreachable)
    panel = learning(dataset="auto", epochs=1)
    panel.train(block=True)
    assert "stand in for it" in text(panel.message)


def test_a_function_of_the_users_that_raises_ends_the_run(slices_of):
    slices_of(4)

    def tired(result):
        if len(result.loss) > 30:
            raise OSError("the disk is full")

    panel = learning(on_progress=tired)
    panel.train(block=True)
    assert "failed: the disk is full" in text(panel.message)
    assert len(panel.result.loss) > 30
    assert len(panel.history["loss"]) == 1


def test_wrong_settings_are_a_message():
    panel = learning()
    panel.form.load("multi-step decay")
    panel.form.controls["milestones"].value = "3, 2"
    panel.start.click()
    assert "milestones must be" in text(panel.message)
    assert len(panel.runs) == 0
    with pytest.raises(ValueError, match="milestones must be"):
        panel.train()


def test_the_schedule_panels_schedule_is_trained_under():
    schedules = SchedulePanel("step decay", epochs=20)
    panel = TrainingPanel(schedule_panel=schedules, dataset="digits", epochs=2, batch_size=64)
    schedules.form.controls["step_size"].value = 1
    panel.train(block=True)
    assert panel.history["learning_rate"] == pytest.approx([0.1, 0.05])
    panel.source.value = panel.source.options[1]
    panel.form.load("constant", initial_learning_rate=0.01)
    panel.train(block=True)
    assert panel.history["learning_rate"] == pytest.approx([0.01, 0.01])


def test_two_panels_train_side_by_side():
    panels = [learning(epochs=3, seed=seed) for seed in (0, 1)]
    for panel in panels:
        panel.start.click()
    for panel in panels:
        ended(panel)
    losses = [panel.result.loss for panel in panels]
    assert losses[0] != losses[1]
    alone = learning(epochs=3, seed=1)
    alone.train(block=True)
    assert alone.result.loss == losses[1]


def test_a_closed_panel_stops_its_run(long):
    live = long.run
    long.close()
    assert live.wait(PATIENCE)
    assert live.state == "stopped"
    assert not long.clock.on


def test_a_removed_run_is_stopped(long):
    live = long.run
    long.runs.kept[0].remove.click()
    assert live.wait(PATIENCE)
    ended(long)
    assert long.chosen.value is None
    assert not long.start.disabled


def test_an_interrupted_blocking_run_keeps_what_is_done(monkeypatch):
    panel = learning(**LONG)
    tick, count = panel._tick, []

    def interrupted():
        tick()
        count.append(1)
        if panel.run is not None and len(panel.result.loss) > 10 and "done" not in count:
            count.append("done")
            raise KeyboardInterrupt

    monkeypatch.setattr(panel, "_tick", interrupted)
    panel.train(block=True)
    assert panel.run.state == "stopped"
    assert len(panel.result.loss) > 10
    assert not panel.start.disabled


def test_the_training_thread_touches_no_widget(monkeypatch):
    """Updates from a thread do not arrive everywhere, so there must be none."""
    import ipywidgets

    senders = set()
    sent = ipywidgets.Widget.send_state

    def watched(self, *arguments, **keywords):
        senders.add(threading.current_thread())
        return sent(self, *arguments, **keywords)

    monkeypatch.setattr(ipywidgets.Widget, "send_state", watched)
    notified = ipywidgets.Widget.notify_change

    def heard(self, change):
        senders.add(threading.current_thread())
        return notified(self, change)

    monkeypatch.setattr(ipywidgets.Widget, "notify_change", heard)
    panel = learning()
    panel.start.click()
    ended(panel)
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert senders == {threading.current_thread()}
