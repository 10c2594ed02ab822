"""Questions to a thread that trains, answered between two of its steps."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

_Value = TypeVar("_Value")


class Questions:
    """Functions that other threads ask a thread to call for them.

    Args:
        changed: Condition that the thread waits for; its lock guards the queue.
    """

    def __init__(self, changed: threading.Condition):
        self._changed = changed
        self._asked: deque[tuple[Future, Callable[[], Any]]] = deque()

    def ask(self, function: Callable[[], _Value]) -> Future[_Value]:
        """Queues a function and returns the future of its result. Call it with the lock held."""
        future: Future[_Value] = Future()
        self._asked.append((future, function))
        self._changed.notify_all()
        return future

    def answer(self, may_return: Callable[[], bool]) -> None:
        """Calls the queued functions until none is left and `may_return()` is true.

        `may_return` is called with the lock held. While it is false, the thread waits.
        """
        while True:
            with self._changed:
                if not self._asked:
                    if may_return():
                        return
                    self._changed.wait()
                    continue
                future, function = self._asked.popleft()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # belongs to the caller of `ask`
                    future.set_exception(error)


def answered(future: Future[_Value], seconds: float, what: str) -> _Value:
    """Returns the result of a question.

    Raises:
        RuntimeError: The step under way did not end within that many seconds.
    """
    try:
        return future.result(seconds)
    except FutureTimeoutError:
        if not future.cancel():
            return future.result()
        raise RuntimeError(
            f"{what} needs the end of the step under way, and that did not come within "
            f"{seconds:g} seconds: pause the run first, or try again"
        ) from None
