"""Runs of a model of one's own: callbacks, the plateau rule, and what the loop must not do."""

from __future__ import annotations

import keras
import kinds
import numpy as np
import pytest
from programs import Program
from waiting import until

import keraslr
from keraslr import CosineAnnealingLR, LiveRun, Problem, Run, compare
from keraslr.callbacks import LearningRateLogger, ReduceLROnPlateau
from keraslr.training import _feed as feeds
from keraslr.training import train
from keraslr.training._loop import Loop

L = keras.layers
PATIENCE = 60.0
STEPS = 7  # of 52 examples in batches of 8


def run_of(kind=kinds.regression, schedule=0.01, **settings):
    settings = {"epochs": 2, "batch_size": 8, **settings}
    return Run("it", schedule, kind(), **settings)


def test_every_step_is_recorded_with_its_rate():
    schedule = CosineAnnealingLR(0.05, T_max=2 * STEPS)
    result = train(run_of(kinds.dataset, schedule))
    assert set(result.steps) == {"loss", "mae", "learning_rate"}
    assert set(result.epochs) == {"loss", "mae", "val_loss", "val_mae", "learning_rate"}
    np.testing.assert_allclose(result.learning_rate, schedule.values(2 * STEPS), rtol=1e-6)
    sizes = [8] * 6 + [4]
    for name in ("loss", "mae"):
        mean = np.average(result.steps[name][:STEPS], weights=sizes)
        assert result.epochs[name][0] == pytest.approx(mean, rel=1e-5)
    assert result == type(result).from_json(result.to_json())


def test_the_slices_of_arrays_that_stay_with_the_host_give_the_same_numbers(monkeypatch, slices_of):
    slices_of(3)
    there = train(run_of())
    monkeypatch.setattr(feeds, "DEVICE_BYTES", 0)
    assert train(run_of()).steps == there.steps


@pytest.mark.parametrize("kind", [kinds.regression, kinds.dataset_of_unknown_length, kinds.eager])
def test_the_length_of_a_slice_changes_nothing(kind, slices_of):
    results = []
    for steps in (1, 3, 100):
        slices_of(steps)
        results.append(train(run_of(kind)))
    assert len({str((each.steps, each.epochs)) for each in results}) == 1


def test_a_stop_within_the_validation_of_a_py_dataset_can_be_continued(slices_of):
    slices_of(1)
    pieces = kinds.Pieces()
    problem = Problem("pieces", kinds.dataset().build, pieces, validation_data=kinds.Pieces())
    tested = []
    live = LiveRun(Run("it", 0.01, problem, epochs=2))
    evaluate = Loop.evaluate

    def stops(self):
        for each in evaluate(self):
            tested.append(each)
            live.stop()
            yield each

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "evaluate", stops)
        live.start()
        assert live.wait(PATIENCE)
    assert (live.state, tested) == ("stopped", [None])
    live.continue_for(1)
    assert live.wait(PATIENCE)
    assert (live.error, live.state) == (None, "finished")


def test_callbacks_are_made_once_for_each_run():
    made = []
    compare(
        {"it": 0.01}, problem=kinds.regression(), epochs=1, seeds=2,
        callbacks=lambda run: made.append(run.seed) or [],
    )  # fmt: skip
    assert made == [0, 1]


class Seen(keras.callbacks.Callback):
    """Notes the hooks that are called."""

    def __init__(self, every_batch=False):
        super().__init__()
        self.every_batch, self.calls = every_batch, []

    def on_train_begin(self, logs=None):
        self.calls.append("train")

    def on_epoch_begin(self, epoch, logs=None):
        self.calls.append(f"epoch {epoch}")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append(f"batch {batch}")
        self.last = dict(logs)

    def on_test_end(self, logs=None):
        self.calls.append("tested")

    def on_epoch_end(self, epoch, logs=None):
        self.calls.append("end")
        assert logs["loss"] == pytest.approx(self.last["loss"], rel=1e-6)
        assert "val_loss" in logs

    def on_train_end(self, logs=None):
        self.calls.append("over")


@pytest.mark.parametrize("every_batch", [False, True])
def test_callbacks_get_the_hooks_of_fit(slices_of, every_batch):
    slices_of(3)
    made = []

    def callbacks(run):
        made.append(Seen(every_batch))
        return made

    train(run_of(kinds.dataset, callbacks=callbacks))
    batches = range(STEPS) if every_batch else (2, 5, 6)
    epoch = [*(f"batch {batch}" for batch in batches), "tested", "end"]
    assert made[0].calls == ["train", "epoch 0", *epoch, "epoch 1", *epoch, "over"]


def test_early_stopping_stops_and_checkpoints_and_events_are_written(tmp_path):
    def callbacks():
        return [
            keras.callbacks.EarlyStopping(monitor="loss", min_delta=1e9, patience=1),
            keras.callbacks.ModelCheckpoint(tmp_path / "at-{epoch}.keras"),
            keras.callbacks.TensorBoard(tmp_path / "logs"),
        ]

    result = train(run_of(epochs=9, callbacks=callbacks))
    assert (result.status, result.epochs_done) == ("finished", 2)
    assert {path.name for path in tmp_path.glob("*.keras")} == {"at-1.keras", "at-2.keras"}
    assert list(tmp_path.glob("logs/train/*tfevents*"))
    assert list(tmp_path.glob("logs/validation/*tfevents*"))


def test_the_logger_of_rates_agrees_with_the_record():
    logger = LearningRateLogger()
    logger.every_batch = True
    rates = []
    keep = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: rates.extend(logs["applied_learning_rate"])
    )
    schedule = CosineAnnealingLR(0.05, T_max=2 * STEPS)
    result = train(run_of(schedule=schedule, callbacks=lambda: [logger, keep]))
    assert rates == result.learning_rate


def never_better():
    """A problem whose validation loss does not change, so that the rule reduces."""
    model = keras.Sequential([keras.Input((3,)), L.Dense(1, trainable=False), L.Dense(1)])
    model.compile("sgd", lambda y, p: 0 * p)
    x = np.ones((16, 3))
    return Problem("flat", model, x, x[:, 0], validation_data=(x, x[:, 0]))


RULE = ReduceLROnPlateau("val_loss", patience=1, factor=0.5, threshold_mode="abs")


def test_the_plateau_rule_is_trained_compared_and_resumed(tmp_path):
    run = Run("it", (0.8, RULE), never_better(), epochs=6, batch_size=8)
    result = train(run)
    assert result.epochs["learning_rate"] == [0.8, 0.8, 0.8, 0.4, 0.4, 0.2]
    again = compare({"it": (0.8, RULE)}, problem=never_better(), epochs=6, batch_size=8, seeds=2)
    for each in again.results:
        assert each.epochs["learning_rate"] == result.epochs["learning_rate"]
    seen = []
    first = train(
        run, backup=tmp_path, on_progress=lambda done, *_: seen.append(done),
        should_stop=lambda: bool(seen) and seen[-1] >= 6,
    )  # fmt: skip
    assert first.status == "stopped"
    assert 0 < first.epochs_done < 5
    resumed = train(run, backup=tmp_path)
    assert resumed.epochs == result.epochs


def test_a_rate_by_hand_is_applied_as_it_is_under_the_plateau_rule(slices_of):
    slices_of(1)
    run = Run("it", (0.8, RULE), never_better(), epochs=10**6, batch_size=8)
    live = LiveRun(run)
    live.start()
    until(lambda: live.result.learning_rate and live.result.learning_rate[-1] < 0.8)
    live.hold_rate(0.3)
    until(lambda: live.result.learning_rate[-1] == pytest.approx(0.3, rel=1e-6))
    live.release_rate()
    until(lambda: live.result.learning_rate[-1] < 0.29)
    live.stop()
    assert live.wait(PATIENCE)
    branch = live.branch("other", 0.1, epochs=1)
    branch.start()
    assert branch.wait(PATIENCE)
    assert branch.error is None


def test_a_live_run_of_data_of_unknown_length_learns_it(slices_of):
    slices_of(2)
    live = LiveRun(run_of(kinds.dataset_of_unknown_length, epochs=3))
    assert live.steps_per_epoch is None
    live.start()
    assert live.wait(PATIENCE)
    assert live.error is None
    assert live.steps_per_epoch == live.result.steps_done // 3
    assert live.progress.steps == live.progress.steps_done == live.result.steps_done
    assert len(live.planned) == live.result.steps_done


def test_a_live_run_gives_the_numbers_of_train():
    for kind in (kinds.text, kinds.two_outputs, kinds.several_optimizers):
        live = LiveRun(run_of(kind))
        live.start()
        assert live.wait(PATIENCE)
        assert live.error is None
        assert live.result.steps == train(run_of(kind)).steps


def test_a_loss_that_is_not_finite_ends_as_diverged():
    result = train(run_of(schedule=1e30))
    assert result.status == "diverged"
    assert not np.isfinite(result.loss[-1])


@pytest.mark.parametrize(
    "kind", [kinds.regression, kinds.dataset, kinds.dataset_of_unknown_length, kinds.text]
)
def test_nothing_is_traced_after_the_first_slice(kind, slices_of):
    slices_of(3)
    seen, counts = [], []

    class Counted(L.Layer):
        def call(self, x):
            seen.append(1)
            return x

    problem = kind()

    def build():
        model = keras.models.clone_model(problem.model())
        whole = keras.Sequential([*model.layers, Counted()])
        whole.compile("sgd", problem.model().loss)
        return whole

    counted = Problem("counted", build, problem.x, problem.y)
    train(
        Run("it", 0.01, counted, epochs=3, batch_size=8),
        on_progress=lambda *_: counts.append(len(seen)),
    )
    assert len(counts) > 6
    assert len(set(counts)) == 1


def test_the_optimizers_of_a_group_keep_the_ratio_of_their_rates():
    result = train(run_of(kinds.several_optimizers, schedule=CosineAnnealingLR(0.2, T_max=STEPS)))
    body = next(each for each in result.model.optimizer.optimizers if hasattr(each, "beta_1"))
    first = keraslr.optimizers._of_a_model.optimizers_of(result.model)[0]
    for step in (0, 3):
        ratio = float(body._learning_rate(step)) / float(first._learning_rate(step))
        assert ratio == pytest.approx(0.1, rel=1e-5)


FIFTY_RUNS = """
import gc
import keras
import numpy as np
from keraslr import Problem, Run
from keraslr.training import train
import small_runs

x = np.random.default_rng(0).normal(size=(64, 2000)).astype("float32")

def build():
    model = keras.Sequential([keras.Input((2000,)), keras.layers.Dense(2000)])
    model.compile("sgd", "mse")
    return model

for number in range(50):
    train(Run("it", 0.01, Problem("it", build, x.copy(), x), epochs=1, batch_size=32))
    if number % 5 == 4:
        gc.collect()
    if number in (14, 49):
        print(small_runs.resident())
"""


@pytest.mark.slow
def test_memory_is_steady_over_fifty_runs():
    # In a process of its own, whose memory nothing else moves.
    before, after = map(float, Program("-c", FIFTY_RUNS).finished().split())
    # A run that left its weights would leave 15 MiB each time.
    assert after - before < 100


def test_several_processes_train_a_model_of_ones_own():
    problem = kinds.regression()
    here = compare({"it": 0.01}, problem=problem, epochs=1, batch_size=8, seeds=2)
    there = compare(
        {"it": 0.01}, problem=problem, epochs=1, batch_size=8, seeds=2, jobs=1, threads=2
    )
    for one, other in zip(here.results, there.results, strict=True):
        np.testing.assert_allclose(one.loss, other.loss, rtol=1e-5)
    with pytest.raises(TypeError, match=r"x must be a function that can be sent.*returns the data"):
        compare({"it": 0.01}, model=kinds.dataset().build, x=kinds.dataset().x, epochs=1, jobs=1)


def test_keras_schedules_are_compared_and_planned():
    keras_own = keras.optimizers.schedules.CosineDecay(0.05, 2 * STEPS)
    live = LiveRun(run_of(schedule=keras_own))
    live.start()
    assert live.wait(PATIENCE)
    np.testing.assert_allclose(live.planned, live.result.learning_rate, rtol=1e-6)
    with pytest.raises(ValueError, match='clock must be "step"'):
        compare({"it": keras_own}, problem=kinds.regression(), clock="epoch", batch_size=8)
