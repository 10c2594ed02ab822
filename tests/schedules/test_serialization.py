"""Schedules survive saving, and loading one runs nobody's code."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import sys
import warnings
import zipfile

import keras
import numpy as np
import pytest
from measured import thinned
from strategies import EXAMPLES

import keraslr
from keraslr import (
    ChainedScheduler,
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    PerEpoch,
    SequentialLR,
    StepLR,
    Warmup,
    parse,
)

NESTED = (
    CosineAnnealingLR(0.1, T_max=15, eta_min=0.001)
    .with_warmup(5, mode="cosine")
    .then(0.5 * StepLR(0.2, step_size=3), at=12)
    .clipped(0.01, 0.15)
    .held_after(30)
    .per_epoch(4, smooth=True)
)
FROM_A_LAMBDA = LambdaLR(0.1, lambda t: 1 / (1 + t), total_iters=20)


@pytest.mark.parametrize(
    "again",
    [
        lambda s: type(s).from_config(s.get_config()),
        lambda s: type(s).from_config(json.loads(json.dumps(s.get_config(), allow_nan=False))),
        lambda s: keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(s)),
        lambda s: keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(s)),
        lambda s: pickle.loads(pickle.dumps(s)),
        copy.deepcopy,
        lambda s: parse(repr(s)),
        lambda s: eval(repr(s), vars(keraslr).copy()),
    ],
    ids=["config", "json", "keras", "keras.schedules", "pickle", "deepcopy", "parse", "eval"],
)
@pytest.mark.parametrize("schedule", [NESTED, FROM_A_LAMBDA], ids=["nested", "lambda"])
def test_a_schedule_survives(schedule, again):
    other = again(schedule)
    assert other == schedule
    np.testing.assert_array_equal(other.values(200), schedule.values(200))


def model_with(schedule) -> keras.Model:
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(schedule), "mse")
    return model


@pytest.mark.parametrize("schedule", [NESTED, FROM_A_LAMBDA], ids=["nested", "lambda"])
def test_it_is_saved_with_its_model_and_goes_on(tmp_path, schedule):
    model = model_with(schedule)
    x, y = np.ones((8, 2), np.float32), np.ones((8, 1), np.float32)
    model.fit(x, y, batch_size=1, epochs=1, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")  # in safe mode, which is the default
    assert loaded.optimizer._learning_rate == schedule
    assert int(loaded.optimizer.iterations) == 8
    assert float(loaded.optimizer.learning_rate) == schedule.values(9)[8]


TRAP = []


def spring_the_trap(*arguments, **named):
    TRAP.append(arguments)
    return StepLR(0.1, step_size=3)


HOSTILE = {
    "a lambda": {"class_name": "__lambda__", "config": {"value": "abc"}},
    "a function": {
        "class_name": "function", "config": "spring_the_trap", "module": __name__,
        "registered_name": "function",
    },
    "a module's function": {
        "class_name": "system", "config": {"command": "true"}, "module": "os",
        "registered_name": None,
    },
    "a builtin": {
        "class_name": "eval", "config": {"source": "spring_the_trap()"}, "module": "builtins",
        "registered_name": "eval",
    },
    "a keras layer": {
        "class_name": "Lambda", "config": {"function": "x"}, "module": "keras.layers",
        "registered_name": None,
    },
    "an unknown name": {
        "class_name": "EvilLR", "config": {}, "module": __name__,
        "registered_name": "keraslr>EvilLR",
    },
    "another package": {
        "class_name": "StepLR", "config": {}, "registered_name": "evil>StepLR",
    },
    "no config": {"class_name": "StepLR", "registered_name": "keraslr>StepLR", "config": None},
    "a string": "StepLR(0.1, step_size=3)",
    "nothing": None,
}  # fmt: skip


def holders():
    """Each place of a config that may hold a schedule, as a function that puts one there."""
    yield from (
        PerEpoch(StepLR(0.1, 3), 5),
        Warmup(PerEpoch(StepLR(0.1, 3), 5), 2),
        SequentialLR([StepLR(0.1, 3), StepLR(0.1, 4)], [5]),
        ChainedScheduler([StepLR(0.1, 3), LinearLR(0.1)]),
    )


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("whole", list(holders()), ids=lambda s: type(s).__name__)
def test_a_hostile_config_runs_nothing(whole, hostile):
    TRAP.clear()
    config = whole.get_config()
    if "schedule" in config:
        config["schedule"] = hostile
    else:
        config["schedules"][1] = hostile
    with pytest.raises((TypeError, ValueError)):
        type(whole).from_config(config)
    assert TRAP == []


@pytest.mark.parametrize(
    "numbers",
    [spring_the_trap, [1.0, spring_the_trap], "abc", HOSTILE["a lambda"], HOSTILE["a function"]],
    ids=["function", "function in a list", "string", "lambda config", "function config"],
)
def test_a_config_holds_no_function(numbers):
    TRAP.clear()
    config = {"initial_learning_rate": 0.1, "lr_lambda": numbers, "total_iters": 1}
    with pytest.raises((TypeError, ValueError), match="lr_lambda"):
        LambdaLR.from_config(config)
    assert TRAP == []


def test_unknown_keys_are_refused():
    config = {**ExponentialLR(0.1, 0.5).get_config(), "__class__": "evil"}
    with pytest.raises(ValueError, match="'__class__'"):
        ExponentialLR.from_config(config)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_model_file_runs_nothing(tmp_path, hostile):
    """A .keras file in whose config somebody has put something else for the inner schedule."""
    TRAP.clear()
    model_with(PerEpoch(StepLR(0.1, 3), 5)).save(tmp_path / "good.keras")
    with (
        zipfile.ZipFile(tmp_path / "good.keras") as good,
        zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad,
    ):
        for item in good.namelist():
            content = good.read(item)
            if item == "config.json":
                config = json.loads(content)
                optimizer = config["compile_config"]["optimizer"]["config"]
                optimizer["learning_rate"]["config"]["schedule"] = hostile
                content = json.dumps(config).encode()
            bad.writestr(item, content)
    with pytest.raises((TypeError, ValueError)):
        keras.saving.load_model(tmp_path / "bad.keras")
    assert TRAP == []


# Every value of every schedule's config, in turn replaced by each payload.

CALLED = []


class Trap:
    """A class that a config might name to have it made."""

    def __init__(self, *arguments, **named):
        CALLED.append(arguments)

    @classmethod
    def from_config(cls, config):
        CALLED.append(config)
        return cls()


def payload(class_name, module, config, registered_name=None):
    return {
        "class_name": class_name,
        "module": module,
        "config": config,
        "registered_name": registered_name,
    }


@pytest.fixture
def payloads(tmp_path, monkeypatch):
    """Things that would leave a mark if they were called or imported; there must be none."""
    mark = tmp_path / "was-here"
    code = f"open({str(mark)!r}, 'w').close()"
    (tmp_path / "hostile_module.py").write_text(f"{code}\nclass Evil:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("os.system", CALLED.append)
    CALLED.clear()
    TRAP.clear()
    with warnings.catch_warnings():
        # Keras warns that what follows is unsafe, and so it is.
        warnings.simplefilter("ignore")
        opens = keras.saving.serialize_keras_object(
            lambda t=0, path=str(mark): open(path, "w").close()
        )
    keras.saving.deserialize_keras_object(opens, safe_mode=False)(0)
    assert mark.exists()  # the mark is made where the lambda is run
    mark.unlink()
    yield {
        "lambda": opens,
        "lambda layer": payload("Lambda", "keras.layers", {"function": opens}),
        "function": payload("function", __name__, "spring_the_trap", "spring_the_trap"),
        "os.system": payload("function", "os", "system", "system"),
        "eval": payload("function", "builtins", "eval", "eval"),
        "exec": payload("function", "builtins", "exec", "exec"),
        "class": payload("Trap", __name__, {}),
        "class under this package's name": payload("Trap", __name__, {}, "keraslr>Trap"),
        "class by its path": payload("Trap", __name__, {}, f"{__name__}.Trap"),
        "process": payload("Popen", "subprocess", {"args": ["touch", str(mark)]}),
        "import": payload("Evil", "hostile_module", {}),
        "tensor": payload("__tensor__", None, {"value": [1.0], "dtype": "float32"}),
        "name": "os.system",
        "code": code,
        "code of a function": f"lambda t: {code}",
    }
    assert CALLED == TRAP == []
    assert "hostile_module" not in sys.modules
    assert not mark.exists()


# Of an inner schedule only its name in the register and its config are read.
UNREAD = ("module", "class_name", "build_config")


def places(config):
    """Every value of a config, however deep, as the keys that lead to it."""
    for key, value in config.items() if isinstance(config, dict) else enumerate(config):
        yield (key,)
        if isinstance(value, dict | list):
            yield from ((key, *rest) for rest in places(value))


def replaced(config, place, value):
    config = here = copy.deepcopy(config)
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    return config


def spoilt(config, payloads):
    """The config with one value replaced, for each that is read and each payload."""
    for place in places(config):
        if place[-1] not in UNREAD:
            yield from (replaced(config, place, value) for value in payloads.values())


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
def test_no_value_of_a_config_is_run(schedule, payloads):
    live = {"live": spring_the_trap, "live class": Trap, "live builtin": eval}
    configs = list(spoilt(schedule.get_config(), {**payloads, **live}))
    assert len(configs) >= len(schedule.get_config()) * len(payloads)
    for config in configs:
        with pytest.raises((TypeError, ValueError)):
            type(schedule).from_config(config)


@pytest.mark.parametrize("safe_mode", [True, False])
@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
def test_no_value_of_a_config_is_run_by_keras(schedule, safe_mode, payloads):
    serialized = json.loads(json.dumps(keras.saving.serialize_keras_object(schedule)))
    for config in spoilt(serialized["config"], payloads):
        with pytest.raises((TypeError, ValueError)):
            keras.saving.deserialize_keras_object(
                {**serialized, "config": config}, safe_mode=safe_mode
            )


@pytest.mark.parametrize("key", UNREAD)
def test_what_is_not_read_is_not_run_either(key, payloads):
    schedule = StepLR(0.1, 3) * 2.0
    for value in payloads.values():
        config = replaced(schedule.get_config(), ("schedule", key), value)
        assert type(schedule).from_config(config) == schedule


@pytest.mark.parametrize("safe_mode", thinned([True, False], every=2))
def test_no_value_of_a_model_file_is_run(payloads, safe_mode, tmp_path):
    schedule = FROM_A_LAMBDA.then(StepLR(0.1, 3) * 0.5, at=5).with_warmup(2)
    model_with(schedule).save(tmp_path / "good.keras")
    with zipfile.ZipFile(tmp_path / "good.keras") as good:
        parts = {name: good.read(name) for name in good.namelist()}
    whole = json.loads(parts["config.json"])
    serialized = whole["compile_config"]["optimizer"]["config"]["learning_rate"]
    config = {**serialized["config"]}
    # A part of them: above, each is given to Keras without a file.
    for spoilt_config in itertools.islice(spoilt(config, payloads), None, None, 4):
        serialized["config"] = spoilt_config
        with zipfile.ZipFile(tmp_path / "bad.keras", "w") as bad:
            for name, content in {**parts, "config.json": json.dumps(whole)}.items():
                bad.writestr(name, content)
        with pytest.raises((TypeError, ValueError)):
            keras.saving.load_model(tmp_path / "bad.keras", safe_mode=safe_mode)


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
def test_configs_share_nothing_with_the_schedule(schedule):
    before, config = repr(schedule), schedule.get_config()
    original = json.loads(json.dumps(config))
    type(schedule).from_config(config)
    assert config == original  # it is plain JSON, and reading it has not changed it
    for value in config.values():
        if isinstance(value, list | dict):
            value.clear()
    assert repr(schedule) == before
