"""How a schedule declares its parameters.

A parameter is declared once, in the class that has it: what it means, what it may be and its
default. The check of a value, the error's text, the config, the `Args:` of the docstring, and the
controls and command-line options that other packages build all come from that declaration.

    step_size: int = integer("Ticks between drops.", at_least=1)
    gamma: float = real("Factor of each drop.", above=0, default=0.1)
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers
from collections.abc import Iterable
from typing import Any

# The largest length that a parameter may have. Two of them still add up to a 32-bit integer, the
# widest that JAX counts with by default.
MAX_TICKS = 2**30 - 1

# Rates are computed in float32, so a parameter has to be one of its normal numbers.
_FLOAT32_SMALLEST = 1.1754943508222875e-38
FLOAT32_LARGEST = 3.4028234663852886e38

_KEY = "keraslr"
_REQUIRED = dataclasses.MISSING


class Parameter:
    """Meaning of a parameter, and the rule for its values.

    Attributes:
        meaning: A sentence for docstrings, tooltips and `--help`.
        is_rate: Whether it is a learning rate, which doubles where the schedule's rates do.
    """

    def __init__(self, meaning: str, is_rate: bool = False):
        self.meaning, self.is_rate = meaning, is_rate

    @property
    def rule(self) -> str:
        """Rule, as the words that follow "NAME must be ..."."""
        raise NotImplementedError

    def validated(self, name: str, value: Any) -> Any:
        """Returns `value` in its normal form, or raises an error with parameter, rule and value."""
        raise NotImplementedError

    def encoded(self, value: Any) -> Any:
        """Returns `value` as something that JSON holds."""
        return value

    def decoded(self, value: Any) -> Any:
        """Inverse of `encoded`; the result is validated afterwards."""
        return value

    def _wrong(self, error: type[Exception], name: str, value: Any, why: str = "") -> Exception:
        try:
            shown = repr(value)
        except ValueError:  # an integer of more digits than Python agrees to write
            shown = f"{type(value).__name__} of thousands of digits"
        if len(shown) > 200:
            shown = shown[:200] + "..."
        kind = f" ({type(value).__name__})" if error is TypeError else ""
        return error(f"{name} must be {self.rule}{why}. Received: {name}={shown}{kind}")


class Number(Parameter):
    """One number within bounds."""

    def __init__(
        self,
        meaning: str,
        kind: type,
        at_least: float | None = None,
        above: float | None = None,
        at_most: float | None = None,
        below: float | None = None,
        is_rate: bool = False,
    ):
        super().__init__(meaning, is_rate)
        self.kind = kind
        self.at_least, self.above, self.at_most, self.below = at_least, above, at_most, below

    @property
    def rule(self) -> str:
        bounds = [
            f"{sign} {bound:g}" if self.kind is float else f"{sign} {bound}"
            for sign, bound in (
                (">=", self.at_least),
                (">", self.above),
                ("<=", self.at_most),
                ("<", self.below),
            )
            if bound is not None
        ]
        noun = "an integer" if self.kind is int else "a number"
        return " ".join([noun, " and ".join(bounds)]).strip()

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`; NumPy's scalars become Python's."""
        wanted = numbers.Integral if self.kind is int else numbers.Real
        # A bool is an integer to Python, but never meant as a rate or a length.
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise self._wrong(TypeError, name, value)
        try:
            number = self.kind(value)
        except OverflowError:
            raise self._wrong(ValueError, name, value, " within float32's range") from None
        if self.kind is float:  # an integer is finite however large
            if not math.isfinite(number):
                raise self._wrong(ValueError, name, value, " and finite")
            if number and not _FLOAT32_SMALLEST <= abs(number) <= FLOAT32_LARGEST:
                raise self._wrong(ValueError, name, value, " within float32's range")
        inside = (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (self.at_most is None or number <= self.at_most)
            and (self.below is None or number < self.below)
        )
        if not inside:
            raise self._wrong(ValueError, name, value)
        return number


class Several(Parameter):
    """A tuple of values, each of which follows one declaration."""

    def __init__(self, item: Parameter, order: str = "", at_least: int = 0):
        super().__init__(item.meaning, item.is_rate)
        self.item, self.order, self.at_least = item, order, at_least

    @property
    def rule(self) -> str:
        noun = f"a sequence of at least {self.at_least}" if self.at_least else "a sequence"
        order = f", {self.order}" if self.order else ""
        return f"{noun}, each {self.item.rule}{order}"

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`; any iterable of values becomes a tuple."""
        if isinstance(value, str | bytes | dict) or not isinstance(value, Iterable):
            raise self._wrong(TypeError, name, value)
        items = tuple(value)
        if len(items) < self.at_least:
            raise self._wrong(ValueError, name, value)
        items = tuple(self.item.validated(f"{name}[{i}]", each) for i, each in enumerate(items))
        pairs = list(itertools.pairwise(items))
        if (self.order == "increasing" and any(a >= b for a, b in pairs)) or (
            self.order == "not decreasing" and any(a > b for a, b in pairs)
        ):
            raise self._wrong(ValueError, name, value)
        return items

    def encoded(self, value: Any) -> Any:
        """Returns a list of the encoded values."""
        return [self.item.encoded(each) for each in value]

    def decoded(self, value: Any) -> Any:
        """Returns a list of the decoded values."""
        return [self.item.decoded(each) for each in value] if isinstance(value, list) else value


class Choice(Parameter):
    """One of a few names."""

    def __init__(self, meaning: str, options: tuple[str, ...]):
        super().__init__(meaning)
        self.options = options

    @property
    def rule(self) -> str:
        return "one of " + ", ".join(f'"{option}"' for option in self.options)

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`."""
        if not isinstance(value, str):
            raise self._wrong(TypeError, name, value)
        if value not in self.options:
            raise self._wrong(ValueError, name, value)
        return value


class Flag(Parameter):
    """True or False."""

    rule = "True or False"

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`."""
        if not isinstance(value, bool):
            raise self._wrong(TypeError, name, value)
        return value


class Optional(Parameter):
    """None, or a value of another declaration."""

    def __init__(self, inner: Parameter):
        super().__init__(inner.meaning, inner.is_rate)
        self.inner = inner

    @property
    def rule(self) -> str:
        return f"None or {self.inner.rule}"

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`."""
        if value is None:
            return None
        try:
            return self.inner.validated(name, value)
        except (TypeError, ValueError) as error:
            raise self._wrong(type(error), name, value) from None


def declare(parameter: Parameter, default: Any = _REQUIRED) -> Any:
    """Returns a dataclass field that carries the declaration."""
    return dataclasses.field(default=default, metadata={_KEY: parameter})


def parameters(cls: type) -> dict[str, Parameter]:
    """Returns a schedule class's declarations by parameter name, in the constructor's order."""
    return {f.name: f.metadata[_KEY] for f in dataclasses.fields(cls)}


def real(
    meaning: str,
    *,
    default: Any = _REQUIRED,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declares a number; with `default=None` it may be left out."""
    number: Parameter = Number(meaning, float, at_least, above, at_most, below)
    return declare(Optional(number) if default is None else number, default)


def rate(
    meaning: str = "Learning rate that the factors multiply.",
    *,
    default: Any = _REQUIRED,
    at_least: float | None = None,
) -> Any:
    """Declares a learning rate, > 0 unless `at_least` says otherwise."""
    above = 0 if at_least is None else None
    number: Parameter = Number(meaning, float, at_least, above, is_rate=True)
    return declare(Optional(number) if default is None else number, default)


def integer(meaning: str, *, default: Any = _REQUIRED, at_least: int = 1) -> Any:
    """Declares a length in ticks; with `default=None` it may be left out."""
    number: Parameter = Number(meaning, int, at_least=at_least, at_most=MAX_TICKS)
    return declare(Optional(number) if default is None else number, default)


def integers(meaning: str, *, at_least: int, order: str) -> Any:
    """Declares a tuple of ticks that is `order` ("increasing" or "not decreasing")."""
    return declare(Several(Number(meaning, int, at_least, at_most=MAX_TICKS), order))


def reals(meaning: str, *, at_least: float) -> Any:
    """Declares a tuple of one or more numbers."""
    return declare(Several(Number(meaning, float, at_least), at_least=1))


def rates(meaning: str, *, at_least: float = 0) -> Any:
    """Declares a tuple of one or more learning rates."""
    return declare(Several(Number(meaning, float, at_least, is_rate=True), at_least=1))


def choice(meaning: str, options: tuple[str, ...], *, default: str) -> Any:
    """Declares one of a few names."""
    return declare(Choice(meaning, options), default)


def flag(meaning: str, *, default: bool) -> Any:
    """Declares True or False."""
    return declare(Flag(meaning), default)


def described(cls: type) -> str:
    """Returns the `Args:` part of a schedule class's docstring."""
    lines = ["Args:"]
    for field in dataclasses.fields(cls):
        parameter = field.metadata[_KEY]
        default = "" if field.default is _REQUIRED else f" Defaults to {field.default!r}."
        rule = parameter.rule[:1].upper() + parameter.rule[1:]
        # Lengths have a common upper end; the error says it, a newcomer need not read it.
        rule = rule.replace(f" and <= {MAX_TICKS}", "")
        lines.append(f"    {field.name}: {parameter.meaning} {rule}.{default}")
    return "\n".join(lines)
