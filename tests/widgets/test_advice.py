"""The advice panel, without a browser."""

from __future__ import annotations

import re

from panels import is_picture, text

import keraslr
from keraslr.catalog import CATALOG
from widgets import AdvicePanel, SchedulePanel


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
