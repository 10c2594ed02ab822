"""Records the rates that an optimizer applies, inside the training step."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops

from keraslr.callbacks._attached import Attached, read
from keraslr.schedules._dtypes import INTEGER


class Recorder(Attached):
    """Records, inside the training graph, the rate and the counter of each update.

    Attributes:
        updates: Variable: updates made since it was attached; in every checkpoint.
        start: Variable: number of the update that it was attached before; in every checkpoint.
        size: Updates that it holds: the last ones. A batch may make several.
    """

    NAME = "learning_rate_recorder"

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.updates = self.number("updates", 0, INTEGER)
        self.start = self.number("start", -1, INTEGER)
        self._rates = self.number("rates", np.zeros(size), "float32", saved=False)
        self._clocks = self.number("clocks", np.zeros(size), INTEGER, saved=False)

    def record(self, optimizer: keras.Optimizer) -> None:
        """Adds the recording to the graph of an optimizer step, before the update."""
        # The raw counter, since a schedule is called with that one.
        clock = ops.cast(optimizer._iterations, INTEGER)
        slot = ops.reshape(ops.cast(self.updates % self.size, "int32"), (1, 1))
        rate = ops.cast(optimizer.learning_rate, "float32")
        self._rates.assign(ops.scatter_update(self._rates, slot, ops.reshape(rate, (1,))))
        self._clocks.assign(ops.scatter_update(self._clocks, slot, ops.reshape(clock, (1,))))
        every = optimizer.gradient_accumulation_steps or 1
        # A step that only accumulates is written into a slot that the next one takes again.
        self.updates.assign_add(ops.cast((clock + 1) % every == 0, INTEGER))

    def since(self, seen: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Rates and clocks of the updates after the first `seen`, and how many there are now."""
        now = int(read(self.updates))
        slots = np.arange(max(seen, now - self.size), now) % self.size
        rates, clocks = read(self._rates), read(self._clocks)
        return rates[slots], clocks[slots], now


def record_with(optimizer: keras.Optimizer) -> None:
    """Makes each `apply` record first, with the current recorder: a larger one may replace it."""
    if getattr(optimizer.apply, "records_rates", False):
        return
    plain = optimizer.apply

    def apply(grads: Any, trainable_variables: Any = None) -> Any:
        getattr(optimizer, Recorder.NAME).record(optimizer)
        return plain(grads, trainable_variables)

    apply.records_rates = True  # type: ignore[attr-defined]
    optimizer.apply = apply
