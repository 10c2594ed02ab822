"""Schedules that swing between two rates along a cosine."""

from __future__ import annotations

from keraslr._parameters import MAX_TICKS, integer, rate
from keraslr.schedules._curves import cosine, select, table
from keraslr.schedules._formulas import Formulas, between
from keraslr.schedules._registry import register
from keraslr.schedules._schedule import Schedule
from keraslr.schedules._ticks import Tensor, Ticks


@register
class CosineAnnealingLR(Schedule):
    """Half a cosine wave from the initial rate to `eta_min`; the rate rises again after `T_max`.

        lr(t) = eta_min + (initial_learning_rate - eta_min) * (1 + cos(pi * t / T_max)) / 2

    Use `.held_after(T_max)` where the run is longer than `T_max` and the rate must stay down.

    Example:
        >>> CosineAnnealingLR(0.1, T_max=2).values(5)
        array([0.1 , 0.05, 0.  , 0.05, 0.1 ], dtype=float32)

    Same values as `torch.optim.lr_scheduler.CosineAnnealingLR`.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (2017),
    without the restarts.
    """

    initial_learning_rate: float = rate("Learning rate at t = 0.")
    T_max: int = integer("Ticks from the initial rate to the lowest.")
    eta_min: float = rate("Lowest learning rate.", at_least=0, default=0.0)

    pytorch = "sets"

    @property
    def length(self) -> int | None:
        return self.T_max

    def at(self, t: Ticks) -> Tensor:
        rising = (t // self.T_max).whole % 2 == 1
        done, left = (t % self.T_max).between(0, self.T_max)
        high, low = self.initial_learning_rate, self.eta_min
        start, end = select(rising, low, high), select(rising, high, low)
        return cosine(start, end, done, left)

    def formula(self, code: Formulas) -> str:
        share = f"(1 + math.cos(math.pi * t / {self.T_max})) / 2"
        return f"return {between(self.eta_min, self.initial_learning_rate, share)}"


@register
class CosineAnnealingWarmRestarts(Schedule):
    """Half cosine waves, each from the initial rate to `eta_min`, each `T_mult` times longer.

        lr(t) = eta_min + (initial_learning_rate - eta_min) * (1 + cos(pi * T_cur / T_i)) / 2

    Cycle i lasts T_i = T_0 * T_mult ** i ticks; T_cur is the time since its start.

    Example:
        >>> CosineAnnealingWarmRestarts(0.1, T_0=2, T_mult=2).values(7)[[0, 1, 2, 4, 6]]
        array([0.1 , 0.05, 0.1 , 0.05, 0.1 ], dtype=float32)

    Same values as `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts`; driven within epochs,
    as `scheduler.step(epoch + i / n)`, they are those of `.per_epoch(n, smooth=True)`.

    Source: Loshchilov and Hutter, SGDR: Stochastic Gradient Descent with Warm Restarts (2017).
    """

    initial_learning_rate: float = rate("Learning rate at the start of each cycle.")
    T_0: int = integer("Ticks of the first cycle.")
    T_mult: int = integer("Each cycle's length as a multiple of the one before.", default=1)
    eta_min: float = rate("Lowest learning rate.", at_least=0, default=0.0)

    pytorch = "sets"

    @property
    def length(self) -> int | None:
        return self.T_0

    def at(self, t: Ticks) -> Tensor:
        if self.T_mult == 1:
            done, left = (t % self.T_0).between(0, self.T_0)
        else:
            done, left = self._within_cycle(t)
        return cosine(self.initial_learning_rate, self.eta_min, done, left)

    def formula(self, code: Formulas) -> str:
        share = "(1 + math.cos(math.pi * t / length)) / 2"
        value = between(self.eta_min, self.initial_learning_rate, share)
        if self.T_mult == 1:
            return f"length = {self.T_0}\nt = t % length\nreturn {value}"
        return (
            f"length = {self.T_0}\nwhile t >= length:\n"
            f"    t, length = t - length, length * {self.T_mult}\nreturn {value}"
        )

    def _within_cycle(self, t: Ticks) -> tuple[Tensor, Tensor]:
        # A table of the few possible starts: a logarithm of t would put some restarts one tick
        # off.
        starts, lengths = [0], [self.T_0]
        while starts[-1] + lengths[-1] <= 2 * MAX_TICKS:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(lengths[-1] * self.T_mult)
        cycle = t.count(tuple(starts[1:]))
        length = table(lengths, cycle)
        # The last cycle may end beyond the largest integer: the excess is counted in floats.
        ends = [min(length, 2 * MAX_TICKS) for length in lengths]
        excess = table([length - end for length, end in zip(lengths, ends, strict=True)], cycle)
        now = t - t.pick(starts, cycle)
        return now.number() / length, now.until(t.pick(ends, cycle), excess) / length
