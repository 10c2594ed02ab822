"""Training and comparison panels with models and data of one's own."""

from __future__ import annotations

import csv
import html
import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from kinds import two_networks
from panels import downloads, text, ticking
from waiting import PATIENCE, hold_slice

import keraslr
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.range_test import RangeTest
from widgets import App, ComparisonPanel, SchedulePanel, TrainingPanel

L = keras.layers
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(48, 4)).astype("float32")
CLASSES = RANDOM.integers(0, 3, 48)


def net(units=1, activation=None):
    return keras.Sequential([keras.Input((4,)), L.Dense(units, activation)])


def regression(seed=0):
    """Without a metric."""
    model = net()
    model.compile(keras.optimizers.Adam(0.02), "mse")
    return model


TARGETS = X.sum(1)
TABULAR = {"model": regression, "x": X, "y": TARGETS}


def text_classifier():
    """With data of a length that nobody knows: 6 batches of 8."""

    def build():
        model = keras.Sequential(
            [keras.Input((6,)), L.Embedding(20, 4), L.GlobalAveragePooling1D(), L.Dense(3)]
        )
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
        return model

    words = np.random.default_rng(0).integers(0, 20, (48, 6))
    batches = tf.data.Dataset.from_tensor_slices((words, CLASSES))
    batches = batches.filter(lambda *_: True).batch(8)
    return keraslr.Problem("reviews", build, batches, validation_data=batches.take(2))


def two_outputs():
    inputs = keras.Input((4,))
    hidden = L.Dense(8, "relu")(inputs)
    model = keras.Model(
        inputs, {"price": L.Dense(1, name="price")(hidden), "kind": L.Dense(3, name="kind")(hidden)}
    )
    model.compile(
        "sgd",
        {"price": "mse", "kind": keras.losses.SparseCategoricalCrossentropy(from_logits=True)},
        metrics={"price": ["mae"], "kind": ["accuracy"]},
    )
    return model


def trained(*arguments, epochs=2, **keywords):
    panel = TrainingPanel(*arguments, epochs=epochs, batch_size=16, **keywords)
    panel.train(block=True)
    assert panel.run.state == "finished", text(panel.message)
    return panel


def cells(panel):
    (kept,) = panel.runs
    return {name: text(cell) for name, cell in kept.cells.items()}


# The three kinds.


def test_a_regression_without_metrics():
    panel = trained(**TABULAR)
    chart = panel.picture.chart
    assert list(panel.history) == ["loss", "learning_rate"]
    assert panel.history["learning_rate"][0] == np.float32(0.02)  # of the compiled optimizer
    assert panel.optimizer.settings == (None, {})
    assert panel.optimizer.optimizer.options[0][0] == "as compiled (Adam)"
    assert panel.dataset.layout.display == panel.metric.layout.display == "none"
    assert (chart.loss.get_visible(), chart.metric.get_visible()) == (True, False)
    assert f"finished: loss {panel.history['loss'][-1]:.4g} after 2" in text(panel.message)
    assert cells(panel)["loss"] == f"{panel.history['loss'][-1]:.4f}"
    assert "val_loss" not in cells(panel)
    panel.runs.export.click()
    (row, _) = csv.DictReader(io.StringIO(downloads(panel.runs.links)["runs.csv"]))
    assert list(row) == ["name", "schedule", "epoch", "loss", "learning_rate", "seconds"]


def test_data_of_unknown_length_have_curves_in_the_first_epoch(monkeypatch):
    gate = hold_slice(monkeypatch, 1)
    panel = TrainingPanel(text_classifier(), epochs=2)
    assert panel.batch_size.layout.display == "none"
    panel.start.click()
    ticking(panel, gate.reached.is_set)
    chart = panel.picture.chart
    ticking(panel, lambda: chart.metric.lines and len(chart.metric.lines[0].get_xdata()))
    assert panel.run.steps_per_epoch is None
    assert "epoch 1 of 2" in html.unescape(panel.status.value)
    assert 0 < panel.progress.value < 0.5
    assert 0 < chart.metric.lines[0].get_xdata()[-1] < 1
    assert chart.rate.get_xlim()[1] == pytest.approx(2.04)
    gate.opened.set()
    ticking(panel, lambda: not panel.under_way)
    assert panel.result.steps_done == 12
    assert chart.metric.get_ylabel() == "accuracy"
    assert chart.metric.get_ylim() == (0, 1.02)
    assert f"val_accuracy {panel.history['val_accuracy'][-1]:.4g}" in text(panel.message)
    panel.fork.click()
    ticking(panel, lambda: not panel.under_way)
    assert panel.run.first_step == 12


def test_two_outputs_have_metrics_to_choose_from():
    panel = trained(two_outputs(), X, {"price": TARGETS, "kind": CLASSES}, validation_split=0.25)
    assert set(panel.metric.options) >= {"price_mae", "kind_accuracy"}
    assert panel.metric.layout.display != "none"
    chart, history = panel.picture.chart, panel.history
    for name in ("kind_accuracy", "price_mae"):
        panel.metric.value = name
        assert chart.metric.get_ylabel() == name.replace("_", " ")
        assert list(chart.metric.lines[1].get_ydata()) == history[f"val_{name}"]
        assert cells(panel)[f"val_{name}"] == f"{history[f'val_{name}'][-1]:.4f}"
    assert chart.metric.get_ylim()[1] > max(history["price_mae"])


# The schedule.


def test_a_given_schedule_is_trained_first_and_can_be_left():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.25, 0.125])
    panel = trained(**TABULAR, schedule=schedule)
    assert panel.source.options == ("the given schedule", "this panel's own")
    assert panel.result.learning_rate == [0.25, 0.25, 0.25, 0.125, 0.125, 0.125]
    planned = panel.picture.chart.rate.lines[-2].get_xydata()  # that of the next run
    assert [tuple(planned[0]), tuple(planned[-1])] == [(0, 0.25), (2, 0.125)]
    panel.source.value = "this panel's own"
    panel.form.load("constant", initial_learning_rate=0.5)
    panel.train(block=True)
    assert panel.result.learning_rate == [0.5] * 6


def test_a_rate_with_a_plateau_rule_is_trained_under_it():
    rule = ReduceLROnPlateau("loss", factor=0.5, patience=0, threshold=1e9, threshold_mode="abs")
    panel = trained(**TABULAR, schedule=(0.25, rule), epochs=3)
    # The first epoch is the best one, and each after it is bad.
    assert panel.history["learning_rate"] == [0.25, 0.25, 0.125]
    panel.more.value = 2
    panel.fork.click()  # under the same rule, which goes on
    ticking(panel, lambda: not panel.under_way)
    assert panel.history["learning_rate"] == [0.0625, 0.03125]
    panel.source.value = "this panel's own"
    panel.form.load("constant", initial_learning_rate=0.5)
    panel.fork.click()  # without it
    ticking(panel, lambda: not panel.under_way)
    assert panel.history["learning_rate"] == [0.5, 0.5]


def test_the_plateau_rule_of_the_catalog_is_offered():
    panel = TrainingPanel(**TABULAR, validation_split=0.25, epochs=4)
    panel.form.load(
        "reduce on plateau", initial_learning_rate=1e-6, factor=0.5, patience=0, threshold=0.1
    )
    panel.train(block=True)
    assert panel.history["learning_rate"] == pytest.approx([1e-6, 1e-6, 0.5e-6, 0.25e-6])
    assert panel.run.run.plateau.settings()["monitor"] == "val_loss"
    assert "reduce on plateau" not in SchedulePanel().form.strategy.options


# The range test.


def test_a_range_test_uses_the_own_model_and_data(monkeypatch):
    panel = TrainingPanel(text_classifier())
    monkeypatch.setattr("widgets.training._range_test.STEPS", 20)
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert isinstance(panel.range_test.result, RangeTest), text(panel.message)
    assert len(panel.range_test.result.losses) <= 20


@pytest.mark.skipif(not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has none yet")
def test_groups_with_rates_of_their_own_are_trained_and_range_tested(monkeypatch):
    def build():
        model = keras.Sequential(
            [keras.Input((4,)), L.Dense(2, name="body"), L.Dense(1, name="head")]
        )
        body, head = keras.optimizers.SGD(0.02), keras.optimizers.SGD(0.002)
        chosen = keras.optimizers.MultiOptimizer(
            lambda variable: body if "body" in variable.path else head
        )
        model.compile(chosen, "mse")
        return model

    panel = TrainingPanel(build, X, TARGETS, schedule=0.1, epochs=1, batch_size=24)
    panel.train(block=True)
    assert panel.history["learning_rate"] == [0.1]
    rates = [float(each.learning_rate) for each in panel.model.optimizer.optimizers]
    assert rates == [pytest.approx(0.1), pytest.approx(0.01)]
    monkeypatch.setattr("widgets.training._range_test.STEPS", 20)
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    tested = panel.range_test.result
    assert [ratio for _, ratio in tested.optimizers] == [1.0, pytest.approx(0.1)]


def test_optimizers_that_no_schedule_drives_are_refused_at_the_door():
    with pytest.raises(ValueError, match="train step must apply"):
        TrainingPanel(two_networks(of_generator="g_optimizer"))


def test_a_range_test_of_data_that_are_read_once_says_so():
    def batches():
        while True:
            yield X[:8], TARGETS[:8]

    panel = TrainingPanel(regression, batches(), steps_per_epoch=2)
    panel.range_test.begin.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert "pass a function that returns the generator" in text(panel.message)
    panel = TrainingPanel(regression, batches, steps_per_epoch=2)
    panel.range_test.begin.click()
    work = panel.range_test.work
    ticking(panel, lambda: work.steps > 0)
    panel.range_test.end.click()
    ticking(panel, lambda: not panel.range_test.under_way)
    assert text(panel.message) == ""


# A model that is not compiled.


@pytest.mark.parametrize("model", [net(3), lambda: net(3)], ids=["model", "function"])
def test_a_classifier_that_is_not_compiled_is_compiled_and_that_is_said(model):
    panel = TrainingPanel(model=model, x=X, y=CLASSES, epochs=1)
    assert "not compiled: it is trained with SGD and sparse categorical" in text(panel.message)
    panel.train(block=True)
    assert list(panel.history) == ["loss", "accuracy", "learning_rate"] or list(panel.history) == [
        "accuracy", "loss", "learning_rate",
    ]  # fmt: skip
    if isinstance(model, keras.Model):
        assert not model.compiled


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"model": net(), "x": X, "y": TARGETS}, "model must be compiled: call model.compile"),
        ({"model": net(3, "softmax"), "x": X, "y": CLASSES}, "model must be compiled"),
        ({"model": regression, "x": X, "y": TARGETS[:40]}, "same number of examples.*48 in x, 40"),
        ({"model": regression}, "x must be given with a model"),
        ({"problem": 3}, "problem must be a keraslr.Problem.*of type int"),
        ({"problem": "nowhere"}, "problem must be .*'nowhere'"),
        ({"problem": "digits", "x": X}, "x must be left out without a model"),
        ({"problem": "digits", "dataset": "auto"}, "dataset must be left out with problem"),
        ({"model": regression, "x": X[:, :3], "y": TARGETS}, "fit|shape|incompatible"),
    ],
)
@pytest.mark.parametrize("kind", [TrainingPanel, ComparisonPanel])
def test_what_cannot_be_trained_is_refused_at_the_door(kind, arguments, said):
    with pytest.raises((TypeError, ValueError), match=said):
        kind(**arguments)


def test_a_comparison_compiles_no_model():
    with pytest.raises(ValueError, match="model must be compiled"):
        ComparisonPanel(model=net(3), x=X, y=CLASSES)


@pytest.mark.parametrize("schedule", [-1.0, "cosine", (0.1, 0.2)])
def test_a_schedule_that_is_none_is_refused_at_the_door(schedule):
    with pytest.raises((TypeError, ValueError), match=r"schedule must be|plateau must be"):
        TrainingPanel(**TABULAR, schedule=schedule)


def test_a_plateau_without_validation_is_refused_with_the_remedy():
    remedy = 'pass validation_data or validation_split.*monitor="val_loss"'
    with pytest.raises(ValueError, match=remedy):
        TrainingPanel(**TABULAR, schedule=(0.1, ReduceLROnPlateau()))
    with pytest.raises(ValueError, match=remedy):
        ComparisonPanel(**TABULAR, schedules={"plateau": (0.1, ReduceLROnPlateau())})
    panel = TrainingPanel(**TABULAR)
    panel.form.strategy.value = "reduce on plateau"
    assert "pass validation_data or validation_split" in text(panel.message)
    panel.start.click()
    assert len(panel.runs) == 0
    panel = ComparisonPanel(**TABULAR)
    panel.choice.choose(["constant", "reduce on plateau"])
    assert "pass validation_data or validation_split" in text(panel.message)
    panel.run(block=True)
    assert panel.comparison is None


# Comparison and app.


def test_a_comparison_of_an_own_problem():
    problem = keraslr.Problem("sum", regression, X, TARGETS, validation_split=0.25)
    rule = ReduceLROnPlateau(factor=0.5, patience=0, threshold=1e9, threshold_mode="abs")
    panel = ComparisonPanel(problem, epochs=3, batch_size=12)
    assert panel.choice.chosen.value == ("constant", "step decay", "cosine annealing")
    assert panel.choice.schedules["constant"].initial_learning_rate == 0.02
    assert panel.published.layout.display == panel.dataset.layout.display == "none"
    panel.add("plateau", (0.25, rule))
    panel.choice.choose(["constant", "plateau"])
    panel.seeds.value = 1
    assert "2 runs (2 schedules, 1 seed), each of 3 epochs of 3 steps" in text(panel.message)
    panel.run(block=True)
    comparison = panel.comparison
    assert comparison.columns == ["loss", "val_loss"]
    assert "val_loss" in text(panel.table)
    assert f"{comparison.rows()[0].figures['val_loss'][0]:.3f}" in text(panel.table)
    assert comparison.of("plateau")[0].epochs["learning_rate"] == [0.25, 0.25, 0.125]
    assert panel.picture.chart.metric.get_ylabel() == "validation loss"
    rows = csv.DictReader(io.StringIO(downloads(panel.links)["comparison.csv"]))
    assert list(next(rows)) == [
        "schedule", "seed", "status", "epoch", "learning_rate", "loss", "val_loss",
    ]  # fmt: skip
    panel.run(block=True)
    assert "0 of them now" in text(panel.message)


def test_a_comparison_counts_data_of_unknown_length_and_chooses_a_figure():
    panel = ComparisonPanel(text_classifier(), epochs=1)
    panel.choice.choose(["constant"])
    panel.seeds.value = 1
    assert "1 epoch, whose steps the first run counts" in text(panel.message)
    assert [name for _, name in panel.figure.options] == ["accuracy", "val_loss", "val_accuracy"]
    assert panel.figure.value == "val_accuracy"
    panel.run(block=True)
    chart = panel.picture.chart
    for name, words in (("val_loss", "validation loss"), ("accuracy", "training accuracy")):
        panel.figure.value = name
        assert chart.metric.get_ylabel() == words
        (value,) = panel.comparison.of("constant")[0].epochs[name]
        assert list(chart.metric.lines[0].get_ydata()) == [value]
    panel.seeds.value = 2
    assert "2 runs (1 schedule, 2 seeds), each of 1 epoch of 6 steps" in text(panel.message)


def test_the_app_trains_and_compares_an_own_problem():
    app = App(**TABULAR, validation_split=0.25)
    training, comparison = app.panel("Training"), app.panel("Comparison")
    assert training.subject.problem is comparison.subject.problem is app.problem
    assert training.source.options == ("the schedule panel's", "this panel's own")
    training.epochs.value = 1
    training.train()
    assert training.run.wait(PATIENCE)
    assert list(training.history) == ["loss", "val_loss", "learning_rate"]
    app.close()
    with pytest.raises(ValueError, match="model must be compiled"):
        App(net(), X, TARGETS)
