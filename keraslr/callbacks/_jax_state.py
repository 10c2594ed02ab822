"""Passes the state that a callback keeps with an optimizer through JAX's training step.

There a step is a function of what it is given: the model's variables and the optimizer's numbered
ones. Any other variable is a constant in it, and what it writes to one is lost. So what callbacks
keep is numbered there as well, but in memory only. In files it stands under its names, as with the
other backends, and the numbers are those of an optimizer without callbacks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras


def pass_through(optimizer: keras.Optimizer, variables: Iterable[keras.Variable]) -> None:
    """Has the steps of the optimizer read and write these variables."""
    known = {id(variable) for variable in optimizer.variables}
    for variable in variables:
        if id(variable) not in known:
            optimizer._track_variable(variable)


def no_longer_pass(optimizer: keras.Optimizer, variables: Iterable[keras.Variable]) -> None:
    """Reverses `pass_through`."""
    for variable in variables:
        optimizer._untrack_variable(variable)


def leave_out_of_files(
    saved: keras.Optimizer, kept_with: Callable[[keras.Optimizer], list[keras.Variable]]
) -> None:
    """Has `saved` not number the variables that callbacks keep with it or with those inside it."""
    if getattr(saved.save_own_variables, "leaves_out", False):
        return
    save, load = saved.save_own_variables, saved.load_own_variables

    def without() -> contextlib.ExitStack:
        stack = contextlib.ExitStack()
        for optimizer in _all_in(saved):
            stack.enter_context(_without(optimizer, kept_with(optimizer)))
        return stack

    def save_own_variables(store: Any) -> None:
        with without():
            save(store)

    def load_own_variables(store: Any) -> None:
        with without():
            load(store)

    save_own_variables.leaves_out = True  # type: ignore[attr-defined]
    saved.save_own_variables = save_own_variables
    saved.load_own_variables = load_own_variables


def _all_in(optimizer: keras.Optimizer) -> list[keras.Optimizer]:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return [optimizer, *([inner] if inner is not optimizer else []),
            *getattr(inner, "optimizers", [])]  # fmt: skip


@contextlib.contextmanager
def _without(optimizer: keras.Optimizer, kept: Iterable[keras.Variable]) -> Iterator[None]:
    """Removes variables from the optimizer's list, and later restores the list.

    A compiled step knows them by their places, so that they must be the same ones again.
    """
    apart = {id(variable) for variable in kept}
    everything = list(optimizer._variables)
    optimizer._variables[:] = [each for each in everything if id(each) not in apart]
    try:
        yield
    finally:
        optimizer._variables[:] = everything
