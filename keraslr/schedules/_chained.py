"""Schedules whose factors are multiplied."""

from __future__ import annotations

from collections.abc import Sequence

from keraslr.schedules._formulas import Formulas
from keraslr.schedules._registry import register, schedules
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks


@register
class ChainedScheduler(Schedule):
    """Multiplies the factors of schedules that share one initial rate.

        lr(t) = base * product of schedules[i](t) / base

    with base the initial learning rate that all of them must have.

    Differs from PyTorch: a factor is the schedule's rate over its initial one, whatever the others
    do. PyTorch's CosineAnnealingLR with eta_min > 0 gives other, even negative rates in a chain;
    its LambdaLR, CyclicLR, OneCycleLR and CosineAnnealingWarmRestarts undo what came before them.

    Example:
        >>> parts = ConstantLR(0.1, factor=0.5, total_iters=2), ExponentialLR(0.1, gamma=0.5)
        >>> ChainedScheduler(parts).values(4)
        array([0.05  , 0.025 , 0.025 , 0.0125], dtype=float32)

    Same values as `torch.optim.lr_scheduler.ChainedScheduler` otherwise.
    """

    schedules: Sequence[Schedule] = schedules("The schedules; they share one initial rate.")

    def __post_init__(self) -> None:
        super().__post_init__()
        bases = [each.base_learning_rate for each in self.schedules]
        if None in bases or len(set(bases)) > 1:
            raise ValueError(
                "schedules must share one initial learning rate. Received: "
                + ", ".join(
                    f"{type(each).__name__} with {'none' if base is None else base}"
                    for each, base in zip(self.schedules, bases, strict=True)
                )
            )

    @property
    def base_learning_rate(self) -> float | None:
        """Initial rate that the schedules share."""
        return self.schedules[0].base_learning_rate

    length = None

    def at(self, t: Ticks) -> Tensor:
        base = self.base_learning_rate
        assert base is not None  # checked when it was made
        value = self.schedules[0].at(t)
        for each in self.schedules[1:]:
            value = value * (each.at(t) / base)
        return value

    def formula(self, code: Formulas) -> str:
        base = self.base_learning_rate
        first, *others = (f"{code.add(each)}(t)" for each in self.schedules)
        return "return " + " * ".join([first, *(f"({each} / {base!r})" for each in others)])
