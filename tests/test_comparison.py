"""Many runs: what is trained, kept, resumed and shown."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from keraslr import ConstantLR, ExponentialLR
from keraslr.comparison import compare

SCHEDULES = {"high": ConstantLR(0.3, factor=1.0), "falling": ExponentialLR(0.3, gamma=0.5)}
SMALL = {"dataset": "digits", "epochs": 2, "batch_size": 128, "clock": "epoch"}


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
    result = compare(
        {"wild": ConstantLR(1e6, factor=1.0)}, output=tmp_path, **SMALL
    )  # fmt: skip
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
