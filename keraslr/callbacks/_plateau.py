"""Reduces the rate when a metric has stopped improving."""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Mapping
from typing import Any

import keras
import numpy as np

from keraslr.callbacks._attached import attach, read
from keraslr.callbacks._clock import EpochClock
from keraslr.callbacks._direction import direction_of, may_be_told_later, metrics_of
from keraslr.callbacks._fit import arguments_of_fit
from keraslr.callbacks._following import Following, retrace
from keraslr.callbacks._groups import Group, chosen_groups, own_optimizers
from keraslr.callbacks._origin import LearningRateWarning, Origin
from keraslr.callbacks._plateau_rule import PlateauRule
from keraslr.callbacks._plateau_state import BestWeights, Plateau, attribute_of, worst
from keraslr.callbacks._rate import (
    apply_scales,
    in_doubles,
    is_constant,
    never_called,
    planned_rate,
    plateau_of,
    scale_by,
    settle,
)
from keraslr.schedules._dtypes import FLOAT

_UNAPPLIED = (
    "ReduceLROnPlateau has not reduced {owner} ({kind}), which made no update in epoch {epoch}"
    "{others}: give it the optimizer that the training step applies, optimizer={example}"
)
_COMPILED = (
    "the model was compiled in the midst of fit: ReduceLROnPlateau (monitor={monitor!r}) goes on "
    "with its counts on the new optimizer, and multiplies its rate by {scale:g}; to begin anew, "
    "call its reset(scale=True)"
)
_BACKED_UP = (
    "BackupAndRestore stands before ReduceLROnPlateau (monitor={monitor!r}) in the list of "
    "callbacks, and the metric is known only at the epoch's end, so that a backup holds the epoch "
    "without its decision: put BackupAndRestore last"
)
_NO_BEST = (
    "restore_best has no weights of the best {monitor} to bring back: a .keras file and a "
    "TensorFlow checkpoint do not hold them. The weights stay as they are"
)
_NO_EFFECT = (
    "ReduceLROnPlateau has no effect: the training step was compiled before the callback was "
    "there, and contains the schedule as it was; call set_model(model) before the first step, or "
    "compile the step again"
)


class ReduceLROnPlateau(PlateauRule, Following):
    """Multiplies the rate by `factor` when a metric has stopped improving.

        rate(step) = schedule(step) * scale, or constant * scale

    After each epoch, with the metric m and the best one so far:

        better:  m < best * (1 - threshold)   mode "min", threshold_mode "rel"
                 m < best - threshold         mode "min", threshold_mode "abs"
                 m > best * (1 + threshold)   mode "max", threshold_mode "rel"
                 m > best + threshold         mode "max", threshold_mode "abs"

    An epoch that is not better is bad, one whose metric is NaN too. After more than `patience` bad
    epochs in a row the rate becomes max(rate * factor, min_lr), unless that changes it by no more
    than `eps`; then follow `cooldown` epochs in which bad ones do not count.

    It works on a constant rate and on any schedule, in graphs and under XLA. A constant rate stays
    a variable, which other code may assign: the number that was assigned is the rate from then on.
    With several optimizers, as the groups of a `keras.optimizers.MultiOptimizer`, all rates are
    reduced by the factor, as PyTorch's rule does with parameter groups.

    Scale, best metric and counters live with the optimizer: they are in `.keras` files and in
    checkpoints, go on in the next `fit` (see `reset`), and a run that is killed and resumed by
    `BackupAndRestore` ends like one that was not. To restore a weights file by hand, call
    `set_model(model)` first, so that there is something to restore them to. If the model is
    compiled in the midst of `fit`, they go over to the new optimizer, and a warning says so.

    In the logs `learning_rate` is the rate of the epoch's last step; of several optimizers there is
    a column each, `learning_rate_<name>`.

    In a loop of one's own, call `step(metric)` after each epoch; or the hooks of a callback.

    The rules are those of `torch.optim.lr_scheduler.ReduceLROnPlateau`.

    Differs from PyTorch: `min_lr` bounds the rate at the step of the reduction; a schedule that
    falls on takes it lower. With `mode="min"` and `threshold_mode="rel"`, as there, a negative
    metric counts as better even if it does not change: use "abs". Where Keras runs on JAX the
    scale is a float32, rounded at each reduction, and not a double.

    Args:
        monitor: Name of the metric in the logs.
        mode: "min" where smaller is better, "max" where larger is. "auto" for what Keras knows of
            the metric or its name tells ("val_accuracy": "max"); else an error asks for the mode.
        factor: Factor of a reduction. A number > 0 and < 1.
        patience: Bad epochs tolerated; one more triggers the reduction. An integer >= 0.
        threshold: Smallest improvement that counts. A number >= 0.
        threshold_mode: "rel" or "abs".
        cooldown: Epochs after a reduction in which bad ones do not count. An integer >= 0.
        min_lr: Lowest rate that a reduction gives. A number >= 0, or a dict of them by the names of
            the groups.
        eps: Largest reduction that is not applied. A number >= 0.
        verbose: 1 to print each reduction, 0 not to.
        validation_freq: As given to `fit`: in the epochs between, the metric may be missing. None
            for what `fit` was given.
        every: Decide after each so many training steps, by the metric's mean over them, and not
            after each epoch; an integer >= 1. All counts are then of decisions, not of epochs.
        window: Decide by the mean of so many last metrics (of fewer, as long as there are fewer).
        start: Epoch, counted from 0, from which metrics count; those before are passed over.
        restore_best: Whether the weights of the best metric come back at each reduction. They are
            kept in memory, in weights files and in backups; a `.keras` file has the counts alone.
        optimizer: Which optimizer of the model: the name of its attribute ("g_optimizer"), the
            optimizer itself, or a list of these. None for what `model.compile` was given; a model
            with several must be told which.
        groups: Which optimizers of a `MultiOptimizer`, by name or by themselves; None for all.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        KeyError: In `fit`: the logs have no such metric; the error lists those they have.

    Example:
        >>> rule = ReduceLROnPlateau(optimizer=keras.optimizers.SGD(0.1), factor=0.5, patience=0)
        >>> rates = [(rule.step(metric), round(rule.learning_rate, 4))[1] for metric in (3, 2, 2)]
        >>> rates
        [0.1, 0.1, 0.05]

    Source: PyTorch 2.13's documentation; `every`, `window` and `start` after optax's
    `accumulation_size` and timm's `warmup_t`.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "auto",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Mapping[str, float] = 0.0,
        eps: float = 1e-8,
        verbose: int = 0,
        validation_freq: int | Collection[int] | None = None,
        *,
        every: int | None = None,
        window: int = 1,
        start: int = 0,
        restore_best: bool = False,
        optimizer: Any = None,
        groups: Collection[Any] | None = None,
        **others: Any,
    ) -> None:
        Following.__init__(self, optimizer)
        PlateauRule.__init__(
            self, monitor=monitor, mode=mode, factor=factor, patience=patience,
            threshold=threshold, threshold_mode=threshold_mode, cooldown=cooldown, min_lr=min_lr,
            eps=eps, verbose=verbose, validation_freq=validation_freq, every=every, window=window,
            start=start, restore_best=restore_best, groups=groups, **others,
        )  # fmt: skip
        self.__dict__.update(self._unused())
        self._hook()

    _plateaus: list[Plateau]
    _best_weights: BestWeights | None
    _reset_wanted: bool | None
    _batch: int | None
    _trained: int | None
    _rates: dict[str, float]
    _said: set[str]

    def _unused(self) -> dict[str, Any]:
        return {
            **super()._unused(), "_plateaus": [], "_best_weights": None, "_reset_wanted": None,
            "_decided": False, "_epoch": 0, "_calls": 0, "_batch": None, "_trained": None,
            "_rates": {}, "_validation_freq": None, "_before": (0.0, 0.0, 0), "_said": set(),
            "_at_attach": 0,
        }  # fmt: skip

    def _hook(self) -> None:
        if self.every is not None or not self.monitor.startswith("val_"):
            # Only where needed: Keras runs faster if no callback asks for every batch.
            self.on_train_batch_end = self._on_batch_end

    def __getstate__(self) -> dict[str, Any]:
        state = super().__getstate__()
        state.pop("on_train_batch_end", None)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._hook()

    def __deepcopy__(self, memo: dict[int, Any]) -> ReduceLROnPlateau:
        new = super().__deepcopy__(memo)
        new._hook()
        return new

    # The reduction comes as soon as the metric is known, before anything else at the epoch's end:
    # a BackupAndRestore that stands first in the list then saves the decision with the epoch.

    def _attach(self, former: list[Group]) -> None:
        self._groups = chosen_groups(self._groups, self.groups, type(self).__name__)
        before, self._plateaus = self._plateaus, []
        mode = self._mode() or "auto"
        for group in self._groups:
            optimizer = group.optimizer
            Origin.of(group)
            plateau = plateau_of(optimizer, self.monitor)
            if plateau is None or len(read(plateau.recent)) != self.window:
                plateau = self._new_state(group, plateau)
            plateau.meant_for(mode)
            if former and before:
                plateau.like(before[0])
                apply_scales(optimizer)
            plateau.owner = self
            attach(group, plateau.attribute, plateau)
            self._plateaus.append(plateau)
        first = self._groups[0]
        self._at_attach = int(read(first.optimizer._iterations))
        if self.restore_best:
            name = f"best_weights_{attribute_of(self.monitor)}"
            self._best_weights = getattr(first.optimizer, name, None) or BestWeights()
            attach(first, name, self._best_weights)
        kept = self.plateau.numbers() if former else {}
        if kept and (kept["scale"] != 1.0 or math.isfinite(kept["best"])):
            scale = kept["scale"]
            self._warn(_COMPILED.format(monitor=self.monitor, scale=scale))
        elif not former and self._reset_wanted is not None:
            self.reset(scale=self._reset_wanted)

    def _new_state(self, group: Group, former: Plateau | None) -> Plateau:
        optimizer = group.optimizer
        if former is not None:
            # Of a run that averaged over another number of metrics.
            former.recent = former.number("recent", np.full(self.window, math.nan), FLOAT)
            return former
        plateau = Plateau(self.monitor, self._mode() or "auto", self.window)
        scale_by(group, plateau)
        if not is_constant(optimizer):
            # A graph traced before contains the old rate.
            retrace(self._model)
        return plateau

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self.plateau.owner is not self:
            raise ValueError(
                "one fit must have one ReduceLROnPlateau for each monitor. "
                f"Received: two with monitor={self.monitor!r}"
            )
        self._require_mode(later=True)
        given = arguments_of_fit(self._model) or {}
        self._validation_freq = self.validation_freq or given.get("validation_freq", 1)
        self._said = set()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        self._follow()
        for group in self._found:
            Origin.of(group).warn_if_other()
            steps = (self.params or {}).get("steps")
            EpochClock.of(group, self._model).begin(epoch, steps, self._model)
        self._epoch, self._decided, self._batch, self._trained = epoch, False, None, None
        self._before = (0.0, 0.0, 0)

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        self._batch = batch
        if self._follow():
            for group in self._groups:
                steps = (self.params or {}).get("steps")
                EpochClock.of(group, self._model).join(self._epoch, steps, self._model)

    def _on_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        self._trained = batch + 1
        if self.every is not None:
            if self._epoch >= self.start:
                self._wait(batch, logs or {})
            return
        # Metrics run over the epoch, so those of its last batch are the epoch's.
        steps = (self.params or {}).get("steps")
        if logs and steps is not None and batch + 1 >= steps and self.monitor in logs:
            self._decide(logs[self.monitor])

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        name = self.monitor.removeprefix("val_")
        # Not in an `evaluate` of its own: only after the steps of an epoch.
        if logs and name != self.monitor and name in logs and self._batch is not None:
            self._decide(logs[name])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        logs = {} if logs is None else logs
        self._epoch = epoch
        self._end_clocks()
        self._note_rates()
        if self.every is None and not self._decided:
            if self.monitor in logs:
                self._say_if_backed_up()
                self._decide(logs[self.monitor])
            elif self._expected(epoch):
                raise KeyError(
                    f"monitor must be a metric in the logs: {', '.join(sorted(logs)) or 'none'} "
                    "(val_... only where fit validates; where it validates every n epochs, say so: "
                    "validation_freq=n; a callback that makes the metric stands before this one). "
                    f"Received: monitor={self.monitor!r}"
                )
        logs.update(self._rates)
        self._decided, self._batch, self._rates = False, None, {}

    def _say_if_backed_up(self) -> None:
        """Says that a backup of this epoch was made before its decision."""
        given = (arguments_of_fit(self._model) or {}).get("callbacks")
        for each in getattr(given, "callbacks", given if isinstance(given, list) else []):
            if each is self:
                return
            if isinstance(each, keras.callbacks.BackupAndRestore):
                self._warn(_BACKED_UP.format(monitor=self.monitor))

    def step(self, metric: Any) -> None:
        """Applies the rule once, as `scheduler.step(metric)` does in a loop of PyTorch.

        For loops of one's own, after each epoch. The optimizer is the callback's `optimizer`, or
        that of the model given to `set_model`.

        Args:
            metric: The metric, a number.

        Raises:
            ValueError: There is no optimizer, or the mode cannot be told from the metric's name.
        """
        if not self._plateaus:
            self._find_groups()
            self._attach(former=[])
        self._require_mode()
        self._epoch = self._calls
        self._calls += 1
        self._decided = False
        self._decide(metric)

    def reset(self, scale: bool = False) -> None:
        """Begins anew: forgets the best metric and all counts, for other data or the next fold.

        Before `fit` it takes effect when the fit begins.

        Args:
            scale: Whether the rate is put back too, to the one without reductions.
        """
        self._reset_wanted = None
        self._calls = 0
        if not self._plateaus:
            self._reset_wanted = scale
            return
        if self._best_weights is not None:
            self._best_weights.best = []
        for group, plateau in zip(self._found, self._plateaus, strict=True):
            settle(group.optimizer)
            plateau.reset()
            if scale:
                plateau.scale.assign(1.0)
                apply_scales(group.optimizer)

    @property
    def plateau(self) -> Plateau:
        """State that lives with the optimizer; with several, all have the same but for scales."""
        if not self._plateaus:
            raise ValueError("ReduceLROnPlateau has no state before it is given to fit.")
        self._found  # noqa: B018 (under JAX this brings the variables up to date)
        return self._plateaus[0]

    @property
    def learning_rate(self) -> float:
        """Rate of the optimizer's next step; with several, of the first one's."""
        return next(iter(self.learning_rates.values()))

    @property
    def learning_rates(self) -> dict[str, float]:
        """Rates of the next step by the names of the groups; "" for the name of one alone."""
        return {group.name: _rate_of(group, 0) for group in self._found}

    def _mode(self) -> str | None:
        return direction_of(self.monitor, self._model) if self.mode == "auto" else self.mode

    def _require_mode(self, *, later: bool = False) -> None:
        """Sets the mode of the state; `later`: a metric that is not built yet may tell it then."""
        mode = self._mode()
        if mode is None and later and may_be_told_later(self.monitor, self._model):
            return
        if mode is None:
            raise ValueError(
                'mode must be "min" or "max" for this metric: neither Keras nor its name tells '
                "whether smaller or larger is better. "
                f"Received: mode={self.mode!r} with monitor={self.monitor!r}"
            )
        for plateau in self._plateaus:
            plateau.meant_for(mode)

    def _expected(self, epoch: int) -> bool:
        often = self._validation_freq or self.validation_freq or 1
        if not self.monitor.startswith("val_"):
            return True
        if isinstance(often, int):
            return (epoch + 1) % often == 0
        return epoch + 1 in often

    def _trained_steps(self) -> int | None:
        """Returns the steps of the epoch, if they are known: Keras does not tell them at its end.

        In data of unknown length Keras begins one batch more than there are.
        """
        if self._batch is None or getattr(self._model, "stop_training", False):
            return None
        return (self.params or {}).get("steps") or self._trained or self._batch or None

    def _end_clocks(self) -> None:
        if (steps := self._trained_steps()) is not None:
            for group in self._found:
                EpochClock.of(group, self._model).end(steps)

    def _note_rates(self) -> None:
        """Notes the rates of the last step, unless a decision after it has already."""
        for group in self._found:
            if (name := group.column("learning_rate")) not in self._rates:
                self._rates[name] = _rate_of(group, 1 + EpochClock.of(group, self._model).ghosts)

    def _wait(self, batch: int, logs: dict[str, Any]) -> None:
        """Adds the steps since the last batch, and decides if there are enough."""
        self._rates = {}
        if self.monitor not in logs:
            raise KeyError(
                f"monitor must be a metric in the logs: {', '.join(sorted(logs)) or 'none'}. "
                f"Received: monitor={self.monitor!r}"
            )
        total, weight, done = self._before
        steps = batch + 1 - done
        metric = _mean_metric(self.model, self.monitor)
        now = (0.0, 0.0)
        if metric is not None:
            now = float(read(metric.total)), float(read(metric.count))
        self._before = (*now, batch + 1)
        more = [now[0] - total, now[1] - weight, steps]
        if more[1] <= 0:  # no running mean: the step reports each batch itself
            more = [_as_number(logs[self.monitor], self.monitor) * steps, float(steps), steps]
        waiting = read(self.plateau.waiting) + np.array(more)
        decide = waiting[2] >= (self.every or 1)
        for plateau in self._plateaus:
            plateau.waiting.assign(np.zeros(3) if decide else waiting)
        if decide:
            self._decided = False
            self._decide(waiting[0] / waiting[1])

    def _decide(self, metric: Any) -> None:
        """Applies PyTorch's rule, once for each epoch."""
        if self._decided:
            return
        self._decided = True
        if self.every is None:
            self._end_clocks()
        self._rates = {}
        self._note_rates()
        if self._epoch < self.start or not self._is_applied():
            return
        # By now Keras has built the metrics, and knows their directions.
        self._require_mode()
        metric = self._averaged(_as_number(metric, self.monitor))
        decided = self.decide(metric, self.plateau.numbers(), self.plateau.mode)
        if decided.is_best and self._best_weights is not None and self._model is not None:
            self._best_weights.best = [read(each) for each in self.model.weights]
        if decided.bad is not None:
            self._reduce(decided.best, decided.bad)
        for plateau in self._plateaus:
            plateau.best.assign(decided.best)
            plateau.num_bad_epochs.assign(decided.num_bad_epochs)
            plateau.cooldown_counter.assign(decided.cooldown_counter)

    def _averaged(self, metric: float) -> float:
        if self.window == 1:
            return metric
        # NaN stands for no metric yet, so that one that is NaN is kept as one that is never better.
        kept = worst(self.plateau.mode) if math.isnan(metric) else metric
        recent = np.append(read(self.plateau.recent)[1:], kept)
        for plateau in self._plateaus:
            plateau.recent.assign(recent)
        return float(np.mean(recent[~np.isnan(recent)]))

    def _reduce(self, best: float, bad: float) -> None:
        for group, plateau in zip(self._groups, self._plateaus, strict=True):
            optimizer = group.optimizer
            lowest = self.min_lr
            if isinstance(lowest, dict):
                lowest = lowest.get(group.name, 0.0)
            old = in_doubles(optimizer, optimizer._iterations)
            new = max(old * self.factor, lowest)
            if old - new > self.eps:
                plateau.former_scale = float(read(plateau.scale))
                plateau.scale.assign(plateau.former_scale * (new / old))
                apply_scales(optimizer)
                if never_called(optimizer) and int(read(optimizer._iterations)) > self._at_attach:
                    self._warn(_NO_EFFECT)
                if self.verbose:
                    of = f" of {group.name}" if group.name else ""
                    what = "epoch" if self.every is None else "decision"
                    count = f"{bad:g} {what}{'' if bad == 1 else 's'}"
                    print(
                        f"\nEpoch {self._epoch + 1}: learning rate{of} from {old:g} to {new:g}, "
                        f"since {self.monitor} has not been better than {best:g} for {count}."
                    )
        if self._best_weights is not None and not self._best_weights.best:
            self._warn(_NO_BEST.format(monitor=self.monitor))
        elif self._best_weights is not None:
            for variable, value in zip(self.model.weights, self._best_weights.best, strict=True):
                variable.assign(value)

    def _is_applied(self) -> bool:
        """Returns whether the optimizers made an update, and says so where none did."""
        if self._batch is None:
            return True
        clocks = {id(group): EpochClock.of(group, self._model) for group in self._groups}
        idle = [group for group in self._groups if clocks[id(group)].rise == 0]
        # With mixed precision all steps of a short epoch may have been skipped.
        if len(idle) < len(self._groups) or idle[0].around:
            return True
        mine = [group.optimizer for group in idle]
        others = [
            name for name, each in own_optimizers(self._model).items()
            if each not in mine and int(read(each.iterations)) > 0
        ]  # fmt: skip
        self._warn(
            _UNAPPLIED.format(
                owner=idle[0].owner,
                kind=type(mine[0]).__name__,
                epoch=self._epoch,
                others=f", while {', '.join(others)} did" if others else "",
                example=repr(others[-1]) if others else "...",
            ),
            kind="unapplied",
        )
        return False

    def _warn(self, text: str, kind: str = "") -> None:
        if (kind or text) not in self._said:
            self._said.add(kind or text)
            warnings.warn(f"{text}.", LearningRateWarning, stacklevel=3)


def _rate_of(group: Group, before: int) -> float:
    """Returns the rate of the next step, or of one so many steps before it."""
    optimizer = group.optimizer
    if is_constant(optimizer):
        return float(read(optimizer._learning_rate))
    step = optimizer._iterations
    if isinstance(planned_rate(optimizer), keras.optimizers.schedules.LearningRateSchedule):
        # A schedule is asked for the type of the counter, as the optimizer asks it.
        step = keras.ops.maximum(keras.ops.convert_to_tensor(step) - before, 0)
    return float(np.float32(in_doubles(optimizer, step)))


def _as_number(metric: Any, monitor: str) -> float:
    """Returns a metric as a number: a tensor too, and an array that holds one number."""
    is_tensor = keras.ops.is_tensor(metric) or isinstance(metric, keras.Variable)
    values = read(metric) if is_tensor else np.asarray(metric)
    if values.size != 1 or values.dtype.kind not in "iufb":
        raise ValueError(
            "monitor must be a metric with one value; one with a value for each class has an "
            'argument for their mean, such as F1Score(average="macro"). '
            f"Received: monitor={monitor!r} with {metric!r}"
        )
    return float(values.item())


def _mean_metric(model: Any, name: str) -> keras.metrics.Mean | None:
    for metric in metrics_of(model):
        if metric.name == name and isinstance(metric, keras.metrics.Mean):
            return metric
    return None
