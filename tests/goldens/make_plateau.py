"""Makes plateau.npz: what torch's ReduceLROnPlateau does, epoch by epoch, on made-up metrics.

Run in an environment with NumPy and the torch that `_torch.py` names:

    python tests/goldens/make_plateau.py
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from _torch import learning_rate, log_uniform, make_optimizer, padded, save, uniform
from torch.optim.lr_scheduler import ReduceLROnPlateau

SEED = 73
CASES_PER_SHAPE = 12
STATES = ("lr", "num_bad_epochs", "best", "cooldown_counter")
# Relative distance that is kept from every comparison torch makes, so that an implementation in
# float32, whose steps are 6e-8 apart, decides each one alike.
MARGIN = 1e-5

Settings = dict[str, Any]
Case = tuple[Settings, float, list[float]]


def float32(value: float) -> float:
    """The nearest double that float32 holds too: both kinds of arithmetic see one number."""
    return float(np.float32(value))


def noisy_decrease(rng: random.Random, epochs: int) -> list[float]:
    noise, pace = rng.choice([0.01, 0.1, 0.3]), rng.uniform(0.02, 0.2)
    return [0.2 + 2.5 * math.exp(-pace * t) * (1 + rng.gauss(0, noise)) for t in range(epochs)]


def plateaus(rng: random.Random, epochs: int) -> list[float]:
    level, values = 3.0, []
    while len(values) < epochs:
        noise = rng.choice([0.0, 0.0, 0.001, 0.02])
        values += [level * (1 + rng.gauss(0, noise)) for _ in range(rng.randint(2, 20))]
        level *= rng.uniform(0.6, 1.02)
    return values[:epochs]


def with_nan(rng: random.Random, epochs: int) -> list[float]:
    values = noisy_decrease(rng, epochs)
    for at in rng.sample(range(epochs), rng.randint(1, epochs // 4)):
        values[at] = math.nan
    first, last = sorted(rng.sample(range(epochs), 2))
    values[first : min(last, first + 12)] = [math.nan] * (min(last, first + 12) - first)
    return values


def with_inf(rng: random.Random, epochs: int) -> list[float]:
    values = noisy_decrease(rng, epochs)
    values[0] = rng.choice([values[0], math.inf, -math.inf])
    for at in rng.sample(range(1, epochs), rng.randint(1, 8)):
        values[at] = math.inf
    # An infinity on the better side, after which nothing is ever better.
    values[rng.randint(epochs // 2, epochs - 1)] = -math.inf
    return values


def negative(rng: random.Random, epochs: int) -> list[float]:
    # With threshold_mode="rel" torch's bound for a negative best lies on the worse side of it,
    # so that in "min" a metric that stays or gets a little worse still counts as better.
    return [value - 3.5 for value in plateaus(rng, epochs)]


def through_zero(rng: random.Random, epochs: int) -> list[float]:
    values = [value - 0.6 for value in noisy_decrease(rng, epochs)]
    for at in rng.sample(range(epochs), 3):
        values[at] = 0.0
    return values


def constant(rng: random.Random, epochs: int) -> list[float]:
    return [rng.choice([0.0, 0.5, 2.0, -1.5, uniform(rng, 0.1, 3.0)])] * epochs


def worse(rng: random.Random, epochs: int) -> list[float]:
    return [value + 0.05 * t for t, value in enumerate(noisy_decrease(rng, epochs))]


SHAPES: tuple[Callable[[random.Random, int], list[float]], ...] = (
    noisy_decrease,
    plateaus,
    with_nan,
    with_inf,
    negative,
    through_zero,
    constant,
    worse,
)


def settings_for(rng: random.Random, rate: float, index: int) -> Settings:
    mode, threshold_mode = ("min", "max")[index % 2], ("rel", "abs")[index // 2 % 2]
    factor = uniform(rng, 0.1, 0.95)
    smallest = rng.choice([0.0, 0.0, rate * uniform(rng, 0.001, 0.5)])
    # The last is more than the second reduction takes away, which torch therefore skips: it
    # counts anew and cools down all the same.
    eps = rng.choice([1e-8, 1e-8, 0.0, rate * (1 - factor) * uniform(rng, factor, 1.0)])
    return {
        "mode": mode,
        "factor": factor,
        "patience": rng.choice([0, 0, 1, 2, 3, 5, 8]),
        "threshold": rng.choice([0.0, 1e-4, 1e-3, 0.01, 0.1]),
        "threshold_mode": threshold_mode,
        "cooldown": rng.choice([0, 0, 1, 2, 4, 7]),
        "min_lr": smallest,
        # A lower bound that is reached leaves differences the size of rounding; 0 would see them.
        "eps": eps if smallest == 0.0 or eps > 0.0 else 1e-8,
    }


def corners() -> list[Case]:
    """Rules that random settings might miss, each on a metric that is the same in every epoch."""
    base: Settings = {
        "mode": "min",
        "factor": 0.5,
        "patience": 2,
        "threshold": 1e-4,
        "threshold_mode": "rel",
        "cooldown": 0,
        "min_lr": 0.0,
        "eps": 1e-8,
    }
    flat = [0.5] * 60
    return [
        (base, 0.1, flat),
        ({**base, "patience": 10, "factor": 0.1}, 0.1, flat),
        ({**base, "patience": 0}, 0.1, flat),
        ({**base, "patience": 0, "cooldown": 3}, 0.1, flat),
        ({**base, "patience": 100}, 0.1, flat),
        # The first reduction would take 0.05 away.
        ({**base, "eps": 0.06}, 0.1, flat),
        ({**base, "eps": 0.04}, 0.1, flat),
        ({**base, "eps": 0.04, "cooldown": 4}, 0.1, flat),
        ({**base, "min_lr": 0.03}, 0.1, flat),
        # A lower bound above the rate never raises it.
        ({**base, "min_lr": 0.2}, 0.1, flat),
        ({**base, "threshold": 0.0}, 0.1, flat),
        ({**base, "threshold": 0.0, "threshold_mode": "abs", "mode": "max"}, 0.1, flat),
        # Always "better" by torch's relative bound, and not by the absolute one.
        (base, 0.1, [-0.5] * 60),
        ({**base, "mode": "max"}, 0.1, [-0.5] * 60),
        ({**base, "threshold_mode": "abs"}, 0.1, [-0.5] * 60),
        (base, 0.1, [math.nan] * 60),
        ({**base, "mode": "max"}, 0.1, [math.nan] * 60),
        (base, 0.1, [math.inf] * 60),
        ({**base, "mode": "max"}, 0.1, [math.inf] * 60),
    ]


def bound(settings: Settings, best: float) -> float:
    """The value that a metric must pass to be better, as torch computes it."""
    sign = -1.0 if settings["mode"] == "min" else 1.0
    if settings["threshold_mode"] == "rel":
        return best * (1.0 + sign * settings["threshold"])
    return best + sign * settings["threshold"]


def clear_of_ties(settings: Settings, best: float, metric: float) -> float:
    """The metric, moved a little where float32 might see it on the other side of the bound."""
    limit = bound(settings, best)
    # Without a threshold, or relative to 0, the bound is the best itself in any arithmetic.
    exact = settings["threshold"] == 0.0 or (settings["threshold_mode"] == "rel" and best == 0.0)
    if exact or not (math.isfinite(limit) and math.isfinite(metric)):
        return metric
    scale = max(abs(limit), abs(best))
    while abs(metric - limit) < MARGIN * scale:
        metric = float32(metric + math.copysign(2 * MARGIN * scale, metric - limit))
    return metric


def run(case: Case) -> tuple[list[float], dict[str, list[float]]]:
    settings, rate, metrics = case
    optimizer = make_optimizer(rate)
    scheduler = ReduceLROnPlateau(optimizer, **settings)
    seen: list[float] = []
    states: dict[str, list[float]] = {name: [] for name in STATES}
    for metric in metrics:
        seen.append(clear_of_ties(settings, scheduler.best, float32(metric)))
        before = learning_rate(optimizer)
        scheduler.step(seen[-1])
        reduction = before - max(before * settings["factor"], settings["min_lr"])
        if reduction > 0 and math.isclose(reduction, settings["eps"], rel_tol=1e-3):
            raise AssertionError(f"{settings}: a reduction by {reduction!r} is too near to eps")
        states["lr"].append(learning_rate(optimizer))
        for name in STATES[1:]:
            states[name].append(getattr(scheduler, name))
    return seen, states


def random_cases() -> list[Case]:
    cases: list[Case] = []
    for shape in SHAPES:
        rng = random.Random(f"{SEED} {shape.__name__}")
        for index in range(CASES_PER_SHAPE):
            rate = log_uniform(rng, 1e-4, 10.0)
            settings = settings_for(rng, rate, index)
            metrics = shape(rng, rng.randint(60, 120))
            # Every second pair of cases has its metric upside down, as an accuracy would be.
            flip = settings["mode"] == "max" and index // 4 % 2 == 0 and shape is not negative
            cases.append((settings, rate, [-value if flip else value for value in metrics]))
    return cases


def main() -> None:
    cases = corners() + random_cases()
    results = [run(case) for case in cases]
    save(
        __file__,
        "plateau.npz",
        settings=np.array([json.dumps(settings) for settings, _, _ in cases]),
        initial_learning_rates=np.array([rate for _, rate, _ in cases]),
        # A metric may be NaN, so NaN does not tell here where a case ends.
        epochs=np.array([len(metrics) for _, _, metrics in cases]),
        metrics=padded([seen for seen, _ in results]),
        **{name: padded([states[name] for _, states in results]) for name in STATES},
    )


if __name__ == "__main__":
    main()
