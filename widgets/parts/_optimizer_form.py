"""The controls that choose an optimizer and its parameters."""

from __future__ import annotations

from typing import Any

import ipywidgets

from keraslr.catalog import DESCENT_OPTIMIZERS
from widgets.parts._controls import number, shared, slider
from widgets.parts._panel import dispose

# Names of the classes, each once: "momentum" is SGD with an argument.
OPTIMIZER_CLASSES = tuple(dict.fromkeys(each.cls.__name__ for each in DESCENT_OPTIMIZERS.values()))


class OptimizerForm(ipywidgets.VBox):
    """A dropdown of the optimizers, and a slider for each parameter.

    Attributes:
        optimizer: Dropdown of names.
        controls: Sliders by parameter name.
    """

    def __init__(self, optimizer: str):
        self.controls: dict[str, ipywidgets.Widget] = {}
        self.optimizer = ipywidgets.Dropdown(
            options=list(DESCENT_OPTIMIZERS), value=optimizer, **shared("optimizer")
        )
        super().__init__(layout={"width": "100%"})
        self.optimizer.observe(self._choose, "value")
        self._choose()

    @property
    def settings(self) -> tuple[str, dict[str, Any]]:
        """Name and arguments of the optimizer's class, as `keraslr.training.Run` takes them."""
        entry = DESCENT_OPTIMIZERS[self.optimizer.value]
        values = {name: number(widget) for name, widget in self.controls.items()}
        return entry.cls.__name__, {**entry.fixed, **values}

    def _choose(self, _: Any = None) -> None:
        entry = DESCENT_OPTIMIZERS[self.optimizer.value]
        old = tuple(self.controls.values())
        self.controls = {
            name: slider(value, **shared(name)) for name, value in entry.values.items()
        }
        self.children = [self.optimizer, *self.controls.values()]
        dispose(*old)
