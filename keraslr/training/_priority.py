"""The priority of a run's threads on a processor shared with the user interface."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

_NICE = 10


def give_way() -> None:
    """Lowers the priority of this process's computing threads.

    At normal priority they would take all cores, and a moved slider would have to wait for them, in
    the kernel and in the browser. The computing threads are this thread and those that Python does
    not know, except those for messages. Linux only: elsewhere only whole processes have priorities.
    The change cannot be undone, and costs nothing while no other thread needs the cores.
    """
    if sys.platform != "linux":
        return
    pythons = {thread.native_id for thread in threading.enumerate()}
    pythons.discard(threading.get_native_id())
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError, ValueError):  # the thread may have ended meanwhile
            if int(task.name) not in pythons and not _carries_messages(task):
                os.setpriority(os.PRIO_PROCESS, int(task.name), _NICE)


def _carries_messages(task: Path) -> bool:
    return (task / "comm").read_text().startswith("ZMQ")
