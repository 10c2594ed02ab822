"""Advice, smoothing, the app, and what all panels share: without a browser."""

from __future__ import annotations

import html
import re
import sys
import types

import ipywidgets
import numpy as np
import pytest
from programs import Program

import keraslr
import widgets
from keraslr.catalog import CATALOG
from widgets import AdvicePanel, App, SchedulePanel, SmoothingPanel
from widgets.app import TABS
from widgets.parts import _rerun
from widgets.parts._clock import Clock
from widgets.parts._controls import assign, number, slider
from widgets.parts._panel import Panel, guarded


def text(widget):
    """What an HTML widget says."""
    return html.unescape(re.sub("<[^>]*>", "", widget.value))


def is_picture(widget):
    return bytes(widget.value).startswith(b"\x89PNG")


# Advice


def test_advice_is_ranked_with_its_reasons():
    panel = AdvicePanel()
    panel.answers["data size and training length"].value = "small data, short training"
    panel.answers["model"].value = "fine-tuning a pretrained model"
    assert panel.advice[0].strategy.name == "one cycle"
    first = text(panel.ranking.children[0].children[1])
    assert first.startswith("1. One cycle")
    assert "small data, short training" in first
    assert "fine-tuning a pretrained model" in first
    assert "Beware: middling on long training" in first
    assert is_picture(panel.picture)


def test_a_click_loads_a_strategy():
    schedules, loaded = SchedulePanel("step decay"), []
    panel = AdvicePanel(schedules, loaded.append)
    panel.answers["data size and training length"].value = "small data, short training"
    panel.ranking.children[0].children[0].click()
    assert schedules.schedule.schedule == keraslr.get("one cycle")
    assert loaded == ["one cycle"]


def test_a_callback_is_shown_as_its_line():
    panel = AdvicePanel()
    panel.answers["data size and training length"].value = "not known"
    panel.answers["loss"].value = "fluctuates strongly"
    panel.ranking.children[0].children[0].click()
    said = text(panel.message)
    line = re.search(r"keraslr\.callbacks\.ReduceLROnPlateau\(.*\)", said)[0]
    rule = eval(line, {"keraslr": keraslr})
    assert rule.patience == CATALOG["reduce on plateau"].values["patience"].default


def test_nothing_known_is_no_advice():
    panel = AdvicePanel()
    for answer in panel.answers.values():
        answer.value = "not known"
    assert panel.advice == []
    assert panel.ranking.children == ()
    assert "Say what is known" in text(panel.message)


def test_optimizers_for_a_problem():
    panel = AdvicePanel()
    assert panel.optimizers.value == ""
    panel.problem.value = "sparse data"
    assert text(panel.optimizers) == "Optimizers (sparse data): AdaGrad, RMSProp."


# Smoothing


def test_weights_of_several_values_at_once():
    panel = SmoothingPanel()
    assert is_picture(panel.picture)
    assert list(panel.weights) == [0.9, 0.95, 0.99]
    np.testing.assert_allclose(panel.weights[0.9], 0.9 ** np.arange(60))
    before = bytes(panel.picture.value)
    panel.kind.index = 1
    np.testing.assert_allclose(panel.weights[0.9], 0.1 * 0.9 ** np.arange(60))
    assert bytes(panel.picture.value) != before
    panel.values[1].value = 0.8
    panel.shown[2].value = False
    panel.log_axis.value = True
    panel.steps.value = 10
    assert list(panel.weights) == [0.8, 0.99]
    assert len(panel.weights[0.8]) == 10
    assert "gamma = 0.8" in text(panel.numbers)


def test_no_value_is_said():
    panel = SmoothingPanel()
    for show in panel.shown:
        show.value = False
    assert panel.weights == {}
    assert "Choose a value" in text(panel.message)


# The app


@pytest.fixture
def app():
    app = App()
    yield app
    app.close()


def test_a_panel_is_made_when_its_tab_is_opened(app):
    assert list(app.panels) == ["Schedules"]
    for index, title in enumerate(TABS):
        app.tabs.selected_index = index
        assert app.tabs.children[index].children == (app.panels[title],)
        assert text(app.message) == ""
    assert list(app.panels) == [
        "Schedules", "Advice", "Descent", "Training", "Comparison", "Smoothing",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="title must be one of Schedules, Advice"):
        app.panel("Nowhere")


def test_one_schedule_flows_through_the_tabs(app):
    advice, training = app.panel("Advice"), app.panel("Training")
    advice.answers["data size and training length"].value = "small data, short training"
    app.tabs.selected_index = 1
    advice.ranking.children[0].children[0].click()
    assert app.tabs.selected_index == 0
    app.schedule_panel.form.controls["total_steps"].value = 2
    training.dataset.value = "digits"
    training.epochs.value = 2
    training.train(block=True)
    expected = keraslr.get("one cycle", total_steps=2).values(2)
    assert training.history["learning_rate"] == pytest.approx(expected)


def test_closing_the_app_stops_what_runs():
    app = App()
    training = app.panel("Training")
    training.dataset.value = "digits"
    training.epochs.value = 60
    training.batch_size.value = 8
    training.train()
    app.close()
    assert training.run.wait(10)
    assert training.run.state == "stopped"


# What all share


@pytest.mark.parametrize("name", widgets.__all__)
def test_every_panel_says_what_it_is(name):
    panel = getattr(widgets, name)()
    assert isinstance(panel, ipywidgets.VBox)
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    assert f"keraslr-{kind}" in panel._dom_classes
    assert getattr(widgets, name).__doc__
    panel.close()


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.05, 1e-4, 1.0), (0.1, 1e-4, 1.0), (37.0, 1e-2, 100.0)]
)
def test_a_slider_keeps_the_value_that_it_was_given(value, low, high):
    """The page moves it to the nearest stop, and says so."""
    control = slider(keraslr.catalog.Range(low, high, value, log=True))
    stop = 10 ** (control.min + round((np.log10(value) - control.min) / 0.01) * 0.01)
    control.value = stop
    assert number(control) == value
    control.value = stop * 10**0.01
    assert number(control) == pytest.approx(stop * 10**0.01)
    assign(control, 5 * high)
    assert control.max >= np.log10(5 * high) - 1e-9
    assert number(control) == 5 * high


def test_an_error_in_a_handler_is_a_message():
    class Broken(Panel):
        dom_class = "keraslr-broken-panel"

        @guarded
        def go(self):
            raise ValueError("rate must be > 0. Received: <b>")

    panel = Broken()
    panel.go()
    assert text(panel.message) == "rate must be > 0. Received: <b>"
    assert "<b>" not in panel.message.value


def test_a_clock_ticks_only_while_it_is_on():
    ticks = []
    clock = Clock(lambda: ticks.append(1))
    clock.value += 1
    assert ticks == []
    clock.start()
    clock.start()
    assert getattr(clock, clock._switch)
    clock.value += 1
    assert ticks == [1]
    clock.stop()
    clock.stop()
    assert not getattr(clock, clock._switch)
    clock.value += 1
    assert ticks == [1]


def a_cell(monkeypatch, cell, execution, code="panel"):
    """Pretends that this cell is being run."""
    parent = {
        "header": {"msg_id": execution, "msg_type": "execute_request"},
        "metadata": {"cellId": cell} if cell else {},
        "content": {"code": code},
    }
    kernel = types.SimpleNamespace(get_parent=lambda channel: parent)
    shell = types.SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.parametrize("cell", ["a", None], ids=["named", "unnamed"])
def test_a_cell_run_again_stops_what_it_made_before(monkeypatch, cell):
    class Work:
        stopped = False

        def stop(self):
            self.stopped = True

    first, second, again, other = Work(), Work(), Work(), Work()
    a_cell(monkeypatch, cell, "1")
    _rerun.stop_earlier_panels(first)
    _rerun.stop_earlier_panels(second)
    assert not first.stopped
    a_cell(monkeypatch, cell and "b", "2", code="other")
    _rerun.stop_earlier_panels(other)
    a_cell(monkeypatch, cell, "3")
    _rerun.stop_earlier_panels(again)
    assert [each.stopped for each in (first, second, other, again)] == [True, True, False, False]


KEEP_RUNS = """
import gc
from widgets import TrainingPanel

def megabytes():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096 / 2**20

panel = TrainingPanel(dataset="digits", epochs=1, batch_size=256)
for _ in range(3):
    panel.train(block=True)
begin = megabytes()
for _ in range(6):
    panel.train(block=True)
print(len(panel.runs), megabytes() - begin)
"""


@pytest.mark.slow
def test_kept_runs_are_small():
    """Graphs go with the next run; what is kept is the model and its record.

    In a process of its own, where no other test's memory counts.
    """
    runs, growth = Program("-c", KEEP_RUNS).finished(timeout=300).split()[-2:]
    assert int(runs) == 9
    assert float(growth) < 30


@pytest.mark.slow
@pytest.mark.usefixtures("quick_kernels")
def test_a_notebook_run_without_a_page_keeps_the_picture():
    """By way of nbclient, as nbconvert and papermill run it."""
    import nbclient
    import nbformat

    cell = (
        "from widgets import TrainingPanel\n"
        "panel = TrainingPanel(dataset='digits', epochs=1)\n"
        "panel.train(block=True)"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell)])
    nbclient.execute(notebook, timeout=300, kernel_name="python3")
    (outputs,) = (cell.outputs for cell in notebook.cells)
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(pictures) == 1
    assert len(pictures[0]["data"]["image/png"]) > 5000
