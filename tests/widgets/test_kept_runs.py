"""The runs that a training panel keeps: their table, their files, their memory."""

from __future__ import annotations

import csv
import io
import json
import re

import keras
import numpy as np
import pytest
from panels import downloads, learning, text
from programs import Program
from waiting import PATIENCE

from keraslr import datasets


def test_runs_are_kept_renamed_hidden_and_removed():
    panel = learning(epochs=1)
    panel.train(block=True)
    panel.train(block=True)
    first, second = panel.runs
    assert [first.name.value, second.name.value] == ["cosine annealing", "cosine annealing (2)"]
    picture = bytes(panel.picture.value)
    first.show.value = False
    assert bytes(panel.picture.value) != picture
    first.name.value = "mine"
    assert [name for name, _ in panel.chosen.options] == ["mine", "cosine annealing (2)"]
    first.name.value = "cosine annealing (2)"
    assert first.name.value == "mine"
    first.name.value = "  "
    assert first.name.value == "mine"
    first.remove.click()
    assert list(panel.runs) == [second]
    assert [name for name, _ in panel.chosen.options] == ["cosine annealing (2)"]


def test_the_table_has_the_figures():
    panel = learning(epochs=1)
    panel.train(block=True)
    (kept,) = panel.runs
    shown = {name: re.sub("<[^>]*>", "", cell.value) for name, cell in kept.cells.items()}
    assert shown["test acc."] == f"{panel.result.test_accuracy[-1]:.4f}"
    assert shown["train loss"] == f"{panel.result.train_loss[-1]:.4f}"
    assert shown["epochs"] == "1"
    assert shown["state"] == "finished"


def test_runs_are_exported():
    panel = learning()
    panel.train(block=True)
    panel.runs.export.click()
    files = downloads(panel.runs.links)
    (run,) = json.loads(files["runs.json"])
    assert run["steps"]["loss"] == panel.result.loss
    assert run["name"] == "cosine annealing"
    rows = list(csv.DictReader(io.StringIO(files["runs.csv"])))
    assert [float(row["val_accuracy"]) for row in rows] == panel.result.test_accuracy
    assert [int(row["epoch"]) for row in rows] == [1, 2]


def test_the_model_is_saved(tmp_path):
    panel = learning()
    panel.train(block=True)
    panel.path.value = str(tmp_path / "mine.keras")
    panel.save.click()
    model = keras.models.load_model(tmp_path / "mine.keras")
    data = datasets.load("digits")
    logits = model.predict(data.x_test / np.float32(255), verbose=0)
    accuracy = float(np.mean(logits.argmax(1) == data.y_test))
    assert accuracy == pytest.approx(panel.result.test_accuracy[-1])
    assert 'download="mine.keras"' in panel.saved.value
    panel.path.value = "mine.h5"
    panel.save.click()
    assert "must end in" in text(panel.message)


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
growths = []
for _ in range(2):
    begin = megabytes()
    for _ in range(4):
        panel.train(block=True)
    growths.append(megabytes() - begin)
# What is kept grows both times; what the allocator happens to hold does not.
print(len(panel.runs), min(growths))
"""


@pytest.mark.slow
def test_kept_runs_are_small():
    """Graphs go with the next run; what is kept is the model and its record.

    In a process of its own, where no other test's memory counts.
    """
    runs, growth = Program("-c", KEEP_RUNS).finished().split()[-2:]
    assert int(runs) == 11
    assert float(growth) < 20


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
    nbclient.execute(notebook, timeout=int(PATIENCE), kernel_name="python3")
    (outputs,) = (cell.outputs for cell in notebook.cells)
    pictures = [each for each in outputs if "image/png" in each.get("data", {})]
    assert len(pictures) == 1
    assert len(pictures[0]["data"]["image/png"]) > 5000
