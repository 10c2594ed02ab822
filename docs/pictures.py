"""Takes new screenshots of the panels, and a live picture, for the documentation.

    .venv/bin/python docs/pictures.py [schedule] [descent] [training] [live-plot] \
        [own-regression] [own-text] [own-two-outputs]

Needs Chromium and, for the training panel, Fashion-MNIST.
"""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import nbclient
import nbformat
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "tools")]

from tests.browser.pages import Server, Watched, chromium, write_notebook  # noqa: E402

_PAGE_WIDTH = 1000

CELLS = {
    "schedule": """
from widgets import SchedulePanel
panel = SchedulePanel("step decay")
panel.pin.click()
panel.load("one cycle")
panel.pin.click()
panel.load("cosine warm restarts")
panel.form.warmup.value = 4
panel.form.clock.value = True
panel""",
    "descent": """
from widgets import DescentPanel
DescentPanel("flat bowl", ["SGD", "momentum", "Adam", "Lion"])""",
    "training": """
from widgets import TrainingPanel
panel = TrainingPanel(dataset="fashion_mnist", epochs=4)
panel""",
}

# Training panels with models and data of one's own, and a metric to show.
OWN = {
    "own-regression": (
        """
import keras
from sklearn.datasets import load_diabetes
from widgets import TrainingPanel

x, y = load_diabetes(return_X_y=True, scaled=False)

def build():
    model = keras.Sequential(
        [keras.Input((10,)), keras.layers.BatchNormalization(momentum=0.9),
         keras.layers.Dense(32, "relu"), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model

panel = TrainingPanel(build, x, y, validation_split=0.25, epochs=40)
panel""",
        None,
    ),
    "own-text": (
        """
import keras
import numpy as np
import tensorflow as tf
import keraslr
from widgets import TrainingPanel

random = np.random.default_rng(0)
words = random.integers(0, 200, (2000, 12))
liked = (words % 10 < 4).sum(1) + random.normal(0, 1, 2000) > 4.8
whole = tf.data.Dataset.from_tensor_slices((words, liked.astype("int32")))
train = whole.take(1600).filter(lambda text, _: text[0] > 0).batch(32)

def build():
    model = keras.Sequential(
        [keras.Input((12,)), keras.layers.Embedding(200, 8), keras.layers.LSTM(8),
         keras.layers.Dense(1, "sigmoid")]
    )
    model.compile(keras.optimizers.Adam(), "binary_crossentropy", metrics=["accuracy", "auc"])
    return model

problem = keraslr.Problem("reviews", build, train, validation_data=whole.skip(1600).batch(100))
rule = keraslr.callbacks.ReduceLROnPlateau(factor=0.3, patience=1)
panel = TrainingPanel(problem, schedule=(0.01, rule), epochs=10)
panel""",
        "auc",
    ),
    "own-two-outputs": (
        """
import keras
import numpy as np
from sklearn.datasets import load_wine
from widgets import TrainingPanel

x, kind = load_wine(return_X_y=True)
order = np.random.default_rng(0).permutation(len(x))
x, kind = x[order], kind[order]
inputs = keras.Input((12,))
hidden = keras.layers.BatchNormalization(momentum=0.9)(inputs)
hidden = keras.layers.Dense(24, "relu")(hidden)
model = keras.Model(
    inputs,
    {"kind": keras.layers.Dense(3, "softmax", name="kind")(hidden),
     "proline": keras.layers.Dense(1, name="proline")(hidden)},
)
losses = {"kind": "sparse_categorical_crossentropy", "proline": "mse"}
model.compile("adam", losses, metrics={"kind": ["accuracy"], "proline": ["mae"]})
targets = {"kind": kind, "proline": x[:, -1] / 1000}
panel = TrainingPanel(model, x[:, :-1], targets, validation_split=0.25, epochs=40)
panel""",
        "kind_accuracy",
    ),
}

FIT = """
import keras
import keraslr
from sklearn.datasets import load_digits
from widgets import LivePlot

keras.utils.set_random_seed(0)
x, y = load_digits(return_X_y=True)
model = keras.Sequential(
    [keras.Input((64,)), keras.layers.Rescaling(1 / 16), keras.layers.Dense(32, "relu"),
     keras.layers.Dropout(0.3), keras.layers.Dense(10, "softmax")]
)
schedule = keraslr.CosineAnnealingLR(0.5, T_max=30).with_warmup(3, start_lr=0.05).per_epoch(22)
optimizer = keras.optimizers.SGD(schedule)
model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
plateau = keraslr.callbacks.ReduceLROnPlateau(factor=0.5, patience=3)
model.fit(
    x, y, batch_size=64, epochs=30, validation_split=0.25, verbose=0,
    callbacks=[plateau, LivePlot()],
)"""


def live_picture(path: Path) -> None:
    """Saves the picture that `LivePlot` leaves in a notebook."""
    cells = [nbformat.v4.new_code_cell(FIT)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    [picture] = [each for each in cells[0].outputs if each.output_type == "display_data"]
    path.write_bytes(base64.b64decode(picture.data["image/png"]))


def trained(page: Watched) -> None:
    """Trains a run to its end, and a branch of it under another schedule."""
    panel = page.panel("training")

    def finished() -> bool:
        return panel.locator(".keraslr-status").inner_text().startswith("finished")

    page.button(panel, "Train").click()
    page.until(finished, 300)
    panel.locator(".jp-TabBar-tab, .lm-TabBar-tab, .p-TabBar-tab", has_text="Schedule").click()
    strategy = panel.locator(".widget-dropdown", has_text="strategy").filter(visible=True).first
    strategy.locator("select").select_option("one cycle")
    page.page.wait_for_timeout(1000)
    panel.locator(".jp-TabBar-tab, .lm-TabBar-tab, .p-TabBar-tab", has_text="Settings").click()
    page.button(panel, "Branch").click()
    page.until(lambda: not finished(), 60)
    page.until(finished, 300)


def trained_own(page: Watched, metric: str | None) -> None:
    """Trains one's own model to the end, and shows a metric."""
    panel = page.panel("training")
    page.button(panel, "Train").click()
    page.until(lambda: "finished" in panel.locator(".keraslr-message").first.inner_text(), 300)
    if metric is not None:
        chosen = panel.locator(".widget-dropdown", has_text="metric").filter(visible=True).first
        chosen.locator("select").select_option(metric)


def photograph(name: str, page: Page, path: Path) -> None:
    """Saves a picture of the whole panel, however long it is."""
    panel = page.locator(f".keraslr-{name}-panel").first
    page.mouse.move(0, 0)
    page.wait_for_timeout(1500)  # until the last change is drawn
    box = panel.bounding_box()
    assert box is not None
    page.set_viewport_size(
        {"width": page.viewport_size["width"], "height": int(box["height"]) + 200}
    )
    page.wait_for_timeout(1500)
    panel.screenshot(path=path)
    Image.open(path).quantize(256).save(path, optimize=True)


def main(names: list[str]) -> None:
    """Takes the pictures with the given names, or all of them."""
    if not names or "live-plot" in names:
        live_picture(ROOT / "docs" / "live-plot.png")
    cells = CELLS | {name: cell for name, (cell, _) in OWN.items()}
    panels = [name for name in names or cells if name in cells]
    if not panels:
        return
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for name in panels:
            here = Path(folder, name)
            here.mkdir()
            notebook = write_notebook(here / "page.ipynb", [cells[name]])
            server = Server(
                "voila", here, str(notebook), "--no-browser", "--port={port}",
                "--Voila.ip=127.0.0.1", "--show_tracebacks=True",
            )  # fmt: skip
            try:
                server.wait("/voila/static/voila.js")
                page = Watched(browser.new_page(viewport={"width": _PAGE_WIDTH, "height": 1000}))
                page.page.goto(f"http://127.0.0.1:{server.port}/", timeout=120_000)
                kind = "training" if name in OWN else name
                page.panel(kind).wait_for(timeout=60_000)
                if name in OWN:
                    trained_own(page, OWN[name][1])
                elif name == "training":
                    trained(page)
                file = f"{name}.png" if name in OWN else f"panel-{name}.png"
                photograph(kind, page.page, ROOT / "docs" / file)
            finally:
                server.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
