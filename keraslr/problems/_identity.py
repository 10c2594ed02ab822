"""The digest of a model: equal for equal models, in any process.

Neither the name nor the code of the function that builds a model determines the model: the function
may read numbers from outside. So the model is built, and the digest covers its config, its compile
settings, its first weights, and the code of layers and functions that are not Keras's, which the
config only names.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
import types
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keraslr.optimizers._tracked import tracked_optimizers

# Code of these packages is identified by its name.
_PACKAGES = ("builtins", "jax", "keras", "keraslr", "numpy", "tensorflow", "torch")
_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(...))

_ONE_AT_A_TIME = threading.Lock()
# Functions that have built the same model twice.
_REPEATABLE: weakref.WeakSet[Any] = weakref.WeakSet()


def model_digest(make: Callable[[int], keras.Model], seed: int, build: Any = None) -> str:
    """Returns a digest of the model that a function makes, calling the function once or twice.

    Keras's names and seeds are not touched.

    Args:
        make: Function of the seed that returns the model.
        seed: The seed.
        build: Object by which the function is recognized; None for the function itself.

    Raises:
        TypeError, ValueError: The model cannot be trained, or the function builds a different
            model each time.
    """
    build = make if build is None else build
    with _ONE_AT_A_TIME:
        first = _built_apart(make, seed)
        if not _is_known(build):
            again = _built_apart(make, seed)
            differing = [name for name, part in first.items() if part != again.get(name)]
            if differing:
                raise ValueError(
                    "model must be a function that builds the same first weights for the same "
                    "seed: call keras.utils.set_random_seed(seed) at its beginning, or give the "
                    "seed to each initializer and dropout layer. "
                    f"Received: {build!r}, which gave a different {differing[0]} the second time"
                )
            _remember(build)
    return hashlib.sha256(json.dumps(first).encode()).hexdigest()[:16]


def code_digest(value: Any) -> str:
    """Returns a digest of a function or another value: of its code and all that it has taken in."""
    return hashlib.sha256(json.dumps(_CodeReader().read(value)).encode()).hexdigest()[:16]


def _is_known(build: Any) -> bool:
    try:
        return build in _REPEATABLE
    except TypeError:  # the function has no hash
        return False


def _remember(build: Any) -> None:
    try:
        _REPEATABLE.add(build)
    except TypeError:  # the function has no hash, or allows no weak reference
        return


def _built_apart(make: Callable[[int], Any], seed: int) -> dict[str, Any]:
    """Returns the parts of a digest by their names.

    The model is built in a new thread: there Keras counts the names of layers from the start, so
    that they do not depend on earlier models, and a seed that the function sets globally has no
    effect on other threads.
    """
    policy = keras.config.dtype_policy()
    parts: list[dict[str, Any]] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            keras.config.set_dtype_policy(policy)
            parts.append(_parts(make(seed)))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work, name="keraslr key", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return parts[0]


def _parts(model: keras.Model) -> dict[str, Any]:
    parts = {"class": _name(type(model)), "config": _config(model), "code": _codes(model)}
    compiled = getattr(model, "_compile_config", None)
    if compiled is not None:
        # Not the optimizer: its config says it, and its rate is the schedule's.
        settings = {k: v for k, v in compiled.config.items() if k != "optimizer"}
        parts["compiled"] = _CodeReader().read(settings)
    optimizers = _optimizers(model, known=parts["config"] is not None)
    if optimizers:
        parts["optimizers"] = optimizers
    for index, variable in enumerate(model.variables):
        value = keras.ops.convert_to_numpy(variable)
        parts[f"variable {variable.path} ({index})"] = _array(value)
    return parts


def _config(model: keras.Model | keras.Optimizer) -> Any:
    """Returns the config, of a model with its compile settings; None for a class without one."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Keras warns of functions without a name
            config = keras.saving.serialize_keras_object(model)
            return json.loads(json.dumps(_without_code(config), sort_keys=True, default=_name_of))
    except Exception:  # a class of the user's may raise anything
        return None


def _optimizers(model: keras.Model, known: bool) -> list[Any]:
    """Returns what the model's config does not say of its optimizers.

    Args:
        known: Whether the config says with which one it was compiled.
    """
    found: list[Any] = []
    for name, optimizer in tracked_optimizers(model).items():
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        chosen = getattr(inner, "_optimizer_map", None)
        if isinstance(chosen, types.FunctionType | functools.partial | types.MethodType):
            found.append([name, _CodeReader().read(chosen)])
        elif name != "optimizer" or not known:
            found.append([name, _name(type(optimizer)), _config(optimizer)])
    return found


def _without_code(config: Any) -> Any:
    """Returns the config without marshalled code, whose bytes differ between processes."""
    if isinstance(config, dict):
        if config.get("class_name") == "__lambda__" or set(config) == {"value"}:
            return "function"
        return {name: _without_code(value) for name, value in config.items()}
    if isinstance(config, list | tuple):
        return [_without_code(value) for value in config]
    return config


def _codes(model: keras.Model) -> list[Any]:
    """Returns the code of a model's parts that are not Keras's own, in the order of its layers."""
    codes: list[Any] = []
    for layer in model._flatten_layers():
        reader = _CodeReader()
        if not _is_of_a_package(type(layer)):
            codes.append(reader.read(type(layer)))
        for name, value in sorted(vars(layer).items(), key=lambda item: item[0]):
            if isinstance(value, keras.layers.Layer | keras.Variable | type):
                continue
            owned = value if isinstance(value, types.FunctionType) else type(value)
            if isinstance(value, functools.partial | types.MethodType) or (
                callable(value) and not _is_of_a_package(owned)
            ):
                codes.append([name, reader.read(value)])
    return codes


class _CodeReader:
    """Reads functions, classes and values as JSON values, without memory addresses."""

    def __init__(self) -> None:
        self._seen: dict[int, Any] = {}

    def read(self, value: Any) -> Any:
        """Returns what distinguishes this value from others, as far as it can be read."""
        if isinstance(value, _PLAIN):
            return repr(value)
        if id(value) in self._seen:
            return "seen"
        self._seen[id(value)] = value  # so that nothing else gets its id
        if isinstance(value, np.ndarray | np.generic):
            return _array(np.asarray(value))
        if isinstance(value, keras.layers.Layer):
            return _name(type(value))  # the config and the weights hold the rest
        if isinstance(value, keras.Variable):
            return _array(keras.ops.convert_to_numpy(value))
        if isinstance(value, list | tuple):
            return [self.read(each) for each in value]
        if isinstance(value, set | frozenset):
            return sorted(map(repr, value))
        if isinstance(value, dict):
            return {str(name): self.read(each) for name, each in value.items()}
        if isinstance(value, functools.partial):
            return [self.read(each) for each in (value.func, value.args, value.keywords)]
        if isinstance(value, types.MethodType):
            return [self.read(value.__func__), self.read(value.__self__)]
        if isinstance(value, staticmethod | classmethod):
            return self.read(value.__func__)
        if isinstance(value, property):
            return [self.read(each) for each in (value.fget, value.fset)]
        if isinstance(value, types.FunctionType):
            return _name(value) if _is_of_a_package(value) else self._function(value)
        if isinstance(value, type):
            return _name(value) if _is_of_a_package(value) else self._class(value)
        if _is_of_a_package(type(value)) or not hasattr(value, "__dict__"):
            return _name_of(value)
        return [self.read(type(value)), self.read(vars(value))]

    def _function(self, function: types.FunctionType) -> Any:
        names: set[str] = set()
        code = self._code(function.__code__, names)
        around = [_content(cell) for cell in function.__closure__ or ()]
        known = function.__globals__
        used = {
            name: self.read(known[name])
            for name in sorted(names & known.keys())
            if isinstance(known[name], (*_PLAIN, tuple, list, dict, np.ndarray))
            or getattr(known[name], "__module__", None) == function.__module__
        }
        defaults = [function.__defaults__, function.__kwdefaults__]
        return [code, self.read(defaults), self.read(around), used]

    def _code(self, code: types.CodeType, names: set[str]) -> Any:
        names.update(code.co_names)
        constants = [
            self._code(each, names) if isinstance(each, types.CodeType) else self.read(each)
            for each in code.co_consts
        ]
        return [code.co_code.hex(), constants, list(code.co_names), list(code.co_varnames)]

    def _class(self, kind: type) -> Any:
        own = {
            name: self.read(value)
            for name, value in sorted(vars(kind).items())
            if isinstance(value, (*_PLAIN, types.FunctionType, property, staticmethod, classmethod))
            and name not in ("__module__", "__doc__", "__firstlineno__")
        }
        return [kind.__qualname__, own, [self.read(each) for each in kind.__bases__]]


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing in it yet
        return None


def _array(values: np.ndarray) -> str:
    if values.dtype == object:
        content = repr(values.tolist()).encode()
    else:
        content = np.ascontiguousarray(values).tobytes()
    digest = hashlib.sha256(content)
    return f"{values.dtype} {values.shape} {digest.hexdigest()[:16]}"


def _is_of_a_package(owned: Any) -> bool:
    return str(getattr(owned, "__module__", "")).partition(".")[0] in _PACKAGES


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _name_of(value: Any) -> str:
    return _name(type(value))
