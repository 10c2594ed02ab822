"""The schedule panel, without a browser."""

from __future__ import annotations

import base64
import html
import random
import re

import numpy as np
import pytest

import keraslr
from keraslr import CosineAnnealingLR, StepLR, Warmup
from widgets import SchedulePanel
from widgets.parts._schedule_form import STRATEGIES


def said(panel):
    """The message as a person reads it."""
    return html.unescape(re.sub(r"<br>", "\n", re.sub(r"</?span[^>]*>", "", panel.message.value)))


def test_the_panel_shows_something_before_the_first_click():
    panel = SchedulePanel()
    assert panel.schedule == CosineAnnealingLR(0.1, T_max=30).per_epoch(235)
    assert bytes(panel.picture.value).startswith(b"\x89PNG")
    assert "keraslr-picture" in panel.picture._dom_classes
    assert "keraslr-message" in panel.message._dom_classes
    assert "keraslr-schedule-panel" in panel._dom_classes
    assert said(panel) == "The schedule fits a run of 30 epochs of 235 steps."


def test_a_slider_replots():
    panel = SchedulePanel("step decay")
    before = bytes(panel.picture.value)
    panel.form.controls["step_size"].value = 20
    assert panel.schedule == StepLR(0.1, step_size=20, gamma=0.5).per_epoch(235)
    assert bytes(panel.picture.value) != before


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_can_be_shown(name):
    panel = SchedulePanel()
    panel.form.strategy.value = name
    expected = keraslr.get(name)
    assert panel.schedule == expected.per_epoch(235)
    # Every parameter can be set by hand.
    assert set(panel.form.controls) == set(keraslr.catalog.CATALOG[name].values)
    panel.form.warmup.value = 3
    assert panel.schedule.schedule == Warmup(expected, 3)
    panel.form.clock.value = True
    assert panel.schedule == Warmup(expected, 3).per_epoch(235, smooth=True)
    panel.log_axis.value = True
    assert "must" not in said(panel)


def test_an_error_is_a_message_and_keeps_the_picture():
    panel = SchedulePanel("multi-step decay")
    before = panel.schedule, bytes(panel.picture.value)
    panel.form.controls["milestones"].value = "20, 10"
    assert "milestones must be" in said(panel)
    assert (panel.schedule, bytes(panel.picture.value)) == before
    panel.form.controls["milestones"].value = "ten"
    assert "milestones must be numbers" in said(panel)
    panel.form.controls["milestones"].value = "5, 10"
    assert panel.schedule.schedule.milestones == (5, 10)


def test_a_long_list_can_be_edited():
    panel = SchedulePanel("lambda")
    panel.form.controls["lr_lambda"].value = "1, 0.5"
    assert "lr_lambda must be a function or hold" in said(panel)
    panel.form.controls["total_iters"].value = 1
    assert panel.schedule.schedule.lr_lambda == (1.0, 0.5)


def test_findings_are_shown():
    panel = SchedulePanel("multi-step decay", epochs=10)
    assert "never reaches" in said(panel)


def test_batch_and_dataset_make_the_steps_of_an_epoch():
    panel = SchedulePanel(batch_size=512)
    assert panel.schedule.steps_per_epoch == 118
    panel.dataset_size.value = 1437
    assert panel.schedule.steps_per_epoch == 3
    panel.batch_size.value = 1
    assert panel.schedule.steps_per_epoch == 1437


def test_linear_scaling_follows_the_batch_size():
    panel = SchedulePanel("constant", batch_size=1024)
    assert panel.schedule.values(1) == pytest.approx(0.1)
    panel.scaling.value = True
    assert panel.schedule.values(1) == pytest.approx(0.4)
    panel.form.warmup.value = 2
    rates = panel.schedule.values(3 * panel.steps_per_epoch)[:: panel.steps_per_epoch]
    assert rates == pytest.approx([0.0, 0.2, 0.4])


def test_numbers_stand_beside_the_curve():
    panel = SchedulePanel("one cycle", epochs=30)
    values = panel.schedule.values(30 * 235)
    panel.epoch.value = 20
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", panel.numbers.value)
    shown = dict(zip(cells[::2], map(float, cells[1::2]), strict=True))
    assert shown == pytest.approx(
        {
            "first": values[0],
            f"peak (epoch {values.argmax() / 235:.4g})": values.max(),
            "mean": values.mean(),
            "last": values[-1],
            "at epoch 20": values[20 * 235],
        },
        rel=1e-3,
    )


def test_eight_curves_can_be_pinned():
    panel = SchedulePanel("step decay")
    alone = bytes(panel.picture.value)
    for index in range(8):
        panel.form.controls["step_size"].value = 5 + index
        panel.pin.click()
    assert len(panel.pins) == 8
    assert len({pin.label for pin in panel.pins}) == 8
    assert panel.pins[3].schedule == StepLR(0.1, step_size=8, gamma=0.5).per_epoch(235)
    panel.pin.click()
    assert len(panel.pins) == 8
    assert "8 curves are pinned" in said(panel)
    panel._pinned.children[2].children[0].click()
    assert [pin.schedule.schedule.step_size for pin in panel.pins] == [5, 6, 8, 9, 10, 11, 12]
    panel.pin.click()
    assert len(panel.pins) == 8
    panel.clear.click()
    assert panel.pins == []
    panel.form.controls["step_size"].value = 10
    assert bytes(panel.picture.value) == alone


def test_the_same_curve_pinned_twice_has_two_names():
    panel = SchedulePanel()
    panel.pin.click()
    panel.pin.click()
    assert [pin.label for pin in panel.pins] == ["cosine annealing", "cosine annealing (2)"]


def shown_code(panel):
    return [html.unescape(each) for each in re.findall(r"<pre>(.*?)</pre>", panel.code.value, re.S)]


def test_the_code_is_that_of_the_schedule():
    panel = SchedulePanel("polynomial decay")
    assert panel.code.value == ""  # nobody looks
    panel.tabs.selected_index = 1
    line, fit, torch = shown_code(panel)
    assert eval(line, {"keraslr": keraslr}) == panel.schedule
    assert "model.fit(" in fit
    assert "torch.optim.lr_scheduler.PolynomialLR" in torch
    panel.form.controls["power"].value = 2.0
    assert eval(shown_code(panel)[0], {"keraslr": keraslr}) == panel.schedule
    for code in shown_code(panel):
        compile(code, "shown", "exec")


def test_the_values_can_be_downloaded():
    panel = SchedulePanel("step decay", epochs=20, batch_size=1024)
    panel.tabs.selected_index = 1
    data = re.search(r'href="data:text/csv;base64,([^"]*)"', panel.code.value)[1]
    lines = base64.b64decode(data).decode().splitlines()
    assert lines[0] == "step,epoch,learning_rate"
    assert len(lines) == 1 + 20 * 59
    rates = np.array([line.split(",")[2] for line in lines[1:]], np.float32)
    np.testing.assert_array_equal(rates, panel.schedule.values(20 * 59))


def test_a_strategy_can_be_loaded_in_code():
    panel = SchedulePanel()
    panel.form.warmup.value = 3
    panel.load("Step decay", gamma=0.2, initial_learning_rate=4.0)
    assert panel.schedule == StepLR(4.0, step_size=10, gamma=0.2).per_epoch(235)
    with pytest.raises(TypeError, match=r"must be among its parameters: .*Received: patience=3"):
        panel.load("step decay", patience=3)
    with pytest.raises(ValueError, match="must be a schedule that stands by itself"):
        panel.load("reduce on plateau")


def test_the_rate_can_be_set_where_there_is_one():
    panel = SchedulePanel("one cycle")
    panel.form.set_rate(0.37)
    assert panel.schedule.schedule.max_lr == pytest.approx(0.37)
    panel.load("piecewise constant")
    with pytest.raises(ValueError, match="a single rate to set"):
        panel.form.set_rate(0.1)


def test_random_moves_leave_no_error():
    panel, chance = SchedulePanel(), random.Random(0)
    for _ in range(60):
        widgets = [
            panel.form.strategy, panel.form.warmup, panel.form.clock, panel.epochs,
            panel.batch_size, panel.scaling, panel.log_axis, *panel.form.controls.values(),
        ]  # fmt: skip
        widget = chance.choice(widgets)
        if hasattr(widget, "options"):
            widget.index = chance.randrange(len(widget.options))
        elif isinstance(widget.value, bool):
            widget.value = not widget.value
        elif hasattr(widget, "base"):
            widget.value = 10 ** chance.uniform(widget.min, widget.max)
        elif hasattr(widget, "min"):
            low, high = widget.min, min(widget.max, 4096)
            whole = isinstance(widget.value, int)
            widget.value = chance.randint(low, high) if whole else chance.uniform(low, high)
        # An error names its argument and rule; a rate above the highest is one.
        assert "must be" in said(panel) or panel.schedule == panel.form.in_steps(
            panel.steps_per_epoch, panel._factor()
        )


def test_a_closed_panel_takes_its_controls_along():
    panel = SchedulePanel()
    panel.load("one cycle")
    panel.pin.click()
    panel.clear.click()
    panel.close()
    panel.close()
    assert panel.comm is None
