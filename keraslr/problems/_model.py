"""The models of problems: built by a function or copied, and checked.

Python's, NumPy's and Keras's random numbers are seeded around a function that builds a model, so
that the first weights depend on the seed alone.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import inspect
import pickle
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state  # of no public name: where Keras counts names

from keraslr.problems._copy import copied, recreated
from keraslr.problems._outputs import (
    last_operation,
    probabilities_of,
    require_images,
    require_logits,
)
from keraslr.problems._seeds import seeded

_NAMES = "object_name_uids"


def require_model(model: Any) -> None:
    """Raises a `TypeError` or `ValueError` unless this is a compiled model or builds one."""
    if isinstance(model, keras.Model):
        _require_compiled(model)
        return
    if isinstance(model, keras.layers.Layer) or not callable(model):
        raise TypeError(
            "model must be a compiled keras.Model, or a function of no argument or of a seed that "
            f"builds one, def build(seed): .... Received: model={model!r}"
        )
    _seed_argument(model, 0)


def require_builder(model: Any) -> None:
    """Raises a `TypeError` unless the model of images can be called to build it."""
    if isinstance(model, keras.layers.Layer):
        raise TypeError(
            "model must be a function of a seed that builds a Keras model, not a built model: "
            f"build it in a function, def build(seed): .... Received: model={model!r}"
        )
    if not callable(model):
        raise TypeError(
            "model must be the name of a model or a function of a seed that builds a Keras model, "
            f"def build(seed): .... Received: model={model!r}"
        )
    _seed_argument(model, 0)


def function_name(function: Callable[..., Any]) -> str:
    """Returns the name of a function, with its module."""
    if isinstance(function, functools.partial):
        return function_name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _seed_argument(build: Callable[..., Any], seed: int) -> tuple[tuple[int, ...], dict[str, int]]:
    """Returns the arguments that give a function its seed: none for one that takes no seed.

    A seed is a parameter of that name, or the only one that has to be given. Another parameter with
    a default is not: `build(width=64)` means a width.
    """
    try:
        signature = inspect.signature(build)
    except ValueError:
        return (seed,), {}  # a builtin without a signature
    kinds = inspect.Parameter
    known = signature.parameters
    required = [
        each
        for each in known.values()
        if each.default is kinds.empty
        and each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)
    ]
    if "seed" in known and known["seed"].kind is not kinds.POSITIONAL_ONLY:
        if not [each for each in required if each.name != "seed"]:
            return (), {"seed": seed}
    elif len(required) <= 1:
        if not required:
            return (), {}
        if required[0].kind is kinds.KEYWORD_ONLY:
            return (), {required[0].name: seed}
        return (seed,), {}
    raise TypeError(
        "model must be a function of no argument, or of one, the seed of the first weights, "
        f"def build(seed): .... Received: model={build!r}"
    )


def counted_names() -> dict[str, int]:
    """Returns how many objects of each kind Keras has named so far in this thread."""
    return dict(global_state.get_global_attribute(_NAMES) or {})


@contextlib.contextmanager
def _names_after(counted: dict[str, int] | None) -> Iterator[None]:
    """Makes Keras name what is new as if only these objects had been named before.

    For each new name of a variable TensorFlow keeps a kernel, and with it the variable's memory, so
    that hundreds of runs would fill it.
    """
    if counted is None:
        yield
        return
    before = global_state.get_global_attribute(_NAMES)
    global_state.set_global_attribute(_NAMES, collections.defaultdict(int, counted))
    try:
        yield
    finally:
        global_state.set_global_attribute(_NAMES, before)


def compiled_model(
    build: Callable[..., Any] | keras.Model, seed: int, names: dict[str, int] | None = None
) -> keras.Model:
    """Returns a new compiled model with the first weights of a seed.

    Args:
        build: The model to copy, or the function that builds it.
        seed: The seed.
        names: Names after which Keras is to count, from `counted_names`; None for all so far.

    Raises:
        TypeError: The function returned something other than a Keras model.
        ValueError: The model is not compiled, or cannot be copied.
    """
    with _names_after(names):
        if isinstance(build, keras.Model):
            return copied(build, seed)
        model = _called(build, seed)
    _require_compiled(model)
    return model


def classifier(
    build: Callable[[int], Any], seed: int, labels: np.ndarray | None = None
) -> keras.Model:
    """Returns a new model that classifies, compiled unless the function compiles it.

    Args:
        build: Function that builds the model.
        seed: The seed.
        labels: The classes of data other than images; None for images of ten classes.

    Raises:
        TypeError: The function returned something other than a Keras model.
        ValueError: The model is not compiled and does not end in logits of the classes.
    """
    model = _called(build, seed)
    if labels is not None:
        _require_logits_of(model, labels)
        return model
    if model.compiled:
        _require_compiled(model)
        require_images(model)
        return model
    require_images(model)
    require_logits(model)
    _compile_for_classes(model)
    return model


def _require_logits_of(model: keras.Model, labels: np.ndarray) -> None:
    """Compiles a model for these classes, unless it is compiled."""
    if model.compiled:
        _require_compiled(model)
        return
    if not _has_logits_of(model, labels):
        raise ValueError(
            f"model must be compiled, or end in logits of the {int(labels.max()) + 1} classes of "
            "the dataset, without softmax or sigmoid: make the last layer keras.layers.Dense("
            f"{int(labels.max()) + 1}), or call model.compile(optimizer, loss). "
            f"Received: {model.name!r} with outputs of shape "
            f"{getattr(model, 'output_shape', None) if model.built else 'unknown'}"
        )
    _compile_for_classes(model)


def compiled_for_classes(build: Any, y: Any) -> Any:
    """Returns a model, or a function that builds one, with an optimizer and a loss.

    Only where these follow from model and targets: a model that is not compiled, ends in logits of
    several classes, and has integer classes as targets, is compiled with SGD and cross-entropy.

    Args:
        build: A model, which is copied, or a function that builds one.
        y: The targets.

    Returns:
        The same of the model compiled; None where it is compiled, or the loss does not follow.

    Raises:
        TypeError: The function returned something other than a Keras model.
    """
    model = build if isinstance(build, keras.Model) else _called(build, 0)
    if model.compiled or not _has_logits_of(model, y):
        return None
    if isinstance(build, keras.Model):
        with seeded(0):
            model = recreated(build)
        _compile_for_classes(model)
        return model

    @functools.wraps(build)
    def compiled(*arguments: Any, **named: Any) -> keras.Model:
        model: keras.Model = build(*arguments, **named)
        _compile_for_classes(model)
        return model

    return compiled


def _has_logits_of(model: keras.Model, y: Any) -> bool:
    classes = getattr(y, "ndim", 0) == 1 and np.issubdtype(np.asarray(y).dtype, np.integer)
    if not classes or not model.built:
        return False
    last, shape = last_operation(model), getattr(model, "output_shape", None)
    if last is None or not isinstance(shape, tuple) or len(shape) != 2 or probabilities_of(last):
        return False
    return isinstance(shape[1], int) and shape[1] > 1


def _compile_for_classes(model: keras.Model) -> None:
    model.compile(
        keras.optimizers.SGD(name="SGD"),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )


def _called(build: Callable[..., Any], seed: int) -> keras.Model:
    arguments, named = _seed_argument(build, seed)
    with seeded(seed):
        model = build(*arguments, **named)
    if not isinstance(model, keras.Model):
        raise TypeError(
            "model must be a function of a seed that returns a keras.Model. "
            f"Received: {model!r} from {build!r}"
        )
    return model


def _require_compiled(model: keras.Model) -> None:
    if not model.compiled:
        raise ValueError(
            "model must be compiled: call model.compile(optimizer, loss, metrics=[...]) first. "
            f"Received: {model.name!r}, which is not compiled"
        )
    if getattr(model, "optimizer", None) is None:
        raise ValueError(
            "model must be compiled with an optimizer, whose learning rate the schedule sets. "
            f"Received: {model.name!r} with optimizer=None"
        )


class SentModel:
    """A model on its way to another process, where it arrives as a model.

    Keras warns there that the optimizer has no state, which a run does not use.
    """

    def __init__(self, model: keras.Model):
        self._model = model

    def __reduce__(self) -> tuple[Any, ...]:
        import cloudpickle

        return _received, (cloudpickle.dumps(self._model),)


def _received(data: bytes) -> keras.Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pickle.loads(data)
