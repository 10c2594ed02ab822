"""Exact times, of which schedules are functions.

A float32 cannot tell step 16,777,217 from its neighbour, and `1 - t / T` has no correct digit left
near t = T. So time stays an integer (or, for a clock that runs on within an epoch, an integer and
a fraction of two integers) until a difference has been taken, and only that becomes a float.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import backend, ops

from keraslr.schedules._dtypes import INTEGER, LARGEST

Tensor = Any


def float32(value: Tensor) -> Tensor:
    """Returns `value` as a float32 tensor, independent of `keras.config.floatx()`."""
    if isinstance(value, numbers.Real):
        # Directly: under PyTorch it would become a number of `floatx` first.
        return ops.convert_to_tensor(float(value), "float32")
    return ops.cast(ops.convert_to_tensor(value), "float32")


def _not_integers(step: Any, dtype: Any) -> TypeError:
    return TypeError(f"step must be made of integers. Received: step={step!r} ({dtype})")


class Ticks:
    """Non-negative times: `whole + part / per`, of any shape.

    `t // n` counts whole periods, `t % n` is the time within one, `t / n` a slower clock without
    rounding, `t - n` the time since n (0 before it). `t < n`, `t >= n` compare with an integer,
    exactly.

    Attributes:
        whole: Integer tensor.
        part: Integer tensor in 0 .. per - 1, or None for a clock that shows whole ticks only.
        per: Integer >= 1.
    """

    __slots__ = ("part", "per", "whole")

    def __init__(self, whole: Tensor, part: Tensor | None = None, per: int = 1):
        self.whole, self.part, self.per = whole, part, per

    @classmethod
    def of_steps(cls, step: Any) -> Ticks:
        """Returns the time at step `step`: an integer, array, tensor or variable, >= 0."""
        if isinstance(step, numbers.Integral | np.ndarray | list | tuple | str):
            known = np.asarray(step)
            if known.dtype.kind in "iu":
                if known.size and known.min() < 0:
                    raise ValueError(f"step must be >= 0. Received: step={step!r}")
                if known.size and known.max() > LARGEST:
                    raise ValueError(f"step must be <= {LARGEST}. Received: step={step!r}")
                return cls(ops.convert_to_tensor(known.astype(INTEGER), INTEGER))
            if known.dtype.kind in "US":  # which JAX refuses with its own error
                raise _not_integers(step, known.dtype)
        tensor = ops.convert_to_tensor(step)
        dtype = backend.standardize_dtype(tensor.dtype)
        if "int" not in dtype:
            raise _not_integers(step, dtype)
        return cls(ops.cast(tensor, INTEGER))

    # An integer beside a tensor is given its type where Keras may take it for a float: under JAX it
    # does if `floatx` is bfloat16.

    def __floordiv__(self, n: int) -> Ticks:
        return Ticks(self.whole // n)

    def __mod__(self, n: int) -> Ticks:
        return Ticks(self.whole % n, self.part, self.per)

    def __truediv__(self, n: int) -> Ticks:
        rest = self.whole % n
        if self.part is not None:
            rest = rest * self.per + self.part
        return Ticks(self.whole // n, rest, n * self.per)

    def __sub__(self, n: Any) -> Ticks:
        part = self.part
        if part is not None:
            part = ops.where(self.whole >= n, part, ops.zeros_like(part))
        return Ticks(ops.maximum(self.whole - n, ops.cast(0, INTEGER)), part, self.per)

    def __ge__(self, n: Any) -> Tensor:
        return self.whole >= n

    def __lt__(self, n: Any) -> Tensor:
        return self.whole < n

    def at_most(self, n: int) -> Ticks:
        """Returns the smaller of the time and n."""
        part = self.part
        if part is not None:
            part = ops.where(self.whole < n, part, ops.zeros_like(part))
        return Ticks(ops.minimum(self.whole, ops.cast(n, INTEGER)), part, self.per)

    def count(self, sorted_times: Sequence[int]) -> Tensor:
        """Returns how many of the sorted integers have been reached."""
        if not sorted_times:
            return ops.zeros_like(self.whole)
        times = ops.cast(np.asarray(sorted_times), INTEGER)
        flat = ops.searchsorted(times, ops.reshape(self.whole, (-1,)), side="right")
        return ops.reshape(flat, ops.shape(self.whole))

    def pick(self, integers: list[int], index: Tensor) -> Tensor:
        """Returns `integers[index]`, in the dtype that times have."""
        return ops.take(ops.cast(np.asarray(integers), INTEGER), index, axis=0)

    def number(self) -> Tensor:
        """Returns the time as float32."""
        return self.since(0)

    def since(self, start: float) -> Tensor:
        """Returns max(t - start, 0) as float32; for an integer start exact up to one rounding."""
        # Counted from the first whole tick after `start`, so that nothing is subtracted in floats.
        first = math.ceil(start)
        passed = float32(self.whole - first)
        if first != start:
            passed = passed + (first - start)
        if self.part is not None:
            passed = passed + float32(self.part) / self.per
        return ops.maximum(passed, 0.0)

    def until(self, end: Any, extra: Any = 0) -> Tensor:
        """Returns max(end + extra - t, 0) as float32; `end` one or more integers, extra >= 0."""
        if self.part is None:
            left = float32(end - self.whole)
        else:
            left = float32(end - 1 - self.whole) + float32(self.per - self.part) / self.per
        if not (isinstance(extra, int) and extra == 0):
            left = left + extra
        return ops.maximum(left, 0.0)

    def between(self, start: float, end: float) -> tuple[Tensor, Tensor]:
        """Returns the shares of the interval from `start` to `end` that are done and left.

        Returns:
            `(done, left)`, two float32 tensors in [0, 1] that add up to 1. Each is correct to its
            last digits also where it is small, which `1 - done` would not be.
        """
        last = math.floor(end)
        done = self.since(start) / (end - start)
        left = self.until(last, 0 if last == end else end - last) / (end - start)
        return ops.minimum(done, 1.0), ops.minimum(left, 1.0)
