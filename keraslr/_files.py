"""Files that are written whole or not at all, and what strict JSON can hold."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def write_whole(path: str | os.PathLike[str], content: str | bytes) -> Path:
    """Writes a file whole or not at all, as seen by readers and after a crash.

    Args:
        path: Where to. Missing folders are made.
        content: Text (written as UTF-8) or bytes.

    Returns:
        The path.

    Raises:
        OSError: It cannot be written; the error names the path, and what lay there is still whole.
    """
    path = Path(path)
    data = content.encode("utf-8") if isinstance(content, str) else content
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In the same folder, because a rename is atomic only within a file system.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp's files are readable by their owner only; a result is as readable as other files.
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)
        os.replace(temporary, path)
    except OSError as error:
        raise type(error)(error.errno, f"cannot write: {error.strerror}", str(path)) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
    return path


def with_null(value: Any) -> Any:
    """Returns `value` with None for numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: with_null(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_null(each) for each in value]
    return value
