"""The time from a moved slider to the new picture, in a real browser.

    python -m benchmarks.slider_latency [--moves 60] [--host lab] [--host voila]

Moves a slider with a key and waits for the picture's `load` event: the measured time covers the
message to the kernel, the drawing, the message back and the decoding. The moves follow one another,
first idle, then while a LeNet trains on Fashion-MNIST in the same kernel. Then a hundred moves as
fast as the page accepts them, after which the page must show the picture of the last move, with no
queue left.

Needs the extras "test" and "notebooks", Chromium, and Fashion-MNIST in Keras's cache.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
from datetime import date
from importlib import metadata
from pathlib import Path

import numpy as np
from playwright.sync_api import Locator, sync_playwright

from tests.browser.pages import LabPage, Server, Watched, chromium, write_notebook

_CELL = """
import ipywidgets
from widgets import DescentPanel, SchedulePanel, TrainingPanel
schedule, descent, training = SchedulePanel(), DescentPanel(), TrainingPanel(epochs=60)

# The time of the host alone: a slider that shows one of two finished pictures.
ready = [schedule.picture.value, descent.picture.value]
slider, image = ipywidgets.IntSlider(description="bare"), ipywidgets.Image(value=ready[0])
image.add_class("keraslr-picture")
slider.observe(lambda move: image.set_trait("value", ready[move["new"] % 2]), "value")
bare = ipywidgets.VBox([slider, image])
bare.add_class("keraslr-bare-panel")

ipywidgets.VBox([bare, schedule, descent, training])
"""

_MOVE = """async ([handle, picture, key, moves]) => {
  const times = [];
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  for (let move = 0; move < moves; move++) {
    const loaded = new Promise((done, fail) => {
      picture.addEventListener("load", done, { once: true });
      setTimeout(() => fail(new Error("no new picture within 10 s")), 10000);
    });
    const begin = performance.now();
    // There and back, as a hand drags it.
    const turned = move < moves / 2 ? key : key === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
    handle.dispatchEvent(new KeyboardEvent("keydown", { key: turned, bubbles: true }));
    await loaded;
    times.push(performance.now() - begin);
    await wait(60);
  }
  return times;
}"""

# A slider dragged by hand: a move every 10 ms. Ends after a second without a new picture.
_DRAG = """async ([handle, picture, moves]) => {
  const wait = (ms) => new Promise((done) => setTimeout(done, ms));
  let pictures = 0, last = performance.now();
  const count = () => { pictures += 1; last = performance.now(); };
  picture.addEventListener("load", count);
  for (let move = 0; move < moves; move++) {
    const key = move < moves / 2 ? "ArrowRight" : "ArrowLeft";
    handle.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    await wait(10);
  }
  const end = performance.now();
  while (performance.now() - last < 1000) await wait(20);
  picture.removeEventListener("load", count);
  return [pictures, Math.max(0, last - end)];
}"""

_SLIDERS = (
    ("bare", "bare", "ArrowRight", "two ready pictures"),
    ("schedule", "initial_learning_rate", "ArrowRight", "schedule: rate"),
    ("schedule", "T_max", "ArrowRight", "schedule: T_max"),
    ("descent", "noise", "ArrowRight", "descent: noise"),
    ("descent", "steps", "ArrowRight", "descent: steps"),
    # This slider starts at its end.
    ("descent", "step", "ArrowLeft", "descent: scrubber"),
)


def measured(page: Watched, name: str, label: str, key: str, moves: int) -> list[float]:
    """Returns the milliseconds of each move of a slider; the first moves use this key."""
    panel = page.panel(name)
    return page.page.evaluate(
        _MOVE, [_element(page.handle(panel, label)), _picture(panel), key, moves]
    )


def _element(locator: Locator):
    locator.scroll_into_view_if_needed()
    return locator.element_handle()


def _picture(panel: Locator):
    return panel.locator(".keraslr-picture").filter(visible=True).first.element_handle()


def report(host: str, page: Watched, moves: int) -> None:
    """Measures on an open page, and prints the results."""
    for name in ("schedule", "descent", "training"):
        page.panel(name).locator(".keraslr-picture").filter(visible=True).first.wait_for()
    page.page.wait_for_timeout(2000)
    for state in ("idle", "training"):
        if state == "training":
            training = page.panel("training")
            page.button(training, "Train").click()
            training.locator(".keraslr-status", has_text="examples/s").wait_for()
        for name, label, key, shown in _SLIDERS:
            measured(page, name, label, key, 6)
            times = np.array(measured(page, name, label, key, moves))
            median, high = np.percentile(times, [50, 95])
            print(f"{host:6} {state:9} {shown:20} {median:7.0f} {high:7.0f} {times.max():7.0f}")
        handle = _element(page.handle(page.panel("schedule"), "T_max"))
        drag = [handle, _picture(page.panel("schedule")), 100]
        pictures, after = page.page.evaluate(_DRAG, drag)
        print(
            f"{host:6} {state:9} 100 moves in a second: {pictures} pictures, "
            f"the last one {after:.0f} ms after the last move"
        )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moves", type=int, default=60, help="moves of each slider")
    parser.add_argument("--host", action="append", choices=("lab", "voila"), help="default: both")
    options = parser.parse_args()
    packages = ("ipywidgets", "ipykernel", "jupyterlab", "voila", "tensorflow", "matplotlib")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    print(f"{date.today()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}")
    print(f"{'host':6} {'state':9} {'slider':20} {'median':>7} {'95th':>7} {'most':>7}   (ms)")
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        for host in options.host or ("lab", "voila"):
            place = Path(folder) / host
            place.mkdir()
            notebook = write_notebook(place / "panels.ipynb", [_CELL])
            view = browser.new_page(viewport={"width": 1400, "height": 1000})
            if host == "lab":
                server = Server(
                    "jupyterlab", place, "--no-browser", "--port={port}", "--allow-root",
                    "--IdentityProvider.token=", f"--ServerApp.root_dir={place}",
                )  # fmt: skip
                server.wait("/api")
                page: Watched = LabPage(view)
                page.open(server, notebook.name)
                page.start_cell(0)
            else:
                server = Server(
                    "voila", place, str(notebook), "--no-browser", "--port={port}",
                    "--Voila.ip=127.0.0.1",
                )  # fmt: skip
                server.wait("/voila/static/voila.js")
                page = Watched(view)
                view.goto(f"http://127.0.0.1:{server.port}/", timeout=120_000)
            try:
                report(host, page, options.moves)
            finally:
                view.close()
                server.close()
        browser.close()


if __name__ == "__main__":
    main()
