"""One engine for many jobs: their files, their order, their outcomes, their way elsewhere."""

from __future__ import annotations

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from keraslr.jobs._dispatch import Meter, dispatch
from keraslr.jobs._job import Job, Outcome, Parcel, packed, slug
from keraslr.jobs._store import Store


def square(number):
    if number == 13:
        raise ValueError("thirteen")
    return number**2


def counted(number, report, should_stop):
    for done in range(1, number + 1):
        report(done)
        if should_stop():
            return done
    return number


def jobs_of(*numbers, function=square, **more):
    return [
        Job("numbers", f"number {each}", 0, each, function, {"number": each}, **more)
        for each in numbers
    ]


def encoded(job, outcome):
    return json.dumps([outcome.result, outcome.seconds])


def decoded(text):
    return Outcome(*json.loads(text))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_each_job_ends_with_its_outcome(elsewhere):
    with ThreadPoolExecutor(2) as pool:
        where = {"executor": pool} if elsewhere else {}
        ended = {job.cost: outcome for job, outcome in dispatch(jobs_of(2, 13, 5), **where)}
    assert (ended[2].result, ended[5].result) == (4, 25)
    assert repr(ended[13]) == "ValueError('thirteen')"


@pytest.mark.slow
def test_processes_do_a_closure_and_tell_how_far_it_is():
    factor = 3

    def multiplied(number, report, should_stop):
        report(number / 2)
        return factor * number

    seen = []
    jobs = jobs_of(4, 2, function=multiplied, reports_progress=True)
    ended = dispatch(jobs, processes=2, threads=1, meter=lambda job, done: seen.append(done))
    assert {job.cost: outcome.result for job, outcome in ended} == {4: 12, 2: 6}
    assert set(seen) <= {1.0, 2.0}


def test_the_longest_begins_and_equals_keep_their_order():
    jobs = [*jobs_of(1, 3, 2), *jobs_of(2)]
    order = [job for job, _ in dispatch(jobs)]
    assert [job.cost for job in order] == [3, 2, 2, 1]
    assert order[1] is jobs[2]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_ended_well_is_kept_and_read_again(elsewhere, tmp_path):
    store, jobs = Store.below(tmp_path, encoded, decoded), jobs_of(2, 13)
    with ThreadPoolExecutor(1) as pool:
        where = {"executor": pool} if elsewhere else {}
        ended = list(dispatch(jobs, store=store, **where))
    assert store.read(jobs[0]) == ended[1][1]
    assert store.read(jobs[1]) is None
    assert [each.name for each in (tmp_path / "runs").iterdir()] == [jobs[0].file]


@pytest.mark.parametrize("damaged", ["", "{", "[1]", "3"])
def test_a_damaged_file_is_no_result(damaged, tmp_path):
    store, (job,) = Store.below(tmp_path, encoded, decoded), jobs_of(2)
    store.write(job, Outcome(4, 0.5))
    assert store.read(job) == Outcome(4, 0.5)
    (store.folder / job.file).write_text(damaged)
    assert store.read(job) is None


def test_progress_is_that_of_all_jobs():
    told = []
    jobs = jobs_of(3, 2, function=counted, reports_progress=True)
    meter = Meter(jobs, lambda job, done, overall, total: told.append((done, overall, total)))
    for job, _ in dispatch(jobs, meter=meter):
        meter.ended(job)
    assert told == [(1, 1, 5), (2, 2, 5), (3, 3, 5), (3, 3, 5), (1, 4, 5), (2, 5, 5), (2, 5, 5)]


def test_a_stop_ends_the_job_under_way_and_begins_no_other():
    asked = iter([False, False, True, True, True])
    jobs = jobs_of(9, 8, function=counted, reports_progress=True)
    ended = list(dispatch(jobs, should_stop=lambda: next(asked)))
    assert [(job.cost, outcome.result) for job, outcome in ended] == [(9, 2)]


def test_a_parcel_is_packed_when_it_leaves():
    content = {"number": 7, "function": lambda number: number + 1}
    parcel = Parcel(content, by_name=True)
    assert parcel.open() is content
    come = pickle.loads(pickle.dumps(parcel)).open()
    assert (come["number"], come["function"](1)) == (7, 2)


def test_a_functions_name_is_enough_where_it_can_be_imported():
    assert len(packed(json.dumps, by_name=True)) < 100
    assert pickle.loads(packed(json.dumps, by_name=False)) is json.dumps


@pytest.mark.parametrize("by_name", [True, False])
def test_what_cannot_be_packed_is_said(by_name):
    with pytest.raises(TypeError, match=r"cannot be sent to another process: .*lock"):
        packed({"lock": threading.Lock()}, by_name=by_name)


def test_a_given_digest_stands_in_the_files_name():
    (job,) = jobs_of(2, digest="0123abc")
    assert job.file == "numbers-number-2-seed0-0123abc.json"


@pytest.mark.parametrize(
    ("text", "named"),
    [("AdaGrad, 0.1", "adagrad-0.1"), (" warm-up + cosine ", "warm-up-cosine"), ("율", "")],
)
def test_a_slug_is_a_part_of_a_files_name(text, named):
    assert slug(text) == named
