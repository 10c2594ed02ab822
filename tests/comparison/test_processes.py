"""Many runs in processes of their own: the same numbers, followed, stopped and killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from comparisons import SCHEDULES, SMALL
from networks import softmax_regression
from programs import Program
from waiting import PATIENCE, until

from keraslr.comparison import compare
from keraslr.jobs import _processes


def figures(comparison):
    return [
        (each.loss, each.accuracy, each.learning_rate, each.test_loss, each.test_accuracy)
        for each in comparison.results
    ]


def held(seed):
    """The network; a process trains that of the second seed only once a file is there."""
    if seed and multiprocessing.parent_process() is not None:
        until(Path(os.environ["KERASLR_TEST_FILE"]).exists)
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


TYPED_IN = """
import keras
from keraslr.comparison import compare

WIDTH = 8

def build(seed):
    keras.utils.set_random_seed(seed)
    hidden = keras.layers.Dense(WIDTH, activation="relu")
    return keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Flatten(), hidden, keras.layers.Dense(10)]
    )

settings = dict(dataset="digits", epochs=1, batch_size=256, threads=1, jobs=1)
models = {"typed in": build, "lambda": lambda seed: build(seed)}
for name, model in models.items():
    (result,) = compare({name: 0.1}, model=model, **settings).results
    print(result.status, result.loss)
"""


@pytest.mark.slow
def test_functions_that_are_in_no_file_are_trained_in_processes():
    """As those of a notebook's cells: one by its name, one without."""
    typed_in, nameless = Program("-c", TYPED_IN).finished().splitlines()
    assert typed_in.startswith("finished [")
    assert nameless == typed_in


@pytest.mark.slow
def test_a_closure_is_trained_in_processes_as_its_function_is(comparison):
    network = SMALL["model"]

    def build(seed):
        return network(seed)

    settings = {**SMALL, "seeds": 2, "model": build}
    both = compare(SCHEDULES, jobs=1, threads=1, **settings)
    assert figures(both) == figures(comparison[1])


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


def holding(lock):
    """A function that cannot be sent anywhere, for what it holds."""

    def build(seed):
        with lock:
            return softmax_regression(seed)

    return build


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"jobs": 0}, ValueError, "jobs must be an integer >= 1"),
        ({"jobs": "all"}, ValueError, 'jobs must be None, "auto" or an integer >= 1'),
        ({"jobs": 1.5}, TypeError, "jobs must be an integer >= 1"),
        ({"jobs": 2, "threads": 0}, ValueError, "threads must be an integer >= 1"),
        ({"threads": 1}, ValueError, "threads must be left out without jobs"),
        (
            {"jobs": 1, "model": holding(threading.Lock())},
            TypeError,
            "model must be a function that can be sent to another process.*cannot pickle",
        ),
        ({"jobs": 1, "executor": ThreadPoolExecutor(1)}, ValueError, "jobs must be left out with"),
    ],
)
def test_what_cannot_be_sent_to_processes_is_refused(change, error, said):
    with pytest.raises(error, match=said):
        compare(SCHEDULES, **{**SMALL, **change})


def test_the_cores_are_divided_among_the_processes(monkeypatch):
    monkeypatch.setattr(_processes, "cores", lambda: 8)
    assert [_processes.threads_of_each(jobs) for jobs in (1, 2, 3, 8, 16)] == [8, 4, 2, 1, 1]
