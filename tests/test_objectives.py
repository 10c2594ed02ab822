"""The objectives: are their minima minima, their gradients gradients, and do they fit a picture?"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from keraslr import objectives
from keraslr.objectives import OBJECTIVES

each = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))

# Values that follow from the formulas by hand.
KNOWN = [
    ("parabola", [-3.0], 9.0),
    ("wave", [10.0], 0.0),
    ("wave", [-20.0], 20.0),
    ("bowl", [-5.0, -2.0], 33.0),
    ("flat bowl", [-5.0, -2.0], 10.5),
    ("valley", [2.0, 1.0], 1.09),
    ("saddle", [3.0, 2.0], 5.0),
    ("rosenbrock", [-1.0, 2.0], 104.0),
    ("rosenbrock", [2.0, 1.0], 901.0),
    ("beale", [0.0, 7.0], 14.203125),
    ("beale", [1.0, 2.0], 2.5**2 + 5.25**2 + 9.625**2),
    ("himmelblau", [0.0, 0.0], 170.0),
    ("himmelblau", [1.0, 2.0], 68.0),
]


def points_in_view(objective, count=50, seed=0):
    low, high = np.array(objective.view).T
    return np.random.default_rng(seed).uniform(low, high, (count, objective.dimension))


def test_those_of_the_documents_and_the_classics_are_there():
    assert set(OBJECTIVES) == {name for name, _, _ in KNOWN}
    assert all(name == objective.name for name, objective in OBJECTIVES.items())
    assert len({objective.title for objective in OBJECTIVES.values()}) == len(OBJECTIVES)


@pytest.mark.parametrize(("name", "point", "value"), KNOWN)
def test_values_known_by_hand(name, point, value):
    assert OBJECTIVES[name].values(point) == pytest.approx(value, abs=1e-12)


@each
def test_gradient_is_that_of_finite_differences(objective):
    points, step = points_in_view(objective), 1e-5
    differences = [
        (objective.values(points + step * axis) - objective.values(points - step * axis)) / 2 / step
        for axis in np.eye(objective.dimension)
    ]
    expected = np.stack(differences, axis=-1)
    gradient = objective.gradient(points)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())


@each
def test_minima_are_minima(objective):
    assert bool(objective.minima) == (objective.name != "saddle")
    for minimum in objective.minima:
        at = np.array(minimum)
        np.testing.assert_allclose(objective.gradient(at), 0.0, atol=1e-12)
        angles = np.linspace(0, 2 * np.pi, 32)
        around = np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, : objective.dimension]
        moved = np.linalg.norm(around, axis=1) > 0.1
        assert (objective.values(at + 1e-3 * around) > objective.values(at))[moved].all()


@each
def test_no_minimum_in_view_is_missing(objective):
    low, high = np.array(objective.view).T
    for start in points_in_view(objective, count=4, seed=1):
        with np.errstate(all="ignore"):  # the way down a saddle has no end
            end = optimize.minimize(
                objective.values, start, jac=objective.gradient, options={"maxiter": 50}
            ).x
        if ((low < end) & (end < high)).all() and np.abs(objective.gradient(end)).max() < 1e-4:
            assert min(np.linalg.norm(end - minimum) for minimum in objective.minima) < 1e-3


@each
def test_view_holds_start_and_minima(objective):
    low, high = np.array(objective.view).T
    assert len(low) == len(objective.start) == objective.dimension
    for point in (objective.start, *objective.minima):
        assert (low < point).all()
        assert (high > point).all()


@each
def test_start_is_no_place_to_stay(objective):
    assert np.abs(objective.gradient(objective.start)).max() > 1e-3
    values = [objective.values(minimum) for minimum in objective.minima]
    assert all(objective.values(objective.start) > value + 0.01 for value in values)


@each
def test_a_grid_is_computed_at_once(objective):
    grid = objective.grid(7)
    assert grid.shape == ((7, 7, 2) if objective.dimension == 2 else (7, 1))
    values = objective.values(grid)
    assert values.dtype == np.float64
    flat = [objective.values(point) for point in grid.reshape(-1, objective.dimension)]
    np.testing.assert_array_equal(values.ravel(), flat)
    gradients = objective.gradient(grid)
    assert gradients.shape == grid.shape
    np.testing.assert_array_equal(
        gradients.reshape(-1, objective.dimension)[5],
        objective.gradient(grid.reshape(-1, objective.dimension)[5]),
    )


def test_a_grid_is_laid_out_as_contours_take_it():
    x, y = np.moveaxis(OBJECTIVES["bowl"].grid(5), -1, 0)
    np.testing.assert_array_equal(x[0], np.linspace(-5.5, 1.0, 5))
    np.testing.assert_array_equal(y[:, 0], np.linspace(-3.0, 1.0, 5))


@each
def test_on_tensors_it_keeps_their_precision(objective):
    points = points_in_view(objective)
    for dtype, tolerance in (("float32", 1e-4), ("float64", 1e-15)):
        values = objective(tf.constant(points, dtype))
        assert values.dtype == dtype
        exact = objective.values(points)
        np.testing.assert_allclose(
            values, exact, rtol=tolerance, atol=tolerance * np.abs(exact).max()
        )


def test_an_objective_of_ones_own():
    own = dataclasses.replace(
        OBJECTIVES["bowl"], name="own", function=lambda x, y: x * x + 3 * y, minima=()
    )
    assert own.values([2.0, 1.0]) == 7.0
    np.testing.assert_array_equal(own.gradient([2.0, 1.0]), [4.0, 3.0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        own.name = "other"


def test_find_is_lenient_about_spelling():
    assert objectives.find("Flat-Bowl") is OBJECTIVES["flat bowl"]


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: objectives.find("beal"), ValueError, 'objective must be one of "parabola".*beale'),
        (lambda: objectives.find(3), TypeError, r"objective must be a string.*3 \(int\)"),
        (
            lambda: OBJECTIVES["bowl"].values(1.0), ValueError,
            r'grid must have a last axis of length 2 for "bowl".*shape \(\)',
        ),
        (
            lambda: OBJECTIVES["bowl"].gradient([1.0, 2.0, 3.0]), ValueError,
            r"point must have a last axis of length 2.*shape \(3,\)",
        ),
        (lambda: OBJECTIVES["bowl"].grid(1), ValueError, "size must be an integer >= 2.*size=1"),
    ],
)  # fmt: skip
def test_refused(call, error, said):
    with pytest.raises(error, match=said):
        call()
