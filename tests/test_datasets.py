"""Fashion-MNIST and the airfoil table through Keras's cache, bad files, and the stand-in."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from waiting import PATIENCE

from keraslr import datasets

ROOT = Path(__file__).resolve().parent.parent
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


def load_elsewhere(home: Path, *names: str) -> dict[str, str]:
    """What loading each says, in a process of its own: Keras asks for KERAS_HOME once, at import.

    Nobody answers where it would download from, so it is the same with and without a network.
    """
    program = (
        "import json, sys; from keraslr import datasets\n"
        "def said(name):\n"
        "    try: data = datasets.airfoil() if name == 'airfoil' else datasets.load(name)\n"
        "    except datasets.DatasetError as error: return f'{type(error).__name__} {error}'\n"
        "    return f'{data.name} {data.substitute} {len(data.x_train)} {data.note}'\n"
        "print(json.dumps({name: said(name) for name in sys.argv[1:]}))\n"
    )
    environment = {**os.environ, "KERAS_HOME": str(home), "PYTHONPATH": str(ROOT)}
    environment |= {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [sys.executable, "-c", program, *names],
        env=environment, capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory):
    """A cache that has nothing, and what loading from it says without a network."""
    home = tmp_path_factory.mktemp("home")
    return home, load_elsewhere(home, "auto", "fashion_mnist", "airfoil")


@pytest.fixture
def damaged(monkeypatch):
    """Says what is wrong with a cache that has all files, so that nothing is downloaded."""

    def error(home: Path, name: str) -> str:
        monkeypatch.setenv("KERAS_HOME", str(home))
        datasets.fashion_mnist.cache_clear()
        with pytest.raises(datasets.DatasetError) as caught:
            datasets.load(name)
        return str(caught.value)

    monkeypatch.setattr(keras.utils, "get_file", pytest.fail)
    yield error
    datasets.fashion_mnist.cache_clear()


@pytest.fixture
def cache(tmp_path, fashion_mnist_folder):
    """A copy of the cache that a test may damage."""
    folder = tmp_path / "datasets" / "fashion-mnist"
    shutil.copytree(fashion_mnist_folder, folder)
    for path in (folder.parent, folder, *folder.iterdir()):
        path.chmod(0o755)
    return folder


def test_fashion_mnist_is_whole(fashion_mnist_folder):
    data = datasets.load("fashion_mnist")
    assert data.x_train.shape == (60_000, 28, 28, 1)
    assert data.x_test.shape == (10_000, 28, 28, 1)
    assert (data.x_train.dtype, data.y_train.dtype) == (np.uint8, np.int32)
    # Of the published set: every class has as many examples, and the mean pixel is 72.94.
    np.testing.assert_array_equal(np.bincount(data.y_train), [6000] * 10)
    assert data.x_train.mean() == pytest.approx(72.94, abs=0.005)
    assert not data.substitute
    assert datasets.load("auto") is data


def test_digits_are_as_large_as_fashion_mnist():
    data = datasets.load("digits")
    assert data.x_train.shape == (1437, 28, 28, 1)
    assert data.x_test.shape == (360, 28, 28, 1)
    assert (data.x_train.dtype, data.y_train.dtype) == (np.uint8, np.int32)
    assert (data.x_train.min(), data.x_train.max()) == (0, 255)
    assert np.bincount(data.y_test).min() >= 34  # every class is in the test data
    assert not data.substitute  # asked for, they stand in for nothing
    np.testing.assert_array_equal(data.x_train, datasets.load("digits").x_train)


def test_without_data_and_network_the_digits_stand_in(empty_home):
    home, said = empty_home
    assert said["auto"].startswith("digits True 1437")
    assert "stand in" in said["auto"]
    assert str(home) in said["auto"]


def test_without_data_and_network_fashion_mnist_is_an_error(empty_home):
    home, said = empty_home
    folder = str(home / "datasets" / "fashion-mnist")
    assert said["fashion_mnist"].startswith("UnreachableError ")
    for part in (TRAIN_IMAGES, folder, "https://", "Put the"):
        assert part in said["fashion_mnist"]


@pytest.mark.parametrize("name", ["auto", "fashion_mnist"])
@pytest.mark.parametrize("damage", ["cut short", "not gzip", "empty", "another file"])
def test_a_damaged_file_is_named_and_never_replaced(damaged, cache, name, damage):
    path = cache / TRAIN_IMAGES
    content = path.read_bytes()
    path.write_bytes(
        {
            "cut short": content[: len(content) // 2],
            "not gzip": b"<html>not found</html>",
            "empty": b"",
            "another file": (cache / "t10k-images-idx3-ubyte.gz").read_bytes(),
        }[damage]
    )
    said = damaged(cache.parent.parent, name)
    assert str(path) in said
    assert "damaged" in said
    assert "Delete it" in said


def test_labels_are_of_ten_classes(damaged, cache):
    path = cache / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(b"\0\0\x08\1\0\0\xea\x60" + bytes([10]) * 60_000, 1))
    said = damaged(cache.parent.parent, "auto")
    assert f"{path} is damaged (a label of 10)" in said


def test_a_cache_that_keras_may_not_write_into_is_used(cache, monkeypatch):
    """Keras itself would look in the folder for temporary files."""
    monkeypatch.setenv("KERAS_HOME", str(cache.parent.parent))
    monkeypatch.setattr(keras.datasets.fashion_mnist, "load_data", pytest.fail)
    datasets.fashion_mnist.cache_clear()
    data = datasets.load("fashion_mnist")
    assert data.x_test.shape == (10_000, 28, 28, 1)
    datasets.fashion_mnist.cache_clear()


def test_one_missing_file_is_named(cache):
    (cache / TRAIN_IMAGES).unlink()
    said = load_elsewhere(cache.parent.parent, "fashion_mnist")["fashion_mnist"]
    assert said.startswith("UnreachableError ")
    assert f"cannot load {TRAIN_IMAGES}:" in said


def test_the_users_timeout_is_left_alone(fashion_mnist_folder):
    datasets.fashion_mnist.cache_clear()
    socket.setdefaulttimeout(7.0)
    try:
        datasets.load("fashion_mnist")
        assert socket.getdefaulttimeout() == 7.0
    finally:
        socket.setdefaulttimeout(None)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"auto, fashion_mnist, digits.*'cats'"):
        datasets.load("cats")


def test_a_dataset_must_fit_together():
    images, labels = np.zeros((2, 28, 28, 1), np.uint8), np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="2 examples, 3 labels"):
        datasets.Dataset("mine", images, labels, images, labels[:2])


AIRFOIL = "airfoil_self_noise.dat"


@pytest.fixture(scope="module")
def airfoil_file():
    """The airfoil table, if Keras's cache has it."""
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
    path = home / "datasets" / AIRFOIL
    if not path.exists():
        pytest.skip(f"{AIRFOIL} is not in {path.parent} (set KERAS_HOME to a cache that has it)")
    return path


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """A cache with nothing in it, where Keras may download nothing."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(keras.utils, "get_file", pytest.fail)
    (tmp_path / "datasets").mkdir()
    return tmp_path / "datasets"


def test_the_airfoil_table_is_standardised(airfoil_file):
    features, target = datasets.airfoil()
    assert (features.shape, target.shape) == ((1500, 5), (1500,))
    assert (features.dtype, target.dtype) == (np.float32, np.float32)
    # 800 Hz and 126.201 dB, over means of 2886.381 and 124.83594 and deviations of 3151.524
    # and 6.89636. With n - 1 they differ in the fourth digit.
    assert features[0, 0] == pytest.approx(-0.662023, abs=2e-6)
    assert target[0] == pytest.approx(0.197939, abs=2e-6)
    np.testing.assert_allclose(features.mean(0), 0, atol=0.01)


def test_an_airfoil_cache_that_keras_may_not_write_into_is_used(airfoil_file, empty_cache):
    """Keras itself would look in the folder for temporary files."""
    expected = airfoil_file.read_bytes()
    (empty_cache / AIRFOIL).write_bytes(expected)
    assert len(datasets.airfoil()[0]) == 1500
    assert (empty_cache / AIRFOIL).read_bytes() == expected


@pytest.mark.parametrize("damage", ["cut short", "empty", "a page", "one digit", "a folder"])
def test_a_damaged_airfoil_file_is_named_and_never_replaced(airfoil_file, empty_cache, damage):
    path, whole = empty_cache / AIRFOIL, airfoil_file.read_bytes()
    content = {
        "cut short": whole[:30_000],
        "empty": b"",
        "a page": b"<html>not found</html>",
        "one digit": whole.replace(b"126.201", b"126.202", 1),
    }.get(damage)
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(datasets.DatasetError, match=r"damaged.*Delete it") as caught:
        datasets.airfoil()
    assert not isinstance(caught.value, datasets.UnreachableError)
    assert str(path) in str(caught.value)
    if content is not None:
        assert path.read_bytes() == content


def test_a_missing_airfoil_file_is_downloaded(airfoil_file, empty_cache, tmp_path, monkeypatch):
    asked = []

    def get_file(name, origin):
        print("Downloading data")
        asked.append((name, origin, socket.getdefaulttimeout()))
        return str(shutil.copy(airfoil_file, tmp_path / "where Keras may write"))

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    assert len(datasets.airfoil()[1]) == 1500
    assert socket.getdefaulttimeout() is None
    [(name, origin, timeout)] = asked
    assert name == AIRFOIL
    assert origin.startswith("https://archive.ics.uci.edu/")
    assert origin.endswith(AIRFOIL)
    assert timeout <= 10


def test_another_file_than_the_airfoil_table_is_not_taken_for_it(
    empty_cache, tmp_path, monkeypatch
):
    """Such as a page that asks for a password, in a network that has one."""
    page = tmp_path / "page"
    page.write_bytes(b"<html>Welcome</html>")
    monkeypatch.setattr(keras.utils, "get_file", lambda name, origin: str(page))
    with pytest.raises(datasets.DatasetError, match="damaged") as caught:
        datasets.airfoil()
    assert str(page) in str(caught.value)


def test_without_cache_and_network_the_airfoil_table_is_an_error(empty_home):
    home, said = empty_home
    assert said["airfoil"].startswith("UnreachableError ")
    for part in (str(home / "datasets" / AIRFOIL), "https://archive.ics.uci.edu", "Put the"):
        assert part in said["airfoil"]
