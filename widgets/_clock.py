"""A clock in the browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import ipywidgets

# How long the browser may be silent before it is asked to tick again.
_SILENCE = 2.0


class Clock(ipywidgets.Play):
    """Calls a function several times a second while it is on, by messages from the browser.

    A thread must not send updates to the page (Colab drops them), so a page that is to follow a
    running thread has to ask for news by itself. `Play` is the one core widget whose model counts
    in the browser; nobody sees it.

    The browser begins to count when it sees the clock being switched on. A page that is drawn
    later (a clock switched on in the cell that shows it, a page loaded again) misses that, so it
    is switched off and on again where no tick arrives.
    """

    def __init__(self, tick: Callable[[], None], interval: int = 200):
        super().__init__(min=0, max=2**31 - 1, interval=interval, layout={"display": "none"})
        # ipywidgets 7 has the trait with an underscore.
        self._switch = "playing" if self.has_trait("playing") else "_playing"
        self._tick, self._on, self._last = tick, False, 0.0
        self.observe(self._ticked, "value")

    @property
    def on(self) -> bool:
        """Whether it ticks, or waits for a browser to."""
        return self._on

    def start(self) -> None:
        """Switches it on; it may be on."""
        if not self._on:
            self._on, self._last = True, time.monotonic()
            setattr(self, self._switch, True)
            self._watch()

    def stop(self) -> None:
        """Switches it off; it may be off."""
        if self._on:
            self._on = False
            setattr(self, self._switch, False)

    def _ticked(self, _: Any) -> None:
        self._last = time.monotonic()
        if self._on:
            self._tick()

    def _watch(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no kernel: nobody looks
        loop.call_later(_SILENCE, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._on:
            return
        if time.monotonic() - self._last > _SILENCE:
            setattr(self, self._switch, False)
            setattr(self, self._switch, True)
        loop.call_later(_SILENCE, self._look, loop)
