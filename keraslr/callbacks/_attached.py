"""State that a callback keeps with an optimizer, so that every checkpoint contains it.

Keras saves an optimizer's own variables by their number, and skips them all where the count is
another. So nothing is added to them: what a callback keeps is a layer, set as an attribute of the
optimizer. Keras finds it there, and it saves its values under their names. It has to be attached
before a checkpoint is restored; `set_model` is early enough for `BackupAndRestore`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import keras
import numpy as np

from keraslr.callbacks._groups import Group
from keraslr.callbacks._jax_state import leave_out_of_files, no_longer_pass, pass_through


def read(value: Any) -> np.ndarray:
    """Returns the value of a variable or tensor as a NumPy array."""
    # Through a tensor: converting a variable makes NumPy 2 warn.
    return keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(value))


class Attached(keras.layers.Layer):
    """Named numbers that live with an optimizer, outside of its numbered variables.

    A kind whose state is in the optimizer's config too, for `.keras` files, has `configured`, its
    inverse `from_configured`, and `attribute`, the name of the optimizer's attribute.
    """

    kinds: ClassVar[dict[str, Any]] = {}

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        if hasattr(cls, "from_configured"):
            Attached.kinds[cls.__name__] = cls

    def __init__(self) -> None:
        super().__init__(trainable=False, dtype="float32")
        self._saved: dict[str, keras.Variable] = {}

    def number(self, name: str, value: Any, dtype: str, *, saved: bool = True) -> keras.Variable:
        """Makes a variable; `value` may be an array."""
        variable = keras.Variable(
            np.asarray(value), dtype=dtype, trainable=False, name=name,
            aggregation="only_first_replica",
        )  # fmt: skip
        if saved:
            self._saved[name] = variable
        return variable

    def save_own_variables(self, store: Any) -> None:
        """Writes the numbers by their names."""
        for name, variable in self._saved.items():
            store[name] = read(variable)

    def load_own_variables(self, store: Any) -> None:
        """Reads them; what a checkpoint does not have stays as it is."""
        names = set(store.keys())
        for name, variable in self._saved.items():
            if name in names:
                variable.assign(np.asarray(store[name]))


def attach(group: Group, name: str, state: Attached) -> None:
    """Makes `state` part of what is saved with the group's optimizer."""
    optimizer = group.optimizer
    former = getattr(optimizer, name, None)
    if former is state:
        return
    setattr(optimizer, name, state)
    if keras.backend.backend() == "jax":
        if former is not None:
            no_longer_pass(optimizer, former.variables)
        pass_through(optimizer, state.variables)
        for saved in (optimizer, *group.around):
            leave_out_of_files(saved, kept_with)


def kept_with(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """Returns the variables that callbacks keep with an optimizer."""
    return [variable for state in states_of(optimizer) for variable in state.variables]


def states_of(optimizer: keras.Optimizer) -> list[Attached]:
    """Returns what callbacks keep with an optimizer, in the order in which it was attached."""
    return [each for each in vars(optimizer).values() if isinstance(each, Attached)]
