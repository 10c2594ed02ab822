"""Optimizers that stand in for those of a model during a range test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keraslr.optimizers._of_a_model import groups_of, like, present_rate
from keraslr.optimizers._tracked import noting

_LossScale = keras.optimizers.LossScaleOptimizer


class StandIns:
    """Lends optimizers the attributes of others for a while.

    A train step may hold its optimizers anywhere, so they stay the objects that they are: during
    the test each one has the attributes of another optimizer, and afterwards its own dict again,
    untouched: its rate or schedule, its variables, and whether it was built.

    Args:
        variables: The model's trainable variables, for a `MultiOptimizer` that is not built.

    Attributes:
        applied: Optimizers that were applied, also while a step was traced.
    """

    def __init__(self, variables: Sequence[Any]):
        self._variables = variables
        self._own: dict[int, tuple[keras.Optimizer, dict[str, Any]]] = {}
        self._kept: list[tuple[Any, np.ndarray]] = []
        self._present: dict[int, float] = {}
        self.applied: list[keras.Optimizer] = []

    def begin_anew(self, optimizer: keras.Optimizer) -> list[keras.Optimizer]:
        """Makes an optimizer new, with rates that can be set; returns its groups."""
        return self._lend(optimizer, raised=True)

    def go_on(self, optimizer: keras.Optimizer) -> list[keras.Optimizer]:
        """Lets an optimizer go on from its state, at its own rate; returns its groups."""
        return self._lend(optimizer, raised=False)

    def present_rate(self, group: keras.Optimizer) -> float:
        """Returns the rate that a group had before the test."""
        return self._present[id(group)]

    def was_applied(self, group: keras.Optimizer) -> bool:
        """Returns whether a group was applied."""
        return any(group is each for each in self.applied)

    def put_back(self) -> None:
        """Gives all optimizers their own attributes and numbers again; may be called twice."""
        for optimizer, own in self._own.values():
            object.__setattr__(optimizer, "__dict__", own)
        for variable, value in self._kept:
            variable.assign(value)

    def _lend(self, optimizer: keras.Optimizer, raised: bool) -> list[keras.Optimizer]:
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        if inner is optimizer and not hasattr(optimizer, "optimizers"):
            self._lend_to_group(optimizer, raised)
            return [optimizer]
        if inner is not optimizer:
            self._lend(inner, raised)
        else:
            for each in self._groups_to_come(optimizer):
                self._lend_to_group(each, raised)
        if id(optimizer) not in self._own:
            self._lend_to_wrapper(optimizer)
        groups = groups_of(optimizer, self._variables)
        for each in groups:  # those that a function has just made
            self._lend_to_group(each, raised)
        return groups

    def _groups_to_come(self, optimizer: Any) -> list[keras.Optimizer]:
        """Returns the optimizers of a `MultiOptimizer`, also those that a function will choose."""
        if optimizer.optimizers:
            return list(optimizer.optimizers)
        if not self._variables:
            raise ValueError(
                "model must be built for a MultiOptimizer whose optimizers a function chooses: "
                "begin it with keras.Input, or call model.build. "
                f"Received: {optimizer.name!r} in a model without weights"
            )
        return [optimizer._optimizer_map(variable) for variable in self._variables]

    def _lend_to_group(self, optimizer: keras.Optimizer, raised: bool) -> None:
        if id(optimizer) in self._own:
            return
        self._present[id(optimizer)] = rate = present_rate(optimizer)
        if optimizer.built and not raised:
            lent = self._same(optimizer)
        else:
            other = like(optimizer, rate)
            if optimizer.built:
                # Now, for it might otherwise happen in a branch of the graph.
                other.build(optimizer._trainable_variables)
            lent = vars(other)
            if not raised and callable(optimizer._learning_rate):
                lent["_learning_rate"] = optimizer._learning_rate
        lent["apply"] = noting(optimizer, lent.get("apply"), self.applied.append)
        self._exchange(optimizer, lent)

    def _lend_to_wrapper(self, optimizer: Any) -> None:
        if optimizer.built:
            self._exchange(optimizer, self._same(optimizer))
            return
        other = object.__new__(type(optimizer))
        if isinstance(optimizer, _LossScale):
            _LossScale.__init__(
                other, optimizer.inner_optimizer, initial_scale=optimizer.initial_scale,
                dynamic_growth_steps=optimizer.dynamic_growth_steps, name=optimizer.name,
            )  # fmt: skip
            self._exchange(optimizer, {**vars(optimizer), **vars(other)})
            return
        keras.optimizers.MultiOptimizer.__init__(
            other, optimizer._optimizer_map, optimizer.loss_scale_factor, name=optimizer.name
        )
        self._exchange(optimizer, {**vars(optimizer), **vars(other)})
        if not optimizer.optimizers:
            optimizer.build(self._variables)

    def _same(self, optimizer: keras.Optimizer) -> dict[str, Any]:
        """Returns the optimizer's own attributes, and remembers its numbers."""
        attached = [
            variable
            for value in vars(optimizer).values()
            if isinstance(value, keras.layers.Layer)
            for variable in value.variables
        ]
        # Those of its groups are not its own.
        for each in (*optimizer._variables, *attached):
            self._kept.append((each.value, each.value.numpy()))
        return dict(vars(optimizer))

    def _exchange(self, optimizer: keras.Optimizer, lent: dict[str, Any]) -> None:
        self._own[id(optimizer)] = optimizer, vars(optimizer)
        object.__setattr__(optimizer, "__dict__", lent)
