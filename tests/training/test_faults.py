"""What is left when training is killed, interrupted, or cannot write what it found?

A damaged dataset is in test_datasets.py, a checkpoint of another schedule in
test_callbacks_logger.py, a range test that is interrupted in test_range_test.py.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import warnings

import interrupted_run
import keras
import numpy as np
import pytest
from measured import applied, compiled, fit, unit_vectors
from programs import Program

import keraslr
from keraslr.callbacks import LearningRateLogger, ReduceLROnPlateau
from keraslr.training import Result


def lines(folder):
    return [json.loads(line) for line in (folder / "epochs.jsonl").read_text().splitlines()]


# Killed


@pytest.fixture(scope="module")
def whole_and_killed(tmp_path_factory):
    """Folders of runs that nothing happened to, and of the same runs killed twice."""
    whole, killed = tmp_path_factory.mktemp("whole"), tmp_path_factory.mktemp("killed")
    script = interrupted_run.__file__
    reference = Program(script, whole)
    # In the middle of the fourth epoch, and after its restart of the seventh.
    for epoch, batch in ((3, 9), (6, 1)):
        process = Program(script, killed, epoch, batch)
        assert process.stdout.readline() == "waiting\n" or process.finished()
        process.kill()
        process.finished(-signal.SIGKILL)
        for kind in interrupted_run.KINDS:
            assert [line["epoch"] for line in lines(killed / kind)] == list(range(epoch))
            assert not (killed / kind / "weights").exists()
    Program(script, killed).finished()
    reference.finished()
    return whole, killed


@pytest.mark.slow
@pytest.mark.parametrize("kind", interrupted_run.KINDS)
def test_a_killed_run_ends_like_one_that_was_not(kind, whole_and_killed):
    whole, killed = (folder / kind for folder in whole_and_killed)
    assert lines(killed) == lines(whole)
    assert (killed / "weights").read_text() == (whole / "weights").read_text()
    # And it was a run that would show a difference.
    epochs = lines(whole)
    rates = [rate for line in epochs for rate in line["applied"]]
    assert len(rates) == interrupted_run.EPOCHS * 20
    scales = [line["scale"] for line in epochs]
    assert scales[0] == 1.0
    assert scales[2] > scales[5] > scales[8]
    if "schedule" in kind:
        # What an epoch's end decides is applied from the next one on.
        scale = np.repeat([1.0, *scales[:-1]], 20)
        expected = scale * interrupted_run.SCHEDULE.values(len(rates))
        np.testing.assert_allclose(rates, expected, rtol=1e-6)


# Results that cannot be written

COMPARE = """
import resource, sys
from keraslr import ConstantLR, compare
settings = dict(dataset="digits", epochs=1, batch_size=512, output=sys.argv[1])
schedules = {"first": ConstantLR(0.1, factor=1.0)}
"""


def results_in(folder):
    """By path: each result in the folder. There is nothing half-done beside them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    index, picture = folder / "results.json", folder / "comparison.png"
    json.loads(index.read_text())
    assert picture.read_bytes().endswith(b"IEND\xaeB`\x82")  # a PNG to its end
    return {path: Result.load(path) for path in files if path not in (index, picture)}


def test_a_full_disk_leaves_earlier_results_whole(tmp_path):
    # The kernel lets no file grow beyond 500 bytes: to the program, a disk that is full.
    code = (
        COMPARE
        + """
compare(schedules, **settings)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, resource.RLIM_INFINITY))
try:
    compare(schedules | {"second": ConstantLR(0.2, factor=1.0)}, **settings)
except OSError as error:
    print(error)
"""
    )
    said = Program("-c", code, tmp_path).finished()
    assert "cannot write" in said
    assert str(tmp_path) in said
    kept = results_in(tmp_path)
    assert {result.run["name"]: result.status for result in kept.values()} == {"first": "finished"}
    # And with room again only what is missing is done.
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    Program("-c", COMPARE + "compare(schedules, **settings)", tmp_path).finished()
    assert {path: path.stat().st_mtime_ns for path in kept} == stamps


def test_two_processes_may_write_into_one_folder(tmp_path):
    code = (
        COMPARE
        + """
schedules["second"] = ConstantLR(0.2, factor=1.0)
print([row.figures for row in compare(schedules, seeds=3, **settings).rows()])
"""
    )
    both = [Program("-c", code, tmp_path) for _ in range(2)]
    said = [process.finished() for process in both]
    assert said[0] == said[1]
    results = results_in(tmp_path).values()
    runs = {(result.run["name"], result.run["seed"]) for result in results}
    assert runs == {(name, seed) for name in ("first", "second") for seed in range(3)}
    assert {result.status for result in results} == {"finished"}


# Ctrl-C in the middle of a step


class Interrupt(keras.callbacks.Callback):
    """Sends a real SIGINT while the graph runs: a little after a batch has begun.

    And again, since Python drops one that comes while it clears something away; but no second one
    before the first was sent.
    """

    def __init__(self):
        super().__init__()
        self.later = threading.Timer(0.0, lambda: None)

    def on_train_batch_begin(self, batch, logs=None):
        if batch % 500 == 20 and not self.later.is_alive():
            self.later = threading.Timer(0.003, os.kill, (os.getpid(), signal.SIGINT))
            self.later.start()


@pytest.mark.parametrize("rate", [0.1, keraslr.ExponentialLR(0.1, gamma=0.97)])
def test_a_fit_that_is_interrupted_can_go_on(rate):
    x, y = unit_vectors()
    model = compiled(rate)
    rule = ReduceLROnPlateau("loss", patience=0, threshold=1e6, threshold_mode="abs", factor=0.5)
    callbacks = [rule, LearningRateLogger()]
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            np.tile(x, (500, 1)), np.tile(y, (500, 1)), batch_size=1, epochs=3, verbose=0,
            shuffle=False, callbacks=[*callbacks, Interrupt()],
        )  # fmt: skip
    done = int(model.optimizer.iterations)
    assert 20 <= done < 60_000
    # The counter, the logger's count and the weights know of the same steps.
    assert int(model.optimizer.learning_rate_recorder.updates) == done
    each = np.full(done, 0.1) if rate == 0.1 else rate.values(done)
    np.testing.assert_allclose(applied(model).sum(), each.sum(), rtol=1e-5)
    # The rule had no epoch's end yet, and the next fit goes on with the schedule.
    state = rule.plateau.numbers()
    assert (state["scale"], state["num_bad_epochs"]) == (1.0, 0)
    history = fit(model, callbacks=callbacks)
    planned = np.full(40, 0.1) if rate == 0.1 else rate.values(40, done)
    logged = list(history.history["applied_learning_rate"][0])
    np.testing.assert_allclose(logged, planned, rtol=1e-6)


def test_a_run_that_is_interrupted_keeps_what_it_did(tmp_path):
    code = """
import sys
from keraslr.training import Run, train
def tell(done, steps, result):
    print("training", flush=True)
result = train(Run("it", 0.1, dataset="digits", epochs=10_000), on_progress=tell)
result.save(sys.argv[1])
"""
    process = Program("-c", code, tmp_path / "result.json")
    assert process.stdout.readline() == "training\n" or process.finished()
    process.send_signal(signal.SIGINT)
    process.finished()
    result = Result.load(tmp_path / "result.json")
    assert result.status == "interrupted"
    assert 0 < len(result.loss) == len(result.learning_rate) == len(result.accuracy)
    assert len(result.test_loss) == len(result.train_loss) <= len(result.loss) // 6


# A loss that is not a number


def test_a_loss_that_is_nan_is_bad_and_ends_no_schedule():
    schedule = keraslr.ExponentialLR(0.1, gamma=0.97)
    model = compiled(schedule)
    x, y = unit_vectors()
    x[25:] = np.nan
    rule = ReduceLROnPlateau("loss", patience=1, factor=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", keraslr.callbacks.LearningRateWarning)
        history = model.fit(
            x, y, batch_size=1, epochs=4, shuffle=False, verbose=0,
            callbacks=[rule, LearningRateLogger()],
        ).history  # fmt: skip
    assert np.isnan(history["loss"]).all()
    assert rule.plateau.numbers()["best"] == np.inf
    # Bad epochs 1 and 2 reduce, 3 and 4 again.
    expected = schedule.values(160) * np.repeat([1.0, 1.0, 0.5, 0.5], 40)
    rates = np.concatenate([list(each) for each in history["applied_learning_rate"]])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)
    assert rule.plateau.numbers()["scale"] == 0.25
