"""A schedule of one's own, declared as keraslr's are."""

from __future__ import annotations

import dataclasses
import inspect
import textwrap

import keras
import numpy as np
import pytest

import keraslr
from keraslr import (
    ChainedScheduler,
    LinearLR,
    SequentialLR,
)
from keraslr.schedules import _curves, registered

FALL = LinearLR(0.8, start_factor=1.0, end_factor=0.0, total_iters=4)  # 0.8 0.6 0.4 0.2 0


def args_of(text):
    """The names in the `Args:` part of a docstring."""
    lines = inspect.cleandoc(text).splitlines()
    assert "Args:" in lines
    names = []
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        if line.startswith("    ") and not line.startswith("     "):
            names.append(line.strip().partition(":")[0].lstrip("*"))
    return names


def documented_example():
    """The class that the docstring of `Schedule` shows, run as a person would type it."""
    _, _, code = inspect.getdoc(keraslr.Schedule).partition("@register\n")
    namespace = {
        **vars(keraslr.schedules),
        "geometric": _curves.geometric,
        "__name__": __name__,
    }
    exec(textwrap.dedent("    @register\n" + code), namespace)
    return namespace["HalvedLR"]


@pytest.fixture
def halved():
    before = dict(keras.saving.get_custom_objects())
    cls = documented_example()
    yield cls
    keras.saving.get_custom_objects().clear()
    keras.saving.get_custom_objects().update(before)
    keraslr.schedules._registry._REGISTRY.pop("HalvedLR")


def test_a_schedule_of_ones_own_is_a_schedule_like_all_others(halved):
    schedule = halved(0.8, period=2)
    np.testing.assert_allclose(schedule.values(5), [0.8, 0.8, 0.4, 0.4, 0.2], rtol=1e-7)
    assert repr(schedule) == "HalvedLR(initial_learning_rate=0.8, period=2)"
    assert keraslr.parse(repr(schedule)) == schedule
    assert args_of(halved.__doc__) == ["initial_learning_rate", "period"]
    composed = schedule.with_warmup(3).then(ChainedScheduler([schedule, FALL]), at=9)
    again = SequentialLR.from_config(composed.get_config())
    assert again == composed
    np.testing.assert_array_equal(again.values(20), composed.values(20))
    kept = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert kept == schedule
    with pytest.raises(ValueError, match="period must be an integer >= 1"):
        halved(0.8, period=0)


@pytest.mark.parametrize(
    "fields",
    [
        {"initial_learning_rate": keraslr.schedules.rate(), "speed": 2.0},
        {"initial_learning_rate": keraslr.schedules.rate(), "speed": dataclasses.field(default=1)},
        {"speed": dataclasses.field()},
    ],
    ids=["default", "field", "field without default"],
)
def test_a_schedule_with_an_undeclared_parameter_is_refused(fields):
    cls = type(
        "Undeclared",
        (keraslr.Schedule,),
        {**fields, "__annotations__": dict.fromkeys(fields, float), "__module__": __name__},
    )
    with pytest.raises(TypeError, match=r"Undeclared\.speed must be declared, as real\(\.\.\.\)"):
        keraslr.schedules.register(cls)
    assert "Undeclared" not in registered()


def test_a_schedule_without_a_formula_says_so():
    with pytest.raises(NotImplementedError, match=r"Schedule must define at\(self, t\)"):
        keraslr.Schedule()(0)
