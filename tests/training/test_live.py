"""A run in its own thread: watched, steered, ended in every way, and the same numbers as ever."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import softmax_regression
from waiting import PATIENCE, Gate, hold_slice, slices_begun, until

from keraslr import CosineAnnealingLR, ExponentialLR, datasets
from keraslr.training import LiveRun, Record, Result, Run, train
from keraslr.training._loop import Loop
from keraslr.training._run import model_of, optimizer_of

ROOT = Path(__file__).resolve().parents[2]
STEPS = 23  # of an epoch of the digits: 1437 / 64, the last of 29 examples
FOREVER = 100_000  # epochs: minutes, also on a fast machine, and no number of one waits for them
FIGURES = (
    "loss", "accuracy", "learning_rate", "train_loss", "train_accuracy", "test_loss",
    "test_accuracy",
)  # fmt: skip


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture
def run(digits):
    """Of one epoch."""
    return Run("it", 0.1, model=softmax_regression, dataset=digits, batch_size=64, epochs=1)


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """A question waits for the slice that is under way, however long that takes."""
    monkeypatch.setattr("keraslr.training._live._PATIENCE", PATIENCE)


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


# Unsteered.


@pytest.mark.parametrize(
    ("schedule", "changes"),
    [
        (0.1, {}),
        (CosineAnnealingLR(0.1, T_max=2 * STEPS), {"optimizer_arguments": {"momentum": 0.9}}),
        (
            ExponentialLR(0.01, gamma=0.95),
            {
                "model": with_state,
                "optimizer": "Adam",
                "optimizer_arguments": {"weight_decay": 0.1},
            },
        ),
    ],
    ids=["constant", "momentum", "adam"],
)
def test_what_nobody_steers_gives_the_numbers_of_train(run, schedule, changes):
    run = dataclasses.replace(run, schedule=schedule, epochs=2, **changes)
    live, plain = trained(run), train(run)
    assert figures(live.result) == figures(plain)
    assert bits(live.result.model) == bits(plain.model)
    assert live.result.run == plain.run
    np.testing.assert_allclose(live.planned, plain.learning_rate, rtol=1e-6)
    assert live.planned.dtype == np.float32


def test_a_function_may_say_what_to_train(run):
    threads = []

    def described():
        threads.append(threading.current_thread())
        return run

    live = LiveRun(described)
    assert (live.run, live.epochs, live.steps_per_epoch) == (None, None, None)
    assert "'?': ready, step 0 of ?" in repr(live)
    live.start()
    ended(live)
    assert (live.run, live.epochs, live.steps_per_epoch, live.dataset.name) == (
        run,
        1,
        23,
        "digits",
    )
    assert figures(live.result) == figures(train(run))
    assert threads != [threading.main_thread()]
    assert repr(live) == "LiveRun('it': finished, step 23 of 23)"


@pytest.mark.parametrize("wrong", [0.1, "SGD", None])
def test_only_a_run_can_be_run(wrong):
    with pytest.raises(
        TypeError, match=r"run must be a Run.* or a function without arguments that returns one"
    ):
        LiveRun(wrong)


def test_the_dtype_policy_is_that_of_where_it_was_made(run):
    """Keras has one for each thread."""
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        live = LiveRun(dataclasses.replace(run, model=with_state))
    finally:
        keras.config.set_dtype_policy("float32")
    live.start()
    assert ended(live).result.model.layers[-1].dtype_policy.name == "mixed_bfloat16"


def test_two_at_once_are_as_each_alone(run):
    runs = [dataclasses.replace(run, name=f"seed {seed}", seed=seed, epochs=4) for seed in (0, 1)]
    lives = [LiveRun(each) for each in runs]
    for each in lives:
        each.start()
    for each, alone in zip(lives, runs, strict=True):
        assert figures(ended(each).result) == figures(train(alone))


def test_start_begins_once(run):
    live = LiveRun(longer(run))
    assert live.state == "ready"
    assert live.wait() is False
    live.start()
    thread = live._thread
    assert thread.daemon
    live.start()
    assert live._thread is thread
    stopped(live)
    live.start()
    assert live.state == "stopped"
    thread.join(PATIENCE)
    assert not thread.is_alive()


# Pause and resume.


def test_a_pause_freezes_it_and_changes_no_number(run):
    run = dataclasses.replace(run, epochs=3)
    live = LiveRun(run, on_progress=lambda result: len(result.loss) == STEPS and live.pause())
    live.start()
    until(lambda: live.state == "paused")
    assert len(live.result.loss) == STEPS
    assert live.under_way
    live.pause()
    for _ in range(3):
        # Its thread answers, and then waits on.
        assert live.branch("other", 0.1).first_step == STEPS
        assert not live.wait(0.01)
    assert (live.state, len(live.result.loss)) == ("paused", STEPS)
    live.resume()
    live.resume()
    assert figures(ended(live).result) == figures(train(run))


def test_the_times_leave_the_pause_out(run, monkeypatch, slices_of):
    """On a clock that ticks each time it is looked at, and leaps while the run is paused."""
    slices_of(8)
    now = [0.0]

    def clock():
        now[0] += 0.01
        return now[0]

    monkeypatch.setattr("keraslr.training._trainer.time.perf_counter", clock)
    live = LiveRun(dataclasses.replace(run, epochs=2), on_progress=lambda _: live.pause())
    live.start()
    done = pauses = 0
    while live.under_way:
        until(lambda: live.state in ("paused", "finished"))
        done = len(live.result.loss)
        if live.state == "paused":
            now[0] += 1000.0
            pauses += 1
            live.resume()
        until(lambda done=done: len(live.result.loss) > done or not live.under_way)
    ended(live)
    assert pauses == 5  # after each slice of two epochs of three, but for the last one
    assert sum(live.result.epoch_seconds) <= live.result.wall_time < 100
    seen = live.result.examples_per_second * live.result.wall_time
    assert seen == pytest.approx(2 * 1437, rel=0.01)
    assert live.progress.examples_per_second > 100


@pytest.mark.parametrize("state", ["ready", "finished"])
def test_pause_and_resume_do_nothing_where_nothing_runs(run, state):
    live = LiveRun(run) if state == "ready" else trained(run)
    live.pause()
    live.resume()
    live.pause()
    assert live.state == state
    if state == "ready":
        live.start()
        ended(live)


# Stop.


def test_stop_ends_it_with_what_was_done(run):
    live = under_way(run)
    live.stop()
    live.stop()
    assert live.state in ("stopping", "stopped")
    ended(live, "stopped")
    live.stop()
    assert live.state == "stopped"
    assert 1 <= len(live.result.loss) < FOREVER * STEPS
    assert live.progress.seconds_left is None


def test_stop_ends_a_paused_run(run):
    live = under_way(run)
    live.pause()
    until(lambda: live.state == "paused")
    done = len(live.result.loss)
    stopped(live)
    assert len(live.result.loss) == done  # without another slice


def test_stop_before_the_start(run):
    live = LiveRun(run)
    live.stop()
    live.start()
    assert live.wait()
    assert (live.state, live.result.status, live.result.model) == ("stopped", "stopped", None)


def test_stop_while_it_is_set_up(run, monkeypatch):
    gate, load = Gate(), datasets.load
    monkeypatch.setattr(datasets, "load", lambda name: (gate(), load(name))[1])
    live = LiveRun(dataclasses.replace(run, dataset="digits"))
    live.start()
    assert gate.reached.wait(PATIENCE)
    assert live.state == "setting up"
    live.stop()
    assert (live.state, live.wait(0.01)) == ("stopping", False)
    gate.opened.set()
    ended(live, "stopped")
    assert (live.result.loss, live.result.model) == ([], None)


def test_stop_is_obeyed_within_the_test_of_an_epoch(run, monkeypatch):
    gate, pieces = Gate(), []

    def evaluate(self):
        yield None
        gate()
        for _ in range(10):
            pieces.append(1)
            yield None
        yield 1.0, 0.1

    monkeypatch.setattr(Loop, "evaluate", evaluate)
    live = LiveRun(longer(run))
    live.start()
    assert gate.reached.wait(PATIENCE)
    live.stop()
    gate.opened.set()
    ended(live, "stopped")
    assert pieces == [1]  # the one that was under way
    assert len(live.result.loss) == STEPS
    assert live.result.train_loss == live.result.test_loss == live.record().test_steps == []


def test_stop_and_pause_are_obeyed_after_the_slice_under_way(run, monkeypatch, slices_of):
    """Which takes a fifth of a second."""
    slices_of(4)
    for ask in (LiveRun.stop, LiveRun.pause):
        with monkeypatch.context() as patch:
            gate, live = hold_slice(patch, 2), LiveRun(run)
            live.start()
            assert gate.reached.wait(PATIENCE)
            ask(live)
            gate.opened.set()
            until(lambda live=live: live.state in ("paused", "stopped"))
            assert len(live.result.loss) == 3 * 4
            stopped(live)


@pytest.mark.slow
def test_stop_and_pause_are_obeyed_at_once_on_fashion_mnist(fashion_mnist_folder, monkeypatch):
    """No second slice is begun after it, and no second piece of a test is gone through."""
    slices, pieces, evaluate, more = slices_begun(monkeypatch), [], Loop.evaluate, []
    monkeypatch.setattr(
        Loop, "evaluate", lambda self: (pieces.append(each) or each for each in evaluate(self))
    )
    for pauses in ((1, 120), (232, 236)):  # at once, within an epoch, at its test, after it
        run = Run("it", 0.1, dataset="fashion_mnist", epochs=30)
        live = LiveRun(run)
        live.start()
        for steps in pauses:
            until(lambda live=live, steps=steps: len(live.result.loss) >= steps)
            live.pause()
            before = len(slices), len(pieces)
            until(lambda live=live: live.state == "paused")
            more += len(slices) - before[0], len(pieces) - before[1]
            live.resume()
        live.stop()
        before = len(slices), len(pieces)
        ended(live, "stopped")
        more += len(slices) - before[0], len(pieces) - before[1]
    assert max(more) <= 1


# The rate by hand.


def applied(live):
    """The rates that are to be expected of what was written down."""
    rates = live.planned[: len(live.result.loss)].copy()
    for step, rate in live.result.run.get("steered", []):
        rates[step:] = live.planned[step : len(rates)] if rate is None else rate
    return rates


def test_a_rate_is_held_and_given_back(run):
    schedule = ExponentialLR(0.1, gamma=0.98)

    def steer(result):
        done = len(result.loss)
        if done == STEPS:
            live.hold_rate(0.02)
            assert live.held_rate == 0.02
        elif done == 2 * STEPS:
            live.release_rate()
            assert live.held_rate is None

    live = LiveRun(dataclasses.replace(run, schedule=schedule, epochs=3), on_progress=steer)
    written = live.result.run
    live.start()
    rates = np.float32(ended(live).result.learning_rate)
    # Who was writing the description down still has the one that was there.
    assert "steered" not in written
    assert live.result.run["steered"] == [[STEPS, 0.02], [2 * STEPS, None]]
    np.testing.assert_array_equal(rates[STEPS : 2 * STEPS], np.float32(0.02))
    np.testing.assert_allclose(rates, applied(live), rtol=1e-7)
    np.testing.assert_array_equal(live.planned, schedule.values(3 * STEPS))
    json.dumps(live.result.run)


def test_the_held_rate_is_the_one_that_trains(run):
    held = dataclasses.replace(run, schedule=ExponentialLR(0.5, gamma=0.5))
    live = LiveRun(held)
    live.hold_rate(0.1)
    assert live.held_rate == 0.1
    live.start()
    ended(live)
    assert figures(live.result) == figures(train(run))  # whose rate is 0.1
    assert live.result.run["steered"] == [[0, 0.1]]


def test_a_rate_that_is_moved_about_is_written_down_as_applied(run):
    live = under_way(dataclasses.replace(run, schedule=ExponentialLR(0.1, gamma=0.999)))
    for n in range(12):
        live.hold_rate(0.01 * (n + 1)) if n % 4 else live.release_rate()
        for _ in range(2):  # the one that is under way, and one that begins with this rate
            done = len(live.result.loss)
            until(lambda done=done: len(live.result.loss) > done)
    stopped(live)
    steered = live.result.run["steered"]
    rates = [None if n % 4 == 0 else 0.01 * (n + 1) for n in range(1, 12)]
    assert [rate for _, rate in steered] == rates
    assert [step for step, _ in steered] == sorted({step for step, _ in steered})
    assert all(one != other for (_, one), (_, other) in itertools.pairwise(steered))
    np.testing.assert_allclose(live.result.learning_rate, applied(live), rtol=1e-7)


def test_what_was_held_for_no_step_is_not_written_down(run):
    def on_progress(_):
        live.hold_rate(0.5)
        live.stop()

    live = LiveRun(longer(run), on_progress=on_progress)
    live.start()
    ended(live, "stopped")
    assert "steered" not in live.result.run
    assert live.held_rate == 0.5


@pytest.mark.parametrize(
    ("rate", "error"),
    [(-0.1, ValueError), (float("nan"), ValueError), ("fast", TypeError), (None, TypeError)],
    ids=str,
)
def test_a_rate_has_to_be_one(run, rate, error):
    live = LiveRun(run)
    with pytest.raises(error, match=r"rate must be a number >= 0.* Received: rate="):
        live.hold_rate(rate)
    assert live.held_rate is None


# Going on.


@pytest.mark.parametrize(
    "schedule", [0.1, ExponentialLR(0.1, gamma=0.98)], ids=["float", "schedule"]
)
def test_a_continued_run_is_the_longer_run(run, schedule):
    run = dataclasses.replace(
        run, schedule=schedule, model=with_state, optimizer="Adam", batch_size=64
    )
    live = trained(run)
    thread = live._thread
    live.continue_for(2)
    ended(live)
    assert live._thread is not thread
    whole = train(longer(run, 3))
    assert figures(live.result) == figures(whole)
    assert bits(live.result.model) == bits(whole.model)
    assert live.result.run == whole.run
    assert (live.epochs, live.progress.steps, len(live.planned)) == (3, 3 * STEPS, 3 * STEPS)
    assert live.progress.seconds_left == 0
    assert live.record().test_steps == [STEPS, 2 * STEPS, 3 * STEPS]


def test_a_released_run_holds_nothing_and_comes_back_as_it_was(run, monkeypatch):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        live = trained(dataclasses.replace(run, model=with_state))
    finally:
        keras.config.set_dtype_policy("float32")
    live._thread.join(PATIENCE)
    held = [weakref.ref(each) for each in (live._trainer._loop, live.result.model)]
    weights = bits(live.result.model)
    live.release()
    gc.collect()
    assert [each() for each in held] == [None, None]
    # Stopped before it has done a step again, it has the weights that it had.
    monkeypatch.setattr("keraslr.training._trainer.optimizer_of", lambda *_: live.stop())
    live.continue_for(1)
    ended(live, "stopped")
    assert bits(live.result.model) == weights
    monkeypatch.undo()
    live.continue_for(1)
    ended(live)
    assert live.result.model.layers[-1].dtype_policy.name == "mixed_bfloat16"


def test_it_continues_at_a_rate_and_then_under_the_schedule(run):
    live = trained(dataclasses.replace(run, schedule=ExponentialLR(0.1, gamma=0.98)))
    live.continue_for(1, learning_rate=0.05)
    assert live.held_rate == 0.05
    ended(live)
    live.continue_for(1)
    assert live.held_rate is None
    ended(live)
    assert live.result.run["steered"] == [[STEPS, 0.05], [2 * STEPS, None]]
    np.testing.assert_allclose(live.result.learning_rate, applied(live), rtol=1e-7)


def test_a_rate_held_on_is_written_down_once(run):
    live = LiveRun(run)
    live.hold_rate(0.05)
    live.start()
    ended(live)
    live.continue_for(1, learning_rate=0.05)
    assert ended(live).result.run["steered"] == [[0, 0.05]]


def test_a_run_stopped_between_epochs_goes_on_as_if_it_had_not_been(run):
    live = LiveRun(longer(run), on_progress=lambda result: result.test_loss and live.stop())
    live.start()
    ended(live, "stopped")
    assert len(live.result.loss) == STEPS
    live._on_progress = None
    live.continue_for(1)
    assert figures(ended(live).result) == figures(train(longer(run, 2)))
    assert live.epochs == 2


def test_a_run_stopped_within_an_epoch_begins_the_next(run, slices_of):
    slices_of(4)
    live = LiveRun(longer(run), on_progress=lambda _: live.stop())
    live.start()
    done = len(ended(live, "stopped").result.loss)
    assert done == 4
    live._on_progress = None
    live.continue_for(2)
    assert live.progress.steps == done + 2 * STEPS
    record = ended(live).record()
    assert live.epochs == 3  # the one that was broken off included
    assert len(record.loss) == done + 2 * STEPS
    assert record.test_steps == [done + STEPS, done + 2 * STEPS]
    sizes = [64] * (STEPS - 1) + [1437 - 64 * (STEPS - 1)]
    assert record.train_loss[0] == pytest.approx(
        np.average(record.loss[done:][:STEPS], weights=sizes)
    )


def test_what_never_began_can_be_continued(run):
    live = LiveRun(longer(run))
    live.stop()
    live.continue_for(1)
    assert figures(ended(live).result) == figures(train(run))
    assert live.epochs == 1


@pytest.mark.parametrize("state", ["ready", "training", "diverged", "failed"])
def test_only_what_has_ended_well_is_continued(run, state):
    if state == "ready":
        live = LiveRun(run)
    elif state == "training":
        live = under_way(run)
    elif state == "diverged":
        live = LiveRun(dataclasses.replace(run, schedule=1e38, epochs=5))
    else:
        live = LiveRun(run, on_progress=lambda _: 1 / 0)
    if state in ("diverged", "failed"):
        live.start()
        ended(live, state)
    said = f'continue_for needs a run that is "finished" or "stopped". Received: state="{state}"'
    with pytest.raises(RuntimeError, match=said):
        live.continue_for(1)
    if state == "training":
        stopped(live)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((0,), ValueError, "epochs must be an integer >= 1"),
        ((1.5,), TypeError, "epochs must be an integer >= 1"),
        ((1, -0.1), ValueError, "learning_rate must be a number >= 0"),
    ],
    ids=["no epochs", "half epochs", "negative"],
)
def test_what_it_is_to_go_on_with_is_checked(run, arguments, error, said):
    live = LiveRun(run)
    live.stop()
    with pytest.raises(error, match=said):
        live.continue_for(*arguments)
    assert live.state == "stopped"


# Branches.


@pytest.mark.parametrize(
    ("optimizer", "arguments"), [("SGD", {"momentum": 0.9}), ("Adam", {})], ids=["momentum", "adam"]
)
def test_a_branch_with_the_same_rate_is_its_parent_going_on(run, optimizer, arguments):
    """To the bit: weights, batch statistics, dropout's state, and the optimizer's."""
    run = dataclasses.replace(
        run, schedule=0.01, model=with_state, optimizer=optimizer, optimizer_arguments=arguments
    )
    parent = trained(run)
    branch = parent.branch("other", 0.01)
    assert (branch.state, branch.result.loss) == ("ready", [])
    assert (branch.parent, branch.first_step) == ("it", STEPS)
    branch.start()
    ended(branch)
    whole = train(longer(run, 2))
    assert figures(branch.result) == figures(whole, first=1)
    assert bits(branch.result.model) == bits(whole.model)
    assert branch.result.run == {
        **whole.run, "name": "other", "epochs": 1, "branched_from": ["it", STEPS],
    }  # fmt: skip
    # The parent stays what it was.
    assert figures(parent.result) == figures(train(run))
    parent.continue_for(1)
    assert figures(ended(parent).result) == figures(whole)


def test_a_branchs_schedule_starts_at_its_beginning(run):
    schedule = CosineAnnealingLR(0.2, T_max=STEPS)
    branch = trained(dataclasses.replace(run, optimizer="Adam")).branch("other", schedule, 2)
    branch.start()
    np.testing.assert_allclose(
        ended(branch).result.learning_rate, schedule.values(2 * STEPS), rtol=1e-6
    )
    assert branch.epochs == 2
    further = branch.branch("further", 0.1)
    assert (further.parent, further.first_step) == ("other", 3 * STEPS)
    further.start()
    ended(further)
    assert further.result.run["branched_from"] == ["other", 3 * STEPS]


def weights_after(run, steps):
    """Those of a run after so many steps, from another loop."""
    model = model_of(run)
    loop = Loop(model, optimizer_of(run, run.schedule), run.dataset, run.batch_size)
    for epoch in range(-(-steps // STEPS)):
        order = np.random.default_rng([run.seed, epoch]).permutation(loop.examples)
        loop.shuffle(order)
        done = 0
        while done < min(STEPS, steps - epoch * STEPS):
            loop.slice_steps = min(STEPS, steps - epoch * STEPS) - done
            done += len(loop.slice(done)[0])
    return bits(model)


@pytest.mark.parametrize("state", ["training", "paused", "stopped", "its own thread"])
def test_a_branch_begins_with_the_weights_of_its_step(run, state, slices_of):
    slices_of(4)
    branches = []

    def on_progress(result):
        if state == "its own thread" and len(result.loss) > STEPS:
            branches.append(parent.branch("other", 0.3))
            parent.stop()

    parent = LiveRun(longer(run), on_progress=on_progress)
    parent.start()
    until(lambda: len(parent.result.loss) > STEPS)
    if state == "paused":
        parent.pause()
        until(lambda: parent.state == "paused")
    if state == "stopped":
        stopped(parent)
    if state != "its own thread":
        branches.append(parent.branch("other", 0.3))
        stopped(parent)
    ended(parent, "stopped")
    (branch,) = branches
    begun = -(-branch.first_step // STEPS)
    assert STEPS < branch.first_step <= len(parent.result.loss)
    assert branch.run.epochs == FOREVER - branch.first_step // STEPS >= FOREVER - begun
    # At a rate of 0, its weights stay those that it began with.
    branch.hold_rate(0.0)
    branch._on_progress = lambda result: result.test_loss and branch.stop()
    branch.start()
    assert bits(ended(branch, "stopped").result.model) == weights_after(run, branch.first_step)


def test_without_weights_there_is_no_branch(run, monkeypatch):
    live = LiveRun(run)
    said = "branch needs a model, and there is none before the training begins. Received: "
    with pytest.raises(RuntimeError, match=f'{said}state="ready"'):
        live.branch("other", 0.1)
    gate, load = Gate(), datasets.load
    monkeypatch.setattr(datasets, "load", lambda name: (gate(), load(name))[1])
    live = LiveRun(dataclasses.replace(longer(run), dataset="digits"))
    live.start()
    assert gate.reached.wait(PATIENCE)
    with pytest.raises(RuntimeError, match=f'{said}state="setting up"'):
        live.branch("other", 0.1)
    live.stop()
    gate.opened.set()
    ended(live, "stopped")
    with pytest.raises(RuntimeError, match=f'{said}state="stopped"'):
        live.branch("other", 0.1)


@pytest.mark.parametrize(
    "changes",
    # The second after a single step, in whose test alone it can be seen.
    [
        {"schedule": 1e38, "epochs": 5},
        {"schedule": 1e38, "batch_size": 1437, "initialization": "keras"},
    ],
    ids=["in training", "in the test"],
)
def test_a_diverged_run_is_no_beginning(run, changes):
    live = LiveRun(dataclasses.replace(run, **changes))
    live.start()
    ended(live, "diverged")
    for ask in (lambda: live.branch("other", 0.1), lambda: live.save_model("it.keras")):
        with pytest.raises(
            RuntimeError, match=r'needs whole weights.* Received: status="diverged"'
        ):
            ask()
    assert not np.isfinite([live.result.loss[-1], *live.result.test_loss]).all()
    assert len(live.planned) == live.progress.steps


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((" ", 0.1), ValueError, "name must be a string"),
        (("other", -1), ValueError, "schedule must be a number > 0"),
        (("other", 0.1, 0), ValueError, "epochs must be an integer >= 1"),
    ],
    ids=["name", "schedule", "epochs"],
)
def test_what_a_branch_is_to_be_is_checked(run, arguments, error, said):
    with pytest.raises(error, match=said):
        trained(run).branch(*arguments)


def test_who_asks_does_not_wait_for_ever(run, monkeypatch):
    gate, slice_ = Gate(), Loop.slice
    monkeypatch.setattr("keraslr.training._live._PATIENCE", 0.1)
    monkeypatch.setattr(Loop, "slice", lambda self, first: (gate(), slice_(self, first))[1])
    parent = LiveRun(run)
    parent.start()
    assert gate.reached.wait(PATIENCE)
    with pytest.raises(RuntimeError, match="branch needs the end of the step under way, and that"):
        parent.branch("other", 0.1)
    gate.opened.set()
    assert figures(ended(parent).result) == figures(train(run))


# What goes wrong.


def test_an_error_in_on_progress_ends_the_run_and_keeps_what_was_done(run, slices_of):
    slices_of(4)

    def on_progress(result):
        if len(result.loss) > STEPS:
            raise ZeroDivisionError("on purpose")

    live = LiveRun(longer(run), on_progress=on_progress)
    live.start()
    ended(live, "failed")
    assert isinstance(live.error, ZeroDivisionError)
    assert str(live.error) == "on purpose"
    assert (len(live.result.loss), len(live.result.test_loss)) == (STEPS + 4, 1)
    assert live.result.wall_time > 0
    assert live.branch("other", 0.1).first_step == len(live.result.loss)


@pytest.mark.parametrize(
    "error",
    [datasets.DatasetError("gone"), MemoryError("too large"), SystemExit(1)],
    ids=["dataset", "memory", "exit"],
)
def test_no_error_is_lost_in_the_thread(run, monkeypatch, error):
    def fails(_):
        raise error

    monkeypatch.setattr(datasets, "load", fails)
    live = LiveRun(dataclasses.replace(run, dataset="digits"))
    live.start()
    ended(live, "failed")
    assert live.error is error
    assert live.result.loss == []
    assert (live.dataset, live.progress.steps) == (None, None)


def test_an_error_within_a_step_leaves_no_whole_weights(run, monkeypatch):
    slice_ = Loop.slice

    def fails(self, first):
        slice_(self, first)
        raise MemoryError

    monkeypatch.setattr(Loop, "slice", fails)
    live = LiveRun(run)
    live.start()
    ended(live, "failed")
    assert isinstance(live.error, MemoryError)
    with pytest.raises(RuntimeError, match=r'save_model needs whole.*status="failed"'):
        live.save_model("it.keras")


def test_a_function_that_says_no_run_fails_the_run():
    live = LiveRun(lambda: "train it!")
    live.start()
    ended(live, "failed")
    assert str(live.error) == "run must be a function that returns a Run. Received: 'train it!'"


def test_its_own_thread_cannot_wait_for_it(run):
    live = LiveRun(run, on_progress=lambda _: live.wait())
    live.start()
    ended(live, "failed")
    assert "wait must not be called by the run's own thread" in str(live.error)


def test_another_backend_is_refused(run, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    live = LiveRun(run)
    live.start()
    ended(live, "failed")
    assert "KERAS_BACKEND=tensorflow" in str(live.error)


@pytest.mark.slow
def test_the_interpreters_end_is_that_of_all_runs():
    program = f"""
        import atexit, time
        # What is registered first is called last.
        atexit.register(lambda: print([live.state for live in lives]))
        from keraslr.training import LiveRun, Run, _interpreter_end
        _interpreter_end._LAST_SECONDS = {PATIENCE}
        lives = [LiveRun(Run(name, 0.1, dataset="digits", epochs=10**6)) for name in "abc"]
        for live in lives:
            live.start()
        while not all(live.result.loss for live in lives):
            time.sleep(0.01)
        lives[0].pause()
        while lives[0].state != "paused":
            time.sleep(0.01)
        lives.pop()
        LiveRun(lives[0].run).start()
        print([live.state for live in lives], flush=True)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (ended.returncode, ended.stdout) == (
        0,
        "['paused', 'training']\n['stopped', 'stopped']\n",
    )
    assert "Error" not in ended.stderr


# The record.


def test_a_record_of_a_half_written_result_is_of_one_length():
    result = Result(
        {}, loss=[3.0, 2.0, 1.0], accuracy=[0.1, 0.2, 0.3], learning_rate=[0.5, 0.4],
        train_loss=[2.0, 1.0], train_accuracy=[0.5, 0.6], test_loss=[2.0], test_accuracy=[0.5],
        epoch_seconds=[],
    )  # fmt: skip
    record = Record.of(result, [1])
    np.testing.assert_array_equal(record.loss, [3.0, 2.0])
    np.testing.assert_array_equal(record.accuracy, [0.1, 0.2])
    np.testing.assert_array_equal(record.learning_rate, [0.5, 0.4])
    assert record.train_loss == record.test_loss == record.epoch_seconds == record.test_steps == []
    result.epoch_seconds.append(0.2)
    record = Record.of(result, [1])
    assert (record.train_loss, record.test_accuracy, record.test_steps) == ([2.0], [0.5], [1])


def test_the_record_can_be_read_while_it_grows(run):
    live = LiveRun(longer(run))
    assert len(live.record().loss) == 0
    live.start()
    lengths, shapes = [], set()
    while len(lengths) <= 50 or len(set(lengths)) <= 16:
        assert live.under_way
        record = live.record()
        lengths.append(len(record.loss))
        by_step = {len(each) for each in (record.loss, record.accuracy, record.learning_rate)}
        by_epoch = {len(getattr(record, name)) for name in FIGURES[3:]} | {len(record.test_steps)}
        shapes.add((len(by_step), len(by_epoch)))
        assert (
            record.test_steps
            == list(range(STEPS, len(record.loss) + 1, STEPS))[: len(record.test_steps)]
        )
        json.dumps(live.result.run)
        time.sleep(0.0005)  # or the run would hardly get the interpreter
    stopped(live)
    assert shapes == {(1, 1)}
    assert lengths == sorted(lengths)
    np.testing.assert_array_equal(live.record().loss, live.result.loss)


def test_progress_is_known_bit_by_bit(run, slices_of):
    slices_of(8)
    seen = []
    run = dataclasses.replace(run, epochs=2)
    live = LiveRun(run, on_progress=lambda _: seen.append(live.progress))
    before = live.progress
    assert (before.steps_done, before.steps) == (0, None)
    assert before.examples_per_second is before.seconds_left is None
    assert len(live.planned) == 0
    live.start()
    ended(live)
    assert {each.steps for each in seen} == {2 * STEPS}
    assert [each.steps_done for each in seen] == [8, 16, 23, 31, 39, 46]
    assert seen[0].seconds_left is None
    for each in seen[1:]:
        left = 1437 * (2 * STEPS - each.steps_done) / STEPS
        assert each.seconds_left == pytest.approx(left / each.examples_per_second)
    assert (live.progress.steps_done, live.progress.seconds_left) == (2 * STEPS, 0.0)


# The model.


@pytest.mark.parametrize("state", ["training", "finished"])
def test_a_saved_model_is_the_trained_one(run, digits, tmp_path, state):
    live = trained(run) if state == "finished" else under_way(run)
    path = live.save_model(tmp_path / "new" / "it.keras")
    assert path == tmp_path / "new" / "it.keras"
    assert list(path.parent.iterdir()) == [path]
    if state == "training":
        stopped(live)
    with zipfile.ZipFile(path) as file:
        config = file.read("config.json").decode()
    assert "keraslr" not in config
    assert not json.loads(config).get("compile_config")
    model = keras.models.load_model(path)
    assert not model.compiled
    if state == "finished":
        logits = model.predict(digits.x_test / np.float32(255), verbose=0)
        accuracy = np.mean(logits.argmax(1) == digits.y_test)
        assert accuracy == pytest.approx(live.result.test_accuracy[-1], abs=1e-6)


def test_a_model_is_saved_whole_or_not_at_all(run, tmp_path, monkeypatch):
    live = LiveRun(run)
    with pytest.raises(RuntimeError, match=r'save_model needs a model.* Received: state="ready"'):
        live.save_model(tmp_path / "it.keras")
    live.start()
    ended(live)
    with pytest.raises(ValueError, match=r'path must end in ".keras". Received: path="it.h5"'):
        live.save_model("it.h5")
    path = live.save_model(tmp_path / "it.keras")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*it\.keras"):
        live.save_model(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_released_run_can_still_do_everything(run, tmp_path):
    """Its numbers are kept, and what they are numbers of is made again."""
    kept, released = trained(run), trained(run)
    released.release()
    released.release()
    assert released.result.model is None
    paths = [live.save_model(tmp_path / f"{i}.keras") for i, live in enumerate((kept, released))]
    ours, theirs = (keras.models.load_model(path).get_weights() for path in paths)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
    branches = [live.branch("branch", 0.01, epochs=1) for live in (kept, released)]
    for live in (kept, released):
        live.continue_for(1)
        ended(live)
    assert kept.result.loss == released.result.loss
    assert isinstance(released.result.model, keras.Model)
    for branch in branches:
        branch.start()
        ended(branch)
    assert branches[0].result.loss == branches[1].result.loss


def test_a_run_under_way_is_not_released(run):
    live = under_way(longer(run))
    live.release()
    assert isinstance(live.result.model, keras.Model)
    stopped(live)
