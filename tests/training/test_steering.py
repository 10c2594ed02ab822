"""A live run that is steered: paused, stopped, given a rate by hand, continued."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import weakref

import keras
import numpy as np
import pytest
from live_runs import (
    FOREVER,
    STEPS,
    applied,
    bits,
    ended,
    figures,
    longer,
    stopped,
    trained,
    under_way,
    with_state,
)
from waiting import PATIENCE, Gate, hold_slice, slices_begun, until

from keraslr import ExponentialLR, datasets
from keraslr.training import LiveRun, Run, train
from keraslr.training._loop import Loop

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
    monkeypatch.setattr("keraslr.training._trainer.optimizers_of", lambda *_: (live.stop(), None))
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
