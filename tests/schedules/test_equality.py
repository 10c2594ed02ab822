"""Schedules are frozen, equal by value, and accepted by Keras's optimizers."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from strategies import EXAMPLES

from keraslr import (
    MultiStepLR,
    StepLR,
)
from keraslr.schedules import parameters

every_schedule = pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)


# A schedule is a value.


@every_schedule
def test_schedules_are_frozen(schedule):
    name = next(iter(parameters(type(schedule))))
    before = repr(schedule)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(schedule, name, 0.5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        delattr(schedule, name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.anything = 1
    assert repr(schedule) == before


@every_schedule
def test_schedules_are_equal_and_hashed_by_value(schedule):
    twin = type(schedule).from_config(schedule.get_config())
    assert twin is not schedule
    assert twin == schedule
    assert {schedule: "found"}[twin] == "found"


def test_no_two_examples_are_equal():
    assert len(set(EXAMPLES.values())) == len(EXAMPLES)


@pytest.mark.parametrize(
    "other",
    [
        StepLR(0.1, 3, gamma=0.2),
        StepLR(0.1, 4),
        StepLR(0.2, 3),
        MultiStepLR(0.1, [3]),
        StepLR(0.1, 3) * 1.0,
        "StepLR(0.1, 3)",
        None,
    ],
    ids=repr,
)
def test_schedules_with_any_difference_are_unequal(other):
    assert StepLR(0.1, 3) != other


def test_sequences_are_kept_as_tuples_whatever_they_came_as():
    milestones = [3, 5]
    schedule = MultiStepLR(0.1, milestones)
    milestones.append(9)
    assert schedule == MultiStepLR(0.1, (m for m in (3, 5))) == MultiStepLR(0.1, np.array([3, 5]))
    assert schedule.milestones == (3, 5)


def test_a_schedule_goes_into_any_keras_optimizer():
    schedule = StepLR(0.5, 2)
    for cls in (keras.optimizers.SGD, keras.optimizers.AdamW, keras.optimizers.Lion):
        assert float(cls(learning_rate=schedule).learning_rate) == 0.5
