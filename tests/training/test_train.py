"""Training: the numbers of `fit`, one record a step, and its ends."""

from __future__ import annotations

import dataclasses
import json
import random
import signal
import threading

import keras
import numpy as np
import pytest
from networks import softmax_regression
from programs import Program
from small_runs import SMALL, STEPS, build_with_state, loop_of, noise
from waiting import PATIENCE

from keraslr import CosineAnnealingLR, ExponentialLR, PolynomialLR, datasets
from keraslr.models import lenet
from keraslr.training import Result, Run, train
from keraslr.training._loop import Loop


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
        np.dot(result.loss[STEPS:], sizes) / 1437,
        rel=1e-6,  # Keras's sums are float32
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
    data = noise(64 * 200)
    loop = loop_of(Run("it", 0.1, dataset=data, model=softmax_regression, batch_size=64))
    loop.begin(0)
    graph = loop._slice

    def timed(*arguments):
        nonlocal now
        lengths.append(int(arguments[1]))
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


def test_an_optimizer_of_this_package_is_found_by_its_name():
    arguments = {"epsilon": 0.01, "initial_accumulator_value": 0.1}
    run = Run("it", 0.05, optimizer="Yogi", optimizer_arguments=arguments, **SMALL)
    losses = train(run).train_loss
    assert losses[1] < losses[0]
    assert losses == train(run).train_loss
    adam = dataclasses.replace(run, optimizer="Adam", optimizer_arguments={"epsilon": 0.01})
    assert losses != train(adam).train_loss


@pytest.mark.slow
def test_the_lenet_learns_fashion_mnist(fashion_mnist_folder):
    result = train(Run("constant", 0.3, dataset="fashion_mnist", epochs=2))
    assert result.status == "finished"
    assert len(result.loss) == 2 * 235
    assert result.test_accuracy[-1] > 0.70
    assert result.train_loss[1] < result.train_loss[0]
