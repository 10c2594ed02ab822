"""Scheduled momenta in the groups of a MultiOptimizer."""

from __future__ import annotations

import keras
import pytest
from measured import QUICKLY
from momenta import KINDS, MOMENTUM, STEPS, compiled, fit, made, weight_of

GROUPS = {"body": "adam", "head": "nesterov"}


def grouped():
    """Two layers side by side, each of which gets the gradients of one alone."""
    inputs = keras.Input((1,))
    zeros = {"kernel_initializer": "zeros", "use_bias": False}
    parts = [keras.layers.Dense(1, name=name, **zeros)(inputs) for name in GROUPS]
    model = keras.Model(inputs, keras.layers.Add()(parts))
    body, head = (made(kind) for kind in GROUPS.values())
    groups = keras.optimizers.OptimizerMap(head, {".*body/.*": body})
    model.compile(keras.optimizers.MultiOptimizer(groups), "hinge", **QUICKLY)
    return model


def weights(model):
    return [float(model.get_layer(name).kernel[0, 0]) for name in GROUPS]


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has none yet")
def test_groups_train_as_their_optimizers_do_alone_and_are_saved(tmp_path):
    alone = []
    for kind in GROUPS.values():
        model = compiled(made(kind), **QUICKLY)
        fit(model)
        alone.append(weight_of(model))
    model = grouped()
    fit(model, last=STEPS // 2)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    fit(model, first=STEPS // 2)
    assert weights(model) == alone

    loaded, by_weights = keras.saving.load_model(tmp_path / "model.keras"), grouped()
    by_weights.optimizer.build(by_weights.trainable_variables)
    by_weights.load_weights(tmp_path / "model.weights.h5")
    for again in (loaded, by_weights):
        kinds = {type(each): each for each in again.optimizer.optimizers}
        assert set(kinds) == {KINDS[kind][0] for kind in GROUPS.values()}
        for each in kinds.values():
            assert getattr(each, each.scheduled) == MOMENTUM
            assert int(each.iterations) == STEPS // 2
        fit(again, first=STEPS // 2)
        assert weights(again) == alone
