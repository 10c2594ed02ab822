"""What a comparison draws and prints."""

from __future__ import annotations

import numpy as np
from comparisons import SCHEDULES, SMALL

from keraslr.comparison import Comparison, compare


def test_the_chart_shows_the_plan_and_then_what_came_of_it(comparison):
    from keraslr.plotting import ComparisonChart
    from keraslr.summary import summarize

    chart = ComparisonChart()
    planned = [
        (name, summarize(schedule.per_epoch(12), 24), 12) for name, schedule in SCHEDULES.items()
    ]
    curves = comparison[1].curves()
    chart.draw({}, planned, note="later")
    assert [len(axes.lines) for axes in (chart.rate, chart.loss, chart.metric)] == [2, 0, 0]
    assert [text.get_text() for text in chart.loss.texts] == ["later"]
    falling = chart.rate.lines[1].get_xydata()
    chart.draw({"falling": curves["falling"]}, planned, note="later")
    assert [len(axes.lines) for axes in (chart.rate, chart.loss, chart.metric)] == [2, 1, 1]
    assert [text.get_text() for text in chart.loss.texts] == [""]
    # The colour is that of the plan, and the rates applied are those planned.
    assert chart.loss.lines[0].get_color() == chart.rate.lines[1].get_color()
    np.testing.assert_allclose(chart.rate.lines[1].get_xydata(), falling)
    np.testing.assert_array_equal(
        chart.loss.lines[0].get_ydata(), curves["falling"].figures["loss"].mean
    )
    (low, high), lowest = chart.loss.get_ylim(), curves["falling"].figures["loss"].low.min()
    assert low == 0
    chart.draw({"falling": curves["falling"]}, planned, log=True)
    assert chart.loss.get_yscale() == "log"
    assert 0 < chart.loss.get_ylim()[0] < lowest
    assert chart.loss.get_ylim()[1] == high
    chart.draw({}, planned, log=True)  # nothing to take the logarithm of
    assert chart.loss.get_yscale() == "linear"


def test_a_chart_that_is_drawn_again_is_the_same_as_a_new_one(comparison):
    from keraslr.plotting import ComparisonChart
    from keraslr.summary import summarize

    planned = [
        (name, summarize(schedule.per_epoch(12), 24), 12) for name, schedule in SCHEDULES.items()
    ]
    both, other = comparison[1].curves(), comparison[1].curves()
    for curve in other.values():  # the same limits, and nothing in the same place
        for series in curve.figures.values():
            middle = (series.low.min() + series.high.max()) / 2
            for values in (series.mean, series.low, series.high):
                values[:] = 2 * middle - values
            values = series.low.copy()
            series.low[:], series.high[:] = series.high, values
    shown = [
        (({}, planned), {"note": "later"}),
        ((both, planned), {}),
        ((other, planned), {}),
        ((other, planned[::-1]), {}),
        ((other, planned), {"log": True}),
        ((other, planned), {"log": True, "figure": "val_loss"}),
        ((other, planned), {"figure": ""}),
        ((both, planned), {"figure": "val_accuracy"}),
        (({}, planned), {"note": "now"}),
        (({}, planned), {"note": "later"}),
    ]
    kept, pictures = ComparisonChart(), []
    for positional, named in shown:
        new = ComparisonChart()
        for chart in (kept, new):
            chart.draw(*positional, **named)
        pictures.append(kept.png())
        assert pictures[-1] == new.png()
        assert kept.png() == pictures[-1]
    assert len(set(pictures)) == len(shown) - 2  # two come twice


def test_a_comparison_of_nothing_done_can_be_drawn():
    result = compare(SCHEDULES, should_stop=lambda: True, **SMALL)
    assert isinstance(result, Comparison)
    assert [len(axes.lines) for axes in result.plot().axes] == [0, 0, 0]


def test_a_table_is_text_in_a_notebook_too(monkeypatch):
    """There Rich takes every console for the page."""
    import rich.console
    from rich.table import Table

    from keraslr._tables import text

    table = Table("schedule")
    table.add_row("cosine")
    outside = text(table)
    assert "cosine" in outside
    monkeypatch.setattr(rich.console, "_is_jupyter", lambda: True)
    assert text(table) == outside
