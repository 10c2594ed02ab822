"""Many runs: what is trained, kept, resumed and shown."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from networks import softmax_regression
from programs import Program
from waiting import PATIENCE, hold_slice, until

from keraslr import ConstantLR, ExponentialLR
from keraslr.comparison import Comparison, compare
from keraslr.jobs import _processes

SCHEDULES = {"high": ConstantLR(0.3, factor=1.0), "falling": ExponentialLR(0.3, gamma=0.5)}
SMALL = {
    "dataset": "digits", "model": softmax_regression, "epochs": 2, "batch_size": 128,
    "clock": "epoch",
}  # fmt: skip


@pytest.fixture(scope="module")
def comparison(tmp_path_factory):
    folder = tmp_path_factory.mktemp("comparison")
    return folder, compare(SCHEDULES, seeds=2, output=folder, **SMALL)


def test_every_schedule_is_trained_with_every_seed(comparison):
    _, result = comparison
    assert [(run.name, run.seed) for run in result.runs] == [
        ("high", 0), ("high", 1), ("falling", 0), ("falling", 1),
    ]  # fmt: skip
    first, second = result.of("high")
    assert first.train_loss != second.train_loss


def test_the_epoch_clock_counts_epochs(comparison):
    _, result = comparison
    steps = int(np.ceil(1437 / 128))
    applied = np.float32(result.of("falling")[0].learning_rate)
    np.testing.assert_array_equal(applied, np.float32([0.3] * steps + [0.15] * steps))


def test_the_table_is_of_the_last_epoch(comparison):
    _, result = comparison
    row = result.rows()[1]
    last = [each.test_accuracy[-1] for each in result.of("falling")]
    assert row.figures["test_accuracy"] == pytest.approx((np.mean(last), np.std(last)))
    assert (row.finished, row.diverged, row.missing) == (2, 0, 0)
    for shown in ("falling", f"{np.mean(last):.3f}", "2 seeds"):
        assert shown in str(result)


def test_bands_reach_from_the_lowest_to_the_highest_seed(comparison):
    _, result = comparison
    series = result.curves()["high"].train_loss
    runs = np.array([each.train_loss for each in result.of("high")])
    np.testing.assert_allclose(series.low, runs.min(0))
    np.testing.assert_allclose(series.high, runs.max(0))
    assert (series.low < series.high).all()


def test_the_picture_has_a_line_a_schedule(comparison):
    figure = comparison[1].plot()
    rate, loss, accuracy = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "learning rate", "training loss", "test accuracy",
    ]  # fmt: skip
    for axes in (rate, loss, accuracy):
        assert len(axes.lines) == 2
        assert len({line.get_color() for line in axes.lines}) == 2
    assert len(loss.collections) == 2  # the bands
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["high", "falling"]


def test_a_second_call_does_only_what_is_missing(comparison):
    folder, _ = comparison
    trained = []
    again = compare(
        SCHEDULES, seeds=3, output=folder,
        on_progress=lambda run, *_: trained.append((run.name, run.seed)), **SMALL,
    )  # fmt: skip
    assert set(trained) == {("high", 2), ("falling", 2)}
    assert [row.finished for row in again.rows()] == [3, 3]


def test_other_settings_are_other_runs(comparison):
    folder, _ = comparison
    trained = []
    compare(
        {"high": ConstantLR(0.2, factor=1.0)}, output=folder,
        on_progress=lambda run, *_: trained.append(run.name), **SMALL,
    )  # fmt: skip
    assert trained


def test_seeds_may_come_one_by_one():
    result = compare(SCHEDULES, seeds=(seed for seed in (3, 5)), **SMALL)
    assert [run.seed for run in result.runs] == [3, 5, 3, 5]


def test_a_damaged_result_is_made_again(tmp_path):
    one = {"high": SCHEDULES["high"]}
    compare(one, output=tmp_path, **SMALL)
    (path,) = tmp_path.glob("runs/*.json")
    whole = json.loads(path.read_text())
    path.write_text(path.read_text()[:100])
    compare(one, output=tmp_path, **SMALL)
    again = json.loads(path.read_text())
    assert again["train_loss"] == whole["train_loss"]


def test_an_executor_gives_the_same_results(comparison):
    _, here = comparison
    seen = []
    with ThreadPoolExecutor(2) as executor:
        there = compare(
            SCHEDULES, seeds=2, executor=executor,
            on_progress=lambda run, done, overall, total: seen.append((overall, total)), **SMALL,
        )  # fmt: skip
    for a, b in zip(here.results, there.results, strict=True):
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-5)
    assert seen[-1][0] == seen[-1][1] == 4 * 2 * 12


def test_an_interruption_keeps_what_is_done(tmp_path):
    def stop(run, done, overall, total):
        if run.seed == 1 and run.name == "high":
            raise KeyboardInterrupt

    result = compare(SCHEDULES, seeds=2, output=tmp_path, on_progress=stop, **SMALL)
    assert result.interrupted
    assert [row.finished for row in result.rows()] == [1, 0]
    assert [row.missing for row in result.rows()] == [1, 2]
    assert json.loads((tmp_path / "results.json").read_text())["interrupted"] is True
    result.plot()  # of what there is


def test_divergence_is_counted_and_no_crash(tmp_path):
    result = compare({"wild": ConstantLR(1e38, factor=1.0)}, output=tmp_path, **SMALL)
    (row,) = result.rows()
    assert (row.finished, row.diverged, row.missing) == (0, 1, 0)
    assert "1 diverged" in str(result)
    json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"clock": "day"}, ValueError, "clock must be"),
        ({"seeds": 0}, ValueError, "seeds must be"),
        ({"epochs": 0}, ValueError, "epochs must be"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
        ({"batch_size": "all"}, TypeError, "batch_size must be"),
        ({"dataset": "cats"}, ValueError, "cats"),
        ({"optimizer": "Magic"}, ValueError, "optimizer must be"),
    ],
)
def test_bad_arguments_are_named(change, error, said):
    with pytest.raises(error, match=said):
        compare(SCHEDULES, **{**SMALL, **change})


@pytest.mark.parametrize("schedules", [{}, [ConstantLR(0.1)], None])
def test_schedules_must_be_a_mapping(schedules):
    with pytest.raises(TypeError, match="schedules must be a mapping"):
        compare(schedules, **SMALL)


def test_an_unwritable_folder_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        compare(SCHEDULES, output=tmp_path / "file" / "below", **SMALL)


def test_it_stops_in_the_middle_of_a_run_and_goes_on_later(comparison, tmp_path):
    whole = comparison[1]
    under_way = []

    def stop():
        return ("high", 1) in under_way

    begun = compare(
        SCHEDULES, seeds=2, output=tmp_path, should_stop=stop,
        on_progress=lambda run, *_: under_way.append((run.name, run.seed)), **SMALL,
    )  # fmt: skip
    assert begun.interrupted
    assert [result and result.status for result in begun.results] == [
        "finished", "stopped", None, None,
    ]  # fmt: skip
    assert 0 < len(begun.results[1].loss) < 2 * 12
    assert json.loads((tmp_path / "results.json").read_text())["interrupted"] is True
    trained = []
    ended = compare(
        SCHEDULES, seeds=2, output=tmp_path, should_stop=lambda: False,
        on_progress=lambda run, *_: trained.append((run.name, run.seed)), **SMALL,
    )  # fmt: skip
    assert not ended.interrupted
    assert set(trained) == {("high", 1), ("falling", 0), ("falling", 1)}
    for a, b in zip(whole.results, ended.results, strict=True):
        np.testing.assert_allclose(a.loss, b.loss, rtol=1e-5)


def test_stopped_before_the_first_run_nothing_is_trained():
    result = compare(SCHEDULES, should_stop=lambda: True, **SMALL)
    assert result.interrupted
    assert result.results == (None, None)


def test_a_stop_that_comes_after_the_last_run_is_none(comparison):
    result = compare(
        SCHEDULES, seeds=2, earlier=comparison[1], should_stop=lambda: True, **SMALL
    )  # fmt: skip
    assert not result.interrupted
    assert [row.finished for row in result.rows()] == [2, 2]


def test_each_result_is_told_as_it_comes():
    seen = []
    last = compare(SCHEDULES, on_result=seen.append, **SMALL)
    assert [[bool(result) for result in each.results] for each in seen] == [
        [True, False], [True, True],
    ]  # fmt: skip
    assert not any(each.interrupted for each in seen)
    assert seen[-1].results == last.results
    assert all(result.model is None for result in last.results)


def test_earlier_runs_are_taken_over_and_written(comparison, tmp_path):
    trained, told = [], []
    again = compare(
        SCHEDULES, seeds=3, earlier=comparison[1], output=tmp_path, on_result=told.append,
        on_progress=lambda run, *_: trained.append((run.name, run.seed)), **SMALL,
    )  # fmt: skip
    assert set(trained) == {("high", 2), ("falling", 2)}
    assert len(told) == 2
    assert again.of("high")[:2] == comparison[1].of("high")
    assert len(list(tmp_path.glob("runs/*.json"))) == 6


def test_earlier_runs_of_other_settings_are_not_taken_over(comparison):
    again = compare(
        {"high": SCHEDULES["high"]}, earlier=comparison[1], should_stop=lambda: True,
        **{**SMALL, "epochs": 3},
    )  # fmt: skip
    assert again.results == (None,)


def test_earlier_must_be_a_comparison():
    with pytest.raises(TypeError, match="earlier must be a Comparison"):
        compare(SCHEDULES, earlier={}, **SMALL)


def test_with_an_executor_a_stop_cancels_what_waits(tmp_path, monkeypatch):
    told, second = [], hold_slice(monkeypatch, 0, run=1)
    with ThreadPoolExecutor(1) as executor:
        stopped = compare(
            SCHEDULES, seeds=2, output=tmp_path, executor=executor, on_result=told.append,
            should_stop=lambda: bool(told), **SMALL,
        )  # fmt: skip
        assert stopped.interrupted
        assert stopped.results[0].status == "finished"
        assert stopped.results[1:] == (None, None, None)
        assert len(list(tmp_path.glob("runs/*.json"))) == 1
        second.opened.set()
    # The one that was under way has been written by now; the others never began.
    assert len(list(tmp_path.glob("runs/*.json"))) == 2


# In processes of their own.


def figures(comparison):
    return [
        (each.loss, each.accuracy, each.learning_rate, each.test_loss, each.test_accuracy)
        for each in comparison.results
    ]


def held(seed):
    """The network; that of another seed than the first one only once a file is there."""
    until(lambda: seed == 0 or Path(os.environ["KERASLR_TEST_FILE"]).exists())
    return softmax_regression(seed)


@pytest.mark.slow
def test_processes_give_the_results_of_one_after_another(comparison, tmp_path, monkeypatch):
    """To the bit, with as many threads; and what was stopped goes on where it was."""
    ended, seen, file = [], [], tmp_path / "go on"
    monkeypatch.setenv("KERASLR_TEST_FILE", str(file))
    settings = {
        **SMALL, "model": held, "seeds": 2, "output": tmp_path, "jobs": 2, "threads": 1,
    }  # fmt: skip
    begun = compare(
        SCHEDULES, on_result=ended.append, should_stop=lambda: bool(ended), **settings
    )  # fmt: skip
    assert begun.interrupted
    assert 1 <= sum(result is not None for result in begun.results) <= 2
    file.touch()
    both = compare(
        SCHEDULES, on_progress=lambda run, done, *totals: seen.append(totals),
        **{**settings, "jobs": 1},
    )  # fmt: skip
    assert figures(both) == figures(comparison[1])
    assert seen[-1][0] == seen[-1][1]  # all that there was to do
    assert len(list(tmp_path.glob("runs/*.json"))) == 4
    for result in both.results:
        assert result.model is None


@pytest.mark.slow
def test_the_steps_of_a_process_are_told_as_it_trains_and_ctrl_c_ends_it():
    """In a run that would take an hour."""
    seen = []

    def tell(run, done, overall, total):
        seen.append(done)
        if len(seen) == 2:
            raise KeyboardInterrupt

    long = {**SMALL, "epochs": 1_000_000}
    result = compare({"it": 0.01}, jobs=1, threads=1, on_progress=tell, **long)
    assert result.interrupted
    assert result.results == (None,)
    assert 0 < seen[0] < seen[1] < 1_000_000 * 12


def test_a_process_that_is_killed_is_told_of():
    with pytest.raises(RuntimeError, match=r"a process ended before its run did.*__main__.*memory"):
        compare({"it": 0.01}, jobs=1, **{**SMALL, "model": killed})


def killed(seed):
    os.kill(os.getpid(), signal.SIGKILL)


def test_processes_have_the_environment_of_the_moment(monkeypatch):
    """Also those of a later pool, which are forked from what was there for the first."""
    for value in ("one", "another"):
        monkeypatch.setenv("KERASLR_TEST", value)
        with _processes.process_pool(1) as pool:
            assert pool.submit(os.getenv, "KERASLR_TEST").result() == value


POOL = """
import os, signal
from keraslr.jobs._processes import prepare_process, process_pool

def job():
    prepare_process(1)
    return os.getpid()

if __name__ == "__main__":
    with process_pool(1) as pool:
        print(pool.submit(job).result(), flush=True)
        signal.pause()
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="nothing is killed like this here")
def test_processes_end_when_the_one_that_made_them_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(POOL)
    program = Program(script)
    child = int(program.stdout.readline())
    late = threading.Timer(PATIENCE, os.kill, (child, signal.SIGKILL))
    late.start()
    program.kill()
    # What they print to stays open until the last of them is gone.
    program.finished(-signal.SIGKILL)
    assert late.is_alive()
    late.cancel()


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"jobs": 0}, ValueError, "jobs must be an integer >= 1"),
        ({"jobs": "all"}, ValueError, 'jobs must be None, "auto" or an integer >= 1'),
        ({"jobs": 1.5}, TypeError, "jobs must be an integer >= 1"),
        ({"jobs": 2, "threads": 0}, ValueError, "threads must be an integer >= 1"),
        ({"threads": 1}, ValueError, "threads must be left out without jobs"),
        ({"jobs": 1, "model": lambda seed: None}, TypeError, "model must be a function of a file"),
        ({"jobs": 1, "executor": ThreadPoolExecutor(1)}, ValueError, "jobs must be left out with"),
    ],
)
def test_what_cannot_be_sent_to_processes_is_refused(change, error, said):
    with pytest.raises(error, match=said):
        compare(SCHEDULES, **{**SMALL, **change})


def test_the_cores_are_divided_among_the_processes(monkeypatch):
    monkeypatch.setattr(_processes, "cores", lambda: 8)
    assert [_processes.threads_of_each(jobs) for jobs in (1, 2, 3, 8, 16)] == [8, 4, 2, 1, 1]


def test_the_chart_shows_the_plan_and_then_what_came_of_it(comparison):
    from keraslr.plotting import ComparisonChart
    from keraslr.summary import summarize

    chart = ComparisonChart()
    planned = [
        (name, summarize(schedule.per_epoch(12), 24), 12) for name, schedule in SCHEDULES.items()
    ]
    curves = comparison[1].curves()
    chart.draw({}, planned, note="later")
    assert [len(axes.lines) for axes in (chart.rate, chart.loss, chart.accuracy)] == [2, 0, 0]
    assert [text.get_text() for text in chart.loss.texts] == ["later"]
    falling = chart.rate.lines[1].get_xydata()
    chart.draw({"falling": curves["falling"]}, planned, note="later")
    assert [len(axes.lines) for axes in (chart.rate, chart.loss, chart.accuracy)] == [2, 1, 1]
    assert [text.get_text() for text in chart.loss.texts] == [""]
    # The colour is that of the plan, and the rates applied are those planned.
    assert chart.loss.lines[0].get_color() == chart.rate.lines[1].get_color()
    np.testing.assert_allclose(chart.rate.lines[1].get_xydata(), falling)
    np.testing.assert_array_equal(
        chart.loss.lines[0].get_ydata(), curves["falling"].train_loss.mean
    )
    (low, high), lowest = chart.loss.get_ylim(), curves["falling"].train_loss.low.min()
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
        for series in (curve.train_loss, curve.test_accuracy):
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
        ((both, planned), {}),
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
