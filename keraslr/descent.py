"""Runs an optimizer on an objective, step by step.

The steps are those of the real Keras optimizers, not of a second copy of their formulas. They run
in float64 and in one compiled loop, because a thousand of them have to be done before a person who
drags a slider notices.
"""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, TypeGuard

import keras
import numpy as np
import tensorflow as tf
from keras.optimizers.schedules import LearningRateSchedule

from keraslr import objectives
from keraslr._environment import require_tensorflow
from keraslr._parameters import Number, Several
from keraslr.catalog import DESCENT_OPTIMIZERS, DescentOptimizer
from keraslr.objectives import Objective
from keraslr.schedules import Schedule

__all__ = [
    "DEFAULT_STEPS",
    "Rate",
    "Trajectory",
    "descend",
]

Rate: TypeAlias = float | LearningRateSchedule | Sequence[float] | np.ndarray

DEFAULT_STEPS = 100
_STEPS = Number("", int, at_least=1, at_most=1_000_000)
_NOISE = Number("", float, at_least=0)
_SEED = Number("", int, at_least=0)
_START = Several(Number("", float), at_least=1)
_CONSTANT = Number("", float, at_least=0)

# XLA compiles a loop anew for every length of its arrays, so that they only have a few lengths.
_SHORTEST = 1024

# Number of compiled loops kept: nearly those of the whole table on five objectives.
_KEPT = 64

# For so few numbers, transfers to and from a GPU would dominate.
_DEVICE = "/CPU:0"


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Points, values and rates of a descent: finite numbers only.

    Attributes:
        objective, optimizer: Their names.
        points: Where it was, float64 array (n + 1, d), the start first.
        values: The objective there, float64 array (n + 1,).
        learning_rates: Rate of each step, float64 array (n,).
        diverged_at: The step, counted from 1, that left the finite numbers, in the point or in the
            objective's value: the trajectory ends before it. None where none did.
    """

    objective: str
    optimizer: str
    points: np.ndarray
    values: np.ndarray
    learning_rates: np.ndarray
    diverged_at: int | None

    @property
    def end(self) -> np.ndarray:
        """Last point, a float64 array (d,)."""
        return self.points[-1]


def descend(
    objective: str | Objective,
    optimizer: str,
    *,
    learning_rate: Rate,
    start: Sequence[float] | None = None,
    steps: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
    **arguments: float,
) -> Trajectory:
    """Runs an optimizer on an objective and returns its trajectory.

        x[t + 1] = update(x[t], gradient(x[t]) + noise * z[t], learning_rate[t])

    The update is that of the Keras optimizer, in float64 (except Nadam's constant 0.96, which Keras
    takes in float32 in one of its two places); each z[t] is drawn from a standard normal
    distribution, independently for each component, by NumPy from the seed. The same seed draws the
    same z at every level of noise and for every optimizer.

    The first call for an optimizer with its parameters on an objective compiles, which takes some
    tenths of a second. From then on a thousand steps take some milliseconds, whatever the rates,
    start, noise, seed and steps. May be called from any thread.

    Args:
        objective: An `Objective`, or the name of one of `OBJECTIVES`.
        optimizer: Name of one of `DESCENT_OPTIMIZERS`.
        learning_rate: A number >= 0, a schedule, or a sequence with a number >= 0 for each step. A
            number is taken in float64; a schedule has the rates that it gives to training, which
            are float32.
        start: A point; None for the objective's own.
        steps: Number of steps, an integer >= 1; None for as many as there are rates, or for 100.
        noise: Standard deviation of the noise in each component of the gradient, >= 0.
        seed: Of the noise, an integer >= 0.
        **arguments: The optimizer's parameters, as its entry in the table lists them; those left
            out have Keras's defaults.

    Returns:
        The trajectory. One that diverges is shorter: no error, no warning.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Example:
        >>> way = descend("bowl", "momentum", learning_rate=0.1, steps=50, momentum=0.5)
        >>> bool(abs(way.end).max() < 1e-4)
        True
    """
    require_tensorflow("a descent")
    if not isinstance(objective, Objective):
        objective = objectives.find(objective)
    kind = objectives.entry(DESCENT_OPTIMIZERS, "optimizer", optimizer)
    values = kind.validated(arguments)
    if steps is None:
        steps = len(learning_rate) if _is_sequence(learning_rate) else DEFAULT_STEPS
    steps = _STEPS.validated("steps", steps)
    rates = _rates(learning_rate, steps)
    begin = _point(objective, start)
    # No draws without noise: 0 times a draw would be the same, for more time.
    noise, seed = _NOISE.validated("noise", noise), _SEED.validated("seed", seed)
    size = (steps, objective.dimension)
    drawn = noise * np.random.default_rng(seed).standard_normal(size) if noise else np.zeros(size)

    points, heights = _descent(objective, kind, values)(begin, rates, drawn)
    wrong = ~(np.isfinite(points).all(axis=1) & np.isfinite(heights))
    if wrong[0]:
        raise ValueError(
            f'start must be a point where "{objective.name}" is finite. '
            f"Received: start={begin.tolist()}"
        )
    diverged_at = int(wrong.argmax()) if wrong.any() else None
    return Trajectory(
        objective.name, kind.name, points[:diverged_at], heights[:diverged_at],
        rates[: None if diverged_at is None else diverged_at - 1], diverged_at,
    )  # fmt: skip


def _is_sequence(value: Any) -> TypeGuard[Sequence[float]]:
    if isinstance(value, str | bytes | Mapping) or not hasattr(value, "__len__"):
        return False
    return getattr(value, "ndim", 1) > 0  # an array without axes has no length


def _point(objective: Objective, start: Sequence[float] | None) -> np.ndarray:
    point = objective.start if start is None else _START.validated("start", start)
    if len(point) != objective.dimension:
        raise ValueError(
            f'start must have as many numbers as "{objective.name}" has variables, '
            f"{objective.dimension}. Received: start={point}"
        )
    return np.array(point, np.float64)


def _rates(learning_rate: Rate, steps: int) -> np.ndarray:
    """Returns the rate of each step, a float64 array (steps,)."""
    if isinstance(learning_rate, Schedule):
        rates = learning_rate.values(steps).astype(np.float64)
    elif isinstance(learning_rate, LearningRateSchedule):
        # One step at a time, as optimizers call schedules: not all accept several steps at once.
        with tf.device(_DEVICE):
            at_each_step = tf.function(
                lambda: tf.map_fn(
                    lambda step: tf.cast(learning_rate(step), tf.float64),
                    tf.range(steps, dtype=tf.int64),
                    fn_output_signature=tf.float64,
                )
            )
            rates = at_each_step.get_concrete_function()().numpy()
    elif _is_sequence(learning_rate):
        try:
            rates = np.array(learning_rate, np.float64)
        except (TypeError, ValueError):
            raise _wrong_rate(TypeError, learning_rate, steps) from None
    else:
        try:
            rates = np.full(steps, _CONSTANT.validated("learning_rate", learning_rate))
        except TypeError:
            raise _wrong_rate(TypeError, learning_rate, steps) from None
    if rates.shape != (steps,) or not np.isfinite(rates).all() or (rates < 0).any():
        raise _wrong_rate(ValueError, learning_rate, steps)
    return rates


def _wrong_rate(error: type[Exception], value: Any, steps: int) -> Exception:
    shown = repr(value)
    shown = shown if len(shown) <= 200 else shown[:200] + "..."
    return error(
        "learning_rate must be a number >= 0, a schedule of such, or a sequence of them with one "
        f"for each of the {steps} steps. Received: learning_rate={shown} ({type(value).__name__})"
    )


class _Rates(LearningRateSchedule):
    """Schedule that reads the rate of a step from a tensor.

    Keras keeps a rate that is a number in float32; what a schedule gives, it takes as it is.
    """

    tensor: tf.Tensor

    def __call__(self, step: Any) -> tf.Tensor:
        return tf.gather(self.tensor, tf.cast(step, tf.int64))


class _Descent:
    """An optimizer on an objective, compiled at the first call.

    Attributes:
        traces: How many times it was traced.
    """

    def __init__(self, objective: Objective, kind: DescentOptimizer, values: Mapping[str, float]):
        self.traces = 0
        self._objective = objective
        # The loop has state, so runs come one after another.
        self._lock = threading.Lock()
        self._rates = _Rates()
        dimension = objective.dimension
        with tf.device(_DEVICE):
            self._point = keras.Variable(np.zeros(dimension), dtype="float64", name="point")
            self._optimizer = kind.build(self._rates, **values)
            self._optimizer.build([self._point])
            self._initial = [(each, np.array(each)) for each in self._optimizer.variables]
        self._function: Any = None

    def __call__(
        self, start: np.ndarray, rates: np.ndarray, noise: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Points (n + 1, d) and the objective's values there (n + 1,)."""
        steps = len(rates)
        beyond = max(_SHORTEST, 1 << (steps - 1).bit_length()) - steps
        rates, noise = np.pad(rates, (0, beyond)), np.pad(noise, ((0, beyond), (0, 0)))
        with self._lock, tf.device(_DEVICE):
            if self._function is None:
                self._function = self._traced()
            arguments = (tf.constant(each, tf.float64) for each in (start, rates, noise))
            points = self._function(*arguments, tf.constant(steps))[: steps + 1]
            return points.numpy(), self._objective(points).numpy()

    def _traced(self) -> Any:
        dimension = self._objective.dimension
        # A graph of its own: as calls of one function these would count as its retracing.
        return tf.function(
            self._run,
            # The executor takes 60 to 130 microseconds for the operations of a step, XLA one.
            jit_compile=True,
            autograph=False,  # autograph would convert nothing, and take as long as the tracing
        ).get_concrete_function(
            tf.TensorSpec([dimension], tf.float64),
            tf.TensorSpec([None], tf.float64),
            tf.TensorSpec([None, dimension], tf.float64),
            tf.TensorSpec([], tf.int32),
        )

    def _run(self, start: tf.Tensor, rates: tf.Tensor, noise: tf.Tensor, steps: tf.Tensor) -> Any:
        self.traces += 1
        self._rates.tensor = rates
        for variable, value in self._initial:
            variable.assign(value)
        self._point.assign(start)
        dimension = self._objective.dimension
        points = tf.TensorArray(tf.float64, tf.shape(rates)[0] + 1, element_shape=(dimension,))

        def step(i: tf.Tensor, points: tf.TensorArray) -> Any:
            with tf.GradientTape() as tape:
                value = self._objective(self._point.value)
            gradient = tape.gradient(value, self._point.value)
            self._optimizer.apply([gradient + noise[i]], [self._point])
            return i + 1, points.write(i + 1, tf.identity(self._point.value))

        _, points = tf.while_loop(
            lambda i, _: i < steps,
            step,
            (tf.constant(0), points.write(0, start)),
            parallel_iterations=1,  # each step begins where the previous one ended
        )
        return points.stack()


_DESCENTS: collections.OrderedDict[Any, _Descent] = collections.OrderedDict()
_DESCENTS_LOCK = threading.Lock()


def _descent(objective: Objective, kind: DescentOptimizer, values: Mapping[str, float]) -> _Descent:
    """Returns the compiled loop; the most recently used ones are kept."""
    key = objective, kind.name, tuple(values.items())
    with _DESCENTS_LOCK:
        if key not in _DESCENTS:
            _DESCENTS[key] = _Descent(objective, kind, values)
            while len(_DESCENTS) > _KEPT:
                _DESCENTS.popitem(last=False)
        _DESCENTS.move_to_end(key)
        return _DESCENTS[key]
