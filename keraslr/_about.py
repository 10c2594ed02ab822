"""What a run depends on: versions and device."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import keras

from keraslr._version import __version__


def versions() -> dict[str, str]:
    """Of Python and of the packages that a result depends on."""
    packages = {name: metadata.version(name) for name in ("keras", "tensorflow", "numpy")}
    return {"python": platform.python_version(), "keraslr": __version__, **packages}


def show_versions() -> None:
    """Prints a line with the versions and the device: what a question or a result should name.

    The device is where Keras's backend puts an array.

    Example:
        >>> show_versions()  # doctest: +ELLIPSIS
        keraslr 0..., Python 3..., keras ..., tensorflow ..., numpy ...; backend ... on ...
    """
    known = versions()
    first = [f"keraslr {known.pop('keraslr')}", f"Python {known.pop('python')}"]
    listed = ", ".join([*first, *(f"{name} {version}" for name, version in known.items())])
    print(f"{listed}; backend {keras.backend.backend()} on {_device()}, {os.cpu_count()} cores")


def _device() -> str:
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
        if not gpus:
            return "CPU"
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    return str(getattr(keras.ops.zeros(()), "device", "CPU"))
