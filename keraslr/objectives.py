"""Functions of one or two variables that `keraslr.descent` minimizes.

To add one, write its formula on `keras.ops` and give it an entry in the table.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import tensorflow as tf
from keras import ops

from keraslr._environment import require_tensorflow
from keraslr._parameters import Number

__all__ = ["OBJECTIVES", "Objective", "find"]

_Entry = TypeVar("_Entry")
_SIZE = Number("", int, at_least=2, at_most=10_000)


@dataclasses.dataclass(frozen=True)
class Objective:
    """A function of d variables, with the data that its picture needs.

    `objective(point)` is the function on tensors: of shape (..., d), to shape (...), in their own
    dtype. `values` and `gradient` are the same for NumPy, in float64.

    Attributes:
        name: Unique name.
        title: The name as a heading.
        formula: As text.
        function: Of d tensors of one shape, elementwise, on `keras.ops`.
        dimension: Number of variables d.
        view: Lowest and highest value of each variable in a picture.
        start: A point from which the way down is worth seeing.
        minima: The local minima in view; none for a saddle.
        source: Where it comes from.
    """

    name: str
    title: str
    formula: str
    function: Callable[..., Any]
    dimension: int
    view: tuple[tuple[float, float], ...]
    start: tuple[float, ...]
    minima: tuple[tuple[float, ...], ...]
    source: str

    def __call__(self, point: Any) -> Any:
        """Returns the value at each point of a tensor (..., d), as a tensor (...)."""
        return self.function(*(point[..., i] for i in range(self.dimension)))

    def values(self, grid: Any) -> np.ndarray:
        """Returns the value at each point.

        Args:
            grid: Array-like of shape (..., d).

        Returns:
            float64 array of shape (...).

        Raises:
            ValueError: The last axis does not have length d.

        Example:
            >>> OBJECTIVES["bowl"].values([[0, 0], [-5, -2]])
            array([ 0., 33.])
        """
        return ops.convert_to_numpy(self(self._points("grid", grid)))

    def gradient(self, point: Any) -> np.ndarray:
        """Returns the gradient at each point, by automatic differentiation.

        Args:
            point: Array-like of shape (..., d).

        Returns:
            float64 array of shape (..., d).

        Raises:
            ValueError: The last axis does not have length d.
            RuntimeError: Keras runs on another backend than TensorFlow.

        Example:
            >>> OBJECTIVES["bowl"].gradient([-5, -2])
            array([-10.,  -8.])
        """
        require_tensorflow("a gradient")
        points = self._points("point", point)
        with tf.GradientTape() as tape:
            tape.watch(points)
            # Points do not contribute to each other's values: the sum's gradient is that of each.
            total = ops.sum(self(points))
        return ops.convert_to_numpy(tape.gradient(total, points))

    def grid(self, size: int = 200) -> np.ndarray:
        """Returns points that cover the view evenly, for contours or a curve.

        Args:
            size: Points along each variable, an integer >= 2.

        Returns:
            float64 array of shape (size, 1), or (size, size, 2) with the second variable along the
            first axis, as Matplotlib's `contour` takes it.
        """
        size = _SIZE.validated("size", size)
        axes = [np.linspace(low, high, size) for low, high in self.view]
        return np.stack(np.meshgrid(*axes), axis=-1)

    def _points(self, argument: str, value: Any) -> Any:
        points = np.asarray(value, np.float64)
        if points.ndim == 0 or points.shape[-1] != self.dimension:
            raise ValueError(
                f"{argument} must have a last axis of length {self.dimension} for "
                f'"{self.name}". Received: {argument} of shape {points.shape}'
            )
        return ops.convert_to_tensor(points, "float64")


# Squares are written as such: their gradients are then exact, which a power's need not be.


def _parabola(x: Any) -> Any:
    return ops.square(x)


def _wave(x: Any) -> Any:
    return x * ops.cos(0.15 * math.pi * x)


def _bowl(x: Any, y: Any) -> Any:
    return ops.square(x) + 2.0 * ops.square(y)


def _flat_bowl(x: Any, y: Any) -> Any:
    return 0.1 * ops.square(x) + 2.0 * ops.square(y)


def _valley(x: Any, y: Any) -> Any:
    return ops.square(x - y) + 0.01 * ops.square(x + y)


def _saddle(x: Any, y: Any) -> Any:
    return ops.square(x) - ops.square(y)


def _rosenbrock(x: Any, y: Any) -> Any:
    return ops.square(1.0 - x) + 100.0 * ops.square(y - ops.square(x))


def _beale(x: Any, y: Any) -> Any:
    return (
        ops.square(1.5 - x + x * y)
        + ops.square(2.25 - x + x * ops.square(y))
        + ops.square(2.625 - x + x * y * ops.square(y))
    )


def _himmelblau(x: Any, y: Any) -> Any:
    return ops.square(ops.square(x) + y - 11.0) + ops.square(x + ops.square(y) - 7.0)


_DIVE = "Zhang, Lipton, Li and Smola, Dive into Deep Learning (2023), section"

_OBJECTIVES = (
    Objective(
        "parabola", "Parabola", "x^2", _parabola, 1,
        view=((-11.0, 11.0),), start=(10.0,), minima=((0.0,),), source=f"{_DIVE} 12.3",
    ),
    Objective(
        "wave", "Wave with a poor and a good minimum", "x cos(0.15 pi x)", _wave, 1,
        view=((-11.0, 11.0),), start=(10.0,),
        # Where tan(u) = 1 / u with u = 0.15 pi x.
        minima=((-1.8256845786723392,), (7.269388146311475,)), source=f"{_DIVE} 12.3",
    ),
    Objective(
        "bowl", "Bowl", "x1^2 + 2 x2^2", _bowl, 2,
        view=((-5.5, 1.0), (-3.0, 1.0)), start=(-5.0, -2.0), minima=((0.0, 0.0),),
        source=f"{_DIVE} 12.3 and 12.4",
    ),
    Objective(
        "flat bowl", "Bowl that is flat along x1", "0.1 x1^2 + 2 x2^2", _flat_bowl, 2,
        view=((-5.5, 1.0), (-3.0, 2.0)), start=(-5.0, -2.0), minima=((0.0, 0.0),),
        source=f"{_DIVE} 12.6 to 12.8",
    ),
    Objective(
        "valley", "Long narrow valley", "(x1 - x2)^2 + 0.01 (x1 + x2)^2", _valley, 2,
        view=((-5.0, 2.0), (-5.0, 2.0)), start=(-4.5, -3.5), minima=((0.0, 0.0),),
        # Along an axis, a rate for each coordinate would undo it.
        source="a quadratic of condition number 100, along the diagonal",
    ),
    Objective(
        "saddle", "Saddle", "x1^2 - x2^2", _saddle, 2,
        # A little off the ridge: on it no method without noise would leave it.
        view=((-2.0, 2.0), (-2.0, 2.0)), start=(-1.5, 0.01), minima=(),
        source=f"{_DIVE} 12.1",
    ),
    Objective(
        "rosenbrock", "Rosenbrock's banana", "(1 - x1)^2 + 100 (x2 - x1^2)^2", _rosenbrock, 2,
        view=((-2.0, 2.0), (-1.0, 3.0)), start=(-1.2, 1.0), minima=((1.0, 1.0),),
        source="Rosenbrock, An Automatic Method for Finding the Greatest or Least Value of a "
        "Function (1960)",
    ),
    Objective(
        "beale", "Beale's function",
        "(1.5 - x1 + x1 x2)^2 + (2.25 - x1 + x1 x2^2)^2 + (2.625 - x1 + x1 x2^3)^2", _beale, 2,
        view=((-4.5, 4.5), (-4.5, 4.5)), start=(1.0, 1.5), minima=((3.0, 0.5),),
        source="Beale, On an Iterative Method for Finding a Local Minimum of a Function of More "
        "than One Variable (1958)",
    ),
    Objective(
        "himmelblau", "Himmelblau's function", "(x1^2 + x2 - 11)^2 + (x1 + x2^2 - 7)^2",
        _himmelblau, 2,
        view=((-6.0, 6.0), (-6.0, 6.0)), start=(0.0, 0.0),
        minima=(
            (3.0, 2.0),
            (-2.805118086952745, 3.131312518250573),
            (-3.779310253377747, -3.2831859912861694),
            (3.5844283403304917, -1.8481265269644036),
        ),
        source="Himmelblau, Applied Nonlinear Programming (1972)",
    ),
)  # fmt: skip

OBJECTIVES: Mapping[str, Objective] = MappingProxyType({each.name: each for each in _OBJECTIVES})


def find(name: str) -> Objective:
    """Returns the objective of that name, ignoring capitals, spaces and hyphens.

    Raises:
        TypeError: `name` is not a string.
        ValueError: There is none; the error lists the names and the nearest one.
    """
    return entry(OBJECTIVES, "objective", name)


def entry(table: Mapping[str, _Entry], argument: str, name: str) -> _Entry:
    """Returns the entry of a table by its readable name, ignoring capitals, spaces and hyphens.

    Raises:
        TypeError: `name` is not a string; the error names the argument that it was given as.
        ValueError: There is no such entry; the error lists the names and the nearest one.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"{argument} must be a string. Received: {argument}={name!r} ({type(name).__name__})"
        )
    known = {_plain(each): each for each in table}
    if _plain(name) in known:
        return table[known[_plain(name)]]
    near = difflib.get_close_matches(_plain(name), known, n=1)
    hint = f' Did you mean "{known[near[0]]}"?' if near else ""
    names = ", ".join(f'"{each}"' for each in table)
    raise ValueError(f"{argument} must be one of {names}. Received: {argument}={name!r}.{hint}")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
