"""Jobs: one computation of many, its outcome, and how it is sent to another process."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
import re
import sys
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Job:
    """One independent computation, for this process or any other.

    Attributes:
        part: Name of the part of a whole that the job belongs to; "" for none.
        name: Readable, unique together with the seed within the part.
        seed: The seed; also in the arguments where the function takes one.
        cost: Size of the job, in the same unit for all jobs that are dispatched together: seconds
            or steps, for example.
        function: Any function that takes the arguments by name and returns the result. Another
            process imports it from its module or, if it is in none, rebuilds it from its code.
        arguments: Everything that the result depends on.
        digest: Short hash of everything that the result depends on. Left out, that of the
            function's name and the arguments, which JSON then has to hold.
        reports_progress: Whether the function also takes `report`, which it calls with the part of
            the cost that is done, and `should_stop`, which it asks whether to end early.
    """

    part: str
    name: str
    seed: int
    cost: float
    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    digest: str = ""
    reports_progress: bool = False

    @property
    def file(self) -> str:
        """File name of the result: readable, with a hash of all that it depends on."""
        digest = self.digest
        if not digest:
            text = json.dumps([self.function.__qualname__, dict(self.arguments)], sort_keys=True)
            digest = hashlib.sha256(text.encode()).hexdigest()[:12]
        return f"{slug(f'{self.part} {self.name}') or 'job'}-seed{self.seed}-{digest}.json"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a job that ended well.

    Attributes:
        result: What the function returned.
        seconds: Wall time of the call.
    """

    result: Any
    seconds: float


def slug(text: str) -> str:
    """Returns the text as part of a file name: lowercase letters, digits, dots and dashes."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-")


def packed(content: Any, *, by_name: bool) -> bytes:
    """Returns bytes from which `pickle.loads` rebuilds the content in another process.

    A function of a module is sent by its name; a lambda, a closure or a function of a notebook cell
    is sent with its code.

    Args:
        content: Object to pack.
        by_name: Whether functions of the running script are sent by their names too, since the
            other process imports that script, as Python's own processes do.

    Raises:
        TypeError: The content cannot be packed, such as an open file or a lock.
    """
    if by_name:
        try:
            data = pickle.dumps(content)
        except Exception:  # of any kind, since objects may define how they are packed
            pass
        else:
            # Code typed into a notebook's cells is in no file.
            if hasattr(sys.modules["__main__"], "__file__") or b"__main__" not in data:
                return data
    import cloudpickle

    try:
        return cloudpickle.dumps(content)
    except Exception as error:  # of any kind, since objects may define how they are packed
        raise TypeError(f"cannot be sent to another process: {error}") from error


class Parcel:
    """Content on its way to another process.

    A parcel is packed when it leaves, not before: many jobs with large data would fill the memory,
    and jobs for a thread need not be packed. It is unpacked when it is opened, so that the process
    can be prepared before the content is imported.

    Args:
        content: Object to send.
        by_name: See `packed`.
    """

    def __init__(self, content: Any, *, by_name: bool):
        self._content, self._by_name = content, by_name

    def open(self) -> Any:
        """Returns the content."""
        return self._content

    def __reduce__(self) -> tuple[Any, ...]:
        return _Received, (packed(self._content, by_name=self._by_name),)


class _Received:
    """A parcel that has arrived."""

    def __init__(self, data: bytes):
        self._data = data

    def open(self) -> Any:
        return pickle.loads(self._data)
