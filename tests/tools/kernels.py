"""Jupyter kernels that start at once, for the tests that run notebooks.

A Jupyter server starts this file instead of `ipykernel_launcher`, because of the kernel
specification that `kernel_path` writes. The file requests a kernel from the tests, over a socket.
The tests create its process like those of `programs`, by forking a process with TensorFlow
already imported: the import would take ten seconds. Signals are passed on to the kernel, and the
kernel ends together with the process that requested it.
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
    """Yields a folder for JUPYTER_PATH that holds the specification of these kernels."""
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
    """Creates the requested kernel, and connects it with its launcher until one of them ends."""
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
        # A byte is a signal to pass on; the connection ends with the launcher.
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
    """Runs the kernel."""
    os.chdir(asked["folder"])
    sys.argv = ["ipykernel_launcher", *asked["arguments"]]
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    import matplotlib
    from ipykernel import kernelapp

    # Matplotlib reads the environment only once, at its import.
    matplotlib.rcParams["backend"] = "module://matplotlib_inline.backend_inline"
    kernelapp.launch_new_instance()


# In the process that Jupyter starts


def main() -> int:
    """Requests a kernel and waits for its end."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[_SOCKET])
    signal.signal(signal.SIGINT, lambda number, _: connection.sendall(bytes([number])))
    asked = {"arguments": sys.argv[1:], "environment": {**os.environ}, "folder": os.getcwd()}
    socket.send_fds(connection, [json.dumps(asked).encode()], [1, 2])
    status = connection.recv(1)
    return status[0] if status else 1


if __name__ == "__main__":
    sys.exit(main())
