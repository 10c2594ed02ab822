"""One run: right, repeatable, stoppable, and kept whole."""

from __future__ import annotations

import dataclasses
import functools
import gc
import json
import os
import random
import signal
import threading
import weakref
from pathlib import Path

import keras
import numpy as np
import pytest
from networks import softmax_regression
from programs import Program
from waiting import PATIENCE

from keraslr import CosineAnnealingLR, ExponentialLR, OneCycleLR, PolynomialLR, datasets
from keraslr._files import write_whole
from keraslr.models import lenet
from keraslr.training import LiveRun, Result, Run, train
from keraslr.training._loop import Loop

STEPS = 23  # of an epoch of the digits: 1437 / 64, the last of 29 examples
SMALL = {"dataset": "digits", "model": softmax_regression, "batch_size": 64, "epochs": 2}


def test_a_run_records_every_step_and_epoch():
    result = train(Run("cosine", CosineAnnealingLR(0.3, T_max=2 * STEPS), **SMALL))
    assert result.status == "finished"
    assert len(result.loss) == len(result.accuracy) == len(result.learning_rate) == 2 * STEPS
    for figures in (
        result.train_loss, result.train_accuracy, result.test_loss, result.test_accuracy,
        result.epoch_seconds,
    ):  # fmt: skip
        assert len(figures) == 2
    sizes = np.array([64] * (STEPS - 1) + [1437 - 64 * (STEPS - 1)])
    assert result.train_loss[1] == pytest.approx(
        np.dot(result.loss[STEPS:], sizes) / 1437, rel=1e-12
    )
    assert result.train_accuracy[0] * 1437 == pytest.approx(
        np.dot(result.accuracy[:STEPS], sizes), rel=1e-6
    )
    assert result.wall_time >= sum(result.epoch_seconds)
    assert set(result.versions) == {"python", "keraslr", "keras", "tensorflow", "numpy"}
    assert result.device.startswith(("CPU", "GPU"))
    assert result.run["schedule"] == f"CosineAnnealingLR(initial_learning_rate=0.3, T_max={2 * STEPS}, eta_min=0.0)"  # fmt: skip # noqa: E501


def test_the_applied_rates_are_the_schedules():
    schedule = ExponentialLR(0.3, gamma=0.97)
    result = train(Run("falling", schedule, **SMALL))
    np.testing.assert_allclose(result.learning_rate, schedule.values(2 * STEPS), rtol=1e-7)


def test_the_test_figures_are_those_of_evaluate():
    result = train(Run("constant", 0.1, **SMALL))
    data = datasets.load("digits")
    model = result.model
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    loss, accuracy = model.evaluate(data.x_test / np.float32(255), data.y_test, verbose=0)
    assert result.test_loss[-1] == pytest.approx(loss, rel=1e-5)
    assert result.test_accuracy[-1] == pytest.approx(accuracy, abs=1e-6)


def build_with_state(seed: int) -> keras.Model:
    """A network with what a bare loop forgets: batch statistics and a penalty on the weights."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(
                16,
                activation="relu",
                kernel_regularizer=keras.regularizers.L2(0.01),
                kernel_initializer=keras.initializers.GlorotUniform(seed),
            ),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed + 1)),
        ]
    )


@pytest.mark.parametrize(
    ("build", "optimizer", "arguments"),
    [
        (lambda seed: lenet(seed=seed), "SGD", {"momentum": 0.9}),
        (build_with_state, "SGD", {}),
        # With the usual epsilon, Adam makes whole steps out of the rounding errors of gradients
        # that are zero.
        (build_with_state, "Adam", {"weight_decay": 0.01, "epsilon": 0.01}),
        (build_with_state, "SGD", {"loss_scale_factor": 1024.0}),
    ],
)
def test_it_gives_what_fit_gives_with_the_same_order(build, optimizer, arguments):
    """Plain Keras, only faster: weights and statistics agree to rounding."""
    assert_as_fitted(build, optimizer, arguments, epochs=2)


def test_averaged_weights_are_those_of_fit():
    """Which puts them in at its end, so that this is one epoch in one call."""
    arguments = {"use_ema": True, "ema_momentum": 0.9}
    assert_as_fitted(build_with_state, "SGD", arguments, epochs=1)


def assert_as_fitted(build, optimizer, arguments, epochs):
    schedule = PolynomialLR(0.02, total_iters=2 * STEPS)
    settings = {"optimizer": optimizer, "optimizer_arguments": arguments, **SMALL}
    result = train(Run("it", schedule, **{**settings, "model": build, "epochs": epochs}))
    data = datasets.load("digits")
    model = build(0)
    model.compile(
        getattr(keras.optimizers, optimizer)(schedule, **arguments),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    for epoch in range(epochs):
        order = np.random.default_rng([0, epoch]).permutation(1437)
        images = data.x_train[order] / np.float32(255)
        model.fit(images, data.y_train[order], batch_size=64, shuffle=False, verbose=0)
    for ours, theirs in zip(result.model.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=2e-3, atol=2e-4)


def test_the_same_seed_gives_the_same_numbers():
    first, same = (train(Run("it", 0.2, **SMALL)) for _ in range(2))
    other = train(Run("it", 0.2, **SMALL, seed=1))
    assert first.loss == same.loss
    assert first.test_accuracy == same.test_accuracy
    assert other.loss[0] != first.loss[0]


def test_the_same_seed_gives_the_same_numbers_in_another_process():
    run = 'Run("it", 0.2, dataset="digits", batch_size=64, epochs=2)'
    here = train(eval(run)).loss
    program = f"from keraslr.training import Run, train\nprint(train({run}).loss)"
    assert json.loads(Program("-c", program).finished()) == here


def test_the_users_random_state_is_left_alone():
    def seeded():
        # Before 3.13, Keras's own generator goes on where it was unless its session is cleared.
        keras.utils.clear_session()
        keras.utils.set_random_seed(5)

    def drawn():
        return random.random(), np.random.random(), float(keras.random.uniform(()))

    seeded()
    expected = drawn()
    seeded()
    assert drawn() == expected
    seeded()
    train(Run("it", 0.2, **SMALL))
    assert drawn() == expected


def test_a_diverging_run_ends_as_such(tmp_path):
    result = train(Run("wild", 1e38, **SMALL))
    assert result.status == "diverged"
    assert not np.isfinite(result.loss[-1])
    assert np.isfinite(result.loss[:-1]).all()
    assert len(result.loss) == len(result.learning_rate) < 2 * STEPS
    path = result.save(tmp_path / "wild.json")
    json.loads(path.read_text(), parse_constant=pytest.fail)  # no NaN: strict JSON
    assert not np.isfinite(Result.load(path).loss[-1])


def test_ctrl_c_keeps_what_was_done(slices_of):
    slices_of(4)

    def interrupt(done, steps, result):
        if done > STEPS:
            raise KeyboardInterrupt

    result = train(Run("it", 0.1, **{**SMALL, "epochs": 50}), on_progress=interrupt)
    assert result.status == "interrupted"
    assert len(result.train_loss) == 1
    assert len(result.loss) == len(result.learning_rate) == STEPS + 4


def test_ctrl_c_in_the_test_leaves_lists_of_one_length(monkeypatch):
    monkeypatch.setattr(Loop, "evaluate", lambda self: signal.raise_signal(signal.SIGINT))
    result = train(Run("it", 0.1, **SMALL))
    assert result.status == "interrupted"
    assert len(result.loss) == STEPS
    assert result.train_loss == result.train_accuracy == result.test_loss == []


def test_a_last_update_that_diverges_is_seen():
    """Of one step in all, no training loss can show it."""
    run = Run("wild", 1e38, dataset="digits", batch_size=1437, epochs=1, initialization="keras")
    result = train(run)
    assert np.isfinite(result.loss).all()
    assert not np.isfinite(result.test_loss[-1])
    assert result.status == "diverged"


def test_it_stops_when_told(slices_of):
    slices_of(4)
    told = iter([False, False, False, True])
    result = train(Run("it", 0.1, **SMALL), should_stop=lambda: next(told))
    assert result.status == "stopped"
    # Asked when the model was made, and before each slice.
    assert len(result.loss) == 2 * 4


def test_progress_is_told_up_to_the_last_step(slices_of):
    slices_of(8)
    told = []
    train(Run("it", 0.1, **SMALL), on_progress=lambda done, steps, _: told.append((done, steps)))
    assert told == [(done, 2 * STEPS) for done in (8, 16, STEPS, STEPS + 8, STEPS + 16, 2 * STEPS)]


# Slices: what lies between two moments at which a run can be stopped.


def test_the_numbers_do_not_depend_on_the_slices(slices_of):
    results, told = [], []
    for steps in (1, 5, STEPS, 10**6):
        slices_of(steps)
        told.clear()
        results.append(train(Run("it", 0.1, **SMALL), on_progress=lambda *_: told.append(1)))
        assert len(told) == 2 * -(-STEPS // steps)
    slices_of("")
    results.append(train(Run("it", 0.1, **SMALL)))
    for figure in ("loss", "accuracy", "learning_rate", "train_loss", "test_loss", "test_accuracy"):
        assert len({str(getattr(result, figure)) for result in results}) == 1, figure


def test_a_slice_takes_a_fifth_of_a_second(slices_of, monkeypatch):
    """On a clock that goes by the steps that are done, which become slower and slower."""
    slices_of("")
    now, a_step, lengths = 0.0, 0.0, []
    monkeypatch.setattr("keraslr.training._loop.time.perf_counter", lambda: now)
    loop = Loop(softmax_regression(0), keras.optimizers.SGD(0.1), noise(64 * 200), 64)
    graph = loop._slice

    def timed(*arguments):
        nonlocal now
        lengths.append(int(arguments[-1]))
        now += lengths[-1] * a_step
        return graph(*arguments)

    monkeypatch.setattr(loop, "_slice", timed)
    for seconds in (1 / 128, 1 / 16, 1.0):
        a_step = seconds
        for _ in range(4):
            loop.slice(sum(lengths))
    # It begins with a few, and no slice has more than twice the steps of the one before.
    assert lengths == [4, 8, 16, 25, 25, 3, 3, 3, 3, 1, 1, 1]


@pytest.mark.parametrize("steps", ["0", "-1", "1.5", "all"])
def test_the_steps_of_a_slice_are_a_number(slices_of, steps):
    slices_of(steps)
    with pytest.raises(ValueError, match=f"KERASLR_SLICE_STEPS must be .* Received: '{steps}'"):
        train(Run("it", 0.1, **SMALL))


def test_it_runs_in_a_background_thread():
    results, errors = [], []

    def work():
        try:
            results.append(train(Run("it", 0.2, **SMALL)))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not errors
    assert results[0].loss == train(Run("it", 0.2, **SMALL)).loss


def test_a_result_survives_saving(tmp_path):
    result = train(Run("it", 0.1, **SMALL))
    assert Result.load(result.save(tmp_path / "deep" / "it.json")) == result


def test_speed_counts_every_example_once():
    result = train(Run("it", 0.1, dataset="digits", batch_size=1000, epochs=3))
    seen = result.examples_per_second * result.wall_time
    assert seen == pytest.approx(3 * 1437, rel=0.01)


def test_an_optimizer_of_this_package_is_found_by_its_name():
    arguments = {"epsilon": 0.01, "initial_accumulator_value": 0.1}
    run = Run("it", 0.05, optimizer="Yogi", optimizer_arguments=arguments, **SMALL)
    losses = train(run).train_loss
    assert losses[1] < losses[0]
    assert losses == train(run).train_loss
    adam = dataclasses.replace(run, optimizer="Adam", optimizer_arguments={"epsilon": 0.01})
    assert losses != train(adam).train_loss


@pytest.mark.parametrize("content", ["", "{", "[]", '{"status": "finished"}', '{"a": 1}', "\x00"])
def test_what_is_no_result_is_not_loaded(tmp_path, content):
    (tmp_path / "it.json").write_text(content)
    with pytest.raises(ValueError, match=r"it\.json is not the result of a run"):
        Result.load(tmp_path / "it.json")


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"name": " "}, ValueError, "name must be"),
        ({"schedule": 0.0}, ValueError, "schedule must be a number > 0"),
        ({"schedule": "StepLR"}, TypeError, "schedule must be a number > 0"),
        ({"dataset": "cats"}, ValueError, "'cats'"),
        ({"model": "resnet"}, ValueError, "'resnet'"),
        ({"initialization": "xavier"}, ValueError, "'xavier'"),
        ({"optimizer": "Magic"}, ValueError, "keras.optimizers or keraslr.optimizers.*'Magic'"),
        ({"optimizer": "schedules"}, ValueError, "'schedules'"),
        ({"optimizer_arguments": {"learning_rate": 1}}, ValueError, "must not hold learning_rate"),
        ({"optimizer_arguments": [1]}, TypeError, "must be a mapping that JSON can hold"),
        ({"optimizer_arguments": {"x": object()}}, TypeError, "a mapping that JSON can hold"),
        ({"epochs": 0}, ValueError, "epochs must be an integer >= 1"),
        ({"epochs": 1.5}, TypeError, "epochs must be an integer >= 1"),
        ({"batch_size": -1}, ValueError, "batch_size must be an integer >= 1"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0"),
    ],
)
def test_a_bad_description_is_refused(change, error, said):
    with pytest.raises(error, match=said):
        Run(**{"name": "it", "schedule": 0.1, **change})


def test_equal_descriptions_have_equal_keys():
    assert Run("it", ExponentialLR(0.1, 0.5)).key() == Run("it", ExponentialLR(0.1, 0.5)).key()
    keys = {
        Run("it", ExponentialLR(0.1, 0.5), **change).key()
        for change in ({}, {"seed": 1}, {"epochs": 2}, {"optimizer_arguments": {"momentum": 0.9}})
    }
    assert len(keys) == 4


def test_other_data_or_another_function_is_another_run():
    """Or a comparison would take the old results for the new."""
    data = datasets.load("digits")
    inverted = dataclasses.replace(data, x_train=255 - data.x_train)
    assert Run("it", 0.1, dataset=data).key() == Run("it", 0.1, dataset=data).key()
    assert Run("it", 0.1, dataset=data).key() != Run("it", 0.1, dataset=inverted).key()

    def key(build):
        return Run("it", 0.1, model=build).key()

    assert key(lambda seed: lenet(seed=seed)) == key(lambda seed: lenet(seed=seed))
    assert key(lambda seed: lenet(seed=seed)) != key(lambda seed: lenet("keras", seed=seed))
    assert key(functools.partial(lenet, "keras"))  # without a name of its own


def test_a_description_stays_what_it_is():
    arguments = {"momentum": 0.9}
    run = Run("it", 0.1, optimizer_arguments=arguments)
    before = run.key()
    arguments["momentum"] = 0.5
    assert run.key() == before


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "new" / "it.txt", "first")
    assert path.read_text() == "first"

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(path, "second")
    assert str(path) in str(caught.value)
    assert path.read_text() == "first"
    assert list(path.parent.iterdir()) == [path]  # and nothing half-done lies about


# A backup of each epoch.


def test_a_run_that_was_killed_goes_on_from_its_backup(tmp_path, slices_of):
    """By an error that nothing catches, after the second epoch. Dropout has a state, too."""

    def build(seed):
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                keras.layers.Flatten(),
                keras.layers.Dropout(0.2, seed=seed),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed)),
            ]
        )

    def killed(done, steps, result):
        if done > 2 * STEPS:
            raise SystemExit

    run = Run(
        "it", ExponentialLR(0.2, gamma=0.98), model=build, optimizer="Adam", dataset="digits",
        batch_size=64, epochs=4,
    )  # fmt: skip
    whole = train(run)
    slices_of(4)
    with pytest.raises(SystemExit):
        train(run, backup=tmp_path, on_progress=killed)
    told = []
    resumed = train(run, backup=tmp_path, on_progress=lambda done, *_: told.append(done))
    assert told[0] == 2 * STEPS + 4
    for figure in ("loss", "accuracy", "learning_rate", "train_loss", "test_loss", "test_accuracy"):
        assert getattr(resumed, figure) == getattr(whole, figure), figure
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Finished, it is not trained again, and another run has a file of its own.
    again = train(run, backup=tmp_path, on_progress=lambda *_: pytest.fail("it trains"))
    assert (again.status, again.test_loss) == ("finished", whole.test_loss)
    train(dataclasses.replace(run, seed=1, epochs=1), backup=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_a_damaged_backup_is_named(tmp_path, content):
    run = Run("it", 0.1, **SMALL)
    (tmp_path / f"{run.key()}.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{run.key()}\.npz is not a backup of a run"):
        train(run, backup=tmp_path)


# On several replicas; that they give the numbers of one is in test_distributed.py.


def test_more_replicas_are_a_larger_batch_at_a_larger_rate():
    schedule = PolynomialLR(0.2, total_iters=4).per_epoch(STEPS)
    run = Run("it", schedule, dataset="digits", batch_size=64, epochs=4)
    four = run.on_replicas(4, warmup_epochs=2)
    steps = 6  # 1437 / 256
    assert (four.batch_size, four.epochs, four.name) == (256, 4, "it")
    each = np.repeat(schedule.values(4 * STEPS)[::STEPS], steps)  # the rate of each epoch
    factor = np.concatenate([1 + 3 * np.arange(2 * steps) / (2 * steps), np.full(2 * steps, 4)])
    np.testing.assert_allclose(four.schedule.values(4 * steps), each * factor, rtol=1e-6)
    cold = run.on_replicas(4, warmup_epochs=0)
    np.testing.assert_allclose(cold.schedule.values(4 * steps), each * 4, rtol=1e-6)
    assert run.on_replicas(1, warmup_epochs=2) == run


def test_a_constant_rate_rises_to_the_scaled_one():
    run = Run("it", 0.1, dataset="digits", batch_size=64, epochs=4)
    rates = run.on_replicas(2, warmup_epochs=1).schedule.values(2 * 12)
    np.testing.assert_allclose(rates[[0, 6, 12, 23]], [0.1, 0.15, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize(
    ("schedule", "arguments", "said"),
    [
        (0.1, {"replicas": 0, "warmup_epochs": 1}, "replicas must be an integer >= 1"),
        (
            0.1,
            {"replicas": 2, "warmup_epochs": 5},
            "warmup_epochs must be an integer >= 0 and <= 4",
        ),
        (ExponentialLR(0.1, 0.9), {"replicas": 2, "warmup_epochs": 1}, r"add \.per_epoch\(23\)"),
        (
            ExponentialLR(0.1, 0.9).per_epoch(12),
            {"replicas": 2, "warmup_epochs": 1},
            r"add \.per_epoch\(23\)",
        ),
        (
            OneCycleLR(0.1, total_steps=10).per_epoch(STEPS),
            {"replicas": 2, "warmup_epochs": 1},
            "warmup_epochs must be 0 for a schedule without an initial learning rate",
        ),
    ],
)
def test_what_cannot_be_scaled_is_refused(schedule, arguments, said):
    run = Run("it", schedule, dataset="digits", batch_size=64, epochs=4)
    with pytest.raises(ValueError, match=said):
        run.on_replicas(**arguments)


# Memory, and the data on the device.


def noise(train=1000, test=100):
    rng = np.random.default_rng(0)
    parts = [
        part
        for n in (train, test)
        for part in (
            rng.integers(0, 256, (n, 28, 28, 1), np.uint8),
            rng.integers(0, 10, n, np.int32),
        )
    ]
    return datasets.Dataset("noise", *parts)


def test_the_graphs_and_the_data_go_with_the_run(monkeypatch):
    """TensorFlow has ways to keep a graph for ever, and what the graph has captured with it."""
    kept, make = [], Loop.__init__

    def made(self, *arguments):
        make(self, *arguments)
        for each in (self, self._data, self._slice.graph, self._evaluate.graph):
            kept.append(weakref.ref(each))

    monkeypatch.setattr(Loop, "__init__", made)
    result = train(Run("it", 0.1, dataset=noise(), epochs=1))
    gc.collect()
    assert result.model is not None
    assert len(kept) == 4
    assert [each() for each in kept] == [None] * 4


def test_loops_on_one_dataset_share_what_is_on_the_device():
    data = noise()
    loops = [
        Loop(model, keras.optimizers.SGD(0.1), data, 64)
        for data, model in zip((data, data, noise()), map(lenet, ["keras"] * 3), strict=True)
    ]
    assert loops[0]._data is loops[1]._data
    assert loops[0]._data is not loops[2]._data
    held = weakref.ref(loops[0]._data)
    del loops[0]
    assert held() is not None
    loops.clear()
    gc.collect()
    assert held() is None


def resident():
    """Memory of this process in MiB."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("memory is read from /proc")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "live"])
def test_memory_stays_where_it_is_over_many_runs(kind, slices_of):
    """Of data as large as Fashion-MNIST, 45 MiB: a few steps of each."""
    slices_of(4)

    def run_once():
        run = Run("it", 0.01, model=build_with_state, dataset=noise(60_000, 10), epochs=1)
        if kind == "train":
            told = iter([False] * 3)
            result = train(run, should_stop=lambda: next(told, True))
        else:
            live = LiveRun(run, on_progress=lambda _: live.stop())
            live.start()
            assert live.wait(PATIENCE)
            result = live.result
        assert result.status == "stopped"
        assert result.loss

    memory = []
    for _ in range(6):
        run_once()
        gc.collect()
        memory.append(resident())
    # The first ones warm up. After that, a run that left its data would leave 45 MiB each time.
    assert memory[-1] - memory[3] < 45


def test_the_test_data_are_gone_through_in_pieces():
    data = noise(64, 2500)
    model = lenet(seed=0)
    pieces = list(Loop(model, keras.optimizers.SGD(0.1), data, 64).evaluate())
    assert pieces[:-1] == [None, None]
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    loss, accuracy = model.evaluate(data.x_test / np.float32(255), data.y_test, verbose=0)
    assert pieces[-1] == (pytest.approx(loss, rel=1e-5), pytest.approx(accuracy, abs=1e-6))


def test_it_stops_between_these_pieces():
    seen = []
    # One step an epoch. It is told of an epoch when that was tested.
    run = Run("it", 0.1, dataset=noise(64, 2500), batch_size=64, epochs=5)
    result = train(
        run,
        on_progress=lambda done, steps, result: seen.append(result),
        should_stop=lambda: len(seen) == 1 and len(seen[0].loss) == 2,
    )
    assert result.status == "stopped"
    assert (len(result.loss), len(result.test_loss)) == (2, 1)


@pytest.mark.slow
def test_the_lenet_learns_fashion_mnist(fashion_mnist_folder):
    result = train(Run("constant", 0.3, dataset="fashion_mnist", epochs=2))
    assert result.status == "finished"
    assert len(result.loss) == 2 * 235
    assert result.test_accuracy[-1] > 0.70
    assert result.train_loss[1] < result.train_loss[0]
