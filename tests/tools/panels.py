"""Helpers for tests of the panels: reading texts, and ticking as a page does."""

from __future__ import annotations

import base64
import html
import re
import time

from waiting import PATIENCE

from widgets import TrainingPanel


def text(widget):
    """Returns the text of an HTML widget."""
    return html.unescape(re.sub("<[^>]*>", "", widget.value))


def downloads(links):
    """Returns the texts of the files that an HTML widget of links offers, by name."""
    pattern = r'download="([^"]*)" href="data:[^;]*;base64,([^"]*)"'
    found = re.findall(pattern, links.value)
    return {name: base64.b64decode(data).decode() for name, data in found}


def is_picture(widget):
    return bytes(widget.value).startswith(b"\x89PNG")


def ticking(panel, until):
    """Ticks as a page would, until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert time.monotonic() < end, f"timeout; the panel says: {text(panel.message)}"
        time.sleep(0.02)
        if panel.clock.on:
            panel._tick()
    if panel.clock.on:
        panel._tick()


def ended(panel):
    ticking(panel, lambda: not panel.under_way)


def at_step(panel, step):
    """Ticks until the run has done N steps."""
    ticking(panel, lambda: len(panel.run.result.loss) >= step)


def learning(**settings):
    """Returns a training panel whose LeNet learns the digits."""
    panel = TrainingPanel(**{"dataset": "digits", "epochs": 2, "batch_size": 64} | settings)
    panel.form.controls["initial_learning_rate"].value = 0.05
    return panel
