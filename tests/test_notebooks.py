"""The notebooks: what is committed of them is true, and they run."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

import keraslr

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"


def load_execute():
    """`notebooks/execute.py`, which lies beside no package."""
    spec = importlib.util.spec_from_file_location("execute", FOLDER / "execute.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["execute"] = module
    spec.loader.exec_module(module)
    return module


execute = load_execute()
NAMES = execute.names()
STORIES = [name for name in NAMES if name != "app"]

# The same in all of them, so that who knows one knows all.
INSTALL = """\
# Does nothing where keraslr is there; in Colab it is installed, and no restart is needed.
import importlib.util

if importlib.util.find_spec("keraslr") is None:
    %pip install --quiet git+{repository}"""
SWITCH = 'QUICK = os.environ.get("KERASLR_QUICK") == "1"'
BADGE = (
    "[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{path}/blob/main/notebooks/{name}.ipynb)"
)

_MOST_BYTES = 2_000_000
_QUICK_SECONDS = 120


def repository() -> str:
    """Where the project lies, as its metadata say."""
    return re.search(r'^Repository = "(.*)"$', (ROOT / "pyproject.toml").read_text(), re.M)[1]


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def shown_text(cell) -> str:
    """What a cell prints, and the text of what it shows."""
    texts = []
    for output in cell.outputs:
        if output.output_type == "stream":
            texts.append(output.text)
        elif output.output_type in ("execute_result", "display_data"):
            data = output.data
            texts.append(data.get("text/markdown") or data.get("text/plain", ""))
    # Objects without a text of their own show where they lie.
    return re.sub(r"0x[0-9a-f]+", "0x", "\n".join(texts))


def is_same(cell) -> bool:
    """Whether its text is that of a quick run, too."""
    return "same" in cell.metadata.get("tags", [])


def test_there_are_the_notebooks_that_the_readme_lists():
    listed = re.findall(r"\(notebooks/(\w+)\.ipynb\)", (ROOT / "README.md").read_text())
    assert sorted(set(listed)) == NAMES
    assert "app" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_is_of_this_code(name):
    notebook = execute.read(name)
    ran = notebook.metadata["keraslr"]
    assert ran["version"] == keraslr.__version__
    assert ran["code"] == execute.digest(notebook), f"run notebooks/execute.py {name}"
    assert ran["quick"] is False
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == [*range(1, len(counts) + 1)]  # from top to bottom, all of them


@pytest.mark.parametrize("name", NAMES)
def test_what_is_committed_has_pictures_and_no_complaints(name):
    notebook = execute.read(name)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert not [each for each in outputs if each.output_type == "error"]
    assert not [each for each in outputs if each.get("name") == "stderr"]
    pictures = [
        kind for each in outputs for kind in each.get("data", {}) if kind.startswith("image/")
    ]
    assert len(pictures) >= (1 if name == "app" else 3)
    assert "Traceback" not in json.dumps(notebook)
    # Somebody's folders are nobody's business.
    assert not re.search(r"/(home|root|work|Users)/", json.dumps(notebook))
    assert (FOLDER / f"{name}.ipynb").stat().st_size < _MOST_BYTES


@pytest.mark.parametrize("name", NAMES)
def test_each_begins_and_ends_as_all_do(name):
    notebook = execute.read(name)
    title, *_ = notebook.cells
    url = repository()
    badge = BADGE.format(path=url.removeprefix("https://github.com/"), name=name)
    assert title.source.startswith("# ")
    assert badge in title.source.split("\n")
    install, *rest = code_cells(notebook)
    assert install.source == INSTALL.format(repository=url)
    assert install.outputs == []  # quiet
    if name == "app":
        return
    assert SWITCH in rest[0].source
    assert "show_versions()" in rest[0].source
    assert re.match(r"keraslr .*TensorFlow|keraslr .*tensorflow", shown_text(rest[0]))
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[-2:] == ["Exercises", "Sources"]
    sources = text.rpartition("## Sources")[2]
    assert re.search(r"https://(doi\.org|arxiv\.org|proceedings|papers|jmlr|www\.jmlr)", sources)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_kernels")
@pytest.mark.parametrize("name", STORIES)
def test_it_runs_in_quick_mode_and_prints_what_is_committed(name, tmp_path):
    committed = execute.read(name)
    done = execute.execute(committed, quick=True, seconds=_QUICK_SECONDS)
    assert done.metadata["keraslr"]["seconds"] < _QUICK_SECONDS
    compared = 0
    for before, now in zip(code_cells(committed), code_cells(done), strict=True):
        assert not [each for each in now.outputs if each.get("name") == "stderr"]
        if is_same(before):
            assert shown_text(now) == shown_text(before), before.source
            compared += 1
    assert compared >= 2


@pytest.mark.slow
@pytest.mark.usefixtures("quick_kernels")
def test_the_app_runs():
    done = execute.execute(execute.read("app"), quick=True, seconds=_QUICK_SECONDS)
    kinds = [kind for cell in code_cells(done) for each in cell.outputs for kind in each["data"]]
    assert "application/vnd.jupyter.widget-view+json" in kinds
    assert "image/png" in kinds
