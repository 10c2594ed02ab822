"""The optimizers that a model holds, and which of them its train step applies."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import keras

from keraslr.optimizers._of_a_model import groups_of


def tracked_optimizers(model: keras.Model) -> dict[str, keras.Optimizer]:
    """Returns the optimizers that are attributes of a model or of its parts, by their names.

    Also those in lists and dicts: "optimizer", "g_optimizer", "optimizers[0]", "of['g']",
    "generator.optimizer". Each is returned once, `model.optimizer` first. Those inside a
    `MultiOptimizer` or a `LossScaleOptimizer` belong to that one.
    """
    found: dict[str, keras.Optimizer] = {}
    if isinstance(getattr(model, "optimizer", None), keras.Optimizer):
        found["optimizer"] = model.optimizer
    for layer in model._flatten_layers():
        prefix = "" if layer is model else f"{layer.name}."
        for name, value in list(vars(layer).items()):
            if name.startswith("_self_"):  # TensorFlow's own record of the attributes
                continue
            for path, optimizer in _within(prefix + name, value):
                if not any(optimizer is each for each in found.values()):
                    found[path] = optimizer
    return found


def _within(path: str, value: Any) -> Iterator[tuple[str, keras.Optimizer]]:
    if isinstance(value, keras.Optimizer):
        yield path, value
    elif isinstance(value, Mapping):
        for name, each in value.items():
            yield from _within(f"{path}[{name!r}]", each)
    elif isinstance(value, list | tuple):
        for index, each in enumerate(value):
            yield from _within(f"{path}[{index}]", each)


def noting(
    optimizer: keras.Optimizer, plain: Any, note: Callable[[keras.Optimizer], Any]
) -> Callable[..., Any]:
    """Returns an `apply` for an optimizer that also notes the call.

    The call is what shows that a step uses an optimizer, in a graph as soon as it is traced. The
    counter of iterations would not: mixed precision skips updates.

    Args:
        plain: The `apply` to call; None for that of its class.
    """

    def apply(*arguments: Any, **named: Any) -> Any:
        note(optimizer)
        if plain is None:
            return type(optimizer).apply(optimizer, *arguments, **named)
        return plain(*arguments, **named)

    return apply


@contextlib.contextmanager
def applications(optimizers: Iterable[keras.Optimizer]) -> Iterator[list[keras.Optimizer]]:
    """Yields a list that receives those of the optimizers that are applied in the `with` block."""
    applied: list[keras.Optimizer] = []
    before = [(each, vars(each).get("apply")) for each in optimizers]
    # Past the optimizer's own tracking, so that nothing of it is saved.
    for each, plain in before:
        each.__dict__["apply"] = noting(each, plain, applied.append)
    try:
        yield applied
    finally:
        for each, plain in before:
            if plain is None:
                each.__dict__.pop("apply", None)
            else:
                each.__dict__["apply"] = plain


def names_of(named: Mapping[str, keras.Optimizer], applied: Iterable[keras.Optimizer]) -> list[str]:
    """Returns the names of those that were applied, themselves or one of their groups."""
    known = {id(each) for each in applied}
    return [
        name
        for name, optimizer in named.items()
        if known & {id(each) for each in (optimizer, *groups_of(optimizer))}
    ]
