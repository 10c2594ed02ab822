"""Jupyter kernels that are there at once, for the tests that run notebooks.

A server of Jupyter starts this file in place of `ipykernel_launcher`, as the kernel specification
says that `kernel_path` writes. It asks the tests for a kernel, over a socket. They make its process
as they make those of `programs`: by forking one that has TensorFlow imported, which a kernel would
take ten seconds for. Signals are passed on, and the kernel ends with whom it was started for.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

_SOCKET = "KERASLR_TEST_KERNELS"


# In the tests


@contextlib.contextmanager
def kernel_path(folder: Path):
    """A folder for JUPYTER_PATH, with a specification of such kernels in it."""
    specification = {
        "argv": [sys.executable, "-S", __file__, "-f", "{connection_file}"],
        "display_name": "Python 3",
        "language": "python",
        "env": {_SOCKET: str(folder / "socket")},
    }
    file = folder / "kernels" / "python3" / "kernel.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(specification))
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    made = []
    threading.Thread(target=_serve, args=(listener, made), daemon=True).start()
    yield folder
    listener.close()
    for process in made:
        process.kill()


def _serve(listener, made):
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_follow, args=(connection, made), daemon=True).start()


def _follow(connection, made):
    """Makes the kernel that is asked for, and is there between it and its launcher."""
    from programs import forked  # not in the process that Jupyter starts, which imports nothing

    with connection:
        asked, (out, err), *_ = socket.recv_fds(connection, 1 << 20, 2)
        asked = json.loads(asked)
        process = forked(_run, asked, asked["environment"], out, err)
        made.append(process)
        os.close(out)
        os.close(err)
        ended = threading.Thread(target=_tell, args=(process, connection), daemon=True)
        ended.start()
        # A byte is a signal to pass on; the end of the connection is that of the launcher.
        while number := connection.recv(1):
            os.kill(process.pid, number[0])
        process.kill()
        ended.join()


def _tell(process, connection):
    process.join()
    with contextlib.suppress(OSError):
        connection.sendall(bytes([process.exitcode & 0xFF]))
        connection.shutdown(socket.SHUT_RDWR)


def _run(asked):
    """The kernel."""
    os.chdir(asked["folder"])
    sys.argv = ["ipykernel_launcher", *asked["arguments"]]
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    import matplotlib
    from ipykernel import kernelapp

    # Matplotlib asks the environment once, when it is imported.
    matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    kernelapp.launch_new_instance()


# In the process that Jupyter starts


def main() -> int:
    """Asks for a kernel and waits for its end."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[_SOCKET])
    signal.signal(signal.SIGINT, lambda number, _: connection.sendall(bytes([number])))
    asked = {"arguments": sys.argv[1:], "environment": {**os.environ}, "folder": os.getcwd()}
    socket.send_fds(connection, [json.dumps(asked).encode()], [1, 2])
    status = connection.recv(1)
    return status[0] if status else 1


if __name__ == "__main__":
    sys.exit(main())
