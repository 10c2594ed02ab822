"""The lambda schedule on a polynomial: what is trained, and how the claims are judged."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from keraslr import LambdaLR, parse
from keraslr.published import _polynomial
from keraslr.published._parts import Plan, read_data
from keraslr.published._polynomial import PART, compared, first_weights, make_data, make_model
from keraslr.published._regression import Regression, shuffled

DATA = read_data("polynomial")
SCHEDULES = {run["name"]: run["schedule"] for run in DATA["runs"]}
STEPS = 14  # an epoch: 700 rows in batches of 50


def train(name, **changes):
    [job] = [job for job in PART.jobs(Plan()) if job.name == name]
    return job.function(**{**job.arguments, **changes})


def test_the_data_are_squares_with_noise():
    features, target = make_data(np.random.default_rng(1), 4000, DATA["data"]["coefficients"], 0.01)
    assert (features.shape, target.shape) == ((4000, 5), (4000,))
    assert (features.dtype, target.dtype) == (np.float32, np.float32)
    x = features.astype(float)
    noise = target - (2 * x[:, 0] ** 2 - x[:, 1] ** 2 + 3 * x[:, 2] ** 2 + x[:, 3] ** 2)
    noise -= 2 * x[:, 4] ** 2
    assert noise.std() == pytest.approx(0.01, rel=0.05)
    assert abs(noise.mean()) < 0.001
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=0.02)
    # Each square has variance 2: as the summary says of the target, 2 * (4 + 1 + 9 + 1 + 4).
    assert target.var() == pytest.approx(38, rel=0.1)
    assert "about 38" in DATA["figure"]


def test_the_model_normalises_before_each_layer():
    model = make_model(5, [4, 4])
    kinds = [type(layer).__name__ for layer in model.layers]
    assert kinds == ["BatchNormalization", "Dense"] * 3
    dense = model.layers[1::2]
    assert [layer.units for layer in dense] == [4, 4, 1]
    assert [layer.activation.__name__ for layer in dense] == ["tanh", "tanh", "linear"]


def test_first_weights_fit_the_model():
    model, fresh = make_model(5, [4, 4]), make_model(5, [4, 4])
    weights = first_weights(np.random.default_rng(0), 5, [4, 4])
    model.set_weights(weights)
    for layer, untouched in zip(model.layers[::2], fresh.layers[::2], strict=True):
        for ours, new in zip(layer.get_weights(), untouched.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, new)
    for layer, bound in zip(model.layers[1::2], [5**-0.5, 0.5, 0.5], strict=True):
        drawn = np.concatenate([each.reshape(-1) for each in layer.get_weights()])
        assert np.abs(drawn).max() <= bound
        assert len(set(drawn.tolist())) == drawn.size  # the biases too
    many = np.concatenate(
        [first_weights(np.random.default_rng(seed), 5, [4, 4])[4].reshape(-1) for seed in range(99)]
    )
    assert many.std() == pytest.approx(5**-0.5 / 3**0.5, rel=0.03)


def test_the_schedule_is_the_lambda_of_the_documents():
    written = LambdaLR(0.05, lambda epoch: 0.95**epoch, total_iters=60).per_epoch(STEPS)
    run = parse(SCHEDULES["lambda"]).per_epoch(STEPS)
    np.testing.assert_allclose(run.values(60 * STEPS), written.values(60 * STEPS), rtol=2e-7)
    assert run.values(1, start=30 * STEPS)[0] == pytest.approx(0.05 * 0.95**30)
    # The documents' last rate, "about 0.0023", is that of the epoch after the last.
    assert run.values(1, start=60 * STEPS)[0] == pytest.approx(0.0023, abs=5e-5)


def test_the_stages_by_hand_change_after_thirty_epochs():
    rates = parse(SCHEDULES["two stages by hand"]).per_epoch(STEPS).values(60 * STEPS)
    np.testing.assert_array_equal(rates, np.repeat(np.float32([0.03, 0.01]), 30 * STEPS))


def test_the_graph_gives_the_weights_of_fit():
    """With the averages of batch normalisation and a rate that changes between the epochs.

    At small rates: at 0.05 rounding errors grow from the eighth digit to the second in 28 steps.
    """
    generator = np.random.default_rng(3)
    x, y = make_data(generator, 700, DATA["data"]["coefficients"], 0.01)
    weights = first_weights(generator, 5, [4, 4])
    rows = shuffled(generator, 700, 50, epochs=2)
    rate = parse("ExponentialLR(0.002, gamma=0.5)").per_epoch(STEPS)

    model = make_model(5, [4, 4])
    regression = Regression(
        model, keras.optimizers.SGD(rate), _polynomial.mean_square, x, y, batch_size=50
    )
    regression.train(rows[:3])  # to be forgotten
    regression.begin(weights)
    regression.train(rows[:STEPS])
    regression.train(rows[STEPS:])

    plain = make_model(5, [4, 4])
    plain.set_weights(weights)
    plain.compile(keras.optimizers.SGD(rate), loss="mse")
    order = rows.reshape(-1)
    plain.fit(x[order], y[order], 50, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    expected = plain.evaluate(x, y, verbose=0)
    assert regression.loss(x, y) == pytest.approx(expected, rel=1e-6)


def test_runs_of_a_seed_begin_alike():
    """By hand it is the constant 0.03 for thirty epochs: same data, weights and batches."""
    stages, constant = (
        train(name, epochs=32, seeds=[0, 1]) for name in ("two stages by hand", "constant 0.03")
    )
    for figure in ("train_loss", "test_loss"):
        ours, theirs = np.array(stages[figure]), np.array(constant[figure])
        assert ours.shape == (2, 32)
        np.testing.assert_allclose(ours[:, :30], theirs[:, :30], rtol=1e-6)
        assert np.all(ours[:, 30:] != theirs[:, 30:])
        assert np.all(ours[0] != ours[1])
    assert stages["last_rates"] == pytest.approx([0.01, 0.01])
    assert json.loads(json.dumps(stages)) == stages


def test_a_seed_gives_the_same_alone_and_after_others():
    both, alone = (train("lambda", epochs=3, seeds=seeds) for seeds in ([0, 1], [1]))
    assert both["test_loss"][1] == alone["test_loss"][0]
    assert both["last_rates"] == pytest.approx([0.05 * 0.95**2, 0.05 * 0.95**3])


@pytest.mark.parametrize(
    ("mine", "other", "holds", "said"),
    [
        ([1] * 5, [2] * 5, True, "smaller on 5 of 5 seeds"),
        ([2] * 5, [1] * 5, False, "smaller on 0 of 5 seeds"),
        ([1] * 4 + [3], [2] * 5, None, "smaller on 4 of 5 seeds"),
        ([1] * 4, [2] * 4, None, "smaller on 4 of 4 seeds"),  # too few: one in sixteen
        ([1] * 9 + [3], [2] * 10, True, "smaller on 9 of 10 seeds"),
        ([1] * 8 + [3] * 2, [2] * 10, None, "smaller on 8 of 10 seeds"),
        ([1] * 2 + [3] * 8, [2] * 10, None, "smaller on 2 of 10 seeds"),
        ([1] * 1 + [3] * 9, [2] * 10, False, "smaller on 1 of 10 seeds"),
        ([1] * 5 + [2] * 5, [2] * 10, True, "smaller on 5 of 10 seeds, equal on 5"),
        ([2] * 10, [2] * 10, None, "smaller on 0 of 10 seeds, equal on 10"),
        # One that is much larger does not outweigh nine, as it would in a mean.
        ([1] * 9 + [1e6], [2] * 10, True, "smaller on 9 of 10 seeds"),
        # What diverged is larger than anything.
        ([1] * 5, [np.nan] * 5, True, "smaller on 5 of 5 seeds"),
        ([np.nan] * 5, [2] * 5, False, "smaller on 0 of 5 seeds"),
    ],
)
def test_a_claim_is_judged_by_the_seeds(mine, other, holds, said):
    assert compared(np.array(mine, float), np.array(other, float)) == (holds, said)


def test_convergence_is_that_to_the_higher_of_both_ends():
    mine, other = np.array([[9.0, 6.0, 2.2, 1.0]]), np.array([[9.0, 2.1, 2.0, 2.0]])
    first, second = _polynomial.epochs_to_reach(mine, other)  # to 1.1 * 2.0
    assert (first.tolist(), second.tolist()) == ([3.0], [2.0])


def test_roughness_is_that_of_the_last_ten_changes():
    smooth = np.linspace(3, 1, 30)
    jumpy = smooth + 0.5 * (-1.0) ** np.arange(30)
    early = np.where(np.arange(30) < 19, jumpy, smooth)
    rough = _polynomial.roughness(np.array([smooth, jumpy, early]))
    assert rough == pytest.approx([0, 1, 0], abs=1e-9)


def made_up(ends, rough, pace, seeds=5):
    """Results that fall to their ends, each at its pace, and then jump up and down."""
    epochs, results = np.arange(60), []
    for job in PART.jobs(Plan()):
        end, jumps, speed = ends[job.name], rough[job.name], pace[job.name]
        curve = end + 30 * np.exp(-epochs / speed)
        curve[-20:-1] += jumps * (-1.0) ** np.arange(19)
        losses = [(curve + 0.01 * seed).tolist() for seed in range(seeds)]
        rate = 0.0024 if job.name == "lambda" else 0.01
        result = {"train_loss": losses, "test_loss": losses, "last_rates": [rate, rate]}
        results.append((job, result))
    return results


GOOD, BAD = 1.0, 4.0


@pytest.mark.parametrize(
    ("own", "others", "holds"), [(GOOD, BAD, True), (BAD, GOOD, False), (GOOD, GOOD, None)]
)
def test_claims_hold_where_the_numbers_say_so(own, others, holds):
    values = {name: own if name == "lambda" else others for name in SCHEDULES}
    ends = {name: 10 * value for name, value in values.items()}
    found = PART.findings(Plan(), made_up(ends, values, values))
    assert len(found.statements) == 10
    if own != others:
        # Whoever ends higher is there at once, or later where it was slow as well.
        fair = dict.fromkeys(SCHEDULES, 10.0)
        faster = PART.findings(Plan(), made_up(fair, values, values)).statements
        assert {each.holds for each in faster if "converges" in each.claim} == {holds}
    rest = [each for each in found.statements if "converges" not in each.claim]
    assert len(rest) == 7
    assert {each.holds for each in rest} == {holds}
    assert found.left_out == ""
    assert not found.lines


def test_a_rate_that_is_not_smaller_refutes_the_last_claim():
    values = {name: GOOD if name == "lambda" else BAD for name in SCHEDULES}
    results = made_up(values, values, values)
    results[0][1]["last_rates"] = [0.02, 0.02]
    last = PART.findings(Plan(), results).statements[-1]
    assert "smaller rate" in last.claim
    assert last.holds is False


def test_evidence_names_the_numbers():
    values = {name: GOOD if name == "lambda" else BAD for name in SCHEDULES}
    statements = PART.findings(Plan(), made_up(values, values, values)).statements
    [lower] = [each for each in statements if each.claim.endswith("lower than constant 0.03.")]
    assert "lambda 1.02 (1.00 to 1.04), constant 0.03 4.02 (4.00 to 4.04)" in lower.evidence
    assert "5 of 5 seeds" in lower.evidence


def test_few_seeds_tell_nothing():
    values = {name: GOOD if name == "lambda" else BAD for name in SCHEDULES}
    found = PART.findings(Plan(seeds=4), made_up(values, values, values, seeds=4))
    assert {each.holds for each in found.statements} == {None}
    assert "Too few seeds" in found.left_out


def test_a_run_that_diverged_is_drawn_and_judged():
    values = {name: GOOD if name == "lambda" else BAD for name in SCHEDULES}
    results = made_up(values, values, values)
    for losses in results[1][1]["test_loss"]:
        losses[30:] = [None] * 15 + [float("inf")] * 15
    found = PART.findings(Plan(), results)
    holds = {each.claim: each.holds for each in found.statements}
    assert holds["The lambda schedule ends lower than constant 0.03."] is True
    assert holds["The lambda schedule ends more smoothly than constant 0.03."] is True


def test_the_picture_has_a_band_for_each_line():
    values = {name: GOOD if name == "lambda" else BAD for name in SCHEDULES}
    [picture] = PART.findings(Plan(), made_up(values, values, values)).pictures
    assert set(picture.lines) == set(picture.bands) == set(SCHEDULES)
    (x, y), (_, low, high) = picture.lines["lambda"], picture.bands["lambda"]
    assert (x[0], x[-1], len(y)) == (1, 60, 60)
    assert y[-1] == pytest.approx(1.02)
    assert (low[-1], high[-1]) == pytest.approx((1.0, 1.04))


def test_what_the_source_leaves_open_is_said():
    values = dict.fromkeys(SCHEDULES, GOOD)
    summary = PART.findings(Plan(), made_up(values, values, values)).summary
    for said in ("number of rows", "noise", "split", "widths", "prints no figures"):
        assert said in summary


def test_without_results_it_says_so():
    found = PART.findings(Plan(), [])
    assert "Nothing" in found.left_out
    assert not found.statements


@pytest.mark.slow
def test_the_schedule_ends_lower_and_more_smoothly():
    """What holds by a wide margin, and so on any machine."""
    plan = Plan(quick=True)
    results = [(job, job.function(**job.arguments)) for job in PART.jobs(plan)]
    found = PART.findings(plan, results)
    holds = {each.claim: each.holds for each in found.statements}
    assert len(holds) == 10
    assert holds["The lambda schedule ends lower than constant 0.03."] is True
    assert holds["The lambda schedule ends more smoothly than constant 0.01."] is True
    assert found.left_out == ""
