"""Reduces the rate when a metric has stopped improving."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import keras
import numpy as np

from keraslr._parameters import MAX_TICKS, Choice, Number
from keraslr.callbacks._attached import attach, optimizer_of, read
from keraslr.callbacks._origin import Origin
from keraslr.callbacks._scaled import Plateau, in_doubles, plateau_of, scale_by


class ReduceLROnPlateau(keras.callbacks.Callback):
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

    It works on a constant rate and on any schedule, in graphs and under XLA. Scale, best metric and
    counters live with the optimizer: they are in `.keras` files and in checkpoints, go on in the
    next `fit`, and a run that is killed and resumed by `keras.callbacks.BackupAndRestore` ends like
    one that was not. To restore a weights file by hand, call `set_model(model)` first, so that
    there is something to restore them to.

    The rules are those of `torch.optim.lr_scheduler.ReduceLROnPlateau`.

    Differs from PyTorch: `min_lr` bounds the rate at the step of the reduction; a schedule that
    falls on takes it lower. With `mode="min"` and `threshold_mode="rel"`, as there, a negative
    metric counts as better even if it does not change: use "abs". Where Keras runs on JAX the
    scale is a float32, rounded at each reduction, and not a double.

    Args:
        monitor: Name of the metric in the logs.
        mode: "min" where smaller is better, "max" where larger is.
        factor: Factor of a reduction. A number > 0 and < 1.
        patience: Bad epochs tolerated; one more triggers the reduction. An integer >= 0.
        threshold: Smallest improvement that counts. A number >= 0.
        threshold_mode: "rel" or "abs".
        cooldown: Epochs after a reduction in which bad ones do not count. An integer >= 0.
        min_lr: Lowest rate that a reduction gives. A number >= 0.
        eps: Largest reduction that is not applied. A number >= 0.
        verbose: 1 to print each reduction, 0 not to.
        validation_freq: As given to `fit`: in the epochs between, the metric may be missing.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        KeyError: In `fit`: the logs have no such metric; the error lists those they have.

    Source: PyTorch 2.13's documentation.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
        verbose: int = 0,
        validation_freq: int | Collection[int] = 1,
    ) -> None:
        super().__init__()
        if not isinstance(monitor, str) or not monitor:
            raise TypeError(f"monitor must be the name of a metric. Received: monitor={monitor!r}")
        count = Number("", int, at_least=0, at_most=MAX_TICKS)
        size = Number("", float, at_least=0)
        self.monitor = monitor
        self.mode = Choice("", ("min", "max")).validated("mode", mode)
        self.factor = Number("", float, above=0, below=1).validated("factor", factor)
        self.patience = count.validated("patience", patience)
        self.threshold = size.validated("threshold", threshold)
        self.threshold_mode = Choice("", ("rel", "abs")).validated("threshold_mode", threshold_mode)
        self.cooldown = count.validated("cooldown", cooldown)
        self.min_lr = size.validated("min_lr", min_lr)
        self.eps = size.validated("eps", eps)
        verbose = int(verbose) if isinstance(verbose, bool) else verbose
        self.verbose = Number("", int, at_least=0, at_most=2).validated("verbose", verbose)
        if isinstance(validation_freq, Collection) and not isinstance(validation_freq, str):
            self.validation_freq: int | Collection[int] = validation_freq
        else:
            every = Number("", int, at_least=1)
            self.validation_freq = every.validated("validation_freq", validation_freq)
        self._plateau: Plateau | None = None
        self._decided: int | None = None
        self._epoch = 0
        self._rate_before = math.nan
        if not monitor.startswith("val_"):
            # Only where needed: Keras runs faster if no callback asks for every batch.
            self.on_train_batch_end = self._on_last_batch

    def settings(self) -> dict[str, Any]:
        """Returns the arguments of the constructor."""
        names = (
            "monitor", "mode", "factor", "patience", "threshold", "threshold_mode", "cooldown",
            "min_lr", "eps", "verbose", "validation_freq",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names}

    # The reduction comes as soon as the metric is known, before anything else at the epoch's end:
    # a BackupAndRestore that stands first in the list then saves the decision with the epoch.

    def set_model(self, model: keras.Model) -> None:
        """Finds or makes the state that lives with the model's optimizer."""
        super().set_model(model)
        optimizer = optimizer_of(model, "ReduceLROnPlateau")
        Origin.of(model)
        plateau = plateau_of(optimizer, self.monitor)
        if plateau is None:
            plateau = scale_by(optimizer, Plateau(self.monitor, self.mode))
            # A graph traced before contains the old rate.
            model.train_function = None
        plateau.meant_for(self.mode)
        plateau.owner = self
        attach(model, plateau.attribute, plateau)
        self._plateau = plateau

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        if self.plateau.owner is not self:
            raise ValueError(
                "one fit must have one ReduceLROnPlateau for each monitor. "
                f"Received: two with monitor={self.monitor!r}"
            )

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        Origin.of(self.model).warn_if_other()
        self._epoch, self._decided = epoch, None

    def _on_last_batch(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        # Metrics run over the epoch, so those of its last batch are the epoch's.
        steps = (self.params or {}).get("steps")
        if logs and steps is not None and batch + 1 >= steps and self.monitor in logs:
            self._decide(logs[self.monitor])

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        name = self.monitor.removeprefix("val_")
        if logs and name != self.monitor and name in logs:
            self._decide(logs[name])

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        logs = {} if logs is None else logs
        if self._decided != epoch:
            if self.monitor in logs:
                self._decide(logs[self.monitor])
            elif self._expected(epoch):
                raise KeyError(
                    f"monitor must be a metric in the logs: {', '.join(sorted(logs)) or 'none'} "
                    f"(val_... only where fit validates). Received: monitor={self.monitor!r}"
                )
            else:
                self._rate_before = self.learning_rate
        logs["learning_rate"] = self._rate_before

    @property
    def plateau(self) -> Plateau:
        """State that lives with the optimizer."""
        if self._plateau is None:
            raise ValueError("ReduceLROnPlateau has no state before it is given to fit.")
        self.model  # noqa: B018 (see `_optimizer`)
        return self._plateau

    @property
    def learning_rate(self) -> float:
        """Rate of the optimizer's next step."""
        return float(read(self._optimizer.learning_rate))

    @property
    def _optimizer(self) -> keras.Optimizer:
        # Through `model`: under JAX that restores the variables from the state of the steps.
        return optimizer_of(self.model, "ReduceLROnPlateau")

    def _expected(self, epoch: int) -> bool:
        if isinstance(self.validation_freq, int):
            return (epoch + 1) % self.validation_freq == 0
        return epoch + 1 in self.validation_freq

    def _decide(self, metric: Any) -> None:
        """Applies PyTorch's rule, once for each epoch."""
        if self._decided == self._epoch:
            return
        self._decided, self._rate_before = self._epoch, self.learning_rate
        plateau, metric = self.plateau, float(np.asarray(metric))
        now = plateau.numbers()
        best, bad, resting = now["best"], now["num_bad_epochs"], now["cooldown_counter"]
        if self._is_better(metric, best):
            best, bad = metric, 0
        else:
            bad += 1
        if resting > 0:
            resting, bad = resting - 1, 0
        if bad > self.patience:
            self._reduce(now["scale"], best, bad)
            resting, bad = self.cooldown, 0
        plateau.best.assign(best)
        plateau.num_bad_epochs.assign(bad)
        plateau.cooldown_counter.assign(resting)

    def _is_better(self, metric: float, best: float) -> bool:
        sign = -1.0 if self.mode == "min" else 1.0
        relative = self.threshold_mode == "rel"
        bound = best * (1.0 + sign * self.threshold) if relative else best + sign * self.threshold
        return metric < bound if self.mode == "min" else metric > bound

    def _reduce(self, scale: float, best: float, bad: float) -> None:
        old = in_doubles(self._optimizer._learning_rate, self._optimizer._iterations)
        new = max(old * self.factor, self.min_lr)
        if old - new > self.eps:
            self.plateau.scale.assign(scale * (new / old))
            if self.verbose:
                print(
                    f"\nEpoch {self._epoch + 1}: learning rate from {old:g} to {new:g}, since "
                    f"{self.monitor} has not been better than {best:g} for {bad} epochs."
                )
