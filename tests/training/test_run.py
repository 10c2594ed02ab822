"""Descriptions of runs, and their results as files."""

from __future__ import annotations

import dataclasses
import functools
import os

import keras
import numpy as np
import pytest
from small_runs import SMALL, STEPS

from keraslr import ExponentialLR, OneCycleLR, PolynomialLR, datasets, optimizers
from keraslr._files import write_whole
from keraslr.models import lenet
from keraslr.training import Result, Run, train
from keraslr.training._run import model_of, problem_of


def test_a_result_survives_saving(tmp_path):
    result = train(Run("it", 0.1, **SMALL))
    assert Result.load(result.save(tmp_path / "deep" / "it.json")) == result


def test_speed_counts_every_example_once():
    result = train(Run("it", 0.1, dataset="digits", batch_size=1000, epochs=3))
    seen = result.examples_per_second * result.wall_time
    assert seen == pytest.approx(3 * 1437, rel=0.01)


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
        ({"schedule": "StepLR"}, TypeError, r"schedule must be a schedule.*keraslr\.parse"),
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


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        ({"momentum": 0.9}, keras.optimizers.SGD),
        ({"momentum": 0.9, "momentum_rule": "pytorch"}, optimizers.SGD),
    ],
    ids=["keras", "keraslr"],
)
def test_an_argument_that_keras_lacks_chooses_the_optimizer_that_has_it(arguments, kind):
    run = Run("it", 0.1, dataset="digits", optimizer="SGD", optimizer_arguments=arguments)
    optimizer = model_of(run, problem_of(run)).optimizer
    assert type(optimizer) is kind
    assert arguments.items() <= optimizer.get_config().items()


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
