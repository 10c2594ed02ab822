"""Many runs: what is trained, kept, resumed and shown."""

from __future__ import annotations

import functools
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from comparisons import SCHEDULES, SMALL
from networks import softmax_regression
from waiting import hold_slice

from keraslr import ConstantLR
from keraslr.comparison import compare


class Builder:
    def __call__(self, seed):
        return softmax_regression(seed)


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (softmax_regression, "softmax_regression"),
        (functools.partial(softmax_regression), "softmax_regression"),
        (Builder(), "Builder"),
        (lambda seed: softmax_regression(seed), "<lambda>"),
    ],
    ids=["function", "partial", "object", "lambda"],
)
def test_the_title_names_the_model_whatever_builds_it(tmp_path, model, name):
    result = compare(
        {"it": 0.1}, output=tmp_path, should_stop=lambda: True, **{**SMALL, "model": model}
    )
    assert result.title.startswith(f"{name} on ")


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
    assert row.figures["val_accuracy"] == pytest.approx((np.mean(last), np.std(last)))
    assert (row.finished, row.diverged, row.missing) == (2, 0, 0)
    for shown in ("falling", f"{np.mean(last):.3f}", "2 seeds"):
        assert shown in str(result)


def test_bands_reach_from_the_lowest_to_the_highest_seed(comparison):
    _, result = comparison
    series = result.curves()["high"].figures["loss"]
    runs = np.array([each.train_loss for each in result.of("high")])
    np.testing.assert_allclose(series.low, runs.min(0))
    np.testing.assert_allclose(series.high, runs.max(0))
    assert (series.low < series.high).all()


def test_the_picture_has_a_line_a_schedule(comparison):
    figure = comparison[1].plot()
    rate, loss, accuracy = figure.axes
    assert [axes.get_ylabel() for axes in figure.axes] == [
        "learning rate", "training loss", "validation accuracy",
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
    assert again["epochs"] == whole["epochs"]


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
