"""Where the results of jobs are kept."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

from keraslr._files import write_whole
from keraslr.jobs._job import Job, Outcome


@dataclasses.dataclass(frozen=True)
class Store:
    """A folder with a file for each finished job.

    Attributes:
        folder: The folder; made when the first result is written.
        encode: Returns the text of the file for a job and its outcome.
        decode: Returns the outcome from the text of a file. Returns None, or raises `ValueError`,
            `KeyError` or `TypeError`, for a text that is not a finished result.
    """

    folder: Path
    encode: Callable[[Job, Outcome], str]
    decode: Callable[[str], Outcome | None]

    @classmethod
    def below(
        cls,
        output: str | os.PathLike[str],
        encode: Callable[[Job, Outcome], str],
        decode: Callable[[str], Outcome | None],
    ) -> Store:
        """Returns the store in the subfolder `runs` of an output folder."""
        # Absolute, since another process may have another working directory.
        return cls(Path(output).absolute() / "runs", encode, decode)

    def read(self, job: Job) -> Outcome | None:
        """Returns the stored outcome; None if there is none, or its file is not a result."""
        try:
            return self.decode((self.folder / job.file).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, job: Job, outcome: Outcome) -> None:
        """Writes the outcome, whole or not at all.

        Raises:
            OSError: The file cannot be written; the error names the path.
        """
        write_whole(self.folder / job.file, self.encode(job, outcome))
