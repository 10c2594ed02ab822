"""A schedule through given rates at given times."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Sequence

from keras import ops

from keraslr._parameters import choice, integers, rates
from keraslr.schedules._curves import CURVES, select, table
from keraslr.schedules._formulas import Formulas, listed
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks

_LARGEST_EXPONENT = 0.5

# Weight of the second rate, as code of `x`, the share of the interval that is done.
_SHARES = {"linear": "x", "cosine": "(1 - math.cos(math.pi * x)) / 2"}


@register
class InterpolatedLR(Schedule):
    """A given rate at each milestone, and a curve from each to the next.

        lr(t) = rates[i] + (rates[i + 1] - rates[i]) * w(x)        linear, cosine
        lr(t) = rates[i] * (rates[i + 1] / rates[i]) ** x          log

    between milestones i and i + 1, with x the share of the way that is done, and w(x) = x
    ("linear") or (1 - cos(pi * x)) / 2 ("cosine"). Before the first milestone the first rate
    holds, from the last one on the last.

    All values are within 2e-6 of the formula, except within one tick over more than twelve powers
    of ten, on a smooth clock with "log": there within 1e-5.

    Example:
        >>> InterpolatedLR([0, 2, 4], [0.0, 0.5, 0.1]).values(6)
        array([0.  , 0.25, 0.5 , 0.3 , 0.1 , 0.1 ], dtype=float32)
        >>> InterpolatedLR([1, 3], [1.0, 0.01], "log").values(5).round(6)
        array([1.  , 1.  , 0.1 , 0.01, 0.01], dtype=float32)

    Same values as `optax.piecewise_interpolate_schedule`, for linear and cosine.
    """

    milestones: Sequence[int] = integers(
        "Ticks at which a rate is given.", at_least=0, order="increasing"
    )
    rates: Sequence[float] = rates("Learning rates, one for each milestone; > 0 for log.")
    interpolation: str = choice(
        "Curve between milestones.", ("linear", "cosine", "log"), default="linear"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rates) != len(self.milestones):
            raise ValueError(
                "rates must hold one number for each milestone. "
                f"Received: {len(self.rates)} rates, {len(self.milestones)} milestones"
            )
        if self.interpolation == "log" and min(self.rates) == 0:
            raise ValueError(
                'rates must be > 0 with interpolation="log". Received: '
                f"rates[{self.rates.index(0)}]=0.0"
            )

    @property
    def length(self) -> int | None:
        return self.milestones[-1] or None

    @property
    def milestones_to_reach(self) -> Sequence[int]:
        return self.milestones

    def at(self, t: Ticks) -> Tensor:
        if len(self.rates) == 1:
            return table(self.rates, t.count(()))
        knots, rates = tuple(self.milestones), tuple(self.rates)
        if self.interpolation == "log":
            knots, rates = _refined(knots, rates)
        begins, ends = knots[:-1], knots[1:]
        i = t.count(ends[:-1])
        length = table([b - a for a, b in zip(begins, ends, strict=True)], i)
        done = ops.minimum((t - t.pick(list(begins), i)).number() / length, 1.0)
        left = ops.minimum(t.until(t.pick(list(ends), i)) / length, 1.0)
        start, end = table(rates[:-1], i), table(rates[1:], i)
        if self.interpolation == "log":
            slopes = [math.log(b) - math.log(a) for a, b in itertools.pairwise(rates)]
            value = _log(start, end, table(slopes, i), done, left)
        else:
            value = CURVES[self.interpolation](start, end, done, left)
        # Exactly the given rate, also where a compiler rounds the curve's ends.
        value = ops.where(done == 0, start, value)
        return select(t >= knots[-1], rates[-1], value)

    def formula(self, code: Formulas) -> str:
        curve = "rates[i - 1] * (rates[i] / rates[i - 1]) ** x"
        if self.interpolation != "log":
            curve = f"rates[i - 1] + (rates[i] - rates[i - 1]) * {_SHARES[self.interpolation]}"
        return (
            f"milestones = {listed(self.milestones)}\n"
            f"rates = {listed(self.rates)}\n"
            "i = bisect.bisect_right(milestones, t)\n"
            "if i in (0, len(rates)):\n"
            "    return rates[0] if i == 0 else rates[-1]\n"
            "x = (t - milestones[i - 1]) / (milestones[i] - milestones[i - 1])\n"
            f"return {curve}"
        )


def _log(start: Tensor, end: Tensor, slope: Tensor, done: Tensor, left: Tensor) -> Tensor:
    """Returns the curve whose logarithm is a straight line, from the nearer end."""
    return ops.where(done < left, start * ops.exp(slope * done), end * ops.exp(-slope * left))


@functools.lru_cache(maxsize=64)
def _refined(
    milestones: tuple[int, ...], rates: tuple[float, ...]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Returns the milestones and rates with knots between them, computed in double precision.

    An exponent's rounding in float32 grows with the exponent. Between two knots it is at most
    `_LARGEST_EXPONENT`, unless they are one tick apart.
    """
    knots, values = [milestones[0]], [rates[0]]
    for i in range(len(rates) - 1):
        begin, length = milestones[i], milestones[i + 1] - milestones[i]
        low, slope = math.log(rates[i]), math.log(rates[i + 1]) - math.log(rates[i])
        pieces = max(1, min(length, math.ceil(abs(slope) / _LARGEST_EXPONENT)))
        for piece in range(1, pieces):
            knots.append(begin + length * piece // pieces)
            values.append(math.exp(low + slope * (knots[-1] - begin) / length))
        knots.append(milestones[i + 1])
        values.append(rates[i + 1])
    return tuple(knots), tuple(values)
