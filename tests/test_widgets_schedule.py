"""The panels, without a browser."""

from __future__ import annotations

import pytest

from keraslr import CosineAnnealingLR, StepLR, Warmup
from keraslr.catalog import CATALOG
from widgets import SchedulePanel


def test_the_panel_shows_something_before_the_first_click():
    panel = SchedulePanel()
    assert panel.schedule == CosineAnnealingLR(0.1, T_max=30)
    assert bytes(panel.picture.value).startswith(b"\x89PNG")


def test_a_slider_replots():
    panel = SchedulePanel("step decay")
    before = bytes(panel.picture.value)
    panel.controls["step_size"].value = 20
    assert panel.schedule == StepLR(0.1, step_size=20, gamma=0.5)
    assert bytes(panel.picture.value) != before


@pytest.mark.parametrize(
    "name", [n for n, s in CATALOG.items() if s.is_schedule and n != "warm-up"]
)
def test_every_strategy_can_be_shown(name):
    panel = SchedulePanel()
    panel.strategy.value = name
    assert isinstance(panel.schedule, CATALOG[name].cls)
    panel.warmup.value = 3
    assert isinstance(panel.schedule, Warmup)


def test_an_error_is_a_message_and_keeps_the_picture():
    panel = SchedulePanel("multi-step decay")
    before = panel.schedule, bytes(panel.picture.value)
    panel.controls["milestones"].value = "20, 10"
    assert "milestones must be" in panel.message.value
    assert (panel.schedule, bytes(panel.picture.value)) == before
    panel.controls["milestones"].value = "ten"
    assert "milestones must be numbers" in panel.message.value
    panel.controls["milestones"].value = "5, 10"
    assert panel.schedule.milestones == (5, 10)


def test_findings_are_shown():
    panel = SchedulePanel("multi-step decay", epochs=10)
    assert "never reaches" in panel.message.value
