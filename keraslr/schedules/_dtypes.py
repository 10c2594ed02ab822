"""The widest numbers that Keras's backend has by default."""

import numpy as np
from keras import backend

_NARROW = backend.backend() == "jax"

FLOAT = "float32" if _NARROW else "float64"
# TensorFlow keeps 32-bit integers off the GPU.
INTEGER = "int32" if _NARROW else "int64"
LARGEST = int(np.iinfo(INTEGER).max)
