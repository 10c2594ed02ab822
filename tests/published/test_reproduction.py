"""Is what is missing run, what is done kept, and what was found told as it is?"""

from __future__ import annotations

import json
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from programs import Program

import keraslr
from keraslr import datasets, published
from keraslr.cli import main
from keraslr.published import (
    Findings,
    Job,
    Line,
    LineFigure,
    Part,
    Plan,
    Statement,
    Verdict,
    reproduce,
)
from keraslr.published._parts import read_data

ROOT = Path(__file__).parents[2]


def square(number, log):
    """A job that tells when it is really run."""
    with Path(log).open("a") as file:
        file.write(f"{number}\n")
    if number == 13:
        raise ValueError("thirteen\nis refused")
    return {"square": number**2, "nan": math.nan}


def made_part(log, numbers=(1, 2, 3), title="Squares & <b>roots</b>", images=False):
    def jobs(plan):
        arguments = [{"number": number, "log": str(log)} for number in numbers]
        return [
            Job("squares", f"number {a['number']}", 0, float(a["number"]), square, a)
            for a in arguments
        ]

    def findings(plan, results):
        lines = [
            Line(job.name, "<i>square</i>", "", "", f"{result['square']}", Verdict.NOT_COMPARED)
            for job, result in results
        ]
        x = [job.arguments["number"] for job, _ in results]
        picture = LineFigure('A "picture" <script>', "x", "y", {"line": (x, x)})
        claim = Statement("1 < 2 & true", True, "<script>alert(1)</script>")
        return Findings("About <script>", lines, [claim], [picture])

    return Part("squares", title, jobs, findings, images)


@pytest.fixture
def squares(monkeypatch, tmp_path):
    """The only part is a made one; the fixture gives what it has really run."""
    log = tmp_path / "log"

    def use(**arguments):
        parts = {"squares": made_part(log, **arguments)}
        monkeypatch.setattr("keraslr.published._reproduction.PARTS", parts)
        monkeypatch.setattr("keraslr.published._report.PARTS", parts)

    use()
    use.ran = lambda: log.read_text().split() if log.exists() else []
    return use


def test_all_parts_are_there():
    names = ["descent", "airfoil", "lenet", "polynomial", "large-batch", "curves"]
    assert list(published.PARTS) == names


@pytest.mark.parametrize("quick", [False, True])
def test_no_two_jobs_write_one_file(quick, fashion_mnist_folder):
    jobs = [job for part in published.PARTS.values() for job in part.jobs(Plan(quick=quick))]
    assert len({job.file for job in jobs}) == len(jobs)
    for job in jobs:
        json.dumps(dict(job.arguments), allow_nan=False)
        assert job.cost > 0
        assert job.part in published.PARTS


def test_quick_leaves_out_most_of_the_work(fashion_mnist_folder):
    def cost(plan):
        return sum(job.cost for part in published.PARTS.values() for job in part.jobs(plan))

    assert cost(Plan(quick=True)) < cost(Plan()) / 10


def test_more_seeds_can_be_asked_for(fashion_mnist_folder):
    part = published.PARTS["lenet"]
    seeds = {job.seed for job in part.jobs(Plan(seeds=7))}
    assert seeds == set(range(7))


# Running


def test_what_is_done_is_kept(squares, tmp_path):
    first = reproduce(output=tmp_path)
    assert sorted(squares.ran()) == ["1", "2", "3"]
    again = reproduce(output=tmp_path)
    assert sorted(squares.ran()) == ["1", "2", "3"]
    assert again.findings == first.findings
    assert (again.done, again.jobs, again.interrupted) == (3, 3, False)


def test_the_longest_job_is_the_first(squares, tmp_path):
    reproduce(output=tmp_path)
    assert squares.ran() == ["3", "2", "1"]


def test_a_damaged_result_is_made_again(squares, tmp_path):
    first = reproduce(output=tmp_path)
    files = sorted((tmp_path / "runs").iterdir())
    for file, content in zip(files, ("", '{"seconds": 1}', "[]"), strict=True):
        file.write_text(content)
    assert reproduce(output=tmp_path).findings == first.findings
    assert len(squares.ran()) == 6


def test_ctrl_c_keeps_what_is_done_and_a_second_start_does_the_rest(squares, tmp_path):
    def interrupt(done, total, job):
        if done > 0:
            signal.raise_signal(signal.SIGINT)

    found = reproduce(output=tmp_path, on_progress=interrupt)
    assert found.interrupted
    assert squares.ran() == ["3"]
    assert found.findings["squares"].left_out == "2 of 3 runs are still to be done."
    rest = reproduce(output=tmp_path)
    assert squares.ran() == ["3", "2", "1"]
    assert not rest.interrupted
    assert rest.findings["squares"].left_out == ""


def test_one_failure_does_not_end_the_others(squares, tmp_path):
    squares(numbers=(13, 1, 2))
    found = reproduce(output=tmp_path)
    assert found.failures == {"squares, number 13": "ValueError: thirteen\nis refused"}
    assert [line.here for line in found.findings["squares"].lines] == ["1", "4"]


def test_an_executor_gives_the_same(squares, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        there = reproduce(output=tmp_path / "there", executor=pool)
    assert there.findings == reproduce(output=tmp_path / "here").findings


def test_progress_reaches_its_end(squares):
    told = []
    reproduce(on_progress=lambda done, total, job: told.append((done, total)))
    assert told == [(0.0, 6.0), (3.0, 6.0), (5.0, 6.0), (6.0, 6.0)]


def test_what_trains_on_no_images_loads_none(squares, monkeypatch):
    loaded = []
    digits = datasets.digits()
    monkeypatch.setattr(datasets, "load", lambda name: loaded.append(name) or digits)
    assert reproduce(only=["squares"], dataset="fashion_mnist").plan.dataset == ""
    assert loaded == []
    squares(images=True)
    plan = reproduce(only=["squares"], dataset="digits").plan
    assert (plan.dataset, plan.substitute, loaded) == ("digits", True, ["digits"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"only": ["lenet", "resnet"]}, "only must hold names of descent, .*resnet"),
        ({"only": []}, r"only must hold names.*only=\[\]"),
        ({"dataset": "mnist"}, "dataset must be one of .*digits.*dataset='mnist'"),
        ({"seeds": 0}, "seeds must be None or an integer >= 1.*seeds=0"),
    ],
)
def test_a_bad_argument_is_named(arguments, said):
    with pytest.raises(ValueError, match=said):
        reproduce(**arguments)


def test_an_unwritable_folder_is_named(squares, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        reproduce(output=tmp_path / "file" / "below")


# Telling


class Reader(HTMLParser):
    """The text of a page, its tags, and where its pictures come from."""

    def __init__(self):
        super().__init__()
        self.text, self.tags, self.sources = "", [], []

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.sources += [value for name, value in attributes if name in ("src", "href")]


def test_the_report_escapes_every_name_and_needs_nothing_beside_it(squares, tmp_path):
    reproduce().save(tmp_path)
    page = Reader()
    page.feed((tmp_path / "report.html").read_text())
    for tag in ("script", "i", "link"):
        assert tag not in page.tags
    for shown in ("Squares & <b>roots</b>", "<i>square</i>", "1 < 2 & true", "About <script>"):
        assert shown in page.text
    assert "<script>alert(1)</script>" in page.text
    assert all(each.startswith(("data:image/png;base64,", "#")) for each in page.sources)
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_the_results_are_strict_json(squares, tmp_path):
    reproduce(output=tmp_path).save(tmp_path)

    def refuse(constant):
        raise AssertionError(constant)

    content = (tmp_path / "results.json").read_text()
    results = json.loads(content, parse_constant=refuse)
    assert results["parts"]["squares"]["lines"][0]["here"] == "1"
    assert results["machine"]["cores"] == os.cpu_count()


def test_the_markdown_table_is_one(squares):
    text = published.reproduction_markdown(reproduce())
    assert "| number 1 | <i>square</i> | 1 |" in text


# The real ones


def test_the_command_runs_real_parts_and_writes_a_report(tmp_path, capsys):
    arguments = ["reproduce", "--quick", "--only", "descent,curves", "--output", str(tmp_path)]
    assert main([*arguments, "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert " reproduced.\n" in said
    assert "not reproduced" not in said
    assert "report.html" in said
    page = (tmp_path / "report.html").read_text()
    assert "-0.057646" in page
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["done"] == results["jobs"]
    assert results["counts"]["not reproduced"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--only", "resnet"], "only must hold names"),
        (["--jobs", "0"], "must be >= 1"),
        (["--dask", "tcp://127.0.0.1:1", "--jobs", "2"], "--jobs must be left out with --dask"),
    ],
)
def test_the_command_names_what_is_wrong(arguments, said, tmp_path, capsys):
    assert main(["reproduce", *arguments, "--output", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


def test_the_readme_has_the_table_of_the_full_run():
    results = ROOT / "notebooks" / "results"
    table = (results / "table.md").read_text().splitlines()
    assert len(table) > 60
    shown = (ROOT / "README.md").read_text().splitlines()
    assert not [line for line in table if line and not line.startswith("#") and line not in shown]
    full = json.loads((results / "results.json").read_text())
    assert not full["plan"]["quick"]
    assert not full["plan"]["substitute"]
    assert full["done"] == full["jobs"]
    for verdict, count in full["counts"].items():
        assert not count or f"{count} {verdict}" in " ".join(shown)


def lenet_result(loss=0.15, accuracy=0.94, test=0.88, status="finished"):
    return {
        "status": status, "train_loss": [2.0, loss], "train_accuracy": [0.3, accuracy],
        "test_accuracy": [0.3, test], "test_loss": [2.0, loss], "learning_rate": [0.3, 0.3],
    }  # fmt: skip


def lenet_findings(outcome, plan):
    """Findings of made-up results: outcome(job) gives each."""
    part = published.PARTS["lenet"]
    return part.findings(plan, [(job, outcome(job)) for job in part.jobs(plan)])


def test_a_collapsed_run_is_counted_and_not_averaged():
    def outcome(job):
        wild = job.name.startswith("multi-step") and "as meant" in job.name and job.seed in (1, 3)
        return lenet_result(2.3027, 0.1, 0.1) if wild else lenet_result()

    found = lenet_findings(outcome, Plan())
    meant = [line for line in found.lines if line.name == "multi-step, as meant"]
    assert [line.here for line in meant] == ["0.150 ± 0.000", "0.940 ± 0.000", "0.880 ± 0.000"]
    assert all("2 of 5 collapsed" in line.note for line in meant)
    assert all("in PyTorch 2 of 5" in line.note for line in meant)
    (told,) = [each for each in found.statements if "collapses" in each.claim]
    assert told.holds
    assert "2 of 5 runs here ended at chance (train loss 2.30, 2.30;" in told.evidence
    assert "means over the other 3: 0.150 (train loss)" in told.evidence


def test_where_all_collapse_there_is_no_mean():
    found = lenet_findings(lambda job: lenet_result(math.nan, 0.1, 0.1, "diverged"), Plan())
    assert all(line.here == "" for line in found.lines)
    assert all("5 of 5 collapsed" in line.note or "2 of 2" in line.note for line in found.lines)


def test_figures_that_are_far_off_are_not_reproduced():
    spread = iter([0.001 * k for k in range(1000)])
    found = lenet_findings(lambda job: lenet_result(1.0 + next(spread), 0.5, 0.5), Plan())
    losses = [line for line in found.lines if line.figure == "train loss"]
    of_way = {
        way: {line.verdict for line in losses if line.name.endswith(way)}
        for way in ("as run", "as meant", "Keras's initialisation")
    }
    # The published figures are of the source's runs, and PyTorch's of its initialisation.
    assert of_way == {
        "as run": {Verdict.NOT_REPRODUCED},
        "as meant": {Verdict.DIFFERS},
        "Keras's initialisation": {Verdict.NOT_COMPARED},
    }


@pytest.mark.parametrize("plan", [Plan(quick=True), Plan(dataset="digits", substitute=True)])
def test_a_short_run_or_other_data_are_compared_with_nothing(plan):
    found = lenet_findings(lambda job: lenet_result(), plan)
    assert found.lines
    assert {line.verdict for line in found.lines} == {Verdict.NOT_COMPARED}
    assert not any(line.published or line.pytorch for line in found.lines)
    assert found.left_out


def test_the_lenets_schedules_are_those_of_the_source():
    runs = {run["name"]: run for run in read_data("lenet")["runs"]}
    assert list(runs) == ["constant", "multi-step", "cosine", "warm-up + cosine"]
    meant = published.lenet_schedules()
    assert meant["multi-step"] == keraslr.MultiStepLR(0.5, milestones=(15, 30), gamma=0.5)
    cosine = meant["cosine"].values(30)
    np.testing.assert_allclose(cosine[[0, 10, 20, 29]], [0.3, 0.155, 0.01, 0.01], rtol=1e-6)
    warm = meant["warm-up + cosine"].values(30)
    np.testing.assert_allclose(warm[[0, 1, 5, 20, 29]], [0, 0.06, 0.3, 0.01, 0.01], rtol=1e-6)
    # As run: the multi-step one at what three halvings leave, the cosines an epoch late.
    np.testing.assert_array_equal(keraslr.parse(runs["multi-step"]["as run"]).values(30), 0.125)
    for name in ("cosine", "warm-up + cosine"):
        late = keraslr.parse(runs[name]["as run"]).values(30)
        np.testing.assert_allclose(late[0], 0.3)
        np.testing.assert_allclose(late[1:], meant[name].values(29), rtol=1e-6)


# On a cluster


@pytest.mark.slow
def test_a_dask_cluster_that_loses_a_worker_gives_the_serial_results(tmp_path):
    code = """
import multiprocessing, os, signal, sys, threading, time
from pathlib import Path
import dask
from distributed import LocalCluster
from distributed.utils import get_mp_context
from keraslr.cli import main

if __name__ == "__main__":
    # Workers that need not import TensorFlow, as they would have to on machines of their own.
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    get_mp_context().set_forkserver_preload(["distributed", "keraslr.training"])
    output = Path(sys.argv[1])
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        def kill_one():
            while not list(output.glob("runs/*.json")):
                time.sleep(0.02)
            os.kill(next(iter(cluster.workers.values())).process.pid, signal.SIGKILL)
            print("killed", flush=True)
        threading.Thread(target=kill_one, daemon=True).start()
        arguments = ["reproduce", "--only", "curves,descent", "--seeds", "2"]
        status = main([*arguments, "--output", str(output), "--dask", cluster.scheduler_address])
        arguments = [*sys.argv[3:], "--output", sys.argv[2], "--dask", cluster.scheduler_address]
        status = status or main(arguments)
    sys.exit(status)
"""
    script = tmp_path / "cluster.py"
    script.write_text(code)
    compare = ["compare", "--dataset", "digits", "--schedules", "constant", "cosine",
               "--epochs", "2", "--seeds", "2"]  # fmt: skip
    both = [str(tmp_path / name) for name in ("dask", "dask-compared")]
    assert "killed" in Program(script, *both, *compare).finished()
    arguments = ["reproduce", "--only", "curves,descent", "--seeds", "2", "--jobs", "1"]
    assert main([*arguments, "--output", str(tmp_path / "serial")]) == 0
    there, here = (
        json.loads((tmp_path / name / "results.json").read_text()) for name in ("dask", "serial")
    )
    assert there["parts"] == here["parts"]
    assert there["done"] == there["jobs"] >= 15
    # And a comparison on the same cluster.
    here = ["--output", str(tmp_path / "serial-compared"), "--jobs", "1", "--threads", "1"]
    assert main([*compare, *here]) == 0
    files = {path.name: path for path in (tmp_path / "serial-compared" / "runs").iterdir()}
    assert len(files) == 4
    for name, path in files.items():
        there = json.loads((tmp_path / "dask-compared" / "runs" / name).read_text())
        assert there["steps"] == json.loads(path.read_text())["steps"]
