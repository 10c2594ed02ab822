"""The comparison panel, without a browser."""

from __future__ import annotations

import _thread
import csv
import io
import json
import re
import threading

import pytest
from panels import downloads
from waiting import PATIENCE, Gate, hold_slice, slices_begun, until

from keraslr import ConstantLR, CosineAnnealingLR, StepLR, datasets
from keraslr.catalog import CATALOG
from keraslr.catalog._run_sizes import DATASET_SIZES
from keraslr.published import lenet_schedules
from widgets import ComparisonPanel, SchedulePanel

TWO = {"low": ConstantLR(0.05, factor=1.0), "falling": StepLR(0.1, step_size=1, gamma=0.5)}
DOCUMENTED = ("constant", "multi-step", "cosine", "warm-up + cosine")


def small(schedules=TWO, epochs=2, seeds=1):
    """A panel whose runs take a second each."""
    panel = ComparisonPanel(schedules=schedules)
    panel.epochs.value, panel.batch_size.value, panel.seeds.value = epochs, 256, seeds
    return panel


def long(schedules=TWO):
    """A panel whose runs take minutes, unless they are stopped."""
    return small(schedules, epochs=100, seeds=10)


def text(widget):
    return re.sub(r"\s+", " ", re.sub("<[^>]+>", " ", widget.value)).strip()


def threads():
    return [each for each in threading.enumerate() if each.name == "keraslr-comparison"]


@pytest.fixture(scope="module")
def finished():
    panel = small(seeds=2)
    panel.run(block=True)
    return panel


def test_the_plan_is_shown_before_the_first_click():
    panel = ComparisonPanel()
    assert "keraslr-comparison-panel" in panel._dom_classes
    assert panel.choice.chosen.value == DOCUMENTED
    assert bytes(panel.picture.value).startswith(b"\x89PNG")
    assert len(panel.picture.chart.rate.lines) == 4
    assert len(panel.picture.chart.loss.lines) == 0
    assert "8 runs (4 schedules, 2 seeds)" in text(panel.message)
    assert "30 epochs of 45 steps: 10,800 steps in all" in text(panel.message)
    assert "multi-step: MultiStepLR never reaches 30" in text(panel.message)
    assert panel.comparison is None
    assert (panel.start.disabled, panel.halt.disabled) == (False, True)


def test_the_catalog_is_offered():
    offered = ComparisonPanel().choice.schedules
    for each in CATALOG.values():
        name = "constant (catalog)" if each.name == "constant" else each.name
        assert (offered.get(name) == each.build()) == each.is_schedule
    assert offered["multi-step, as run"] == lenet_schedules("as run")["multi-step"]


def test_the_sizes_of_the_datasets_are_known_without_reading_them():
    assert DATASET_SIZES["digits"].training_examples == len(datasets.digits().x_train)


def test_settings_change_the_plan():
    panel = ComparisonPanel(schedules=TWO)
    assert panel.choice.chosen.value == ("low", "falling")
    before = bytes(panel.picture.value)
    panel.epochs.value = 10
    assert bytes(panel.picture.value) != before
    assert "4 runs (2 schedules, 2 seeds), each of 10 epochs of 45" in text(panel.message)
    panel.choice.chosen.value = ("low",)
    panel.seeds.value = 1
    assert "1 run (1 schedule, 1 seed), of 10 epochs of 45 steps: 450 steps" in text(panel.message)
    panel.dataset.value = "fashion_mnist"
    assert panel.batch_size.value == 256
    assert "10 epochs of 235 steps" in text(panel.message)
    panel.optimizer.value = "Adam"
    assert "Rates of up to 0.05 suit SGD" in text(panel.message)
    panel.batch_size.value = 100
    panel.dataset.value = "digits"
    assert panel.batch_size.value == 100  # set by hand, it stays
    panel.choice.chosen.value = ()
    assert "Choose a schedule" in text(panel.message)
    panel.run(block=True)
    assert panel.comparison is None


def test_as_published_sets_the_documented_runs():
    panel = ComparisonPanel(schedules=TWO)
    panel.optimizer.value, panel.epochs.value = "Adam", 7
    panel.published.click()
    assert panel.choice.chosen.value == DOCUMENTED
    assert (panel.dataset.value, panel.optimizer.value) == ("fashion_mnist", "SGD")
    assert (panel.epochs.value, panel.batch_size.value) == (30, 256)
    assert "each of 30 epochs of 235 steps: 56,400 steps" in text(panel.message)


def test_schedules_are_added():
    panel = ComparisonPanel()
    panel.add(" mine ", StepLR(0.1, step_size=3))
    assert panel.choice.chosen.value == (*DOCUMENTED, "mine")
    assert len(panel.picture.chart.rate.lines) == 5
    panel.add("mine", StepLR(0.2, step_size=3))  # in its place
    assert panel.choice.schedules["mine"] == StepLR(0.2, step_size=3)
    panel.add("cosine", lenet_schedules()["cosine"])  # the same one
    assert panel.choice.chosen.value == (*DOCUMENTED, "mine")
    # What says that it counts in steps counts in the run's steps, and stays smooth.
    panel.add("pinned", CosineAnnealingLR(0.1, T_max=30).per_epoch(235, smooth=True))
    assert panel.choice.in_steps("pinned", 45) == CosineAnnealingLR(0.1, T_max=30).per_epoch(
        45, smooth=True
    )


def test_ones_own_name_is_kept_where_a_documented_schedule_has_it():
    panel = ComparisonPanel()
    panel.add("cosine", StepLR(0.2, step_size=3))
    apart = ("constant", "multi-step", "cosine (documented)", "warm-up + cosine")
    assert panel.choice.chosen.value == (*apart, "cosine")
    assert panel.choice.schedules["cosine"] == StepLR(0.2, step_size=3)
    assert panel.choice.schedules["cosine (documented)"] == lenet_schedules()["cosine"]
    panel.published.click()
    assert panel.choice.chosen.value == apart
    panel.add("cosine", StepLR(0.3, step_size=3))
    assert panel.choice.schedules["cosine"] == StepLR(0.3, step_size=3)


@pytest.mark.parametrize(
    ("name", "schedule", "error", "said"),
    [
        ("", StepLR(0.1, step_size=3), ValueError, "name must be"),
        (3, StepLR(0.1, step_size=3), ValueError, "name must be"),
        ("mine", 0.1, TypeError, "schedule must be a keraslr schedule"),
    ],
)
def test_what_cannot_be_added_is_refused(name, schedule, error, said):
    with pytest.raises(error, match=said):
        ComparisonPanel().add(name, schedule)
    with pytest.raises(error, match=said):
        ComparisonPanel(schedules={name: schedule})


def test_schedules_must_be_a_mapping():
    with pytest.raises(TypeError, match="schedules must be a mapping"):
        ComparisonPanel(schedules=[StepLR(0.1, step_size=3)])


def test_a_typed_schedule_is_added():
    panel = ComparisonPanel()
    panel.choice.expression.value = "StepLR(0.3, step_size="
    panel.choice.add_button.click()
    assert "not a Python expression" in text(panel.message)
    assert panel.choice.chosen.value == DOCUMENTED
    panel.choice.expression.value = "StepLR(0.3, step_size=9)"
    panel.choice.add_button.click()
    panel.choice.name.value = "nines"
    panel.choice.add_button.click()
    assert panel.choice.chosen.value == (*DOCUMENTED, "StepLR(0.3, step_size=9)", "nines")
    assert panel.choice.schedules["nines"] == StepLR(0.3, step_size=9)
    assert "12 runs (6 schedules, 2 seeds)" in text(panel.message)


def test_the_schedule_panels_curves_are_added():
    source = SchedulePanel("step decay")
    source.pin.click()
    source.load("exponential decay")
    panel = ComparisonPanel(schedule_panel=source)
    panel.choice.add_curves.click()
    added = panel.choice.chosen.value[len(DOCUMENTED) :]
    assert [panel.choice.schedules[name].schedule for name in added] == [
        CATALOG["step decay"].build(), CATALOG["exponential decay"].build(),
    ]  # fmt: skip


def test_a_blocking_run_ends_with_table_picture_and_files(finished):
    result = finished.comparison
    assert not result.interrupted
    assert [row.finished for row in result.rows()] == [2, 2]
    assert len(finished.picture.chart.loss.lines) == 2
    assert len(finished.picture.chart.loss.collections) == 2  # the bands
    mean, deviation = result.rows()[1].figures["val_accuracy"]
    assert f"{mean:.3f} ± {deviation:.3f}" in text(finished.table)
    assert "published" not in text(finished.table)
    assert "4 of 4 runs done, 4 of them now" in text(finished.message)
    assert finished.progress.value == 1
    assert (finished.start.disabled, finished.halt.disabled) == (False, True)
    assert threads() == []


def test_the_results_can_be_downloaded(finished):
    rows = list(csv.DictReader(io.StringIO(downloads(finished.links)["comparison.csv"])))
    assert [(row["schedule"], row["seed"], row["epoch"]) for row in rows][:3] == [
        ("low", "0", "1"), ("low", "0", "2"), ("low", "1", "1"),
    ]  # fmt: skip
    assert [float(row["learning_rate"]) for row in rows[-2:]] == [0.1, 0.05]
    last = finished.comparison.of("falling")[1]
    assert float(rows[-1]["val_loss"]) == last.test_loss[-1]
    plain = json.loads(downloads(finished.links)["comparison.json"], parse_constant=pytest.fail)
    assert plain["runs"][-1]["loss"] == last.train_loss
    assert plain["published"] == {}


def test_a_second_run_does_only_what_is_missing():
    panel = small()
    panel.run(block=True)
    before = panel.comparison
    panel.seeds.value = 2
    assert len(panel.picture.chart.loss.lines) == 2  # what is known stays in the picture
    panel.add("third", ConstantLR(0.1, factor=1.0))
    panel.choice.chosen.value = ("third", "falling", "low")
    assert len(panel.picture.chart.loss.lines) == 2
    panel.run(block=True)
    assert "6 of 6 runs done, 4 of them now" in text(panel.message)
    # In the order of before, and so in the same colours.
    assert panel.comparison.names == ["low", "falling", "third"]
    assert panel.comparison.of("low")[:1] == before.of("low")
    panel.run(block=True)
    assert "6 of 6 runs done, 0 of them now" in text(panel.message)
    panel.batch_size.value = 512
    assert len(panel.picture.chart.loss.lines) == 0  # of these settings nothing is known


def test_the_page_asks_and_the_thread_touches_no_widget(monkeypatch):
    panel, load = small(), datasets.load
    first, second = Gate(), hold_slice(monkeypatch, 1, run=1)
    monkeypatch.setattr(datasets, "load", lambda name: (first(), load(name))[1])
    wrote = set()
    for widget in (panel.picture, panel.table, panel.status, panel.message, panel.progress,
                   panel.links, panel.start):  # fmt: skip
        widget.observe(lambda _: wrote.add(threading.get_ident()))
    panel.start.click()
    assert panel.under_way
    assert panel.clock.on
    assert (panel.start.disabled, panel.halt.disabled) == (True, False)
    said = set()

    def ticked():
        panel.clock.value += 1
        said.add(text(panel.status))
        return not panel.clock.on

    assert first.reached.wait(PATIENCE)
    assert not ticked()
    assert said == {"Preparing ..."}
    first.opened.set()
    until(lambda: ticked() or second.reached.is_set())
    assert not ticked()
    assert any(each.startswith("Run 2 of 2: falling, seed 0") for each in said)
    second.opened.set()
    until(ticked)
    assert [row.finished for row in panel.comparison.rows()] == [1, 1]
    assert wrote == {threading.get_ident()}


def test_the_time_left_is_said(monkeypatch):
    """Once there are two of the steps' times to go by."""
    gate = hold_slice(monkeypatch, 2)
    monkeypatch.setattr("widgets.comparison._work._LEAST", 0.0)
    panel = long()
    panel.run()
    assert gate.reached.wait(PATIENCE)
    panel.clock.value += 1
    assert re.fullmatch(r"Run 1 of 20: low, seed 0; \d+(:\d\d min| s) left", text(panel.status))
    panel.stop()
    gate.opened.set()
    panel.run(block=True)
    assert text(panel.status) == ""


def test_runs_are_drawn_as_they_end(monkeypatch):
    gate = hold_slice(monkeypatch, 0, run=1)
    panel = small()
    panel.run()
    assert gate.reached.wait(PATIENCE)
    panel._tick()
    assert len(panel.picture.chart.loss.lines) == 1
    assert "low" in text(panel.table)
    gate.opened.set()
    panel.run(block=True)  # waits for what is under way
    assert len(panel.picture.chart.loss.lines) == 2
    assert "2 of 2 runs done, 2 of them now" in text(panel.message)


def test_a_second_click_does_nothing(monkeypatch):
    gate = hold_slice(monkeypatch, 0)
    panel = long()
    panel.start.click()
    (first,) = threads()
    panel.start.click()
    panel.run()
    assert threads() == [first]
    panel.stop()
    panel.stop()
    gate.opened.set()
    panel.run(block=True)
    assert threads() == []
    panel.stop()  # also when nothing is under way


def test_it_is_stopped_from_another_thread(monkeypatch):
    begun, asked = slices_begun(monkeypatch), []
    panel = long()

    def stop():
        until(lambda: panel.progress.value > 0)
        panel.stop()
        asked.append(len(begun))

    other = threading.Thread(target=stop)
    other.start()
    panel.run(block=True)
    other.join()
    assert len(begun) - asked[0] <= 1
    assert panel.comparison.interrupted
    assert [row.missing for row in panel.comparison.rows()][-1] == 10
    assert "Stopped after" in text(panel.message)
    assert not panel.start.disabled


def test_an_interrupted_cell_keeps_what_is_done(monkeypatch):
    gate = hold_slice(monkeypatch, 0, run=1)
    panel = long({"low": TWO["low"]})

    def interrupt():
        assert gate.reached.wait(PATIENCE)
        _thread.interrupt_main()
        until(lambda: panel._work.stopping)
        gate.opened.set()

    panel.epochs.value = 3
    other = threading.Thread(target=interrupt)
    other.start()
    panel.run(block=True)
    other.join()
    assert threads() == []  # it has waited for the run to end
    (row,) = panel.comparison.rows()
    assert row.finished == 1
    assert "1 of 10 runs done, and kept" in text(panel.message)
    assert len(panel.picture.chart.loss.lines) == 1


def test_closed_while_it_runs_it_ends(monkeypatch):
    monkeypatch.setattr("widgets.comparison._panel._LONGEST_WAIT", PATIENCE)
    panel = long()
    panel.run()
    until(lambda: panel._work.at is not None)
    panel.close()
    assert threads() == []
    panel.close()


def test_an_error_in_the_thread_is_a_message(tmp_path, monkeypatch):
    folder = tmp_path / "datasets" / "fashion-mnist"
    folder.mkdir(parents=True)
    for file in datasets._FILES:
        (folder / file).write_text("not what it seems")
    panel = small()
    panel.dataset.value = "fashion_mnist"
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    datasets.fashion_mnist.cache_clear()
    panel.run(block=True)
    assert "train-images-idx3-ubyte.gz is damaged" in text(panel.message)
    assert panel.comparison is None
    assert not panel.start.disabled
    panel.dataset.value = "digits"
    panel.run(block=True)
    assert [row.finished for row in panel.comparison.rows()] == [1, 1]


def test_what_stands_in_for_fashion_mnist_is_said(monkeypatch):
    def unreachable():
        raise datasets.UnreachableError("no network")

    monkeypatch.setattr(datasets, "fashion_mnist", unreachable)
    panel = small({"low": TWO["low"]}, epochs=1)
    panel.dataset.value = "auto"
    panel.run(block=True)
    assert "digits stand in for it" in text(panel.message)
    assert "LeNet on digits" in text(panel.table)


def test_dead_networks_and_divergence_are_said():
    panel = small({"wild": ConstantLR(1e6, factor=1.0), "still": ConstantLR(1e-9, factor=1.0)})
    panel.run(block=True)
    assert "1 of them diverged" in text(panel.message)
    assert "No better than guessing at the end: still (1 of 1)" in text(panel.message)
    assert "0 of 1, 1 diverged" in text(panel.table)
