"""The documentation: does it run, is it complete, and does it build?"""

from __future__ import annotations

import contextlib
import doctest
import html.parser
import importlib
import io
import itertools
import pkgutil
import re
import shlex
import subprocess
import sys
import types
import urllib.parse
import zlib
from pathlib import Path
from typing import NamedTuple

import keras
import pytest

import keraslr
import widgets
from keraslr.cli import main

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


class Fence(NamedTuple):
    """A block of a page, and what the page says that it prints: None if it says nothing."""

    line: int
    language: str
    code: str
    printed: str | None


def fences(page):
    """All blocks but those that are the answer to the one before them."""
    text = page.read_text(encoding="utf-8")
    blocks = list(re.finditer(r"^```(.*)\n((?:.*\n)*?)```\n", text, re.MULTILINE))
    assert len(blocks) == text.count("```") / 2, f"{page.name}: a fence is not closed"
    answered = None
    for block, following in itertools.zip_longest(blocks, blocks[1:]):
        if block is answered:
            continue
        if following and following[1] == "text" and following.start() == block.end():
            answered = following
        line = text.count("\n", 0, block.start()) + 2
        yield Fence(line, block[1], block[2], answered[2] if answered is following else None)


def outcome(page, fence, namespace):
    """What a block prints; it is run as Python, or as a command of keraslr's."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        if fence.language == "python":
            # As deep as the line is in the page, so that a traceback shows it.
            code = "\n" * (fence.line - 1) + fence.code
            exec(compile(code, page, "exec"), namespace)
        else:
            for line in fence.code.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "keraslr"
                with contextlib.suppress(SystemExit):  # argparse leaves so after --help
                    assert main(arguments) == 0
    return printed.getvalue()


def words(text):
    # Python 3.13 names the value of an option once, after the last of its spellings.
    return re.sub(r"(--[\w-]+) [A-Z]+, (?=--)", r"\1, ", text).split()


def names(pages):
    return [str(page.relative_to(DOCS)) for page in pages]


WITH_CODE = [
    page
    for page in PAGES
    if any(each.language == "python" or each.printed is not None for each in fences(page))
]


@pytest.mark.parametrize("page", WITH_CODE, ids=names(WITH_CODE))
def test_examples_of_a_page_print_what_it_says(page, tmp_path, monkeypatch):
    """From top to bottom in one program. Line breaks and spaces may differ."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    namespace = {"__name__": "__main__"}
    for fence in fences(page):
        if "MultiOptimizer" in fence.code and not hasattr(keras.optimizers, "MultiOptimizer"):
            continue  # Keras has none yet
        if fence.language == "python" or fence.printed is not None:
            printed = outcome(page, fence, namespace)
            assert words(printed) == words(fence.printed or ""), f"{page.name}:{fence.line}"


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_blocks_are_of_a_kind_that_is_tested(page):
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for fence in fences(page):
        assert fence.language in ("python", "sh")
        if fence.language == "sh" and fence.printed is None:
            # Not run, since these take long; but they are commands that there are.
            for line in fence.code.splitlines():
                program, command, *_ = line.split()
                assert program in ("make", "keraslr")
                assert command in (targets[1] if program == "make" else "reproduce compare").split()


def test_pages_hold_many_examples():
    found = [fence for page in PAGES for fence in fences(page)]
    assert sum(fence.language == "python" for fence in found) >= 40
    assert sum(fence.printed is not None for fence in found) >= 35


# The names. Those of keraslr are run as doctests where its values are tested.

PANEL_MODULES = [module.name for module in pkgutil.iter_modules(widgets.__path__, "widgets.")]


@pytest.mark.parametrize("name", PANEL_MODULES)
def test_examples_in_the_panels_docstrings_are_true(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0
    assert result.attempted >= (module.__doc__ or "").count(">>>")


def public_modules():
    found = pkgutil.walk_packages(keraslr.__path__, "keraslr.")
    own = [each.name for each in found if "._" not in each.name]
    return [importlib.import_module(name) for name in ("keraslr", *own, "widgets")]


def resolved(path):
    """The object of a dotted name."""
    module, _, name = path.rpartition(".")
    if not module:
        return importlib.import_module(path)
    value = getattr(resolved(module), name, None)
    return importlib.import_module(path) if value is None else value


API = "\n".join(page.read_text(encoding="utf-8") for page in sorted((DOCS / "api").glob("*.md")))
SHOWN = re.findall(r"^::: (\S+)$", API, re.MULTILINE)


@pytest.mark.parametrize("module", public_modules(), ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module):
    shown = {id(resolved(path)) for path in SHOWN}
    missing = []
    for name in module.__all__:
        value = getattr(module, name)
        if isinstance(value, types.ModuleType) or id(value) in shown:
            continue
        # A table or another value without a docstring of its own: the pages name it.
        documented = isinstance(value, type | types.FunctionType)
        if documented or f"`{module.__name__}.{name}`" not in API:
            missing.append(name)
    assert missing == []


def test_the_reference_shows_public_names_alone():
    """Each by its module or package, or as one of its attributes; nothing that is not offered."""
    offered = {id(getattr(module, name)) for module in public_modules() for name in module.__all__}
    offered |= {id(module) for module in public_modules()}
    assert [path for path in SHOWN if id(resolved(path)) not in offered] == []


def test_the_reference_shows_each_name_once():
    assert len(SHOWN) > 100
    assert sorted(SHOWN) == sorted(set(SHOWN))


# The site.


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The pages as they are built, with warnings for errors."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


class Loaded(html.parser.HTMLParser):
    """The addresses that a browser fetches by itself when it opens a page, and its anchors."""

    def __init__(self, page):
        super().__init__()
        self.addresses, self.links, self.anchors = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors.add(given.get("id"))
        if tag == "a":
            self.links.append(given.get("href"))
        elif tag == "link" and given.get("rel") != "canonical":
            self.addresses.append(given.get("href"))
        self.addresses += [given[name] for name in ("src", "srcset", "data") if given.get(name)]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(site):
    built = {str(page.relative_to(site)) for page in site.rglob("*.html")}
    for page in PAGES:
        assert str(page.relative_to(DOCS).with_suffix(".html")) in built
    assert not list(site.rglob("*.py"))


@pytest.mark.slow
def test_the_site_has_every_name_of_the_reference(site):
    """As other projects can link to it, and as the search finds it."""
    inventory = (site / "objects.inv").read_bytes().split(b"\n", 4)[4]
    known = {line.split()[0] for line in zlib.decompress(inventory).decode().splitlines()}
    assert sorted(set(SHOWN) - known) == []
    for page in (site / "api").rglob("*.html"):
        # As which an example would be shown that was not taken for one.
        assert "<blockquote" not in page.read_text(encoding="utf-8")
    # The declared arguments of a schedule, which are in no source file.
    schedules = (site / "api" / "schedules.html").read_text(encoding="utf-8")
    assert "Ticks from the initial rate to the lowest." in schedules


@pytest.mark.slow
def test_the_site_loads_nothing_from_another_host(site):
    for page in site.rglob("*.html"):
        for address in Loaded(page).addresses:
            parts = urllib.parse.urlsplit(address)
            assert parts.scheme in ("", "data"), f"{page}: {address}"
            assert not parts.netloc, f"{page}: {address}"
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)]*", text), style


@pytest.mark.slow
def test_links_within_the_site_lead_somewhere(site):
    pages = {page: Loaded(page) for page in site.rglob("*.html") if page.name != "404.html"}
    followed = 0
    for page, loaded in pages.items():
        for link in filter(None, loaded.links):
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = urllib.parse.unquote(parts.path)
            target = (page.parent / path).resolve() if path else page
            assert target.is_file(), f"{page}: {link}"
            if parts.fragment and target in pages:
                fragment = urllib.parse.unquote(parts.fragment)
                assert fragment in pages[target].anchors, f"{page}: {link}"
            followed += 1
    assert followed > 500
