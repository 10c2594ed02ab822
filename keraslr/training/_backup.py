"""Where a run is after its last whole epoch, kept in a file."""

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
    """The file of a run, named after all that the run was asked for.

    Attributes:
        path: Where it is, or will be.
    """

    def __init__(self, folder: str | os.PathLike[str], run: Run):
        self.path = Path(folder) / f"{run.key()}.npz"

    def write(self, result: Result, state: Sequence[np.ndarray]) -> None:
        """Keeps the record, and the numbers of model and optimizer; whole or not at all.

        Raises:
            OSError: It cannot be written; the error names the path.
        """
        content = io.BytesIO()
        np.savez(content, np.array(result.to_json()), *state)
        write_whole(self.path, content.getvalue())

    def read(self) -> tuple[Result, list[np.ndarray]] | None:
        """What `write` kept; None if there is nothing yet.

        Raises:
            ValueError: The file is no backup; the error names the path.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                text, *state = (kept[name] for name in kept.files)
            return Result.from_json(str(text)), state
        except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(
                f"{self.path} is no backup of a run ({error}): delete it to begin anew"
            ) from error
