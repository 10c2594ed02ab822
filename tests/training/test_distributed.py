"""A run on several devices: is it the run of one, and what happens when one of them is lost?"""

from __future__ import annotations

import json
import signal
import socket

import numpy as np
import pytest
import replicas
import tensorflow as tf
from programs import Program

from keraslr.training import Result, Run, is_chief, train
from keraslr.training._loop import SLICE_STEPS

pytestmark = pytest.mark.slow

STEPS = replicas.STEPS
FIGURES = ("loss", "accuracy", "train_loss", "train_accuracy", "test_loss", "test_accuracy")


def start(*arguments):
    # A thread each: they share the cores, and are compared with one that has one, too.
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
    environment = {**threads, "CUDA_VISIBLE_DEVICES": "-1"}
    return Program(replicas.__file__, *arguments, environment=environment)


def assert_same_run(one, several):
    assert one.status == several.status == "finished"
    for figure in FIGURES:
        # Between two answers that are alike, rounding may decide: an example or two of a batch.
        far = 0.02 if figure.endswith("accuracy") else 2e-4
        np.testing.assert_allclose(
            getattr(several, figure), getattr(one, figure), rtol=2e-3, atol=far, err_msg=figure
        )
    assert one.learning_rate == several.learning_rate


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("replicas")


@pytest.fixture(scope="module")
def devices(folder):
    """What the process with two devices said; its results by their names."""
    printed = start("devices", folder).finished()
    return printed, {path.stem: Result.load(path) for path in folder.glob("*.json")}


@pytest.mark.parametrize("name", replicas.RUNS)
def test_two_devices_give_the_losses_of_one(devices, name):
    _, results = devices
    one, both = results[f"{name} on one"], results[f"{name} on both"]
    assert_same_run(one, both)
    assert (one.device, both.device) == ("CPU:0", "CPU:0, CPU:1")
    assert one.train_loss[-1] < one.train_loss[0]


@pytest.mark.parametrize("name", replicas.OWN)
def test_two_devices_train_a_model_of_ones_own_as_one_does(devices, name):
    _, results = devices
    one, both = results[f"own {name} on one"], results[f"own {name} on both"]
    assert set(one.epochs) == set(both.epochs)
    for figure, values in one.epochs.items():
        # Sums in half precision round otherwise in two parts.
        rough = 2e-2 if name == "mixed_precision" else 1e-4
        np.testing.assert_allclose(both.epochs[figure], values, rtol=rough, err_msg=figure)


def test_the_batch_is_that_of_both_and_the_rate_scaled_to_it(devices):
    _, results = devices
    both = results["scaled on both"]
    assert both.run["batch_size"] == 2 * 64
    steps = 12  # 1437 / 128
    assert len(both.loss) == 3 * steps
    plain = np.array(results["lenet on both"].learning_rate)[::STEPS]  # of each epoch
    rise = 1 + np.arange(steps) / steps  # from once to twice the rate in the first epoch
    expected = np.concatenate([plain[0] * rise, *(np.full(steps, 2 * rate) for rate in plain[1:])])
    np.testing.assert_allclose(both.learning_rate, expected, rtol=1e-6)


def test_a_stopped_run_goes_on_from_its_backup_with_the_same_numbers(devices):
    _, results = devices
    stopped, resumed, whole = (
        results[name] for name in ("stopped", "resumed", "lenet on both")
    )  # fmt: skip
    assert stopped.status == "stopped"
    assert len(stopped.loss) == 2 * STEPS + 5
    assert len(stopped.test_loss) == 2
    for figure in (*FIGURES, "learning_rate"):
        assert getattr(resumed, figure) == getattr(whole, figure), figure
    assert resumed.wall_time > sum(stopped.epoch_seconds)


def test_a_batch_must_hold_an_example_for_each_replica(devices):
    printed, _ = devices
    assert "batch_size must be at least the number of replicas." in printed
    assert "batch_size=1, 2 replicas" in printed


def addresses():
    """Two of the loopback's that nobody has now."""
    with socket.socket() as one, socket.socket() as other:
        for each in (one, other):
            each.bind(("127.0.0.1", 0))
        return ",".join(f"127.0.0.1:{each.getsockname()[1]}" for each in (one, other))


def test_a_cluster_that_loses_a_worker_says_so_and_goes_on_after_a_restart(devices, folder):
    _, results = devices
    cluster = folder / "cluster"
    cluster.mkdir()
    # The second one kills itself in its second epoch.
    both, where = [], addresses()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SLICE_STEPS, "5")
        for index, more in ((0, ()), (1, (1,))):
            both.append(start("worker", cluster, index, where, *more))
    hello, told = map(json.loads, both[0].finished(3).splitlines())
    both[1].finished(-signal.SIGKILL)
    assert hello == {"chief": True, "replicas": 2}
    assert "another worker of the cluster" in told["error"]
    assert "(worker 0) cannot continue alone: start all workers again" in told["error"]
    (backup,) = (cluster / "backup").iterdir()
    kept = backup.read_bytes()
    # And both again, which go on with the second epoch.
    where = addresses()
    both = [start("worker", cluster, index, where) for index in (0, 1)]
    greetings = [json.loads(process.finished()) for process in both]
    assert [each["chief"] for each in greetings] == [True, False]
    assert backup.read_bytes() != kept
    assert list((cluster / "backup").iterdir()) == [backup]  # one writer, nothing half-done
    first, second = (Result.load(cluster / f"result-{index}.json") for index in (0, 1))
    assert_same_run(results["lenet on one"], first)
    assert first.device == "CPU:0 of each of 2 workers"
    for figure in FIGURES:
        assert getattr(first, figure) == getattr(second, figure)


def test_one_device_of_a_strategy_is_one_device():
    run = Run("it", 0.1, dataset="digits", batch_size=256, epochs=1)
    strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert is_chief(strategy)
    assert is_chief(None)
    assert_same_run(train(run), train(run, distribution_strategy=strategy))


@pytest.mark.parametrize("strategy", ["mirrored", tf.distribute.MirroredStrategy])
def test_a_strategy_must_be_one(strategy):
    with pytest.raises(
        TypeError, match=r"distribution_strategy must be a tf.distribute.Strategy. Received:"
    ):
        train(Run("it", 0.1, dataset="digits"), distribution_strategy=strategy)
