"""A dataset's arrays on the device that trains on them."""

from __future__ import annotations

import threading
import weakref

import tensorflow as tf

from keraslr.datasets import Dataset


class OnDevice:
    """A dataset's arrays as tensors, shared by all loops training on the dataset at one time.

    Attributes:
        train, test: Images (uint8) and labels.
    """

    _all: weakref.WeakValueDictionary[tuple[int, str], OnDevice] = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, data: Dataset):
        self._data = data  # keeps the dataset alive, or another one might get its id
        # int64, because TensorFlow keeps int32 tensors in the host's memory also on a GPU.
        self.train = tf.constant(data.x_train), tf.constant(data.y_train, tf.int64)
        self.test = tf.constant(data.x_test), tf.constant(data.y_test, tf.int64)

    @classmethod
    def of(cls, data: Dataset) -> OnDevice:
        """Returns the dataset's tensors on the device, uploading them if needed.

        They are freed with the last loop that uses them.
        """
        # The device on which TensorFlow would put a tensor now: it depends on the caller's scope.
        key = id(data), tf.constant(0, tf.int64).device
        with cls._lock:
            held = cls._all.get(key)
            if held is None:
                held = cls._all[key] = cls(data)
            return held
