"""A schedule as PyTorch code: with PyTorch's own schedulers where they give the same rates.

What was tried with PyTorch 2.13 and decides where they do:

- All schedulers of an optimizer share its one initial rate.
- `MultiplicativeLR` that is not the first of a `SequentialLR` goes on from the rate it finds.
- In a `ChainedScheduler` only some multiply; the others set the rate, and undo the rest.
- `OneCycleLR` raises once it is stepped beyond its end.
- A `SequentialLR` within another is not started at its milestone.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

from keraslr import schedules
from keraslr.schedules import Schedule, parameters
from keraslr.schedules._formulas import Table, listed, rising, tidy
from keraslr.snippets._formulas import Formulas, bracketed, call, literal

_PREFIX = "torch.optim.lr_scheduler."

# A float32 rate divided by the initial one, where both mean the same.
_EQUAL = 2e-7


@dataclasses.dataclass(frozen=True)
class Code:
    """What differs from schedule to schedule in a training script.

    Attributes:
        steps_per_epoch: Steps between two calls of the scheduler; None for a call after each.
        learning_rate: Of the optimizer.
        definitions: Functions and lists that the scheduler needs, each of one or more lines.
        scheduler: Expression that makes it.
        notes: Sentences on where PyTorch differs, or why this is a formula.
    """

    steps_per_epoch: int | None
    learning_rate: float
    definitions: tuple[str, ...]
    scheduler: str
    notes: tuple[str, ...]


def batches(n: int) -> str:
    """Number of batches, as text."""
    return f"{n} batch{'' if n == 1 else 'es'}"


class _UnlikeError(Exception):
    """PyTorch's schedulers give other rates; the text, if any, says why."""


def written(schedule: Schedule, epochs: int | None, steps_per_epoch: int | None) -> Code:
    """Returns the code of the schedule for a run of that length; None for an unknown length."""
    # A rate near the ends of float32 may not be one any more when it is scaled.
    try:
        schedule = _outwards(_scaled(schedule))
    except ValueError:
        schedule = _outwards(schedule)
    ticks = epochs * steps_per_epoch if epochs and steps_per_epoch else math.inf
    per_epoch = None
    about_clock = []
    match schedule:
        case schedules.PerEpoch(steps_per_epoch=n, smooth=False) if steps_per_epoch in (None, n):
            per_epoch, ticks, schedule = n, epochs or math.inf, schedule.schedule
        case schedules.PerEpoch(steps_per_epoch=n) if steps_per_epoch not in (None, n):
            about_clock.append(
                f"An epoch of the schedule has {batches(n)}, one of the loader {steps_per_epoch}."
            )
    try:
        rate, definitions, scheduler, notes = _Native(ticks).scheduler(schedule)
    except _UnlikeError as why:
        notes = [str(why)] if str(why) else []
        tick = "epoch" if per_epoch else "batch"
        notes.append(f"LambdaLR multiplies lr=1.0 by rate(t), the learning rate of {tick} t.")
        formulas = Formulas(_fractions(schedule))
        rate, scheduler = 1.0, f"{_PREFIX}LambdaLR(optimizer, {formulas.add(schedule, 'rate')})"
        definitions = formulas.functions
    return Code(per_epoch, rate, tuple(definitions), scheduler, (*about_clock, *notes))


def within(schedule: Schedule) -> Iterator[Schedule]:
    """Yields the schedule and all its inner schedules."""
    yield schedule
    for each in schedule.inner_schedules():
        yield from within(each)


def _fractions(schedule: Schedule) -> bool:
    """Whether an inner clock shows fractions of ticks."""
    return any(isinstance(part, schedules.PerEpoch) and part.smooth for part in within(schedule))


def _scaled(schedule: Schedule, factor: float = 1.0) -> Schedule:
    """Returns the schedule times the factor, without a `Scaled` in it."""
    if isinstance(schedule, schedules.Scaled):
        return _scaled(schedule.schedule, factor * schedule.factor)
    changes: dict[str, Any] = {}
    for name, parameter in parameters(type(schedule)).items():
        value = getattr(schedule, name)
        several = value if isinstance(value, tuple) else (value,)
        if any(isinstance(each, Schedule) for each in several):
            scaled: list[Any] = [_scaled(each, factor) for each in several]
        elif parameter.is_rate and factor != 1 and value is not None:
            scaled = [tidy(factor * each) for each in several]
        else:
            continue
        changes[name] = tuple(scaled) if isinstance(value, tuple) else scaled[0]
    return dataclasses.replace(schedule, **changes)


def _outwards(schedule: Schedule) -> Schedule:
    """Returns the same rates with a `PerEpoch` on the outside, where it can be moved there."""
    inner: Sequence[Schedule]
    match schedule:
        case schedules.Clipped():
            inner = (schedule.schedule,)
        case schedules.ChainedScheduler() | schedules.SequentialLR():
            inner = schedule.schedules
        case _:
            return schedule
    clocks = [_outwards(each) for each in inner]
    kinds = {
        (each.steps_per_epoch, each.smooth) if isinstance(each, schedules.PerEpoch) else None
        for each in clocks
    }
    kind, milestones = kinds.pop(), getattr(schedule, "milestones", ())
    if kinds or kind is None or any(at % kind[0] for at in milestones):
        return schedule
    slow = tuple(each.schedule for each in clocks if isinstance(each, schedules.PerEpoch))
    changes: dict[str, Any] = {"schedules": slow}
    if isinstance(schedule, schedules.Clipped):
        changes = {"schedule": slow[0]}
    if milestones:
        changes["milestones"] = tuple(at // kind[0] for at in milestones)
    return schedules.PerEpoch(dataclasses.replace(schedule, **changes), *kind)


@dataclasses.dataclass(frozen=True)
class _Part:
    """One of several schedules in turn: a schedule, or the rise of a `Warmup`."""

    begin: int
    schedule: Schedule

    @property
    def is_rise(self) -> bool:
        return isinstance(self.schedule, schedules.Warmup)


def _parts(schedule: Schedule, begin: int = 0, end: float = math.inf) -> list[_Part]:
    """Returns the parts without nested sequences, as PyTorch needs them."""
    match schedule:
        case schedules.Warmup(schedule=inner, steps=n):
            parts = [_Part(begin, schedule), *_parts(inner, begin + n, end)]
        case schedules.SequentialLR(schedules=each, milestones=milestones):
            begins = [begin + at for at in (0, *milestones)]
            ends = [*begins[1:], math.inf]
            parts = [
                part
                for args in zip(each, begins, ends, strict=True)
                for part in _parts(args[0], args[1], min(args[2], end))
            ]
        case _:
            parts = [_Part(begin, schedule)]
    return [part for part in parts if part.begin < end]


class _Native:
    """Writes PyTorch's own schedulers, or raises `_UnlikeError`.

    Attributes:
        definitions: Lists of factors that were needed.
        notes: What was met on the way.
    """

    def __init__(self, ticks: float):
        """Makes a writer for a run of `ticks`, infinity where that is not known."""
        self._ticks = ticks
        self.definitions: list[str] = []
        self.notes: list[str] = []

    def scheduler(self, schedule: Schedule) -> tuple[float, list[str], str, list[str]]:
        """Returns the optimizer's rate, the definitions, the scheduler and the notes."""
        parts = _parts(schedule)
        if any(isinstance(part.schedule, schedules.MultiplicativeLR) for part in parts[1:]):
            raise _UnlikeError(
                "PyTorch's MultiplicativeLR would go on from the rate that it finds at its "
                "milestone; hence a formula."
            )
        ends = [part.begin for part in parts[1:]]
        made = [
            self._made(part, end)
            for part, end in zip(parts, [*ends, math.inf], strict=True)
            if not part.is_rise
        ]
        bases = {_base(part.schedule) for part in parts if not part.is_rise}
        if len(bases) > 1:
            raise _UnlikeError(
                "PyTorch's schedulers share the optimizer's one initial rate, and these begin "
                "from several; hence a formula."
            )
        base = bases.pop()
        if len(parts) == 1:
            return base, self.definitions, made[0], self.notes
        rest = iter(made)
        lines = [
            self._rise(part.schedule, base)
            if isinstance(part.schedule, schedules.Warmup)
            else next(rest)
            for part in parts
        ]
        scheduler = _call(
            "SequentialLR",
            ["optimizer", f"schedulers={bracketed(lines)}", f"milestones={listed(ends)}"],
        )
        return base, self.definitions, scheduler, self.notes

    def _made(self, part: _Part, end: float) -> str:
        schedule, alone = part.schedule, part.begin == 0 and end == math.inf
        if isinstance(schedule, schedules.ChainedScheduler) and alone:
            return self._chained(schedule)
        if isinstance(schedule, schedules.OneCycleLR):
            self._check_one_cycle(schedule, min(end, self._ticks) - part.begin)
        return self._leaf(schedule)

    def _check_one_cycle(self, schedule: schedules.OneCycleLR, ticks: float) -> None:
        length, risen = schedule.length, schedule.pct_start * schedule.length - 1
        if length - 1 in (risen, 2 * risen if schedule.three_phase else risen):
            # PyTorch enters it in the call that follows the last step.
            raise _UnlikeError(
                "PyTorch's OneCycleLR would end with an error, since its last phase takes no "
                "time; hence a formula."
            )
        if ticks == math.inf:
            self.notes.append(
                f"PyTorch's OneCycleLR ends with an error after its {length} steps; in keraslr the "
                "last rate holds."
            )
        elif ticks > length:
            raise _UnlikeError(
                f"PyTorch's OneCycleLR would end with an error after its {length} steps, and the "
                "last rate is to hold; hence a formula."
            )

    def _chained(self, schedule: schedules.ChainedScheduler) -> str:
        for each in schedule.schedules:
            if len(schedule.schedules) > 1 and each.pytorch != "multiplies":
                raise _UnlikeError(
                    f"PyTorch's ChainedScheduler gives other rates with a {type(each).__name__} in "
                    "it; hence a formula."
                )
        made = [self._leaf(each) for each in schedule.schedules]
        return _call("ChainedScheduler", [bracketed(made)])

    def _leaf(self, schedule: Schedule) -> str:
        name = type(schedule).__name__
        match schedule:
            case schedules.LambdaLR():
                table = Table(schedule.factors)
                listed_as = self._listed(table.values)
                return _lambda(name, table.formula.format(t="t", factors=listed_as))
            case schedules.MultiplicativeLR(total_iters=n):
                factors = schedule.factors
                if len(set(factors)) == 1:
                    return _lambda(name, f"{factors[0]!r} if t <= {n} else 1.0")
                return _lambda(name, f"{self._listed(factors)}[t - 1] if t <= {n} else 1.0")
            case schedules.CyclicLR() | schedules.OneCycleLR():
                given = [*_given(schedule), "cycle_momentum=False"]
                return _call(name, ["optimizer", *given])
            case _ if schedule.pytorch:
                return _call(name, ["optimizer", *_given(schedule)[1:]])
        raise _UnlikeError

    def _listed(self, factors: Sequence[float]) -> str:
        if not factors:
            return ""
        name = f"factors_{len(self.definitions) + 1}" if self.definitions else "factors"
        self.definitions.append(f"{name} = {listed(factors)}")
        return name

    def _rise(self, warmup: schedules.Warmup, base: float) -> str:
        # A schedule that does not begin at its initial rate is led up to by a formula.
        if base == 0 or abs(float(warmup.schedule.values(1)[0]) / base - 1) > _EQUAL:
            raise _UnlikeError
        start, steps = tidy(warmup.start_lr / base), warmup.steps
        if 0 < start <= 1 and warmup.mode == "linear":
            return _call("LinearLR", ["optimizer", f"start_factor={start!r}", _total(steps)])
        if 0 < start <= 1 and warmup.mode == "constant":
            return _call("ConstantLR", ["optimizer", f"factor={start!r}", _total(steps)])
        return _lambda("LambdaLR", rising(start, "1", steps, warmup.mode))


def _base(schedule: Schedule) -> float:
    """Returns the optimizer's rate with which PyTorch's scheduler begins like this schedule."""
    match schedule:
        case schedules.CyclicLR(base_lr=base):
            return base
        case schedules.OneCycleLR():
            return schedule.max_lr / schedule.div_factor
    assert schedule.base_learning_rate is not None
    return schedule.base_learning_rate


def _given(schedule: Schedule) -> list[str]:
    """Returns the arguments as PyTorch takes them, without those equal to their default."""
    lines = []
    for field in dataclasses.fields(schedule):
        value = getattr(schedule, field.name)
        if field.name in ("epochs", "steps_per_epoch"):
            continue  # OneCycleLR's length, which total_steps holds
        if value != field.default:
            text = listed(value) if isinstance(value, tuple) else literal(value)
            lines.append(f"{field.name}={text}")
    return lines


def _total(steps: int) -> str:
    return f"total_iters={steps}"


def _call(name: str, arguments: list[str]) -> str:
    return call(_PREFIX + name, arguments)


def _lambda(name: str, formula: str) -> str:
    return _call(name, ["optimizer", f"lambda t: {formula}"])
