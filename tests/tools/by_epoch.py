"""What a fit applied in each epoch, read from the weights of the model in `measured.py`."""

from __future__ import annotations

import warnings
from contextlib import contextmanager

import keras
import numpy as np
from measured import applied

from keraslr.callbacks import LearningRateWarning


class Applied(keras.callbacks.Callback):
    """Collects the rate of each example's step, epoch by epoch: one row for each."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[np.ndarray] = []

    def on_epoch_begin(self, epoch, logs=None):
        self._before = applied(self.model)

    def on_epoch_end(self, epoch, logs=None):
        rates = applied(self.model) - self._before
        self.rows.append(rates[rates != 0])


class Calls(keras.callbacks.Callback):
    """Calls a function with the model, once, at a given hook of a given epoch."""

    def __init__(self, hook, epoch, function, batch=0):
        super().__init__()
        self._epoch, self._done = -1, False

        def at_batch(number, logs=None):
            if self._epoch == epoch and number >= batch:
                self._call(function)

        def at_epoch(number, logs=None):
            self._epoch = number
            if hook != "on_epoch_begin" and number != epoch:
                return
            if hook == "on_epoch_begin" and number == epoch:
                self._call(function)

        self.on_epoch_begin = at_epoch
        if hook == "on_epoch_end":
            self.on_epoch_end = lambda number, logs=None: (
                self._call(function) if number == epoch else None
            )
        elif hook != "on_epoch_begin":
            setattr(self, hook, at_batch)

    def _call(self, function):
        if not self._done:
            self._done = True
            function(self.model)


def stopping(epoch, batch=None):
    """Returns a callback that ends the fit as Ctrl-C does, after a batch or before an epoch."""

    def stop(model):
        raise KeyboardInterrupt

    if batch is None:
        return Calls("on_epoch_begin", epoch, stop)
    return Calls("on_train_batch_end", epoch, stop, batch)


@contextmanager
def told():
    """Collects the texts of the warnings about the rate; ignores those of Keras about data."""
    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(each.message) for each in caught if each.category is LearningRateWarning]
