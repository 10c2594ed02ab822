"""The data to train on: images, and for a regression the airfoil table."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import gzip
import hashlib
import io
import math
import os
import socket
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

__all__ = [
    "NAMES",
    "Dataset",
    "DatasetError",
    "UnreachableError",
    "airfoil",
    "digits",
    "fashion_mnist",
    "load",
]

NAMES = ("auto", "fashion_mnist", "digits")
IMAGE_SHAPE = (28, 28, 1)
CLASSES = 10

_FILES = {
    "train-images-idx3-ubyte.gz": (60_000, 28, 28),
    "train-labels-idx1-ubyte.gz": (60_000,),
    "t10k-images-idx3-ubyte.gz": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte.gz": (10_000,),
}
_ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
_AIRFOIL = "airfoil_self_noise.dat"
_AIRFOIL_SHA256 = "74c75fd71783f1e6b71f8a622b993dc592897a97cd689c5090a07147a1b097b3"
_AIRFOIL_ORIGIN = f"https://archive.ics.uci.edu/ml/machine-learning-databases/00291/{_AIRFOIL}"
_AIRFOIL_ROWS = 1500  # of 1503: divisible by 10 and by 100, the batch sizes
_TIMEOUT = 10.0  # seconds without an answer until the network counts as missing


class DatasetError(RuntimeError):
    """A dataset is unavailable or damaged; the text says what to do."""


@dataclasses.dataclass(frozen=True, eq=False)
class Dataset:
    """Examples of some classes, split into training and test data.

    Attributes:
        name: Name of the dataset.
        x_train, x_test: Images of ten classes, uint8 pixels of shape (examples, 28, 28, 1), which
            training divides by 255. Or other features, floats or integers of shape
            (examples, ...), which it takes as they are.
        y_train, y_test: Integer labels from 0 on, of shape (examples,).
        substitute: Whether the dataset replaces another one that is unavailable.
        note: A sentence that describes the dataset.

    Raises:
        TypeError, ValueError: An array has another type or shape; the error names the array.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    substitute: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        for part in ("train", "test"):
            examples, labels = getattr(self, f"x_{part}"), getattr(self, f"y_{part}")
            _require_examples(f"x_{part}", examples)
            _require_labels(f"y_{part}", labels, CLASSES if self.is_images else None)
            if len(examples) != len(labels) or len(examples) == 0:
                raise ValueError(
                    f"x_{part} and y_{part} must hold the same number of examples, at least 1. "
                    f"Received: {len(examples)} examples, {len(labels)} labels"
                )
        if self.x_train.dtype != self.x_test.dtype:
            raise TypeError(
                "x_train and x_test must hold the same kind of numbers. "
                f"Received: {_described(self.x_train)}; {_described(self.x_test)}"
            )
        if self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise ValueError(
                "x_train and x_test must hold examples of one shape. "
                f"Received: {_described(self.x_train)}; {_described(self.x_test)}"
            )

    @property
    def is_images(self) -> bool:
        """Whether the examples are images of bytes, which training scales to [0, 1]."""
        return self.x_train.dtype == np.uint8


def _require_examples(name: str, examples: Any) -> None:
    if not isinstance(examples, np.ndarray) or examples.dtype.kind not in "fiub":
        raise TypeError(
            f"{name} must be an array of numbers: uint8 pixels from 0 to 255, which training "
            "divides by 255, or features, which it takes as they are. For other data use "
            f"keraslr.Problem. Received: {_described(examples)}"
        )
    is_like_images = examples.shape[1:] == IMAGE_SHAPE
    if examples.dtype == np.uint8 and not is_like_images:
        raise ValueError(
            f"{name} must have the shape (examples, 28, 28, 1), as bytes: resize or crop the "
            "images, and add the last axis, as in images[..., np.newaxis]; or use keraslr.Problem. "
            f"Received: {_described(examples)}"
        )
    if is_like_images and examples.dtype.kind in "iu" and examples.dtype != np.uint8:
        raise TypeError(
            f"{name} must be a uint8 array if it holds pixels from 0 to 255, so that training "
            f"divides them by 255: use x.astype(np.uint8). Received: {_described(examples)}"
        )


def _require_labels(name: str, labels: Any, classes: int | None) -> None:
    known = "from 0 on" if classes is None else f"from 0 to {classes - 1}"
    if not isinstance(labels, np.ndarray) or not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(
            f"{name} must be an array of integers, the classes {known}: convert other labels "
            f"with np.asarray(labels, int); for other targets use keraslr.Problem. "
            f"Received: {_described(labels)}"
        )
    if labels.ndim != 1:
        raise ValueError(
            f"{name} must have the shape (examples,): convert one-hot rows with "
            "np.argmax(labels, axis=1), a column with labels.ravel(). "
            f"Received: {_described(labels)}"
        )
    if len(labels) and not 0 <= labels.min() <= labels.max() < (classes or np.inf):
        raise ValueError(
            f"{name} must be classes {known}: leave out the examples of other classes. "
            f"Received: classes from {labels.min()} to {labels.max()}"
        )


def _described(value: Any) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{type(value).__name__} of {value.dtype}, shape {tuple(value.shape)}"
    return type(value).__name__


def load(name: str = "auto") -> Dataset:
    """Loads a dataset by its name.

    Args:
        name: "fashion_mnist", from Keras's cache (`KERAS_HOME`), where missing files are
            downloaded; "digits", scikit-learn's bundled digits, enlarged; or "auto", Fashion-MNIST
            if it is available, else the digits, with a note that says so.

    Raises:
        ValueError: The name is unknown.
        DatasetError: The dataset is unavailable, or a file is damaged. A damaged file is never
            silently replaced by the digits.
    """
    if name not in NAMES:
        raise ValueError(f"dataset must be one of {', '.join(NAMES)}. Received: dataset={name!r}")
    if name == "digits":
        return digits()
    try:
        return fashion_mnist()
    except UnreachableError:
        if name == "fashion_mnist":
            raise
        note = (
            f"Fashion-MNIST is not in {_folder()} and cannot be downloaded, so scikit-learn's "
            "digits stand in for it: another dataset, small and easy, whose figures say nothing "
            "about Fashion-MNIST."
        )
        return dataclasses.replace(digits(), substitute=True, note=note)


class UnreachableError(DatasetError):
    """A dataset is not in the cache and cannot be downloaded."""


@functools.lru_cache(maxsize=1)
def fashion_mnist() -> Dataset:
    """Loads Fashion-MNIST: 60,000 images of clothing for training, 10,000 for test.

    Raises:
        DatasetError: A file is missing and cannot be downloaded, or is damaged.

    Source: Xiao et al., Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning
    Algorithms (2017).
    """
    folder = _folder()
    missing = [file for file in _FILES if not (folder / file).exists()]
    if missing:
        (x_train, y_train), (x_test, y_test) = _downloaded(folder, missing)
    else:
        # Not through Keras: if Keras may not write into its own folder, it looks elsewhere, and a
        # shared cache is often read-only.
        x_train, y_train, x_test, y_test = (_read(folder / file) for file in _FILES)
    return Dataset(
        "fashion_mnist",
        x_train.reshape(-1, 28, 28, 1),
        y_train.astype(np.int32),
        x_test.reshape(-1, 28, 28, 1),
        y_test.astype(np.int32),
        note="Fashion-MNIST, 60,000 images for training and 10,000 for test.",
    )


def digits() -> Dataset:
    """Loads scikit-learn's digits, enlarged from 8x8 to 28x28: 1,437 for training, 360 for test.

    Source: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits (1998).
    """
    from scipy.ndimage import zoom
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    large = zoom(data.images, (1, 3.5, 3.5), order=1)
    pixels = np.round(large * (255 / 16)).astype(np.uint8)[..., None]
    split = train_test_split(
        pixels,
        data.target.astype(np.int32),
        test_size=360,
        stratify=data.target,
        random_state=0,
    )
    x_train, x_test, y_train, y_test = split
    note = "Scikit-learn's digits, 1,437 images for training and 360 for test."
    return Dataset("digits", x_train, y_train, x_test, y_test, note=note)


def airfoil() -> tuple[np.ndarray, np.ndarray]:
    """Loads NASA's airfoil self-noise: 1500 rows of five measures of a blade and its noise level.

        z = (x - mean) / deviation    of each column, over all 1503 rows

    The deviation is the population's (divisor n). The first 1500 rows are kept.

    Returns:
        Features (1500, 5), in the file's order: frequency, angle of attack, chord length, air
        speed, displacement thickness at the suction side. Target (1500,): sound pressure level.
        Both float32, standardized as above.

    Raises:
        UnreachableError: The file is not in Keras's cache (`KERAS_HOME`) and cannot be downloaded.
        DatasetError: The file is damaged; it is never silently replaced.

    Source: Brooks, Pope and Marcolini, Airfoil Self-Noise and Prediction, NASA Reference
    Publication 1218 (1989).
    """
    path = _cache() / _AIRFOIL
    if not path.exists():
        # Only a missing file is requested: Keras ignores a folder that it may not write into, and
        # replaces a file with another hash.
        path = _airfoil_downloaded(path)
    try:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        wrong = "" if digest == _AIRFOIL_SHA256 else f"sha256 {digest}"
    except OSError as error:
        wrong = str(error)
    if wrong:
        raise DatasetError(
            f"{path} is damaged ({wrong}). Delete it, and it will be "
            f"downloaded again from {_AIRFOIL_ORIGIN}, or replace it with an undamaged file."
        )
    table = np.loadtxt(io.BytesIO(content), delimiter="\t")
    table = ((table - table.mean(0)) / table.std(0))[:_AIRFOIL_ROWS].astype(np.float32)
    return table[:, :-1], table[:, -1]


def _airfoil_downloaded(wanted: Path) -> Path:
    """Returns the path of the downloaded file: `wanted`, or another where Keras may write."""
    try:
        with _patient(), contextlib.redirect_stdout(io.StringIO()):
            return Path(keras.utils.get_file(_AIRFOIL, _AIRFOIL_ORIGIN))
    except Exception as error:  # Keras's own downloader raises bare Exceptions
        raise UnreachableError(
            f"cannot load {wanted}: it does not exist, and the download from {_AIRFOIL_ORIGIN} "
            f"failed ({error}). Put the file there."
        ) from error


def _cache() -> Path:
    """Returns the folder in which Keras keeps datasets."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home).expanduser() if home else Path.home() / ".keras") / "datasets"


def _folder() -> Path:
    """Returns the folder for the files of Fashion-MNIST."""
    return _cache() / "fashion-mnist"


def _downloaded(folder: Path, missing: list[str]) -> Any:
    """Returns Keras's copy of Fashion-MNIST; Keras downloads missing files."""
    try:
        with _patient(), contextlib.redirect_stdout(io.StringIO()):
            return keras.datasets.fashion_mnist.load_data()
    except Exception as error:  # Keras's own downloader raises bare Exceptions
        for file in _FILES:
            if file not in missing:
                _read(folder / file)
        if isinstance(error, (EOFError, ValueError, gzip.BadGzipFile, zlib.error)):
            raise DatasetError(
                f"a file of Fashion-MNIST is damaged ({error}), but not in {folder}: if Keras may "
                "not write there, it keeps files in .keras/datasets/fashion-mnist in the folder "
                f"for temporary files. Delete them there, or put the four files into {folder}."
            ) from error
        raise UnreachableError(
            f"cannot load {', '.join(missing)}: not in {folder}, and the download from {_ORIGIN} "
            f"failed ({error}). Put the four files of Fashion-MNIST into that folder."
        ) from error


@contextlib.contextmanager
def _patient() -> Iterator[None]:
    """Limits the wait for each answer to `_TIMEOUT` seconds; Keras's downloader has no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _read(path: Path) -> np.ndarray:
    """Reads one of the files as a uint8 array; a `DatasetError` if the file is damaged.

    An IDX file begins with its type and its sizes, four bytes each, big-endian.
    """
    shape = _FILES[path.name]
    header = np.array([0x0800 + len(shape), *shape], ">u4").tobytes()
    size = len(header) + math.prod(shape)
    try:
        with gzip.open(path) as stream:
            content = stream.read()
        if len(content) != size:
            wrong = f"{len(content)} bytes instead of {size}"
        elif not content.startswith(header):
            wrong = "its header is wrong"
        else:
            values = np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)
            wrong = "" if len(shape) > 1 or values.max() < 10 else f"a label of {values.max()}"
    except (OSError, EOFError, zlib.error) as error:
        wrong = str(error)
    if wrong:
        raise DatasetError(
            f"{path} is damaged ({wrong}). Delete it, and it will be downloaded again from "
            f"{_ORIGIN}{path.name}, or replace it with an undamaged file."
        )
    return values
