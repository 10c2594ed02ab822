"""All panels in tabs, and what holds for each of them: without a browser."""

from __future__ import annotations

import gc
import re
import sys
import weakref
from pathlib import Path

import ipywidgets
import pytest
from panels import text
from waiting import PATIENCE

import keraslr
import widgets
from widgets import App
from widgets.app import TABS
from widgets.parts._panel import Panel

# Without the picture of a fit, which is a callback.
PANELS = [
    name
    for name in widgets.__all__
    if isinstance(getattr(widgets, name), type) and issubclass(getattr(widgets, name), Panel)
]


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
    assert list(app.panels) == list(TABS)
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
    assert training.run.wait(PATIENCE)
    assert training.run.state == "stopped"


def test_every_panel_has_a_tab_a_name_and_a_line_in_the_guide(app):
    made = [type(app.panel(title)) for title in TABS]
    assert sorted([App, *made], key=lambda kind: kind.__name__) == [
        getattr(widgets, name) for name in sorted(PANELS)
    ]
    guide = (Path(__file__).parents[2] / "docs/guide/panels.md").read_text(encoding="utf-8")
    assert [name for name in widgets.__all__ if f"`{name}`" not in guide.replace("()", "")] == []


# Every panel


@pytest.mark.parametrize("name", PANELS)
def test_every_panel_says_what_it_is(name):
    panel = getattr(widgets, name)()
    assert isinstance(panel, ipywidgets.VBox)
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", name).lower()
    assert f"keraslr-{kind}" in panel._dom_classes
    assert getattr(widgets, name).__doc__
    panel.close()


REFUSED = [
    ("SchedulePanel", {"strategy": "nowhere"}, 'must be one of "constant"'),
    ("SchedulePanel", {"epochs": 0}, "epochs must be an integer >= 1"),
    ("SchedulePanel", {"batch_size": 2.5}, "batch_size must be an integer"),
    ("SchedulePanel", {"dataset_size": 0}, "dataset_size must be an integer"),
    ("AdvicePanel", {"schedule_panel": 3}, "schedule_panel must be a SchedulePanel or None"),
    ("DescentPanel", {"objective": "nowhere"}, 'objective must be one of "parabola"'),
    ("DescentPanel", {"optimizers": ["nobody"]}, 'optimizers must be one of "SGD"'),
    ("DescentPanel", {"schedule_panel": 3}, "schedule_panel must be a SchedulePanel or None"),
    ("TrainingPanel", {"strategy": "nowhere"}, 'must be one of "constant"'),
    ("TrainingPanel", {"dataset": "nowhere"}, 'dataset must be one of "auto"'),
    ("TrainingPanel", {"epochs": "two"}, "epochs must be an integer"),
    ("TrainingPanel", {"seed": -1}, "seed must be an integer >= 0"),
    ("TrainingPanel", {"schedule_panel": 3}, "schedule_panel must be a SchedulePanel or None"),
    ("ComparisonPanel", {"schedules": 3}, "schedules must be a mapping"),
    ("ComparisonPanel", {"schedule_panel": 3}, "schedule_panel must be a SchedulePanel or None"),
    *((name, {"nonsense": 1}, "unexpected keyword argument") for name in PANELS),
]


@pytest.mark.parametrize(("name", "arguments", "said"), REFUSED)
def test_a_panel_that_is_refused_leaves_no_complaint(monkeypatch, name, arguments, said):
    """ipywidgets closes a panel at its end, and that its constructor has raised is no matter."""
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    kind = getattr(widgets, name)
    panel = kind.__new__(kind)
    with pytest.raises((TypeError, ValueError), match=said):
        panel.__init__(**arguments)
    panel.close()  # or ipywidgets would keep it until the interpreter's end
    gone = weakref.ref(panel)
    del panel
    gc.collect()
    assert gone() is None
    assert complaints == []


def test_an_app_whose_panel_raises_leaves_no_complaint(monkeypatch):
    def broken():
        raise OSError("no font")

    monkeypatch.setattr("widgets.app.SchedulePanel", broken)
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    app = App.__new__(App)
    with pytest.raises(OSError, match="no font"):
        app.__init__()
    app.close()
    del app
    gc.collect()
    assert complaints == []
