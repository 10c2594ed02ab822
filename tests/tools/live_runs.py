"""Live runs for the tests: started, waited for, and compared."""

from __future__ import annotations

import dataclasses

import keras
from waiting import PATIENCE, until

from keraslr.training import LiveRun

STEPS = 23  # of an epoch of the digits: 1437 / 64, the last of 29 examples
FOREVER = 100_000  # epochs: minutes, also on a fast machine, and no number of one waits for them
FIGURES = (
    "loss", "accuracy", "learning_rate", "train_loss", "train_accuracy", "test_loss",
    "test_accuracy",
)  # fmt: skip


def longer(run, epochs=FOREVER):
    """One that does not come to its end by itself while it is being tested."""
    return dataclasses.replace(run, epochs=epochs)


def ended(live, state="finished"):
    """The run, waited for."""
    assert live.wait(PATIENCE)
    assert (live.state, live.under_way, live.result.status) == (state, False, state)
    if state != "failed":
        assert live.error is None
    return live


def trained(run, **arguments):
    live = LiveRun(run, **arguments)
    live.start()
    return ended(live)


def under_way(run, steps=1, **arguments):
    """A run that has done so many steps, and has more to come."""
    live = LiveRun(longer(run), **arguments)
    live.start()
    until(lambda: len(live.result.loss) >= steps)
    return live


def stopped(live):
    live.stop()
    return ended(live, "stopped")


def figures(result, first=0):
    """All numbers of a result from an epoch on, but for the times."""
    kept = {name: getattr(result, name) for name in FIGURES}
    return {n: v[first * STEPS if len(v) > 5 else first :] for n, v in kept.items()}


def bits(model):
    return [weight.tobytes() for weight in model.get_weights()]


def with_state(seed):
    """A network with what is easily forgotten: batch statistics, and a random state."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(16, kernel_initializer=keras.initializers.GlorotUniform(seed)),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.3, seed=seed),
            keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed + 1)),
        ]
    )


# The rate by hand.


def applied(live):
    """The rates that are to be expected of what was written down."""
    rates = live.planned[: len(live.result.loss)].copy()
    for step, rate in live.result.run.get("steered", []):
        rates[step:] = live.planned[step : len(rates)] if rate is None else rate
    return rates
