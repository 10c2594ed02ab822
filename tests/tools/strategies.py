"""Hypothesis strategies: schedules with accepted settings, and steps to check them at."""

from __future__ import annotations

import dataclasses

from hypothesis import assume
from hypothesis import strategies as st

import keraslr
from keraslr.catalog import CATALOG

LONGEST = 2**30 - 1
LAST_STEP = 10**9

RATES = st.sampled_from([1e-12, 0.1, 1e6]) | st.floats(-12, 6).map(lambda power: 10.0**power)
# For schedules made of schedules: rates whose products stay far from the limits of float32.
MODERATE_RATES = st.sampled_from([0.1, 1.0]) | st.floats(-4, 1).map(lambda power: 10.0**power)
SHARES = st.sampled_from([0.0, 1.0]) | st.floats(0, 1).filter(lambda share: not 0 < share < 1e-30)
MOMENTA = st.sampled_from([0.0, 0.9, 0.99]) | st.floats(0.01, 0.999)
FACTORS = st.sampled_from([1e-6, 1.0]) | st.floats(1e-6, 1.0)
DECAYS = st.sampled_from([1.0, 1e-30]) | st.floats(1e-6, 1.0) | st.floats(0.999, 1.0)
GAMMAS = DECAYS | st.sampled_from([2.0, 10.0]) | st.floats(1.0, 1.001) | st.floats(1.0, 3.0)


def lengths(least: int = 1, most: int = LONGEST) -> st.SearchStrategy[int]:
    """Draws a number of ticks: mostly small, sometimes too large for float32 to resolve."""
    corners = [n for n in (least, 2**24, 2**24 + 1, most) if n <= most]
    short = st.integers(least, min(50, most))
    return short | st.integers(least, most) | st.sampled_from(corners)


def increasing(least: int, most: int, count: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Draws distinct ticks in increasing order."""
    ticks = st.lists(lengths(least, most), min_size=count, max_size=count, unique=True)
    return ticks.map(lambda drawn: tuple(sorted(drawn)))


def accepted(
    rates: st.SearchStrategy[float] = RATES,
    most: int = LONGEST,
    gammas: st.SearchStrategy[float] = GAMMAS,
    momentum: bool = True,
) -> dict[type, st.SearchStrategy[keraslr.Schedule]]:
    """Returns, for each class that is not a combinator, schedules with all accepted settings."""
    ticks, or_none, minimum = lengths(1, most), lengths(0, most), st.just(0.0) | rates

    @st.composite
    def cyclic(draw):
        low, high = sorted([draw(minimum), draw(rates)])
        mode = draw(st.sampled_from(["triangular", "triangular2", "exp_range"]))
        down = draw(st.none() | ticks)
        return keraslr.CyclicLR(low, high, draw(ticks), down, mode, draw(gammas))

    @st.composite
    def one_cycle(draw):
        if draw(st.booleans()):
            length = total = draw(ticks)
            given_as = {"total_steps": total}
        else:
            epochs, per_epoch = draw(st.integers(1, 300)), draw(st.integers(1, 300))
            length = epochs * per_epoch
            given_as = {"epochs": epochs, "steps_per_epoch": per_epoch}
        rise = draw(SHARES)
        assume(rise * length != 1)
        return keraslr.OneCycleLR(
            draw(rates),
            **given_as,
            pct_start=rise,
            anneal_strategy=draw(st.sampled_from(["cos", "linear"])),
            div_factor=draw(st.floats(0.1, 1e4)),
            final_div_factor=draw(st.floats(0.1, 1e8)),
            three_phase=draw(st.booleans()),
        )

    @st.composite
    def cycled_momentum(draw):
        # A growing cycle would have a momentum below 0.
        kinds = accepted(rates, most, DECAYS, momentum=False)
        cycle = draw(kinds[keraslr.CyclicLR] | kinds[keraslr.OneCycleLR])
        low, high = sorted([draw(MOMENTA), draw(MOMENTA)])
        return cycle.momentum_schedule(low, high)

    @st.composite
    def multi_step(draw):
        milestones = sorted(draw(st.lists(or_none, max_size=8)))
        return keraslr.MultiStepLR(draw(rates), milestones, draw(gammas))

    @st.composite
    def piecewise(draw):
        boundaries = draw(st.integers(0, 6).flatmap(lambda n: increasing(0, most, n)))
        values = st.lists(minimum, min_size=len(boundaries) + 1, max_size=len(boundaries) + 1)
        return keraslr.PiecewiseConstantLR(boundaries, draw(values))

    @st.composite
    def interpolated(draw):
        milestones = draw(st.integers(1, 6).flatmap(lambda n: increasing(0, most, n)))
        curve = draw(st.sampled_from(["linear", "cosine", "log"]))
        # The logarithm of a ratio of 1e18 has no correct digit left at 2e-6.
        each = MODERATE_RATES if curve == "log" else minimum
        values = st.lists(each, min_size=len(milestones), max_size=len(milestones))
        return keraslr.InterpolatedLR(milestones, draw(values), curve)

    def tabulated(cls, largest, more):
        factors = st.lists(
            st.just(0.0) | st.floats(1e-3, largest), min_size=1 + more, max_size=20 + more
        )
        return st.builds(
            lambda rate, table: cls(rate, table, total_iters=len(table) - more), rates, factors
        )

    shapes = st.sampled_from(["linear", "cosine", "1-sqrt"])
    builds = st.builds
    kinds = {
        keraslr.ConstantLR: builds(keraslr.ConstantLR, rates, FACTORS, ticks),
        keraslr.LinearLR: builds(keraslr.LinearLR, rates, FACTORS, SHARES, ticks),
        keraslr.StepLR: builds(keraslr.StepLR, rates, ticks, gammas),
        keraslr.MultiStepLR: multi_step(),
        keraslr.ExponentialLR: builds(keraslr.ExponentialLR, rates, gammas),
        keraslr.PolynomialLR: builds(keraslr.PolynomialLR, rates, ticks, st.floats(0.05, 8.0)),
        keraslr.CosineAnnealingLR: builds(keraslr.CosineAnnealingLR, rates, ticks, minimum),
        keraslr.CosineAnnealingWarmRestarts: builds(
            keraslr.CosineAnnealingWarmRestarts, rates, ticks, lengths(1, min(most, 10)), minimum
        ),
        keraslr.CyclicLR: cyclic(),
        keraslr.OneCycleLR: one_cycle(),
        keraslr.LambdaLR: tabulated(keraslr.LambdaLR, 10.0, more=1),
        keraslr.MultiplicativeLR: tabulated(keraslr.MultiplicativeLR, 2.0, more=0),
        keraslr.FactorLR: builds(keraslr.FactorLR, rates, gammas, minimum),
        keraslr.InversePowerLR: builds(
            keraslr.InversePowerLR, rates, st.floats(1e-6, 1e3), st.floats(0.05, 8.0)
        ),
        keraslr.InverseSqrtLR: builds(
            keraslr.InverseSqrtLR, rates, or_none, st.none() | ticks
        ),
        keraslr.WarmupStableDecayLR: builds(
            keraslr.WarmupStableDecayLR, rates, or_none, or_none, or_none, shapes, shapes, SHARES
        ),
        keraslr.PiecewiseConstantLR: piecewise(),
        keraslr.InterpolatedLR: interpolated(),
    }  # fmt: skip
    if momentum:
        kinds[keraslr.CycledMomentum] = cycled_momentum()
    return kinds


def compositions(
    depth: int = 4, gammas: st.SearchStrategy[float] = GAMMAS
) -> st.SearchStrategy[keraslr.Schedule]:
    """Draws nested schedules, with up to `depth` of them around the innermost."""
    return st.integers(0, depth).flatmap(lambda levels: _nested(levels, gammas))


def _nested(depth: int, gammas: st.SearchStrategy[float]) -> st.SearchStrategy[keraslr.Schedule]:
    if depth == 0:
        return st.one_of(*accepted(MODERATE_RATES, 60, gammas).values())
    # One branch of full depth, the others shallow: a full tree would hold dozens of schedules.
    deep, shallow = _nested(depth - 1, gammas), _nested(0, gammas)
    return wrapped(deep) | sequences(deep, shallow) | chains(gammas)


def wrapped(inner: st.SearchStrategy[keraslr.Schedule]) -> st.SearchStrategy[keraslr.Schedule]:
    """Draws a schedule with a combinator around it."""
    bounds = st.tuples(st.just(0.0) | MODERATE_RATES, MODERATE_RATES).map(sorted)
    return st.one_of(
        st.builds(keraslr.PerEpoch, inner, st.integers(1, 20), st.booleans()),
        st.builds(
            keraslr.Warmup,
            inner,
            st.integers(1, 30),
            st.just(0.0) | MODERATE_RATES,
            st.sampled_from(["linear", "constant", "cosine"]),
        ),
        st.builds(keraslr.Scaled, inner, st.floats(1e-3, 1e3)),
        st.builds(
            lambda schedule, both, top: schedule.clipped(both[0], both[1] if top else None),
            inner,
            bounds,
            st.booleans(),
        ),
        st.builds(keraslr.HeldAfter, inner, st.integers(0, 60)),
    )


@st.composite
def sequences(
    draw,
    first: st.SearchStrategy[keraslr.Schedule],
    others: st.SearchStrategy[keraslr.Schedule],
) -> keraslr.SequentialLR:
    """Draws a sequence of schedules."""
    parts = [draw(first), *draw(st.lists(others, max_size=2))]
    return keraslr.SequentialLR(parts, draw(increasing(1, 60, len(parts) - 1)))


@st.composite
def chains(draw, gammas: st.SearchStrategy[float] = GAMMAS) -> keraslr.ChainedScheduler:
    """Draws a chain of schedules with one initial rate, some in a combinator that keeps it."""
    rate = draw(MODERATE_RATES)
    kinds = accepted(st.just(rate), 60, gammas)
    without = (
        keraslr.CyclicLR,
        keraslr.OneCycleLR,
        keraslr.CycledMomentum,
        keraslr.PiecewiseConstantLR,
        keraslr.InterpolatedLR,
    )
    plain = st.one_of(*(kinds[cls] for cls in kinds if cls not in without))
    either = plain | wrapped(plain).filter(lambda schedule: schedule.base_learning_rate == rate)
    return keraslr.ChainedScheduler(draw(st.lists(either, min_size=1, max_size=3)))


@st.composite
def steps_near(draw, schedule: keraslr.Schedule, last: int = LAST_STEP) -> list[int]:
    """Draws steps up to `last`: turning points of the schedule, their neighbours, and others."""
    marks = {0, 2**24, last}
    timed = schedule.schedule if isinstance(schedule, keraslr.CycledMomentum) else schedule
    for field in dataclasses.fields(timed):
        value = getattr(timed, field.name)
        for each in value if isinstance(value, tuple) else (value,):
            if type(each) is int:
                marks |= {k * each + shift for k in (1, 2, 3) for shift in (-1, 0, 1)}
    marks = sorted(mark for mark in marks if 0 <= mark <= last)
    others = draw(st.lists(st.integers(0, last), max_size=8))
    return marks + others


def _examples() -> dict[str, keraslr.Schedule]:
    schedules = {
        strategy.name: strategy.build() for strategy in CATALOG.values() if strategy.is_schedule
    }
    step, fall = keraslr.StepLR(0.1, step_size=3, gamma=0.5), keraslr.CosineAnnealingLR(0.1, 20)
    schedules |= {
        "triangular2": keraslr.CyclicLR(0.001, 0.1, 4, 7, mode="triangular2"),
        "exp_range": keraslr.CyclicLR(0.001, 0.1, 4, 7, mode="exp_range", gamma=0.97),
        "three phases": keraslr.OneCycleLR(0.1, 30, anneal_strategy="linear", three_phase=True),
        "momentum of one cycle": keraslr.OneCycleLR(0.1, 40).momentum_schedule(),
        "momentum of cycles": keraslr.CyclicLR(0.001, 0.1, 4, 7, "triangular2").momentum_schedule(),
        "interpolated by cosines": keraslr.InterpolatedLR([3, 9, 40], [0.01, 0.1, 0.0], "cosine"),
        "interpolated logarithms": keraslr.InterpolatedLR([3, 9, 40], [0.01, 0.1, 0.001], "log"),
        "per epoch": step.per_epoch(4),
        "smooth": fall.per_epoch(4, smooth=True),
        "constant warm-up": step.with_warmup(5, start_lr=0.01, mode="constant"),
        "cosine warm-up": fall.with_warmup(5, mode="cosine"),
        "sequence": step.then(fall, at=6).then(keraslr.ExponentialLR(0.1, 0.9), at=30),
        "chain": keraslr.ChainedScheduler([step, fall, keraslr.LinearLR(0.1, total_iters=7)]),
        "scaled": fall * 0.3,
        "clipped": fall.clipped(0.02, 0.08),
        "held": fall.held_after(17),
        "composed": (step.then(fall.held_after(9), at=5) * 0.5).with_warmup(3).per_epoch(2, True),
    }
    return schedules


# One schedule of every class, and more for a class with several shapes; all change within their
# first 40 steps.
EXAMPLES = _examples()
