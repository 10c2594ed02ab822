"""The optimizers of descents and panels, with their parameters and sensible values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import keras
import numpy as np

from keraslr._parameters import Number
from keraslr.catalog._ranges import Range
from keraslr.optimizers import Yogi

# Values that the optimizers accept; the ranges of the table are sensible values.
_DECAY = Number("", float, at_least=0, below=1)
_POSITIVE = Number("", float, above=0)
_RULES = {
    "momentum": Number("", float, at_least=0, at_most=1),
    "rho": _DECAY,
    "beta_1": _DECAY,
    "beta_2": _DECAY,
    "epsilon": _POSITIVE,
    "initial_accumulator_value": Number("", float, at_least=0),
    "weight_decay": Number("", float, at_least=0),
}

# Keras casts these to the dtype of the weights by way of float32 if they are Python's numbers, so
# that 0.9 becomes 0.8999999762. NumPy's it takes as they are.
_ROUNDED = frozenset({"momentum", "beta_1", "beta_2", "weight_decay"})


@dataclasses.dataclass(frozen=True)
class DescentOptimizer:
    """An optimizer and its parameters.

    Attributes:
        name: Unique name.
        cls: Its class.
        fixed: Arguments that make the class this optimizer.
        values: Sensible values by parameter name, for controls; the defaults are Keras's own, but
            for the momentum of SGD, which there is none.
        learning_rate: Sensible rates on the objectives.
    """

    name: str
    cls: type[keras.optimizers.Optimizer]
    fixed: Mapping[str, Any]
    values: Mapping[str, Range]
    learning_rate: Range

    def validated(self, arguments: Mapping[str, Any]) -> dict[str, float]:
        """Returns the value of every parameter: the given ones, and defaults for the others.

        Raises:
            TypeError: A parameter is unknown, or no number; the error names it.
            ValueError: A parameter is not what it has to be; the error names it.
        """
        for name, value in arguments.items():
            if name not in self.values:
                known = ", ".join(self.values) or "none"
                raise TypeError(
                    f"arguments of {self.name} must be among its parameters: {known}. "
                    f"Received: {name}={value!r}"
                )
        defaults = {name: value.default for name, value in self.values.items()}
        return {
            name: _RULES[name].validated(name, value)
            for name, value in {**defaults, **arguments}.items()
        }

    def build(self, learning_rate: Any, **arguments: Any) -> keras.optimizers.Optimizer:
        """Returns a new optimizer with these arguments, and defaults for the others.

        Raises:
            TypeError, ValueError: An argument is wrong; the error names it.
        """
        values = self.validated(arguments)
        # With a fixed name: Keras's default name is numbered through the whole program.
        optimizer = self.cls(learning_rate=learning_rate, name="descent", **self.fixed, **values)
        for name in _ROUNDED.intersection(values):
            setattr(optimizer, name, np.float64(values[name]))
        return optimizer


_MOMENTUM = Range(0.0, 0.99, 0.9)
_EPSILON = Range(1e-10, 1e-2, 1e-7, log=True)
_ADAM = {"beta_1": Range(0.0, 0.99, 0.9), "beta_2": Range(0.5, 0.9999, 0.999), "epsilon": _EPSILON}
_RATE = Range(1e-4, 2.0, 0.1, log=True)


def _optimizer(
    name: str, cls: type, rate: Range, fixed: Mapping[str, Any] | None = None, /, **values: Range
) -> DescentOptimizer:
    return DescentOptimizer(
        name, cls, MappingProxyType(dict(fixed or {})), MappingProxyType(values), rate
    )


_OPTIMIZERS = (
    _optimizer("SGD", keras.optimizers.SGD, _RATE),
    _optimizer("momentum", keras.optimizers.SGD, _RATE, momentum=_MOMENTUM),
    _optimizer("Nesterov", keras.optimizers.SGD, _RATE, {"nesterov": True}, momentum=_MOMENTUM),
    _optimizer(
        "Adagrad", keras.optimizers.Adagrad, Range(1e-3, 5.0, 0.4, log=True),
        initial_accumulator_value=Range(0.0, 1.0, 0.1), epsilon=_EPSILON,
    ),
    _optimizer(
        "RMSprop", keras.optimizers.RMSprop, _RATE,
        rho=Range(0.5, 0.999, 0.9), momentum=Range(0.0, 0.99, 0.0), epsilon=_EPSILON,
    ),
    # Its step begins at sqrt(epsilon), so that rates that suit others hardly move it.
    _optimizer(
        "Adadelta", keras.optimizers.Adadelta, Range(0.1, 1000.0, 50.0, log=True),
        rho=Range(0.5, 0.999, 0.95), epsilon=_EPSILON,
    ),
    _optimizer("Adam", keras.optimizers.Adam, _RATE, **_ADAM),
    _optimizer(
        "AdamW", keras.optimizers.AdamW, _RATE, **_ADAM, weight_decay=Range(0.0, 0.5, 0.004)
    ),
    _optimizer("Nadam", keras.optimizers.Nadam, _RATE, **_ADAM),
    _optimizer("AMSGrad", keras.optimizers.Adam, _RATE, {"amsgrad": True}, **_ADAM),
    _optimizer("Adamax", keras.optimizers.Adamax, _RATE, **_ADAM),
    _optimizer(
        "Lion", keras.optimizers.Lion, Range(1e-4, 1.0, 0.05, log=True),
        beta_1=Range(0.01, 0.99, 0.9), beta_2=Range(0.5, 0.9999, 0.99),
    ),
    _optimizer(
        "Yogi", Yogi, _RATE,
        **{**_ADAM, "epsilon": Range(1e-10, 1e-1, 1e-3, log=True)},
        initial_accumulator_value=Range(0.0, 1.0, 1e-6),
    ),
)  # fmt: skip

DESCENT_OPTIMIZERS: Mapping[str, DescentOptimizer] = MappingProxyType(
    {each.name: each for each in _OPTIMIZERS}
)
