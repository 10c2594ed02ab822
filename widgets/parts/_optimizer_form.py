"""The controls that choose an optimizer and its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets

from keraslr.catalog import DESCENT_OPTIMIZERS
from widgets.parts._controls import number, shared, slider
from widgets.parts._panel import dispose

# Names of the classes, each once: "momentum" is SGD with an argument.
OPTIMIZER_CLASSES = tuple(dict.fromkeys(each.cls.__name__ for each in DESCENT_OPTIMIZERS.values()))


# The choice of the optimizer that a model was compiled with.
AS_COMPILED = "as compiled"


def with_compiled(names: Sequence[str], compiled: str | None) -> list[tuple[str, str]]:
    """Returns the options of a dropdown: the compiled optimizer first, if there is one."""
    first = [] if compiled is None else [(f"{AS_COMPILED} ({compiled})", AS_COMPILED)]
    return [*first, *((name, name) for name in names)]


class OptimizerForm(ipywidgets.VBox):
    """A dropdown of the optimizers, and a slider for each parameter.

    Attributes:
        optimizer: Dropdown of names.
        controls: Sliders by parameter name.

    Args:
        optimizer: Name to begin with, if the model does not bring its optimizer.
        compiled: Name of the optimizer that the model was compiled with, which is the first choice;
            None for no such choice.
    """

    def __init__(self, optimizer: str, compiled: str | None = None):
        self.controls: dict[str, ipywidgets.Widget] = {}
        self.optimizer = ipywidgets.Dropdown(
            options=with_compiled(list(DESCENT_OPTIMIZERS), compiled),
            value=optimizer if compiled is None else AS_COMPILED, **shared("optimizer"),
        )  # fmt: skip
        super().__init__(layout={"width": "100%"})
        self.optimizer.observe(self._choose, "value")
        self._choose()

    @property
    def settings(self) -> tuple[str | None, dict[str, Any]]:
        """Name and arguments of the optimizer's class, as `keraslr.training.Run` takes them."""
        if self.optimizer.value == AS_COMPILED:
            return None, {}
        entry = DESCENT_OPTIMIZERS[self.optimizer.value]
        values = {name: number(widget) for name, widget in self.controls.items()}
        return entry.cls.__name__, {**entry.fixed, **values}

    def _choose(self, _: Any = None) -> None:
        entry = DESCENT_OPTIMIZERS.get(self.optimizer.value)
        old = tuple(self.controls.values())
        values = {} if entry is None else entry.values
        self.controls = {name: slider(value, **shared(name)) for name, value in values.items()}
        self.children = [self.optimizer, *self.controls.values()]
        dispose(*old)
