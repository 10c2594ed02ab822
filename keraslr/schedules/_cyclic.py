"""Schedules that go up to a highest rate and down again."""

from __future__ import annotations

from keras import ops

from keraslr._parameters import (
    FLOAT32_LARGEST,
    choice,
    flag,
    integer,
    rate,
    real,
)
from keraslr.schedules._curves import CURVES, geometric, select
from keraslr.schedules._formulas import Formulas, between, tidy
from keraslr.schedules._registry import register, schedule
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks, float32


@register
class CyclicLR(Schedule):
    """Rises from `base_lr` to `max_lr` and falls again, cycle after cycle.

        lr(t) = base_lr + (max_lr - base_lr) * height(t) * scale(t)

    Within a cycle, height rises from 0 to 1 in `step_size_up` ticks and falls to 0 in
    `step_size_down`. With c the number of finished cycles, scale is 1 ("triangular"), 0.5 ** c
    ("triangular2") or gamma ** t ("exp_range").

    Example:
        >>> CyclicLR(0.001, 0.006, step_size_up=2).values(5)
        array([0.001 , 0.0035, 0.006 , 0.0035, 0.001 ], dtype=float32)

    Same values as `torch.optim.lr_scheduler.CyclicLR`.

    Source: Smith, Cyclical Learning Rates for Training Neural Networks (2017).
    """

    base_lr: float = rate("Lowest learning rate, at the start of each cycle.", at_least=0)
    max_lr: float = rate("Highest learning rate.")
    step_size_up: int = integer("Ticks from the lowest rate to the highest.", default=2000)
    step_size_down: int | None = integer(
        "Ticks from the highest rate to the lowest; None for as many as up.", default=None
    )
    mode: str = choice(
        "What becomes of the height.", ("triangular", "triangular2", "exp_range"),
        default="triangular",
    )  # fmt: skip
    gamma: float = real('Factor per tick of "exp_range".', above=0, default=1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_lr < self.base_lr:
            raise ValueError(
                f"max_lr must be >= base_lr. Received: max_lr={self.max_lr}, base_lr={self.base_lr}"
            )

    @property
    def cycle_length(self) -> int:
        """Ticks of one cycle."""
        return self.step_size_up + (self.step_size_down or self.step_size_up)

    def momentum_schedule(
        self, base_momentum: float = 0.8, max_momentum: float = 0.9
    ) -> CycledMomentum:
        """Returns the momentum that PyTorch cycles with this rate; see `CycledMomentum`."""
        return CycledMomentum(self, base_momentum, max_momentum)

    @property
    def length(self) -> int | None:
        return self.cycle_length

    def at(self, t: Ticks) -> Tensor:
        return self._cycle(t, self.base_lr, self.max_lr)

    def formula(self, code: Formulas) -> str:
        length, up = self.cycle_length, self.step_size_up
        scale = {
            "triangular": "",
            "triangular2": f" * 0.5 ** (t // {length})",
            "exp_range": f" * {self.gamma!r}**t",
        }[self.mode]
        return (
            f"place = t % {length}\n"
            f"height = place / {up} if place < {up} else ({length} - place) / {length - up}\n"
            f"return {between(self.base_lr, self.max_lr, 'height')}{scale}"
        )

    def _cycle(self, t: Ticks, start: float, peak: float) -> Tensor:
        """Returns `start` at the ends of each cycle, `peak` in the middle of the first one."""
        now = t % self.cycle_length
        up, _ = now.between(0, self.step_size_up)
        _, down = now.between(self.step_size_up, self.cycle_length)
        height = select(now < self.step_size_up, up, down)
        # The amplitude starts as the whole span: a gamma > 1 overflows no sooner than the rate.
        swing: Tensor = peak - start
        if self.mode == "triangular2" and swing:
            swing = geometric(swing, 0.5, t // self.cycle_length)
        elif self.mode == "exp_range" and swing:
            swing = geometric(swing, self.gamma, t)
        return start + swing * height


@register
class OneCycleLR(Schedule):
    """One rise to `max_lr` and one long fall, far below the initial rate.

        lr(t) = curve from max_lr / div_factor            at t = 0
                to         max_lr                         at t = pct_start * total_steps - 1
                to         max_lr / div_factor / final_div_factor    at t = total_steps - 1

    With `three_phase`, the fall first mirrors the rise, down to max_lr / div_factor at
    t = 2 * pct_start * total_steps - 2, and then goes on to the lowest rate. The length is
    `total_steps`, or `epochs * steps_per_epoch`. Drive it per step: its clock is the optimizer's.

    Differs from PyTorch: after the last step the last value holds, where PyTorch raises.

    Example:
        >>> schedule = OneCycleLR(1.0, total_steps=11, pct_start=6 / 11, anneal_strategy="linear")
        >>> schedule.values(11)[[0, 5, 10]]
        array([4.e-02, 1.e+00, 4.e-06], dtype=float32)

    Same values as `torch.optim.lr_scheduler.OneCycleLR`.

    Source: Smith and Topin, Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates (2018).
    """

    max_lr: float = rate("Highest learning rate.")
    total_steps: int | None = integer("Ticks of the cycle.", default=None)
    epochs: int | None = integer("Epochs of the cycle, instead of total_steps.", default=None)
    steps_per_epoch: int | None = integer("Optimizer steps per epoch.", default=None)
    pct_start: float = real(
        "Share of the cycle in which the rate rises.", at_least=0, at_most=1, default=0.3
    )
    anneal_strategy: str = choice("Shape of rise and fall.", ("cos", "linear"), default="cos")
    div_factor: float = real("Highest rate over the first.", above=0, default=25.0)
    final_div_factor: float = real("First rate over the last.", above=0, default=1e4)
    three_phase: bool = flag("Whether the fall first mirrors the rise.", default=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        given = None
        if self.epochs is not None and self.steps_per_epoch is not None:
            given = self.epochs * self.steps_per_epoch
        if self.total_steps is None:
            if given is None:
                raise ValueError(
                    "total_steps must be given, or both epochs and steps_per_epoch. Received: "
                    f"epochs={self.epochs}, steps_per_epoch={self.steps_per_epoch}"
                )
            length = type(self).__dataclass_fields__["total_steps"].metadata
            self._set("total_steps", next(iter(length.values())).validated("total_steps", given))
        elif given not in (None, self.total_steps):
            raise ValueError(
                "total_steps must equal epochs * steps_per_epoch where all are given. Received: "
                f"total_steps={self.total_steps}, epochs={self.epochs}, "
                f"steps_per_epoch={self.steps_per_epoch}"
            )
        if float(self.pct_start * self.length) == 1.0:
            raise ValueError(
                "pct_start * total_steps must not be 1: the rise would take no time. Received: "
                f"pct_start={self.pct_start}, total_steps={self.total_steps}"
            )
        if max(self._rates()) > FLOAT32_LARGEST:
            raise ValueError(
                "div_factor and final_div_factor must keep the rates within float32's range. "
                f"Received: max_lr={self.max_lr}, div_factor={self.div_factor}, "
                f"final_div_factor={self.final_div_factor}"
            )

    @property
    def length(self) -> int:
        """Ticks of the cycle."""
        assert self.total_steps is not None  # set when it was made
        return self.total_steps

    @property
    def base_learning_rate(self) -> None:
        """None: the rates are set outright."""
        return None

    def momentum_schedule(
        self, base_momentum: float = 0.85, max_momentum: float = 0.95
    ) -> CycledMomentum:
        """Returns the momentum that PyTorch cycles with this rate; see `CycledMomentum`."""
        return CycledMomentum(self, base_momentum, max_momentum)

    def at(self, t: Ticks) -> Tensor:
        return self._cycle(t, *self._rates())

    def formula(self, code: Formulas) -> str:
        first, last = self.length, self.length - 1
        start = tidy(self.max_lr / self.div_factor)
        floor = tidy(self.max_lr / self.div_factor / self.final_div_factor)
        # With PyTorch's roundings: the peak need not fall on a whole tick.
        ends = [(float(self.pct_start * first) - 1, self.max_lr)]
        if self.three_phase:
            ends.append((2 * self.pct_start * first - 2, start))
        phases = ", ".join(f"({end!r}, {rate!r})" for end, rate in [*ends, (last, floor)])
        shape = {"linear": "x", "cos": "(1 - math.cos(math.pi * x)) / 2"}[self.anneal_strategy]
        return (
            f"t, begin, start = min(t, {last}), 0, {start!r}\n"
            f"for end, target in [{phases}]:\n"
            "    if t <= end:\n"
            "        x = (t - begin) / (end - begin)\n"
            f"        return start + (target - start) * {shape}\n"
            "    begin, start = end, target"
        )

    def _rates(self) -> tuple[float, float, float]:
        first = self.max_lr / self.div_factor
        return first, self.max_lr, first / self.final_div_factor

    def _cycle(self, t: Ticks, first: float, peak: float, last: float) -> Tensor:
        curve = CURVES[self.anneal_strategy]
        # In doubles and with PyTorch's roundings: the peak need not fall on a whole tick.
        risen = float(self.pct_start * self.length) - 1
        if self.three_phase:
            ends = [(risen, peak), (2 * self.pct_start * self.length - 2, first)]
        else:
            ends = [(risen, peak)]
        ends.append((self.length - 1, last))
        t = t.at_most(self.length - 1)
        value, begin, rate_begin = None, 0.0, first
        for end, rate_end in ends:
            # A phase that takes no time is never entered.
            if value is None or end > begin:
                phase = curve(rate_begin, rate_end, *t.between(begin, end))
                value = phase if value is None else ops.where(t.since(begin) > 0, phase, value)
            begin, rate_begin = end, rate_end
        return float32(value)


@register
class CycledMomentum(Schedule):
    """Momentum that falls where a cycle's rate rises, and rises where it falls.

        momentum(t) = max_momentum - (max_momentum - base_momentum) * height(t) * scale(t)

    With a `CyclicLR`, height and scale are those of its formula; a gamma > 1 takes the momentum
    below `base_momentum`, as in PyTorch. With a `OneCycleLR`, scale is 1 and height rises and falls
    as the rate does between its first value and the highest, in the same shape; it stays 0 in the
    last of three phases. `schedule.momentum_schedule(...)` makes one.

    Pass it as `momentum` to `keraslr.optimizers.SGD` or as `beta_1` to `keraslr.optimizers.Adam`,
    beside the schedule as `learning_rate`. If one of the two is run `per_epoch`, so must be the
    other.

    Example:
        >>> rate = OneCycleLR(1.0, total_steps=11, pct_start=6 / 11, anneal_strategy="linear")
        >>> CycledMomentum(rate, base_momentum=0.85, max_momentum=0.95).values(11)[[0, 5, 10]]
        array([0.95, 0.85, 0.95], dtype=float32)

    Same values as `cycle_momentum=True` gives in `torch.optim.lr_scheduler.OneCycleLR` and
    `CyclicLR`.

    Source: Smith, A Disciplined Approach to Neural Network Hyper-Parameters: Part 1 (2018).
    """

    schedule: OneCycleLR | CyclicLR = schedule("The rate's, a OneCycleLR or CyclicLR.")
    base_momentum: float = real("Lowest momentum, where the rate is highest.", at_least=0, below=1)
    max_momentum: float = real("Highest momentum, at the start.", at_least=0, below=1)

    def __post_init__(self) -> None:
        # Checked before the declaration, which accepts any schedule.
        if not isinstance(self.schedule, OneCycleLR | CyclicLR):
            raise TypeError(
                "schedule must be a OneCycleLR or CyclicLR. "
                f"Received: schedule={self.schedule!r} ({type(self.schedule).__name__})"
            )
        super().__post_init__()
        if self.max_momentum < self.base_momentum:
            raise ValueError(
                "max_momentum must be >= base_momentum. Received: "
                f"max_momentum={self.max_momentum}, base_momentum={self.base_momentum}"
            )

    # The cycle, which is one of its parts, has one.
    length = None

    def at(self, t: Ticks) -> Tensor:
        low, high = self.base_momentum, self.max_momentum
        if isinstance(self.schedule, OneCycleLR):
            return self.schedule._cycle(t, high, low, high)
        return self.schedule._cycle(t, high, low)
