"""Schedules from a Python function of the tick, kept as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import mul
from typing import Any, cast

from keraslr._parameters import integer, parameters, rate, reals
from keraslr.schedules._curves import table
from keraslr.schedules._formulas import Formulas, Table, listed
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks


class _Tabulated(Schedule):
    """Evaluates `lr_lambda` once, so that any function works in a graph and none is saved."""

    lr_lambda: Any
    total_iters: int

    @property
    def factors(self) -> Sequence[float]:
        """Returns the function's values, which are kept as numbers."""
        return cast("Sequence[float]", self.lr_lambda)

    def _first(self) -> int:
        """First tick for which the function is called."""
        raise NotImplementedError

    def __post_init__(self) -> None:
        declared = parameters(type(self))["total_iters"]
        self._set("total_iters", declared.validated("total_iters", self.total_iters))
        ticks = range(self._first(), self.total_iters + 1)
        if callable(self.lr_lambda):
            self._set("lr_lambda", tuple(self.lr_lambda(t) for t in ticks))
        super().__post_init__()
        if len(self.lr_lambda) != len(ticks):
            raise ValueError(
                f"lr_lambda must be a function or hold a number for each t = {ticks.start}.."
                f"{self.total_iters}, {len(ticks)} in all. Received: {len(self.lr_lambda)} numbers"
            )


@register
class LambdaLR(_Tabulated):
    """The initial rate times any function of the tick.

        lr(t) = initial_learning_rate * lr_lambda(min(t, total_iters))

    The function is called once for each t = 0..total_iters, when the schedule is made, with a
    Python int; what it returned is kept as numbers. Within a tick the value of its start holds.

    Differs from PyTorch: from `total_iters` on the last value holds.

    Example:
        >>> LambdaLR(0.1, lambda epoch: 0.5**epoch, total_iters=2)
        LambdaLR(initial_learning_rate=0.1, lr_lambda=(1.0, 0.5, 0.25), total_iters=2)
        >>> LambdaLR(0.1, lambda epoch: 0.5**epoch, total_iters=2).values(4)
        array([0.1  , 0.05 , 0.025, 0.025], dtype=float32)

    Same values as `torch.optim.lr_scheduler.LambdaLR`.
    """

    initial_learning_rate: float = rate()
    lr_lambda: Callable[[int], float] | Sequence[float] = reals(
        "Factor as a function of t, or its values at t = 0..total_iters.", at_least=0
    )
    total_iters: int = integer("Last tick at which the function is evaluated.", at_least=0)

    def _first(self) -> int:
        return 0

    @property
    def length(self) -> int | None:
        return self.total_iters

    def at(self, t: Ticks) -> Tensor:
        rates = [self.initial_learning_rate * factor for factor in self.lr_lambda]  # type: ignore[union-attr]
        return table(rates, t.at_most(self.total_iters).whole)

    def formula(self, code: Formulas) -> str:
        table = Table(self.factors)
        formula = table.formula.format(t=code.tick, factors="factors")
        factors = f"factors = {listed(table.values)}\n" if table.values else ""
        return f"{factors}return {self.initial_learning_rate!r} * {formula}"


@register
class MultiplicativeLR(_Tabulated):
    """Multiplies the rate at each tick by a function of the tick.

        lr(t) = initial_learning_rate * product of lr_lambda(k) for k = 1..min(t, total_iters)

    The function is called once for each t = 1..total_iters, when the schedule is made (never for
    0, as in PyTorch); what it returned is kept as numbers.

    Differs from PyTorch: from `total_iters` on the last value holds.

    Example:
        >>> MultiplicativeLR(0.1, lambda epoch: 0.5, total_iters=2).values(4)
        array([0.1  , 0.05 , 0.025, 0.025], dtype=float32)

    Same values as `torch.optim.lr_scheduler.MultiplicativeLR`.
    """

    initial_learning_rate: float = rate()
    lr_lambda: Callable[[int], float] | Sequence[float] = reals(
        "Factor as a function of t, or its values at t = 1..total_iters.", at_least=0
    )
    total_iters: int = integer("Last tick at which the rate changes.")

    pytorch = "multiplies"

    def _first(self) -> int:
        return 1

    @property
    def length(self) -> int | None:
        return self.total_iters

    def at(self, t: Ticks) -> Tensor:
        rates = accumulate(self.lr_lambda, mul, initial=self.initial_learning_rate)  # type: ignore[arg-type]
        return table(list(rates), t.at_most(self.total_iters).whole)

    def formula(self, code: Formulas) -> str:
        rate, factors = self.initial_learning_rate, self.factors
        if len(set(factors)) == 1:
            return f"return {rate!r} * {factors[0]!r} ** min({code.tick}, {len(factors)})"
        return f"factors = {listed(factors)}\nreturn {rate!r} * math.prod(factors[:{code.tick}])"
