"""The optimizers that a callback acts on: one, the groups of a `MultiOptimizer`, or a model's own.

Keras's `MultiOptimizer` gives each optimizer some of the variables: what PyTorch calls parameter
groups. A model with a `train_step` of its own may keep several optimizers as attributes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import keras


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
    """Returns the optimizers among the model's attributes by name; `optimizer` comes first."""
    found: dict[str, keras.Optimizer] = {}
    compiled = getattr(model, "optimizer", None)
    if isinstance(compiled, keras.Optimizer):
        found["optimizer"] = compiled
    # What Keras and TensorFlow keep for themselves holds the same objects under other names.
    attributes = {} if model is None else vars(model)
    for name in sorted(each for each in attributes if not each.startswith(("_self_", "_tracker"))):
        value = attributes[name]
        for suffix, each in _optimizers_in(value):
            if not any(each is known for known in found.values()):
                found[f"{name.lstrip('_')}{suffix}"] = each
    return found


def _optimizers_in(value: Any) -> Iterator[tuple[str, keras.Optimizer]]:
    if isinstance(value, keras.Optimizer):
        yield "", value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(each, keras.Optimizer):
                yield f"_{key}", each
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            if isinstance(each, keras.Optimizer):
                yield f"_{index}", each


def groups_of(model: Any, callback: str, optimizer: Any = None, *, every: bool) -> list[Group]:
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
    several = getattr(inner, "optimizers", None)
    if several is None:
        return [Group(prefix, inner, () if inner is optimizer else (optimizer,), owner)]
    if not several and getattr(model, "built", False):
        # A function chooses the optimizers, once it knows the variables.
        optimizer.build(model.trainable_variables)
    if not inner.optimizers:
        raise ValueError(
            "a MultiOptimizer with a function must be built before fit: call "
            f"optimizer.build(model.trainable_variables). Received: {inner.name!r}"
        )
    around = (inner,) if inner is optimizer else (inner, optimizer)
    name = f"{prefix}_" if prefix else ""
    # The default one first: where one stands for all, it does.
    default = getattr(inner._optimizer_map, "default_optimizer", None)
    ordered = sorted(inner.optimizers, key=lambda each: each is not default)
    return [Group(f"{name}{each.name}", each, around, each.name) for each in ordered]


def _with_names(groups: list[Group], optimizer: Any) -> list[Group]:
    """Returns the groups with names that differ, or without a name where there is one."""
    if len(groups) == 1:
        return [dataclasses.replace(groups[0], name="")]
    found: list[Group] = []
    for group in groups:
        name = group.name or "optimizer"
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
