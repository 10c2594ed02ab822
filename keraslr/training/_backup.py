"""The file that keeps the state of a run after its last whole epoch."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from keraslr._files import write_whole
from keraslr.training._result import Result
from keraslr.training._run import Run


class Backup:
    """The backup file of a run, named after the run's key.

    Attributes:
        path: Path of the file, which may not exist yet.
    """

    def __init__(self, folder: str | os.PathLike[str], run: Run):
        self.path = Path(folder) / f"{run.key()}.npz"

    def write(self, result: Result, state: Sequence[np.ndarray]) -> None:
        """Writes the record and the numbers of model and optimizer: the whole file or nothing.

        Raises:
            OSError: The file cannot be written; the error names the path.
        """
        content = io.BytesIO()
        np.savez(content, np.array(result.to_json()), *state)
        write_whole(self.path, content.getvalue())

    def read(self) -> tuple[Result, list[np.ndarray]] | None:
        """Returns what `write` wrote; None if there is no file yet.

        Raises:
            ValueError: The file is not a backup; the error names the path.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                text, *state = (kept[name] for name in kept.files)
            return Result.from_json(str(text)), state
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is not a backup of a run ({error}): delete it to start again"
            ) from error
