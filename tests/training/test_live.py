"""A live run: the numbers of `train`, its ends, its errors, and what can be read of it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
from live_runs import (
    FIGURES,
    STEPS,
    bits,
    ended,
    figures,
    longer,
    stopped,
    trained,
    under_way,
    with_state,
)
from waiting import PATIENCE, Gate

from keraslr import CosineAnnealingLR, ExponentialLR, datasets
from keraslr.training import LiveRun, Record, Result, train
from keraslr.training._loop import Loop

ROOT = Path(__file__).resolve().parents[2]


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
    assert (live.run, live.epochs, live.steps_per_epoch, live.problem.name) == (
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
    assert (live.problem, live.progress.steps) == (None, None)


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
        {},
        steps={"loss": [3.0, 2.0, 1.0], "accuracy": [0.1, 0.2, 0.3], "learning_rate": [0.5, 0.4]},
        epochs={
            "loss": [2.0, 1.0], "accuracy": [0.5, 0.6], "val_loss": [2.0], "val_accuracy": [0.5]
        },
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
