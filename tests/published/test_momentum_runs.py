"""Published runs with a momentum: their sources' rule is PyTorch's, so the rate must not move."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from keraslr.optimizers import SGD
from keraslr.published._parts import read_data


def runs_with_momentum():
    for part in ("airfoil", "descent"):
        for run in read_data(part)["runs"]:
            arguments = run.get("arguments", {})
            if arguments.get("momentum"):
                yield part, run, arguments.get("learning_rate", run.get("learning_rate"))


def test_the_rate_is_constant_where_keras_rule_stands_for_pytorchs():
    found = list(runs_with_momentum())
    assert [part for part, *_ in found].count("airfoil") == 4
    assert [part for part, *_ in found].count("descent") == 2
    for _, run, rate in found:
        # With a schedule the run needs momentum_rule="pytorch".
        assert isinstance(rate, float), run["name"]
        assert run["optimizer"] in ("SGD", "momentum"), run["name"]


@pytest.mark.parametrize("rule", ["keras", "pytorch"])
@pytest.mark.parametrize(
    ("run", "rate"),
    [each[1:] for each in runs_with_momentum() if each[0] == "descent"],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_both_rules_end_at_the_published_point(run, rate, rule):
    optimizer = SGD(rate, run["arguments"]["momentum"], momentum_rule=rule)
    point = keras.Variable(run["start"])
    for _ in range(run["steps"]):
        optimizer.apply([point * np.float32([0.2, 4.0])], [point])  # of 0.1 x1^2 + 2 x2^2
    np.testing.assert_allclose(point.numpy(), np.float64(run["published"]), atol=2e-6)
