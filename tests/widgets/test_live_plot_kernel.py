"""The live picture of a fit in a real kernel."""

from __future__ import annotations

import pytest
from waiting import PATIENCE

CELL = """
import keras
import numpy as np
from widgets import LivePlot

x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
model.compile("sgd", "mse", metrics=["mae"])
model.fit(x, x[:, :1], epochs=2, callbacks=[LivePlot()])"""


@pytest.mark.slow
def test_a_notebook_keeps_the_last_picture_above_the_progress(quick_kernels):
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    sent = []

    class Client(nbclient.NotebookClient):
        def process_message(self, message, *others):
            if message["msg_type"].endswith("display_data"):
                sent.append(message["content"]["data"]["image/png"])
            return super().process_message(message, *others)

    cell = nbformat.v4.new_code_cell(CELL)
    Client(
        nbformat.v4.new_notebook(cells=[cell]), timeout=PATIENCE, kernel_name="python3"
    ).execute()
    outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    assert outputs[0].output_type == "display_data"
    assert len(sent) >= 2
    assert outputs[0].data["image/png"].strip() == sent[-1].strip() != sent[0].strip()
    printed = "".join(each.text for each in outputs if each.output_type == "stream")
    assert printed.startswith("Epoch 1/2")
    assert not any("image/png" in each.get("data", {}) for each in outputs[1:])
