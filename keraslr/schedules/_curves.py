"""Curves that schedules are composed of, in float32 and without losing digits."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
from keras import ops

from keraslr.schedules._ticks import Tensor, Ticks, float32

_DIGIT = 2048
_DIGITS = 3  # 2048 ** 3 is more than 8e9 ticks


def select(condition: Tensor, yes: Any, no: Any) -> Tensor:
    """Returns `yes` where the condition holds, else `no`, as float32."""
    return ops.where(condition, float32(yes), float32(no))


def table(values: Any, index: Tensor) -> Tensor:
    """Returns `values[index]` as float32, from numbers that were computed in double precision."""
    with np.errstate(over="ignore"):  # a growing rate ends at infinity
        return ops.take(np.asarray(values, np.float64).astype(np.float32), index, axis=0)


def terms(first: float, ratio: float, count: int) -> np.ndarray:
    """Returns the first `count` terms of `first * ratio ** n`, in double precision."""
    with np.errstate(over="ignore", under="ignore"):
        return first * np.power(ratio, np.arange(count, dtype=np.float64))


def linear(start: Any, end: Any, done: Tensor, left: Tensor) -> Tensor:
    """Returns the straight line from `start` (done = 0) to `end` (left = 0)."""
    return start * left + end * done


def cosine(start: Any, end: Any, done: Tensor, left: Tensor) -> Tensor:
    """Returns half a cosine wave from `start` (done = 0) to `end` (left = 0).

    `(1 + cos(pi * done)) / 2 = sin(pi / 2 * left) ** 2`, and the right side keeps its digits where
    the left one, a difference of two numbers near 1, has none.
    """

    def weight(share: Tensor) -> Tensor:
        return ops.square(ops.sin((math.pi / 2) * share))

    return start * weight(left) + end * weight(done)


CURVES = {"linear": linear, "cos": cosine, "cosine": cosine}


def geometric(first: float, ratio: float, n: Ticks) -> Tensor:
    """Returns `first * ratio ** n`.

    In float32, `exp(n * log(ratio))` is off by 1e-6 where n * log(ratio) is -20, and a product of
    n factors by n roundings. Here n is written with three digits of base 2048, and the powers for
    each digit come from a table made in double precision: up to n = 2047 the result is the
    nearest float32, and beyond it a few roundings off.
    """
    head, *roots = _power_tables(first, ratio)
    value = ops.take(head, n.whole % _DIGIT, axis=0)
    rest = n.whole
    for powers in roots:
        rest = rest // _DIGIT
        root = ops.take(powers, rest % _DIGIT, axis=0)
        value = value * root * root
    if n.part is not None:
        value = value * ops.exp(float32(n.part) * (math.log(ratio) / n.per))
    return value


@functools.lru_cache(maxsize=64)
def _power_tables(first: float, ratio: float) -> tuple[np.ndarray, ...]:
    """Returns first * ratio ** d, sqrt(ratio ** (d * 2048)) and sqrt(ratio ** (d * 2048 ** 2)).

    Multiplying with a root twice neither overflows nor vanishes before the result does.
    """
    half_log = 0.5 * math.log(ratio) * np.arange(_DIGIT, dtype=np.float64)
    # An overflow to infinity or to zero is the intended value.
    with np.errstate(over="ignore", under="ignore"):
        roots = [np.exp(half_log * float(_DIGIT) ** k) for k in range(1, _DIGITS)]
        return tuple(t.astype(np.float32) for t in (terms(first, ratio, _DIGIT), *roots))
