"""A model and data of one's own, trained in a browser."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MAKE = """
import keras
import numpy as np
from widgets import TrainingPanel

x = np.random.default_rng(0).normal(size=(256, 4))
y = np.stack([x.sum(1), x.prod(1)], 1)
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(2)])
model.compile("adam", "mse", metrics=["mae", "cosine_similarity"])
panel = TrainingPanel(model, x, y, validation_split=0.25, epochs=3)
panel
"""


def test_the_curve_of_a_metric_in_jupyterlab(lab, artefacts):
    page = lab(MAKE, "print(list(panel.history)[:3], panel.picture.chart.metric.get_ylabel())")
    page.run_cell(0)
    panel = page.panel("training")
    metric = panel.locator(".widget-dropdown", has_text="metric").filter(visible=True).first
    before = page.picture(panel)
    page.button(panel, "Train").click()
    message = panel.locator(".keraslr-message").first
    page.until(lambda: "finished: val_mae" in message.inner_text())
    page.until(lambda: page.picture(panel) != before, "the curve of the mae")
    shown = page.picture(panel)
    metric.locator("select").select_option("cosine_similarity")
    page.until(lambda: page.picture(panel) != shown, "the curve of the other metric")
    assert page.run_cell(1) == "['loss', 'mae', 'cosine_similarity'] cosine similarity"
    # Nothing but the margins of widgets hangs out at the side, and no control asks for images.
    assert panel.locator(".widget-dropdown", has_text="dataset").filter(visible=True).count() == 0
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth + 8")
    page.page.screenshot(path=artefacts / "lab-own-model.png")


FIT = """
from widgets import LivePlot
fitted = model.fit(x, y, validation_split=0.25, epochs=40, verbose=0, callbacks=[LivePlot()])
"""


def test_a_fit_of_ones_own_draws_one_picture_that_changes(lab, artefacts):
    page = lab(MAKE.replace("panel = ", "# ").replace("\npanel\n", "\n"), FIT, "print(6 * 7)")
    page.run_cell(0)
    page.start_cell(1)
    picture = page.page.locator(".jp-OutputArea-output img")
    picture.first.wait_for()
    first = picture.first.get_attribute("src")
    page.until(lambda: picture.first.get_attribute("src") != first, "another picture")
    assert page.run_cell(2) == "42"  # after the fit
    assert picture.count() == 1
    box = picture.first.bounding_box()
    assert box["width"] > 300
    assert box["height"] > 200
    page.page.screenshot(path=artefacts / "lab-live-plot.png")
