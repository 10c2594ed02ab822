"""Do the callbacks follow a model that another callback compiles in the midst of fit?"""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
from by_epoch import Applied, Calls, told
from measured import QUICKLY, compiled, fit, not_on_torch, thinned

import keraslr
from keraslr.callbacks import EpochSchedule, LearningRateLogger, ReduceLROnPlateau

SIZE = 8
FIRST, SECOND = keraslr.ExponentialLR(0.02, gamma=0.98), keraslr.ExponentialLR(0.01, gamma=0.97)
HOOKS = ["on_epoch_begin", "on_epoch_end", "on_train_batch_begin", "on_train_batch_end"]


def new(rate=FIRST):
    return compiled(rate, SIZE, **QUICKLY)


def compiling(hook, rate=SECOND, make=False, epoch=1, batch=0, optimizer=None):
    """Returns a callback that compiles the model with another rate in the second epoch."""

    def again(model):
        model.compile(optimizer or keras.optimizers.SGD(rate), "hinge", **QUICKLY)
        if make:
            model.make_train_function(force=True)

    return Calls(hook, epoch, again, batch)


def halving(**arguments):
    rule = {"factor": 0.5, "patience": 0, "threshold": 1e6, "threshold_mode": "abs"}
    return ReduceLROnPlateau("loss", **{**rule, **arguments})


# All but the last moment before a step: if no function is made there, Keras has none to call.
CASES = {
    f"{hook}, {'made' if make else 'not made'}, {'before' if before else 'after'}": case
    for case in itertools.product(HOOKS, (True, False), (True, False))
    for hook, make, before in [case]
    if case != ("on_train_batch_begin", False, False)
}
CHOSEN = thinned(CASES, every=7, tensorflow=3)
each_case = pytest.mark.parametrize(("hook", "make", "before"), CHOSEN.values(), ids=CHOSEN)
FEW = thinned(CASES, every=14, tensorflow=7)
some_cases = pytest.mark.parametrize(("hook", "make", "before"), FEW.values(), ids=FEW)


def ordered(other, ours, before):
    return [other, *ours] if before else [*ours, other]


@each_case
def test_the_plateau_reduces_the_new_optimizer_and_the_logger_logs_it(hook, make, before):
    model, rows = new(), Applied()
    ours = [halving(), LearningRateLogger()]
    with told() as texts:
        history = fit(
            model, 0, SIZE, SIZE, epochs=5,
            callbacks=[*ordered(compiling(hook, make=make), ours, before), rows],
        ).history  # fmt: skip
    # Bad epochs are all but the first: the scale goes on from one optimizer to the next.
    done = int(model.optimizer.iterations)
    scales = 0.5 ** np.arange(3)
    last = SECOND.values(done)[[-1 - 2 * SIZE, -1 - SIZE, -1]] * scales / 2
    np.testing.assert_allclose(history["learning_rate"][2:], last, rtol=1e-6)
    np.testing.assert_allclose([row[-1] for row in rows.rows[2:]], last, rtol=2e-5)
    for epoch in (0, 2, 3, 4):
        logged = list(history["applied_learning_rate"][epoch])
        np.testing.assert_allclose(rows.rows[epoch], logged, rtol=2e-5)
    assert len([text for text in texts if "was compiled in the midst of fit" in text]) == 1
    assert not [text for text in texts if "counter stands" in text]


@some_cases
def test_the_clock_in_epochs_drives_the_new_optimizer(hook, make, before):
    rows = Applied()
    drive = EpochSchedule(keraslr.StepLR(0.08, step_size=1, gamma=0.5))
    fit(
        new(0.5), 0, SIZE, SIZE, epochs=4,
        callbacks=[*ordered(compiling(hook, 0.5, make=make), [drive], before), rows],
    )  # fmt: skip
    for epoch, row in enumerate(rows.rows):
        if epoch != 1:
            np.testing.assert_allclose(row, 0.08 * 0.5**epoch, rtol=2e-5)
    if hook in ("on_epoch_begin", "on_epoch_end"):
        np.testing.assert_allclose(rows.rows[1], 0.04, rtol=2e-5)


@pytest.mark.parametrize("before", [True, False])
def test_all_three_together_follow(before):
    rows = Applied()
    drive = EpochSchedule(keraslr.StepLR(0.08, step_size=1, gamma=0.5))
    ours = [drive, halving(), LearningRateLogger()]
    with told():
        history = fit(
            new(0.5), 0, SIZE, SIZE, epochs=4,
            callbacks=[*ordered(compiling("on_epoch_begin", 0.3), ours, before), rows],
        ).history  # fmt: skip
    expected = 0.08 * 0.5 ** np.arange(4) * [1, 1, 0.5, 0.25]
    for name in ("learning_rate", "applied_learning_rate"):
        np.testing.assert_allclose(np.array(history[name], float), expected, rtol=1e-6)
    np.testing.assert_allclose([row[-1] for row in rows.rows], expected, rtol=2e-5)


@pytest.mark.parametrize("rates", [(0.02, SECOND), (FIRST, 0.01)], ids=["to schedule", "to number"])
def test_the_kind_of_rate_may_change(rates):
    rows = Applied()
    with told():
        fit(
            new(rates[0]), 0, SIZE, SIZE, epochs=4,
            callbacks=[compiling("on_epoch_begin", rates[1]), halving(), rows],
        )  # fmt: skip
    plain = SECOND.values(24)[::8] if rates[1] is SECOND else np.full(3, 0.01)
    np.testing.assert_allclose([row[0] for row in rows.rows[1:]], plain * [1, 0.5, 0.25], rtol=2e-5)


def test_compiled_again_with_the_same_optimizer_nothing_is_lost():
    model, rows = new(), Applied()
    with told():
        history = fit(
            model, 0, SIZE, SIZE, epochs=4,
            callbacks=[
                compiling("on_epoch_begin", optimizer=model.optimizer, make=True),
                halving(), LearningRateLogger(), rows,
            ],
        ).history  # fmt: skip
    expected = FIRST.values(32) * np.repeat([1, 1, 0.5, 0.25], SIZE)
    np.testing.assert_allclose(np.concatenate(rows.rows), expected, rtol=2e-5)
    logged = np.concatenate([list(each) for each in history["applied_learning_rate"]])
    np.testing.assert_allclose(logged, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("hook", "make", "before", "same"),
    thinned([
        ("on_epoch_begin", True, True, True), ("on_train_batch_end", False, False, False),
        ("on_epoch_end", False, False, False), ("on_train_batch_end", False, False, True),
    ], every=2),
)  # fmt: skip
def test_nothing_is_told_where_the_new_optimizer_begins_a_schedule_in_epochs(
    hook, make, before, same
):
    schedule = keraslr.StepLR(0.02, step_size=1, gamma=0.5).per_epoch(SIZE)
    model = new(schedule)
    optimizer = model.optimizer if same else keras.optimizers.SGD(schedule)
    # In the midst of an epoch the new one's epochs would not be those of the fit.
    batch = 3 if same else 0 if hook == "on_train_batch_begin" else SIZE - 1
    other = compiling(hook, make=make, batch=batch, optimizer=optimizer)
    rule = ReduceLROnPlateau("loss", patience=1000)
    with told() as texts:
        fit(
            model, 0, SIZE, SIZE, epochs=4,
            callbacks=ordered(other, [rule, LearningRateLogger()], before),
        )  # fmt: skip
    assert [text for text in texts if "in the midst of fit" not in text] == []


def test_another_length_of_the_new_schedules_epochs_is_told():
    schedule = keraslr.StepLR(0.02, step_size=1, gamma=0.5)
    with told() as texts:
        fit(
            new(schedule.per_epoch(SIZE)), 0, SIZE, SIZE, epochs=3,
            callbacks=[
                LearningRateLogger(),
                compiling("on_epoch_begin", schedule.per_epoch(SIZE + 1)),
            ],
        )  # fmt: skip
    assert (
        len([text for text in texts if "has 8 steps, but the schedule has per_epoch(9)" in text])
        == 1
    )


@not_on_torch
def test_unfreezing_in_an_epoch_trains_the_rest_with_the_new_rate():
    layers = [
        keras.Input((SIZE,)),
        keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros", trainable=False),
    ]
    model = keras.Sequential([*layers, keras.layers.Dense(1, kernel_initializer="ones")])
    model.compile(keras.optimizers.SGD(FIRST), "hinge", **QUICKLY)

    def unfreeze(model):
        model.layers[0].trainable = True
        model.compile(keras.optimizers.SGD(1e-3), "hinge", **QUICKLY)

    rule = halving()
    with told():
        history = fit(
            model, 0, SIZE, SIZE, epochs=4,
            callbacks=[rule, Calls("on_epoch_end", 1, unfreeze), LearningRateLogger()],
        ).history  # fmt: skip
    assert np.abs(model.layers[0].get_weights()[0]).max() > 0
    np.testing.assert_allclose(history["learning_rate"][2:], [5e-4, 2.5e-4], rtol=1e-6)
    logged = [float(each) for each in history["applied_learning_rate"][2:]]
    np.testing.assert_allclose(logged, [5e-4, 2.5e-4], rtol=1e-6)
