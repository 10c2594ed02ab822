"""The live picture of a fit, without a notebook: its outputs are recorded."""

from __future__ import annotations

import sys
import types

import IPython.core.getipython
import IPython.display
import keras
import numpy as np
import pytest

import keraslr
from keraslr.plotting import FitChart
from widgets import LivePlot, live_plot

X = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Notebook:
    """A notebook's outputs, and what charts were given.

    Attributes:
        outputs: Pictures of each output, in the order in which they replaced one another.
        curves: Curves of each picture.
        now: Seconds, the time of the fit.
        cost: Seconds that a picture takes.
    """

    def __init__(self):
        self.outputs, self.curves = [], []
        self.now, self.cost = 0.0, 0.0

    def display(self, picture, display_id):
        assert display_id is True
        output = [picture.data]
        self.outputs.append(output)
        return types.SimpleNamespace(update=lambda later: output.append(later.data))


@pytest.fixture
def notebook(monkeypatch):
    found = Notebook()

    class Drawn:
        def __init__(self, figures):
            self.figures = [None] * figures

        def draw(self, curves):
            found.curves.append(curves)

        def png(self):
            found.now += found.cost
            return b"picture %d" % len(found.curves)

    shell = types.SimpleNamespace(kernel=object())
    monkeypatch.setattr(IPython.core.getipython, "get_ipython", lambda: shell)
    monkeypatch.setattr(IPython.display, "display", found.display)
    monkeypatch.setattr(live_plot, "FitChart", Drawn)
    monkeypatch.setattr(live_plot, "_clock", lambda: found.now)
    return found


def regression(rate=0.01, metrics=("mae",), **compiled):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=list(metrics), **compiled)
    return model


@pytest.fixture(scope="module")
def idle_model():
    """A model that no test trains."""
    return regression()


def driven(model, plot, epochs, steps, act=lambda step: {"loss": 1.0}, known=True, first=0):
    """Calls the callback as `fit` would; `act` does a step and returns its logs."""
    plot.set_params({"epochs": epochs, "steps": steps if known else None, "verbose": 0})
    plot.set_model(model)
    plot.on_train_begin()
    logs = {}
    for epoch in range(first, epochs):
        plot.on_epoch_begin(epoch)
        for batch in range(steps):
            plot.on_train_batch_begin(batch)
            logs = act(epoch * steps + batch)
            plot.on_train_batch_end(batch, logs)
        plot.on_epoch_end(epoch, {**logs, **{f"val_{key}": logs[key] + 1 for key in logs}})
    plot.on_train_end()


# Where it shows


def test_each_fit_has_one_output_whose_picture_is_replaced(notebook):
    model, plot, written = regression(), LivePlot(), []
    for _ in range(2):
        before = keras.callbacks.LambdaCallback(
            on_train_batch_begin=lambda batch, logs: written.append(len(notebook.outputs))
        )
        model.fit(X, Y, epochs=2, verbose=0, callbacks=[plot, before])
    assert notebook.outputs == [[b"picture 1", b"picture 2"], [b"picture 3", b"picture 4"]]
    # The output is there before the first step, and so before the progress bar.
    assert written == [1, 1, 2, 2]


def test_the_picture_is_a_png(notebook, monkeypatch):
    monkeypatch.setattr(live_plot, "FitChart", FitChart)
    regression().fit(X, Y, verbose=0, callbacks=[LivePlot()])
    [pictures] = notebook.outputs
    assert len(pictures) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("where", ["no IPython", "no shell", "terminal"])
def test_without_a_notebook_nothing_is_drawn_or_read(notebook, monkeypatch, where):
    shell = types.SimpleNamespace() if where == "terminal" else None
    monkeypatch.setattr(IPython.core.getipython, "get_ipython", lambda: shell)
    if where == "no IPython":
        monkeypatch.delitem(sys.modules, "IPython")
    # A model without any attribute: reading its optimizer would fail. The metric is unknown too.
    driven(object(), LivePlot("unknown"), epochs=2, steps=3)
    assert notebook.outputs == []


def test_the_last_picture_stays_after_an_interruption(notebook):
    model, plot = regression(), LivePlot()

    def interrupt(batch, logs):
        notebook.now += 2
        if batch == 3:
            raise KeyboardInterrupt

    stop = keras.callbacks.LambdaCallback(on_train_batch_begin=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=[stop, plot])
    assert len(notebook.outputs) == 1
    assert len(notebook.outputs[0]) == 4
    model.fit(X, Y, verbose=0, callbacks=[plot])
    assert len(notebook.outputs) == 2


def test_an_error_in_drawing_does_not_end_the_training(notebook, idle_model, monkeypatch):
    monkeypatch.setattr(IPython.display, "display", lambda *_, **__: 1 / 0)
    done = []
    expected = "LivePlot has stopped drawing: ZeroDivisionError"
    with pytest.warns(UserWarning, match=expected) as warned:
        driven(idle_model, LivePlot(), 2, 3, lambda step: done.append(step) or {"loss": 1.0})
    assert [each.category for each in warned].count(UserWarning) == 1
    assert done == list(range(6))


# How often it draws


def test_drawing_takes_no_more_than_its_share(notebook, idle_model):
    notebook.cost = 0.05
    drawn = []

    def act(step):
        if len(notebook.curves) > len(drawn):
            drawn.append(notebook.now)
        notebook.now += 0.05
        return {"loss": 1.0}

    driven(idle_model, LivePlot(), epochs=4, steps=1000, act=act)
    assert drawn[0] == pytest.approx(notebook.cost)
    assert drawn[1] == pytest.approx(1 + 2 * notebook.cost, abs=0.05)
    for n, time in enumerate(drawn[2:], 3):
        assert n * notebook.cost <= 0.02 * time
    # It uses what it may: 200 s have room for 80 pictures.
    assert 75 <= len(drawn) <= 81
    assert len(notebook.curves) == len(drawn) + 1


def test_pictures_that_cost_nothing_are_a_second_apart(notebook, idle_model):
    def act(step):
        notebook.now += 0.25
        return {"loss": 1.0}

    driven(idle_model, LivePlot(), epochs=1, steps=40, act=act)
    # At the start, at each of ten seconds, and at the end.
    assert len(notebook.curves) == 12


def test_epochs_of_a_single_execution_are_drawn_at_their_ends(notebook, idle_model):
    def act(step):
        notebook.now += 5
        return {"loss": 1.0}

    driven(idle_model, LivePlot(), epochs=3, steps=1, act=act)
    assert [len(each.figures[0].epoch_values) for each in notebook.curves] == [0, 1, 2, 3, 3]


# What it draws


def test_figures_are_those_of_the_history(notebook):
    seen = []
    spy = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(dict(logs))
    )
    history = regression().fit(
        X, Y, batch_size=8, epochs=3, validation_data=(X, Y), validation_freq=2, verbose=0,
        callbacks=[LivePlot(), spy],
    ).history  # fmt: skip
    curves = notebook.curves[-1]
    assert (curves.unit, curves.begin, curves.end) == ("epoch", 0, 3)
    assert [figure.name for figure in curves.figures] == ["loss", "mae"]
    for figure in curves.figures:
        np.testing.assert_array_equal(figure.epoch_values, history[figure.name])
        np.testing.assert_array_equal(figure.epoch_times, [1, 2, 3])
        np.testing.assert_array_equal(figure.validation_values, history[f"val_{figure.name}"])
        np.testing.assert_array_equal(figure.validation_times, [2])
        steps = ~np.isnan(figure.values)
        np.testing.assert_array_equal(
            figure.values[steps], [each[figure.name] for each in seen], strict=True
        )
        np.testing.assert_allclose(figure.times[steps], np.arange(1, 13) / 4)
        # Broken between epochs, each of which begins a new mean.
        assert list(np.flatnonzero(~steps)) == [4, 9]


def test_batches_that_arrive_in_another_order_are_sorted(notebook, idle_model):
    plot = LivePlot()
    plot.set_params({"epochs": 1, "steps": 3})
    plot.set_model(idle_model)
    plot.on_train_begin()
    plot.on_epoch_begin(0)
    for batch in (1, 0, 2):
        plot.on_train_batch_end(batch, {"loss": float(batch)})
    plot.on_train_end()
    np.testing.assert_array_equal(notebook.curves[-1].figures[0].values, [0, 1, 2])


def test_a_long_fit_keeps_few_points(notebook, idle_model):
    def act(step):
        notebook.now += 0.03
        return {"loss": float(step)}

    driven(idle_model, LivePlot(), epochs=1, steps=8_000, act=act)
    figure = notebook.curves[-1].figures[0]
    assert 700 < len(figure.values) <= 3000
    np.testing.assert_array_equal(figure.values, figure.times - 1)
    assert figure.times[-1] > 7_900


def test_many_epochs_are_drawn_without_their_steps(notebook, idle_model):
    def act(step):
        notebook.now += 0.2
        return {"loss": float(step)}

    driven(idle_model, LivePlot(), epochs=60, steps=10, act=act)
    live, last = notebook.curves[-2].figures[0], notebook.curves[-1].figures[0]
    assert live.values[np.isfinite(live.values)].max() > 500
    np.testing.assert_array_equal(last.values, np.arange(10))
    assert len(last.epoch_values) == 60


def test_several_steps_an_execution(notebook):
    model = regression(steps_per_execution=4)
    model.fit(X, Y, batch_size=2, epochs=2, verbose=0, callbacks=[LivePlot()])
    figure = notebook.curves[-1].figures[0]
    steps = figure.times[np.isfinite(figure.values)] * 16
    np.testing.assert_allclose(steps, [4, 8, 12, 16, 20, 24, 28, 32])


def test_an_unknown_length_is_known_after_the_first_epoch(notebook, idle_model):
    def act(step):
        notebook.now += 1
        return {"loss": 1.0}

    driven(idle_model, LivePlot(), epochs=3, steps=3, act=act, known=False)
    units = [(curves.unit, curves.end) for curves in notebook.curves]
    assert units[:3] == [("step", 1), ("step", 2), ("step", 4)]
    assert set(units[4:]) == {("epoch", 3)}
    # The plan reaches as far as the length is known.
    assert notebook.curves[2].planned_times[-1] == 2
    assert notebook.curves[5].planned_times[-1] == 3


def test_it_begins_with_the_initial_epoch(notebook, idle_model):
    driven(idle_model, LivePlot(), epochs=6, steps=4, first=3)
    curves = notebook.curves[-1]
    assert (curves.begin, curves.end) == (3, 6)
    np.testing.assert_array_equal(curves.figures[0].epoch_times, [4, 5, 6])
    np.testing.assert_array_equal(curves.rate_times, [3, 6])


def test_a_fit_that_stops_early_ends_there(notebook):
    stop = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1)
    )
    model = regression()
    model.fit(X, Y, epochs=50, verbose=0, callbacks=[LivePlot(), stop])
    assert notebook.curves[0].end == 50
    assert notebook.curves[-1].end == 2
    assert notebook.curves[-1].planned_times[-1] == 2


def test_a_loss_that_is_not_finite_is_said(notebook, idle_model):
    driven(
        idle_model, LivePlot(), epochs=2, steps=4,
        act=lambda step: {"loss": float("nan") if step >= 5 else 1.0},
    )  # fmt: skip
    assert notebook.curves[-1].figures[0].note == "not finite from step 6 on"


# Which figures


def names(model, logs, metric=None):
    return live_plot._names(model, metric, dict.fromkeys(sorted(logs), 0.0))


def compiled_metrics(*known):
    metrics = [types.SimpleNamespace(name=name) for name in known]
    return types.SimpleNamespace(
        _compile_metrics=types.SimpleNamespace(metrics=metrics), output_names=["a", "b"]
    )


@pytest.mark.parametrize(
    ("compiled", "logs", "metric", "expected"),
    [
        ([], ["loss"], None, ["loss"]),
        (["mse", "accuracy"], ["accuracy", "loss", "mse"], None, ["loss", "mse"]),
        (["mse", "accuracy"], ["accuracy", "loss", "mse"], "accuracy", ["loss", "accuracy"]),
        (["mse"], ["loss", "mse"], "loss", ["loss"]),
        ([], ["a_loss", "b_loss", "loss"], None, ["loss"]),
        (["mae"], ["a_loss", "b_loss", "b_mae", "loss"], None, ["loss", "b_mae"]),
        ([], ["loss", "own"], None, ["loss", "own"]),
        ([], ["applied_learning_rate", "loss", "planned_learning_rate"], None, ["loss"]),
        ([], ["critic", "generator"], None, ["critic", "generator"]),
        ([], [], None, ["loss"]),
    ],
)
def test_the_metric_is_the_first_compiled_one(compiled, logs, metric, expected):
    assert names(compiled_metrics(*compiled), logs, metric) == expected


def test_two_outputs(notebook):
    inputs = keras.Input((4,))
    heads = {name: keras.layers.Dense(1, name=name)(inputs) for name in ("a", "b")}
    model = keras.Model(inputs, heads)
    model.compile("sgd", {"a": "mse", "b": "mae"}, metrics={"b": ["mae"]})
    model.fit(X, {"a": Y, "b": Y}, verbose=0, callbacks=[LivePlot()])
    assert [figure.name for figure in notebook.curves[-1].figures] == ["loss", "b_mae"]
    # There is room for it before its name is known.
    assert len(notebook.curves[0].figures) == 2


def test_a_model_without_metrics_has_one_figure(notebook):
    regression(metrics=()).fit(X, Y, verbose=0, callbacks=[LivePlot()])
    assert [len(curves.figures) for curves in notebook.curves] == [1, 1]


@pytest.mark.parametrize("metric", [3, "", ["mae"]])
def test_a_metric_that_is_no_name_is_refused(metric):
    with pytest.raises(TypeError, match=r"metric must be the name .* Received: metric="):
        LivePlot(metric)


def test_an_unknown_metric_is_refused_with_those_known(notebook):
    expected = r"metric must be a figure of the training's logs: loss, mae\. Received: metric='acc'"
    with pytest.raises(ValueError, match=expected):
        regression().fit(X, Y, verbose=0, callbacks=[LivePlot("acc")])
    with pytest.raises(ValueError, match=r"loss, mae \(without val_: .*metric='val_mae'"):
        names(compiled_metrics("mae"), ["loss", "mae"], "val_mae")


# The rates


def test_rates_are_those_that_the_optimizer_applies(notebook):
    """Under a schedule and the plateau rule, as the logger reads them within the step."""
    schedule = keraslr.CosineAnnealingLR(0.01, T_max=24)
    model = regression(schedule)
    plateau = keraslr.callbacks.ReduceLROnPlateau(
        "loss", mode="max", threshold=1, factor=0.5, patience=0
    )
    logger = keraslr.callbacks.LearningRateLogger()
    with pytest.warns(keraslr.callbacks.LearningRateWarning, match="has scaled it"):
        history = model.fit(
            X, Y, batch_size=8, epochs=6, verbose=0, callbacks=[LivePlot(), plateau, logger]
        ).history
    curves = notebook.curves[-1]
    for times, rates, name in (
        (curves.rate_times, curves.rate, "applied"),
        (curves.planned_times, curves.planned, "planned"),
    ):
        np.testing.assert_allclose(times, np.arange(25) / 4)
        known = np.concatenate([list(each) for each in history[f"{name}_learning_rate"]])
        np.testing.assert_allclose(rates[:-1], known, rtol=1e-5)
    assert curves.note == "scaled by ReduceLROnPlateau: 0.0625 (loss)"
    # The whole plan is there before the first step.
    np.testing.assert_allclose(notebook.curves[0].planned[:-1], schedule.values(24), rtol=1e-6)
    assert len(notebook.curves[0].rate) == 0


def test_a_second_fit_goes_on_with_the_schedule(notebook):
    schedule = keraslr.ExponentialLR(0.1, gamma=0.5)
    model = regression(schedule)
    for _ in range(2):
        model.fit(X, Y, batch_size=8, verbose=0, callbacks=[LivePlot()])
    np.testing.assert_allclose(notebook.curves[-1].rate[:-1], schedule.values(4, 4), rtol=1e-6)


def test_a_rate_that_another_callback_sets_is_read(notebook):
    rates = [0.1, 0.1, 0.05, 0.02]
    model = regression(0.3)
    setter = keras.callbacks.LearningRateScheduler(lambda epoch: rates[epoch])
    model.fit(X, Y, batch_size=8, epochs=4, verbose=0, callbacks=[LivePlot(), setter])
    curves = notebook.curves[-1]
    np.testing.assert_allclose(curves.rate_times, [0, 2, 3, 4])
    np.testing.assert_allclose(curves.rate, [0.1, 0.05, 0.02, 0.02])
    np.testing.assert_allclose(curves.planned, [0.3, 0.3])


def test_a_constant_rate_that_the_plateau_rule_scales(notebook):
    plateau = keraslr.callbacks.ReduceLROnPlateau(
        "loss", mode="max", threshold=1, factor=0.1, patience=0
    )
    regression(0.1).fit(X, Y, epochs=3, verbose=0, callbacks=[plateau, LivePlot()])
    curves = notebook.curves[-1]
    np.testing.assert_allclose(curves.rate_times, [0, 2, 3])
    np.testing.assert_allclose(curves.rate, [0.1, 0.01, 0.01], rtol=1e-6)
    np.testing.assert_allclose(curves.planned, [0.1, 0.1], rtol=1e-6)


def test_a_model_without_an_optimizer_has_no_rates(notebook):
    driven(keras.Sequential([keras.Input((4,))]), LivePlot(), epochs=2, steps=2)
    assert len(notebook.curves[-1].rate) == len(notebook.curves[-1].planned) == 0
