"""A live picture of a model's own `fit`."""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from keraslr.callbacks._attached import read
from keraslr.callbacks._groups import groups_for
from keraslr.plotting import FitChart, FitCurves, FitFigure
from widgets.parts._fit_rates import FitRates

__all__ = ["LivePlot"]

# Share of the training's time for drawing, and of it for reading the learning rate.
_SHARE = 0.02
_READING = 0.005
# Seconds between two pictures.
_PAUSE = 1.0
# Points of a curve: no more than a picture has pixels across.
_POINTS = 1500
# More epochs than this are drawn without what happens inside an epoch.
_EPOCHS = 40
# The mean of fewer of an epoch's steps is noise.
_EARLY = 0.05

_RATES = ("learning_rate", "lr", "applied_learning_rate", "planned_learning_rate")

_clock = time.perf_counter


class LivePlot(keras.callbacks.Callback):
    """Shows a live picture of a `fit` below the notebook cell that calls it.

    Above are the loss and a metric: a thin line for the mean over the epoch so far, which is the
    number in Keras's progress bar, and a point for each epoch, of the training and of the
    validation data. The axis of a positive loss that spans a factor of 50 is logarithmic. Below are
    the learning rates:

        planned(step) = schedule(step), for all steps of the fit
        applied(step) = planned(step) * scale, for the steps done

    The scale is that of `keraslr.callbacks.ReduceLROnPlateau`, 1 without it. The planned rate of an
    optimizer without a schedule is the one at the start of the fit; a rate that another callback
    sets is read from the optimizer now and then.

    Drawing takes no more than 2 % of the time of the fit, except for two pictures at the start and
    one at the end; there is at most one picture a second. The last picture is saved with the
    notebook, also after an interruption. Each `fit` has a picture of its own. The picture is a
    plain PNG: JupyterLab, Notebook, VS Code and Colab show it.

    Without a notebook, as in a script or a terminal, the callback does nothing.

    Args:
        metric: Name of the metric in Keras's logs, without "val_"; None for the first compiled
            metric, "loss" for none.

    Raises:
        TypeError: `metric` is neither None nor a name.
        ValueError: In `fit`: the logs have no such metric; the error lists those they have.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse", metrics=["mae"])
        >>> x, y = np.zeros((8, 2)), np.ones((8, 1))
        >>> history = model.fit(x, y, verbose=0, callbacks=[LivePlot(metric="mae")])
    """

    # Nothing here depends on the order of batches, so that Keras need not wait for their logs.
    async_safe = True

    def __init__(self, metric: str | None = None) -> None:
        super().__init__()
        if metric is not None and not (isinstance(metric, str) and metric):
            raise TypeError(
                "metric must be the name of a metric, or None for the first compiled one. "
                f"Received: metric={metric!r} ({type(metric).__name__})"
            )
        self.metric = metric
        self._fit: _Fit | None = None

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        self._fit = _Fit(self, self.metric) if _in_notebook() else None

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self._fit is not None:
            self._fit.begin_epoch(epoch)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        # Always called by the thread that trains, unlike `on_train_batch_end`.
        if self._fit is not None and _clock() >= self._fit.due:
            self._fit.look()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self._fit is not None and logs:
            self._fit.record(batch + 1, logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self._fit is not None:
            self._fit.end_epoch(epoch, logs or {})

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self._fit is not None:
            self._fit.end()
            self._fit = None


class _Fit:
    """What is known of one `fit`, and its picture.

    Attributes:
        due: Time at which `look` has something to do.
    """

    def __init__(self, callback: keras.callbacks.Callback, metric: str | None) -> None:
        self._callback, self._metric = callback, metric
        # Without `callback.model`, which makes JAX leave its compiled state.
        self._names = _expected_names(callback._model, metric)
        self._known = False
        params = callback.params or {}
        self._epochs: Any = params.get("epochs")
        self._length: Any = params.get("steps")
        self._points: list[tuple[int, int, tuple[Any, ...]]] = []
        self._stride = 1
        self._of_epochs: list[tuple[Any, ...]] = []
        # Epochs done against steps done, known at the ends of epochs.
        self._at_steps, self._at_epochs = [0], [0.0]
        self._steps = 0
        self._rates = FitRates()
        self._rates_wanted = False
        self._chart: FitChart | None = None
        self._handle: Any = None
        self._begun = self._last = _clock()
        self._spent = self._cost = 0.0
        self._pictures = 0
        self._started = self._ended = self._broken = False
        self._rate_due, self._rate_cost, self.due = 0.0, math.inf, math.inf

    def begin_epoch(self, epoch: int) -> None:
        if not self._started:
            self._started = True
            self._at_epochs[0] = float(epoch)
            self._begun = _clock()
            self._read_rate()
            # Before the progress bar writes its first line: its lines stay together.
            self._draw()
        # Most rates change between epochs; only now have all callbacks had their turn.
        self._rates_wanted, self.due = True, 0.0

    def record(self, batch: int, logs: dict[str, Any]) -> None:
        """Keeps the figures of the last step of a batch, or of several."""
        if not self._known:
            self._names = _names(self._callback._model, self._metric, logs)
            self._known = True
        step = self._at_steps[-1] + batch
        self._steps = max(self._steps, step)
        if step % self._stride == 0:
            values = tuple(logs.get(name, math.nan) for name in self._names)
            self._points.append((step, len(self._of_epochs), values))

    def end_epoch(self, epoch: int, logs: dict[str, Any]) -> None:
        self._at_steps.append(self._steps)
        self._at_epochs.append(epoch + 1.0)
        if self._steps > self._at_steps[-2]:
            self._length = self._steps - self._at_steps[-2]
        self._of_epochs.append(
            tuple(
                logs.get(prefix + name, math.nan) for prefix in ("", "val_") for name in self._names
            )
        )
        if _clock() >= self.due:
            self.look()

    def end(self) -> None:
        self._ended = True
        if self._started:
            self._read_rate()
            self._draw()

    def look(self) -> None:
        """Reads the rate and draws, if it is time for that."""
        if self._reads() and _clock() >= self._rate_due:
            self._read_rate()
        now = _clock()
        # Two pictures at once, the plan and the first figures; the others when they are paid for.
        paid = self._spent + self._cost <= _SHARE * (now - self._begun)
        if now - self._last >= _PAUSE and (self._pictures < 2 or paid):
            self._draw()
        self._plan_next()

    def _reads(self) -> bool:
        # Within an epoch, few readings of a schedule tell all. And JAX would have to interrupt its
        # compiled loop to read a variable.
        changes = not self._rates.scheduled and keras.backend.backend() != "jax"
        return not self._broken and (self._rates_wanted or changes)

    def _plan_next(self) -> None:
        picture = self._last + _PAUSE
        if self._pictures >= 2:
            picture = max(picture, self._begun + (self._spent + self._cost) / _SHARE)
        if self._broken:
            picture = math.inf
        self.due = min(picture, self._rate_due if self._reads() else math.inf)

    def _read_rate(self) -> None:
        before = _clock()
        self._safely(self._read)
        cost = _clock() - before
        self._spent += cost
        self._rates_wanted = False
        # The first reading, which takes longer, is followed by another at the first step.
        first, self._rate_cost = self._rate_cost == math.inf, min(self._rate_cost, cost)
        self._rate_due = before if first else before + self._rate_cost / _READING

    def _read(self) -> None:
        # A training step of the model's own may need no optimizer.
        if getattr(self._callback._model, "optimizer", None) is not None:
            groups = groups_for(self._callback.model, "LivePlot", every=True)
            # Of several optimizers the first that makes updates: the rate of one is shown.
            groups.sort(key=lambda group: int(read(group.optimizer._iterations)) == 0)
            self._rates.read(groups[0].optimizer, self._steps)

    def _draw(self) -> None:
        before = _clock()
        self._safely(self._redraw)
        self._last = _clock()
        self._cost = self._last - before
        self._spent += self._cost
        self._pictures += 1
        self._plan_next()

    def _redraw(self) -> None:
        curves = self._curves()
        if self._chart is None or len(self._chart.figures) != len(curves.figures):
            self._chart = FitChart(len(curves.figures))
        self._chart.draw(curves)
        self._show(self._chart.png())

    def _safely(self, act: Callable[[], None]) -> None:
        """Warns of an error, and does nothing afterwards: a picture must not end a training."""
        if self._broken:
            return
        try:
            act()
        except Exception as error:
            self._broken = True
            warnings.warn(f"LivePlot has stopped drawing: {error!r}.", stacklevel=2)

    def _show(self, png: bytes) -> None:
        from IPython.display import Image, display

        picture = Image(data=png, format="png")
        if self._handle is None:
            self._handle = display(picture, display_id=True)
        else:
            self._handle.update(picture)

    def _total(self) -> int | None:
        """Returns the number of steps of the whole fit, if that can be known."""
        if self._ended:
            return self._steps
        if self._length is None or self._epochs is None:
            return None
        left = self._epochs - self._at_epochs[-1]
        return max(self._steps, self._at_steps[-1] + round(left * self._length))

    def _curves(self) -> FitCurves:
        total = self._total()
        # Steps where the epochs are too few, or too long to be known, for a time axis.
        in_steps = total is None or self._epochs is None or self._epochs - self._at_epochs[0] < 2
        steps, epochs = list(self._at_steps), list(self._at_epochs)
        if total is not None and not in_steps:
            if self._ended and self._steps > steps[-1] and self._length:
                epochs.append(epochs[-1] + (self._steps - steps[-1]) / self._length)
                steps.append(self._steps)
            elif total > steps[-1]:
                steps.append(total)
                epochs.append(max(float(self._epochs), epochs[-1]))

        def times(at: Any) -> np.ndarray:
            at = np.asarray(at, float)
            return at if in_steps else np.interp(at, steps, epochs)

        # An unknown end moves on now and then: not with each picture, so that the axes stay.
        begin, end = times([0, 1 << self._steps.bit_length() if total is None else max(1, total)])
        planned_at, planned = self._rates.planned(self._steps if total is None else total)
        rate_at, rate = self._rates.applied(self._steps)
        return FitCurves(
            unit="step" if in_steps else "epoch", begin=begin, end=max(end, begin + 1e-9),
            figures=[self._figure(n, name, times) for n, name in enumerate(self._names)],
            rate_times=times(rate_at), rate=rate, planned_times=times(planned_at), planned=planned,
            note=self._rates.note,
        )  # fmt: skip

    def _figure(self, number: int, name: str, times: Any) -> FitFigure:
        # This copies first: another thread may be adding to the list.
        points = sorted(self._points, key=lambda point: point[0])
        if len(points) > 2 * _POINTS:
            while len(points) > _POINTS:
                self._stride *= 2
                points = [point for point in points if point[0] % self._stride == 0]
            self._points[:] = points
        points = [point for point in points if self._worth_drawing(*point[:2])]
        steps = np.array([step for step, _, _ in points], float)
        values = _numbers(each[number] for _, _, each in points)
        # A new epoch begins a new mean, so the line is broken there.
        breaks = np.flatnonzero(np.diff([epoch for _, epoch, _ in points])) + 1
        whole = _numbers(each[number] for each in self._of_epochs)
        validation = _numbers(each[len(self._names) + number] for each in self._of_epochs)
        ends = times(self._at_steps[1:])
        seen = ~np.isnan(validation)
        lost = np.flatnonzero(~np.isfinite(values))
        note = f"not finite from step {int(steps[lost[0]])} on" if len(lost) else ""
        at = times(steps)
        return FitFigure(
            name=name, note=note,
            times=np.insert(at, breaks, at[breaks]), values=np.insert(values, breaks, np.nan),
            epoch_times=ends, epoch_values=whole,
            validation_times=ends[seen], validation_values=validation[seen],
        )  # fmt: skip

    def _worth_drawing(self, step: int, epoch: int) -> bool:
        """Returns whether the mean until that step tells more than that of its epoch."""
        if epoch == 0:
            return True
        under_way = epoch == len(self._of_epochs) and not self._ended
        if len(self._of_epochs) > _EPOCHS and not under_way:
            return False
        return step - self._at_steps[epoch] > _EARLY * (self._length or 0)


def _in_notebook() -> bool:
    """Returns whether the program runs in a kernel, whose outputs may be pictures."""
    if "IPython" not in sys.modules:
        return False
    from IPython.core.getipython import get_ipython

    return getattr(get_ipython(), "kernel", None) is not None


def _expected_names(model: Any, metric: str | None) -> list[str]:
    """Returns the names of the figures as far as they are known before the first step."""
    if metric is not None:
        return ["loss", metric] if metric != "loss" else ["loss"]
    compiled: Any = getattr(model, "_compile_metrics", None)
    given = ("_user_metrics", "_user_weighted_metrics")
    if not any(getattr(compiled, name, None) for name in given):
        return ["loss"]
    # Keras makes the metrics, which have the names, at the first step.
    return ["loss", *([each.name for each in compiled.metrics] or ["metric"])[:1]]


def _names(model: Any, metric: str | None, logs: dict[str, Any]) -> list[str]:
    """Returns the names of the one or two figures, given the logs of a step."""
    offered = [name for name in logs if name not in _RATES and not name.startswith("val_")]
    first = "loss" if "loss" in offered or not offered else offered[0]
    if metric is not None:
        if metric not in offered:
            remedy = ""
            if metric.removeprefix("val_") in offered:
                remedy = " (without val_: the validation's curve is beside the training's)"
            raise ValueError(
                f"metric must be a figure of the training's logs: {', '.join(offered) or 'none'}"
                f"{remedy}. Received: metric={metric!r}"
            )
        return list(dict.fromkeys([first, metric]))
    losses = {f"{name}_loss" for name in getattr(model, "output_names", None) or []}
    others = [name for name in offered if name != first and name not in losses]
    compiled = getattr(getattr(model, "_compile_metrics", None), "metrics", [])
    for each in compiled:
        for name in others:
            if name == each.name or name.endswith(f"_{each.name}"):
                return [first, name]
    return [first, *others[:1]]


def _numbers(values: Iterable[Any]) -> np.ndarray:
    return np.array([_number(value) for value in values], float)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan
