"""Makes plateau_peers.npz: what the plateau rules of timm and optax do, on made-up metrics.

Run in an environment with NumPy, timm, JAX, optax, and the torch that `_torch.py` names:

    python tests/goldens/make_plateau_peers.py
"""

from __future__ import annotations

import importlib.metadata
import json
import random
import warnings
from typing import Any

import jax
import numpy as np
import optax
from _torch import learning_rate, log_uniform, make_optimizer, padded, save, uniform
from make_plateau import noisy_decrease, plateaus, with_nan, worse
from timm.scheduler import PlateauLRScheduler

SEED = 74
CASES_PER_SHAPE = 4
SHAPES = (noisy_decrease, plateaus, with_nan, worse)
# Metrics are multiples of it, and no threshold is one: no comparison is near a tie.
GRID = 2.0**-10

Settings = dict[str, Any]
Row = tuple[str, Settings, list[float], list[float]]


def on_grid(metrics: list[float]) -> list[float]:
    return [float(np.round(metric / GRID) * GRID) for metric in metrics]


def timm_settings(rng: random.Random, index: int) -> Settings:
    warm = rng.choice([0, 1, 3, 7])
    return {
        "decay_rate": uniform(rng, 0.1, 0.9),
        "patience_t": rng.choice([0, 1, 2, 5]),
        "threshold": rng.choice([1e-4, 0.0123, 0.1]),
        "cooldown_t": rng.choice([0, 0, 1, 3]),
        "warmup_t": warm,
        "warmup_lr_init": uniform(rng, 1e-5, 1e-3) if warm else 0.0,
        "lr_min": rng.choice([0.0, 0.0, uniform(rng, 1e-4, 0.01)]),
        "mode": ("min", "max")[index % 2],
    }


def run_timm(settings: Settings, metrics: list[float]) -> list[float]:
    """The rate after each epoch, called as timm's train.py does."""
    optimizer = make_optimizer(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # it is deprecated
        scheduler = PlateauLRScheduler(optimizer, **settings)
    rates = []
    for epoch, metric in enumerate(metrics):
        scheduler.step(epoch + 1, metric)
        rates.append(learning_rate(optimizer))
    return rates


def optax_settings(rng: random.Random, index: int) -> Settings:
    relative = index % 2 == 0
    return {
        "factor": uniform(rng, 0.1, 0.9),
        "patience": rng.choice([1, 2, 3, 6]),
        "rtol": rng.choice([1e-4, 0.0123, 0.1]) if relative else 0.0,
        "atol": 0.0 if relative else rng.choice([1e-4, 0.0123, 0.1]),
        "cooldown": rng.choice([0, 0, 1, 3]),
        "accumulation_size": rng.choice([1, 1, 2, 5]),
        "min_scale": rng.choice([0.0, 0.0, log_uniform(rng, 1e-3, 0.3)]),
    }


def run_optax(settings: Settings, metrics: list[float]) -> list[float]:
    """The scale of each update; the metric is given to the update with it."""
    rule = optax.contrib.reduce_on_plateau(**settings)
    weight = jax.numpy.ones((), jax.numpy.float64)
    state = rule.init(weight)
    update = jax.jit(lambda state, metric: rule.update(weight, state, value=metric))
    scales = []
    for metric in metrics:
        scaled, state = update(state, metric)
        scales.append(float(scaled))
    return scales


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    rows: list[Row] = []
    for shape in SHAPES:
        rng = random.Random(f"{SEED} {shape.__name__}")
        for index in range(CASES_PER_SHAPE):
            metrics = on_grid(shape(rng, rng.randint(30, 45)))
            settings = timm_settings(rng, index)
            if settings["mode"] == "max":
                metrics = [5.0 - metric for metric in metrics]
            rows.append(("timm", settings, metrics, run_timm(settings, metrics)))
            metrics = on_grid(shape(rng, rng.randint(30, 45)))
            settings = optax_settings(rng, index)
            rows.append(("optax", settings, metrics, run_optax(settings, metrics)))
    save(
        __file__,
        "plateau_peers.npz",
        libraries=np.array([library for library, *_ in rows]),
        settings=np.array([json.dumps(settings) for _, settings, *_ in rows]),
        # A metric may be NaN, so NaN does not tell here where a case ends.
        lengths=np.array([len(metrics) for *_, metrics, _ in rows]),
        metrics=padded([metrics for *_, metrics, _ in rows]),
        values=padded([values for *_, values in rows]),
        versions=json.dumps({n: importlib.metadata.version(n) for n in ("timm", "optax")}),
    )


if __name__ == "__main__":
    main()
