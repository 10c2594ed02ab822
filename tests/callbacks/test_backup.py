"""Backups of `fit`: written whole, and a resumed run equals one that was not interrupted."""

from __future__ import annotations

import json
import os
import shutil
import sys

import keras
import killed_backup
import numpy as np
import pytest
from measured import BACKEND, QUICKLY, not_on_torch, on_tensorflow
from programs import Program

import keraslr
from keraslr.callbacks import (
    BackupAndRestore,
    BackupWarning,
    LearningRateLogger,
    ReduceLROnPlateau,
)
from keraslr.callbacks._fit import arguments_of_fit

EPOCHS, STEPS, BATCH = 3, 6, 4
X = np.random.default_rng(0).normal(size=(STEPS * BATCH, 5)).astype("float32")
Y = X[:, :1] * 2 + 0.1


# Where no compiled step is looked at: TensorFlow takes longer to compile one than to do without.
EAGERLY = {"run_eagerly": True} if BACKEND == "tensorflow" else {}


def network(optimizer=None, dropout=0.3, **arguments):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(1),
        ]
    )
    schedule = keraslr.CosineAnnealingLR(0.1, T_max=EPOCHS).with_warmup(1).per_epoch(STEPS)
    optimizer = optimizer or keras.optimizers.SGD(schedule, momentum=0.9)
    model.compile(optimizer, "mse", metrics=["mae"], **{**QUICKLY, **arguments})
    return model


class Copy(keras.callbacks.Callback):
    """Copies the backups at the end of a batch, or before the validation of an epoch (batch None).

    They are what a kill at that moment leaves.
    """

    def __init__(self, folder, epoch, batch):
        super().__init__()
        self.folder, self.at, self.epoch = folder, (epoch, batch), None

    @property
    def copy(self):
        return self.folder.with_name("copy")

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            shutil.copytree(self.folder, self.copy)

    def on_test_begin(self, logs=None):
        self.on_train_batch_end(None)


class Batches(keras.callbacks.Callback):
    """The batches that were begun and ended."""

    def __init__(self):
        super().__init__()
        self.begun, self.ended = [], []

    def on_train_batch_begin(self, batch, logs=None):
        self.begun.append(batch)

    def on_train_batch_end(self, batch, logs=None):
        self.ended.append(batch)


def data_arrays():
    return {"x": X, "y": Y, "batch_size": BATCH}


class Indexed(keras.utils.PyDataset):
    @property
    def num_batches(self):
        return STEPS

    def __getitem__(self, index):
        part = slice(index * BATCH, (index + 1) * BATCH)
        return X[part], Y[part]


def tf_data():
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((X, Y))


DATA = {
    "arrays": lambda: {**data_arrays(), "shuffle": False},
    "arrays, shuffled": data_arrays,
    "indexed, shuffled": lambda: {"x": Indexed(), "shuffle": True},
    "tf.data": lambda: {"x": tf_data().batch(BATCH), "shuffle": False},
    "tf.data, one stream": lambda: {
        "x": tf_data().shuffle(24, seed=3).repeat().batch(BATCH),
        "steps_per_epoch": STEPS - 1,
        "shuffle": False,
    },
}


def train(model, folder, data, *callbacks, save_freq="epoch", **arguments):
    """Trains with all callbacks; returns the history."""
    logger = LearningRateLogger()
    rule = ReduceLROnPlateau("loss", patience=0, threshold=0.5)
    backup = BackupAndRestore(folder, save_freq)
    return model.fit(
        verbose=0, callbacks=[backup, logger, rule, *callbacks],
        **{"epochs": EPOCHS, **data, **arguments},
    ).history  # fmt: skip


def state_of(model):
    # JAX numbers what callbacks keep, too; the last rates that a logger has read are in no backup.
    kept = [v for v in model.optimizer.variables if v.name not in ("rates", "clocks")]
    return [keras.ops.convert_to_numpy(v) for v in (*model.weights, *kept)]


def assert_same(resumed, whole):
    for ours, theirs in zip(state_of(resumed), state_of(whole), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def two_backups(tmp_path_factory):
    """A folder with the backups of two epochs, and the model that was trained in them."""
    folder, model = tmp_path_factory.mktemp("backups"), network()
    backup = BackupAndRestore(folder, delete_checkpoint=False)
    model.fit(**DATA["arrays"](), epochs=2, verbose=0, callbacks=[backup])
    return folder, model


@pytest.fixture
def folder(two_backups, tmp_path):
    return shutil.copytree(two_backups[0], tmp_path / "copy")


# That the rule has reduced the rate is what it is there for.
reductions = pytest.mark.filterwarnings("ignore:.*ReduceLROnPlateau.*:UserWarning")
# Some of these epochs are not those of the schedule, which has to be said and does no harm here.
other_epochs = pytest.mark.filterwarnings(
    "ignore:(an epoch of this fit has|the epoch had):UserWarning"
)


@reductions
@other_epochs
class TestResumedRun:
    """It has the weights, counters, rates and means of a run that was not interrupted."""

    # Arrays that are not shuffled are in the tests of validation and of several steps.
    @pytest.mark.parametrize("kind", [kind for kind in DATA if kind != "arrays"])
    def test_equals_the_uninterrupted_one(self, tmp_path, kind, capsys):
        data, whole, killed = DATA[kind], network(), Copy(tmp_path / "run", 1, 4)
        history = train(whole, killed.folder, data(), killed, save_freq=4)
        resumed, batches = network(), Batches()
        capsys.readouterr()
        again = train(resumed, killed.copy, data(), batches, save_freq=4)
        assert_same(resumed, whole)
        steps = data().get("steps_per_epoch", STEPS)
        done = (steps + 4) // 4 * 4
        begin = done - steps
        assert capsys.readouterr().out == (
            f"Resuming from {killed.copy}/backup-{done // 4:08d}: epoch 2, step {begin + 1}; "
            f"the optimizer has done {done} steps.\n"
        )
        assert batches.begun == batches.ended == [*range(begin, steps), *range(steps)]
        for name in ("loss", "mae", "learning_rate", "planned_learning_rate"):
            assert again[name] == history[name][1:]
        rates = [list(epoch) for epoch in history["applied_learning_rate"]]
        assert [*map(list, again["applied_learning_rate"])] == [rates[1][begin:], rates[2]]
        assert not killed.copy.exists()

    @pytest.mark.parametrize("kind", ["arrays, shuffled", "tf.data, one stream"])
    def test_equals_it_from_the_end_of_an_epoch(self, tmp_path, kind):
        data, whole, killed = DATA[kind], network(**EAGERLY), Copy(tmp_path / "run", 1, 3)
        history = train(whole, killed.folder, data(), killed)
        resumed = network(**EAGERLY)
        again = train(resumed, killed.copy, data())
        assert_same(resumed, whole)
        assert again["loss"] == history["loss"][1:]

    @not_on_torch
    def test_equals_it_with_several_steps_per_execution(self, tmp_path):
        data, killed = DATA["arrays"], Copy(tmp_path / "run", 1, 3)
        whole, resumed = (network(steps_per_execution=2) for _ in range(2))
        history = train(whole, killed.folder, data(), killed, save_freq=1)
        with pytest.raises(ValueError, match=r"steps_per_execution must divide .* the epoch, 2"):
            train(network(steps_per_execution=3), killed.copy, data())
        again = train(resumed, killed.copy, data(), save_freq=4)
        assert_same(resumed, whole)
        assert again["loss"] == history["loss"][1:]

    def test_decides_once_on_an_epoch_that_was_cut_in_its_validation(self, tmp_path):
        """The backup that is due after the last batch is written when the epoch has ended."""
        data = {**DATA["arrays"](), "validation_data": (X, Y)}
        whole, killed = network(**EAGERLY), Copy(tmp_path / "run", 1, None)
        train(whole, killed.folder, data, killed, save_freq=3)
        resumed, batches = network(**EAGERLY), Batches()
        train(resumed, killed.copy, data, batches, save_freq=3)
        assert batches.begun[:3] == [3, 4, 5]
        assert_same(resumed, whole)

    @not_on_torch
    @pytest.mark.filterwarnings("ignore:Your input ran out of data:UserWarning")
    def test_equals_it_from_the_last_step_of_an_epoch_of_unknown_length(self, tmp_path):
        data = {"x": tf_data().batch(BATCH).filter(lambda x, y: True), "shuffle": False}
        data["validation_data"] = (X, Y)
        # At the end of such data TensorFlow may draw a dropout for a step that is none.
        whole, killed = network(dropout=0), Copy(tmp_path / "run", 0, None)
        history = train(whole, killed.folder, data, killed, save_freq=STEPS)
        resumed = network(dropout=0)
        again = train(resumed, killed.copy, data, save_freq=STEPS)
        assert_same(resumed, whole)
        for name in ("loss", "mae", "val_loss"):
            assert again[name] == history[name]

    def test_does_not_change_where_the_next_fit_begins(self, folder):
        backup, batches = BackupAndRestore(folder), Batches()
        model = network(**EAGERLY)
        model.fit(**DATA["arrays"](), epochs=3, verbose=0, callbacks=[backup])
        model.fit(**DATA["arrays"](), epochs=1, verbose=0, callbacks=[batches])
        assert batches.begun == [*range(STEPS)]


def generator():
    while True:
        yield X[:BATCH], Y[:BATCH]


UNKNOWN = {
    "generator": (
        lambda: {"x": generator(), "steps_per_epoch": STEPS, "shuffle": False},
        "a generator's order",
    ),
    "tf.data": (
        lambda: {"x": tf_data().shuffle(24, seed=1).batch(BATCH), "shuffle": False},
        "in another order for each epoch",
    ),
    "other": (
        lambda: {**data_arrays(), "shuffle": True},
        r"otherwise than the backup's \(.*shuffle.*\)",
    ),
}


@reductions
@pytest.mark.parametrize("kind", UNKNOWN)
def test_without_a_known_order_it_warns_and_does_the_right_number_of_steps(tmp_path, kind):
    data, why = UNKNOWN[kind]
    first = DATA["arrays"] if kind == "other" else data
    killed = Copy(tmp_path / "run", 1, 4)
    train(network(**EAGERLY), killed.folder, first(), killed, save_freq=4, epochs=2)
    resumed, batches = network(**EAGERLY), Batches()
    with pytest.warns(BackupWarning, match=rf"is of epoch 2, step 3, and the order .*{why}"):
        history = train(resumed, killed.copy, data(), batches, save_freq=4)
    assert batches.begun[:5] == [2, 3, 4, 5, 0]
    assert int(resumed.optimizer.iterations) == EPOCHS * STEPS
    # The schedule is where a whole run would have it.
    planned = network().optimizer._learning_rate.values(EPOCHS * STEPS)
    np.testing.assert_allclose(history["planned_learning_rate"], planned[11::STEPS], rtol=1e-6)


@on_tensorflow
@reductions
def test_arrays_that_tensorflow_shuffles_without_a_seed_are_of_unknown_order(tmp_path):
    import tensorflow as tf

    def unseeded():
        model = network(**EAGERLY)
        tf.random.set_seed(None)
        return model

    killed = Copy(tmp_path / "run", 1, 4)
    train(unseeded(), killed.folder, data_arrays(), killed, save_freq=4, epochs=2)
    with pytest.warns(BackupWarning, match=r"TensorFlow has shuffled .*Use shuffle=False, a seed"):
        train(unseeded(), killed.copy, data_arrays(), save_freq=4, epochs=2)


def restored(folder, model=None):
    """Returns a model as `fit` has it when its callbacks have begun."""
    model, backup = model or network(), BackupAndRestore(folder)
    backup.set_model(model)
    backup.on_train_begin()
    return model


DAMAGES = {
    "cut": ("model.weights.h5", lambda was: was[: len(was) // 2], "does not have its checksum"),
    "changed": ("state.npz", lambda was: b"X" + was[1:], "does not have its checksum"),
    "missing": ("state.npz", None, "cannot be read .*No such file"),
    "empty": ("metadata.json", lambda was: b"", "its metadata.json cannot be read"),
    "number": (
        "metadata.json",
        lambda was: was.replace(b'"epoch": 2', b'"epoch": 7'),
        "the checksum in its metadata.json is another one",
    ),
    "kind": ("metadata.json", lambda was: b"[]", "is no table of names"),
    "no metadata": ("metadata.json", None, "its metadata.json is missing"),
}


class TestDamagedBackup:
    """The one before is taken, and a warning says why."""

    @pytest.mark.parametrize("case", DAMAGES)
    def test_falls_back_to_the_one_before(self, folder, case, capsys):
        name, change, why = DAMAGES[case]
        newest = folder / "backup-00000002" / name
        content = newest.read_bytes()
        newest.unlink()
        if change:
            newest.write_bytes(change(content))
        if name != "metadata.json":
            why += r".*\(it was of epoch 3, step 1\)"
        told = f"backup-00000002 is damaged: .*{why}.* resumes from .*00001, at epoch 2, step 1"
        with pytest.warns(BackupWarning, match=told):
            model = restored(folder)
        assert "epoch 2, step 1; the optimizer has done 6 steps" in capsys.readouterr().out
        assert model._initial_epoch == 1
        other = network()
        other.optimizer.build(other.trainable_variables)
        other.load_weights(folder / "backup-00000001" / "model.weights.h5")
        assert_same(model, other)

    def test_begins_anew_if_none_is_whole(self, folder, capsys):
        for path in folder.glob("*/model.weights.h5"):
            path.write_bytes(b"")
        with pytest.warns(BackupWarning, match="begins anew, since there is no backup") as caught:
            model = restored(folder)
        assert ["00000002" in str(each.message) for each in caught] == [True, False]
        assert model._initial_epoch is None
        assert capsys.readouterr().out == ""

    def test_a_damaged_one_does_not_take_the_place_of_one_that_is_kept(self, folder):
        (folder / "backup-00000002" / "state.npz").write_bytes(b"")
        backup = BackupAndRestore(folder, delete_checkpoint=False)
        with pytest.warns(BackupWarning):
            network(**EAGERLY).fit(**DATA["arrays"](), epochs=2, verbose=0, callbacks=[backup])
        assert sorted(os.listdir(folder)) == ["backup-00000001", "backup-00000003"]

    def test_a_failed_write_names_the_folder_and_leaves_those_before(self, folder, monkeypatch):
        def full(*arguments, **options):
            raise OSError(28, "No space left on device")

        backup = BackupAndRestore(folder)
        backup.set_model(network())
        backup.on_train_begin()
        monkeypatch.setattr(backup.model, "save_weights", full)
        with pytest.raises(OSError, match="cannot write a backup: No space left") as caught:
            backup.on_epoch_end(2)
        assert caught.value.filename == str(folder)
        assert sorted(os.listdir(folder)) == ["backup-00000001", "backup-00000002"]

    def test_a_backup_of_a_later_version_is_refused(self, folder, monkeypatch):
        monkeypatch.setattr("keraslr.callbacks._backup_files._FORMAT", 0)
        with pytest.raises(ValueError, match=r"of this version of keraslr. Received: .*format 1"):
            restored(folder)


class TestFolder:
    """What is in it, and what is left."""

    @pytest.mark.parametrize(("kept", "names"), [(True, (2, 3)), (False, (3,))])
    def test_the_one_before_is_kept(self, tmp_path, kept, names):
        (tmp_path / ".writing-killed").mkdir()
        (tmp_path / "mine.txt").write_text("")
        backup = BackupAndRestore(tmp_path, double_checkpoint=kept, delete_checkpoint=False)
        network(**EAGERLY).fit(X, Y, STEPS * BATCH, EPOCHS, verbose=0, callbacks=[backup])
        found = sorted(os.listdir(tmp_path))
        assert found == [*(f"backup-{number:08d}" for number in names), "mine.txt"]

    def test_only_backups_are_removed_at_the_end(self, tmp_path):
        (tmp_path / "mine.txt").write_text("")
        backup = BackupAndRestore(tmp_path)
        network(**EAGERLY).fit(X, Y, STEPS * BATCH, verbose=0, callbacks=[backup])
        assert os.listdir(tmp_path) == ["mine.txt"]

    def test_its_weights_can_be_loaded_by_hand(self, two_backups):
        folder, model = two_backups
        other = network()
        other.optimizer.build(other.trainable_variables)
        other.load_weights(folder / "backup-00000002" / "model.weights.h5")
        assert_same(other, model)


REFUSED = {
    "backup_dir": (TypeError, {"backup_dir": 3}, "path of a folder. Received: backup_dir=3"),
    "empty": (ValueError, {"backup_dir": ""}, "Received: backup_dir=''"),
    "remote": (ValueError, {"backup_dir": "gs://b/c"}, "Received: backup_dir='gs://b/c'"),
    "word": (ValueError, {"save_freq": "step"}, "\"epoch\" or .* Received: save_freq='step'"),
    "none": (ValueError, {"save_freq": 0}, "an integer >= 1. Received: save_freq=0"),
    "false": (TypeError, {"save_freq": False}, "Received: save_freq=False"),
    "double": (TypeError, {"double_checkpoint": 2}, "double_checkpoint must be True or False"),
    "delete": (TypeError, {"delete_checkpoint": None}, "delete_checkpoint must be True or False"),
}  # fmt: skip


class TestRefused:
    @pytest.mark.parametrize("case", REFUSED)
    def test_arguments(self, case, tmp_path):
        error, arguments, text = REFUSED[case]
        with pytest.raises(error, match=text):
            BackupAndRestore(**{"backup_dir": tmp_path, **arguments})

    def test_a_model_that_is_not_built(self, tmp_path):
        model = keras.Sequential([keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        backup = BackupAndRestore(tmp_path)
        backup.set_model(model)
        with pytest.raises(ValueError, match="built before fit, for example by"):
            backup.on_train_begin()

    def test_steps_of_a_fit_that_is_not_keras_own(self, tmp_path):
        backup = BackupAndRestore(tmp_path, save_freq=3)
        backup.set_model(network())
        with pytest.raises(ValueError, match=r"a fit of its own.* Received: save_freq=3"):
            backup.on_train_begin()

    def test_other_data_than_those_of_the_backup(self, tmp_path):
        killed = Copy(tmp_path / "run", 0, 5)
        backup = BackupAndRestore(killed.folder, 4)
        network(**EAGERLY).fit(**DATA["arrays"](), verbose=0, callbacks=[backup, killed])
        few = {"x": X[:12], "y": Y[:12], "batch_size": BATCH, "shuffle": False}
        with pytest.raises(ValueError, match=r"has trained 4 batches.* Give fit the same data"):
            network().fit(**few, verbose=0, callbacks=[BackupAndRestore(killed.copy, 4)])

    @pytest.mark.parametrize("other", ["optimizer", "model", "random layers"])
    def test_a_backup_of_another_model(self, folder, other):
        dense = [keras.layers.Dense(8, activation="relu"), keras.layers.Dense(1)]
        if other == "optimizer":
            model = network(keras.optimizers.Adam())
        else:
            dense[1:1] = [keras.layers.Dense(5)] if other == "model" else []
            model = keras.Sequential([keras.Input((5,)), *dense])
            model.compile(keras.optimizers.SGD(keraslr.StepLR(0.1, step_size=9), 0.9), "mse")
        with pytest.raises(ValueError, match=rf"(?s)of another .*{other}.* or delete the backup"):
            restored(folder, model)


def eager_network(optimizer):
    return network(optimizer, **EAGERLY)


class TwoOptimizers(keras.Model):
    """Two parts, each trained by an optimizer of its own, as in a GAN."""

    def __init__(self):
        super().__init__()
        self.first, self.second = keras.layers.Dense(3), keras.layers.Dense(1)
        self.optimizers = {
            "first": keras.optimizers.Adam(0.1),
            "second": keras.optimizers.SGD(0.1, 0.9),
        }
        self.build((None, 5))

    def build(self, shape):
        self.first.build(shape)
        self.second.build((None, 3))
        self.built = True

    def call(self, x):
        return self.second(self.first(x))

    def train_step(self, data):
        import tensorflow as tf

        x, y = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((self(x) - y) ** 2)
        parts = {"first": self.first, "second": self.second}
        gradients = tape.gradient(loss, [each.trainable_variables for each in parts.values()])
        for (name, part), changes in zip(parts.items(), gradients, strict=True):
            self.optimizers[name].apply(changes, part.trainable_variables)
        return {"loss": loss}


def two_optimizers():
    keras.utils.set_random_seed(3)
    model = TwoOptimizers()
    model.compile(**{**QUICKLY, **EAGERLY})
    return model


def many_optimizers():
    rates = (keras.optimizers.Adam(0.01), keras.optimizers.SGD(0.02, 0.9))
    return eager_network(keras.optimizers.MultiOptimizer(lambda each: rates[len(each.shape) - 1]))


OPTIMIZERS = {
    "loss scale": lambda: eager_network(
        keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.01), initial_scale=64)
    ),
    "averaged": lambda: eager_network(keras.optimizers.Adam(0.01, use_ema=True, ema_momentum=0.5)),
    "accumulated": lambda: eager_network(keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)),
}
if hasattr(keras.optimizers, "MultiOptimizer"):
    OPTIMIZERS["several in one"] = many_optimizers
if BACKEND == "tensorflow":
    OPTIMIZERS["of a train_step"] = two_optimizers


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_every_optimizer_is_restored(tmp_path, kind):
    def fit(model, *callbacks):
        model.fit(**DATA["arrays"](), epochs=2, verbose=0, callbacks=[*callbacks])

    whole, resumed = (OPTIMIZERS[kind]() for _ in range(2))
    killed, batches = Copy(tmp_path / "run", 1, 5), Batches()
    fit(whole, BackupAndRestore(killed.folder, 5), killed)
    fit(resumed, BackupAndRestore(killed.copy, 5), batches)
    assert batches.begun == [4, 5]
    for ours, theirs in zip(resumed.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_arguments_of_fit_are_known_to_its_callbacks():
    seen = []

    class Ask(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.append(arguments_of_fit(self.model))

    model = network(**EAGERLY)
    model.fit(
        **data_arrays(), verbose=0, callbacks=[Ask()], validation_data=(X, Y), validation_freq=3
    )
    assert seen[0]["validation_freq"] == 3
    assert seen[0]["shuffle"] is True
    assert seen[0]["steps_per_epoch"] is None
    assert seen[0]["x"] is X
    assert "self" not in seen[0]
    assert "epoch_iterator" not in seen[0]
    assert arguments_of_fit(model) is None


@pytest.fixture(scope="module")
def run_of_keras(tmp_path_factory):
    """A model trained with Keras's own backups, and a folder with two states of these.

    "second" is of two epochs, with those of the first; "between" has new weights in the third
    epoch, and the metadata of the second, which are opened next.
    """
    folder, copies = tmp_path_factory.mktemp("run") / "now", tmp_path_factory.mktemp("keras")
    model = killed_backup.network()
    file_utils = sys.modules["keras.src.callbacks.backup_and_restore"].file_utils
    opened = file_utils.File

    def copying(path, *arguments):
        if model.optimizer.iterations == 3 * killed_backup.STEPS:
            shutil.copytree(folder, copies / "between", ignore=shutil.ignore_patterns("*.bkp"))
        return opened(path, *arguments)

    class Second(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                shutil.copytree(folder, copies / "second")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file_utils, "File", copying)
        backup = keras.callbacks.BackupAndRestore(folder, double_checkpoint=True)
        killed_backup.train(model, backup, Second())
    return model, copies


@pytest.fixture
def whole(run_of_keras):
    """The model of a run that was not interrupted."""
    return run_of_keras[0]


@pytest.fixture
def copies(run_of_keras, tmp_path):
    return shutil.copytree(run_of_keras[1], tmp_path / "keras")


def begun_by_keras(folder):
    """Returns a model as `fit` has it when Keras's own callback has begun."""
    model, backup = killed_backup.network(), keras.callbacks.BackupAndRestore(folder)
    backup.set_model(model)
    backup.on_train_begin()
    return model


@on_tensorflow
class TestKilledWhileItWrites:
    """By SIGKILL."""

    def test_at_every_call_of_the_file_system(self, tmp_path):
        lines = Program(killed_backup.__file__, tmp_path / "backups").finished().splitlines()
        found = [json.loads(line) for line in lines]
        assert len(found) > 30
        assert [each["killed"] for each in found] == [True] * (len(found) - 1) + [False]
        last = None
        for each in found:
            assert each["rejected"] == []
            assert each["epoch"] in (last, each["at"])
            last = each["epoch"]
            assert not [name for name in each["tidied"] if "backup-" not in name]
        assert len(found[-1]["tidied"]) == 2
        # Some before the rename, some after it.
        assert 0 < sum(each["epoch"] == each["at"] for each in found) < len(found)
        assert any(".writing-" in name for each in found for name in each["left"])
        assert any(".removing-" in name for each in found for name in each["left"])

    def test_resumes_from_the_one_before(self, tmp_path, whole, capsys):
        Program(killed_backup.__file__, tmp_path, "training").finished(status=-9)
        left = sorted(each.partition("-")[0] for each in os.listdir(tmp_path))
        assert left == [".writing", "backup", "backup"]
        model, backup = killed_backup.network(), BackupAndRestore(tmp_path, delete_checkpoint=False)
        history = killed_backup.train(model, backup)
        out = capsys.readouterr().out
        assert f": epoch 3, step 1; the optimizer has done {2 * killed_backup.STEPS} steps." in out
        assert len(history.epoch) == killed_backup.EPOCHS - 2
        assert_same(model, whole)
        assert sorted(os.listdir(tmp_path)) == ["backup-00000004", "backup-00000005"]


@on_tensorflow
class TestBackupOfKeras:
    def test_it_loses_the_run_in_a_kill_in_the_midst_of_its_weights(self, copies, whole):
        folder = copies / "between"
        weights = folder / "latest.weights.h5"
        weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
        with pytest.raises(OSError, match=r"[Uu]nable to"):
            begun_by_keras(folder)
        model = killed_backup.network()
        told = "latest.weights.h5 is damaged: it cannot be read .*epoch 3, step 1.* begins anew"
        with pytest.warns(BackupWarning, match=told):
            killed_backup.train(model, BackupAndRestore(folder))
        assert_same(model, whole)
        assert not folder.exists()

    def test_it_trains_an_epoch_twice_after_a_kill_between_its_files(self, copies, whole):
        model = begun_by_keras(copies / "between")
        assert (int(model.optimizer.iterations), model._initial_epoch) == (12, 2)
        model = killed_backup.network()
        told = "has weights of 12 steps, one epoch more .* Training resumes at epoch 4"
        with pytest.warns(BackupWarning, match=told):
            killed_backup.train(model, BackupAndRestore(copies / "between"))
        assert_same(model, whole)

    def test_is_read(self, copies, whole, capsys):
        model = killed_backup.network()
        killed_backup.train(model, BackupAndRestore(copies / "second"))
        said = "latest.weights.h5: epoch 3, step 1; the optimizer has done 8 steps"
        assert said in capsys.readouterr().out
        assert_same(model, whole)

    def test_its_copy_is_read_after_a_kill_in_the_midst_of_its_second_file(self, copies, whole):
        folder = copies / "second"
        (folder / "training_metadata.json").write_text("")
        with pytest.raises(json.JSONDecodeError):
            begun_by_keras(folder)
        model = killed_backup.network()
        told = "training_metadata.json cannot be read .* resumes from .*h5.bkp, at epoch 2, step 1"
        with pytest.warns(BackupWarning, match=told):
            killed_backup.train(model, BackupAndRestore(folder))
        assert_same(model, whole)
