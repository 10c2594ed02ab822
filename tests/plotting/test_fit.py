"""The chart of a fit."""

from __future__ import annotations

import numpy as np
import pytest

from keraslr.plotting import FitChart, FitCurves, FitFigure


def drawn(*values, **others):
    chart = FitChart(len(values))
    figures = [
        FitFigure(f"figure {n}", times=np.arange(float(len(each))), values=np.array(each, float))
        for n, each in enumerate(values)
    ]
    chart.draw(FitCurves("epoch", 0.0, 4.0, figures, **others))
    return chart


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ([10.0, 1.0, 0.1], "log"),
        ([10.0, 1.0, 0.3], "linear"),
        ([10.0, 1.0, 0.0], "linear"),
        ([100.0, 1.0, -1.0], "linear"),
        ([np.nan, np.inf], "linear"),
        ([], "linear"),
    ],
)
def test_the_axis_is_logarithmic_for_positive_values_far_apart(values, scale):
    chart = drawn(values)
    [axes] = chart.figures
    assert axes.get_yscale() == scale
    finite = [value for value in values if np.isfinite(value)]
    low, high = axes.get_ylim()
    assert all(low <= value <= high for value in finite)
    assert chart.png().startswith(b"\x89PNG")


def test_outliers_do_not_flatten_the_rest():
    values = [1e6, *np.linspace(2, -1, 200)]
    low, high = drawn(values).figures[0].get_ylim()
    assert low <= -1
    assert 2 <= high < 20


def test_fractions_end_at_one():
    low, high = drawn([0.91, 0.95, 1.0]).figures[0].get_ylim()
    assert 0.8 < low < 0.91
    assert 1.0 <= high < 1.01


@pytest.mark.parametrize("value", [1.0, 0.0, 0.5, 5.0, -3.0])
def test_a_value_that_never_changes_has_an_axis(value):
    low, high = drawn([value, value]).figures[0].get_ylim()
    assert low <= value <= high
    assert low < high


def test_a_redrawn_chart_shows_the_new_curves_alone():
    chart = drawn([1.0, 2.0], [0.1, 0.2], rate_times=np.arange(2.0), rate=np.array([0.1, 0.1]))
    before = chart.png()
    figures = [FitFigure("loss"), FitFigure("mae", note="not finite from step 1 on")]
    chart.draw(FitCurves("step", 0.0, 10.0, figures, note="scaled"))
    assert chart.png() != before
    assert [axes.get_ylabel() for axes in chart.figures] == ["loss", "mae"]
    assert chart.rate.get_xlabel() == "step"
    assert chart.rate.get_title() == "scaled"
    assert [len(axes.get_legend().get_texts()) for axes in (*chart.figures, chart.rate)] == [0] * 3
    assert all(len(line.get_xdata()) == 0 for axes in chart.figures for line in axes.lines)
