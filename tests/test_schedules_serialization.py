"""What is saved of a schedule, and that loading it runs nothing."""

from __future__ import annotations

import copy
import json
import os
import sys
import zipfile

import keras
import numpy as np
import pytest
from strategies import EXAMPLES

import keraslr
from keraslr.schedules import registered

# TensorFlow's variables under NumPy 2, as Keras reads them when it saves.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

every_schedule = pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)


def plain(value):
    """Whether a value is made of what JSON has and nothing else."""
    if isinstance(value, dict):
        return all(type(key) is str and plain(each) for key, each in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@every_schedule
def test_configs_are_plain_and_complete(schedule):
    config = schedule.get_config()
    assert plain(config)
    assert json.loads(json.dumps(config)) == config
    assert list(config) == list(keraslr.schedules.parameters(type(schedule)))


@every_schedule
def test_configs_share_nothing_with_the_schedule(schedule):
    before = repr(schedule)
    config = schedule.get_config()
    original = copy.deepcopy(config)
    type(schedule).from_config(config)
    assert config == original  # reading it has not changed it
    for value in config.values():
        if isinstance(value, list | dict):
            value.clear()
    assert repr(schedule) == before


def test_a_config_may_leave_defaults_out():
    assert keraslr.StepLR.from_config(
        {"initial_learning_rate": 0.1, "step_size": 3}
    ) == keraslr.StepLR(0.1, 3)


def test_inner_schedules_are_found_by_their_registered_name():
    config = (keraslr.StepLR(0.1, 3) * 2.0).get_config()
    assert config["schedule"]["registered_name"] == "keraslr>StepLR"
    assert config["schedule"]["config"] == keraslr.StepLR(0.1, 3).get_config()


@pytest.mark.parametrize(
    ("config", "error", "text"),
    [
        ({"initial_learning_rate": 0.1}, TypeError, "step_size"),
        (
            {"initial_learning_rate": 0.1, "step_size": 3, "speed": 1, "a": 2},
            ValueError,
            r"config of StepLR must hold \['initial_learning_rate', 'step_size', 'gamma'\] only. "
            r"Received: 'a', 'speed'",
        ),
        ({"initial_learning_rate": "0.1", "step_size": 3}, TypeError, "initial_learning_rate must"),
        ({"initial_learning_rate": 0.1, "step_size": 3.0}, TypeError, "step_size must be an int"),
        ({"initial_learning_rate": 0.1, "step_size": [3]}, TypeError, "step_size must be an int"),
        ({"initial_learning_rate": -0.1, "step_size": 3}, ValueError, "initial_learning_rate must"),
    ],
)
def test_a_wrong_config_is_refused(config, error, text):
    with pytest.raises(error, match=text):
        keraslr.StepLR.from_config(config)


# Hostile configs

CALLED = []


def trap(*arguments, **keywords):
    """What a config might name to have it called."""
    CALLED.append((arguments, keywords))
    return 1.0


class Trap:
    """The same as a class."""

    def __init__(self, *arguments, **keywords):
        trap(*arguments, **keywords)

    @classmethod
    def from_config(cls, config):
        trap(config)
        return cls()


@pytest.fixture
def hostile(tmp_path, monkeypatch):
    """Payloads by name; afterwards none of them has been called or imported."""
    CALLED.clear()
    target = tmp_path / "was-here"
    (tmp_path / "hostile_module.py").write_text(
        f"open({str(target)!r}, 'w').close()\nclass Evil:\n    pass\ndef evil(*_): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(os, "system", trap)
    opens = eval(f"lambda *_: open({str(target)!r}, 'w').close()")

    def function(module, name):
        return {"class_name": "function", "module": module, "config": name, "registered_name": name}

    def instance(module, name, config, registered_name=None):
        return {
            "class_name": name,
            "module": module,
            "config": config,
            "registered_name": registered_name,
        }

    yield {
        "lambda": keras.saving.serialize_keras_object(opens),
        "lambda layer": keras.saving.serialize_keras_object(keras.layers.Lambda(opens)),
        "os.system": function("os", "system"),
        "eval": function("builtins", "eval"),
        "exec": function("builtins", "exec"),
        "function": function(__name__, "trap"),
        "class": instance(__name__, "Trap", {}),
        "class as ours": instance(__name__, "Trap", {}, "keraslr>Trap"),
        "class by path": instance(__name__, "Trap", {}, f"{__name__}.Trap"),
        "Popen": instance("subprocess", "Popen", {"args": ["touch", str(target)]}),
        "import": instance("hostile_module", "Evil", {}),
        "import of a function": function("hostile_module", "evil"),
        "text": "os.system",
        "code": f"open({str(target)!r}, 'w').close()",
        "code of a function": f"lambda t: open({str(target)!r}, 'w').close()",
        "template": "{0.__class__}",
        "live function": trap,
        "live class": Trap,
        "live builtin": eval,
        "live lambda": opens,
    }
    assert CALLED == []
    assert "hostile_module" not in sys.modules
    assert not target.exists()


PAYLOADS = (
    "lambda", "lambda layer", "os.system", "eval", "exec", "function", "class", "class as ours",
    "class by path", "Popen", "import", "import of a function", "text", "code",
    "code of a function", "template",
)  # fmt: skip
LIVE = ("live function", "live class", "live builtin", "live lambda")


def test_payloads_do_what_they_threaten(tmp_path, monkeypatch):
    # So that the tests below can fail: run the way that they must not be run, each leaves a mark.
    target = tmp_path / "was-here"
    opens = eval(f"lambda *_: open({str(target)!r}, 'w').close()")
    config = keras.saving.serialize_keras_object(opens)
    keras.saving.deserialize_keras_object(config, safe_mode=False)(0)
    assert target.exists()
    CALLED.clear()
    Trap.from_config({})
    assert len(CALLED) == 2
    CALLED.clear()


def places(config):
    """Every value of a config, however deep, as the keys that lead to it."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *rest) for rest in places(value))


def replaced(config, place, value):
    config = copy.deepcopy(config)
    here = config
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    return config


# Of an inner schedule only its name in the register and its config are looked at.
UNREAD = ("module", "class_name", "build_config")


@pytest.mark.parametrize("payload", [*PAYLOADS, *LIVE])
@every_schedule
def test_no_value_of_a_config_is_run(schedule, payload, hostile):
    config = schedule.get_config()
    refused = 0
    for place in places(config):
        if place[-1] in UNREAD:
            continue
        with pytest.raises((TypeError, ValueError)):
            type(schedule).from_config(replaced(config, place, hostile[payload]))
        refused += 1
    assert refused >= len(config)


@pytest.mark.parametrize("payload", PAYLOADS)
@every_schedule
def test_no_value_of_a_serialized_schedule_is_run_by_keras(schedule, payload, hostile):
    serialized = keras.saving.serialize_keras_object(schedule)
    for place in places(serialized["config"]):
        if place[-1] in UNREAD:
            continue
        bad = {**serialized, "config": replaced(serialized["config"], place, hostile[payload])}
        for safe_mode in (True, False):
            with pytest.raises((TypeError, ValueError)):
                keras.saving.deserialize_keras_object(
                    json.loads(json.dumps(bad)), safe_mode=safe_mode
                )


@pytest.mark.parametrize("key", UNREAD)
@pytest.mark.parametrize("payload", PAYLOADS)
def test_what_is_not_looked_at_is_not_run_either(key, payload, hostile):
    schedule = keraslr.StepLR(0.1, 3) * 2.0
    bad = replaced(schedule.get_config(), ("schedule", key), hostile[payload])
    assert keraslr.Scaled.from_config(bad) == schedule


@pytest.mark.parametrize("extra", ["lr_lambda", "__class__", "__init__", "at", "fn", ""])
@every_schedule
def test_extra_keys_are_refused(schedule, extra):
    config = schedule.get_config()
    if extra in config:
        pytest.skip("a parameter of this class")
    with pytest.raises(ValueError, match=f"must hold .* only. Received: {extra!r}"):
        type(schedule).from_config({**config, extra: 1})


@pytest.mark.parametrize(
    "inner",
    [
        {},
        {"class_name": "StepLR"},
        {"registered_name": "keraslr>StepLR"},
        {"registered_name": "keraslr>StepLR", "config": None},
        {"registered_name": "keraslr>StepLR", "config": []},
        {"registered_name": "keraslr>Schedule", "config": {}},
        {"registered_name": "keraslr>_Tabulated", "config": {}},
        {"registered_name": "other>StepLR", "config": {}},
        {"registered_name": "keraslr>keraslr>StepLR", "config": {}},
        {"registered_name": ["keraslr>StepLR"], "config": {}},
        {
            "class_name": "CosineDecay",
            "module": "keras.optimizers.schedules",
            "config": {"initial_learning_rate": 0.1, "decay_steps": 10},
            "registered_name": None,
        },
    ],
    ids=str,
)
@pytest.mark.parametrize("within", ["one", "several"])
def test_only_registered_schedules_are_inner_ones(inner, within):
    text = "a schedule's config must be that of a registered keraslr schedule. Received: class_name"
    with pytest.raises(ValueError, match=text):
        if within == "one":
            keraslr.Scaled.from_config({"schedule": inner, "factor": 1.0})
        else:
            keraslr.ChainedScheduler.from_config({"schedules": [inner]})


@pytest.mark.parametrize("cls", [keraslr.LambdaLR, keraslr.MultiplicativeLR])
@pytest.mark.parametrize("payload", [*PAYLOADS, *LIVE])
def test_a_function_in_a_config_is_never_called(cls, payload, hostile):
    for value in (hostile[payload], [hostile[payload]] * 2, [1.0, hostile[payload]]):
        with pytest.raises((TypeError, ValueError), match="lr_lambda"):
            cls.from_config({"initial_learning_rate": 0.1, "lr_lambda": value, "total_iters": 2})


# The same in a file.


def saved_model(path, schedule):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule), loss="mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), batch_size=1, verbose=0)
    model.save(path)
    return model


def rewritten(path, change):
    """The same file with the schedule's serialized form changed."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    config = json.loads(parts["config.json"])
    change(config["compile_config"]["optimizer"]["config"]["learning_rate"])
    parts["config.json"] = json.dumps(config).encode()
    with zipfile.ZipFile(path, "w") as file:
        for name, data in parts.items():
            file.writestr(name, data)


COMPOSED = (
    keraslr.LambdaLR(0.1, lambda t: 0.9**t, total_iters=3)
    .then(keraslr.StepLR(0.1, 3) * 0.5, at=5)
    .with_warmup(2)
)


@pytest.mark.parametrize("safe_mode", [True, False])
@pytest.mark.parametrize(
    "place",
    [
        ("schedule",),
        ("steps",),
        ("schedule", "config", "schedules"),
        ("schedule", "config", "schedules", 0),
        ("schedule", "config", "schedules", 0, "config", "lr_lambda"),
        ("schedule", "config", "schedules", 0, "config", "lr_lambda", 1),
        ("schedule", "config", "schedules", 1, "config", "schedule"),
        ("schedule", "config", "schedules", 1, "config", "new"),
    ],
    ids=lambda place: "-".join(map(str, place)),
)
def test_no_file_makes_python_code_run(place, safe_mode, hostile, tmp_path):
    path = tmp_path / "model.keras"
    saved_model(path, COMPOSED)
    for payload in PAYLOADS:

        def poison(serialized, payload=hostile[payload]):
            serialized["config"] = replaced(serialized["config"], place, payload)

        rewritten(path, poison)
        with pytest.raises((TypeError, ValueError)):
            keras.saving.load_model(path, safe_mode=safe_mode)


def test_a_rewritten_file_is_read_at_all(tmp_path):
    # So that the test above does not pass because every rewritten file fails.
    path = tmp_path / "model.keras"
    saved_model(path, COMPOSED)

    def other_steps(serialized):
        serialized["config"]["steps"] = 7

    rewritten(path, other_steps)
    loaded = keras.saving.load_model(path).optimizer._learning_rate
    assert loaded == keraslr.Warmup(COMPOSED.schedule, steps=7)


@pytest.mark.parametrize(
    "schedule",
    [
        keraslr.LambdaLR(0.1, lambda t: 1 / (1 + t), total_iters=30),
        keraslr.MultiplicativeLR(0.1, lambda t: 0.95 if t % 2 else 1.01, total_iters=30),
        COMPOSED,
    ],
    ids=lambda schedule: type(schedule).__name__,
)
def test_a_schedule_from_a_lambda_loads_in_safe_mode(schedule, tmp_path):
    path = tmp_path / "model.keras"
    model = saved_model(path, schedule)
    with zipfile.ZipFile(path) as file:
        text = file.read("config.json").decode()
    assert "__lambda__" not in text
    assert '"function"' not in text
    again = keras.saving.load_model(path)
    assert again.optimizer._learning_rate == schedule
    assert again.optimizer._learning_rate.values(50).tobytes() == schedule.values(50).tobytes()
    x, y = np.ones((4, 2)), np.ones((4, 1))
    for each in (model, again):
        each.fit(x, y, batch_size=1, shuffle=False, verbose=0)
    np.testing.assert_array_equal(model.get_weights()[0], again.get_weights()[0])


def test_copies_of_a_model_have_the_schedule():
    schedule = EXAMPLES["composed"]
    for cls in (keras.optimizers.SGD, keras.optimizers.AdamW, keras.optimizers.RMSprop):
        config = json.loads(json.dumps(cls(schedule).get_config()))
        assert cls.from_config(config)._learning_rate == schedule


def test_registered_gives_a_copy():
    before = dict(registered())
    registered().clear()
    assert registered() == before
