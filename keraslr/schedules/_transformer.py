"""Schedules of transformer training: a warm-up, and what follows it."""

from __future__ import annotations

from typing import Any

from keras import ops

from keraslr._parameters import choice, integer, rate, real
from keraslr.schedules._curves import cosine, linear, select
from keraslr.schedules._formulas import Formulas, between, tidy
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks


@register
class InverseSqrtLR(Schedule):
    """A linear warm-up, then the inverse square root of time.

        lr(t) = initial_learning_rate * t / num_warmup_steps                    in the warm-up
        lr(t) = initial_learning_rate / sqrt(1 + (t - num_warmup_steps) / timescale)    after it

    Example:
        >>> InverseSqrtLR(0.1, num_warmup_steps=2).values(9)[[0, 1, 2, 8]].round(6)
        array([0.  , 0.05, 0.1 , 0.05], dtype=float32)

    Same values as `transformers.get_inverse_sqrt_schedule`.

    Source: Raffel et al., Exploring the Limits of Transfer Learning (2020); Zhai et al., Scaling
    Vision Transformers (2022).
    """

    initial_learning_rate: float = rate("Learning rate at the end of the warm-up.")
    num_warmup_steps: int = integer("Ticks of the warm-up; 0 for none.", at_least=0)
    timescale: int | None = integer(
        "Ticks that set the speed of the decay; None for num_warmup_steps, or 10000 without one.",
        default=None,
    )

    length = None

    @property
    def warmup_length(self) -> int:
        return self.num_warmup_steps

    def at(self, t: Ticks) -> Tensor:
        timescale = self.timescale or self.num_warmup_steps or 10_000
        decay = ops.rsqrt(1.0 + t.since(self.num_warmup_steps) / timescale)
        if not self.num_warmup_steps:
            return self.initial_learning_rate * decay
        done, _ = t.between(0, self.num_warmup_steps)
        # During the warm-up the decay is 1; afterwards the warm-up is 1.
        return self.initial_learning_rate * done * decay

    def formula(self, code: Formulas) -> str:
        rate, n = self.initial_learning_rate, self.num_warmup_steps
        rise = f"if t < {n}:\n    return {rate!r} * t / {n}\n" if n else ""
        since, scale = f"(t - {n})" if n else "t", self.timescale or n or 10_000
        return f"{rise}return {rate!r} / math.sqrt(1 + {since} / {scale})"


@register
class WarmupStableDecayLR(Schedule):
    """A warm-up, a plateau, a decay, and a floor.

        lr(t) = initial_learning_rate * (min_lr_ratio + (1 - min_lr_ratio) * w(t))

    w rises from 0 to 1 in `num_warmup_steps` ticks, stays 1 for `num_stable_steps`, falls to 0 in
    `num_decay_steps`, and stays there. With x the share of the rise or of the fall that is done:

        linear    w = x                         w = 1 - x
        cosine    w = (1 - cos(pi * x)) / 2     w = (1 + cos(pi * x)) / 2
        1-sqrt    w = 1 - sqrt(1 - x)           w = 1 - sqrt(x)

    Example:
        >>> WarmupStableDecayLR(0.1, 2, 3, 2, decay_type="linear").values(8)
        array([0.  , 0.05, 0.1 , 0.1 , 0.1 , 0.1 , 0.05, 0.  ], dtype=float32)

    Same values as `transformers.get_wsd_schedule`.

    Source: Hu et al., MiniCPM: Unveiling the Potential of Small Language Models (2024).
    """

    initial_learning_rate: float = rate("Learning rate of the plateau.")
    num_warmup_steps: int = integer("Ticks of the rise; 0 for none.", at_least=0)
    num_stable_steps: int = integer("Ticks of the plateau.", at_least=0)
    num_decay_steps: int = integer("Ticks of the fall; 0 for none.", at_least=0)
    warmup_type: str = choice(
        "Shape of the rise.", ("linear", "cosine", "1-sqrt"), default="linear"
    )
    decay_type: str = choice("Shape of the fall.", ("linear", "cosine", "1-sqrt"), default="cosine")
    min_lr_ratio: float = real(
        "Lowest rate as a share of the plateau's.", at_least=0, at_most=1, default=0.0
    )

    length = None

    @property
    def warmup_length(self) -> int:
        return self.num_warmup_steps

    def at(self, t: Ticks) -> Tensor:
        low, high = self.initial_learning_rate * self.min_lr_ratio, self.initial_learning_rate
        # Begins with the floor: each earlier phase then takes its own ticks.
        value: Any = low
        begins = t - self.num_warmup_steps
        if self.num_decay_steps:
            done, left = (begins - self.num_stable_steps).between(0, self.num_decay_steps)
            value = _shaped(self.decay_type, high, low, done, left)
        value = select(begins < self.num_stable_steps, high, value)
        if self.num_warmup_steps:
            done, left = t.between(0, self.num_warmup_steps)
            rising = _shaped(self.warmup_type, high, low, left, done)
            value = select(t < self.num_warmup_steps, rising, value)
        return value

    def formula(self, code: Formulas) -> str:
        high, low = self.initial_learning_rate, 0.0
        if self.min_lr_ratio:
            low = tidy(high * self.min_lr_ratio)
        begin, falls = self.num_warmup_steps, self.num_warmup_steps + self.num_stable_steps
        lines = []
        if begin:
            lines += [
                f"if t < {begin}:",
                f"    x = t / {begin}",
                f"    return {between(low, high, _RISES[self.warmup_type])}",
            ]
        if self.num_stable_steps:
            lines += [f"if t < {falls}:", f"    return {high!r}"]
        if self.num_decay_steps:
            since = f"(t - {falls})" if falls else "t"
            lines.append(f"x = min({since} / {self.num_decay_steps}, 1)")
            lines.append(f"return {between(low, high, _FALLS[self.decay_type])}")
        else:
            lines.append(f"return {low!r}")
        return "\n".join(lines)


def _shaped(shape: str, high: float, low: float, done: Tensor, left: Tensor) -> Tensor:
    """Returns the curve from `high` at done = 0 to `low` at left = 0; a rise is a reversed fall."""
    if shape == "1-sqrt":
        # 1 - sqrt(done), without the difference of two numbers near 1.
        left = left / (1.0 + ops.sqrt(done))
        return linear(high, low, 1.0 - left, left)
    return (linear if shape == "linear" else cosine)(high, low, done, left)


# The same curves as text: from 0 to 1 and back, of x.
_RISES = {
    "linear": "x",
    "cosine": "(1 - math.cos(math.pi * x)) / 2",
    "1-sqrt": "(1 - math.sqrt(1 - x))",
}
_FALLS = {
    "linear": "(1 - x)",
    "cosine": "(1 + math.cos(math.pi * x)) / 2",
    "1-sqrt": "(1 - math.sqrt(x))",
}
