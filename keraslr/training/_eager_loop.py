"""The loop without graphs, for a model compiled with `run_eagerly`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from keraslr.training._loop import Loop, Slice
from keraslr.training._step import compiled_step

# Steps without an update after which the optimizer with the schedule counts as unused: a train step
# may apply it every few steps.
_ENOUGH = 10


class EagerLoop(Loop):
    """A `Loop` without graphs, for a model compiled with `run_eagerly`."""

    _watched_steps = 0

    def slice(self, first: int) -> Slice:
        """Trains the next steps as `Loop.slice` does, the first with an eye on the optimizers."""
        if self._watched_steps >= _ENOUGH:
            return super().slice(first)
        with self._noting_optimizers():
            found = super().slice(first)
        self._watched_steps += len(found.sizes)
        if self._watched_steps >= _ENOUGH or found.is_last:
            self._require_driven()
            self._watched_steps = _ENOUGH
        return found

    def _traced(self, step: Any, feed: Any, what: str) -> tuple[Any, tuple[str, ...]]:
        return compiled_step(self.model, step, what, self._prepare), ()

    def _graphs(self) -> tuple[Any, Any]:
        return None, None

    def _trained_slice(
        self, arguments: Any, steps: int
    ) -> tuple[bool, np.ndarray, dict[str, np.ndarray]]:
        sizes: list[int] = []
        values: dict[str, list[float]] = {}
        for i in range(steps):
            there, batch = self._feed.take(arguments, i)
            if there is not None and not there:
                return False, np.array(sizes, np.int32), _as_arrays(values)
            size, logs, rate, parts = self._train_on(batch() if callable(batch) else batch)
            sizes.append(int(size))
            for name, value in {**logs, "learning_rate": rate}.items():
                values.setdefault(name, []).append(float(value))
            # The first step of all creates the metrics' variables.
            begun = self._sums if len(self._sums) == len(parts) else list(map(tf.zeros_like, parts))
            self._sums = [total + part for total, part in zip(begun, parts, strict=True)]
        return True, np.array(sizes, np.int32), _as_arrays(values)

    def _tested_piece(self, arguments: Any, steps: int) -> tuple[int, bool, dict[str, Any]]:
        logs: Any = {}
        for i in range(steps):
            there, batch = self._validation.take(arguments, i)
            if there is not None and not there:
                return i, False, logs
            logs = self._test_on(batch() if callable(batch) else batch)
        return steps, True, dict(logs)


def _as_arrays(values: Mapping[str, list[float]]) -> dict[str, np.ndarray]:
    return {name: np.array(each, np.float32) for name, each in values.items()}
