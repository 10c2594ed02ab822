"""The sides of a comparison, each measured in a separate process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import multiprocessing
import re
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks._timing import Repeat, in_turns

# New processes, not copies of this one with its memory.
_PROCESSES = multiprocessing.get_context("spawn")


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: Unique name, as shown in the table.
        prepare: Function that makes the work to repeat, in the process that runs it; its argument
            says whether to be quick. It must be picklable: defined in a module, with picklable
            arguments.
        needs: Package that may be missing; "" for none.
        process: Name of the process. Sides with one name share a process and its peak memory: for
            differences smaller than those between two processes.
    """

    name: str
    prepare: Callable[[bool], Repeat]
    needs: str = ""
    process: str = ""

    @property
    def installed(self) -> bool:
        """Whether the package is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


@dataclasses.dataclass(frozen=True)
class Timed:
    """The times and the memory of a side.

    Attributes:
        seconds: Seconds per counted unit: one number per round.
        peak: Peak memory in MiB of its process, or of a process started by it, if larger.
    """

    seconds: list[float]
    peak: float


def measured(
    sides: Sequence[Side], rounds: int, *, quick: bool = False, warm_up: bool = True
) -> dict[str, Timed]:
    """Measures the installed sides in turns, each in its process; returns results by name."""
    there = [side for side in sides if side.installed]
    groups: dict[str, list[Side]] = {}
    for side in there:
        groups.setdefault(side.process or side.name, []).append(side)
    with contextlib.ExitStack() as stack:
        workers = {name: _Worker(group, quick) for name, group in groups.items()}
        for worker in workers.values():
            stack.callback(worker.end)
        for worker in workers.values():
            worker.wait()
        repeats = {
            side.name: workers[side.process or side.name].repeat(side.name) for side in there
        }
        seconds = in_turns(repeats, rounds, warm_up=warm_up)
        peaks = {name: worker.peak() for name, worker in workers.items()}
    return {
        side.name: Timed(seconds[side.name], peaks[side.process or side.name]) for side in there
    }


def peak_memory() -> float:
    """Returns the peak memory in MiB of this process, or of one started by it, if larger."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / unit
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, getrusage's figure of a process starts with the memory of its parent.
        own = int(re.findall(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)[0]) / 1024
    else:
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return max(own, started)


class _Worker:
    """A process that prepares sides, and then repeats a side on request."""

    def __init__(self, sides: Sequence[Side], quick: bool) -> None:
        self._names = ", ".join(side.name for side in sides)
        self._connection, far = _PROCESSES.Pipe()
        self._process = _PROCESSES.Process(target=_serve, args=(far, tuple(sides), quick))
        self._process.start()
        far.close()

    def wait(self) -> None:
        """Waits until the sides are prepared."""
        self._answer()

    def repeat(self, name: str) -> Repeat:
        """Returns a function that repeats a side in the process."""

        def repeat() -> float:
            self._connection.send(name)
            return self._answer()

        return repeat

    def peak(self) -> float:
        """Returns the peak memory of the process so far, in MiB."""
        self._connection.send("")
        return self._answer()

    def end(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.join(10)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _answer(self) -> float:
        try:
            return self._connection.recv()
        except EOFError:
            raise RuntimeError(f"the process of {self._names} failed: see above") from None


def _serve(connection: Connection, sides: Sequence[Side], quick: bool) -> None:
    with contextlib.suppress(EOFError), _closed(connection):
        repeats = {side.name: side.prepare(quick) for side in sides}
        connection.send(0.0)
        while True:
            name = connection.recv()
            connection.send(repeats[name]() if name else peak_memory())


@contextlib.contextmanager
def _closed(connection: Connection) -> Iterator[None]:
    """Closes the connection at the end: only then does the other end notice a failure."""
    try:
        yield
    finally:
        connection.close()
