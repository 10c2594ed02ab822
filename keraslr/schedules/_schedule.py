"""The base class of schedules, and the schedules composed of other schedules."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from keras import ops

from keraslr._parameters import Number, choice, flag, integer, integers, parameters, rate, real
from keraslr.schedules._curves import CURVES, select
from keraslr.schedules._formulas import Formulas, rising, since
from keraslr.schedules._registry import Registered, register, schedule, schedules
from keraslr.schedules._ticks import Tensor, Ticks, float32

# Schedules within a schedule: each with its last tick, and optimizer steps a tick.
Parts: TypeAlias = "Iterator[tuple[Schedule, float, int]]"


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
        """Returns the rate at time `t`, in float32: the schedule's formula."""
        raise NotImplementedError(f"{type(self).__name__} must define at(self, t).")

    # Read by `keraslr.check` and `keraslr.snippets`, and declared beside the formula. Plain
    # attributes, so that a parameter may have one of these names.
    if TYPE_CHECKING:

        @property
        def length(self) -> int | None:
            """Ticks after which the schedule has shown its shape; None without such a length."""

        @property
        def warmup_length(self) -> int:
            """Ticks before the full rate."""

        @property
        def milestones_to_reach(self) -> Sequence[int]:
            """Ticks that a run must reach for the schedule to take its course."""

    else:
        length, warmup_length, milestones_to_reach = None, 0, ()

    # In PyTorch's scheduler of the same name and arguments: "multiplies" or "sets" the rate it
    # finds; "" where there is none.
    pytorch: str = ""

    def formula(self, code: Formulas) -> str:
        """Returns the body of a Python function of t that gives the rate, for PyTorch's LambdaLR.

        `code.add(inner)` is the name of an inner schedule's function, `code.tick` the whole tick.
        """
        raise ValueError(
            "schedule must be made of keraslr's own classes to be written for PyTorch. "
            f"Received: {type(self).__name__}"
        )

    def inner_schedules(self) -> Iterator[Schedule]:
        """Yields the schedules that are parameters of this one."""
        for name in parameters(type(self)):
            value = getattr(self, name)
            for each in value if isinstance(value, tuple) else (value,):
                if isinstance(each, Schedule):
                    yield each

    def clocked_parts(self, last: float, per_tick: int = 1) -> Parts:
        """Yields the inner schedules, each with its last tick and the optimizer steps of a tick.

        Args:
            last: Last tick of this schedule.
            per_tick: Optimizer steps of one of its ticks.
        """
        for each in self.inner_schedules():
            yield each, last, per_tick

    def __call__(self, step: Any) -> Tensor:
        """Returns the learning rate of optimizer step `step`.

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
        """Returns the rates of a run of n steps, computed in one call.

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
        """Rate that this schedule multiplies by factors; None if it sets rates directly."""
        return getattr(self, "initial_learning_rate", None)

    # The combinators, which are defined below.

    def per_epoch(self, steps_per_epoch: int, smooth: bool = False) -> PerEpoch:
        """Returns this schedule with a clock that ticks once per epoch; see `PerEpoch`."""
        return PerEpoch(self, steps_per_epoch, smooth)

    def with_warmup(self, steps: int, start_lr: float = 0.0, mode: str = "linear") -> Warmup:
        """Returns this schedule after a warm-up of `steps` ticks; see `Warmup`."""
        return Warmup(self, steps, start_lr, mode)

    def then(self, other: Schedule, at: int) -> SequentialLR:
        """Returns this schedule until tick `at`, then `other` from its start; see `SequentialLR`.

        A chain of several `then` is one `SequentialLR`.
        """
        if isinstance(self, SequentialLR):
            return SequentialLR((*self.schedules, other), (*self.milestones, at))
        return SequentialLR((self, other), (at,))

    def clipped(self, min_lr: float = 0.0, max_lr: float | None = None) -> Clipped:
        """Returns this schedule kept within bounds; see `Clipped`."""
        return Clipped(self, min_lr, max_lr)

    def held_after(self, t: int) -> HeldAfter:
        """Returns this schedule with its value at tick `t` kept from then on; see `HeldAfter`."""
        return HeldAfter(self, t)

    def __mul__(self, factor: float) -> Scaled:
        return Scaled(self, factor)

    __rmul__ = __mul__


class _Wrapper(Schedule):
    """A schedule around one inner schedule, whose factors it keeps."""

    schedule: Schedule

    @property
    def base_learning_rate(self) -> float | None:
        """Rate of the inner schedule."""
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

    length = None

    def clocked_parts(self, last: float, per_tick: int = 1) -> Parts:
        n = self.steps_per_epoch
        yield self.schedule, last / n if self.smooth else last // n, per_tick * n

    def at(self, t: Ticks) -> Tensor:
        slow = t / self.steps_per_epoch if self.smooth else t // self.steps_per_epoch
        return self.schedule.at(slow)

    def formula(self, code: Formulas) -> str:
        divided = "/" if self.smooth else "//"
        return f"return {code.add(self.schedule)}(t {divided} {self.steps_per_epoch})"


@register
class Warmup(_Wrapper):
    """Rises to a schedule's first value, then runs the schedule from its start.

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
    start_lr: float = rate("Learning rate at t = 0.", at_least=0, default=0.0)
    mode: str = choice("Shape of the rise.", ("linear", "constant", "cosine"), default="linear")

    @property
    def length(self) -> int | None:
        return self.steps

    @property
    def warmup_length(self) -> int:
        return self.steps

    def clocked_parts(self, last: float, per_tick: int = 1) -> Parts:
        yield self.schedule, last - self.steps, per_tick

    def at(self, t: Ticks) -> Tensor:
        # Until the warm-up ends this is the schedule's value at its t = 0.
        after = self.schedule.at(t - self.steps)
        if self.mode == "constant":
            return select(t < self.steps, self.start_lr, after)
        rising = CURVES[self.mode](self.start_lr, after, *t.between(0, self.steps))
        return ops.where(t < self.steps, rising, after)

    def formula(self, code: Formulas) -> str:
        inner, steps = code.add(self.schedule), self.steps
        rise = rising(self.start_lr, f"{inner}(0)", steps, self.mode)
        return f"if t < {steps}:\n    return {rise}\nreturn {inner}(t - {steps})"


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

    schedules: Sequence[Schedule] = schedules("The schedules in their order.")
    milestones: Sequence[int] = integers(
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
        """Rate of the schedules, if they share one."""
        rates = {each.base_learning_rate for each in self.schedules}
        return rates.pop() if len(rates) == 1 else None

    length = None

    @property
    def milestones_to_reach(self) -> Sequence[int]:
        return self.milestones

    def clocked_parts(self, last: float, per_tick: int = 1) -> Parts:
        begins, ends = (0, *self.milestones), (*self.milestones, math.inf)
        for begin, end, each in zip(begins, ends, self.schedules, strict=True):
            yield each, min(last, end - 1) - begin, per_tick

    def at(self, t: Ticks) -> Tensor:
        value = self.schedules[0].at(t)
        for begin, each in zip(self.milestones, self.schedules[1:], strict=True):
            value = ops.where(t >= begin, each.at(t - begin), value)
        return value

    def formula(self, code: Formulas) -> str:
        names = [code.add(each) for each in self.schedules]
        lines, begin = [], 0
        for name, end in zip(names, self.milestones, strict=False):
            lines += [f"if t < {end}:", f"    return {name}({since(begin)})"]
            begin = end
        return "\n".join([*lines, f"return {names[-1]}({since(begin)})"])


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
        """Rate of the inner schedule, scaled."""
        base = self.schedule.base_learning_rate
        return None if base is None else base * self.factor

    length = None

    def at(self, t: Ticks) -> Tensor:
        return self.factor * self.schedule.at(t)

    def formula(self, code: Formulas) -> str:
        return f"return {self.factor!r} * {code.add(self.schedule)}(t)"


@register
class Clipped(_Wrapper):
    """Keeps a schedule's rates within bounds.

        lr(t) = min(max(schedule(t), min_lr), max_lr)

    Example:
        >>> Clipped(ExponentialLR(0.1, gamma=0.5), min_lr=0.03).values(4)
        array([0.1 , 0.05, 0.03, 0.03], dtype=float32)
    """

    schedule: Schedule = schedule("The schedule to clip.")
    min_lr: float = rate("Lowest learning rate.", at_least=0)
    max_lr: float | None = rate("Highest learning rate; None for no bound.", default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_lr is not None and self.max_lr < self.min_lr:
            raise ValueError(
                f"max_lr must be >= min_lr. Received: max_lr={self.max_lr}, min_lr={self.min_lr}"
            )

    length = None

    def at(self, t: Ticks) -> Tensor:
        value = ops.maximum(self.schedule.at(t), float32(self.min_lr))
        return value if self.max_lr is None else ops.minimum(value, float32(self.max_lr))

    def formula(self, code: Formulas) -> str:
        raised = f"max({code.add(self.schedule)}(t), {self.min_lr!r})"
        return (
            f"return {raised}" if self.max_lr is None else f"return min({raised}, {self.max_lr!r})"
        )


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

    length = None

    def clocked_parts(self, last: float, per_tick: int = 1) -> Parts:
        yield self.schedule, min(last, self.t), per_tick

    def at(self, t: Ticks) -> Tensor:
        return self.schedule.at(t.at_most(self.t))

    def formula(self, code: Formulas) -> str:
        return f"return {code.add(self.schedule)}(min(t, {self.t}))"
