"""Every schedule says of itself what checks, snippets, catalog and documentation go by."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from strategies import EXAMPLES

import keraslr
from keraslr.catalog import CATALOG
from keraslr.schedules import Schedule, parameters, registered
from keraslr.snippets import pytorch_snippet
from keraslr.snippets._pytorch import _scaled

CLASSES = [cls for cls in registered().values() if cls.__module__.startswith("keraslr.")]
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)

# Those that the catalog does not offer, and why.
NOT_OFFERED = {
    keraslr.CycledMomentum: "a momentum",
    **dict.fromkeys(
        (
            keraslr.PerEpoch,
            keraslr.SequentialLR,
            keraslr.ChainedScheduler,
            keraslr.Scaled,
            keraslr.Clipped,
            keraslr.HeldAfter,
        ),
        "needs other schedules",
    ),
}
API = Path(__file__).parents[2] / "docs" / "api" / "schedules.md"


def declared_by(cls, name):
    return next(base for base in cls.__mro__ if name in vars(base))


@every_class
def test_a_class_is_exported_documented_and_in_the_catalog(cls):
    assert getattr(keraslr, cls.__name__) is cls
    assert cls.__name__ in keraslr.__all__
    assert cls.__name__ in keraslr.schedules.__all__
    assert f"::: keraslr.{cls.__name__}\n" in API.read_text(encoding="utf-8")
    assert (cls in {each.cls for each in CATALOG.values()}) != (cls in NOT_OFFERED)


@every_class
def test_a_class_says_its_length_even_if_it_has_none(cls):
    assert declared_by(cls, "length") is not Schedule
    for schedule in EXAMPLES.values():
        if type(schedule) is cls:
            assert schedule.length is None or schedule.length >= 1


@every_class
def test_a_class_writes_its_own_formula(cls):
    if cls is keraslr.CycledMomentum:
        with pytest.raises((TypeError, ValueError), match="momentum"):
            pytorch_snippet(keraslr.OneCycleLR(0.1, total_steps=9).momentum_schedule())
        return
    assert declared_by(cls, "formula") is declared_by(cls, "at")
    for schedule in EXAMPLES.values():
        if type(schedule) is cls:
            assert "scheduler = torch.optim.lr_scheduler." in pytorch_snippet(schedule)


@every_class
def test_milestones_and_warm_ups_are_declared(cls):
    for name in parameters(cls):
        if re.search("milestone|boundar", name):
            assert declared_by(cls, "milestones_to_reach") is cls
        if re.search("warmup_steps", name):
            assert declared_by(cls, "warmup_length") is cls


@pytest.mark.parametrize(
    "name",
    [name for name, each in EXAMPLES.items() if not isinstance(each, keraslr.CycledMomentum)],
)
def test_the_parameters_that_are_rates_scale_with_the_schedule(name):
    schedule = EXAMPLES[name]
    scaled = _scaled(schedule, 0.5)
    assert scaled != schedule
    np.testing.assert_allclose(scaled.values(60), (schedule * 0.5).values(60), rtol=2e-6, atol=1e-9)
