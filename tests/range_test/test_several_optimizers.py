"""The range test of models with groups of variables, and with several optimizers of their own."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from kinds import Adversaries, numbers
from swept import SGD, X, network, swept

import keraslr
from keraslr import find_learning_rate

several = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has none yet"
)
new_or_not = pytest.mark.parametrize(
    ("run_eagerly", "epochs"), [(True, 0), (False, 1)], ids=["new, eager", "mid-training, graph"]
)
NOISE, REAL = numbers(3), numbers(2, seed=2)


def grouped(make, *, outer=lambda optimizer: optimizer, **arguments):
    """A linear model of zeros with a body and a head, of which every step sees the gradient 1."""
    inputs = keras.Input((1,))
    ones = {"kernel_initializer": "zeros", "use_bias": False, "dtype": "float32"}
    ends = [keras.layers.Dense(1, name=name, **ones)(inputs) for name in ("body", "head")]
    model = keras.Model(inputs, keras.layers.Add(dtype="float32")(ends))
    optimizer = outer(keras.optimizers.MultiOptimizer(make()))
    model.compile(optimizer, lambda y, p: -keras.ops.mean(p), **{"jit_compile": False, **arguments})
    return model


def by_map(body, head, default=None):
    groups = {".*body/.*": body, ".*head/.*": head} if default else {".*body/.*": body}
    return lambda: keras.optimizers.OptimizerMap(default or head, groups)


def by_function(body, head):
    return lambda: lambda variable: body if "body" in variable.path else head


def anew():
    """As in Keras's own example: each variable gets a new optimizer."""
    return lambda variable: SGD(0.05) if "body" in variable.path else SGD(keraslr.StepLR(0.5, 9))


def updates(model, **arguments):
    """What each step adds to the weights, shape (steps - 1, 2), and the rates tried."""
    seen = []

    def note(*_):
        seen.append([float(each.value[0, 0]) for each in model.trainable_variables])

    ones = np.ones((8, 1), "float32")
    arguments = {"steps": 12, "min_lr": 1e-3, "max_lr": 1.0, **arguments}
    result = find_learning_rate(model, ones, ones, on_progress=note, **arguments)
    return np.diff(seen, axis=0, prepend=0.0), result


def bits(model, *optimizers):
    return [
        each.value.numpy().tobytes()
        for part in (model, *optimizers)
        for each in (*part.variables, *getattr(part, "metrics_variables", ()))
    ]


SCHEDULED = keraslr.StepLR(0.05, step_size=100)
GROUPS = {
    "map": lambda: by_map(SGD(SCHEDULED, momentum=0.0), SGD(0.5)),
    "function": lambda: by_function(SGD(SCHEDULED), SGD(0.5)),
    "a default without variables": lambda: by_map(SGD(0.05), SGD(0.5), SGD(7.0)),
    "new optimizers": lambda: anew,
}


@several
@pytest.mark.parametrize(
    ("make", "way"),
    [
        *((make, {}) for make in GROUPS.values()),
        (GROUPS["map"], {"run_eagerly": True}),
        (GROUPS["new optimizers"], {"run_eagerly": True}),
        (GROUPS["function"], {"outer": keras.optimizers.LossScaleOptimizer}),
    ],
    ids=[*GROUPS, "map, eager", "new optimizers, eager", "function, loss scale"],
)
def test_the_rates_of_groups_rise_in_proportion(make, way):
    model = grouped(make(), **way)
    own, (applied, result) = vars(model.optimizer), updates(model)
    ratios = dict(zip((0, 1), applied.T / result.learning_rates, strict=True))
    first = min(ratios, key=lambda each: abs(ratios[each][0] - 1))
    np.testing.assert_allclose(ratios[first], 1, rtol=2e-4)
    other = 10.0 if make is GROUPS["new optimizers"] and first == 0 else (1 - first) * 10 or 0.1
    np.testing.assert_allclose(ratios[1 - first], other, rtol=2e-4)
    assert [ratio for _, ratio in result.optimizers] == [1.0, pytest.approx(other)]
    assert vars(model.optimizer) is own
    assert not model.optimizer.built


@several
@new_or_not
def test_groups_are_what_they_were(epochs, run_eagerly, tmp_path):
    body, head = SGD(keraslr.StepLR(0.05, step_size=3), momentum=0.9), keras.optimizers.Adam(0.01)
    model = grouped(by_map(body, head), run_eagerly=run_eagerly)
    x = np.ones((8, 1), "float32")
    if epochs:
        model.fit(x, x, batch_size=2, verbose=0)
    rates = [body._learning_rate, head._learning_rate]
    listed = [body._variables, head._variables]
    before = bits(model, model.optimizer)
    updates(model)
    assert bits(model, model.optimizer) == before
    assert [body._learning_rate, head._learning_rate] == rates
    assert [body._variables, head._variables] == listed
    assert [int(body.iterations), body.built] == [4 * epochs, bool(epochs)]
    if epochs:
        # TensorFlow refuses lists that were changed behind its back.
        path = tf.train.Checkpoint(body=body, head=head).write(str(tmp_path / "kept"))
        assert "body/_variables/1/" in str(tf.train.list_variables(path))
        # The schedule has come to 0.005 by step 4, half of the head's rate.
        named = dict(updates(model)[1].optimizers)
        assert named == {head.name: 1.0, body.name: pytest.approx(0.5)}


@several
def test_the_result_says_whose_rates_it_suggests():
    body, head = SGD(0.02, name="slow"), keras.optimizers.SGD(0.1, name="fast")
    result = updates(grouped(by_map(body, head)))[1]
    assert "Rates of fast; others in proportion: slow x0.2" in str(result)
    assert "ates of" not in str(swept(network())).split(" Suggested")[0]


@several
def test_a_group_with_a_rate_of_zero_stays_at_zero_and_cannot_lead():
    applied, _ = updates(grouped(by_map(SGD(0.0), SGD(0.1))))
    assert not applied[:, 0].any()
    assert applied[:, 1].all()
    model = grouped(by_map(SGD(0.1), SGD(0.0, name="head")))
    with pytest.raises(ValueError, match=r"must have a rate > 0 .* Received: 'head' with a rate"):
        updates(model)
    applied, result = updates(model, optimizer=[model.optimizer.optimizers[0]])
    np.testing.assert_allclose(applied[:, 0], result.learning_rates, rtol=1e-4)


@several
def test_a_function_that_chooses_needs_to_know_the_variables():
    model = network(keras.optimizers.MultiOptimizer(lambda variable: SGD()), built=False)
    with pytest.raises(ValueError, match="model must be built for a MultiOptimizer"):
        swept(model)


# Optimizers of one's own.


def swept_gan(model, **arguments):
    arguments = {"steps": 12, "min_lr": 1e-3, "max_lr": 0.1, "batch_size": 16, **arguments}
    return find_learning_rate(model, NOISE, REAL, **arguments)


def gan(**arguments):
    keras.utils.set_random_seed(0)
    return Adversaries(**arguments)


def optimizers(model):
    found = [model.optimizer, model.d_optimizer, getattr(model, "g_optimizer", None)]
    return [each for each in found if each is not None]


def restored(model, act):
    """Does this and checks that the model and its optimizers are as before."""
    before, built = bits(model, *optimizers(model)), [each.built for each in optimizers(model)]
    own = [vars(each) for each in optimizers(model)]
    found = act()
    assert all(vars(each) is its for each, its in zip(optimizers(model), own, strict=True))
    assert [each.built for each in optimizers(model)] == built
    assert bits(model, *optimizers(model)) == before
    return found


@new_or_not
def test_the_named_optimizers_rates_rise_and_the_others_go_on(epochs, run_eagerly):
    def noted(model):
        """The kernel of the generator, that of the discriminator, and its counter."""
        seen = []
        result = swept_gan(
            model, optimizer="g_optimizer", monitor="g_loss", min_lr=1e-30, max_lr=2e-30,
            on_progress=lambda *_: seen.append(
                (model.g.layers[0].kernel.numpy(), model.d.layers[0].kernel.numpy(),
                 int(model.d_optimizer.iterations), float(model.d_optimizer.learning_rate))
            ),
        )  # fmt: skip
        return result, seen

    schedule = keraslr.StepLR(0.01, step_size=6)
    model = gan(of_generator="g_optimizer", d=schedule, run_eagerly=run_eagerly)
    if epochs:
        model.fit(NOISE, REAL, batch_size=16, epochs=epochs, verbose=0)
    begun = model.g.layers[0].kernel.numpy(), model.d.layers[0].kernel.numpy()
    steps = int(model.d_optimizer.iterations)
    result, seen = restored(model, lambda: noted(model))
    np.testing.assert_array_equal(seen[-1][0], begun[0])  # at a rate of 1e-30
    assert abs(seen[-1][1] - begun[1]).max() > 1e-3
    assert [each[2] for each in seen] == list(range(steps + 1, steps + 13))
    planned = schedule.values(steps + 13)[steps + 1 :]
    np.testing.assert_allclose([each[3] for each in seen], planned, rtol=1e-6)
    assert result.optimizers == (("g_optimizer", 1.0),)
    assert "Rates of g_optimizer" in str(result)


def test_several_of_ones_own_rise_in_proportion():
    model = gan(of_generator="g_optimizer", d=0.01, g=0.02, run_eagerly=True)
    result = restored(
        model,
        lambda: swept_gan(model, optimizer=["g_optimizer", model.d_optimizer], monitor="d_loss"),
    )
    assert result.optimizers == (("g_optimizer", 1.0), ("d_optimizer", 0.5))


def test_the_models_own_optimizer_is_the_default_if_it_is_applied():
    model = gan(of_generator="optimizer", run_eagerly=True)
    result = restored(model, lambda: swept_gan(model, monitor="g_loss"))
    assert [ratio for _, ratio in result.optimizers] == [1.0]
    assert result.optimizers[0][0] == model.optimizer.name


@pytest.mark.parametrize("run_eagerly", [False, True], ids=["graph", "eager"])
def test_an_optimizer_that_nothing_applies_has_no_curve(run_eagerly):
    model = gan(of_generator="g_optimizer", run_eagerly=run_eagerly)

    def refused(said, **arguments):
        with pytest.raises(ValueError, match=said):
            swept_gan(model, monitor="g_loss", **arguments)

    never = "never applies model.optimizer, but d_optimizer, g_optimizer. Pass "
    restored(model, lambda: refused(f"{never}optimizer='g_optimizer'"))
    if not run_eagerly:
        return
    restored(model, lambda: refused("; optimizer is never", optimizer=[
        "g_optimizer", "optimizer"
    ]))  # fmt: skip
    restored(model, lambda: refused("applies: d_optimizer, g_optimizer", optimizer=SGD()))


@pytest.mark.parametrize("place", ["list", "dict", "part", "nowhere"])
def test_an_optimizer_is_found_where_the_model_keeps_it(place):
    optimizer = keras.optimizers.Adam(0.01)

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            if place == "list":
                self.of = [optimizer]
            elif place == "dict":
                self.of = {"all": optimizer}
            elif place == "part":
                self.dense.its_optimizer = optimizer

        def train_step(self, data):
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(self.dense(data[0]) - data[1]))
            weights = self.dense.trainable_variables
            optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    names = {
        "list": "of[0]", "dict": "of['all']", "part": "dense.its_optimizer", "nowhere": optimizer
    }  # fmt: skip
    model = Own()
    model.dense.name = "dense"
    model.compile("sgd", run_eagerly=True)
    x = X[:, :1]
    said = "itself, optimizer=its_optimizer" if place == "nowhere" else "but "
    with pytest.raises(ValueError, match=said):
        swept(model, x, x)
    weights = [each.numpy() for each in model.dense.variables]
    for _ in range(2):  # not built, and built
        before = [each.numpy() for each in optimizer.variables]
        result = swept(model, x, x, optimizer=names[place])
        assert len(set(result.losses)) > 5
        assert optimizer.built == (len(before) > 2)
        for ours, its in zip(optimizer.variables, before, strict=True):
            np.testing.assert_array_equal(ours, its)
        for ours, its in zip(model.dense.variables, weights, strict=True):
            np.testing.assert_array_equal(ours, its)
        optimizer.build(model.dense.trainable_variables)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"optimizer": "sgd"}, ValueError, "tracks 'optimizer'. Received: optimizer='sgd'"),
        ({"optimizer": 3}, TypeError, "optimizer must be an optimizer, the name of one"),
        ({"optimizer": []}, ValueError, "optimizer must name at least one"),
        ({"monitor": None}, TypeError, "monitor must be the name of a figure"),
        ({"monitor": "mae"}, ValueError, r"step reports: .* Received: monitor='mae'"),
    ],
)
def test_what_is_wrong_about_optimizers_is_named(arguments, error, said):
    with pytest.raises(error, match=said):
        swept(network(), **arguments)


def test_another_loss_is_named_by_monitor():
    model = gan(of_generator="optimizer", run_eagerly=True)
    with pytest.raises(ValueError, match="pass monitor='d_loss'"):
        swept_gan(model)
    losses = {name: swept_gan(model, monitor=name).losses[0] for name in ("d_loss", "g_loss")}
    first = fitted_gan_losses(model)
    assert losses == {name: pytest.approx(value, rel=0.2) for name, value in first.items()}


def fitted_gan_losses(model):
    """The losses of the untrained model on all examples."""
    real, made = model.d(REAL), model.d(model.g(NOISE))
    softplus = keras.ops.softplus
    return {
        "d_loss": float(keras.ops.mean(softplus(-real) + softplus(made))),
        "g_loss": float(keras.ops.mean(softplus(-made))),
    }


def test_what_callbacks_keep_with_an_optimizer_is_part_of_its_state():
    model = network()
    logger = keraslr.callbacks.LearningRateLogger
    model.fit(X, np.zeros(200), batch_size=40, verbose=0, callbacks=[logger()])
    before = bits(model, model.optimizer)
    swept(model)  # its apply records, and the one of the test has nothing to record in
    model.fit(X, np.zeros(200), batch_size=40, verbose=0, callbacks=[logger()], initial_epoch=1)
    assert bits(model, model.optimizer) == before  # initial_epoch: no step

    model = gan(of_generator="g_optimizer")
    other, counts = model.d_optimizer, keras.layers.Layer()
    count, plain = counts.add_weight(shape=(), initializer="zeros", trainable=False), other.apply

    def counted(*arguments):
        count.assign_add(1)
        seen.append(int(count)) if tf.executing_eagerly() else None
        return plain(*arguments)

    seen: list[int] = []
    other.counts, other.apply = counts, counted
    model.run_eagerly = True
    model.fit(NOISE, REAL, batch_size=26, verbose=0)
    swept_gan(model, optimizer="g_optimizer", monitor="g_loss")
    assert max(seen) == 14
    assert int(count) == 2
