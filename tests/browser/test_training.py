"""A LeNet trained in a browser: train, pause, take the rate, give it back, stop, branch."""

from __future__ import annotations

import re

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.slow]

MAKE = """
from widgets import TrainingPanel
panel = TrainingPanel(dataset="{dataset}", epochs=60, batch_size={batch_size})
panel
"""
# One that is not to end by itself: each slice takes its time, on any machine.
MAKE_LONG = """
import time
import keraslr.training._live
from widgets import TrainingPanel
keraslr.training._live._PATIENCE = 600  # a branch waits for the slice under way, on any machine
panel = TrainingPanel(
    dataset="digits", epochs=60, batch_size=4, on_progress=lambda _: time.sleep(0.5)
)
panel
"""


def message(panel) -> str:
    return panel.locator(".keraslr-message").first.inner_text()


def status(panel) -> str:
    return panel.locator(".keraslr-status").inner_text()


def trains(page, panel) -> None:
    page.until(lambda: "examples/s" in status(panel), "examples a second")


def through_all(page, panel, artefacts, host) -> None:
    """What both hosts must do; asserted on what the page says."""
    before = page.picture(panel)
    assert page.button(panel, "Pause").is_disabled()
    page.button(panel, "Train").click()
    trains(page, panel)
    assert page.button(panel, "Train").is_disabled()
    page.until(lambda: page.picture(panel) != before)

    page.button(panel, "Pause").click()
    page.until(lambda: status(panel).startswith("paused"))
    page.until(lambda: page.stands_still(panel))  # the last picture may come after the word

    # The rate is taken while it stands still, and applied when it goes on.
    page.slide(panel, "rate by hand", keys=2)
    page.until(lambda: "fa-hand-paper-o" in panel.inner_html())
    page.button(panel, "Resume").click()
    page.until(lambda: "rate 0.01047 (by hand)" in status(panel))
    page.button(panel, "Rate by hand").click()
    page.until(lambda: "by hand" not in status(panel) and "training" in status(panel))
    page.page.screenshot(path=artefacts / f"{host}-training.png")

    page.button(panel, "Branch").click()
    page.until(lambda: "1 waiting" in status(panel))
    page.button(panel, "Stop").click()
    page.until(lambda: status(panel).startswith("stopped"))
    # Its state can change between two lines that the panel writes: the message may be a tick later.
    page.until(lambda: "stopped" in message(panel))
    page.until(lambda: page.button(panel, "Train").is_enabled())


def test_in_jupyterlab(lab, artefacts):
    page = lab(
        MAKE_LONG,
        "rates = [rate for _, rate in panel.result.run['steered']]\n"
        "print(panel.run.state, len(panel.runs), *rates[-2:])",
        "print(6 * 7)",
        "from keraslr.training._loop import Loop\n"
        "begun, slice_ = [], Loop.slice\n"
        "Loop.slice = lambda self, first: (begun.append(first), slice_(self, first))[1]\n"
        "panel.halt.click(); before = len(begun); panel.run.wait()\n"
        "print(len(begun) - before <= 1, panel.run.state)",
    )
    page.run_cell(0)
    panel = page.panel("training")
    through_all(page, panel, artefacts, "lab")
    assert re.match(r"stopped 1 0\.0104\d+ None", page.run_cell(1))

    # The kernel stays free: cells run while it trains, and stop it after the slice under way.
    page.button(panel, "Train").click()
    trains(page, panel)
    assert page.run_cell(2) == "42"
    assert page.run_cell(3) == "True stopped"


def test_in_voila(voila, artefacts):
    page = voila(MAKE_LONG)
    panel = page.panel("training")
    panel.wait_for()
    through_all(page, panel, artefacts, "voila")
    assert "stopped" in message(panel)


def test_a_branch_is_trained_and_compared(lab, artefacts):
    page = lab(
        MAKE.format(dataset="digits", batch_size=64),
        "panel.epochs.value = 2\npanel.form.load('constant', initial_learning_rate=0.03)",
        "print([run.live.state for run in panel.runs], panel.run.first_step)",
    )
    page.run_cell(0)
    page.run_cell(1)
    panel = page.panel("training")
    page.button(panel, "Train").click()
    page.until(lambda: "finished" in message(panel))
    page.button(panel, "Branch").click()
    page.until(lambda: "constant > constant finished" in message(panel))
    assert page.run_cell(2) == "['finished', 'finished'] 46"
    page.button(panel, "Export all runs").click()
    panel.locator("a[download='runs.json']").wait_for()
    with page.page.expect_download() as download:
        panel.locator("a[download='runs.csv']").click()
    assert download.value.path().read_text().startswith("name,schedule,epoch,loss")
    page.page.screenshot(path=artefacts / "lab-branch.png", full_page=True)


def test_the_cell_run_again_stops_the_old_run(lab):
    page = lab(
        MAKE_LONG + "\nruns = globals().get('runs', [])",
        "runs.append(panel)\npanel.train()",
        "print([each.run.state for each in runs])",
        "other = TrainingPanel(dataset='digits')\nother",
    )
    # The last line of the first cell shows nothing here; the panel trains all the same.
    page.run_cell(0)
    page.run_cell(1)
    page.run_cell(3)
    assert page.run_cell(2) in ("['setting up']", "['training']")
    page.run_cell(0)
    page.run_cell(1)
    page.until(lambda: re.match(r"\['stopped', '(setting up|training)'\]", page.run_cell(2)))


def test_a_run_begun_by_the_cell_that_shows_it_is_seen(lab):
    """The page did not see the clock being switched on."""
    page = lab(MAKE_LONG.replace("\npanel\n", "\npanel.train()\npanel\n"))
    page.run_cell(0)
    panel = page.panel("training")
    trains(page, panel)
    first = page.picture(panel)
    assert page.until(lambda: page.picture(panel) != first)


def test_an_interrupted_kernel_ends_the_run_and_keeps_what_is_done(lab):
    """The button with the square, while a cell waits for the training."""
    page = lab(
        MAKE_LONG,
        "panel.train(block=True)\nprint('went on')",
        "print(panel.run.state, len(panel.result.loss) > 0, panel.start.disabled)",
    )
    page.run_cell(0)
    panel = page.panel("training")
    page.start_cell(1)
    # The cell holds the kernel, and still the page is told.
    trains(page, panel)
    page.until(lambda: len(page.cell(0).locator("img").all()) > 0)
    page.page.locator("[data-command='notebook:interrupt-kernel'], "
                      "[data-jp-item-name='interrupt'] button").first.click()  # fmt: skip
    prompt = page.cell(1).locator(".jp-InputPrompt").first
    page.until(lambda: "*" not in prompt.inner_text(), "the cell to end")
    # No traceback: the run was what was interrupted, and its picture stays below the cell.
    assert page.cell(1).locator(".jp-OutputArea-output pre").first.inner_text() == "went on\n"
    assert page.cell(1).locator(".jp-OutputArea-output img").count() == 1
    assert page.run_cell(2) == "stopped True False"
    page.button(panel, "Continue").click()
    page.until(lambda: "training" in status(panel))


def test_real_fashion_mnist_is_trained(lab, artefacts, fashion_mnist_folder):
    page = lab(
        MAKE.format(dataset="fashion_mnist", batch_size=256),
        "panel.epochs.value = 1",
        "print(panel.result.test_accuracy[-1] > 0.7)",
    )
    page.run_cell(0)
    page.run_cell(1)
    panel = page.panel("training")
    page.button(panel, "Train").click()
    page.until(lambda: "finished" in message(panel))
    assert page.run_cell(2) == "True"
    page.page.screenshot(path=artefacts / "lab-fashion-mnist.png")
