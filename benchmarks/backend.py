"""A check of keraslr on Keras's backend and device: its numbers and its cost.

    KERAS_BACKEND=jax python -m benchmarks.backend [--quick] [--json FILE]

Run this in a checkout, with the backend and the device that Keras finds: TensorFlow, JAX or
PyTorch, CPU or GPU. It needs only Keras, that backend and NumPy. `tests/goldens` holds the values
computed by PyTorch itself. The program checks

- every schedule against PyTorch's values, operation by operation and compiled as a whole where the
  backend compiles by itself;
- every decision of `ReduceLROnPlateau`, and the rate after it;

and measures, each against its rival in turn,

- a training step of a LeNet under schedules, against one at a constant rate;
- one value of a million computed at once, against calling the schedule step by step.

It ends with an error if a value differs from PyTorch's by more than the tests allow, or a decision
differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keraslr
from benchmarks._timing import Repeat, Spread, in_turns, timed
from keraslr._environment import device, versions
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.models import lenet
from keraslr.schedules._dtypes import FLOAT, INTEGER

GOLDENS = Path(__file__).resolve().parents[1] / "tests" / "goldens"
# Tolerances of the tests: of a value, relative and absolute, and of a reduced rate.
RELATIVE, ABSOLUTE = 2e-6, 1e-9
PLATEAU = 1.2e-7 if FLOAT == "float64" else 5e-7

BATCH = 256
COSINE = keraslr.CosineAnnealingLR(0.05, T_max=20)
SCHEDULES = {
    "CosineAnnealingLR": COSINE,
    "OneCycleLR": keraslr.OneCycleLR(0.05, total_steps=10_000),
    "PerEpoch(Warmup(Cosine))": COSINE.with_warmup(5).per_epoch(235),
}


def main() -> None:
    """Prints the results; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.backend", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the cases, a few short repeats"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the numbers")
    chosen = parser.parse_args()
    every, steps, repeats = (10, 8, 3) if chosen.quick else (1, 40, 15)
    found = {"on": where(), "goldens": goldens(every), "ratios": ratios(steps, repeats)}
    print(report(found))
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if not all(check["passed"] for check in found["goldens"].values()):
        sys.exit("the numbers differ from PyTorch's")


def where() -> dict[str, str]:
    """Returns backend, versions, device, and the widest number types that keraslr uses there."""
    return {
        "backend": keras.backend.backend(),
        **versions(),
        "device": device(),
        "rates": "float32",
        "state of the plateau rule": FLOAT,
        "steps": INTEGER,
    }


# The numbers.


def goldens(every: int = 1) -> dict[str, dict[str, Any]]:
    """Returns for each check the number of cases, the largest deviation, and whether it is allowed.

    Args:
        every: Takes every nth case.
    """
    cases = [*_cases("schedules.npz")][::every] + [*_cases("momentum.npz")][::every]
    checks = {"schedules, single operations": (_one_by_one, cases)}
    if _compiled is not None:
        checks["schedules, compiled"] = (_together, cases)
    found = {
        name: _of_schedules(compute(given), given) for name, (compute, given) in checks.items()
    }
    return {**found, "plateau rule": _of_the_plateau_rule(every)}


def _cases(name: str) -> Iterator[tuple[keraslr.Schedule, np.ndarray]]:
    with np.load(GOLDENS / name) as file:
        for expression, row in zip(file["expressions"].tolist(), file["values"], strict=True):
            yield keraslr.parse(expression), row[~np.isnan(row)]


def _of_schedules(ours: list[np.ndarray], cases: list[Any]) -> dict[str, Any]:
    worst, passed = 0.0, True
    for rates, (_, expected) in zip(ours, cases, strict=True):
        off = np.abs(rates[: len(expected)].astype(np.float64) - expected)
        passed &= bool(np.all(off <= np.maximum(RELATIVE * np.abs(expected), ABSOLUTE)))
        # Where the tolerance is absolute, a relative deviation says nothing.
        seen = np.abs(expected) * RELATIVE > ABSOLUTE
        worst = max(worst, float(np.max(off[seen] / np.abs(expected[seen]), initial=0.0)))
    return {"cases": len(cases), "deviation": worst, "passed": passed}


def _longest(cases: list[Any]) -> int:
    # One length for all: JAX compiles again for each length.
    return max(len(expected) for _, expected in cases)


def _one_by_one(cases: list[Any]) -> list[np.ndarray]:
    return [schedule.values(_longest(cases)) for schedule, _ in cases]


def _together(cases: list[Any]) -> list[np.ndarray]:
    """Computes the rates in functions of 32 schedules each: compiling costs more than running."""
    assert _compiled is not None
    steps, rates = keras.ops.arange(_longest(cases), dtype="int32"), []
    for first in range(0, len(cases), 32):
        part = [schedule for schedule, _ in cases[first : first + 32]]

        def all_of_them(steps: Any, part: list[Any] = part) -> Any:
            return keras.ops.stack([schedule(steps) for schedule in part])

        rates += list(keras.ops.convert_to_numpy(_compiled(all_of_them)(steps)))
    return rates


def _compiler() -> Callable[..., Any] | None:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return lambda function: tf.function(function, jit_compile=True)
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit
    return None  # PyTorch needs a C++ compiler


_compiled = _compiler()


def _of_the_plateau_rule(every: int) -> dict[str, Any]:
    """Gives made-up metrics to `ReduceLROnPlateau`, as `fit` does, and checks its decisions."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with np.load(GOLDENS / "plateau.npz") as file:
        golden = {name: file[name][::every] for name in file.files if name != "torch_version"}
    worst, passed = 0.0, True
    for case, settings in enumerate(golden["settings"].tolist()):
        first = float(golden["initial_learning_rates"][case])
        model.compile(keras.optimizers.SGD(first), "mse")
        rule = ReduceLROnPlateau("val_loss", **json.loads(settings))
        rule.set_model(model)
        rule.on_train_begin()
        for epoch in range(int(golden["epochs"][case])):
            rule.on_epoch_begin(epoch)
            rule.on_epoch_end(epoch, {"val_loss": golden["metrics"][case, epoch]})
            state = rule.plateau.numbers()
            for name in ("num_bad_epochs", "best", "cooldown_counter"):
                passed &= bool(state[name] == golden[name][case, epoch])
            expected = golden["lr"][case, epoch]
            worst = max(worst, abs(rule.learning_rate - expected) / expected)
    passed &= bool(worst <= PLATEAU)
    return {"cases": len(golden["settings"]), "deviation": float(worst), "passed": passed}


# The cost.


def ratios(steps: int = 40, repeats: int = 15) -> dict[str, dict[str, float]]:
    """Returns for each measurement the seconds of ours and its rival, their ratio, and quartiles.

    Args:
        steps: Training steps in one repeat.
        repeats: Repeats of ours and of its rival, in turns.
    """
    rates = {"constant rate": 0.05, **SCHEDULES}
    trained = {name: timed(_training(rate, steps), steps) for name, rate in rates.items()}
    seconds = in_turns(trained, repeats)
    found = {
        f"LeNet step, {name} / constant rate": _ratio(seconds[name], seconds["constant rate"])
        for name in SCHEDULES
    }
    for name, schedule in SCHEDULES.items():
        values = {"ours": _values(schedule, 1_000_000), "steps": _stepped(schedule, 200)}
        seconds = in_turns(values, min(repeats, 5))
        found[f"a value of a million, {name} / step by step"] = _ratio(
            seconds["ours"], seconds["steps"]
        )
    return found


def _training(rate: Any, steps: int) -> Callable[[], object]:
    """Returns a function that trains a LeNet for some steps, on random images in memory."""
    rng = np.random.default_rng(0)
    x = rng.random((steps * BATCH, 28, 28, 1), np.float32)
    y = rng.integers(0, 10, steps * BATCH)
    model = lenet(seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss)
    return lambda: model.fit(x, y, batch_size=BATCH, epochs=1, shuffle=False, verbose=0)


def _values(schedule: keraslr.Schedule, steps: int) -> Repeat:
    return timed(lambda: schedule.values(steps), steps)


def _stepped(schedule: keraslr.Schedule, steps: int) -> Repeat:
    return timed(lambda: [float(schedule(step)) for step in range(steps)], steps)


def _ratio(ours: list[float], rival: list[float]) -> dict[str, float]:
    spread = Spread.of([first / second for first, second in zip(ours, rival, strict=True)])
    return {
        "seconds": statistics.median(ours),
        "rival_seconds": statistics.median(rival),
        "ratio": spread.median,
        "low": spread.low,
        "high": spread.high,
    }


# The printed report.


def report(found: dict[str, Any]) -> str:
    """Returns the results as text, one line each."""
    lines = [f"{name}: {value}" for name, value in found["on"].items()]
    lines += ["", f"{'against PyTorch':<60} cases   largest deviation"]
    for name, check in found["goldens"].items():
        verdict = "" if check["passed"] else "   NOT PyTorch's"
        lines.append(f"{name:<60} {check['cases']:>5}   {check['deviation']:.1e}{verdict}")
    lines += ["", f"{'ours / rival':<60}    ratio   (quartiles)           ours       rival"]
    for name, ratio in found["ratios"].items():
        lines.append(
            f"{name:<60} {ratio['ratio']:>8.3g}   ({ratio['low']:.3g} to {ratio['high']:.3g})"
            f"   {ratio['seconds']:.3g} s   {ratio['rival_seconds']:.3g} s"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
