"""What every schedule is and can do, and the schedules made of other schedules."""

from __future__ import annotations

from typing import Any

import numpy as np
from keras import ops

from keraslr._parameters import Number, choice, flag, integer, integers, real
from keraslr.schedules._curves import CURVES, select
from keraslr.schedules._registry import Registered, register, schedule, schedules
from keraslr.schedules._ticks import Tensor, Ticks, float32


class Schedule(Registered):
    """A learning rate as a function of the optimizer step.

    Pass one as `learning_rate` to any Keras optimizer, call it with a step, or ask for its
    `values`. Schedules are immutable, equal by value, and their `repr` is a line of Python that
    rebuilds them.

    To add one, subclass this, declare the parameters, write `at`, and decorate with `register`:

        @register
        class HalvedLR(Schedule):
            \"\"\"Halves the rate every `period` ticks.\"\"\"

            initial_learning_rate: float = rate()
            period: int = integer("Ticks between two halvings.")

            def at(self, t):
                return geometric(self.initial_learning_rate, 0.5, t // self.period)
    """

    def at(self, t: Ticks) -> Tensor:
        """The rate at time `t`, in float32: the schedule's formula."""
        raise NotImplementedError(f"{type(self).__name__} must define at(self, t).")

    def __call__(self, step: Any) -> Tensor:
        """The learning rate of optimizer step `step`.

        Args:
            step: Integer scalar, array, tensor or variable of any shape, >= 0.

        Returns:
            float32 tensor of that shape.

        Raises:
            TypeError: `step` is not made of integers.
            ValueError: A Python or NumPy `step` is negative.
        """
        return self.at(Ticks.of_steps(step))

    def values(self, n: int, start: int = 0) -> np.ndarray:
        """The rates that a run of n steps uses, computed in one call.

        Args:
            n: Number of optimizer steps, >= 0.
            start: First step, >= 0.

        Returns:
            float32 array of shape (n,).

        Example:
            >>> import keraslr
            >>> keraslr.LinearLR(1.0, start_factor=0.5, total_iters=4).values(6)
            array([0.5  , 0.625, 0.75 , 0.875, 1.   , 1.   ], dtype=float32)
        """
        n = Number("", int, at_least=0).validated("n", n)
        start = Number("", int, at_least=0).validated("start", start)
        return ops.convert_to_numpy(self(np.arange(start, start + n, dtype=np.int64)))

    @property
    def base_learning_rate(self) -> float | None:
        """The rate that this schedule multiplies by factors; None if it sets rates outright."""
        return getattr(self, "initial_learning_rate", None)

    # The combinators, which are defined below.

    def per_epoch(self, steps_per_epoch: int, smooth: bool = False) -> PerEpoch:
        """This schedule with a clock that ticks once per epoch; see `PerEpoch`."""
        return PerEpoch(self, steps_per_epoch, smooth)

    def with_warmup(self, steps: int, start_lr: float = 0.0, mode: str = "linear") -> Warmup:
        """This schedule after a warm-up of `steps` ticks; see `Warmup`."""
        return Warmup(self, steps, start_lr, mode)

    def then(self, other: Schedule, at: int) -> SequentialLR:
        """This schedule until tick `at`, from there `other` from its own start; see `SequentialLR`.

        A chain of several `then` is one `SequentialLR`.
        """
        if isinstance(self, SequentialLR):
            return SequentialLR((*self.schedules, other), (*self.milestones, at))
        return SequentialLR((self, other), (at,))

    def clipped(self, min_lr: float = 0.0, max_lr: float | None = None) -> Clipped:
        """This schedule kept within bounds; see `Clipped`."""
        return Clipped(self, min_lr, max_lr)

    def held_after(self, t: int) -> HeldAfter:
        """This schedule with its value at tick `t` kept from then on; see `HeldAfter`."""
        return HeldAfter(self, t)

    def __mul__(self, factor: float) -> Scaled:
        return Scaled(self, factor)

    __rmul__ = __mul__


class _Wrapper(Schedule):
    """A schedule around one other, whose factors it keeps."""

    schedule: Schedule

    @property
    def base_learning_rate(self) -> float | None:
        """The inner schedule's."""
        return self.schedule.base_learning_rate


@register
class PerEpoch(_Wrapper):
    """Runs a schedule on a clock that ticks once per epoch.

        lr(step) = schedule(floor(step / steps_per_epoch))
        lr(step) = schedule(step / steps_per_epoch)           with smooth

    Without it one optimizer step is one tick. Schedules that jump do so at whole ticks, smooth or
    not.

    Example:
        >>> PerEpoch(StepLR(0.1, step_size=1, gamma=0.5), steps_per_epoch=3).values(7)
        array([0.1  , 0.1  , 0.1  , 0.05 , 0.05 , 0.05 , 0.025], dtype=float32)

    Same values as a PyTorch scheduler stepped once per epoch; with `smooth`, as
    `CosineAnnealingWarmRestarts.step(epoch + i / steps_per_epoch)`.
    """

    schedule: Schedule = schedule("The schedule, counted in epochs.")
    steps_per_epoch: int = integer("Optimizer steps per epoch: ceil(examples / batch size).")
    smooth: bool = flag("Whether the clock also runs within an epoch.", default=False)

    def at(self, t: Ticks) -> Tensor:
        slow = t / self.steps_per_epoch if self.smooth else t // self.steps_per_epoch
        return self.schedule.at(slow)


@register
class Warmup(_Wrapper):
    """Leads up to a schedule's first value, then runs the schedule from its start.

        lr(t) = start_lr + (schedule(0) - start_lr) * w(t / steps)    for t < steps
        lr(t) = schedule(t - steps)                                   from there on

    with w(x) = x ("linear"), (1 - cos(pi * x)) / 2 ("cosine"), or 0 ("constant": `start_lr` until
    the schedule begins).

    Example:
        >>> Warmup(StepLR(0.1, step_size=2), steps=2).values(6)
        array([0.  , 0.05, 0.1 , 0.1 , 0.01, 0.01], dtype=float32)

    Source: Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour (2017); He et
    al., Deep Residual Learning for Image Recognition (2016) for the constant one.
    """

    schedule: Schedule = schedule("The schedule to lead up to.")
    steps: int = integer("Ticks of the warm-up.")
    start_lr: float = real("Learning rate at t = 0.", at_least=0, default=0.0)
    mode: str = choice("Shape of the rise.", ("linear", "constant", "cosine"), default="linear")

    def at(self, t: Ticks) -> Tensor:
        # Until the warm-up ends this is the schedule's value at its t = 0.
        after = self.schedule.at(t - self.steps)
        if self.mode == "constant":
            return select(t < self.steps, self.start_lr, after)
        rising = CURVES[self.mode](self.start_lr, after, *t.between(0, self.steps))
        return ops.where(t < self.steps, rising, after)


@register
class SequentialLR(Schedule):
    """Runs schedules one after another, each from its own start.

        lr(t) = schedules[i](t - milestones[i - 1]),    i = number of milestones <= t

    Example:
        >>> parts = ConstantLR(0.1, factor=0.5, total_iters=2), ExponentialLR(0.1, gamma=0.5)
        >>> SequentialLR(parts, milestones=[2]).values(5)
        array([0.05 , 0.05 , 0.1  , 0.05 , 0.025], dtype=float32)

    Same values as `torch.optim.lr_scheduler.SequentialLR` for schedules with one initial rate.

    Differs from PyTorch: a schedule that PyTorch can only step (MultiplicativeLR) begins at its
    own initial rate, not where the one before it stopped.
    """

    schedules: tuple[Schedule, ...] = schedules("The schedules in their order.")
    milestones: tuple[int, ...] = integers(
        "Ticks at which the next one begins.", at_least=1, order="increasing"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.milestones) != len(self.schedules) - 1:
            raise ValueError(
                "milestones must hold one integer less than there are schedules. "
                f"Received: {len(self.milestones)} milestones, {len(self.schedules)} schedules"
            )

    @property
    def base_learning_rate(self) -> float | None:
        """The schedules' own, if they share one."""
        rates = {each.base_learning_rate for each in self.schedules}
        return rates.pop() if len(rates) == 1 else None

    def at(self, t: Ticks) -> Tensor:
        value = self.schedules[0].at(t)
        for begin, each in zip(self.milestones, self.schedules[1:], strict=True):
            value = ops.where(t >= begin, each.at(t - begin), value)
        return value


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

    schedules: tuple[Schedule, ...] = schedules("The schedules; they share one initial rate.")

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
        """The schedules' common one."""
        return self.schedules[0].base_learning_rate

    def at(self, t: Ticks) -> Tensor:
        base = self.base_learning_rate
        assert base is not None  # checked when it was made
        value = self.schedules[0].at(t)
        for each in self.schedules[1:]:
            value = value * (each.at(t) / base)
        return value


@register
class Scaled(_Wrapper):
    """Multiplies a schedule's rates by a number; `schedule * factor` makes one.

        lr(t) = factor * schedule(t)

    Example:
        >>> (2 * ExponentialLR(0.1, gamma=0.5)).values(3)
        array([0.2 , 0.1 , 0.05], dtype=float32)
    """

    schedule: Schedule = schedule("The schedule to scale.")
    factor: float = real("Factor of every rate.", above=0)

    @property
    def base_learning_rate(self) -> float | None:
        """The inner schedule's, scaled."""
        base = self.schedule.base_learning_rate
        return None if base is None else base * self.factor

    def at(self, t: Ticks) -> Tensor:
        return self.factor * self.schedule.at(t)


@register
class Clipped(_Wrapper):
    """Keeps a schedule's rates within bounds.

        lr(t) = min(max(schedule(t), min_lr), max_lr)

    Example:
        >>> Clipped(ExponentialLR(0.1, gamma=0.5), min_lr=0.03).values(4)
        array([0.1 , 0.05, 0.03, 0.03], dtype=float32)
    """

    schedule: Schedule = schedule("The schedule to clip.")
    min_lr: float = real("Lowest learning rate.", at_least=0)
    max_lr: float | None = real("Highest learning rate; None for no bound.", above=0, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_lr is not None and self.max_lr < self.min_lr:
            raise ValueError(
                f"max_lr must be >= min_lr. Received: max_lr={self.max_lr}, min_lr={self.min_lr}"
            )

    def at(self, t: Ticks) -> Tensor:
        value = ops.maximum(self.schedule.at(t), float32(self.min_lr))
        return value if self.max_lr is None else ops.minimum(value, float32(self.max_lr))


@register
class HeldAfter(_Wrapper):
    """Keeps a schedule's value at one tick from then on.

        lr(t) = schedule(min(t, last))

    Example:
        >>> HeldAfter(CosineAnnealingLR(0.1, T_max=2), 2).values(5)
        array([0.1 , 0.05, 0.  , 0.  , 0.  ], dtype=float32)
    """

    schedule: Schedule = schedule("The schedule to hold.")
    t: int = integer("Tick whose value is kept.", at_least=0)

    def at(self, t: Ticks) -> Tensor:
        return self.schedule.at(t.at_most(self.t))
