"""A notebook in a browser: on JupyterLab, where its cells are run, and on Voila, as a page."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from playwright.sync_api import Locator, Page
from waiting import PATIENCE

CHROMIUM_NAMES = "chromium", "chromium-browser", "google-chrome"

# Messages of the hosts' own pages, which ask for things that there are not without a network.
_NOT_OURS = (
    "Failed to load resource",
    "getter for the shared module",
    "Content Security Policy",
    "@jupyterlab/",
    "/lab/extensions/",
    "preload",
)

_SERVERS_OWN = "WebSocketClosedError", "StreamClosedError", "list_kernels", "last_activity"


def chromium() -> str | None:
    """Where a browser is; None if there is none."""
    asked = os.environ.get("KERASLR_CHROMIUM")
    return asked or next((path for path in map(shutil.which, CHROMIUM_NAMES) if path), None)


def write_notebook(path: Path, cells: list[str]) -> Path:
    """A notebook with these code cells."""
    plain = {
        "cells": [
            {
                "cell_type": "code", "id": f"cell{index}", "metadata": {},
                "execution_count": None, "outputs": [], "source": source,
            }
            for index, source in enumerate(cells)
        ],
        "metadata": {
            "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }  # fmt: skip
    path.write_text(json.dumps(plain))
    return path


class Server:
    """A server of a folder's notebooks, in a process of its own.

    Attributes:
        folder: Its folder.
        log: What it and its kernels have printed.
    """

    def __init__(self, module: str, folder: Path, *options: str):
        self.folder, self.log_path = folder, folder / f"{module}.log"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._log = self.log_path.open("w")
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, *(o.format(port=self.port) for o in options)],
            cwd=folder, stdout=self._log, stderr=self._log, env=self._environment(),
        )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        # Settings of its own: no news, no questions, all cells in the page.
        settings = self.folder / "settings"
        for extension, values in {
            "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"},
        }.items():
            file = settings / "@jupyterlab" / f"{extension}.jupyterlab-settings"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(json.dumps(values))
        root = str(Path(__file__).parents[2])
        return {
            **os.environ,
            "JUPYTERLAB_SETTINGS_DIR": str(settings),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.folder / "workspaces"),
            "JUPYTER_RUNTIME_DIR": str(self.folder / "runtime"),
            "IPYTHONDIR": str(self.folder / "ipython"),
            "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }

    def wait(self, path: str) -> None:
        """Waits until it answers.

        Raises:
            TimeoutError: It does not; the error shows its log.
        """
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60).close()
                return
            time.sleep(0.2)
        raise TimeoutError(f"no answer from port {self.port}: {self.log[-2000:]}")

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def kernels(self) -> list[dict[str, Any]]:
        """What it says of its kernels; nothing while it cannot, as one comes or goes."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/kernels") as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            return []

    def end_kernels(self) -> None:
        """Ends them, and what trains in them."""
        for kernel in self.kernels():
            address = f"http://127.0.0.1:{self.port}/api/kernels/{kernel['id']}"
            urllib.request.urlopen(urllib.request.Request(address, method="DELETE")).close()

    def errors(self, since: int = 0) -> list[str]:
        """Tracebacks of the kernels; those of the server are not ours.

        It has some where a page has closed its connection, and where it is asked for its kernels,
        or when one of them was last active, while one of them comes or goes.
        """
        return [
            text
            for text in self.log[since:].split("Traceback (most recent call last)")[1:]
            if not any(known in text for known in _SERVERS_OWN)
        ]

    def close(self) -> None:
        """Ends it and its kernels."""
        self._process.terminate()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


class Watched:
    """A page whose complaints are kept."""

    def __init__(self, page: Page):
        self.page, self.complaints = page, []
        page.set_default_timeout(1000 * PATIENCE)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _console(self, message) -> None:
        if message.type == "error" and not any(part in message.text for part in _NOT_OURS):
            self.complaints.append(message.text)

    def panel(self, name: str) -> Locator:
        """The panel of that name, such as "schedule"."""
        return self.page.locator(f".keraslr-{name}-panel").first

    def button(self, panel: Locator, text: str) -> Locator:
        """The button that says just that."""
        return panel.locator("button", has_text=text).filter(visible=True).first

    def picture(self, panel: Locator) -> str:
        """The picture that the panel shows, as the page's address of it: another one if redrawn."""
        return panel.locator(".keraslr-picture").filter(visible=True).first.get_attribute("src")

    def until(self, wanted, what: str = ""):
        """Waits until a function's answer is true, and returns it."""
        end = time.monotonic() + PATIENCE
        while True:
            answer = wanted()
            if answer:
                return answer
            if time.monotonic() > end:
                raise AssertionError(f"still waiting for: {what or wanted}")
            self.page.wait_for_timeout(50)

    def stands_still(self, panel: Locator) -> bool:
        """Whether the panel's picture stays the same for as long as several slices take."""
        before = self.picture(panel)
        self.page.wait_for_timeout(2000)
        return self.picture(panel) == before

    def slide(self, panel: Locator, label: str, keys: int = 3, key: str = "ArrowRight") -> None:
        """Moves the slider of that label by the keyboard."""
        self.handle(panel, label).focus()
        for _ in range(keys):
            self.page.keyboard.press(key)

    def handle(self, panel: Locator, label: str) -> Locator:
        """The handle of the slider of that label."""
        named = self.page.locator("label", has_text=re.compile(f"^{re.escape(label)}$"))
        row = panel.locator(".widget-slider").filter(has=named)
        return row.filter(visible=True).first.locator(".noUi-handle").first


class LabPage(Watched):
    """A notebook in JupyterLab."""

    def open(self, server: Server, name: str) -> None:
        """Opens it; its kernel starts."""
        self.page.goto(f"http://127.0.0.1:{server.port}/lab/tree/{name}?reset")
        self.page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        self.page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").first.wait_for()
        # The page says so before it has a kernel, too.
        self.until(lambda: [each["execution_state"] for each in server.kernels()] == ["idle"])
        self.page.wait_for_timeout(500)

    def cell(self, index: int) -> Locator:
        """A code cell."""
        return self.page.locator(".jp-Notebook .jp-CodeCell").nth(index)

    def start_cell(self, index: int) -> None:
        """Runs a cell, and does not wait for it."""
        prompt = self.cell(index).locator(".jp-InputPrompt").first
        before = prompt.inner_text()

        def begun() -> bool:
            # The first keys can come before the notebook listens, or knows of its kernel.
            asked = self.page.locator(".jp-Dialog button", has_text="Select")
            if asked.count():
                asked.click()
            prompt.click()
            self.page.keyboard.press("Control+Enter")
            end = time.monotonic() + 2
            while prompt.inner_text() == before and time.monotonic() < end:
                self.page.wait_for_timeout(20)
            return prompt.inner_text() != before

        self.until(begun, f"cell {index} to begin")

    def run_cell(self, index: int) -> str:
        """Runs a cell to its end; returns the text that it printed."""
        prompt = self.cell(index).locator(".jp-InputPrompt").first
        before = prompt.inner_text()
        self.start_cell(index)

        def done() -> bool:
            shown = prompt.inner_text()
            return "*" not in shown and shown != before and "[ ]" not in shown

        self.until(done, f"cell {index} to end")
        texts = self.cell(index).locator(".jp-OutputArea-output pre")
        return "\n".join(texts.nth(i).inner_text() for i in range(texts.count())).strip()
