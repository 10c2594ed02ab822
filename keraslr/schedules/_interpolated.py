"""A schedule through given rates at given times."""

from __future__ import annotations

from collections.abc import Sequence

from keras import ops

from keraslr._parameters import choice, integers, rates
from keraslr.schedules._curves import cosine, linear, select, table
from keraslr.schedules._formulas import Formulas, listed
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks

# Of the share of the way that is done, as text.
_SHARES = {"linear": "x", "cosine": "(1 - math.cos(math.pi * x)) / 2"}


@register
class InterpolatedLR(Schedule):
    """A given rate at each milestone, and a curve from each to the next.

        lr(t) = rates[i] + (rates[i + 1] - rates[i]) * w(x)        linear, cosine
        lr(t) = rates[i] * (rates[i + 1] / rates[i]) ** x          log

    between milestones i and i + 1, with x the share of the way that is done, and w(x) = x
    ("linear") or (1 - cos(pi * x)) / 2 ("cosine"). Before the first milestone the first rate
    holds, from the last one on the last.

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
        first, last = self.rates[0], self.rates[-1]
        if len(self.rates) == 1:
            return table([first], t.count(()))
        begins, ends = self.milestones[:-1], self.milestones[1:]
        i = t.count(ends[:-1])
        length = table([b - a for a, b in zip(begins, ends, strict=True)], i)
        done = ops.minimum((t - t.pick(list(begins), i)).number() / length, 1.0)
        left = ops.minimum(t.until(t.pick(list(ends), i)) / length, 1.0)
        curve = {"linear": linear, "cosine": cosine, "log": _log}[self.interpolation]
        value = curve(table(self.rates[:-1], i), table(self.rates[1:], i), done, left)
        # Exactly the rate that was given, also where a compiler rounds the curve's ends.
        value = ops.where(done == 0, table(self.rates[:-1], i), value)
        return select(t >= self.milestones[-1], last, value)

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


def _log(start: Tensor, end: Tensor, done: Tensor, left: Tensor) -> Tensor:
    """The curve whose logarithm is a straight line, from the nearer end.

    An exponent's rounding grows with it, so that the way is never more than half.
    """
    ratio = ops.log(end) - ops.log(start)
    return ops.where(done < left, start * ops.exp(ratio * done), end * ops.exp(-ratio * left))
