"""Runs of models with groups of variables, and with several optimizers of their own."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from kinds import Adversaries, groups_with_schedules, numbers, two_networks
from live_runs import bits, ended, trained

import keraslr
from keraslr import Problem, Run, compare
from keraslr.optimizers._of_a_model import optimizers_of
from keraslr.training import LiveRun, train

several = pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras has none yet"
)
COSINE = keraslr.CosineAnnealingLR(0.05, T_max=14)
WARMUP = keras.optimizers.schedules.PolynomialDecay(0.0, 5, 0.1)


def run_of(problem, schedule=COSINE, **changes):
    return Run("it", schedule, problem, **{"epochs": 2, "batch_size": 8, **changes})


def grouped(*rates, chosen=None, held=0.0):
    """A problem with a layer for each rate, the last one in the default group."""

    def build():
        layers = [keras.layers.Dense(2, name=f"part_{place}") for place in range(len(rates))]
        model = keras.Sequential([keras.Input((4,)), *layers, keras.layers.Dense(1, name="part")])
        made = [keras.optimizers.SGD(rate, momentum=held) for rate in rates]
        groups = {f".*part_{place}/.*": each for place, each in enumerate(made[:-1])}
        rates_by_name = chosen or keras.optimizers.OptimizerMap(made[-1], groups)
        model.compile(keras.optimizers.MultiOptimizer(rates_by_name), "mse")
        return model

    return Problem("groups", build, numbers(4), numbers(1, seed=2))


@several
def test_groups_keep_the_ratios_of_their_first_rates():
    result = train(run_of(groups_with_schedules()))
    first, *others = optimizers_of(result.model)
    # The default one is last: it has no variables.
    assert [each.built for each in (first, *others)] == [True, True, True, False]
    planned = COSINE.values(14)
    np.testing.assert_allclose(result.learning_rate, planned, rtol=1e-6)
    double = [float(others[0]._learning_rate(step)) for step in range(14)]  # 0.2, of 0.1
    np.testing.assert_allclose(double, 2 * planned, rtol=1e-6)
    assert float(others[1].learning_rate) == 0.0
    assert [int(each.iterations) for each in (first, *others)] == [14, 14, 14, 0]
    neck = result.model.get_layer("neck").kernel.numpy()
    np.testing.assert_array_equal(neck, groups_with_schedules().model(0).get_layer("neck").kernel)


@several
@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((0.1, 0.0), "with a rate of 0.0 at step 0"),
        ((WARMUP, 0.1), "whose ratios are meant"),
        ((0.1, WARMUP), "with a rate of 0.0 at step 0"),
    ],
    ids=["zero first", "warm-up", "warm-up first"],
)
def test_groups_without_a_ratio_are_refused_with_a_remedy(rates, said):
    with pytest.raises(ValueError, match=said):
        train(run_of(grouped(*rates)))


@several
def test_a_rate_by_hand_is_that_of_the_first_group_and_scales_the_others():
    live = LiveRun(run_of(grouped(keraslr.StepLR(0.02, step_size=2), 0.1), epochs=1))
    live.hold_rate(0.03)
    live.start()
    model = ended(live).result.model
    assert set(live.result.learning_rate) == {0.03}
    rates = [float(each.learning_rate) for each in optimizers_of(model)]
    assert rates == [pytest.approx(0.03), pytest.approx(0.006)]


def two_optimizers():
    return two_networks(of_generator="optimizer")


def test_a_branch_goes_on_with_the_state_of_every_optimizer():
    run = run_of(two_optimizers(), 0.01, epochs=1)
    parent = trained(run)
    branch = parent.branch("other", 0.01, epochs=1)
    parent.release()
    branch.start()
    whole = train(dataclasses.replace(run, epochs=2))
    assert bits(ended(branch).result.model) == bits(whole.model)


@several
def test_a_backup_has_the_state_of_every_group(tmp_path):
    run = run_of(grouped(0.01, 0.1, held=0.9), 0.01)
    begun = train(run, backup=tmp_path, should_stop=lambda: any(tmp_path.iterdir()))
    assert (begun.status, begun.epochs_done) == ("stopped", 1)
    assert bits(train(run, backup=tmp_path).model) == bits(train(run).model)


@several
def test_a_copy_of_a_compiled_model_has_its_groups():
    model = grouped(0.1, 0.2, 0.3).model(0)
    shared, default = keras.optimizers.SGD(COSINE), keras.optimizers.AdamW(0.1, weight_decay=0.1)
    default.exclude_from_weight_decay(var_names=["bias"])
    groups = {".*part_0/.*": shared, ".*part_1/.*": shared}
    model.compile(
        keras.optimizers.MultiOptimizer(keras.optimizers.OptimizerMap(default, groups)), "mse"
    )
    copy = Problem("copied", model, numbers(4), numbers(1)).model(0).optimizer
    ours, theirs = copy.optimizers
    assert ours is not shared
    assert copy._optimizer_map["x/part_1/kernel"] is copy._optimizer_map["x/part_0/kernel"] is ours
    assert ours._learning_rate == COSINE
    excluded = model.layers[0].bias, model.layers[0].kernel
    assert [theirs._use_weight_decay(each) for each in excluded] == [False, True]


# A schedule that nothing follows.


@pytest.mark.parametrize("run_eagerly", [False, True], ids=["graph", "eager"])
def test_a_schedule_that_no_optimizer_follows_is_refused(run_eagerly):
    problem = two_networks(of_generator="g_optimizer", run_eagerly=run_eagerly)
    said = r"must apply model.optimizer.* whose train step applies d_optimizer, g_optimizer"
    with pytest.raises(ValueError, match=said):
        compare({"it": 0.1, "other": 0.2}, problem=problem, epochs=1)


def test_an_eager_train_step_may_apply_its_optimizer_every_few_steps():
    class Seldom(Adversaries):
        steps = 0

        def train_step(self, data):
            Seldom.steps += 1
            self.of_generator = "optimizer" if Seldom.steps % 9 == 0 else "other"
            return super().train_step(data)

    def build():
        model = Seldom(of_generator="other", run_eagerly=True)
        model.of_generator = "optimizer"
        return model

    problem = Problem("seldom", build, numbers(3), numbers(2, seed=2))
    run = Run("it", 0.1, problem, epochs=1, batch_size=4)
    assert int(train(run).model.optimizer.iterations) == 1


def test_a_branch_of_an_eager_run_with_several_optimizers_says_what_it_needs():
    parent = trained(run_of(two_networks(run_eagerly=True), 0.01, epochs=1))
    branch = parent.branch("other", 0.01, epochs=1)
    branch.start()
    assert branch.wait(60)
    assert branch.state == "failed"
    assert "without run_eagerly to go on" in str(branch.error)


# Which run it is.


def test_other_optimizers_make_another_run():
    keys = {run_of(two_networks(d=rate)).key() for rate in (0.01, 0.01, 0.02)}
    assert len(keys) == 2


@several
def test_another_choice_of_optimizers_makes_another_run():
    def chosen(rate):
        return grouped(0.1, 0.1, chosen=lambda variable: keras.optimizers.SGD(rate))

    assert len({run_of(chosen(rate)).key() for rate in (0.01, 0.01, 0.02)}) == 2
