"""The optimizers that a callback acts on: one, the groups of a `MultiOptimizer`, or a model's own.

Keras's `MultiOptimizer` gives each optimizer some of the variables: what PyTorch calls parameter
groups. A model with a `train_step` of its own may keep several optimizers as attributes.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import keras

from keraslr.optimizers._of_a_model import groups_of as optimizers_in
from keraslr.optimizers._tracked import tracked_optimizers


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """One optimizer that updates weights.

    Attributes:
        name: Of its column in the logs; "" if it is the only one.
        optimizer: The optimizer itself: of one with loss scaling, the inner one.
        around: Optimizers around it; their files contain its variables.
        owner: How errors and warnings call it: `model.optimizer`, `d_optimizer`.
    """

    name: str
    optimizer: keras.Optimizer
    around: tuple[keras.Optimizer, ...] = ()
    owner: str = "model.optimizer"

    def column(self, name: str) -> str:
        """Returns the name of a column in the logs that is about this group."""
        return f"{name}_{self.name}" if self.name else name


def own_optimizers(model: Any) -> dict[str, keras.Optimizer]:
    """Returns the optimizers among the attributes of a model by name; `optimizer` comes first."""
    return {} if model is None else tracked_optimizers(model)


def groups_for(model: Any, callback: str, optimizer: Any = None, *, every: bool) -> list[Group]:
    """Returns the optimizers that a callback acts on.

    Args:
        model: The model; None outside of `fit`.
        callback: Name of the callback, for errors.
        optimizer: The callback's argument: the name of an attribute of the model, an optimizer, or
            a list of these; None for what `model.compile` was given.
        every: Whether None means all of a model that has several, or is refused.

    Raises:
        TypeError, ValueError: There is no such optimizer, or it must be said which is meant.
    """
    own = own_optimizers(model)
    if optimizer is None:
        chosen = own if every else dict(list(own.items())[:1])
        if not own:
            raise ValueError(
                f"{callback} needs a compiled model, or the optimizer itself: "
                f"{callback}(optimizer=...). Received: model={model!r}"
            )
        if not every and len(own) > 1:
            known = ", ".join(f"{name!r} ({type(each).__name__})" for name, each in own.items())
            raise ValueError(
                f"optimizer must say which of the model's optimizers {callback} acts on, such as "
                f"optimizer={list(own)[-1]!r}: the model has {known}. Received: optimizer=None"
            )
    else:
        wanted = optimizer if isinstance(optimizer, list | tuple) else [optimizer]
        if not wanted:
            raise ValueError("optimizer must not be an empty list. Received: optimizer=[]")
        chosen = dict(_named(model, own, each) for each in wanted)
    found: list[Group] = []
    for owner, each in chosen.items():
        prefix = "" if owner == "optimizer" else owner
        found += _parts(model, each, prefix, owner)
    return _with_names(found, optimizer)


def _named(model: Any, own: dict[str, keras.Optimizer], wanted: Any) -> tuple[str, Any]:
    known = ", ".join(map(repr, own)) or "none"
    if isinstance(wanted, str):
        # A property, or an object that is no layer, may hold it too.
        found = own.get(wanted)
        if found is None:
            found = model
            for part in wanted.split("."):
                found = getattr(found, part, None)
        if not isinstance(found, keras.Optimizer):
            raise ValueError(
                "optimizer must be the name of an attribute of the model that holds an optimizer, "
                f"or an optimizer; the model has: {known}. Received: optimizer={wanted!r}"
            )
        return wanted, found
    if isinstance(wanted, keras.Optimizer):
        for name, each in own.items():
            if each is wanted or getattr(each, "inner_optimizer", None) is wanted:
                return name, each
        return wanted.name, wanted
    raise TypeError(
        "optimizer must be the name of an attribute of the model, a Keras optimizer, or a list of "
        f"these. Received: optimizer={wanted!r}"
    )


def _parts(model: Any, optimizer: keras.Optimizer, prefix: str, owner: str) -> list[Group]:
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    owner = "model.optimizer" if owner == "optimizer" else owner
    if getattr(inner, "optimizers", None) is None:
        if type(inner).learning_rate is not keras.optimizers.Optimizer.learning_rate:
            return _parts(model, _wrapped_by(inner), prefix, owner)
        return [Group(prefix, inner, () if inner is optimizer else (optimizer,), owner)]
    if not inner.optimizers and getattr(model, "built", False):
        # A function chooses the optimizers, once it knows the variables.
        optimizer.build(model.trainable_variables)
    if not inner.optimizers:
        raise ValueError(
            "a MultiOptimizer with a function must be built before fit: call "
            f"optimizer.build(model.trainable_variables). Received: {inner.name!r}"
        )
    around = (inner,) if inner is optimizer else (inner, optimizer)
    name = f"{prefix}_" if prefix else ""
    known = model.trainable_variables if getattr(model, "built", False) else ()
    return [
        Group(f"{name}{each.name}", each, around, each.name)
        for each in optimizers_in(optimizer, known)
    ]


def _wrapped_by(optimizer: keras.Optimizer) -> keras.Optimizer:
    """Returns the optimizer inside one whose rate is a property of its own: its rate is set."""
    inside = [each for each in vars(optimizer).values() if isinstance(each, keras.Optimizer)]
    if len(inside) != 1:
        raise ValueError(
            "optimizer must be given where an optimizer has a learning_rate property of its own: "
            "name the one inside it whose rate is applied. "
            f"Received: {type(optimizer).__name__}"
        )
    return inside[0]


def _with_names(groups: list[Group], optimizer: Any) -> list[Group]:
    """Returns the groups with names that differ, or without a name where there is one."""
    if len(groups) == 1:
        return [dataclasses.replace(groups[0], name="")]
    found: list[Group] = []
    for group in groups:
        # "optimizers[0]" and "generator.optimizer" would be odd names of columns.
        name = re.sub(r"\W+", "_", group.name).strip("_") or "optimizer"
        taken = {each.name for each in found}
        number, plain = 1, name
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        found.append(dataclasses.replace(group, name=name))
    return found


def chosen_groups(groups: list[Group], wanted: Any, callback: str) -> list[Group]:
    """Returns the groups with these names or optimizers; None for all.

    Raises:
        ValueError: There is no such group.
    """
    if wanted is None:
        return groups
    found = []
    for each in wanted:
        mine = [group for group in groups if each in (group.name, group.owner)
                or each is group.optimizer]  # fmt: skip
        if not mine:
            known = ", ".join(repr(group.name) for group in groups)
            raise ValueError(
                f"groups must hold names of the groups that {callback} acts on ({known}), or their "
                f"optimizers. Received: groups={wanted!r}"
            )
        found += mine
    return found
