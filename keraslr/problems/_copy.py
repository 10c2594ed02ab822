"""Copies of compiled models, through Keras's own files: weights, adapted state and vocabularies."""

from __future__ import annotations

import contextlib
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keraslr.optimizers._of_a_model import like
from keraslr.problems._seeds import seeded

_REMEDY = "pass a function that builds and compiles it, def build(seed): ..."


def copied(model: keras.Model, seed: int) -> keras.Model:
    """Returns a copy of a compiled model: as it is for seed 0, else with new trainable weights.

    Raises:
        ValueError: The model cannot be copied.
    """
    try:
        with seeded(seed):
            copy = recreated(model, seed)
            copy.compile(**_compile_arguments(model))
    except Exception as error:  # a class of the user's may raise anything
        said = " ".join(str(error).split())
        raise ValueError(
            f"model cannot be copied: {_REMEDY}. Received: {model!r}, which gives "
            f"{type(error).__name__}: {said}"
        ) from error
    return copy


def recreated(model: keras.Model, seed: int = 0) -> keras.Model:
    """Returns an uncompiled copy: as it is for seed 0, else with new trainable weights."""
    if type(model).compile is not keras.Model.compile:
        raise TypeError(f"{type(model).__name__} has a compile of its own")
    if not model.built:
        raise ValueError("it has no weights yet")
    with warnings.catch_warnings(), keras.utils.custom_object_scope(_functions_of(model)):
        warnings.simplefilter("ignore")  # of functions without a name
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.keras"
            save_uncompiled(model, path)
            copy = keras.saving.load_model(path, compile=False, safe_mode=False)
        theirs, ours = model.variables, copy.variables
        if [variable.shape for variable in theirs] != [variable.shape for variable in ours]:
            raise ValueError("its config gives other weights")
        for source, variable in zip(theirs, ours, strict=True):
            variable.assign(source)
        if seed:
            _renew(copy, _fresh(model))
    return copy


def require_same_outputs(model: keras.Model, copy: keras.Model, x: Any) -> None:
    """Raises a `ValueError` if a copy with the same weights gives other outputs than the model.

    A layer may keep numbers that are not saved with it.
    """
    try:
        theirs, ours = (keras.tree.flatten(each(x, training=False)) for each in (model, copy))
        pairs = [
            (keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
            for one, other in zip(theirs, ours, strict=True)
        ]
    except Exception:  # a model may not be made to be called: then there is nothing to compare
        return
    if not all(np.allclose(a, b, rtol=1e-3, atol=1e-4, equal_nan=True) for a, b in pairs):
        raise ValueError(
            f"model cannot be copied: {_REMEDY}. Received: {model!r}, whose copy gives other "
            "outputs for the same weights: a layer keeps numbers that are not saved with it"
        )


def save_uncompiled(model: keras.Model, path: Path) -> None:
    """Writes a model without its optimizer and compile settings, which loading would need."""
    with _uncompiled(model):
        model.save(path)


@contextlib.contextmanager
def _uncompiled(model: keras.Model) -> Iterator[None]:
    kept = {
        name: getattr(model, name) for name in ("optimizer", "compiled") if hasattr(model, name)
    }
    try:
        for name in kept:
            setattr(model, name, None if name == "optimizer" else False)
        yield
    finally:
        for name, value in kept.items():
            setattr(model, name, value)


def _fresh(model: keras.Model) -> keras.Model:
    """Returns a model of the same config with first weights of its own."""
    from keras.src.saving.serialization_lib import SafeModeScope  # for Lambda layers

    with _uncompiled(model), SafeModeScope(False):
        if type(model) in (keras.Model, keras.Sequential) or type(model).__name__ == "Functional":
            return keras.models.clone_model(model)
        fresh = type(model).from_config(model.get_config())
        if not fresh.built:
            fresh.build_from_config(model.get_build_config())
    return fresh


def _renew(copy: keras.Model, fresh: keras.Model) -> None:
    """Gives a copy the weights of a fresh model where it learns; the frozen and adapted stay."""
    for ours, new in zip(copy._flatten_layers(), fresh._flatten_layers(), strict=True):
        pairs = [
            pair
            for pair in zip(ours._trainable_variables, new._trainable_variables, strict=True)
            if ours.trainable and pair[0].trainable
        ]
        if pairs:  # with the averages of a batch normalisation
            pairs += zip(ours._non_trainable_variables, new._non_trainable_variables, strict=True)
        seeds = zip(ours._seed_generators, new._seed_generators, strict=True)
        for variable, source in [*pairs, *((mine.state, its.state) for mine, its in seeds)]:
            variable.assign(source)


def _functions_of(model: keras.Model) -> dict[str, Any]:
    """Returns the functions and classes that the configs of the layers name."""
    found: dict[str, Any] = {}
    for layer in model._flatten_layers():
        found[type(layer).__name__] = type(layer)
        for value in vars(layer).values():
            if isinstance(value, types.FunctionType):
                found[value.__name__] = value
    return {
        name: value
        for name, value in found.items()
        if not value.__module__.startswith("keras.") and name != "<lambda>"
    }


def _compile_arguments(model: keras.Model) -> dict[str, Any]:
    arguments = dict(model._compile_config.config)
    if isinstance(arguments["optimizer"], keras.Optimizer):
        arguments["optimizer"] = like(arguments["optimizer"])
    for name in ("metrics", "weighted_metrics"):
        arguments[name] = keras.tree.map_structure(_new_metric, arguments[name])
    return arguments


def _new_metric(metric: Any) -> Any:
    if isinstance(metric, keras.Metric):
        return type(metric).from_config(metric.get_config())
    return metric
