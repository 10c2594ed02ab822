"""Who goes first where a run and the person who watches it share the processor."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

_NICE = 10


def give_way() -> None:
    """Lets the computing threads of this process go behind whatever else wants to run.

    They would take all cores, and a moved slider would wait its turn behind them, in the kernel as
    in the browser. What computes is this thread and those that Python does not know, but for the
    ones of the messages. Linux only: elsewhere priorities are of whole processes. It cannot be
    taken back, and costs nothing where nobody else wants the cores.
    """
    if sys.platform != "linux":
        return
    pythons = {thread.native_id for thread in threading.enumerate()}
    pythons.discard(threading.get_native_id())
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError, ValueError):  # a thread may have ended since
            if int(task.name) not in pythons and not _carries_messages(task):
                os.setpriority(os.PRIO_PROCESS, int(task.name), _NICE)


def _carries_messages(task: Path) -> bool:
    return (task / "comm").read_text().startswith("ZMQ")
