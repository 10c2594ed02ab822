"""The published figures of the LeNet: which runs they belong to, and where the panel shows them."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from keraslr import datasets
from keraslr.comparison import Comparison
from keraslr.published import lenet_schedules, published_figures
from keraslr.training import Result, Run
from widgets import ComparisonPanel
from widgets.comparison._results import results_table, to_json

PUBLISHED = {"dataset": "fashion_mnist", "epochs": 30, "batch_size": 256}
MEANT, AS_RUN = lenet_schedules(), lenet_schedules("as run")


@pytest.mark.parametrize(
    ("way", "name", "said", "test_accuracy"),
    [
        ("as meant", "constant", "as run", 0.882),
        ("as meant", "multi-step", "as meant", 0.884),
        ("as run", "multi-step", "as run", 0.884),
        ("as meant", "cosine", "as meant", 0.899),
        ("as run", "cosine", "as run", 0.899),
        ("as meant", "warm-up + cosine", "as meant", 0.905),
        ("as run", "warm-up + cosine", "as run", 0.905),
    ],
)
def test_published_figures_are_found(way, name, said, test_accuracy):
    schedule = {"as meant": MEANT, "as run": AS_RUN}[way][name].per_epoch(235)
    found = published_figures(Run("mine", schedule, **PUBLISHED))
    assert (found.name, found.way, found.figures["test_accuracy"]) == (name, said, test_accuracy)
    assert bool(found.note) == (said == "as meant")


def test_a_schedule_is_known_by_its_rates():
    assert published_figures(Run("mine", 0.3, **PUBLISHED)).name == "constant"
    assert published_figures(Run("mine", 0.125, **PUBLISHED)).name == "multi-step"
    assert published_figures(Run("mine", 0.31, **PUBLISHED)) is None


@pytest.mark.parametrize(
    "change",
    [
        {"dataset": "digits"},
        {"dataset": "auto"},
        {"initialization": "keras"},
        {"optimizer": "Adam"},
        {"optimizer_arguments": {"momentum": 0.9}},
        {"epochs": 29},
        {"batch_size": 255},
        {"schedule": MEANT["cosine"]},
        {"schedule": MEANT["cosine"].per_epoch(234)},
        {"schedule": MEANT["cosine"].per_epoch(235, smooth=True)},
        {"schedule": MEANT["cosine"].per_epoch(235) * 0.99},
        {"model": lambda seed: None},
    ],
    ids=lambda change: next(iter(change)),
)
def test_any_other_setting_has_no_published_figures(change):
    settings = {"schedule": MEANT["cosine"].per_epoch(235), **PUBLISHED}
    assert published_figures(Run("cosine", **settings)) is not None
    assert published_figures(Run("cosine", **{**settings, **change})) is None


def test_a_substitute_has_no_published_figures():
    digits = datasets.digits()
    substitute = datasets.Dataset(
        "fashion_mnist", digits.x_train, digits.y_train, digits.x_test, digits.y_test,
        substitute=True,
    )  # fmt: skip
    run = Run("constant", 0.3, **{**PUBLISHED, "dataset": substitute})
    assert published_figures(run) is None


def documented(dataset="fashion_mnist", way="as meant", epochs=30):
    """Results of runs that nobody has trained, one seed each."""
    runs = [
        Run(name, schedule.per_epoch(235), dataset=dataset, epochs=epochs)
        for name, schedule in lenet_schedules(way).items()
    ]
    figures = np.linspace(0.5, 0.25, epochs).tolist()
    names = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate")
    results = [
        Result(
            run.description(), "finished", wall_time=1.0,
            steps={"learning_rate": [0.3] * 235 * epochs},
            epochs={name: list(figures) for name in names},
        )
        for run in runs
    ]  # fmt: skip
    return Comparison(runs, results)


def table_rows(html):
    rows = re.findall("<tr>(.*?)</tr>", html, re.S)
    return [
        [re.sub("<[^>]+>", "", cell).strip() for cell in re.findall("<td.*?</td>", row, re.S)]
        for row in rows[1:]
    ]


def test_published_figures_stand_beside_those_of_the_same_setting():
    rows = table_rows(results_table(documented(way="as run")))
    assert [cells[0].split(";")[-1].strip() for cells in rows] == [
        "constant", "published", "multi-step", "published", "cosine", "published",
        "warm-up + cosine", "published",
    ]  # fmt: skip
    assert rows[2][2:5] == ["0.250", "0.250", "0.250"]
    assert rows[3][2:5] == ["0.195", "0.927", "0.884"]


def test_a_run_that_the_source_only_meant_is_marked():
    html = results_table(documented())
    marks = [cells[0].split(";")[-1].strip() for cells in table_rows(html)][1::2]
    assert marks == ["published", "published*", "published*", "published*"]
    assert "* multi-step: The source draws the curve with the scheduler" in html


@pytest.mark.parametrize("change", [{"dataset": "digits"}, {"dataset": "auto"}, {"epochs": 29}])
def test_nothing_published_stands_beside_another_setting(change):
    html = results_table(documented(**change))
    assert len(table_rows(html)) == 4
    assert "published" not in html


def test_the_panel_shows_the_published_figures(fashion_mnist_folder):
    panel = ComparisonPanel()
    panel.published.click()
    panel.seeds.value = 1
    # As if it had run them before.
    panel._kept = documented()
    panel.run(block=True)
    assert "4 of 4 runs done, 0 of them now" in panel.message.value
    assert table_rows(panel.table.value)[1][2:5] == ["0.157", "0.940", "0.882"]
    plain = json.loads(to_json(panel.comparison))
    assert plain["published"]["constant"]["way"] == "as run"
    assert plain["published"]["cosine"]["test_accuracy"] == 0.899
