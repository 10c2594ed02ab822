"""Work in a thread of its own, which a panel watches by its clock."""

from __future__ import annotations

import abc
import threading
import time
from typing import Protocol


class Work(Protocol):
    """Work in a thread, as a panel sees it: a `Worker`, or a `keraslr.training.LiveRun`."""

    error: BaseException | None

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not ended."""

    def stop(self) -> None:
        """Tells it to end; does nothing if it has ended."""

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for its end; returns whether it has ended."""


class StoppedError(Exception):
    """Raised in the thread to end work that was told to stop; no error for the person."""


class Worker(abc.ABC):
    """Work in a thread that belongs to the panel that made it.

    A subclass does the work in `_work` and keeps a record of it: plain attributes, each written in
    one assignment. The thread touches no widget; the panel's clock reads the record.

    Attributes:
        error: The exception that ended the work early; None if there was none.

    Args:
        name: Name of the thread.
    """

    def __init__(self, name: str):
        self.error: BaseException | None = None
        # Before 3.13, Python takes a thread for dead if Ctrl-C interrupted its `join`, so the
        # thread itself says when it is over.
        self._stop, self._over = threading.Event(), threading.Event()
        self._began: float | None = None
        self._took: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @abc.abstractmethod
    def _work(self) -> None:
        """Does the work, in the thread."""

    @property
    def under_way(self) -> bool:
        """Whether it has begun and not ended."""
        return self._began is not None and not self._over.is_set()

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._stop.is_set()

    @property
    def seconds(self) -> float:
        """Seconds from its start to now, or to its end."""
        if self._began is None:
            return 0.0
        return self._took if self._took is not None else time.monotonic() - self._began

    def start(self) -> None:
        """Starts the thread; does nothing if it was started before."""
        if self._began is None:
            self._began = time.monotonic()
            self._thread.start()

    def stop(self) -> None:
        """Tells the work to end; may be called twice, from any thread and after the end."""
        self._stop.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits for the end of the work, for at most `timeout` seconds.

        Returns:
            Whether it has ended. The work's own thread does not wait for itself.
        """
        own = self._thread is threading.current_thread()
        if self._began is not None and not own and self._over.wait(timeout):
            self._thread.join()
        return self._over.is_set()

    def _end_if_stopped(self) -> None:
        """Raises `StoppedError` if the work was told to stop."""
        if self.stopping:
            raise StoppedError

    def _run(self) -> None:
        assert self._began is not None
        try:
            self._work()
        except StoppedError:
            pass
        except BaseException as error:  # the panel shows it, whatever it is
            self.error = error
        self._took = time.monotonic() - self._began
        self._over.set()
