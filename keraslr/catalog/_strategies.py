"""The table of strategies: name, class, sensible values, and when to use it.

Widgets, command line and documentation read this table; none keeps another list.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from keraslr import callbacks, schedules
from keraslr.catalog._ranges import Fixed, Range


@dataclasses.dataclass(frozen=True)
class Strategy:
    """One entry of the catalog.

    Attributes:
        name: Unique name, as `keraslr.get` takes it.
        cls: Class that implements it: a schedule, or for "reduce on plateau" a callback.
        values: Sensible values by parameter name. Lengths are in ticks, sized for runs of some
            thirty ticks (epochs).
        good: When to use it.
        bad: What to beware of.
    """

    name: str
    cls: type
    values: Mapping[str, Range | Fixed]
    good: str
    bad: str

    @property
    def label(self) -> str:
        """Name as a heading."""
        return self.name[:1].upper() + self.name[1:]

    @property
    def is_schedule(self) -> bool:
        """Whether the strategy is a function of the step, and not of the course of the training."""
        return issubclass(self.cls, schedules.Schedule)

    def build(self, **arguments: Any) -> Any:
        """Returns the strategy with these arguments, and the catalog's values for the others."""
        defaults = {name: value.default for name, value in self.values.items()}
        if {"total_steps", "epochs", "steps_per_epoch"} & set(arguments):
            defaults.pop("total_steps", None)  # a given length replaces the catalog's
        return self.cls(**{**defaults, **arguments})


_RATE = Range(1e-4, 1.0, 0.1, log=True)
_MIN_RATE = Range(0.0, 0.1, 0.0)
_LENGTH = Range(1, 100, 30)


def _strategy(name: str, cls: type, good: str, bad: str, /, **values: Range | Fixed) -> Strategy:
    return Strategy(name, cls, MappingProxyType(values), good, bad)


_STRATEGIES = (
    _strategy(
        "constant", schedules.ConstantLR,
        "the baseline that every schedule has to beat",
        "the noise of the last steps never dies down",
        initial_learning_rate=_RATE, factor=Range(0.01, 1.0, 1.0), total_iters=Range(1, 100, 5),
    ),
    _strategy(
        "linear decay", schedules.LinearLR,
        "uniform, predictable decrease to a floor",
        "ignores how training goes",
        initial_learning_rate=_RATE, start_factor=Range(0.01, 1.0, 1.0),
        end_factor=Range(0.0, 1.0, 0.1), total_iters=_LENGTH,
    ),
    _strategy(
        "step decay", schedules.StepLR,
        "converges in stages; fits steady optimisation such as convolutional networks",
        "fixed steps may come too early or too late",
        initial_learning_rate=_RATE, step_size=Range(1, 100, 10), gamma=Range(0.05, 1.0, 0.5),
    ),
    _strategy(
        "multi-step decay", schedules.MultiStepLR,
        "drops where earlier runs have shown a plateau",
        "milestones beyond the end of the run are never reached",
        initial_learning_rate=_RATE, milestones=Fixed((15, 25)), gamma=Range(0.05, 1.0, 0.5),
    ),
    _strategy(
        "piecewise constant", schedules.PiecewiseConstantLR,
        "rates that are known for each stage of training",
        "as many rates to choose as there are stages",
        boundaries=Fixed((10, 20)), rates=Fixed((0.1, 0.03, 0.01)),
    ),
    _strategy(
        "interpolated", schedules.InterpolatedLR,
        "a curve through rates that are known at some epochs",
        "as many rates to choose as there are milestones",
        milestones=Fixed((0, 5, 30)), rates=Fixed((0.01, 0.1, 0.001)),
        interpolation=Fixed("linear"),
    ),
    _strategy(
        "exponential decay", schedules.ExponentialLR,
        "smooth decay for long training or complex data",
        "a badly set rate decays too early or too late; too small a gamma drives the rate to 0 "
        "within a few epochs",
        initial_learning_rate=_RATE, gamma=Range(0.5, 1.0, 0.9),
    ),
    _strategy(
        "factor decay", schedules.FactorLR,
        "exponential decay that stops at a rate that still learns",
        "a factor and a floor to set",
        initial_learning_rate=_RATE, factor=Range(0.5, 1.0, 0.9),
        stop_factor_lr=Range(1e-7, 0.1, 1e-3, log=True),
    ),
    _strategy(
        "polynomial decay", schedules.PolynomialLR,
        "reaches zero exactly at the end of a run of known length",
        "the length must match the run",
        initial_learning_rate=_RATE, total_iters=_LENGTH, power=Range(0.2, 5.0, 1.0),
    ),
    _strategy(
        "inverse power decay", schedules.InversePowerLR,
        "runs of unknown length; the decay that stochastic approximation proves to converge",
        "slow once the rate is small",
        initial_learning_rate=_RATE, beta=Range(0.01, 10.0, 0.1, log=True),
        alpha=Range(0.1, 2.0, 0.5),
    ),
    _strategy(
        "inverse square root", schedules.InverseSqrtLR,
        "pre-training of transformers, also of unknown length",
        "ends at a high rate unless a cool-down follows",
        initial_learning_rate=_RATE, num_warmup_steps=Range(0, 30, 5),
        timescale=Range(1, 100, 5),
    ),
    _strategy(
        "warm-up, stable, decay", schedules.WarmupStableDecayLR,
        "long pre-training from which runs of several lengths can branch off",
        "three lengths to set",
        initial_learning_rate=_RATE, num_warmup_steps=Range(0, 30, 5),
        num_stable_steps=Range(0, 100, 15), num_decay_steps=Range(0, 100, 10),
        warmup_type=Fixed("linear"), decay_type=Fixed("cosine"), min_lr_ratio=Range(0.0, 1.0, 0.0),
    ),
    _strategy(
        "cosine annealing", schedules.CosineAnnealingLR,
        "natural cycle; stable in the middle and late phases; noisy data over many epochs",
        "the period must match the task",
        initial_learning_rate=_RATE, T_max=_LENGTH, eta_min=_MIN_RATE,
    ),
    _strategy(
        "cosine warm restarts", schedules.CosineAnnealingWarmRestarts,
        "periodic restarts explore at several scales and escape poor minima",
        "period and multiplier to set",
        initial_learning_rate=_RATE, T_0=Range(1, 100, 10), T_mult=Range(1, 4, 2),
        eta_min=_MIN_RATE,
    ),
    _strategy(
        "cyclical", schedules.CyclicLR,
        "leaves local minima; broad search",
        "the range is hard to set; narrow applicability",
        base_lr=Range(1e-5, 0.1, 1e-3, log=True),
        max_lr=Range(1e-3, 1.0, 0.1, log=True), step_size_up=Range(1, 50, 5),
        step_size_down=Range(1, 50, 5), mode=Fixed("triangular"), gamma=Range(0.8, 1.0, 0.95),
    ),
    _strategy(
        "one cycle", schedules.OneCycleLR,
        "fast, stable; fine-tuning and small data",
        "middling on long training",
        max_lr=_RATE, total_steps=_LENGTH, pct_start=Range(0.05, 0.95, 0.3),
        anneal_strategy=Fixed("cos"), div_factor=Range(1.0, 100.0, 25.0),
        final_div_factor=Range(1.0, 1e6, 1e4, log=True), three_phase=Fixed(False),
    ),
    _strategy(
        "lambda", schedules.LambdaLR,
        "any factor that a function of the epoch can give",
        "kept as numbers up to a last tick, which has to be given",
        initial_learning_rate=_RATE, lr_lambda=Fixed(tuple(0.95**t for t in range(31))),
        total_iters=Fixed(30),
    ),
    _strategy(
        "multiplicative", schedules.MultiplicativeLR,
        "a factor per tick that changes on the way",
        "kept as numbers up to a last tick, which has to be given",
        initial_learning_rate=_RATE, lr_lambda=Fixed((0.95,) * 30), total_iters=Fixed(30),
    ),
    _strategy(
        "warm-up", schedules.Warmup,
        "prevents early divergence with large rates, large batches or very deep networks; "
        "applies to any schedule",
        "one more length to set",
        schedule=Fixed(schedules.ConstantLR(0.1, factor=1.0)), steps=Range(1, 30, 5),
        start_lr=Range(0.0, 0.1, 0.0), mode=Fixed("linear"),
    ),
    _strategy(
        "reduce on plateau", callbacks.ReduceLROnPlateau,
        "adapts to the validation metric; steady late convergence",
        "depends on the validation set; patience is hard to set",
        factor=Range(0.05, 0.9, 0.1), patience=Range(0, 20, 5),
        threshold=Range(1e-6, 0.1, 1e-4, log=True), cooldown=Range(0, 10, 0),
        min_lr=Range(0.0, 0.01, 0.0),
    ),
)  # fmt: skip

CATALOG: Mapping[str, Strategy] = MappingProxyType({each.name: each for each in _STRATEGIES})


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def find(name: str) -> Strategy:
    """Returns the catalog's entry of that name (or class), ignoring capitals, spaces and hyphens.

    Raises:
        TypeError: `name` is not a string.
        ValueError: There is none; the error lists the names and the nearest one.
    """
    if not isinstance(name, str):
        raise TypeError(f"name must be a string. Received: name={name!r} ({type(name).__name__})")
    known = {_plain(each.cls.__name__): each for each in _STRATEGIES}
    known |= {_plain(each.name): each for each in _STRATEGIES}
    if _plain(name) in known:
        return known[_plain(name)]
    near = difflib.get_close_matches(_plain(name), known, n=1)
    hint = f' Did you mean "{known[near[0]].name}"?' if near else ""
    names = ", ".join(f'"{each}"' for each in CATALOG)
    raise ValueError(f"name must be one of {names}. Received: name={name!r}.{hint}")


def get(name: str, **arguments: Any) -> Any:
    """Builds a strategy by its catalog name.

    Args:
        name: For example "cosine annealing"; capitals, spaces and hyphens do not matter.
        **arguments: The class's own; those left out take the catalog's values.

    Returns:
        A schedule, or for "reduce on plateau" a callback.

    Raises:
        TypeError, ValueError: The name or an argument is wrong; the error says which.

    Example:
        >>> get("step decay", initial_learning_rate=0.3, step_size=5)
        StepLR(initial_learning_rate=0.3, step_size=5, gamma=0.5)
    """
    return find(name).build(**arguments)
