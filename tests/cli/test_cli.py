"""The command line, called as a person calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import PATIENCE, until

from keraslr.cli import main


def keraslr(*arguments: str) -> int:
    try:
        return main([str(argument) for argument in arguments])
    except SystemExit as done:  # argparse leaves so after --help
        return int(done.code or 0)


def test_list_shows_every_strategy(capsys):
    from keraslr.catalog import CATALOG

    assert keraslr("list") == 0
    shown = capsys.readouterr().out
    for strategy in CATALOG.values():
        assert strategy.cls.__name__[:12] in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["cosine annealing", "--T-max", "20"],
        ["cosine annealing", "--T_max", "20", "--eta-min", "0.01", "--log"],
        ["one cycle", "--total-steps", "50", "--three-phase", "--anneal-strategy", "linear"],
        ["multi-step decay", "--milestones", "10", "20"],
        ["warm-up", "--schedule", "StepLR(0.1, step_size=5)", "--steps", "3"],
        ["CosineAnnealingLR(0.3, T_max=15).with_warmup(5)"],
        ["lambda", "--ticks", "40"],
    ],
)
def test_plot_writes_a_picture(tmp_path, capsys, arguments):
    picture = tmp_path / "deep" / "curve.png"
    assert keraslr("plot", *arguments, "--output", picture) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown = capsys.readouterr().out
    assert str(picture) in shown
    assert "schedule" in shown or "learning_rate" in shown or "lr=" in shown


def test_plot_draws_what_its_options_say(tmp_path, capsys):
    assert keraslr("plot", "step decay", "--initial-learning-rate", "0.5", "--step-size", "7",
                   "--gamma", "0.25", "--output", tmp_path / "a.svg") == 0  # fmt: skip
    shown = capsys.readouterr().out
    assert "StepLR(initial_learning_rate=0.5, step_size=7, gamma=0.25)" in shown
    assert b"<svg" in (tmp_path / "a.svg").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "COMMAND"),
        (["fly"], "fly"),
        (["plot"], "STRATEGY"),
        (["plot", "cosine aneling"], 'Did you mean "cosine annealing"?'),
        (["plot", "step decay", "--T-max", "3"], "--T-max"),
        (["plot", "step decay", "--step-size", "0"], "step_size must be an integer >= 1"),
        (["plot", "step decay", "--step-size", "two"], "two"),
        (["plot", "one cycle", "--anneal-strategy", "exp"], "exp"),
        (["plot", "reduce on plateau"], "follows a metric"),
        (["plot", "StepLR(0.1"], "StepLR(0.1"),
        (["plot", "__import__('os').system('true')"], "must be written like"),
        (["plot", "step decay", "--ticks", "0"], ">= 1"),
        (["plot", "step decay", "--output", "/dev/null/x.png"], "/dev/null"),
        (["plot", "step decay", "--output", "x.doc"], "doc"),
        (["compare", "--epochs", "0"], "--epochs"),
        (["compare", "--dataset", "cats"], "cats"),
        (["compare", "--schedules", "StepLR(-1, 2)", "--dataset", "digits"], "-1"),
        (["compare", "--schedules", "cosine", "cosine=StepLR(0.1, 5)"], "'cosine' is there twice"),
        (["compare", "--frobnicate"], "--frobnicate"),
        (["list", "--frobnicate"], "--frobnicate"),
    ],
)
def test_bad_arguments_give_one_line_and_two(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert keraslr(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("keraslr: ")
    assert said in printed.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--help"], "compare"),
        (["compare", "--help"], "--seeds"),
        (["plot", "--help"], "STRATEGY"),
        (["plot", "cosine annealing", "--help"], "--T-max"),
        (["plot", "one cycle", "-h"], "--pct-start"),
        (["list", "--help"], "catalog"),
        (["--version"], "keraslr"),
    ],
)
def test_help_is_everywhere(capsys, arguments, said):
    assert keraslr(*arguments) == 0
    assert said in capsys.readouterr().out


COMPARE = ["compare", "--dataset", "digits", "--epochs", "2", "--batch-size", "64"]


def test_compare_says_what_it_found(tmp_path, capsys):
    command = [*COMPARE, "--schedules", "constant", "mine=StepLR(0.3, step_size=1, gamma=0.5)",
               "one cycle", "--output", tmp_path]  # fmt: skip
    assert keraslr(*command) == 0
    printed = capsys.readouterr()
    for name in ("constant", "mine", "one cycle"):
        assert name in printed.out
    assert "%" in printed.err  # the progress bar
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row["name"] for row in results["table"]] == ["constant", "mine", "one cycle"]
    assert all(0 < row["figures"]["val_accuracy"][0] <= 1 for row in results["table"])
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")


RECIPE = """
import keras
import numpy as np

def build():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    return model

def data():
    x = np.random.default_rng(0).normal(size=(40, 3))
    return x, x.sum(1), (x[:8], x[:8].sum(1))

four = (1, 2, 3, 4)
"""


def test_a_model_and_data_of_ones_own_are_compared(tmp_path, capsys, monkeypatch):
    (tmp_path / "a_recipe.py").write_text(RECIPE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "")
    command = ["compare", "--model", "a_recipe.py:build", "--data", "a_recipe.py:data", "--epochs",
               "2", "--jobs", "1", "--schedules", "mine=StepLR(0.3, step_size=1)"]  # fmt: skip
    assert keraslr(*command) == 0
    assert "val_loss" in capsys.readouterr().out
    results = json.loads((tmp_path / "results" / "results.json").read_text())
    assert results["title"].startswith("build on a_recipe, as compiled, batch size 32")
    for model, data, said in (
        ("a_recipe.py:build", None, "--data must be given with --model"),
        (None, "a_recipe.py:data", "--model must be given with --data"),
        ("a_recipe.py:bild", "a_recipe.py:data", "a_recipe.py has no 'bild'; it has keras, np"),
        ("missing.py:build", "a_recipe.py:data", "there is no file missing.py"),
        ("a_recipe:build", "a_recipe.py:data", "must have the form FILE.py:NAME"),
        ("a_recipe.py:build", "a_recipe.py:four", "it has a tuple of 4"),
        ("a_recipe.py:data", "a_recipe.py:data", "returns a keras.Model"),
    ):
        given = [("--model", model), ("--data", data)]
        arguments = [text for pair in given if pair[1] for text in pair]
        assert keraslr("compare", *arguments) == 2
        assert said in capsys.readouterr().err
    (tmp_path / "json.py").write_text(RECIPE)
    assert keraslr("compare", "--model", "json.py:build", "--data", "json.py:data") == 2
    assert "json.py has the name of another module" in capsys.readouterr().err


HELD = """
import os, pathlib, time
replace = os.replace

def held(source, target, **settings):
    folder = pathlib.Path(target).parent
    while folder.name == "runs" and len(list(folder.glob("*.json"))) >= 2:
        time.sleep(0.02)
    replace(source, target, **settings)

os.replace = held
"""


@pytest.mark.slow
def test_an_interrupted_comparison_goes_on_where_it_stopped(tmp_path):
    output = tmp_path / "output"
    command = [sys.executable, "-m", "keraslr", *COMPARE, "--epochs", "3", "--schedules",
               "constant", "cosine", "--seeds", "3", "--output", str(output)]  # fmt: skip
    root = Path(__file__).resolve().parents[2]
    # What Python imports by itself: after two results no process writes another one.
    (tmp_path / "sitecustomize.py").write_text(HELD)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(root)])}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    until(lambda: process.poll() is not None or len(list(output.glob("runs/*.json"))) >= 2)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "start the same command again" in out
    assert "Traceback" not in err
    before = {
        path: path.read_bytes()
        for path in output.glob("runs/*.json")
        if json.loads(path.read_text())["status"] == "finished"
    }
    assert 2 <= len(before) < 6
    assert main([*command[3:], "--jobs", "1"]) == 0
    after = {path: path.read_bytes() for path in output.glob("runs/*.json")}
    assert len(after) == 6
    for path, content in before.items():
        assert after[path] == content  # not trained a second time
