"""Python programs that tests start, kill and read the output of, each in a separate process.

Where possible, a server with TensorFlow already imported forks the processes: they start at once,
without the seconds of an import. Tests of a program's start, or of the end of its interpreter, need
`subprocess` instead.
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
    """A process like `python ARGUMENTS`, with the part of `subprocess.Popen` that tests use."""

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
        """Waits for the end and returns the output; fails with stderr for another exit status."""
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
    """Starts a process that calls the function with the arguments, as in a new program.

    Args:
        environment: Whole environment of the process.
        out, err: File descriptors for its output.
    """
    process = _context().Process(
        target=_call, args=(function, arguments, environment, _End(out), _End(err))
    )
    process.start()
    return process


def _context():
    """Returns the context for processes: on Linux, a server with the usual imports done."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    # TensorFlow survives a fork before its first computation, and the server only imports it.
    context.set_forkserver_preload(["tensorflow", "keraslr.training"])
    return context


class _End:
    """A file descriptor that is passed to a new process."""

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
