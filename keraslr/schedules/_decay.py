"""Schedules that fall (or rise) along one smooth line."""

from __future__ import annotations

from keras import ops

from keraslr._parameters import integer, rate, real
from keraslr.schedules._curves import geometric, linear
from keraslr.schedules._formulas import Formulas
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks


@register
class LinearLR(Schedule):
    """A straight line between two multiples of the rate, then the second multiple.

        lr(t) = initial_learning_rate * (start_factor * (1 - x) + end_factor * x)
        x = min(t / total_iters, 1)

    Example:
        >>> LinearLR(0.1, start_factor=1.0, end_factor=0.1, total_iters=80).values(81)[[0, 40, 80]]
        array([0.1  , 0.055, 0.01 ], dtype=float32)

    Same values as `torch.optim.lr_scheduler.LinearLR`.
    """

    initial_learning_rate: float = rate()
    start_factor: float = real("Factor at t = 0.", above=0, at_most=1, default=1 / 3)
    end_factor: float = real("Factor at the end.", at_least=0, at_most=1, default=1.0)
    total_iters: int = integer("Ticks from the first factor to the second.", default=5)

    pytorch = "multiplies"

    @property
    def length(self) -> int | None:
        return None if self.start_factor == self.end_factor == 1 else self.total_iters

    def at(self, t: Ticks) -> Tensor:
        done, left = t.between(0, self.total_iters)
        return self.initial_learning_rate * linear(self.start_factor, self.end_factor, done, left)

    def formula(self, code: Formulas) -> str:
        return (
            f"x = min(t / {self.total_iters}, 1)\n"
            f"return {self.initial_learning_rate!r} * "
            f"({self.start_factor!r} * (1 - x) + {self.end_factor!r} * x)"
        )


@register
class ExponentialLR(Schedule):
    """Multiplies the rate by `gamma` every tick.

        lr(t) = initial_learning_rate * gamma ** t

    Example:
        >>> ExponentialLR(0.1, gamma=0.5).values(4)
        array([0.1   , 0.05  , 0.025 , 0.0125], dtype=float32)

    Same values as `torch.optim.lr_scheduler.ExponentialLR`.
    """

    initial_learning_rate: float = rate()
    gamma: float = real("Factor per tick.", above=0)

    pytorch = "multiplies"

    length = None

    def at(self, t: Ticks) -> Tensor:
        return geometric(self.initial_learning_rate, self.gamma, t)

    def formula(self, code: Formulas) -> str:
        return f"return {self.initial_learning_rate!r} * {self.gamma!r}**t"


@register
class PolynomialLR(Schedule):
    """Falls to zero along a power of the remaining time.

        lr(t) = initial_learning_rate * (1 - min(t / total_iters, 1)) ** power

    Example:
        >>> PolynomialLR(0.1, total_iters=4, power=2.0).values(6)[[0, 2, 4, 5]]
        array([0.1  , 0.025, 0.   , 0.   ], dtype=float32)

    Same values as `torch.optim.lr_scheduler.PolynomialLR`.
    """

    initial_learning_rate: float = rate()
    total_iters: int = integer("Ticks until the rate is zero.", default=5)
    power: float = real("Exponent; 1 is a straight line.", above=0, default=1.0)

    pytorch = "multiplies"

    @property
    def length(self) -> int | None:
        return self.total_iters

    def at(self, t: Ticks) -> Tensor:
        _, left = t.between(0, self.total_iters)
        return self.initial_learning_rate * left**self.power

    def formula(self, code: Formulas) -> str:
        exponent = "" if self.power == 1 else f" ** {self.power!r}"
        left = f"(1 - min(t / {self.total_iters}, 1))"
        return f"return {self.initial_learning_rate!r} * {left}{exponent}"


@register
class FactorLR(Schedule):
    """Multiplies the rate by `factor` every tick, down to a floor.

        lr(t) = max(stop_factor_lr, initial_learning_rate * factor ** t)

    Example:
        >>> FactorLR(2.0, factor=0.5, stop_factor_lr=0.3).values(5)
        array([2. , 1. , 0.5, 0.3, 0.3], dtype=float32)

    Source: the factor scheduler of Zhang et al., Dive into Deep Learning (2023), section 12.11,
    which multiplies once before its first value: its plot starts at the value of t = 1 here.
    """

    initial_learning_rate: float = rate()
    factor: float = real("Factor per tick.", above=0)
    stop_factor_lr: float = rate("Lowest learning rate.", at_least=0, default=1e-7)

    length = None

    def at(self, t: Ticks) -> Tensor:
        falling = geometric(self.initial_learning_rate, self.factor, t)
        return ops.maximum(falling, self.stop_factor_lr)

    def formula(self, code: Formulas) -> str:
        falling = f"{self.initial_learning_rate!r} * {self.factor!r}**t"
        return f"return max({falling}, {self.stop_factor_lr!r})"


@register
class InversePowerLR(Schedule):
    """Falls like a power of time: slower than any exponential.

        lr(t) = initial_learning_rate * (1 + beta * t) ** -alpha

    Example:
        >>> InversePowerLR(0.1, beta=1.0, alpha=0.5).values(4)[[0, 3]]
        array([0.1 , 0.05], dtype=float32)

    Source: Robbins and Monro, A Stochastic Approximation Method (1951); the polynomial decay of
    Zhang et al., Dive into Deep Learning (2023), section 12.4.
    """

    initial_learning_rate: float = rate()
    beta: float = real("Speed of the decay, per tick.", above=0, default=0.1)
    alpha: float = real("Exponent; 0.5 suits convex objectives.", above=0, default=0.5)

    length = None

    def at(self, t: Ticks) -> Tensor:
        return self.initial_learning_rate * (1.0 + self.beta * t.number()) ** -self.alpha

    def formula(self, code: Formulas) -> str:
        return f"return {self.initial_learning_rate!r} * (1 + {self.beta!r} * t) ** -{self.alpha!r}"
