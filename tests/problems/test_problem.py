"""A problem: a compiled model and its data, checked where they are given."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keraslr
from keraslr import Problem, Run, compare
from keraslr.training import train

L = keras.layers
X = np.random.default_rng(0).normal(size=(40, 3))
Y = X.sum(1)


def build(width=1):
    model = keras.Sequential([keras.Input((3,)), L.Dense(4, "relu"), L.Dense(width)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


def weights(model):
    return [np.asarray(weight) for weight in model.get_weights()]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def test_first_weights_follow_the_seed_whatever_the_function_does():
    problem = Problem("it", build, X, Y)
    assert equal(problem.model(0), problem.model(0))
    assert not equal(problem.model(0), problem.model(1))
    assert equal(Problem("it", lambda seed: build(), X, Y).model(1), problem.model(1))


def test_a_seed_is_a_parameter_of_that_name_or_the_only_one():
    seen = []

    def made(*arguments, **named):
        seen.append((arguments, named))
        return build()

    for each in (
        lambda seed: made(seed),
        lambda first: made(first),
        lambda width=2, seed=0: made(width, seed),
        lambda *, seed: made(seed),
        lambda width=2: made(width),
        functools.partial(made, 3),
        lambda: made(),
    ):
        Problem("it", each, X, Y).model(7)
    assert [arguments for arguments, _ in seen] == [(7,), (7,), (2, 7), (7,), (2,), (3,), ()]


def double(x):
    return 2 * x


class Scaled(L.Layer):
    """A layer that Keras does not know by name."""

    def __init__(self, factor=3.0, **arguments):
        super().__init__(**arguments)
        self.factor = factor

    def call(self, x):
        return self.factor * x

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def sequential_with_own_parts():
    return keras.Sequential(
        [keras.Input((3,)), L.Dense(4, activation=double), Scaled(2.0), L.BatchNormalization(),
         L.Lambda(lambda x: x + 1), L.Dropout(0.5), L.Dense(1)]
    )  # fmt: skip


def functional():
    inputs = keras.Input((3,))
    hidden = L.Dense(4)(inputs)
    return keras.Model(inputs, [L.Dense(1)(hidden), L.Dense(1)(hidden)])


class Own(keras.Model):
    def __init__(self, units=4):
        super().__init__()
        self.units = units
        self.hidden, self.out = L.Dense(units), L.Dense(1)

    def call(self, x):
        return self.out(self.hidden(x))

    def get_config(self):
        return {"units": self.units}


def subclassed():
    model = Own(5)
    model(X[:1])
    return model


@pytest.mark.parametrize("make", [sequential_with_own_parts, functional, subclassed])
def test_a_compiled_model_is_copied_with_its_weights_and_settings(make):
    model = make()
    metric = keras.metrics.MeanAbsoluteError(name="far")
    optimizer = keras.optimizers.Adam(0.3, beta_1=0.7, clipnorm=1.5)
    outputs = len(getattr(model, "outputs", None) or [1])
    model.compile(
        optimizer,
        ["mse"] * outputs if outputs > 1 else "mse",
        metrics=[[metric]] + [[]] * (outputs - 1) if outputs > 1 else [metric],
    )
    before = weights(model)
    problem = Problem("it", model, X, tuple([Y] * outputs) if outputs > 1 else Y)
    copy, other = problem.model(0), problem.model(1)
    assert equal(copy, model)
    assert not equal(other, model)
    assert equal(problem.model(1), other)
    assert copy is not model
    assert (copy.optimizer.beta_1, copy.optimizer.clipnorm) == (0.7, 1.5)
    assert copy.optimizer is not optimizer
    result = train(Run("it", 0.1, problem, epochs=1))
    assert result.status == "finished"
    assert any("far" in name for name in result.epochs)
    # The model itself is left as it is.
    assert all(np.array_equal(a, b) for a, b in zip(before, weights(model), strict=True))
    assert not optimizer.built
    assert float(metric.total) == 0


class Uncopyable(keras.Model):
    def __init__(self, table):
        super().__init__()
        self.out = table

    def call(self, x):
        return self.out(x)


class OwnCompile(Own):
    def compile(self, extra, **arguments):
        super().compile(**arguments)


def test_a_model_that_cannot_be_copied_is_refused_with_the_remedy():
    model = Uncopyable(L.Dense(1))
    model(X[:1])
    model.compile("sgd", "mse")
    own = OwnCompile()
    own(X[:1])
    own.compile(3, optimizer="sgd", loss="mse")
    for each in (model, own):
        with pytest.raises(ValueError, match=r"cannot be copied: .*def build\(seed\)"):
            train(Run("it", 0.1, Problem("it", each, X, Y), epochs=1))


PLAIN = keras.Sequential([keras.Input((3,)), L.Dense(1)])
WITHOUT_OPTIMIZER = keras.Sequential([keras.Input((3,)), L.Dense(1)])
WITHOUT_OPTIMIZER.compile(optimizer=None, loss="mse")


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"build": PLAIN}, ValueError, "model must be compiled: call model.compile"),
        ({"build": WITHOUT_OPTIMIZER}, ValueError, "compiled with an optimizer"),
        ({"build": L.Dense(1)}, TypeError, "model must be a compiled keras.Model, or a function"),
        ({"build": lambda a, b: None}, TypeError, "function of no argument, or of one"),
        ({"name": " "}, ValueError, "name must be a string that is not blank"),
        ({"x": None, "y": None}, ValueError, "x must hold the data"),
        ({"x": X[:0], "y": Y[:0]}, ValueError, "at least one example"),
        ({"y": Y[:7]}, ValueError, "Received: 40 in x, 7 in y"),
        ({"sample_weight": Y[:7]}, ValueError, "40 in x, 40 in y, 7 in sample_weight"),
        ({"x": X.tolist()}, TypeError, "x must be an array of examples.*float"),
        ({"validation_data": X}, TypeError, "validation_data must be .x, y.*ndarray"),
        ({"validation_data": (X, Y[:3])}, ValueError, "validation x, y.*40 in x, 3 in y"),
        ({"validation_split": 1.0}, ValueError, "validation_split must be a number >= 0 and < 1"),
        ({"validation_split": 0.99}, ValueError, "leave an example for training"),
        (
            {"validation_split": 0.5, "validation_data": (X, Y)},
            ValueError, "validation_split must be left out with validation_data",
        ),
        ({"steps_per_epoch": 3}, ValueError, "steps_per_epoch must be left out for arrays"),
        ({"x": iter([(X, Y)]), "y": None}, ValueError, "steps_per_epoch must be given for a gener"),
        ({"x": iter([(X, Y)])}, ValueError, "y must be None if x comes in batches"),
        ({"x": lambda: X}, ValueError, "y must be left out if x is a function"),
        (
            {"x": tf.data.Dataset.from_tensors((X, Y)).repeat(), "y": None},
            ValueError, "steps_per_epoch must be given for a dataset that never ends",
        ),
        ({"prepare": 3}, TypeError, "prepare must be a function"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_is_refused_when_it_is_given(arguments, error, said):
    with pytest.raises(error, match=said):
        Problem(**{"name": "it", "build": build, "x": X, "y": Y, **arguments})


def classifier():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def without_loss():
    model = keras.Sequential([keras.Input((3,)), L.Dense(2)])
    model.compile("sgd")
    return model


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": build, "x": X[:, :2], "y": Y}, "cannot be trained on the data.*shape"),
        ({"model": classifier, "x": X, "y": np.full(40, 2)}, r"label value of 2.*\[0, 2\)"),
        ({"model": build, "x": X, "y": np.array(["a"] * 40)}, "cannot be trained on the data"),
        ({"model": without_loss, "x": X, "y": Y}, "No loss to compute"),
        ({"model": lambda: PLAIN, "x": X, "y": Y}, "model must be compiled"),
        ({"x": X, "y": Y}, "model must be given with x"),
        ({"problem": "digits", "model": build, "x": X}, "x must be left out with a problem"),
        ({"y": Y}, "x must be given with y"),
    ],
)
def test_a_comparison_says_so_before_anything_is_spent(arguments, said):
    called = []
    with pytest.raises((ValueError, TypeError), match=said):
        compare({"it": 0.1}, epochs=1, on_progress=lambda *_: called.append(1), **arguments)
    assert not called


def test_a_plateau_rule_needs_what_it_watches():
    rule = keraslr.callbacks.ReduceLROnPlateau("val_loss")
    with pytest.raises(ValueError, match=r"validation_data must be given.*val_loss"):
        Run("it", (0.1, rule), Problem("it", build, X, Y))
    Run("it", (0.1, rule), Problem("it", build, X, Y, validation_split=0.5))
    Run("it", (0.1, keraslr.callbacks.ReduceLROnPlateau("loss")), Problem("it", build, X, Y))


def test_data_that_differ_each_time_need_a_name_to_be_stored(tmp_path):
    shuffled = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(40).batch(8)
    with pytest.raises(ValueError, match="problem must have a name to store its results"):
        compare({"it": 0.1}, model=build, x=shuffled, epochs=1, output=tmp_path)
    named = Problem("shuffled", build, shuffled)
    compare({"it": 0.1}, problem=named, epochs=1, output=tmp_path)
    assert len(list(tmp_path.glob("runs/*.json"))) == 1


def test_problems_that_differ_are_different_runs(tmp_path):
    kinds = [
        Problem("it", build, X, Y), Problem("it", build, X, 2 * Y),
        Problem("it", lambda: build(2), X, Y), Problem("it", build, X, Y, validation_split=0.5),
        Problem("it", build, X, Y, sample_weight=np.ones(40)),
        Problem("it", build, X, Y, prepare=lambda batch: batch),
        Problem("it", build, tf.data.Dataset.from_tensors((X, Y))),
        Problem("it", build, tf.data.Dataset.from_tensors((X, 2 * Y))),
    ]  # fmt: skip
    keys = [Run("it", 0.1, problem).key() for problem in kinds]
    assert len(set(keys)) == len(keys)
    assert Run("it", 0.1, Problem("it", build, X.copy(), Y)).key() == keys[0]
    rule = keraslr.callbacks.ReduceLROnPlateau("loss")
    more = [{"schedule": (0.1, rule)}, {"callbacks": list}]
    keys += [Run(**{"name": "it", "schedule": 0.1, "problem": kinds[0], **each}).key()
             for each in more]  # fmt: skip
    assert len(set(keys)) == len(keys)
