"""The layers ("floors") of the project, from the lowest: which module may import which.

A file may import from its own floor and from lower floors. Run as a program, this file prints the
table that CONTRIBUTING shows.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


class Floor(NamedTuple):
    """Modules and packages on the same floor, and their purpose."""

    rooms: tuple[str, ...]
    about: str


FLOORS = (
    Floor(
        (
            "keraslr._version",
            "keraslr._parameters",
            "keraslr._environment",
            "keraslr._files",
            "keraslr._tables",
            "keraslr._chart_data",
        ),
        "what everything needs: how a value is declared and checked, versions and backend, whole "
        "files, tables as text, the data that charts draw",
    ),
    Floor(("keraslr.schedules",), "the mathematics; knows Keras and nothing else"),
    Floor(
        ("keraslr.optimizers", "keraslr.callbacks"),
        "what training needs of it: momentum schedules, the plateau rule, the rate applied",
    ),
    Floor(("keraslr.catalog",), "every strategy once, with sensible values and guidance"),
    Floor(
        (
            "keraslr.advice",
            "keraslr.checks",
            "keraslr.summary",
            "keraslr.scaling",
            "keraslr.smoothing",
            "keraslr.snippets",
            "keraslr.objectives",
            "keraslr.descent",
            "keraslr.datasets",
            "keraslr.models",
        ),
        "what can be said about a schedule before it runs and how it is written as code; what is "
        "descended on and what is trained",
    ),
    Floor(
        ("keraslr.plotting",),
        "pictures of data: a function makes a figure, a chart keeps one to redraw",
    ),
    Floor(("keraslr.problems",), "what is trained: a compiled model and its data"),
    Floor(("keraslr.training",), "one run, on one device or several, and one that is steered"),
    Floor(("keraslr.jobs",), "many runs: which are missing, where they run, where they are kept"),
    Floor(
        ("keraslr.range_test", "keraslr.comparison"),
        "the rate to begin with; several schedules trained with several seeds",
    ),
    Floor(("keraslr.published",), "the published comparisons: data, runners, verdicts, report"),
    Floor(
        ("keraslr", "keraslr.cli", "keraslr.__main__"),
        "what users import, and the command line",
    ),
    Floor(("widgets.parts",), "what panels are made of"),
    Floor(
        (
            "widgets.schedule",
            "widgets.advice",
            "widgets.descent",
            "widgets.smoothing",
            "widgets.training",
            "widgets.comparison",
            "widgets.live_plot",
        ),
        "the panels, and the picture of a fit",
    ),
    Floor(("widgets.app", "widgets"), "all panels in one page"),
)


def table() -> str:
    """Returns the table of the floors, as CONTRIBUTING shows it."""
    lines = ["| floor | what is there |", "|---|---|"]
    for floor in FLOORS:
        rooms = ", ".join(f"`{room}`" for room in floor.rooms)
        lines.append(f"| {rooms} | {floor.about} |")
    return "\n".join(lines) + "\n"


def floor_of(module: str, floors: Iterable[Floor] = FLOORS) -> int | None:
    """Returns the floor of a module: that of the longest name in the table that contains it.

    A top-level package, such as `keraslr`, means only its own file: each module inside has its own
    entry in the table.
    """
    places = {room: n for n, floor in enumerate(floors) for room in floor.rooms}
    if module in places:
        return places[module]
    while "." in (module := module.rpartition(".")[0]):
        if module in places:
            return places[module]
    return None


def files(root: Path = ROOT, packages: Iterable[str] = ("keraslr", "widgets")) -> dict[str, Path]:
    """Returns every file of the packages by the name of its module."""
    found = {}
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            *folders, name = path.relative_to(root).with_suffix("").parts
            found[".".join(folders if name == "__init__" else [*folders, name])] = path
    return found


def imports(modules: Mapping[str, Path]) -> dict[str, dict[str, int]]:
    """Returns the modules that each module imports, with the line of the first such import.

    All imports count, also inside functions and for type checkers. An import of a name that a
    package's `__init__` defines or imports counts as an import of that file; that Python also loads
    the parent packages of a module does not count.
    """
    return {
        module: _imported(ast.parse(path.read_text(encoding="utf-8")), module, path, modules)
        for module, path in modules.items()
    }


def _imported(
    tree: ast.Module, module: str, path: Path, modules: Mapping[str, Path]
) -> dict[str, int]:
    found: dict[str, int] = {}
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                source = ".".join(parts + ([source] if source else []))
            inner = [f"{source}.{each.name}" for each in node.names]
            names = [name if name in modules else source for name in inner]
        else:
            continue
        for name in names:
            # A name from the same file, as in an `__init__`, is not an import.
            if name in modules and name != module:
                found[name] = min(node.lineno, found.get(name, node.lineno))
    return found


def circles(graph: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Returns sets of modules that import each other, directly or through other modules."""
    reached = {module: _reached(module, graph) for module in graph}
    found = {
        tuple(sorted(other for other in reached[module] if module in reached[other]))
        for module in graph
    }
    return sorted(map(list, found - {()}))


def _reached(module: str, graph: Mapping[str, Iterable[str]]) -> set[str]:
    found: set[str] = set()
    waiting = [module]
    while waiting:
        for other in graph[waiting.pop()]:
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


if __name__ == "__main__":
    print(table(), end="")
