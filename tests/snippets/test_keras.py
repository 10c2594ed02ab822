"""Code to paste makes the same schedule and trains with it."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import EXAMPLES, compositions

import keraslr
from keraslr import schedules
from keraslr.snippets import fit_snippet, keras_line, pytorch_snippet

COSINE = keraslr.CosineAnnealingLR(0.1, T_max=30)
STEP = keraslr.StepLR(0.1, step_size=5, gamma=0.5)


def rebuilt(line):
    return eval(line, {"keraslr": keraslr})


# The line.


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
def test_the_line_makes_the_schedule_again(schedule):
    line = keras_line(schedule)
    assert rebuilt(line) == schedule
    assert "\n" not in line
    # So that it can be given to the command line and to `parse` as well.
    assert keraslr.parse(line.replace("keraslr.", "")) == schedule


def test_the_line_is_tried_for_every_class():
    tried = {type(schedule) for schedule in EXAMPLES.values()}
    ours = {cls for name in schedules.__all__ if isinstance(cls := getattr(schedules, name), type)}
    assert tried == ours - {schedules.Schedule}


@settings(deadline=None, max_examples=30)
@given(schedule=compositions())
def test_the_line_makes_any_composition_again(schedule):
    assert rebuilt(keras_line(schedule)) == schedule


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        (
            COSINE.with_warmup(5).per_epoch(235),
            "keraslr.CosineAnnealingLR(0.1, T_max=30).with_warmup(5).per_epoch(235)",
        ),
        (
            (COSINE * 0.5).with_warmup(5, 0.01, "cosine").per_epoch(4, smooth=True),
            (
                "(keraslr.CosineAnnealingLR(0.1, T_max=30) * 0.5)"
                '.with_warmup(5, start_lr=0.01, mode="cosine").per_epoch(4, smooth=True)'
            ),
        ),
        (COSINE * 0.5 * 3, "keraslr.CosineAnnealingLR(0.1, T_max=30) * 0.5 * 3.0"),
        (
            STEP.then(COSINE.held_after(30), at=9).then(STEP * 2, at=12),
            (
                "keraslr.StepLR(0.1, step_size=5, gamma=0.5)"
                ".then(keraslr.CosineAnnealingLR(0.1, T_max=30).held_after(30), at=9)"
                ".then(keraslr.StepLR(0.1, step_size=5, gamma=0.5) * 2.0, at=12)"
            ),
        ),
        (
            keraslr.SequentialLR([STEP.then(STEP, at=3), STEP], milestones=[9]),
            (
                "keraslr.SequentialLR([keraslr.StepLR(0.1, step_size=5, gamma=0.5)"
                ".then(keraslr.StepLR(0.1, step_size=5, gamma=0.5), at=3), "
                "keraslr.StepLR(0.1, step_size=5, gamma=0.5)], milestones=[9])"
            ),
        ),
        (STEP.clipped(0.01), "keraslr.StepLR(0.1, step_size=5, gamma=0.5).clipped(min_lr=0.01)"),
        (
            STEP.clipped(max_lr=0.05),
            "keraslr.StepLR(0.1, step_size=5, gamma=0.5).clipped(max_lr=0.05)",
        ),
        (
            keraslr.OneCycleLR(0.1, epochs=3, steps_per_epoch=9),
            "keraslr.OneCycleLR(0.1, epochs=3, steps_per_epoch=9)",
        ),
        (
            keraslr.LambdaLR(0.1, lambda t: 0.5**t, total_iters=2),
            "keraslr.LambdaLR(0.1, lr_lambda=[1.0, 0.5, 0.25], total_iters=2)",
        ),
    ],
    ids=[
        "methods",
        "brackets",
        "factors",
        "then",
        "sequence in a sequence",
        "low",
        "high",
        "epochs",
        "table",
    ],
)
def test_the_line_is_what_a_person_would_write(schedule, line):
    assert keras_line(schedule) == line
    assert rebuilt(line) == schedule


@schedules.register
class OwnLR(schedules.StepLR):
    """A class of one's own, with a shape of its own."""

    def at(self, t):
        return 2 * super().at(t)


def test_a_class_of_ones_own_goes_by_its_bare_name():
    assert keras_line(OwnLR(0.1, 3) * 2) == "OwnLR(0.1, step_size=3) * 2.0"
    text = fit_snippet(OwnLR(0.1, 3), epochs=1, batch_size=64)
    assert f"import keraslr\nfrom {OwnLR.__module__} import OwnLR\n\n" in text
    with pytest.raises(ValueError, match=r"keraslr's learning-rate schedules.*OwnLR, a class of"):
        pytorch_snippet(OwnLR(0.1, 3).per_epoch(4))


@pytest.mark.parametrize("write", [keras_line, pytorch_snippet])
def test_only_schedules_are_written(write):
    with pytest.raises(TypeError, match=r"schedule must be a keraslr schedule. Received: .*0\.1"):
        write(0.1)


# The script that trains.


@pytest.fixture(scope="module")
def a_few_images(fashion_mnist_folder):
    """The first of the real images, as `load_data` gives them."""
    (x_train, y_train), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    return (x_train[:160], y_train[:160]), (x_test[:64], y_test[:64])


CYCLE = keraslr.OneCycleLR(0.05, total_steps=30)


@pytest.mark.parametrize(
    ("schedule", "optimizer", "arguments", "kind"),
    [
        (COSINE.with_warmup(2).per_epoch(3), "SGD", None, keras.optimizers.SGD),
        (STEP * 0.01, "AdamW", {"weight_decay": 0.01, "amsgrad": True}, keras.optimizers.AdamW),
        (CYCLE, "SGD", {"momentum": CYCLE.momentum_schedule()}, keraslr.optimizers.SGD),
        (
            CYCLE, "SGD", {"momentum": 0.9, "dampening": 0.1, "momentum_rule": "pytorch"},
            keraslr.optimizers.SGD,
        ),
        (keraslr.get("lambda"), "Yogi", {"beta_1": np.float64(0.8)}, keraslr.optimizers.Yogi),
    ],
    ids=["SGD", "AdamW", "moving momentum", "rule of momentum", "Yogi"],
)  # fmt: skip
def test_the_script_trains_as_printed(
    schedule, optimizer, arguments, kind, a_few_images, monkeypatch, capsys
):
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", lambda: a_few_images)
    text = fit_snippet(
        schedule, epochs=1, batch_size=64, optimizer=optimizer, optimizer_arguments=arguments
    )
    names = {}
    exec(text, names)
    assert names["schedule"] == schedule
    used = names["model"].optimizer
    assert type(used) is kind
    assert int(used.iterations.numpy()) == 3
    assert used.get_config()["learning_rate"] == keras.saving.serialize_keras_object(schedule)
    for name, value in (arguments or {}).items():
        assert getattr(used, name) == value
    assert math.isfinite(names["model"].history.history["val_loss"][0])
    assert "val_accuracy" in capsys.readouterr().out


def test_the_script_says_what_it_was_told():
    text = fit_snippet(
        CYCLE,
        epochs=7,
        batch_size=96,
        optimizer="SGD",
        optimizer_arguments={"momentum": CYCLE.momentum_schedule(0.8, 0.9), "nesterov": True},
    )
    assert "x_train, y_train, batch_size=96, epochs=7, validation_data=(x_test, y_test)" in text
    assert "schedule = keraslr.OneCycleLR(0.05, total_steps=30)\n" in text
    # The cycle is there once, and its momentum is made of it.
    assert "    schedule, momentum=schedule.momentum_schedule(0.8, 0.9), nesterov=True" in text
    assert text.count("OneCycleLR") == 1


def test_long_lines_of_the_script_are_broken():
    text = fit_snippet(keraslr.get("lambda"), epochs=1, batch_size=64)
    assert max(map(len, text.splitlines())) <= 88
    names = {"keraslr": keraslr}
    exec(text[text.index("schedule = ") : text.index("model = ")], names)
    assert names["schedule"] == keraslr.get("lambda")


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"epochs": 0}, ValueError, "epochs must be an integer >= 1. Received: epochs=0"),
        ({"batch_size": 0.5}, TypeError, "batch_size must be an integer >= 1"),
        ({"optimizer": "AdaMW"}, ValueError, r'optimizer must be one of .*Did you mean "AdamW"\?'),
        ({"optimizer": "Optimizer"}, ValueError, "optimizer must be one of"),
        ({"optimizer": None}, TypeError, "optimizer must be a name. Received: optimizer=None"),
        (
            {"optimizer_arguments": {"beta_1": 0.9}},
            ValueError,
            "optimizer_arguments of SGD must be among .*momentum.* Received: beta_1=0.9",
        ),
        (
            {"optimizer_arguments": {"learning_rate": 0.9}},
            ValueError,
            "optimizer_arguments of SGD must be among",
        ),
        (
            {"optimizer_arguments": {"momentum": [0.9]}},
            TypeError,
            r"optimizer_arguments must be numbers, .* Received: momentum=\[0.9\] \(list\)",
        ),
        (
            {"optimizer_arguments": {"momentum": math.inf}},
            ValueError,
            "optimizer_arguments must be finite. Received: momentum=inf",
        ),
        (
            {"optimizer": "RMSprop", "optimizer_arguments": {"momentum": STEP}},
            ValueError,
            (
                "a schedule only for the momentum of SGD and beta_1 of Adam. "
                "Received: momentum of RMSprop"
            ),
        ),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_wrong_arguments_of_the_script_are_named(arguments, error, text):
    with pytest.raises(error, match=text):
        fit_snippet(STEP, **{"epochs": 1, "batch_size": 64, **arguments})
