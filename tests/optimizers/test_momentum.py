"""SGD and Adam with a scheduled momentum: what is applied, and that it is Keras's where constant.

What is applied is read off a single weight. On example n, a number x_n with the target -1, the
hinge loss is 1 + w * x_n and its gradient x_n exactly, as long as w stays near 0. The weight after
some steps is then a function of the rates, momenta and gradients alone, and is computed again in
double precision.
"""

from __future__ import annotations

import inspect
import json

import keras
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, STEP_MODES, array, compiled_step, thinned

import keraslr
from keraslr.optimizers import SGD, Adam

STEPS = 24
RATE = keraslr.OneCycleLR(1e-3, total_steps=STEPS)
MOMENTUM = RATE.momentum_schedule(0.5, 0.95)
# Eighths, which a float16 holds too.
GRADIENTS = np.random.default_rng(0).integers(1, 12, STEPS) / 8
MODES = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "xla": {"jit_compile": True},
    "several steps at once": {**QUICKLY, "steps_per_execution": 7},
}
if BACKEND == "jax":
    del MODES["graph"], MODES["eager"]
elif BACKEND == "torch":
    MODES = {"eager": {}}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def sgd(rates, momenta, gradients, nesterov=False):
    """The weight after each step of SGD, beginning at 0."""
    weight = velocity = 0.0
    weights = []
    for rate, momentum, gradient in zip(rates, momenta, gradients, strict=True):
        velocity = momentum * velocity - rate * gradient
        weight += momentum * velocity - rate * gradient if nesterov else velocity
        weights.append(weight)
    return weights


def adam(rates, momenta, gradients, amsgrad=False):
    """The weight after each step of Adam, beginning at 0."""
    weight = m = v = highest = 0.0
    weights = []
    for n, (rate, beta_1, gradient) in enumerate(zip(rates, momenta, gradients, strict=True), 1):
        m = beta_1 * m + (1 - beta_1) * gradient
        v = 0.999 * v + 0.001 * gradient**2
        highest = max(highest, v) if amsgrad else v
        alpha = rate * np.sqrt(1 - 0.999**n) / (1 - beta_1**n)
        weight -= alpha * m / (np.sqrt(highest) + 1e-7)
        weights.append(weight)
    return weights


def rates(n=STEPS):
    return RATE.values(n).astype(np.float64)


def momenta(n=STEPS, start=0):
    return MOMENTUM.values(n, start).astype(np.float64)


# Class, arguments besides the schedules, and what they should give. In float32 1 - 0.999 has four
# digits, and its root goes into every step of Adam.
KINDS = {
    "sgd": (SGD, {}, sgd, 2e-6),
    "nesterov": (SGD, {"nesterov": True}, sgd, 2e-6),
    "adam": (Adam, {}, adam, 3e-5),
    "amsgrad": (Adam, {"amsgrad": True}, adam, 3e-5),
}
every_kind = pytest.mark.parametrize("kind", thinned(KINDS, every=2))
both_classes = pytest.mark.parametrize("kind", ["nesterov", "adam"])


def made(kind, momentum=MOMENTUM, **arguments):
    cls, fixed, _, _ = KINDS[kind]
    return cls(RATE, **{cls.scheduled: momentum}, **fixed, **arguments)


def assert_applied(weight, kind, *planned):
    _, fixed, definition, tolerance = KINDS[kind]
    np.testing.assert_allclose(weight, definition(*planned, **fixed)[-1], rtol=tolerance)


def compiled(optimizer, **mode):
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros")]
    )
    model.compile(optimizer, loss="hinge", **mode)
    return model


def fit(model, first=0, last=STEPS):
    x = GRADIENTS[first:last, None].astype("float32")
    model.fit(x, -np.ones_like(x), batch_size=1, shuffle=False, verbose=0)


def weight_of(model):
    return float(model.get_weights()[0][0, 0])


@both_classes
def test_the_measurement_sees_a_momentum_that_is_wrong(kind):
    model = compiled(made(kind), **QUICKLY)
    fit(model)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_applied(weight_of(model), kind, rates(), momenta(start=1), GRADIENTS)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_applied(weight_of(model), kind, rates(), momenta() + 1e-3, GRADIENTS)


@both_classes
@every_mode
def test_every_step_applies_its_momentum(kind, mode):
    model = compiled(made(kind), **mode)
    fit(model)
    assert int(model.optimizer.iterations) == STEPS
    assert_applied(weight_of(model), kind, rates(), momenta(), GRADIENTS)


class Counted(keras.optimizers.schedules.LearningRateSchedule):
    """A constant that counts how often it was asked for."""

    def __init__(self):
        self.calls = 0

    def __call__(self, step):
        self.calls += 1
        return keras.ops.convert_to_tensor(0.5)


@every_kind
def test_all_variables_of_a_step_share_one_evaluation(kind):
    counted, variables = Counted(), [keras.Variable(0.0) for _ in range(5)]
    optimizer = made(kind, counted)
    for steps in (1, 2):
        optimizer.apply([keras.ops.convert_to_tensor(1.0)] * 5, variables)
        assert counted.calls == steps


@every_kind
def test_a_bare_loop_applies_it_step_by_step(kind):
    optimizer, weight, seen = made(kind), keras.Variable(0.0), []
    for gradient in GRADIENTS.astype("float32"):
        optimizer.apply([keras.ops.convert_to_tensor(gradient)], [weight])
        seen.append(float(array(weight)))
    _, fixed, definition, tolerance = KINDS[kind]
    expected = definition(rates(), momenta(), GRADIENTS, **fixed)
    np.testing.assert_allclose(seen, expected, rtol=tolerance)


@both_classes
def test_accumulated_gradients_count_as_steps_for_both_schedules(kind):
    model = compiled(made(kind, gradient_accumulation_steps=3), **QUICKLY)
    fit(model)
    updates = slice(2, None, 3)
    means = GRADIENTS.reshape(-1, 3).mean(axis=1)
    assert_applied(weight_of(model), kind, rates()[updates], momenta()[updates], means)


@both_classes
def test_mixed_precision_applies_the_full_momentum(kind):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = compiled(made(kind), **QUICKLY)
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    fit(model)
    assert_applied(weight_of(model), kind, rates(), momenta(), GRADIENTS)


def test_steps_that_mixed_precision_skips_do_not_count():
    # 2 ** 18 is infinite in float16 and so are 2 ** 17 and 2 ** 16: three steps are skipped.
    keras.config.set_dtype_policy("mixed_float16")
    try:
        scaled = keras.optimizers.LossScaleOptimizer(made("sgd"), 2.0**18)
        model = compiled(scaled, **QUICKLY)
    finally:
        keras.config.set_dtype_policy("float32")
    fit(model)
    skipped = STEPS - int(model.optimizer.iterations)
    assert skipped >= 3
    left = STEPS - skipped
    assert_applied(weight_of(model), "sgd", rates(left), momenta(left), GRADIENTS[skipped:])


def test_the_schedule_of_another_package_is_applied_too():
    falling = keras.optimizers.schedules.ExponentialDecay(0.9, decay_steps=10, decay_rate=0.5)
    model = compiled(made("nesterov", falling))
    fit(model)
    assert_applied(
        weight_of(model), "nesterov", rates(), 0.9 * 0.5 ** (np.arange(STEPS) / 10), GRADIENTS
    )


def test_a_momentum_per_epoch_changes_with_the_epoch():
    slow = keraslr.CyclicLR(0.1, 0.2, step_size_up=2).momentum_schedule(0.5, 0.9).per_epoch(6)
    model = compiled(made("sgd", slow), **QUICKLY)
    fit(model)
    assert_applied(weight_of(model), "sgd", rates(), np.repeat([0.9, 0.7, 0.5, 0.7], 6), GRADIENTS)


# A constant schedule: Keras's own numbers, to the bit.

CONSTANTS = thinned([0.9, 0.123, 0.0], every=2)
DTYPES = {
    "tensorflow": ["float32", "float16", "bfloat16"],
    "jax": ["float32", "bfloat16"],
    "torch": ["float32"],
}[BACKEND]


def assert_same(ours, theirs, settings=""):
    """To the bit; but under PyTorch Keras's classes are others, which round otherwise."""
    ours, theirs = array(ours), array(theirs)
    if BACKEND == "torch":
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6, err_msg=settings)
    else:
        assert ours.tobytes() == theirs.tobytes(), settings


def constant(value, mode, dtype):
    yield keraslr.PiecewiseConstantLR([10**6], [value, 0.3])
    if mode != "eager" and dtype == "float32":
        # Known to a compiler beforehand, which may round what follows otherwise.
        yield keraslr.PiecewiseConstantLR([], [value])


def pairs(mode, dtype):
    """Keras's optimizers, each with ours that should be the same."""
    for value in CONSTANTS if dtype == "float32" else CONSTANTS[:1]:
        for schedule in constant(value, mode, dtype):
            for nesterov in (False, True):
                # For a momentum of 0 Keras keeps no velocity, and XLA rounds the shorter formula
                # once less.
                if not (value == 0.0 and mode == "xla"):
                    yield (
                        keras.optimizers.SGD(0.01, value, nesterov),
                        SGD(0.01, schedule, nesterov),
                    )
            for amsgrad in (False, True):
                yield (
                    keras.optimizers.Adam(0.01, value, amsgrad=amsgrad),
                    Adam(0.01, schedule, amsgrad=amsgrad),
                )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", STEP_MODES)
def test_a_constant_schedule_gives_the_bits_of_keras(mode, dtype):
    both = list(pairs(mode, dtype))
    weights = [[keras.Variable(np.linspace(-1, 1, 5), dtype=dtype) for _ in range(2)] for _ in both]
    for optimizers, variables in zip(both, weights, strict=True):
        for optimizer, variable in zip(optimizers, variables, strict=True):
            optimizer.build([variable])

    # All in one function: a compilation costs more than its runs.
    def step(gradient):
        for optimizers, variables in zip(both, weights, strict=True):
            for optimizer, variable in zip(optimizers, variables, strict=True):
                optimizer.apply([gradient], [variable])

    def variables():
        flat = [variable for pair in weights for variable in pair]
        return flat + [each for pair in both for optimizer in pair for each in optimizer.variables]

    step = compiled_step(step, mode, variables)
    rng = np.random.default_rng(1)
    for _ in range(8 if mode == "eager" else 60):
        gradient = rng.normal(size=5) * 10.0 ** rng.integers(-3, 2)
        step(keras.ops.cast(gradient.astype("float32"), dtype))

    for (theirs, ours), (their_weight, our_weight) in zip(both, weights, strict=True):
        settings = f"{theirs.get_config()} {ours.get_config()}"
        assert our_weight.dtype == their_weight.dtype == dtype
        assert_same(our_weight, their_weight, settings)
        # Without the counters; Keras's SGD has nothing else where the momentum is 0.
        for ours_own, keras_own in zip(ours.variables[2:], theirs.variables[2:], strict=False):
            assert_same(ours_own, keras_own, settings)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SGD(RATE, 0.9), keras.optimizers.SGD(RATE, 0.9)),
        (SGD(RATE), keras.optimizers.SGD(RATE)),
        (Adam(RATE, 0.8), keras.optimizers.Adam(RATE, 0.8)),
        (Adam(), keras.optimizers.Adam()),
    ],
    ids=["sgd", "plain sgd", "adam", "adam's defaults"],
)
def test_a_number_is_keras_itself(ours, theirs):
    weights = []
    for optimizer in (ours, theirs):
        weight = keras.Variable([0.5, -0.5])
        for gradient in GRADIENTS:
            optimizer.apply([keras.ops.convert_to_tensor([gradient, -1.0], "float32")], [weight])
        weights.append(weight)
    assert_same(*weights)
    assert len(ours.variables) == len(theirs.variables)
    own = {"name"}
    assert {k: v for k, v in ours.get_config().items() if k not in own} == {
        k: v for k, v in theirs.get_config().items() if k not in own
    }


@pytest.mark.parametrize(
    ("ours", "theirs"), [(SGD, keras.optimizers.SGD), (Adam, keras.optimizers.Adam)]
)
def test_arguments_are_those_of_keras(ours, theirs):
    def arguments(cls):
        # The default of the name is another one in each version of Keras.
        return [
            (each.name, each.kind, each.name == "name" or each.default)
            for each in inspect.signature(cls).parameters.values()
        ]

    assert arguments(ours) == arguments(theirs)


# Saved and loaded.

SCHEDULES = {
    "one cycle": MOMENTUM,
    "composed": keraslr.CyclicLR(0.1, 0.2, 3, mode="triangular2")
    .momentum_schedule(0.3, 0.9)
    .per_epoch(2)
    .clipped(0.4, 0.8),
    "keras's": keras.optimizers.schedules.ExponentialDecay(0.9, 10, 0.5, staircase=True),
    "a number": 0.75,
}
SCHEDULES = thinned(SCHEDULES, every=2)
every_schedule = pytest.mark.parametrize("momentum", SCHEDULES.values(), ids=SCHEDULES)


def values_of(momentum):
    if isinstance(momentum, float):
        return momentum
    return [float(momentum(step)) for step in (0, 7, 20)]


def scheduled(optimizer):
    return getattr(optimizer, type(optimizer).scheduled)


@every_schedule
@every_kind
@pytest.mark.parametrize(
    "again",
    [
        lambda o: type(o).from_config(o.get_config()),
        lambda o: type(o).from_config(json.loads(json.dumps(o.get_config()))),
        lambda o: keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(o)),
        lambda o: keras.optimizers.get(json.loads(json.dumps(keras.optimizers.serialize(o)))),
    ],
    ids=["config", "json", "keras", "keras.optimizers"],
)
def test_an_optimizer_survives(kind, momentum, again):
    optimizer = made(kind, momentum, weight_decay=0.25, clipnorm=2.0)
    before = json.dumps(optimizer.get_config())
    other = again(optimizer)
    assert type(other) is type(optimizer)
    assert other is not optimizer
    assert json.dumps(other.get_config()) == json.dumps(optimizer.get_config()) == before
    assert values_of(scheduled(other)) == values_of(momentum)
    assert other._learning_rate == RATE
    if isinstance(momentum, keraslr.Schedule):
        assert scheduled(other) == momentum


def test_a_config_stays_what_it_is():
    config = made("sgd").get_config()
    before = json.dumps(config)
    SGD.from_config(config)
    assert json.dumps(config) == before


@pytest.mark.parametrize(
    ("kind", "momentum"),
    [("nesterov", each) for each in SCHEDULES.values()] + [("amsgrad", MOMENTUM)],
    ids=[*SCHEDULES, "amsgrad"],
)
def test_a_saved_run_goes_on_as_if_it_had_not_been(kind, momentum, tmp_path):
    whole = compiled(made(kind, momentum), **QUICKLY)
    fit(whole)
    model = compiled(made(kind, momentum), **QUICKLY)
    fit(model, last=STEPS // 2)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.optimizer) is KINDS[kind][0]
    fit(again, first=STEPS // 2)
    assert weight_of(again) == weight_of(whole) != 0


@both_classes
def test_a_run_resumed_from_weights_goes_on_as_if_it_had_not_stopped(kind, tmp_path):
    whole = compiled(made(kind), **QUICKLY)
    fit(whole)
    model = compiled(made(kind), **QUICKLY)
    fit(model, last=STEPS // 2)
    model.save_weights(tmp_path / "run.weights.h5")
    again = compiled(made(kind), **QUICKLY)
    again.optimizer.build(again.trainable_variables)
    again.load_weights(tmp_path / "run.weights.h5")
    fit(again, first=STEPS // 2)
    assert weight_of(again) == weight_of(whole) != 0


def test_a_killed_run_resumed_by_keras_goes_on_where_it_was(tmp_path):
    x = GRADIENTS[:, None].astype("float32")

    def run(epochs):
        model = compiled(made("sgd"), **QUICKLY)
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model.fit(
            x[: STEPS // 2], -np.ones((STEPS // 2, 1)), batch_size=1, epochs=epochs, shuffle=False,
            verbose=0, callbacks=[backup],
        )  # fmt: skip
        return model

    run(1)
    resumed = run(2)
    assert int(resumed.optimizer.iterations) == STEPS
    twice = np.tile(GRADIENTS[: STEPS // 2], 2)
    assert_applied(weight_of(resumed), "sgd", rates(), momenta(), twice)


# Refused.


@pytest.mark.parametrize("cls", [SGD, Adam])
@pytest.mark.parametrize(
    "value",
    [True, False, "0.9", None, [0.9], 1j, lambda: 0.9, np.array([0.9]), keraslr.OneCycleLR],
    ids=["True", "False", "text", "None", "list", "complex", "function", "array", "class"],
)
def test_what_is_neither_number_nor_schedule_is_a_type_error(cls, value):
    name = cls.scheduled
    rule = "must be a number >= 0 and <=? 1, or a LearningRateSchedule"
    with pytest.raises(TypeError, match=rf"^{name} {rule}\. Received: {name}="):
        cls(**{name: value})


@pytest.mark.parametrize(
    ("cls", "value"),
    [
        (SGD, -0.1),
        (SGD, 1.0000001),
        (SGD, float("nan")),
        (Adam, -1e-9),
        (Adam, 1.0),
        (Adam, float("inf")),
    ],
)
def test_numbers_out_of_range_are_value_errors(cls, value):
    name = cls.scheduled
    with pytest.raises(ValueError, match=rf"^{name} must be a number >= 0 .*{name}={value!r}"):
        cls(**{name: value})


def test_both_ends_of_the_range_are_accepted():
    assert [SGD(momentum=value).momentum for value in (0, 0.0, 1.0, np.float32(0.5))] == [
        0.0,
        0.0,
        1.0,
        0.5,
    ]
    assert Adam(beta_1=0.0).beta_1 == 0.0


@pytest.mark.parametrize(
    "hostile",
    [
        {"class_name": "system", "module": "os", "registered_name": "keraslr>system",
         "config": {"command": "true"}},
        {"class_name": "StepLR", "registered_name": "keraslr>StepLR", "config": None},
        {"class_name": "__lambda__", "config": {"value": "abc"}},
        {"class_name": "Dense", "module": "keras.layers", "registered_name": None,
         "config": {"units": 3}},
        {"initial_learning_rate": 0.1},
        "StepLR(0.1, 3)",
        [0.9],
    ],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("cls", [SGD, Adam])
def test_a_config_that_holds_something_else_is_refused(cls, hostile):
    config = {**cls().get_config(), cls.scheduled: hostile}
    with pytest.raises((TypeError, ValueError)):
        cls.from_config(config)


def test_a_schedule_of_this_package_is_read_without_importing_what_its_config_names(
    tmp_path, monkeypatch
):
    mark = tmp_path / "was-here"
    (tmp_path / "imported_by_config.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = made("sgd").get_config()
    config["momentum"]["module"] = "imported_by_config"
    assert SGD.from_config(config).momentum == MOMENTUM
    config["momentum"]["registered_name"] = "keraslr>Unheard"
    with pytest.raises(ValueError, match="registered keraslr schedule"):
        SGD.from_config(config)
    assert not mark.exists()
