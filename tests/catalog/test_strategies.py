"""The catalog holds every strategy once, with values that its class accepts."""

from __future__ import annotations

import pytest

import keraslr
from keraslr import catalog, schedules
from keraslr.catalog import CATALOG, Range

SCHEDULES = [each for each in CATALOG.values() if each.is_schedule]


def by_name(strategy):
    return strategy.name


def test_no_schedule_is_there_twice():
    # That none is missing is for tests/schedules/test_declared.py.
    classes = [each.cls for each in CATALOG.values()]
    assert len(set(classes)) == len(classes)


@pytest.mark.parametrize("strategy", SCHEDULES, ids=by_name)
def test_every_parameter_has_a_value_to_begin_with(strategy):
    declared = schedules.parameters(strategy.cls)
    assert set(strategy.values) <= set(declared)
    assert set(declared) - set(strategy.values) <= {"epochs", "steps_per_epoch"}
    assert isinstance(strategy.build(), strategy.cls)
    assert strategy.good
    assert strategy.bad


@pytest.mark.parametrize("strategy", SCHEDULES, ids=by_name)
@pytest.mark.parametrize("end", ["low", "high"])
def test_both_ends_of_every_range_are_accepted(strategy, end):
    for name, value in strategy.values.items():
        if not isinstance(value, Range):
            continue
        assert value.low <= value.default <= value.high
        assert value.low < value.high
        assert not (value.log and value.low <= 0)
        changed = getattr(value, end)
        if (strategy.name, name, end) == ("one cycle", "total_steps", "low"):
            changed = 2
        assert getattr(strategy.build(**{name: changed}), name) == changed


@pytest.mark.parametrize("strategy", SCHEDULES, ids=by_name)
def test_thirty_epochs_have_something_to_show(strategy):
    rates = strategy.build().values(31)
    assert rates.max() > 0
    if strategy.name not in ("constant", "warm-up"):
        assert len(set(rates.tolist())) > 1


@pytest.mark.parametrize(
    ("name", "cls"),
    [
        ("cosine annealing", schedules.CosineAnnealingLR),
        ("Cosine Annealing", schedules.CosineAnnealingLR),
        ("cosine-annealing", schedules.CosineAnnealingLR),
        ("cosine_annealing", schedules.CosineAnnealingLR),
        ("CosineAnnealingLR", schedules.CosineAnnealingLR),
        ("warm-up", schedules.Warmup),
        ("warmup", schedules.Warmup),
    ],
)
def test_a_name_may_be_written_in_many_ways(name, cls):
    assert isinstance(keraslr.get(name), cls)


def test_get_passes_its_arguments_on():
    assert keraslr.get("step decay", initial_learning_rate=0.3, step_size=5, gamma=0.2) == (
        schedules.StepLR(0.3, step_size=5, gamma=0.2)
    )
    assert keraslr.get("one cycle", max_lr=0.3, epochs=4, steps_per_epoch=5).length == 20
    with pytest.raises(ValueError, match="step_size must be"):
        keraslr.get("step decay", step_size=0)
    with pytest.raises(TypeError, match="speed"):
        keraslr.get("step decay", speed=3)


def test_an_unknown_name_is_helped():
    with pytest.raises(ValueError, match=r'name must be one of "constant".*"cosine annealing"\?'):
        keraslr.get("cosine aneling")
    with pytest.raises(TypeError, match="name must be a string"):
        keraslr.get(3)


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("step decay", "convolutional networks", "too early or too late"),
        ("exponential decay", "long training or complex data", "within a few epochs"),
        ("cosine annealing", "middle and late phases", "match the task"),
        ("cosine warm restarts", "escape poor minima", "period and multiplier"),
        ("linear decay", "predictable decrease", "ignores how training goes"),
        ("reduce on plateau", "validation metric", "patience is hard to set"),
        ("cyclical", "broad search", "range is hard to set"),
        ("one cycle", "fine-tuning and small data", "long training"),
        ("warm-up", "early divergence", "one more length"),
    ],
)
def test_the_guidance_is_that_of_the_source(name, good, bad):
    assert good in CATALOG[name].good
    assert bad in CATALOG[name].bad


def test_recommendations_name_strategies_of_the_catalog():
    named = {name for _, _, names in catalog.RECOMMENDATIONS for name in names}
    assert named <= set(CATALOG)
    assert len(catalog.RECOMMENDATIONS) == 13
    assert len({question for question, _, _ in catalog.RECOMMENDATIONS}) == 5
