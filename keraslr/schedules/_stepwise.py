"""Schedules that hold a rate for a while and then jump."""

from __future__ import annotations

from collections.abc import Sequence

from keraslr._parameters import integer, integers, rate, rates, real
from keraslr.schedules._curves import geometric, select, table, terms
from keraslr.schedules._formulas import Formulas, listed
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks


@register
class ConstantLR(Schedule):
    """A reduced rate for the first ticks, then the full one.

        lr(t) = initial_learning_rate * factor    for t < total_iters
        lr(t) = initial_learning_rate             from there on

    With `factor=1.0` it is the constant rate.

    Example:
        >>> ConstantLR(0.1, factor=0.5, total_iters=2).values(3)
        array([0.05, 0.05, 0.1 ], dtype=float32)

    Same values as `torch.optim.lr_scheduler.ConstantLR`.
    """

    initial_learning_rate: float = rate()
    factor: float = real("Factor of the first ticks.", above=0, at_most=1, default=1 / 3)
    total_iters: int = integer("Ticks that are reduced.", default=5)

    pytorch = "multiplies"

    @property
    def length(self) -> int | None:
        return None if self.factor == 1 else self.total_iters

    def at(self, t: Ticks) -> Tensor:
        reduced = self.initial_learning_rate * self.factor
        return select(t < self.total_iters, reduced, self.initial_learning_rate)

    def formula(self, code: Formulas) -> str:
        rate, factor = self.initial_learning_rate, self.factor
        reduced = f"{rate!r} * {factor!r} if t < {self.total_iters} else " if factor != 1 else ""
        return f"return {reduced}{rate!r}"


@register
class StepLR(Schedule):
    """Multiplies the rate by `gamma` every `step_size` ticks.

        lr(t) = initial_learning_rate * gamma ** floor(t / step_size)

    Example:
        >>> StepLR(0.1, step_size=30).values(61)[[29, 30, 60]]
        array([0.1  , 0.01 , 0.001], dtype=float32)

    Same values as `torch.optim.lr_scheduler.StepLR`.
    """

    initial_learning_rate: float = rate()
    step_size: int = integer("Ticks between drops.")
    gamma: float = real("Factor of each drop.", above=0, default=0.1)

    pytorch = "multiplies"

    @property
    def length(self) -> int | None:
        return self.step_size

    def at(self, t: Ticks) -> Tensor:
        return geometric(self.initial_learning_rate, self.gamma, t // self.step_size)

    def formula(self, code: Formulas) -> str:
        return f"return {self.initial_learning_rate!r} * {self.gamma!r} ** (t // {self.step_size})"


@register
class MultiStepLR(Schedule):
    """Multiplies the rate by `gamma` at each milestone.

        lr(t) = initial_learning_rate * gamma ** (number of milestones <= t)

    A milestone given twice counts twice, as in PyTorch.

    Example:
        >>> MultiStepLR(0.5, milestones=[15, 30], gamma=0.5).values(31)[[14, 15, 30]]
        array([0.5  , 0.25 , 0.125], dtype=float32)

    Same values as `torch.optim.lr_scheduler.MultiStepLR`.
    """

    initial_learning_rate: float = rate()
    milestones: Sequence[int] = integers(
        "Ticks at which the rate drops.", at_least=0, order="not decreasing"
    )
    gamma: float = real("Factor of each drop.", above=0, default=0.1)

    pytorch = "multiplies"

    @property
    def length(self) -> int | None:
        return self.milestones[-1] if self.milestones else None

    @property
    def milestones_to_reach(self) -> Sequence[int]:
        return self.milestones

    def at(self, t: Ticks) -> Tensor:
        rates = terms(self.initial_learning_rate, self.gamma, len(self.milestones) + 1)
        return table(rates, t.count(self.milestones))

    def formula(self, code: Formulas) -> str:
        drops = f"bisect.bisect_right({listed(self.milestones)}, t)"
        return f"return {self.initial_learning_rate!r} * {self.gamma!r} ** {drops}"


@register
class PiecewiseConstantLR(Schedule):
    """A given rate in each interval between boundaries.

        lr(t) = rates[number of boundaries < t]

    A boundary is the last tick of its interval, as in Keras: with `boundaries=[100]`, tick 100
    still has `rates[0]`. `MultiStepLR` drops at its milestone, one tick earlier.

    Example:
        >>> PiecewiseConstantLR([2, 4], [0.1, 0.05, 0.01]).values(6)
        array([0.1 , 0.1 , 0.1 , 0.05, 0.05, 0.01], dtype=float32)

    Same values as `keras.optimizers.schedules.PiecewiseConstantDecay`.
    """

    boundaries: Sequence[int] = integers(
        "Last tick of each interval but the last.", at_least=0, order="increasing"
    )
    rates: Sequence[float] = rates("Learning rates, one more than there are boundaries.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.rates) != len(self.boundaries) + 1:
            raise ValueError(
                "rates must hold one number more than boundaries. "
                f"Received: {len(self.rates)} rates, {len(self.boundaries)} boundaries"
            )

    @property
    def length(self) -> int | None:
        return self.boundaries[-1] if self.boundaries else None

    @property
    def milestones_to_reach(self) -> Sequence[int]:
        return tuple(last + 1 for last in self.boundaries)

    def at(self, t: Ticks) -> Tensor:
        return table(self.rates, t.count(tuple(last + 1 for last in self.boundaries)))

    def formula(self, code: Formulas) -> str:
        index = f"bisect.bisect_left({listed(self.boundaries)}, {code.tick})"
        return f"rates = {listed(self.rates)}\nreturn rates[{index}]"
