"""A panel whose work runs in a thread, and is shown by a clock."""

from __future__ import annotations

from widgets.parts._clock import Clock
from widgets.parts._panel import Panel, dispose, guarded
from widgets.parts._worker import Work

# Seconds between two looks at the work where no page asks for news.
_PAUSE = 0.2


class WorkingPanel(Panel):
    """A panel whose work runs in a thread, so that the notebook stays free.

    The page's clock ticks five times a second; each tick reads what the thread has written down,
    and shows it. A subclass begins work and starts the clock, and says which work it is.

    Attributes:
        clock: Ticks while there is work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(self._tick)
        self.at_close(self._end_clock)

    @property
    def under_way(self) -> bool:
        """Whether work is under way."""
        work = self._current_work()
        return work is not None and work.under_way

    def stop(self) -> None:
        """Ends the work that is under way; may be called twice."""
        raise NotImplementedError

    def _current_work(self) -> Work | None:
        """Returns the work begun last; None before the first, or once its end has been shown."""
        raise NotImplementedError

    def _show_work(self, over: bool) -> None:
        """Shows how far the work is or, when it is over, its result."""
        raise NotImplementedError

    def _end_clock(self) -> None:
        self.clock.stop()
        dispose(self.clock, self.clock.starter)

    def _ticks_on(self) -> bool:
        """Whether there will be more to show than now."""
        return self.under_way

    @guarded
    def _tick(self) -> None:
        # Asked first: what the thread writes before its end is then seen below.
        over = not self._ticks_on()
        self._show_work(over)
        if over:
            self.clock.stop()

    def _block(self) -> None:
        """Waits for the end of the work and shows it on the way.

        Ctrl-C stops the work and keeps what is done.
        """
        try:
            while self.under_way:
                self._wait(_PAUSE)
                self._tick()
        except KeyboardInterrupt:
            self.stop()
            self._wait()
        finally:
            self._tick()

    def _wait(self, timeout: float | None = None) -> None:
        work = self._current_work()
        if work is not None:
            work.wait(timeout)
