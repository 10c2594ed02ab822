"""Random numbers that depend on a run's seed alone."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator

import numpy as np

# Python's and NumPy's random states belong to the whole process.
_ONE_AT_A_TIME = threading.RLock()


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seeds Python's and NumPy's random numbers, and restores their states afterwards.

    Keras draws the seeds of initializers and of dropout from Python's.
    """
    with _ONE_AT_A_TIME:
        pythons, numpys = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed % 2**32)
        try:
            yield
        finally:
            random.setstate(pythons)
            np.random.set_state(numpys)
