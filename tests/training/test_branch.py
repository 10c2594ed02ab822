"""A branch of a live run: it begins with the weights of its parent's step."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from live_runs import (
    FOREVER,
    STEPS,
    bits,
    ended,
    figures,
    longer,
    stopped,
    trained,
    with_state,
)
from small_runs import loop_of
from waiting import PATIENCE, Gate, until

from keraslr import CosineAnnealingLR, datasets
from keraslr.training import LiveRun, train

# Branches.


@pytest.mark.parametrize(
    ("optimizer", "arguments"), [("SGD", {"momentum": 0.9}), ("Adam", {})], ids=["momentum", "adam"]
)
def test_a_branch_with_the_same_rate_is_its_parent_going_on(run, optimizer, arguments):
    """To the bit: weights, batch statistics, dropout's state, and the optimizer's."""
    run = dataclasses.replace(
        run, schedule=0.01, model=with_state, optimizer=optimizer, optimizer_arguments=arguments
    )
    parent = trained(run)
    branch = parent.branch("other", 0.01)
    assert (branch.state, branch.result.loss) == ("ready", [])
    assert (branch.parent, branch.first_step) == ("it", STEPS)
    branch.start()
    ended(branch)
    whole = train(longer(run, 2))
    assert figures(branch.result) == figures(whole, first=1)
    assert bits(branch.result.model) == bits(whole.model)
    assert branch.result.run == {
        **whole.run, "name": "other", "epochs": 1, "branched_from": ["it", STEPS],
    }  # fmt: skip
    # The parent stays what it was.
    assert figures(parent.result) == figures(train(run))
    parent.continue_for(1)
    assert figures(ended(parent).result) == figures(whole)


def test_a_branchs_schedule_starts_at_its_beginning(run):
    schedule = CosineAnnealingLR(0.2, T_max=STEPS)
    branch = trained(dataclasses.replace(run, optimizer="Adam")).branch("other", schedule, 2)
    branch.start()
    np.testing.assert_allclose(
        ended(branch).result.learning_rate, schedule.values(2 * STEPS), rtol=1e-6
    )
    assert branch.epochs == 2
    further = branch.branch("further", 0.1)
    assert (further.parent, further.first_step) == ("other", 3 * STEPS)
    further.start()
    ended(further)
    assert further.result.run["branched_from"] == ["other", 3 * STEPS]


def weights_after(run, steps):
    """Those of a run after so many steps, from another loop."""
    loop = loop_of(run)
    for epoch in range(-(-steps // STEPS)):
        loop.begin(epoch)
        done = 0
        while done < min(STEPS, steps - epoch * STEPS):
            loop.slice_steps = min(STEPS, steps - epoch * STEPS) - done
            done += len(loop.slice(done).sizes)
    return bits(loop.model)


@pytest.mark.parametrize("state", ["training", "paused", "stopped", "its own thread"])
def test_a_branch_begins_with_the_weights_of_its_step(run, state, slices_of):
    slices_of(4)
    branches = []

    def on_progress(result):
        if state == "its own thread" and len(result.loss) > STEPS:
            branches.append(parent.branch("other", 0.3))
            parent.stop()

    parent = LiveRun(longer(run), on_progress=on_progress)
    parent.start()
    until(lambda: len(parent.result.loss) > STEPS)
    if state == "paused":
        parent.pause()
        until(lambda: parent.state == "paused")
    if state == "stopped":
        stopped(parent)
    if state != "its own thread":
        branches.append(parent.branch("other", 0.3))
        stopped(parent)
    ended(parent, "stopped")
    (branch,) = branches
    begun = -(-branch.first_step // STEPS)
    assert STEPS < branch.first_step <= len(parent.result.loss)
    assert branch.run.epochs == FOREVER - branch.first_step // STEPS >= FOREVER - begun
    # At a rate of 0, its weights stay those that it began with.
    branch.hold_rate(0.0)
    branch._on_progress = lambda result: result.test_loss and branch.stop()
    branch.start()
    assert bits(ended(branch, "stopped").result.model) == weights_after(run, branch.first_step)


def test_without_weights_there_is_no_branch(run, monkeypatch):
    live = LiveRun(run)
    said = "branch needs a model, and there is none before the training begins. Received: "
    with pytest.raises(RuntimeError, match=f'{said}state="ready"'):
        live.branch("other", 0.1)
    gate, load = Gate(), datasets.load
    monkeypatch.setattr(datasets, "load", lambda name: (gate(), load(name))[1])
    live = LiveRun(dataclasses.replace(longer(run), dataset="digits"))
    live.start()
    assert gate.reached.wait(PATIENCE)
    with pytest.raises(RuntimeError, match=f'{said}state="setting up"'):
        live.branch("other", 0.1)
    live.stop()
    gate.opened.set()
    ended(live, "stopped")
    with pytest.raises(RuntimeError, match=f'{said}state="stopped"'):
        live.branch("other", 0.1)


@pytest.mark.parametrize(
    "changes",
    # The second after a single step, in whose test alone it can be seen.
    [
        {"schedule": 1e38, "epochs": 5},
        {"schedule": 1e38, "batch_size": 1437, "initialization": "keras"},
    ],
    ids=["in training", "in the test"],
)
def test_a_diverged_run_is_no_beginning(run, changes):
    live = LiveRun(dataclasses.replace(run, **changes))
    live.start()
    ended(live, "diverged")
    for ask in (lambda: live.branch("other", 0.1), lambda: live.save_model("it.keras")):
        with pytest.raises(
            RuntimeError, match=r'needs whole weights.* Received: status="diverged"'
        ):
            ask()
    assert not np.isfinite([live.result.loss[-1], *live.result.test_loss]).all()
    assert len(live.planned) == live.progress.steps


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ((" ", 0.1), ValueError, "name must be a string"),
        (("other", -1), ValueError, "schedule must be a number > 0"),
        (("other", 0.1, 0), ValueError, "epochs must be an integer >= 1"),
    ],
    ids=["name", "schedule", "epochs"],
)
def test_what_a_branch_is_to_be_is_checked(run, arguments, error, said):
    with pytest.raises(error, match=said):
        trained(run).branch(*arguments)
