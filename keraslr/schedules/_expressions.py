"""Schedules from text, without running it."""

from __future__ import annotations

import ast
import re
from typing import Any

from keraslr.schedules._registry import registered
from keraslr.schedules._schedule import Schedule

# A schedule nested deeper than some hundreds could be made, but neither shown nor called: Python's
# stack ends first.
_DEEPEST = 100

# Python 3.10 crashes where an expression nests some ten thousands deep. Only what is no list of
# numbers can nest, so a LambdaLR of any length may be written out.
_LONGEST = 50_000
_NUMBERS = re.compile(r"\d[\d.]*(?:e[-+]?\d+)?(?:,\s*)?")

# The methods that make a schedule of a schedule.
_METHODS = ("per_epoch", "with_warmup", "then", "clipped", "held_after", "momentum_schedule")


def parse(text: str) -> Schedule:
    """Returns the schedule that a line of Python describes, such as a schedule's `repr`.

    Calls of registered schedules and of their methods that give a schedule, numbers, strings and
    sequences are understood; everything else is refused and nothing is evaluated.

    Args:
        text: For example `"CosineAnnealingLR(0.3, T_max=15).with_warmup(5)"`.

    Returns:
        The schedule.

    Raises:
        ValueError: The text is anything else.
        TypeError, ValueError: `text` is no string, or a parameter is wrong; the error names it.

    Example:
        >>> parse("StepLR(0.1, step_size=30) * 0.5")
        Scaled(schedule=StepLR(initial_learning_rate=0.1, step_size=30, gamma=0.1), factor=0.5)
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string. Received: text={text!r} ({type(text).__name__})")
    if len(_NUMBERS.sub("", text)) > _LONGEST:
        raise _refused(text, "too long")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise _refused(text, "not a Python expression") from None
    value = _build(tree, text)
    if not isinstance(value, Schedule):
        raise _refused(text, "not a schedule")
    return value


def _refused(text: str, why: str) -> ValueError:
    shown = text if len(text) <= 200 else text[:200] + "..."
    return ValueError(
        f'a schedule must be written like "StepLR(0.1, step_size=30)"; this is {why}. '
        f"Received: {shown!r}"
    )


def _build(node: ast.expr, text: str, depth: int = 0) -> Any:
    if depth > _DEEPEST:
        raise _refused(text, "nested too deeply")
    depth += 1
    match node:
        case ast.Constant(value=int() | float() | str() | None):
            return node.value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -number
        case ast.Tuple(elts=items) | ast.List(elts=items):
            return tuple(_build(item, text, depth) for item in items)
        case ast.BinOp(op=ast.Mult(), left=left, right=right):
            factors = _build(left, text, depth), _build(right, text, depth)
            if sum(isinstance(factor, Schedule) for factor in factors) == 1:
                return factors[0] * factors[1]
            raise _refused(text, "a product of something other than a schedule and a number")
        case ast.Call(func=ast.Name(id=name)):
            if name not in registered():
                raise _refused(text, f"a call of {name}, which is no schedule")
            return _called(registered()[name], node, text, depth)
        case ast.Call(func=ast.Attribute(value=inner, attr=name)) if name in _METHODS:
            schedule = _build(inner, text, depth)
            if not isinstance(schedule, Schedule):
                raise _refused(text, f"a call of {name} on something other than a schedule")
            if not hasattr(schedule, name):
                raise _refused(text, f"a call of {name}, which {type(schedule).__name__} lacks")
            return _called(getattr(schedule, name), node, text, depth)
    raise _refused(text, f"made of something else ({type(node).__name__})")


def _called(function: Any, node: ast.Call, text: str, depth: int) -> Any:
    if any(keyword.arg is None for keyword in node.keywords):
        raise _refused(text, "made of something else (**)")
    arguments = [_build(argument, text, depth) for argument in node.args]
    named = {str(keyword.arg): _build(keyword.value, text, depth) for keyword in node.keywords}
    return function(*arguments, **named)
