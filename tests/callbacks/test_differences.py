"""Is our plateau rule that of Keras, timm and optax as their porting pages say, line by line?"""

from __future__ import annotations

import json
from pathlib import Path

import keras
import numpy as np
import plateau_lines
import porting_tables
import pytest
from measured import compiled, fit

import keraslr
from keraslr.callbacks import ReduceLROnPlateau

KerasRule = keras.callbacks.ReduceLROnPlateau

with np.load(Path(__file__).parents[1] / "goldens" / "plateau_peers.npz") as file:
    GOLDENS = dict(file)
VERSIONS = json.loads(str(GOLDENS["versions"]))

# Keras multiplies a float32 at each reduction, and optax and timm a double.
RELATIVE = 2e-6


@pytest.fixture(scope="module")
def small():
    return keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])


def rates(callback, model, metrics, rate=0.1, *, anew=False):
    """The rate after each epoch, in one fit for each list of metrics; `anew` resets before each."""
    model.compile(keras.optimizers.SGD(rate), "mse")
    seen = []
    for of_a_fit in metrics:
        callback.set_model(model)
        if anew:
            callback.reset()
        callback.on_train_begin()
        for epoch, metric in enumerate(of_a_fit):
            callback.on_epoch_begin(epoch)
            callback.on_epoch_end(epoch, {callback.monitor: metric})
            model.optimizer.iterations.assign_add(1)
            seen.append(float(model.optimizer.learning_rate))
    return np.array(seen)


def made_up_metrics(random, epochs=20):
    """Plateaus with noise; on a grid, so that no comparison is near a tie in float32."""
    levels = np.cumsum(random.choice([-0.2, 0.0, 0.0, 0.02], epochs))
    metrics = 3 + levels + random.normal(0, random.choice([0.0, 0.01, 0.1]), epochs)
    metrics = np.round(metrics * 1024) / 1024
    metrics[1:][random.random(epochs - 1) < 0.05] = np.nan
    return metrics.tolist()


def drawn(random):
    settings = {
        "factor": random.choice([0.1, 0.5, 0.9]), "patience": random.choice([0, 1, 2, 3, 6]),
        "min_delta": random.choice([0.0, 1e-4, 0.0123, 0.1]),
        "cooldown": random.choice([0, 1, 2, 5]), "min_lr": random.choice([0.0, 0.003]),
        "mode": random.choice(["min", "max"]),
    }  # fmt: skip
    return {name: value.item() for name, value in settings.items()}


@pytest.mark.parametrize("seed", range(12))
def test_kerass_rule_decides_at_the_epochs_of_its_line_in_ours(small, seed):
    random = np.random.default_rng(seed)
    settings, fits = drawn(random), [made_up_metrics(random), made_up_metrics(random)]
    ours = ReduceLROnPlateau(**plateau_lines.from_keras(**settings))
    expected = rates(KerasRule(**settings), small, fits)
    assert len(set(expected)) > 1 or settings["patience"] == 6
    np.testing.assert_allclose(rates(ours, small, fits, anew=True), expected, rtol=RELATIVE)


def cases(library):
    return [i for i, each in enumerate(GOLDENS["libraries"].tolist()) if each == library]


def golden(case):
    length = int(GOLDENS["lengths"][case])
    settings = json.loads(str(GOLDENS["settings"][case]))
    return settings, GOLDENS["metrics"][case][:length], GOLDENS["values"][case][:length]


@pytest.mark.parametrize("case", cases("timm"))
def test_timms_rule_has_the_rates_of_its_line_in_ours(small, case):
    settings, metrics, expected = golden(case)
    rate, warm = 0.1, settings["warmup_t"]
    if warm:
        plain = keraslr.ConstantLR(0.1, factor=1.0)
        rate = plain.with_warmup(warm, start_lr=settings["warmup_lr_init"])
    ours = ReduceLROnPlateau(**plateau_lines.from_timm(**settings))
    np.testing.assert_allclose(rates(ours, small, [metrics], rate), expected, rtol=RELATIVE)


@pytest.mark.parametrize("case", cases("optax"))
def test_optaxs_rule_has_the_scales_of_its_line_in_ours(small, case):
    settings, metrics, expected = golden(case)
    ours = ReduceLROnPlateau(**plateau_lines.from_optax(**settings))
    small.compile(keras.optimizers.SGD(0.1), "mse")
    ours.set_model(small)
    ours.on_train_begin()
    ours.on_epoch_begin(0)
    scales = []
    for step, metric in enumerate(metrics):
        ours.on_train_batch_end(step, {"loss": metric})
        scales.append(float(small.optimizer.learning_rate) / 0.1)
    # After the step that decides, where optax scales that step itself.
    np.testing.assert_allclose(scales, expected, rtol=RELATIVE)


def test_the_goldens_have_what_the_rules_have():
    seen = {library: [golden(case)[0] for case in cases(library)] for library in ("timm", "optax")}
    assert min(map(len, seen.values())) >= 16
    for library, names in (("timm", "warmup_t cooldown_t lr_min"), ("optax", "min_scale cooldown")):
        for name in names.split():
            assert sum(each[name] > 0 for each in seen[library]) >= 4, name
    for name in ("rtol", "atol"):
        assert sum(each[name] > 0 for each in seen["optax"]) >= 4, name
    assert sum(each["accumulation_size"] > 1 for each in seen["optax"]) >= 4
    reductions = [len(set(golden(i)[2])) > 1 for i in range(len(GOLDENS["libraries"]))]
    assert sum(reductions) > 0.8 * len(reductions)


@pytest.mark.parametrize("library", plateau_lines.TRANSLATIONS)
def test_the_lines_of_a_page_are_those_that_are_tested(library):
    found = list(plateau_lines.lines(library))
    assert len(found) >= 3
    for given, (ours, *schedule) in found:
        warm, start = given.get("warmup_t", 0), given.get("warmup_lr_init", 0.0)
        expected = plateau_lines.TRANSLATIONS[library](**given)
        assert plateau_lines.rule(ours).settings() == ReduceLROnPlateau(**expected).settings()
        assert bool(schedule) == bool(warm)
        for each in schedule:
            plain = keraslr.ConstantLR(porting_tables.RATE, factor=1.0)
            assert keraslr.parse(each) == plain.with_warmup(warm, start_lr=start)


@pytest.mark.parametrize("library", sorted(VERSIONS))
def test_the_pages_name_the_version_that_was_asked(library):
    assert f"{library} {VERSIONS[library]}" in porting_tables.page(library)


# The other rows of the table of differences from Keras


def first_reduction(callback, model, *metrics):
    return int(np.argmax(rates(callback, model, metrics) < 0.09))


def test_patience_tolerates_one_bad_epoch_more(small):
    flat = [1.0] * 20
    for patience, theirs, ours in ((0, 1, 1), (1, 1, 2), (5, 5, 6)):
        assert first_reduction(KerasRule(patience=patience), small, flat) == theirs
        assert first_reduction(ReduceLROnPlateau(patience=patience), small, flat) == ours


def test_cooldown_passes_over_one_bad_epoch_more(small):
    flat = [1.0] * 20
    for cooldown, theirs, ours in ((0, 1, 1), (1, 1, 2), (4, 4, 5)):
        for rule, patience, apart in ((KerasRule, 1, theirs), (ReduceLROnPlateau, 0, ours)):
            seen = rates(rule(patience=patience, cooldown=cooldown, factor=0.5), small, [flat])
            drops = np.flatnonzero(np.diff(seen) < 0)
            assert set(np.diff(drops)) == {apart}, (rule, cooldown)


def test_the_next_fit_begins_anew_in_keras_alone(small):
    fits = [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]
    assert first_reduction(KerasRule(patience=3), small, *fits) == 0  # never
    assert first_reduction(ReduceLROnPlateau(patience=2), small, *fits) == 3


def test_a_small_improvement_of_a_large_metric_counts_in_keras_alone(small):
    falling = (1000 - 0.01 * np.arange(20)).tolist()
    assert first_reduction(KerasRule(patience=3), small, falling) == 0  # never
    assert first_reduction(ReduceLROnPlateau(patience=2), small, falling) == 3


def test_after_a_first_nan_nothing_is_better_in_keras(small):
    falling = [np.nan, *np.linspace(3, 1, 20)]
    assert first_reduction(KerasRule(patience=3), small, falling) == 3
    assert first_reduction(ReduceLROnPlateau(patience=2), small, falling) == 0  # never


def test_a_schedule_is_an_error_in_keras(small):
    schedule = keraslr.ConstantLR(0.1, factor=1.0)
    with pytest.raises(TypeError, match="LearningRateSchedule"):
        rates(KerasRule(patience=1), small, [[1.0, 1.0]], schedule)
    assert rates(ReduceLROnPlateau(patience=0), small, [[1.0, 1.0]], schedule)[-1] < 0.011


def test_a_missing_metric_is_a_warning_in_keras(small):
    small.compile(keras.optimizers.SGD(0.1), "mse")
    rule = KerasRule("val_loss")
    rule.set_model(small)
    for epoch in range(2):
        with pytest.warns(UserWarning, match="`val_loss` which is not available"):
            rule.on_epoch_end(epoch, {"loss": 1.0})
    with pytest.raises(KeyError, match="monitor='val_loss'"):
        fit(compiled(0.1), callbacks=[ReduceLROnPlateau("val_loss")])


def test_a_function_is_a_metric_whose_direction_keras_does_not_know():
    def dice(y, p):
        return keras.ops.mean(p)

    def run(rule):
        model = compiled(0.1, metrics=[dice])
        fit(model, epochs=2, callbacks=[rule])
        return model

    with pytest.raises(ValueError, match="Pass `mode='max'`"):
        run(KerasRule("dice"))
    ours = ReduceLROnPlateau("dice")
    run(ours)
    assert ours.plateau.mode == "max"


def test_a_tiny_reduction_is_applied_by_keras_alone(small):
    flat = [1.0, 1.0, 1.0]
    assert rates(KerasRule(patience=1), small, [flat], 1e-8)[-1] == pytest.approx(1e-10)
    assert rates(ReduceLROnPlateau(patience=0), small, [flat], 1e-8)[-1] == pytest.approx(1e-8)
    exact = ReduceLROnPlateau(patience=0, eps=0.0)
    assert rates(exact, small, [flat], 1e-8)[-1] == pytest.approx(1e-10)


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="Keras is older than 3.15"
)
def test_both_reduce_all_groups_and_ours_some(small):
    for rule, expected in (
        (KerasRule(patience=1, factor=0.5), [0.05, 0.005]),
        (ReduceLROnPlateau(patience=0, factor=0.5), [0.05, 0.005]),
        (ReduceLROnPlateau(patience=0, factor=0.5, groups=["other"]), [0.1, 0.005]),
        (ReduceLROnPlateau(patience=0, factor=0.5, min_lr={"other": 0.008}), [0.05, 0.008]),
    ):
        first = keras.optimizers.SGD(0.1, name="first")
        other = keras.optimizers.SGD(0.01, name="other")
        groups = keras.optimizers.OptimizerMap(first, {".*bias": other})
        small.compile(keras.optimizers.MultiOptimizer(groups), "mse")
        rule.set_model(small)
        rule.on_train_begin()
        for epoch in range(2):
            rule.on_epoch_begin(epoch)
            rule.on_epoch_end(epoch, {"val_loss": 1.0})
        assert [float(each.learning_rate) for each in (first, other)] == pytest.approx(expected)


def test_keras_takes_a_factor_of_zero(small):
    assert rates(KerasRule(patience=1, factor=0.0), small, [[1.0, 1.0]])[-1] == 0.0
    with pytest.raises(ValueError, match="factor must be a number > 0 and < 1"):
        ReduceLROnPlateau(factor=0.0)
