"""How a schedule's class is declared, registered and found by its name."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import keras

from keraslr import _parameters
from keraslr._parameters import (
    Parameter,
    choice,
    declare,
    flag,
    integer,
    integers,
    parameters,
    rate,
    rates,
    real,
    reals,
)

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:
    from typing_extensions import dataclass_transform

_PACKAGE = "keraslr"
_REGISTRY: dict[str, type[Registered]] = {}
# Functions that return the counterpart of a schedule that is not keraslr's, or None.
CONVERSIONS: list[Callable[[Any], Any]] = []

_Class = TypeVar("_Class", bound="type[Registered]")


if TYPE_CHECKING:
    # Keras has no types, and with an unknown base any argument of a schedule would be accepted.
    class _KerasSchedule:
        __dataclass_fields__: ClassVar[dict[str, Any]]
else:
    _KerasSchedule = keras.optimizers.schedules.LearningRateSchedule


class Registered(_KerasSchedule):
    """A value composed of declared parameters, which check, compare, write and read it."""

    def __post_init__(self) -> None:
        for name, parameter in parameters(type(self)).items():
            self._set(name, parameter.validated(name, getattr(self, name)))

    def _set(self, name: str, value: Any) -> None:
        # Only during construction: afterwards the dataclass is frozen.
        object.__setattr__(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """Returns the parameters as JSON holds them; `from_config` rebuilds an equal schedule."""
        return {
            name: parameter.encoded(getattr(self, name))
            for name, parameter in parameters(type(self)).items()
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        """Rebuilds a schedule from `get_config()`.

        Only numbers, names and registered schedules are read: nothing in a config is imported,
        looked up or called.

        Raises:
            TypeError, ValueError: The config holds anything else.
        """
        declared = parameters(cls)
        unknown = sorted(set(config) - set(declared))
        if unknown:
            raise ValueError(
                f"config of {cls.__name__} must hold {list(declared)} only. "
                f"Received: {', '.join(map(repr, unknown))}"
            )
        for name, value in config.items():
            if callable(value) and not isinstance(value, Registered):
                raise TypeError(f"{name} must not be a function in a config. Received: {value!r}")
        return cls(**{name: declared[name].decoded(value) for name, value in config.items()})

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def __repr__(self) -> str:
        names = (field.name for field in dataclasses.fields(self))
        values = (f"{name}={getattr(self, name)!r}" for name in names)
        return f"{type(self).__qualname__}({', '.join(values)})"

    def __eq__(self, other: object) -> Any:
        if not isinstance(other, Registered) or type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())


def counterpart_of(value: Any, name: str) -> Any:
    """Returns the counterpart of a schedule of Keras; what is none as it is.

    Raises:
        TypeError: It is a schedule of Keras, or of one's own, and has no counterpart.
    """
    kind = keras.optimizers.schedules.LearningRateSchedule
    if not isinstance(value, kind) or isinstance(value, Registered):
        return value
    for convert in CONVERSIONS:
        if (found := convert(value)) is not None:
            return found
    raise TypeError(
        f"{name} must be a keraslr schedule, or one of Keras's that has a counterpart here. Any "
        "other becomes one with LambdaLR(1.0, lambda t: float(schedule(t)), total_iters=steps). "
        f"Received: {name}={value!r}"
    )


class Inner(Parameter):
    """A schedule within a schedule."""

    rule = "a keraslr schedule"

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`; Keras's own schedules become their counterparts."""
        value = counterpart_of(value, name)
        if not isinstance(value, Registered):
            raise self._wrong(TypeError, name, value)
        return value

    def encoded(self, value: Any) -> Any:
        """Returns the schedule as Keras writes a serialized object."""
        return keras.saving.serialize_keras_object(value)

    def decoded(self, value: Any) -> Any:
        """Returns the encoded schedule, by its name in this package's own register.

        Keras's own way back would import whatever module the config names.
        """
        if not isinstance(value, dict):
            return value
        name = str(value.get("registered_name")).removeprefix(f"{_PACKAGE}>")
        if name not in _REGISTRY or not isinstance(value.get("config"), dict):
            raise ValueError(
                "a schedule's config must be that of a registered keraslr schedule. "
                f"Received: class_name={value.get('class_name')!r}, "
                f"registered_name={value.get('registered_name')!r}"
            )
        return _REGISTRY[name].from_config(value["config"])


def decoded_schedule(config: dict[str, Any], custom_objects: Any = None) -> Any:
    """Returns any schedule from the form in which Keras serialized it.

    Of this package's own only the numbers are read: nothing is imported, looked up or called.
    """
    if str(config.get("registered_name")).startswith(f"{_PACKAGE}>"):
        return Inner("").decoded(config)
    return keras.saving.deserialize_keras_object(config, custom_objects=custom_objects)


def schedule(meaning: str) -> Any:
    """Declares an inner schedule."""
    return declare(Inner(meaning))


def schedules(meaning: str) -> Any:
    """Declares a tuple of one or more inner schedules."""
    return declare(_parameters.Several(Inner(meaning), at_least=1))


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        real,
        rate,
        integer,
        integers,
        reals,
        rates,
        choice,
        flag,
        schedule,
        schedules,
    ),
)
def register(cls: _Class) -> _Class:
    """Makes a frozen dataclass of a `Schedule`, completes its docstring, makes it loadable."""
    # Methods that `dataclass` would compile for each class take an eighth of the time of
    # `import keraslr`; `Registered` defines them once.
    dataclasses.dataclass(frozen=True, repr=False, eq=False)(cls)
    missing = [f.name for f in dataclasses.fields(cls) if not f.metadata]
    if missing:
        raise TypeError(f"{cls.__name__}.{missing[0]} must be declared, as real(...) or the like.")
    if cls.__doc__:
        text = inspect.cleandoc(cls.__doc__)
        before, example, after = text.partition("Example:")
        cls.__doc__ = f"{before.rstrip()}\n\n{_parameters.described(cls)}\n\n{example}{after}"
    _REGISTRY[cls.__name__] = cls
    return keras.saving.register_keras_serializable(package=_PACKAGE)(cls)


def registered() -> dict[str, type[Registered]]:
    """Returns every registered schedule class, by its name."""
    return dict(_REGISTRY)
