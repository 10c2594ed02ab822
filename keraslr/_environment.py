"""The environment of a run: versions, backend and device."""

from __future__ import annotations

import os
import platform
import sys
from importlib import metadata
from typing import Any

import keras

from keraslr._version import __version__


def versions() -> dict[str, str]:
    """Returns the versions of Python and of the packages that a result depends on."""
    packages = ("keras", keras.backend.backend(), "numpy")
    installed = {name: _version(name) for name in packages}
    return {"python": platform.python_version(), "keraslr": __version__, **installed}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # installed under another name, such as tensorflow-cpu
        return str(getattr(sys.modules.get(package), "__version__", "unknown"))


def require_tensorflow(what: str = "training") -> None:
    """Raises a `RuntimeError` if Keras runs on another backend; `what` names the feature."""
    if keras.backend.backend() != "tensorflow":
        raise RuntimeError(
            f"{what} needs Keras on TensorFlow (KERAS_BACKEND=tensorflow). "
            f"Received: backend={keras.backend.backend()!r}"
        )


def show_versions() -> None:
    """Prints a line with the versions and the device, for questions and reports.

    The device is where Keras's backend puts an array.

    Example:
        >>> show_versions()  # doctest: +ELLIPSIS
        keraslr 0..., Python 3..., keras ..., numpy ...; backend ... on ...
    """
    known = versions()
    first = [f"keraslr {known.pop('keraslr')}", f"Python {known.pop('python')}"]
    listed = ", ".join([*first, *(f"{name} {version}" for name, version in known.items())])
    print(f"{listed}; backend {keras.backend.backend()} on {device()}, {os.cpu_count()} cores")


def device() -> str:
    """Returns the name of the device on which Keras's backend puts an array."""
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return "CPU"
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    place: Any = getattr(keras.ops.zeros(()), "device", "CPU")
    if backend == "torch" and place.type == "cuda":
        import torch

        return torch.cuda.get_device_name(place)
    name = str(getattr(place, "device_kind", place))  # JAX's devices have a kind
    return "CPU" if name == "cpu" else name
