"""Python programs for tests to start, to kill, and to hear of, each in a process of its own.

Where they can, they come from a server that has TensorFlow imported and forks: what a test is
about is then done a moment later, and not after the seconds of an import. What a program does
while it starts, or leaves to its interpreter's end, needs `subprocess` instead.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import tempfile
import threading
from pathlib import Path

from keraslr import _pool

HERE = Path(__file__).parent


class Program:
    """A process like that of `python ARGUMENTS`, with the part of `subprocess.Popen` used here."""

    def __init__(self, *arguments, environment=None):
        context = _pool.process_context()
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name) / "stderr"
        receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_run, args=([*map(str, arguments)], environment or {}, sender, self._errors)
        )
        self._process.start()
        sender.close()
        self.stdout = os.fdopen(os.dup(receiver.fileno()))
        receiver.close()

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def finished(self, status=0, timeout=120):
        """What it printed, once it has ended; an error, with what it said, for another status."""
        late = threading.Timer(timeout, self.kill)
        late.start()
        with self.stdout:
            said = self.stdout.read()
        self._process.join()
        late.cancel()
        with self._folder:
            assert self._process.exitcode == status, self._errors.read_text()
        return said


def _run(arguments, environment, stdout, errors):
    os.dup2(stdout.fileno(), 1)
    stdout.close()
    with errors.open("w") as file:
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    sys.path[:0] = [str(HERE.parent), str(HERE)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
