"""What every schedule is and can do."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar

import keras
import numpy as np
from keras import ops

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
    real,
    reals,
)
from keraslr.schedules._ticks import Tensor, Ticks

if sys.version_info >= (3, 11):
    from typing import dataclass_transform
else:
    from typing_extensions import dataclass_transform

if TYPE_CHECKING:
    from keraslr.schedules._combinators import (
        Clipped,
        HeldAfter,
        PerEpoch,
        Scaled,
        SequentialLR,
        Warmup,
    )

_PACKAGE = "keraslr"
_REGISTRY: dict[str, type[Schedule]] = {}

_Class = TypeVar("_Class", bound="type[Schedule]")


class Schedule(keras.optimizers.schedules.LearningRateSchedule):
    """A learning rate as a function of the optimizer step.

    Pass one as `learning_rate` to any Keras optimizer, call it with a step, or ask for its
    `values`. Schedules are immutable, equal by value, and their `repr` is a line of Python that
    rebuilds them.

    To add one, subclass this, declare the parameters, write `at`, and decorate with `register`:

        @register
        class HalvedLR(Schedule):
            \"\"\"Halves the rate every `period` ticks.\"\"\"

            initial_learning_rate: float = rate()
            period: int = integer("Ticks between two halvings.")

            def at(self, t):
                return geometric(self.initial_learning_rate, 0.5, t // self.period)
    """

    def at(self, t: Ticks) -> Tensor:
        """The rate at time `t`, in float32: the schedule's formula."""
        raise NotImplementedError(f"{type(self).__name__} must define at(self, t).")

    def __call__(self, step: Any) -> Tensor:
        """The learning rate of optimizer step `step`.

        Args:
            step: Integer scalar, array, tensor or variable of any shape, >= 0.

        Returns:
            float32 tensor of that shape.

        Raises:
            TypeError: `step` is not made of integers.
            ValueError: A Python or NumPy `step` is negative.
        """
        return self.at(Ticks.of_steps(step))

    def values(self, n: int, start: int = 0) -> np.ndarray:
        """The rates that a run of n steps uses, computed in one call.

        Args:
            n: Number of optimizer steps, >= 0.
            start: First step, >= 0.

        Returns:
            float32 array of shape (n,).

        Example:
            >>> import keraslr
            >>> keraslr.LinearLR(1.0, start_factor=0.5, total_iters=4).values(6)
            array([0.5  , 0.625, 0.75 , 0.875, 1.   , 1.   ], dtype=float32)
        """
        n = _parameters.Number("", int, at_least=0).validated("n", n)
        start = _parameters.Number("", int, at_least=0).validated("start", start)
        return ops.convert_to_numpy(self(np.arange(start, start + n, dtype=np.int64)))

    @property
    def base_learning_rate(self) -> float | None:
        """The rate that this schedule multiplies by factors; None if it sets rates outright."""
        return getattr(self, "initial_learning_rate", None)

    # Combinators. Imported where they are used: they are schedules themselves.

    def per_epoch(self, steps_per_epoch: int, smooth: bool = False) -> PerEpoch:
        """This schedule with a clock that ticks once per epoch; see `PerEpoch`."""
        from keraslr.schedules._combinators import PerEpoch

        return PerEpoch(self, steps_per_epoch, smooth)

    def with_warmup(self, steps: int, start_lr: float = 0.0, mode: str = "linear") -> Warmup:
        """This schedule after a warm-up of `steps` ticks; see `Warmup`."""
        from keraslr.schedules._combinators import Warmup

        return Warmup(self, steps, start_lr, mode)

    def then(self, other: Schedule, at: int) -> SequentialLR:
        """This schedule until tick `at`, from there `other` from its own start; see `SequentialLR`.

        A chain of several `then` is one `SequentialLR`.
        """
        from keraslr.schedules._combinators import SequentialLR

        if isinstance(self, SequentialLR):
            return SequentialLR((*self.schedules, other), (*self.milestones, at))
        return SequentialLR((self, other), (at,))

    def clipped(self, min_lr: float = 0.0, max_lr: float | None = None) -> Clipped:
        """This schedule kept within bounds; see `Clipped`."""
        from keraslr.schedules._combinators import Clipped

        return Clipped(self, min_lr, max_lr)

    def held_after(self, t: int) -> HeldAfter:
        """This schedule with its value at tick `t` kept from then on; see `HeldAfter`."""
        from keraslr.schedules._combinators import HeldAfter

        return HeldAfter(self, t)

    def __mul__(self, factor: float) -> Scaled:
        from keraslr.schedules._combinators import Scaled

        return Scaled(self, factor)

    __rmul__ = __mul__

    def __post_init__(self) -> None:
        for name, parameter in parameters(type(self)).items():
            self._set(name, parameter.validated(name, getattr(self, name)))

    def _set(self, name: str, value: Any) -> None:
        # Only while it is being made: afterwards the dataclass is frozen.
        object.__setattr__(self, name, value)

    def get_config(self) -> dict[str, Any]:
        """The parameters as JSON holds them; `from_config` rebuilds an equal schedule."""
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
            if callable(value) and not isinstance(value, Schedule):
                raise TypeError(f"{name} must not be a function in a config. Received: {value!r}")
        return cls(**{name: declared[name].decoded(value) for name, value in config.items()})


class Inner(Parameter):
    """A schedule within a schedule."""

    rule = "a keraslr schedule"

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`."""
        if not isinstance(value, Schedule):
            raise self._wrong(TypeError, name, value)
        return value

    def encoded(self, value: Any) -> Any:
        """The schedule as Keras writes a serialized object."""
        return keras.saving.serialize_keras_object(value)

    def decoded(self, value: Any) -> Any:
        """The schedule that was encoded, by its name in this package's own register.

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
    """Any schedule from the form that Keras serialized it in.

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


def _values(schedule: Any) -> tuple[Any, ...]:
    return tuple(getattr(schedule, field.name) for field in dataclasses.fields(schedule))


def _repr(self: Any) -> str:
    values = (f"{f.name}={getattr(self, f.name)!r}" for f in dataclasses.fields(self))
    return f"{type(self).__qualname__}({', '.join(values)})"


def _eq(self: Any, other: object) -> Any:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


# What `dataclass` would compile anew for each class: an eighth of the time of `import keraslr`.
_SHARED = {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash}


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(real, rate, integer, integers, reals, choice, flag, schedule, schedules),
)
def register(cls: _Class) -> _Class:
    """Makes a frozen dataclass of a `Schedule`, completes its docstring, makes it loadable."""
    for name, function in _SHARED.items():
        if name not in cls.__dict__:
            setattr(cls, name, function)
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


def registered() -> dict[str, type[Schedule]]:
    """Every registered schedule class, by its name."""
    return dict(_REGISTRY)
