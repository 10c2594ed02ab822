"""PyTorch's plateau rule: its arguments, and what it decides."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import keras

from keraslr._parameters import MAX_TICKS, Choice, Flag, Number, Optional

# What the callbacks of Keras and of others call an argument, and what it is here.
_OTHER_WORDS = {
    "min_delta": '{name} is Keras\'s word for threshold with threshold_mode="abs": use '
    'threshold={value!r}, threshold_mode="abs"',
    "epsilon": '{name} is an old word of Keras for threshold with threshold_mode="abs": use '
    'threshold={value!r}, threshold_mode="abs"',
    "min_rate": "{name} is called min_lr here: use min_lr={value!r}",
    "metric": "{name} is called monitor here: use monitor={value!r}",
}


class Decision(NamedTuple):
    """What the rule decides.

    Attributes:
        is_best: Whether the metric is better than all before.
        best, num_bad_epochs, cooldown_counter: Of the state from now on.
        bad: Bad epochs for which the rate is reduced; None if it is not.
    """

    is_best: bool
    best: float
    num_bad_epochs: float
    cooldown_counter: float
    bad: float | None


class PlateauRule:
    """The rule for one metric; the arguments are those of `ReduceLROnPlateau`."""

    # Set by the callback.
    optimizer: Any

    def __init__(
        self,
        *,
        monitor: str,
        mode: str,
        factor: float,
        patience: int,
        threshold: float,
        threshold_mode: str,
        cooldown: int,
        min_lr: float | Mapping[str, float],
        eps: float,
        verbose: int,
        validation_freq: int | Collection[int] | None,
        every: int | None,
        window: int,
        start: int,
        restore_best: bool,
        groups: Collection[Any] | None,
        **others: Any,
    ) -> None:
        _refuse(others)
        if isinstance(monitor, keras.optimizers.Optimizer):
            raise TypeError(
                "monitor must be the name of a metric; an optimizer is optimizer=..., which fit "
                f"does not need. Received: monitor={type(monitor).__name__}"
            )
        if isinstance(mode, float):
            raise TypeError(
                'mode must be one of "auto", "min", "max": Keras\'s second argument is '
                f"factor={mode!r} here. Received: mode={mode!r}"
            )
        if not isinstance(monitor, str) or not monitor:
            raise TypeError(f"monitor must be the name of a metric. Received: monitor={monitor!r}")
        if monitor in ("min", "max", "auto"):
            raise ValueError(
                f"monitor must be the name of a metric; a mode is mode={monitor!r}. "
                f"Received: monitor={monitor!r}"
            )
        count = Number("", int, at_least=0, at_most=MAX_TICKS)
        several = Number("", int, at_least=1, at_most=MAX_TICKS)
        size = Number("", float, at_least=0)
        self.monitor = monitor
        self.mode = Choice("", ("auto", "min", "max")).validated("mode", mode)
        self.factor = Number("", float, above=0, below=1).validated("factor", factor)
        self.patience = count.validated("patience", patience)
        self.threshold = size.validated("threshold", threshold)
        self.threshold_mode = Choice("", ("rel", "abs")).validated("threshold_mode", threshold_mode)
        self.cooldown = count.validated("cooldown", cooldown)
        if isinstance(min_lr, Mapping):
            self.min_lr: float | dict[str, float] = {
                str(name): size.validated(f"min_lr[{name!r}]", each)
                for name, each in min_lr.items()
            }
        else:
            self.min_lr = size.validated("min_lr", min_lr)
        self.eps = size.validated("eps", eps)
        verbose = int(verbose) if isinstance(verbose, bool) else verbose
        self.verbose = Number("", int, at_least=0, at_most=2).validated("verbose", verbose)
        if isinstance(validation_freq, Collection) and not isinstance(validation_freq, str):
            self.validation_freq: int | Collection[int] | None = validation_freq
        else:
            often = Optional(Number("", int, at_least=1))
            self.validation_freq = often.validated("validation_freq", validation_freq)
        self.every = Optional(several).validated("every", every)
        self.window = several.validated("window", window)
        self.start = count.validated("start", start)
        self.restore_best = Flag("").validated("restore_best", restore_best)
        if self.every is not None and monitor.startswith("val_"):
            raise ValueError(
                "monitor must be a metric of the training where every is given: validation comes "
                f"after an epoch. Received: every={every!r} with monitor={monitor!r}"
            )
        if groups is not None and (isinstance(groups, str) or not isinstance(groups, Collection)):
            raise TypeError(
                f"groups must be a list of names or optimizers. Received: groups={groups!r}"
            )
        self.groups = groups

    def settings(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        names = (
            "monitor", "mode", "factor", "patience", "threshold", "threshold_mode", "cooldown",
            "min_lr", "eps", "verbose", "validation_freq", "every", "window", "start",
            "restore_best", "optimizer", "groups",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    def decide(self, metric: float, now: Mapping[str, float], mode: str) -> Decision:
        """Decides once, by the best metric and the counts so far."""
        best, bad, resting = now["best"], now["num_bad_epochs"], now["cooldown_counter"]
        is_best = self._is_better(metric, best, mode)
        best, bad = (metric, 0) if is_best else (best, bad + 1)
        if resting > 0:
            resting, bad = resting - 1, 0
        if bad > self.patience:
            return Decision(is_best, best, 0, self.cooldown, bad)
        return Decision(is_best, best, bad, resting, None)

    def _is_better(self, metric: float, best: float, mode: str) -> bool:
        sign = -1.0 if mode == "min" else 1.0
        relative = self.threshold_mode == "rel"
        bound = best * (1.0 + sign * self.threshold) if relative else best + sign * self.threshold
        return metric < bound if mode == "min" else metric > bound


def _refuse(others: Mapping[str, Any]) -> None:
    for name, value in others.items():
        if name in _OTHER_WORDS:
            raise TypeError(
                f"{_OTHER_WORDS[name].format(name=name, value=value)}. Received: {name}={value!r}"
            )
        raise TypeError(
            "ReduceLROnPlateau has the arguments monitor, mode, factor, patience, threshold, "
            "threshold_mode, cooldown, min_lr, eps, verbose, validation_freq, every, window, "
            f"start, restore_best, optimizer, groups. Received: {name}={value!r}"
        )
