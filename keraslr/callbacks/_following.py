"""A callback that acts on optimizers, and follows the model to new ones."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import keras

from keraslr.callbacks._fit import arguments_of_fit
from keraslr.callbacks._groups import Group, groups_for
from keraslr.callbacks._rate import adopt_states


class Following(keras.callbacks.Callback):
    """Base of the callbacks that act on a model's optimizers.

    What it keeps is kept with the optimizers, so that a copy of a callback that was used, by
    `copy.deepcopy` or `pickle`, is one that was not: it has the arguments, and neither model nor
    state.

    Attributes:
        optimizer: The argument of that name.
        all_by_default: Whether no such argument means all optimizers of a model with several.
    """

    all_by_default = False

    def __init__(self, optimizer: Any = None) -> None:
        super().__init__()
        self.optimizer = optimizer
        self._groups: list[Group] = []
        # What the model's optimizers were when the groups were found.
        self._known: Any = None

    def set_model(self, model: Any) -> None:
        """Finds the model's optimizers, and attaches to them what is kept there."""
        super().set_model(model)
        with _in_scope(model):
            self._find_groups()
            self._attach(former=[])

    def _find_groups(self) -> None:
        kind = type(self).__name__
        found = groups_for(self._model, kind, self.optimizer, every=self.all_by_default)
        for group in found:
            adopt_states(group)
        self._groups = found
        self._known = self._now()

    def _attach(self, former: list[Group]) -> None:
        """Attaches the state to the groups; `former` are those before the model was compiled."""

    def _now(self) -> Any:
        # Not through `self.model`: under JAX that moves the state of the training to the model.
        return getattr(self._model, "optimizer", None)

    def _follow(self) -> bool:
        """Goes over to the model's new optimizers, if it was compiled since the last look."""
        if self._model is None:
            return False
        if self._now() is self._known:
            if getattr(self._model, "train_function", True) is None:
                self._make_function()
            return False
        former = self._found
        with _in_scope(self._model):
            new = self._now()
            if isinstance(new, keras.Optimizer) and not new.built and self._model.built:
                # Keras's fit does so before its first step; under JAX a step cannot.
                new.build(self._model.trainable_variables)
            self._find_groups()
            self._attach(former=former)
        self._make_function()
        return True

    def _make_function(self) -> None:
        """Makes what Keras's `fit` calls in each step: compiling has removed it."""
        if arguments_of_fit(self._model) is not None:
            self._model.make_train_function(force=True)

    @property
    def _found(self) -> list[Group]:
        self.model  # noqa: B018 (under JAX this brings the variables up to date)
        return self._groups

    def __getstate__(self) -> dict[str, Any]:
        state = dict(self.__dict__)
        state.update(self._unused())
        return state

    def _unused(self) -> dict[str, Any]:
        """Returns the attributes that belong to a fit, as they are before one."""
        return {"_model": None, "params": None, "_groups": [], "_known": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        new = type(self).__new__(type(self))
        memo[id(self)] = new
        for name, value in self.__getstate__().items():
            # An optimizer that is named by itself is the same one for the copy.
            shared = name in ("optimizer", "groups")
            new.__dict__[name] = value if shared else copy.deepcopy(value, memo)
        return new


def _in_scope(model: Any) -> contextlib.AbstractContextManager[Any]:
    """Returns the context for variables of which all replicas of a model have one together."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def retrace(model: Any) -> None:
    """Has the next step of `fit` compiled anew: one that was compiled contains the old rate."""
    if getattr(model, "train_function", None) is not None:
        model.make_train_function(force=True)
