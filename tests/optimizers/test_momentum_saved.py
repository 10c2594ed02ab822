"""A scheduled momentum in configs and files, and what is refused."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest
from measured import QUICKLY, thinned
from momenta import (
    GRADIENTS,
    KINDS,
    MOMENTUM,
    RATE,
    STEPS,
    assert_applied,
    compiled,
    each_formula,
    every_kind,
    fit,
    made,
    momenta,
    rates,
    weight_of,
)

import keraslr
from keraslr.optimizers import SGD, Adam

# Saved and loaded.

SCHEDULES = {
    "one cycle": MOMENTUM,
    "composed": keraslr.CyclicLR(0.1, 0.2, 3, mode="triangular2")
    .momentum_schedule(0.3, 0.9)
    .per_epoch(2)
    .clipped(0.4, 0.8),
    "keras's": keras.optimizers.schedules.ExponentialDecay(0.9, 10, 0.5, staircase=True),
    "a number": 0.75,
}
SCHEDULES = thinned(SCHEDULES, every=2)
every_schedule = pytest.mark.parametrize("momentum", SCHEDULES.values(), ids=SCHEDULES)


def values_of(momentum):
    if isinstance(momentum, float):
        return momentum
    return [float(momentum(step)) for step in (0, 7, 20)]


def scheduled(optimizer):
    return getattr(optimizer, type(optimizer).scheduled)


@every_schedule
@every_kind
@pytest.mark.parametrize(
    "again",
    [
        lambda o: type(o).from_config(o.get_config()),
        lambda o: type(o).from_config(json.loads(json.dumps(o.get_config()))),
        lambda o: keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(o)),
        lambda o: keras.optimizers.get(json.loads(json.dumps(keras.optimizers.serialize(o)))),
    ],
    ids=["config", "json", "keras", "keras.optimizers"],
)
def test_an_optimizer_survives(kind, momentum, again):
    optimizer = made(kind, momentum, weight_decay=0.25, clipnorm=2.0)
    before = json.dumps(optimizer.get_config())
    other = again(optimizer)
    assert type(other) is type(optimizer)
    assert other is not optimizer
    assert json.dumps(other.get_config()) == json.dumps(optimizer.get_config()) == before
    assert values_of(scheduled(other)) == values_of(momentum)
    assert other._learning_rate == RATE
    if isinstance(momentum, keraslr.Schedule):
        assert scheduled(other) == momentum


def test_a_config_stays_what_it_is():
    config = made("sgd").get_config()
    before = json.dumps(config)
    SGD.from_config(config)
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("kind", "momentum"),
    [("nesterov", each) for each in SCHEDULES.values()]
    + [("amsgrad", MOMENTUM), ("pytorch", MOMENTUM)],
    ids=[*SCHEDULES, "amsgrad", "pytorch"],
)
def test_a_saved_run_goes_on_as_if_it_had_not_been(kind, momentum, tmp_path):
    whole = compiled(made(kind, momentum), **QUICKLY)
    fit(whole)
    model = compiled(made(kind, momentum), **QUICKLY)
    fit(model, last=STEPS // 2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is KINDS[kind][0]
    fit(again, first=STEPS // 2)
    assert weight_of(again) == weight_of(whole) != 0


@each_formula
def test_a_run_resumed_from_weights_goes_on_as_if_it_had_not_stopped(kind, tmp_path):
    whole = compiled(made(kind), **QUICKLY)
    fit(whole)
    model = compiled(made(kind), **QUICKLY)
    fit(model, last=STEPS // 2)
    model.save_weights(tmp_path / "run.weights.h5")
    again = compiled(made(kind), **QUICKLY)
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "run.weights.h5")
    fit(again, first=STEPS // 2)
    assert weight_of(again) == weight_of(whole) != 0


def test_a_killed_run_resumed_by_keras_goes_on_where_it_was(tmp_path):
    x = GRADIENTS[:, None].astype("float32")

    def run(epochs):
        model = compiled(made("sgd"), **QUICKLY)
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model.fit(
            x[: STEPS // 2], -np.ones((STEPS // 2, 1)), batch_size=1, epochs=epochs, shuffle=False,
            verbose=0, callbacks=[backup],
        )  # fmt: skip
        return model

    run(1)
    resumed = run(2)
    assert int(resumed.optimizer.iterations) == STEPS
    twice = np.tile(GRADIENTS[: STEPS // 2], 2)
    assert_applied(weight_of(resumed), "sgd", rates(), momenta(), twice)


@pytest.mark.parametrize(
    "hostile",
    [
        {"class_name": "system", "module": "os", "registered_name": "keraslr>system",
         "config": {"command": "true"}},
        {"class_name": "StepLR", "registered_name": "keraslr>StepLR", "config": None},
        {"class_name": "__lambda__", "config": {"value": "abc"}},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": None,
         "config": {"units": 3}},
        {"initial_learning_rate": 0.1},
        "StepLR(0.1, 3)",
        [0.9],
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("cls", [SGD, Adam])
def test_a_config_that_holds_something_else_is_refused(cls, hostile):
    config = {**cls().get_config(), cls.scheduled: hostile}
    with pytest.raises((TypeError, ValueError)):
        cls.from_config(config)


def test_a_schedule_of_this_package_is_read_without_importing_what_its_config_names(
    tmp_path, monkeypatch
):
    mark = tmp_path / "was-here"
    (tmp_path / "imported_by_config.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = made("sgd").get_config()
    config["momentum"]["module"] = "imported_by_config"
    assert SGD.from_config(config).momentum == MOMENTUM
    config["momentum"]["registered_name"] = "keraslr>Unheard"
    with pytest.raises(ValueError, match="registered keraslr schedule"):
        SGD.from_config(config)
    assert not mark.exists()
