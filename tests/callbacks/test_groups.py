"""Do the callbacks act on every optimizer of a model: groups of a MultiOptimizer, and its own?"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from by_epoch import told
from measured import QUICKLY, on_tensorflow

import keraslr
from keraslr.callbacks import EpochSchedule, LearningRateLogger, ReduceLROnPlateau

EXPONENTIAL = keraslr.ExponentialLR(0.02, gamma=0.9)
X, Y = np.eye(4, dtype="float32"), -np.ones((4, 1), "float32")


class Columns(keras.layers.Layer):
    """Two columns of weights, each with the gradient 1 in the step of its example."""

    def build(self, shape):
        self.slow = self.add_weight(shape=(4, 1), initializer="zeros", name="slow")
        self.fast = self.add_weight(shape=(4, 1), initializer="zeros", name="fast")

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.slow) + keras.ops.matmul(inputs, self.fast)


def optimizers(slow=0.01, fast=0.1, **arguments):
    return (
        keras.optimizers.SGD(slow, name="slow", **arguments),
        keras.optimizers.SGD(fast, name="fast", **arguments),
    )


def by_map(slow, fast):
    return keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(fast, {".*slow": slow}))


def by_function(slow, fast):
    return keras.optimizers.MultiOptimizer(lambda each: slow if "slow" in each.path else fast)


def new(optimizer, **arguments):
    model = keras.Sequential([keras.Input((4,)), Columns(name="columns")])
    model.compile(optimizer, "hinge", **{**QUICKLY, **arguments})
    return model


def fit(model, *callbacks, **arguments):
    arguments = {"epochs": 1, **arguments}
    return model.fit(
        X, Y, batch_size=1, shuffle=False, verbose=0, callbacks=list(callbacks), **arguments
    ).history


def halving(monitor="loss", **arguments):
    rule = {"factor": 0.5, "patience": 0, "threshold": 1e6, "threshold_mode": "abs"}
    return ReduceLROnPlateau(monitor, **{**rule, **arguments})


def applied(model):
    """Returns the sums of the rates of each example's steps, slow and fast."""
    layer = model.get_layer("columns")
    return [-keras.ops.convert_to_numpy(each)[:, 0] for each in (layer.slow, layer.fast)]


def rates(optimizers):
    return [float(each.learning_rate) for each in optimizers]


# The groups of a MultiOptimizer


def test_all_groups_are_reduced_by_the_factor():
    model = new(by_map(*optimizers(EXPONENTIAL, 0.1)))
    history = fit(model, halving(), epochs=3)
    scales = np.repeat([1, 1, 0.5], 4)
    expected = EXPONENTIAL.values(12) * scales
    slow, fast = applied(model)
    np.testing.assert_allclose(slow, expected.reshape(3, 4).sum(0), rtol=1e-5)
    np.testing.assert_allclose(fast, np.full(4, 0.25), rtol=1e-5)
    np.testing.assert_allclose(history["learning_rate_slow"], expected[3::4], rtol=1e-6)
    np.testing.assert_allclose(history["learning_rate_fast"], [0.1, 0.1, 0.05], rtol=1e-6)


@pytest.mark.parametrize("by", ["name", "object"])
def test_only_the_groups_that_are_asked_for_are_reduced(by):
    slow, fast = optimizers()
    history = fit(
        new(by_map(slow, fast)), halving(groups=["slow" if by == "name" else slow]), epochs=3
    )
    np.testing.assert_allclose(rates([slow, fast]), [0.0025, 0.1], rtol=1e-6)
    assert [name for name in history if "rate" in name] == ["learning_rate_slow"]


def test_each_group_has_its_lowest_rate():
    several = optimizers()
    fit(new(by_map(*several)), halving(min_lr={"slow": 0.008}), epochs=4)
    np.testing.assert_allclose(rates(several), [0.008, 0.0125], rtol=1e-6)


def test_an_unknown_group_is_an_error_that_lists_the_known():
    with pytest.raises(ValueError, match=r"groups must .*'fast', 'slow'.*groups=\['head'\]"):
        fit(new(by_map(*optimizers())), halving(groups=["head"]))


def test_the_logger_has_a_column_for_each_group():
    model = new(by_function(*optimizers(EXPONENTIAL, 0.1)))
    with told() as texts:
        history = fit(model, LearningRateLogger(), epochs=2)
    assert not texts
    for kind in ("applied", "planned"):
        columns = [history[f"{kind}_learning_rate_{name}"] for name in ("slow", "fast")]
        slow, fast = (np.array([list(epoch) for epoch in each]) for each in columns)
        np.testing.assert_allclose(slow.ravel(), EXPONENTIAL.values(8), rtol=1e-6)
        np.testing.assert_allclose(fast.ravel(), np.full(8, 0.1), rtol=1e-6)
    np.testing.assert_allclose(applied(model)[0], slow.sum(0), rtol=1e-5)


@pytest.mark.parametrize("multi", [by_map])
def test_loss_scaling_around_the_groups_changes_nothing(multi):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        several = optimizers(EXPONENTIAL, 0.1)
        model = new(multi(*several))
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        with told():
            history = fit(model, halving(), LearningRateLogger(), epochs=3)
    finally:
        keras.config.set_dtype_policy("float32")
    np.testing.assert_allclose(rates(several)[1], 0.025, rtol=1e-6)
    scales = [1, 1, 0.5]
    expected = EXPONENTIAL.values(12)[3::4] * scales
    np.testing.assert_allclose(history["learning_rate_slow"], expected, rtol=1e-6)
    logged = np.array(history["applied_learning_rate_slow"], float)
    np.testing.assert_allclose(logged, expected, rtol=1e-6)


def test_the_groups_are_saved_with_their_scales(tmp_path):
    def made():
        return new(by_map(*optimizers(EXPONENTIAL, 0.1)))

    model = made()
    with told():
        fit(model, halving(), LearningRateLogger(), epochs=3)
    model.save(tmp_path / "model.keras")
    custom = {"Columns": Columns}
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects=custom)
    model.save_weights(tmp_path / "run.weights.h5")
    again = made()
    again.optimizer.build(again.trainable_variables)
    halving().set_model(again)
    again.load_weights(tmp_path / "run.weights.h5")
    before, *after = (
        [(each.name, float(each.learning_rate), int(each.iterations)) for each in parts]
        for parts in (each.optimizer.optimizers for each in (model, loaded, again))
    )
    assert after == [before, before]
    for each in (model, loaded, again):
        with told():
            fit(each, halving(), epochs=1)
    for each in (loaded, again):
        np.testing.assert_array_equal(applied(each), applied(model))


def test_a_clock_in_epochs_keeps_the_ratios_of_the_groups():
    several = optimizers(0.01, 0.1)
    model = new(by_map(*several))
    schedule = keraslr.StepLR(0.08, step_size=1, gamma=0.5)
    history = fit(model, EpochSchedule(schedule), LearningRateLogger(per_step=False), epochs=3)
    halves = 0.08 * 0.5 ** np.arange(3)
    np.testing.assert_allclose(history["applied_learning_rate_fast"], halves, rtol=1e-6)
    np.testing.assert_allclose(history["applied_learning_rate_slow"], halves / 10, rtol=1e-6)
    slow, fast = applied(model)
    np.testing.assert_allclose(fast, halves.sum(), rtol=1e-5)
    np.testing.assert_allclose(slow, halves.sum() / 10, rtol=1e-5)


def test_each_group_may_have_its_own_clock():
    several = optimizers(0.01, 0.1)
    fit(
        new(by_map(*several)),
        EpochSchedule({"slow": keraslr.StepLR(0.02, step_size=1, gamma=0.5)}),
        epochs=3,
    )
    np.testing.assert_allclose(rates(several), [0.005, 0.1], rtol=1e-6)
    with pytest.raises(ValueError, match="names of the optimizers as its keys: 'fast', 'slow'"):
        fit(new(by_map(*optimizers())), EpochSchedule({"head": EXPONENTIAL}))


# Optimizers of a model's own


class Two(keras.Model):
    """Trains one of two columns with each optimizer, the second one several times a batch."""

    def __init__(self, times=1, only=None, **arguments):
        super().__init__(**arguments)
        self.columns, self.times, self.only = Columns(name="columns"), times, only

    def build(self, shape):
        self.columns.build(shape)

    def call(self, inputs):
        return self.columns(inputs)

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        loss = 0.0
        for optimizer, variable, times in (
            (self.d_optimizer, self.columns.slow, 1),
            (self.g_optimizer, self.columns.fast, self.times),
        ):
            if self.only not in (None, optimizer.name):
                continue
            for _ in range(times):
                with tf.GradientTape() as tape:
                    loss = keras.ops.mean(keras.losses.hinge(y, self(x)))
                optimizer.apply(tape.gradient(loss, [variable]), [variable])
        return {"g_loss": loss}


def two(rate=0.01, other=0.1, compile_optimizer=None, **arguments):
    model = Two(**arguments)
    model.build((None, 4))
    # None, since Keras would make one that nothing applies.
    model.compile(compile_optimizer, **QUICKLY)
    model.d_optimizer, model.g_optimizer = optimizers(rate, other)
    return model


@on_tensorflow
@pytest.mark.parametrize("by", ["object", "list"])
def test_an_optimizer_of_the_models_own_is_reduced(by):
    model = two(EXPONENTIAL, 0.1)
    which = model.g_optimizer if by == "object" else ["g_optimizer"]
    with told() as texts:
        history = fit(model, halving("g_loss", optimizer=which), epochs=3)
    assert not texts
    np.testing.assert_allclose(applied(model)[1], np.full(4, 0.25), rtol=1e-5)
    np.testing.assert_allclose(
        applied(model)[0], EXPONENTIAL.values(12).reshape(3, 4).sum(0), rtol=1e-5
    )
    np.testing.assert_allclose(history["learning_rate"], [0.1, 0.1, 0.05], rtol=1e-6)


@on_tensorflow
def test_which_of_several_must_be_said():
    said = r"must say which .*'d_optimizer' \(SGD\), 'g_optimizer' \(SGD\)"
    with pytest.raises(ValueError, match=said):
        fit(two(), halving("g_loss"))


@on_tensorflow
def test_the_logger_logs_every_update_of_every_optimizer():
    times = 3
    model = two(EXPONENTIAL, EXPONENTIAL, times=times)
    with told() as texts:
        history = fit(model, LearningRateLogger(), epochs=2)
    assert not texts
    every = {}
    for name, count in (("d_optimizer", 1), ("g_optimizer", times)):
        epochs = history[f"applied_learning_rate_{name}"]
        every[name] = np.concatenate([list(epoch) for epoch in epochs])
        np.testing.assert_allclose(every[name], EXPONENTIAL.values(8 * count), rtol=1e-6)
    np.testing.assert_allclose(
        applied(model)[1], every["g_optimizer"].reshape(2, 4, times).sum((0, 2)), rtol=1e-5
    )


@on_tensorflow
def test_several_updates_a_batch_are_the_steps_of_the_schedules_epoch():
    def rate(n):
        return keraslr.StepLR(0.01, step_size=1, gamma=0.5).per_epoch(n)

    model = two(rate(4), rate(8), times=2)
    with told() as texts:
        history = fit(model, LearningRateLogger(), epochs=3)
        fit(model, LearningRateLogger(), epochs=5, initial_epoch=3)
    assert not texts
    for name in ("d_optimizer", "g_optimizer"):
        last = [float(each) for each in history[f"applied_learning_rate_{name}"]]
        np.testing.assert_allclose(last, [0.01, 0.005, 0.0025], rtol=1e-6)
    model = two(rate(4), rate(4), times=2)
    with told() as texts:
        fit(model, LearningRateLogger(), epochs=1)
    assert len(texts) == 1
    assert "has 8 steps, but the schedule has per_epoch(4)" in texts[0]


@on_tensorflow
@pytest.mark.parametrize("container", [list, dict])
def test_optimizers_in_a_container_are_found(container):
    model = two()
    several = (model.d_optimizer, model.g_optimizer)
    model.all = dict(zip("dg", several, strict=True)) if container is dict else container(several)
    del model.d_optimizer, model.g_optimizer
    Two.d_optimizer = property(lambda self: self.all["d" if container is dict else 0])
    Two.g_optimizer = property(lambda self: self.all["g" if container is dict else 1])
    try:
        history = fit(model, LearningRateLogger(per_step=False))
        names = ("all_d", "all_g") if container is dict else ("all_0", "all_1")
        values = [history[f"applied_learning_rate_{name}"][0] for name in names]
        fit(model, halving("g_loss", optimizer=several[1]), epochs=2)
    finally:
        del Two.d_optimizer, Two.g_optimizer
    np.testing.assert_allclose(values, [0.01, 0.1], rtol=1e-6)
    np.testing.assert_allclose(rates(several), [0.01, 0.05], rtol=1e-6)


@on_tensorflow
@pytest.mark.parametrize("callback", ["plateau", "logger"])
def test_an_optimizer_that_is_never_applied_is_named(callback):
    # Compiled with an optimizer of which the training step knows nothing.
    model = two(compile_optimizer=keras.optimizers.SGD(0.5))
    rule = halving("g_loss", optimizer="optimizer")
    with told() as texts:
        fit(model, rule if callback == "plateau" else LearningRateLogger(), epochs=3)
    assert len(texts) == 1
    assert "made no update in epoch 0, while d_optimizer, g_optimizer did" in texts[0]
    assert float(model.optimizer.learning_rate) == 0.5


@on_tensorflow
def test_one_that_rests_for_an_epoch_is_named_once():
    model = two(only="slow")
    with told() as texts:
        fit(model, LearningRateLogger(), epochs=3)
    assert len(texts) == 1
    assert "g_optimizer (SGD) made no update in epoch 0, while d_optimizer did" in texts[0]


@on_tensorflow
def test_a_clock_in_epochs_drives_an_optimizer_of_the_models_own():
    model = two(0.01, 0.1)
    schedule = keraslr.StepLR(0.08, step_size=1, gamma=0.5)
    fit(model, EpochSchedule(schedule, optimizer="g_optimizer"), epochs=3)
    np.testing.assert_allclose(applied(model)[1], 0.14, rtol=1e-5)
    np.testing.assert_allclose(applied(model)[0], 0.03, rtol=1e-5)
    fit(model, EpochSchedule({"d_optimizer": schedule}, optimizer=["d_optimizer", "g_optimizer"]))
    np.testing.assert_allclose(rates([model.d_optimizer]), [0.08], rtol=1e-6)


@pytest.mark.parametrize(
    ("wanted", "error", "said"),
    [
        ("h_optimizer", ValueError, "the model has: 'optimizer'.*optimizer='h_optimizer'"),
        (3, TypeError, "optimizer must be the name of an attribute.*optimizer=3"),
        ([], ValueError, "must not be an empty list"),
    ],
)
def test_an_optimizer_that_is_not_there_is_named(wanted, error, said):
    for callback in (
        halving(optimizer=wanted),
        LearningRateLogger(optimizer=wanted),
        EpochSchedule(EXPONENTIAL, optimizer=wanted),
    ):
        with pytest.raises(error, match=said):
            fit(new(keras.optimizers.SGD(0.1)), callback)
