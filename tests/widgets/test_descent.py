"""The descent panel and its chart, without a browser."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from keraslr import CosineAnnealingLR, StepLR
from keraslr.catalog import DESCENT_OPTIMIZERS
from keraslr.descent import descend
from keraslr.objectives import OBJECTIVES
from keraslr.plotting import DescentChart
from widgets import DescentPanel, SchedulePanel
from widgets.parts._panel import ERROR
from widgets.parts._schedule_form import STRATEGIES

DEFAULTS = ["SGD", "momentum", "Adam"]


@pytest.fixture
def panel():
    return DescentPanel()


def picture(panel):
    return bytes(panel.picture.value)


def same(one, other):
    return np.array_equal(one.points, other.points) and np.array_equal(one.values, other.values)


def drawn(panel):
    return bytes(panel._chart.canvas.buffer_rgba())


def anew(panel):
    """The pixels as a chart draws them that has drawn nothing before."""
    chart = DescentChart()
    start = [each.value for each in panel.start[: panel.objective.dimension]]
    chart.draw(
        panel.objective, panel.trajectories, start=start, steps=panel.steps.value,
        step=panel.step.value,
    )  # fmt: skip
    chart.png()
    return bytes(chart.canvas.buffer_rgba())


def test_there_is_something_to_see_before_the_first_click(panel):
    assert "keraslr-descent-panel" in panel._dom_classes
    assert "keraslr-picture" in panel.picture._dom_classes
    shown = np.asarray(Image.open(io.BytesIO(picture(panel))).convert("RGB"))
    assert shown.shape == (484, 880, 3)
    assert [*panel.trajectories] == DEFAULTS
    assert panel.objective is OBJECTIVES["flat bowl"]
    assert all(len(each.values) == 101 for each in panel.trajectories.values())
    assert all(name in panel.results.value for name in DEFAULTS)
    assert "to a minimum" in panel.results.value
    assert "Lowest after 100 steps: momentum" in panel.message.value
    assert panel.step.value == panel.step.max == panel.play.max == 100


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective(panel, name):
    panel.start[0].value = 0.3
    panel.objectives.value = "bowl" if name == "flat bowl" else "flat bowl"
    before = picture(panel)
    panel.objectives.value = name
    objective = OBJECTIVES[name]
    assert panel.objective is objective
    assert picture(panel) != before
    assert drawn(panel) == anew(panel)
    for slider, view, start in zip(panel.start, objective.view, objective.start, strict=False):
        assert (slider.min, slider.max, slider.value) == (*view, start)
    assert (panel.start[1].layout.display == "none") == (objective.dimension == 1)
    assert panel.start[0].description == ("start x" if objective.dimension == 1 else "start x1")
    for each in panel.trajectories.values():
        assert each.objective == name
        assert tuple(each.points[0]) == objective.start


def test_a_rate_changes_its_own_path_only(panel):
    before, shown = panel.trajectories, picture(panel)
    panel.rates["momentum"].value = 0.02
    expected = descend("flat bowl", "momentum", learning_rate=0.02)
    assert same(panel.trajectories["momentum"], expected)
    assert not same(panel.trajectories["momentum"], before["momentum"])
    assert same(panel.trajectories["Adam"], before["Adam"])
    assert picture(panel) != shown
    assert drawn(panel) == anew(panel)


@pytest.mark.parametrize(
    ("name", "parameter"),
    [("momentum", "momentum"), ("Adam", "beta_1"), ("Adadelta", "rho"), ("RMSprop", "momentum")],
)
def test_the_memory_of_an_optimizer(name, parameter):
    panel = DescentPanel("bowl", [name])
    assert panel.memories[name].value == DESCENT_OPTIMIZERS[name].values[parameter].default
    assert not panel.memories[name].continuous_update
    panel.memories[name].value = 0.6
    rate = panel.rates[name].value
    expected = descend("bowl", name, learning_rate=rate, **{parameter: 0.6})
    assert same(panel.trajectories[name], expected)
    assert not same(expected, descend("bowl", name, learning_rate=rate))


def test_some_optimizers_have_no_memory_to_set():
    panel = DescentPanel("bowl", ["SGD", "Adagrad"])
    assert [*panel.rates] == ["SGD", "Adagrad"]
    assert not panel.memories


def test_the_controls_have_the_ranges_of_the_table():
    panel = DescentPanel("bowl", DESCENT_OPTIMIZERS)
    for name, entry in DESCENT_OPTIMIZERS.items():
        slider, rate = panel.rates[name], entry.learning_rate
        assert 10**slider.min == pytest.approx(rate.low)
        assert 10**slider.max == pytest.approx(rate.high)
        assert slider.value == pytest.approx(rate.default)
        assert slider.continuous_update


def test_a_scrub_changes_the_picture_and_nothing_else(panel):
    panel.step.value = 40
    at_40 = picture(panel)
    kept = panel.trajectories, panel.results.value, panel.message.value
    panel.step.value = 20
    assert picture(panel) != at_40
    assert drawn(panel) == anew(panel)
    assert (panel.trajectories, panel.results.value, panel.message.value) == kept
    panel.step.value = 40
    assert picture(panel) == at_40


def test_only_what_changed_is_drawn(panel, monkeypatch):
    drawn = []
    draw = panel._chart._draw_layer
    monkeypatch.setattr(
        panel._chart, "_draw_layer", lambda layer: (drawn.append(layer), draw(layer))
    )
    panel.step.value = 40
    assert drawn == [4]
    drawn.clear()
    panel.rates["SGD"].value = 0.11
    assert drawn == [3, 4]
    drawn.clear()
    panel.steps.value = 110
    assert drawn == [2, 3, 4]
    drawn.clear()
    panel.objectives.value = "bowl"
    assert drawn == [1, 2, 3, 4]
    drawn.clear()
    panel.optimizers["SGD"].value = False
    assert drawn[0] == 0


def test_the_marks_are_where_the_optimizers_are(panel):
    panel.step.value = 7
    for name, each in panel.trajectories.items():
        lines = panel._chart._lines[name]
        assert np.ravel(lines.point.get_data()).tolist() == each.points[7].tolist()
        assert np.ravel(lines.height.get_data()).tolist() == [7, each.values[7]]


def test_steps(panel):
    panel.steps.value = 1000
    assert panel.step.value == panel.step.max == panel.play.max == 1000
    assert panel.play.step == 10
    assert all(len(each.values) == 1001 for each in panel.trajectories.values())
    panel.step.value = 400
    panel.steps.value = 500
    assert (panel.step.value, panel.step.max, panel.play.step) == (400, 500, 5)
    panel.steps.value = 1
    assert (panel.step.value, panel.step.max, panel.play.step) == (1, 1, 1)
    assert drawn(panel) == anew(panel)


def test_a_late_answer_of_the_page_does_not_take_the_end_away(panel, monkeypatch):
    """It still says 101 when Python is at 117; who scrubs there later does not mean the end."""
    now = [100.0]
    monkeypatch.setattr("widgets.descent.time.monotonic", lambda: now[0])
    panel.steps.value = 101
    panel.steps.value = 117
    panel.step.value = 101
    assert panel.step.value == panel.step.max == 117
    panel.steps.value = 120
    now[0] += 1.0
    panel.step.value = 117
    assert (panel.step.value, panel.step.max) == (117, 120)
    panel.steps.value = 130
    assert panel.step.value == 117


def test_a_play_ends_at_the_last_step(panel):
    switch = "playing" if panel.play.has_trait("playing") else "_playing"
    panel.steps.value = 997
    for stopped_at, after in ((990, 997), (500, 500)):
        setattr(panel.play, switch, True)
        panel.step.value = stopped_at  # as the browser does, by tens
        setattr(panel.play, switch, False)
        assert panel.step.value == after


def test_a_path_that_leaves_the_numbers_says_so():
    panel = DescentPanel("bowl", ["SGD", "Adam"], steps=1000)
    panel.rates["SGD"].value = 2.0
    diverged_at = panel.trajectories["SGD"].diverged_at
    assert diverged_at is not None
    assert f"SGD diverged at step {diverged_at}." in panel.message.value
    assert ERROR in panel.message.value
    assert f'color: {ERROR}">diverged at step {diverged_at}<' in panel.results.value
    assert [text.get_text() for text in panel._chart._texts] == ["SGD diverged"]
    panel.rates["SGD"].value = 0.1
    assert ERROR not in panel.message.value + panel.results.value
    assert not panel._chart._texts


def test_a_path_that_leaves_the_picture_upwards_diverges():
    panel = DescentPanel("bowl", ["SGD"], steps=20)
    panel.rates["SGD"].value = 1.0
    assert panel.trajectories["SGD"].diverged_at is None
    assert "SGD diverged, left the picture at step 1." in panel.message.value
    way = panel._chart.ways["SGD"]
    # From (-5, -2), a step's double in y: it crosses the upper edge of the view.
    assert way.points.shape == (2, 2)
    assert way.points[1] == pytest.approx([-5 + 10 * 3 / 8, 1])
    assert panel._chart.plane.get_ylim() == (-3, 1)


def test_a_path_that_goes_down_for_ever_does_not_diverge():
    panel = DescentPanel("saddle")
    assert ERROR not in panel.message.value + panel.results.value
    assert panel.results.value.count("left at step") == 3
    assert "to a minimum" not in panel.results.value
    assert all(way.fate and not way.diverged for way in panel._chart.ways.values())


def test_the_view_is_widened_for_paths_that_stay_near(panel):
    reached = panel.trajectories["momentum"].points[:, 0].max()
    assert 1 < reached < 1 + 6.5 / 4
    assert panel._chart.plane.get_xlim() == (-5.5, 1 + 6.5 / 4)
    panel.optimizers["momentum"].value = False
    assert panel._chart.plane.get_xlim() == (-5.5, 1)


@pytest.mark.parametrize(
    ("objective", "scale", "label"),
    [
        ("bowl", "log", "value"),
        ("wave", "log", "value above the minimum"),
        ("saddle", "linear", "value"),
    ],
)
def test_the_axis_of_values(objective, scale, label):
    heights = DescentPanel(objective, ["SGD"])._chart.heights
    assert (heights.get_yscale(), heights.get_ylabel()) == (scale, label)


def test_paths_of_one_variable_are_on_the_curve():
    panel = DescentPanel("wave", ["SGD", "Adam"], steps=30)
    for name, each in panel.trajectories.items():
        assert each.points.shape == (31, 1)
        points = panel._chart.ways[name].points
        assert points[:, 0].tolist() == each.points[:, 0].tolist()
        assert points[:, 1] == pytest.approx(each.values)


def test_another_start(panel):
    panel.start[0].value, panel.start[1].value = -3.0, 1.5
    for each in panel.trajectories.values():
        assert each.points[0].tolist() == [-3.0, 1.5]
    panel.objectives.value = "bowl"
    panel.objectives.value = "flat bowl"
    assert panel.trajectories["SGD"].points[0].tolist() == [-5.0, -2.0]


def test_noise_is_that_of_the_seed(panel):
    quiet = panel.trajectories["SGD"]
    panel.seed.value = 3
    assert same(panel.trajectories["SGD"], quiet)
    panel.noise.value = 1.0
    noisy = panel.trajectories["SGD"]
    assert same(noisy, descend("flat bowl", "SGD", learning_rate=0.1, noise=1.0, seed=3))
    assert not same(noisy, quiet)
    panel.seed.value = 4
    assert not same(panel.trajectories["SGD"], noisy)


@pytest.mark.parametrize("name", [name for name in STRATEGIES if name != "constant"])
def test_every_schedule_has_the_rates_of_the_sliders_as_peaks(name):
    panel = DescentPanel("bowl", ["SGD", "Adam"])
    panel.rates["SGD"].value = 0.05
    panel.schedules.value = name
    for each, peak in (("SGD", 0.05), ("Adam", 0.1)):
        rates = panel.trajectories[each].learning_rates
        assert rates.shape == (100,)
        assert rates.max() == pytest.approx(peak, rel=1e-12)
        assert rates.min() < peak


def test_a_schedule_is_stretched_over_the_steps():
    panel = DescentPanel("bowl", ["SGD"], steps=300)
    panel.schedules.value = "step decay"  # by half after 10 and after 20 of 30 ticks
    rates = panel.trajectories["SGD"].learning_rates
    assert rates[[0, 99, 100, 199, 200, 299]] == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])
    panel.schedules.value = "cosine annealing"
    rates = panel.trajectories["SGD"].learning_rates
    assert rates == pytest.approx(0.05 * (1 + np.cos(np.pi * np.arange(300) / 300)), abs=1e-7)
    panel.steps.value = 1
    assert panel.trajectories["SGD"].learning_rates.tolist() == [0.1]


def test_a_schedule_may_begin_at_zero():
    panel = DescentPanel("bowl", ["SGD"], steps=1)
    panel.schedules.value = "inverse square root"
    assert panel.trajectories["SGD"].learning_rates.tolist() == [0.0]
    assert ERROR not in panel.message.value


def test_a_schedule_of_ones_own(panel):
    schedule = StepLR(3.0, step_size=1, gamma=0.1)
    panel.use_schedule(schedule, epochs=2)
    assert panel.schedules.label == "the given one"
    rates = panel.trajectories["SGD"].learning_rates
    assert rates[[0, 49, 50, 99]] == pytest.approx([0.1, 0.1, 0.01, 0.01])
    # One that ticks once an epoch does so here, one that runs on within an epoch, too.
    cosine = CosineAnnealingLR(0.3, T_max=4)
    panel.use_schedule(cosine.per_epoch(7), epochs=4)
    assert len(set(panel.trajectories["SGD"].learning_rates)) == 4
    panel.use_schedule(cosine.per_epoch(7, smooth=True), epochs=4)
    assert len(set(panel.trajectories["SGD"].learning_rates)) == 100


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("cosine",), TypeError, "schedule must be a keraslr schedule"),
        ((CosineAnnealingLR(0.1, T_max=5), 0), ValueError, "steps must be"),
    ],
    ids=["no schedule", "no epochs"],
)
def test_what_is_no_schedule(panel, arguments, error, said):
    shown = picture(panel)
    with pytest.raises(error, match=said):
        panel.use_schedule(*arguments)
    assert (panel.schedules.value, picture(panel)) == ("constant", shown)


def test_the_schedule_panel_is_followed():
    schedules = SchedulePanel("step decay", epochs=20)
    panel = DescentPanel("bowl", ["SGD"], schedule_panel=schedules)
    before = panel.trajectories
    schedules.form.controls["gamma"].value = 0.2
    assert panel.trajectories is before
    panel.schedules.value = "panel"
    rates = panel.trajectories["SGD"].learning_rates
    assert rates[[49, 50]] == pytest.approx([0.1, 0.02])
    schedules.form.controls["gamma"].value = 0.3
    assert panel.trajectories["SGD"].learning_rates[[49, 50]] == pytest.approx([0.1, 0.03])


def test_an_error_is_a_message_and_leaves_the_picture():
    schedules = SchedulePanel()
    panel = DescentPanel("bowl", ["SGD"], schedule_panel=schedules)
    before = panel.trajectories, picture(panel)
    schedules.schedule = None
    panel.schedules.value = "panel"
    assert "The schedule panel shows no schedule." in panel.message.value
    assert ERROR in panel.message.value
    assert (panel.trajectories, picture(panel)) == before
    panel.schedules.value = "constant"
    assert ERROR not in panel.message.value


def test_optimizers_come_and_go(panel):
    panel.rates["Adam"].value = 0.3
    panel.optimizers["Adam"].value = False
    assert [*panel.trajectories] == ["SGD", "momentum"]
    assert len(panel._chosen.children) == 2
    assert "Adam" not in panel.results.value
    panel.optimizers["Lion"].value = True
    panel.optimizers["Adam"].value = True
    assert [*panel.trajectories] == ["SGD", "momentum", "Adam", "Lion"]
    expected = descend("flat bowl", "Adam", learning_rate=0.3)
    assert same(panel.trajectories["Adam"], expected)
    assert drawn(panel) == anew(panel)


def test_no_optimizer(panel):
    shown = picture(panel)
    for name in DEFAULTS:
        panel.optimizers[name].value = False
    assert panel.trajectories == {}
    assert "No optimizer is chosen." in panel.message.value
    assert panel.results.value == ""
    assert picture(panel) != shown
    panel.step.value = 3
    assert drawn(panel) == anew(panel)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"objective": "bowel"}, 'objective must be one of .* Did you mean "bowl"'),
        ({"optimizers": ["Adan"]}, 'optimizers must be one of .* Did you mean "Adam"'),
    ],
    ids=["objective", "optimizers"],
)
def test_wrong_arguments(arguments, said):
    with pytest.raises(ValueError, match=said):
        DescentPanel(**arguments)


def test_random_moves_draw_what_a_new_panel_draws(panel):
    chance = random.Random(5)
    sliders = [panel.steps, *panel.start, panel.noise, panel.seed, panel.step]
    for _ in range(50):
        kind = chance.random()
        if kind < 0.06:
            panel.objectives.value = chance.choice([*OBJECTIVES])
        elif kind < 0.16:
            panel.optimizers[chance.choice([*DESCENT_OPTIMIZERS])].value ^= True
        elif kind < 0.26:
            panel.schedules.value = chance.choice([value for _, value in panel.schedules.options])
        elif kind < 0.5:
            rate = panel.rates[chance.choice([*panel.rates])]
            rate.value = 10 ** chance.uniform(rate.min, rate.max)
        else:
            slider = chance.choice(sliders)
            value = chance.uniform(slider.min, slider.max)
            slider.value = round(value) if isinstance(slider.value, int) else value
        text = panel.message.value
        assert any(said in text for said in ("diverged", "Lowest after", "No optimizer")), text
    assert drawn(panel) == anew(panel)
