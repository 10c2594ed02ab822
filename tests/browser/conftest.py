"""Fixtures for the browser, the servers and their pages."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.browser.pages import LabPage, Server, Watched, chromium, write_notebook


@pytest.fixture(scope="session")
def browser():
    """A real browser."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = chromium()
    if path is None:
        pytest.skip("there is no browser: install Chromium, or set KERASLR_CHROMIUM to its path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Folder of the screenshots."""
    folder = Path(os.environ.get("KERASLR_SCREENSHOTS") or "build/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder.absolute()


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory, browser, quick_kernels):
    """JupyterLab server on an empty folder."""
    folder = tmp_path_factory.mktemp("lab")
    server = Server(
        "jupyterlab", folder, "--no-browser", "--port={port}", "--allow-root",
        "--IdentityProvider.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True",
        f"--ServerApp.root_dir={folder}", "--ServerApp.port_retries=0",
    )  # fmt: skip
    server.wait("/api")
    yield server
    server.close()


@pytest.fixture
def lab(browser, lab_server, request, artefacts):
    """Returns a function that opens a notebook with some cells in JupyterLab."""
    pages = []

    def opened(*cells: str, width: int = 1000) -> LabPage:
        name = re.sub(r"\W+", "_", request.node.name) + f"{len(pages)}.ipynb"
        write_notebook(lab_server.folder / name, list(cells))
        # The file browser beside the notebook takes some of the width.
        page = LabPage(browser.new_page(viewport={"width": width + 420, "height": 1000}))
        pages.append(page)
        page.open(lab_server, name)
        return page

    before = len(lab_server.log)
    yield opened
    for index, page in enumerate(pages):
        page.page.screenshot(path=artefacts / f"{request.node.name}-{index}-end.png")
    complaints = [text for page in pages for text in page.complaints]
    for page in pages:
        page.page.close()
    lab_server.end_kernels()
    assert not complaints
    assert not lab_server.errors(before)


@pytest.fixture
def voila(browser, tmp_path, request, quick_kernels):
    """Returns a function that opens a Voila page made from a cell."""
    opened = []

    def page_of(cell: str, width: int = 1000) -> Watched:
        notebook = write_notebook(tmp_path / "page.ipynb", [cell])
        server = Server(
            "voila", tmp_path, str(notebook), "--no-browser", "--port={port}",
            "--Voila.ip=127.0.0.1", "--show_tracebacks=True",
        )  # fmt: skip
        page = Watched(browser.new_page(viewport={"width": width, "height": 1000}))
        opened.append((server, page))
        server.wait("/voila/static/voila.js")
        page.page.goto(f"http://127.0.0.1:{server.port}/")
        return page

    yield page_of
    for server, page in opened:
        page.page.close()
        server.close()
        assert not page.complaints
        assert not server.errors()
