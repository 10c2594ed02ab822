"""The tables of the porting pages, and the values of their lines in the other libraries.

Needs only NumPy; a library is imported when one of its lines is run. keraslr is never imported: the
golden values must not depend on the code that they check.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

PAGES = Path(__file__).resolve().parents[2] / "docs" / "porting"

# Each library by the heading of its column, which is its usual name.
LIBRARIES = {
    "PyTorch": "torch",
    "transformers": "transformers",
    "optax": "optax",
    "timm": "timm",
    "Keras": "keras",
}

# The initial rate of every optimizer in the tables.
RATE = 0.1

_DEVIATION = re.compile(r"off by at most (\d[\d.e+-]*\d|\d)")


@dataclass(frozen=True)
class Line:
    """A row of a table.

    Attributes:
        library: Module of the expression `theirs`.
        theirs, ours: The two expressions.
        steps: Number of compared steps.
        remark: Remark of the page.
    """

    library: str
    theirs: str
    ours: str
    steps: int
    remark: str

    @property
    def deviation(self) -> float:
        """Largest difference that the remark allows; 0 for an exact port."""
        found = _DEVIATION.search(self.remark)
        return float(found.group(1)) if found else 0.0


def page(library: str) -> str:
    """Returns the text of a library's porting page."""
    names = {module: name for name, module in LIBRARIES.items()}
    return (PAGES / f"{names[library].lower()}.md").read_text(encoding="utf-8")


def lines() -> list[Line]:
    """Returns all rows of the tables of the porting pages that have a column `keraslr`."""
    return [line for library in LIBRARIES.values() for line in _lines(page(library))]


def _lines(text: str) -> Iterator[Line]:
    library = None
    for row in text.splitlines():
        if not row.startswith("|"):
            library = None
        elif not set(row) <= set("|-: "):  # the line below the headings
            cells = [cell.strip() for cell in row.strip("|").split(" | ")]
            if cells[1] == "keraslr":
                library = LIBRARIES[cells[0]]
            elif library:
                theirs, ours, steps, remark = cells
                steps_told = int(steps.replace(",", ""))
                yield Line(library, theirs.strip("`"), ours.strip("`"), steps_told, remark)


def importable() -> list[str]:
    """Returns the installed libraries."""
    return [name for name in LIBRARIES.values() if importlib.util.find_spec(name)]


def rates(line: Line) -> np.ndarray:
    """Returns the library's own rate in each step, computed in double precision."""
    return {
        "torch": _stepped,
        "transformers": _stepped,
        "timm": _stepped_with_time,
        "optax": _called_optax,
        "keras": _called_keras,
    }[line.library](line)


def schedules(library: str) -> list[str]:
    """Returns the names of all schedules of a library, to check that a page is complete."""
    match library:
        case "torch":
            module = importlib.import_module("torch.optim.lr_scheduler")
            return sorted(set(module.__all__) - {"LRScheduler"})
        case "transformers":
            kinds = importlib.import_module("transformers.trainer_utils").SchedulerType
            return sorted(kind.value for kind in kinds)
        case "timm":
            module = importlib.import_module("timm.scheduler")
            return sorted(n for n in vars(module) if n.endswith("Scheduler") and n != "Scheduler")
        case "optax":
            module = importlib.import_module("optax.schedules")
            own = ("optax.schedules._schedule", "optax.schedules._join")
            functions = inspect.getmembers(module, inspect.isfunction)
            return sorted(name for name, each in functions if each.__module__ in own)
        case "keras":
            module = importlib.import_module("keras.optimizers.schedules")
            classes = {name for name, _ in inspect.getmembers(module, inspect.isclass)}
            return sorted(classes - {"LearningRateSchedule"})
    raise ValueError(f"library must be one of {', '.join(LIBRARIES.values())}: {library!r}")


def version(library: str) -> str:
    """Returns the release of an installed library."""
    return importlib.metadata.version(library).partition("+")[0]


def _stepped(line: Line) -> np.ndarray:
    """Returns the rates of a torch scheduler, which steps after each update."""
    torch = importlib.import_module("torch")
    names = vars(torch.optim.lr_scheduler)
    if line.library == "transformers":
        names = vars(importlib.import_module("transformers.optimization"))
    optimizer = _torch_optimizer(torch)
    scheduler = _evaluated(line.theirs, names, optimizer=optimizer)
    seen = []
    for step in range(line.steps):
        if step:
            scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return np.array(seen, np.float64)


def _stepped_with_time(line: Line) -> np.ndarray:
    """Returns the rates of a timm scheduler, which receives the time of the next update."""
    optimizer = _torch_optimizer(importlib.import_module("torch"))
    names = vars(importlib.import_module("timm.scheduler"))
    scheduler = _evaluated(line.theirs, names, optimizer=optimizer)
    seen = []
    for step in range(line.steps):
        if step:
            scheduler.step(step)
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return np.array(seen, np.float64)


def _called_optax(line: Line) -> np.ndarray:
    jax = importlib.import_module("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        schedule = _evaluated(line.theirs, vars(importlib.import_module("optax")))
        return np.array([float(schedule(np.int64(step))) for step in range(line.steps)])
    finally:
        jax.config.update("jax_enable_x64", before)


def _called_keras(line: Line) -> np.ndarray:
    keras = importlib.import_module("keras")
    # A Keras schedule computes in the type of its rate; for a Python float that is float32.
    text = ast.unparse(_Doubles().visit(ast.parse(line.theirs, mode="eval")))
    schedule = _evaluated(text, vars(keras.optimizers.schedules), float64=np.float64)
    seen = [keras.ops.convert_to_numpy(schedule(np.int64(step))) for step in range(line.steps)]
    assert {str(rate.dtype) for rate in seen} == {"float64"}
    return np.array(seen)


class _Doubles(ast.NodeTransformer):
    """Replaces 0.1 with float64(0.1)."""

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, float):
            return node
        return ast.Call(ast.Name("float64", ast.Load()), [node], [])


def _torch_optimizer(torch: Any) -> Any:
    # The rate is a Python float and not a tensor, so torch computes in double precision.
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=RATE, momentum=0.9)


def _evaluated(text: str, names: dict[str, Any], **more: Any) -> Any:
    """Evaluates an expression of this project's own tables, with the names of a library."""
    return eval(text, {**names, **more})
