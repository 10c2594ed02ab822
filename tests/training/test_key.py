"""The key of a run says what is trained, and not how the function that builds it is called."""

from __future__ import annotations

import functools
import random
import types

import keras
import numpy as np
import pytest
from programs import Program

from keraslr import compare, datasets
from keraslr.training import Run

layers = keras.layers


def key(build, **settings):
    return Run("it", 0.1, dataset="digits", model=build, **settings).key()


def network(width=8, seed=0, activation="relu"):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Flatten(),
            layers.Dense(width, activation=activation),
            layers.Dense(10),
        ]
    )


def closed_over(width):
    return lambda seed: network(width, seed)


def with_default(width):
    def build(seed, width=width):
        return network(width, seed)

    return build


def partial(width):
    return functools.partial(network, width)


class Builder:
    """Builds by a method, or by being called."""

    def __init__(self, width):
        self.width = width

    def build(self, seed):
        return network(self.width, seed)

    __call__ = build


def from_globals(width):
    namespace = {"network": network, "WIDTH": width, "__name__": "elsewhere"}
    exec("def build(seed):\n    return network(WIDTH, seed)", namespace)
    return namespace["build"]


def with_activation(factor):
    """A config has the name of a function alone, and the weights know nothing of it."""

    def scaled(x):
        return factor * x

    return lambda seed: network(8, seed, scaled)


def with_own_layer(factor):
    """As of a class that was edited in a notebook's cell, and that keeps its name and config."""

    class Scaled(layers.Layer):
        def call(self, x):
            return factor * x

    def build(seed):
        model = network(8, seed)
        return keras.Sequential([model, Scaled(), layers.Reshape((10,))])

    return build


def with_lambda(factor):
    return lambda seed: keras.Sequential([network(8, seed), layers.Lambda(lambda x: factor * x)])


class WithoutConfig(keras.Model):
    """Keras cannot write it down."""

    def __init__(self, ends_in):
        super().__init__()
        self.flatten, self.dense, self.ends_in = layers.Flatten(), layers.Dense(10), ends_in

    def get_config(self):
        raise NotImplementedError

    def call(self, images):
        return self.ends_in(self.dense(self.flatten(images)))


def without_config(factor):
    def build(seed):
        keras.utils.set_random_seed(seed)
        return WithoutConfig(lambda x: factor * x)

    return build


def weights_alone(value):
    def build(seed):
        model = network(8, seed)
        model.layers[-1].bias.assign(np.full(10, value))
        return model

    return build


def compile_settings(momentum):
    def build(seed):
        model = network(8, seed)
        model.compile(keras.optimizers.SGD(0.1, momentum=momentum / 100), "mse")
        return model

    return build


KINDS = {
    each.__name__: each
    for each in (
        closed_over,
        with_default,
        partial,
        Builder,
        from_globals,
        with_activation,
        with_own_layer,
        with_lambda,
        without_config,
        weights_alone,
        compile_settings,
    )
} | {"bound_method": lambda width: Builder(width).build}


@pytest.mark.parametrize("kind", KINDS)
def test_models_that_differ_have_keys_that_differ_and_equal_ones_the_same(kind):
    make = KINDS[kind]
    assert key(make(8)) == key(make(8))
    assert key(make(8)) != key(make(64))


def test_the_same_model_by_other_ways_is_the_same_run():
    assert len({key(KINDS[kind](8)) for kind in ("closed_over", "partial", "Builder")}) == 1


def test_what_was_built_before_does_not_count():
    before = key(closed_over(8))
    network(3)
    assert key(closed_over(8)) == before


def test_everything_else_that_a_run_is_counts():
    settings = [
        {}, {"seed": 1}, {"epochs": 2}, {"batch_size": 8}, {"optimizer": "Adam"},
        {"optimizer_arguments": {"momentum": 0.5}},
    ]  # fmt: skip
    assert len({key(closed_over(8), **each) for each in settings}) == len(settings)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        assert key(closed_over(8)) not in {key("lenet")}
        mixed = key("lenet"), key(closed_over(8))
    finally:
        keras.config.set_dtype_policy("float32")
    assert set(mixed).isdisjoint({key("lenet"), key(closed_over(8))})


KEYS = """
import sys
sys.path.insert(0, sys.argv[1])
import test_key
test_key.network(5)
print([test_key.key(make(8)) for make in test_key.KINDS.values()])
"""


def test_another_process_gives_the_same_keys():
    folder = __file__.rpartition("/")[0]
    first, second = (Program("-c", KEYS, folder).finished() for _ in range(2))
    assert first == second
    assert len(set(eval(first))) == len(KINDS) - 5  # six ways to one model


def left_to_chance(*more):
    return keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), *more, layers.Dense(10)])


def test_numbers_that_a_function_leaves_to_chance_follow_the_seed():
    """Those of initializers and of dropout, also if the function takes no seed."""
    for build in (lambda seed: left_to_chance(), lambda: left_to_chance(layers.Dropout(0.5))):
        assert key(build) == key(build)
        assert key(build) != key(build, seed=1)


def drawn(seed):
    """A model whose first weights come from a generator that nobody seeds."""
    model = left_to_chance()
    model.set_weights([np.random.default_rng().random(w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize("build", [drawn])
def test_a_model_that_is_another_one_each_time_is_refused_where_a_key_is_needed(build, tmp_path):
    with pytest.raises(ValueError, match=r"call keras\.utils\.set_random_seed\(seed\) at"):
        key(build)
    with pytest.raises(ValueError, match=r"call keras\.utils\.set_random_seed\(seed\) at"):
        compare({"it": 0.1}, dataset="digits", model=build, epochs=1, output=tmp_path)


def test_the_model_is_built_once_for_a_run_and_its_function_once_more():
    calls = []

    def build(seed):
        calls.append(seed)
        return network(8, seed)

    run = Run("it", 0.1, dataset="digits", model=build)
    assert run.key() == run.key()
    assert calls == [0, 0]
    key(build, seed=1)
    assert calls == [0, 0, 1]


def test_the_users_random_state_is_left_alone():
    random.seed(3), np.random.seed(3)
    expected = random.random(), np.random.random()
    random.seed(3), np.random.seed(3)
    key(closed_over(8))
    assert (random.random(), np.random.random()) == expected


def test_two_models_in_one_folder_are_both_trained(tmp_path):
    settings = {"dataset": "digits", "epochs": 1, "batch_size": 512, "output": tmp_path}
    one, two, again = (
        compare({"it": 0.1}, model=closed_over(width), **settings).results[0].train_loss
        for width in (8, 64, 8)
    )
    assert one != two
    assert one == again
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_data_of_one_name_and_shape_are_told_apart():
    digits = datasets.digits()
    other = datasets.Dataset(
        "digits", 255 - digits.x_train, digits.y_train, digits.x_test, digits.y_test
    )
    keys = {Run("it", 0.1, dataset=data, model=closed_over(8)).key() for data in (digits, other)}
    assert len(keys) == 2


def test_a_description_names_the_function_that_builds():
    named = types.SimpleNamespace(
        of=lambda build: Run("it", 0.1, dataset="digits", model=build).description()
    )
    assert named.of(partial(8))["model"].endswith(".network")
    assert named.of(Builder(8))["model"].endswith(".Builder")
    assert named.of(closed_over(8))["model"].endswith("closed_over.<locals>.<lambda>")
