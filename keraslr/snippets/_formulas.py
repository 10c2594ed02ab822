"""Schedules as plain Python functions of t, for what PyTorch has no scheduler for."""

from __future__ import annotations

import keyword
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import cast

from keraslr import schedules
from keraslr.schedules import Schedule

# Of a line in the code that is written.
WIDTH = 88


def tidy(value: float) -> float:
    """`value` without the last digit or two, which are a computation's roundings."""
    return float(f"{value:.15g}")


def literal(value: object) -> str:
    """A number or a name as formatters write it."""
    # NumPy's float64 is a float, but not written as one.
    text = repr(float(value) if isinstance(value, float) else value)
    return f'"{text[1:-1]}"' if text.startswith("'") and '"' not in text else text


def listed(values: Iterable[object]) -> str:
    """A list of numbers, over several lines if it is long."""
    text = ", ".join(map(repr, values))
    if len(text) <= WIDTH - 24:
        return f"[{text}]"
    lines = textwrap.wrap(f"{text},", WIDTH - 8, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["[", *(f"    {line}" for line in lines), "]"])


def wrapped(text: str) -> str:
    """An expression whose line breaks, if it needs any, are within brackets."""
    if len(text) <= WIDTH:
        return text
    lines = textwrap.wrap(text, WIDTH - 4, break_long_words=False, break_on_hyphens=False)
    return "\n".join(["(", *(f"    {line}" for line in lines), ")"])


def bracketed(items: Sequence[str]) -> str:
    """A list of expressions, over several lines if it is long."""
    text = f"[{', '.join(items)}]"
    if len(text) <= WIDTH // 3 and "\n" not in text:
        return text
    return f"[\n{_indented(items)}]"


def call(function: str, arguments: Sequence[str]) -> str:
    """A call, over several lines if one is too long."""
    text = ", ".join(arguments)
    if len(function) + len(text) <= WIDTH - 16 and "\n" not in text:
        return f"{function}({text})"
    if len(text) <= WIDTH - 16 and "\n" not in text:
        return f"{function}(\n    {text}\n)"
    return f"{function}(\n{_indented(arguments)})"


def _indented(items: Sequence[str]) -> str:
    return "".join(f"{textwrap.indent(item, '    ')},\n" for item in items)


def factors_of(schedule: schedules.LambdaLR | schedules.MultiplicativeLR) -> Sequence[float]:
    """What the schedule's function gave, which is kept as numbers."""
    return cast("Sequence[float]", schedule.lr_lambda)


class Table:
    """A list of factors in little code: a constant, a power, a staircase, or else the list itself.

    The last factor holds from its index on.

    Attributes:
        formula: Of an index, `{t}`; with `{factors}` where the name of the list goes.
        values: What has to be listed; empty for a constant or a power.
    """

    def __init__(self, factors: Sequence[float]):
        changes = [t for t in range(1, len(factors)) if factors[t] != factors[t - 1]]
        kept = list(factors[: changes[-1] + 1]) if changes else [factors[0]]
        first, last = kept[0], len(kept) - 1
        ratio = tidy(kept[1] / first) if changes and first else 0.0
        self.values: list[float] = []
        if not changes:
            self.formula = repr(first)
        elif last >= 3 and ratio > 0 and _alike(kept, [first * ratio**t for t in range(last + 1)]):
            power = f"{ratio!r} ** min({{t}}, {last})"
            self.formula = power if first == 1 else f"{first!r} * {power}"
        elif 3 * len(changes) < last:
            self.values = [first, *(factors[t] for t in changes)]
            self.formula = f"{{factors}}[bisect.bisect_right({changes}, {{t}})]"
        else:
            self.values = kept
            self.formula = f"{{factors}}[min({{t}}, {last})]"


def _alike(some: Sequence[float], others: Sequence[float]) -> bool:
    return all(math.isclose(a, b, rel_tol=1e-12) for a, b in zip(some, others, strict=True))


class Formulas:
    """Functions of t, one for each schedule within a schedule.

    Attributes:
        functions: The text of each, those that are called before their callers.
    """

    def __init__(self, fractions: bool):
        """Makes an empty collection; `fractions` says whether t may lie between whole ticks."""
        self.functions: list[str] = []
        # A table has entries for whole ticks only.
        self._tick = "int(t)" if fractions else "t"
        self._names: dict[Schedule, str] = {}

    def add(self, schedule: Schedule, name: str = "") -> str:
        """Writes the schedule's function, unless there is one; returns its name."""
        if schedule in self._names:
            return self._names[schedule]
        # Those within it first: that gives them the plain names, and the order of definition.
        body = self._body(schedule)
        name = name or self._free_name(schedule)
        self._names[schedule] = name
        self.functions.append(f"def {name}(t):\n{textwrap.indent(body, '    ')}")
        return name

    def _free_name(self, schedule: Schedule) -> str:
        words = re.findall("[A-Z][a-z]+", type(schedule).__name__.removesuffix("LR"))
        plain = "_".join(words).lower()
        plain = name = "tabulated" if keyword.iskeyword(plain) else plain
        taken, number = set(self._names.values()), 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        return name

    def _body(self, schedule: Schedule) -> str:
        match schedule:
            case schedules.LambdaLR(initial_learning_rate=rate):
                return self._product(rate, Table(factors_of(schedule)))
            case schedules.MultiplicativeLR():
                return self._running_product(schedule)
            case schedules.MultiStepLR(initial_learning_rate=rate, milestones=at, gamma=gamma):
                return f"return {rate!r} * {gamma!r} ** bisect.bisect_right({listed(at)}, t)"
            case schedules.PiecewiseConstantLR(boundaries=at, rates=rates):
                index = f"bisect.bisect_left({listed(at)}, {self._tick})"
                return f"rates = {listed(rates)}\nreturn rates[{index}]"
            case schedules.Warmup():
                return self._warmup(schedule)
            case schedules.SequentialLR():
                names = [self.add(each) for each in schedule.schedules]
                lines, begin = [], 0
                for name, end in zip(names, schedule.milestones, strict=False):
                    lines += [f"if t < {end}:", f"    return {name}({_since(begin)})"]
                    begin = end
                return "\n".join([*lines, f"return {names[-1]}({_since(begin)})"])
            case schedules.ChainedScheduler(base_learning_rate=base):
                first, *others = (f"{self.add(each)}(t)" for each in schedule.schedules)
                return "return " + " * ".join([first, *(f"({each} / {base!r})" for each in others)])
            case schedules.Clipped(schedule=inner, min_lr=low, max_lr=high):
                raised = f"max({self.add(inner)}(t), {low!r})"
                return f"return {raised}" if high is None else f"return min({raised}, {high!r})"
            case schedules.HeldAfter(schedule=inner, t=last):
                return f"return {self.add(inner)}(min(t, {last}))"
            case schedules.Scaled(schedule=inner, factor=factor):
                return f"return {factor!r} * {self.add(inner)}(t)"
            case schedules.PerEpoch(schedule=inner, steps_per_epoch=n, smooth=smooth):
                return f"return {self.add(inner)}(t {'/' if smooth else '//'} {n})"
        return _closed_form(schedule)

    def _product(self, rate: float, table: Table) -> str:
        formula = table.formula.format(t=self._tick, factors="factors")
        factors = f"factors = {listed(table.values)}\n" if table.values else ""
        return f"{factors}return {rate!r} * {formula}"

    def _running_product(self, schedule: schedules.MultiplicativeLR) -> str:
        rate, factors = schedule.initial_learning_rate, factors_of(schedule)
        if len(set(factors)) == 1:
            return f"return {rate!r} * {factors[0]!r} ** min({self._tick}, {len(factors)})"
        return f"factors = {listed(factors)}\nreturn {rate!r} * math.prod(factors[:{self._tick}])"

    def _warmup(self, schedule: schedules.Warmup) -> str:
        inner, steps, start = self.add(schedule.schedule), schedule.steps, schedule.start_lr
        rise = rising(start, f"{inner}(0)", steps, schedule.mode)
        return f"if t < {steps}:\n    return {rise}\nreturn {inner}(t - {steps})"


def _since(begin: int) -> str:
    return f"t - {begin}" if begin else "t"


def rising(start: float, end: str, steps: int, mode: str) -> str:
    """The formula of a warm-up from `start` to `end`, of t."""
    share = {"linear": f"t / {steps}", "cosine": f"(1 - math.cos(math.pi * t / {steps})) / 2"}
    if mode == "constant":
        return repr(start)
    if start == 0:
        return share[mode] if end == "1" else f"{end} * {share[mode]}"
    return f"{start!r} + ({end} - {start!r}) * {share[mode]}"


def _between(low: float, high: object, share: str) -> str:
    """From `low`, where the share is 0, to `high`, where it is 1."""
    return f"{high!r} * {share}" if low == 0 else f"{low!r} + ({high!r} - {low!r}) * {share}"


def _closed_form(schedule: Schedule) -> str:
    match schedule:
        case schedules.ConstantLR(initial_learning_rate=rate, factor=factor, total_iters=n):
            reduced = f"{rate!r} * {factor!r} if t < {n} else " if factor != 1 else ""
            return f"return {reduced}{rate!r}"
        case schedules.LinearLR(initial_learning_rate=rate, start_factor=a, end_factor=b):
            done = f"x = min(t / {schedule.total_iters}, 1)"
            return f"{done}\nreturn {rate!r} * ({a!r} * (1 - x) + {b!r} * x)"
        case schedules.StepLR(initial_learning_rate=rate, step_size=n, gamma=gamma):
            return f"return {rate!r} * {gamma!r} ** (t // {n})"
        case schedules.ExponentialLR(initial_learning_rate=rate, gamma=gamma):
            return f"return {rate!r} * {gamma!r}**t"
        case schedules.FactorLR(initial_learning_rate=rate, factor=factor, stop_factor_lr=low):
            return f"return max({rate!r} * {factor!r}**t, {low!r})"
        case schedules.PolynomialLR(initial_learning_rate=rate, total_iters=n, power=power):
            exponent = "" if power == 1 else f" ** {power!r}"
            return f"return {rate!r} * (1 - min(t / {n}, 1)){exponent}"
        case schedules.InversePowerLR(initial_learning_rate=rate, beta=beta, alpha=alpha):
            return f"return {rate!r} * (1 + {beta!r} * t) ** -{alpha!r}"
        case schedules.CosineAnnealingLR(initial_learning_rate=rate, T_max=n, eta_min=low):
            return f"return {_between(low, rate, f'(1 + math.cos(math.pi * t / {n})) / 2')}"
        case schedules.CosineAnnealingWarmRestarts(initial_learning_rate=rate, eta_min=low):
            return _warm_restarts(schedule.T_0, schedule.T_mult, low, rate)
        case schedules.CyclicLR():
            return _cyclic(schedule)
        case schedules.OneCycleLR():
            return _one_cycle(schedule)
        case schedules.InverseSqrtLR(initial_learning_rate=rate, num_warmup_steps=n):
            rise = f"if t < {n}:\n    return {rate!r} * t / {n}\n" if n else ""
            since, scale = f"(t - {n})" if n else "t", schedule.timescale or n or 10_000
            return f"{rise}return {rate!r} / math.sqrt(1 + {since} / {scale})"
        case schedules.WarmupStableDecayLR():
            return _warmup_stable_decay(schedule)
    raise ValueError(
        "schedule must be made of keraslr's own classes to be written for PyTorch. "
        f"Received: {type(schedule).__name__}"
    )


def _warm_restarts(first: int, times: int, low: float, rate: float) -> str:
    value = _between(low, rate, "(1 + math.cos(math.pi * t / length)) / 2")
    if times == 1:
        return f"length = {first}\nt = t % length\nreturn {value}"
    return (
        f"length = {first}\nwhile t >= length:\n"
        f"    t, length = t - length, length * {times}\nreturn {value}"
    )


def _cyclic(schedule: schedules.CyclicLR) -> str:
    length, up = schedule.cycle_length, schedule.step_size_up
    scale = {
        "triangular": "",
        "triangular2": f" * 0.5 ** (t // {length})",
        "exp_range": f" * {schedule.gamma!r}**t",
    }[schedule.mode]
    return (
        f"place = t % {length}\n"
        f"height = place / {up} if place < {up} else ({length} - place) / {length - up}\n"
        f"return {_between(schedule.base_lr, schedule.max_lr, 'height')}{scale}"
    )


def _one_cycle(schedule: schedules.OneCycleLR) -> str:
    first, last = schedule.length, schedule.length - 1
    start = tidy(schedule.max_lr / schedule.div_factor)
    floor = tidy(schedule.max_lr / schedule.div_factor / schedule.final_div_factor)
    # With PyTorch's roundings: the peak need not fall on a whole tick.
    ends = [(float(schedule.pct_start * first) - 1, schedule.max_lr)]
    if schedule.three_phase:
        ends.append((2 * schedule.pct_start * first - 2, start))
    phases = ", ".join(f"({end!r}, {rate!r})" for end, rate in [*ends, (last, floor)])
    shape = {"linear": "x", "cos": "(1 - math.cos(math.pi * x)) / 2"}[schedule.anneal_strategy]
    return (
        f"t, begin, start = min(t, {last}), 0, {start!r}\n"
        f"for end, target in [{phases}]:\n"
        "    if t <= end:\n"
        "        x = (t - begin) / (end - begin)\n"
        f"        return start + (target - start) * {shape}\n"
        "    begin, start = end, target"
    )


_RISES = {
    "linear": "x",
    "cosine": "(1 - math.cos(math.pi * x)) / 2",
    "1-sqrt": "(1 - math.sqrt(1 - x))",
}
_FALLS = {
    "linear": "(1 - x)",
    "cosine": "(1 + math.cos(math.pi * x)) / 2",
    "1-sqrt": "(1 - math.sqrt(x))",
}


def _warmup_stable_decay(schedule: schedules.WarmupStableDecayLR) -> str:
    high, low = schedule.initial_learning_rate, 0.0
    if schedule.min_lr_ratio:
        low = tidy(high * schedule.min_lr_ratio)
    begin, falls = schedule.num_warmup_steps, schedule.num_warmup_steps + schedule.num_stable_steps
    lines = []
    if begin:
        lines += [
            f"if t < {begin}:",
            f"    x = t / {begin}",
            f"    return {_between(low, high, _RISES[schedule.warmup_type])}",
        ]
    if schedule.num_stable_steps:
        lines += [f"if t < {falls}:", f"    return {high!r}"]
    if schedule.num_decay_steps:
        since = f"(t - {falls})" if falls else "t"
        lines.append(f"x = min({since} / {schedule.num_decay_steps}, 1)")
        lines.append(f"return {_between(low, high, _FALLS[schedule.decay_type])}")
    else:
        lines.append(f"return {low!r}")
    return "\n".join(lines)
