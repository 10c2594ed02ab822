"""Python programs for tests to start, to kill, and to hear of, each in a process of its own.

Where they can, they come from a server that has TensorFlow imported and forks: what a test is
about is then done a moment later, and not after the seconds of an import. What a program does
while it starts, or leaves to its interpreter's end, needs `subprocess` instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import tempfile
import threading
from multiprocessing import reduction
from pathlib import Path

from waiting import PATIENCE

HERE = Path(__file__).parent


class Program:
    """A process like that of `python ARGUMENTS`, with the part of `subprocess.Popen` used here."""

    def __init__(self, *arguments, environment=None):
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name) / "stderr"
        receiver, sender = os.pipe()
        with self._errors.open("w") as errors:
            self._process = forked(
                _run, [*map(str, arguments)], {**os.environ, **(environment or {})},
                sender, errors.fileno(),
            )  # fmt: skip
        os.close(sender)
        self.stdout = os.fdopen(receiver)

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        self._process.kill()

    def finished(self, status=0):
        """What it printed, once it has ended; an error, with what it said, for another status."""
        late = threading.Timer(PATIENCE, self.kill)
        late.start()
        with self.stdout:
            said = self.stdout.read()
        self._process.join()
        late.cancel()
        with self._folder:
            assert self._process.exitcode == status, self._errors.read_text()
        return said


def forked(function, arguments, environment, out, err):
    """A process that calls the function with the arguments, as one that was started anew.

    Args:
        environment: All of its environment.
        out, err: File descriptors that it prints to.
    """
    process = _context().Process(
        target=_call, args=(function, arguments, environment, _End(out), _End(err))
    )
    process.start()
    return process


def _context():
    """How processes are made: on Linux by a server that has imported what most programs need."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # TensorFlow bears a fork as long as it has not computed, and a server only imports.
    context.set_forkserver_preload(["tensorflow", "keraslr.training"])
    return context


class _End:
    """A file descriptor that goes along to a new process."""

    def __init__(self, number):
        self.number = number

    def __reduce__(self):
        return _received, (reduction.DupFd(self.number),)


def _received(end):
    return end.detach()


def _call(function, arguments, environment, out, err):
    for mine, standard in ((out, 1), (err, 2)):
        os.dup2(mine, standard)
        os.close(mine)
    os.environ.clear()
    os.environ.update(environment)
    # The server ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    function(arguments)


def _run(arguments):
    sys.path[:0] = [str(HERE.parents[1]), str(HERE)]
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = arguments
        runpy.run_path(arguments[0], run_name="__main__")
