"""A clock that ticks in the browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import ipywidgets

# Seconds without a tick after which the browser is asked to tick again.
_SILENCE = 2.0
_LATE = 0.5

# Clicks the clock's button, which may be drawn a little later than this element.
_CLICK = """<img alt="{count}" src="data:," onerror="
  const begin = (tries) => {{
    const panel = this.closest('.keraslr-panel');
    const button = panel && panel.querySelector('.keraslr-clock button');
    if (button && !button.classList.contains('mod-active')) button.click();
    if (!button && tries) setTimeout(begin, 100, tries - 1);
  }};
  begin(50)">"""


class Clock(ipywidgets.Play):
    """Calls a function several times a second, by messages from the browser.

    A thread must not send updates to the page (Colab drops them), so a page that follows a running
    thread has to ask for updates itself. `Play` is the one core widget whose model counts in the
    browser; here it is invisible.

    The browser begins to count when it sees the clock being switched on. A page that is drawn
    later (a clock switched on in the cell that shows it, a page loaded again) misses that, so the
    clock is switched off and on again if no tick arrives.

    Under ipywidgets 7, which Colab has, the browser ignores the switch and waits for a click on the
    button; `HTML` is the only widget that can make that click.

    Attributes:
        starter: Widget that makes the click, to be put into the same panel; empty if not needed.
    """

    def __init__(self, tick: Callable[[], None], interval: int = 200):
        super().__init__(min=0, max=2**31 - 1, interval=interval, layout={"display": "none"})
        # ipywidgets 7 has the trait with an underscore.
        self._clicked = not self.has_trait("playing")
        self._switch = "_playing" if self._clicked else "playing"
        self._tick, self._on, self._last, self._starts = tick, False, 0.0, 0
        self.starter = ipywidgets.HTML(layout={"display": "none"})
        self.add_class("keraslr-clock")
        self.observe(self._ticked, "value")

    @property
    def on(self) -> bool:
        """Whether the clock ticks, or waits for a browser to begin."""
        return self._on

    def start(self) -> None:
        """Switches the clock on; does nothing if it is on."""
        if not self._on:
            self._on, self._last = True, time.monotonic()
            self._switch_on()
            self._watch()

    def stop(self) -> None:
        """Switches the clock off; does nothing if it is off."""
        if self._on:
            self._on = False
            self._switch_off()

    def _switch_on(self) -> None:
        if self._clicked:
            self._starts += 1
            self.starter.value = _CLICK.format(count=self._starts)
        else:
            setattr(self, self._switch, True)

    def _switch_off(self) -> None:
        self.starter.value = ""
        setattr(self, self._switch, False)

    def _ticked(self, _: Any) -> None:
        self._last = time.monotonic()
        if self._on:
            self._tick()
        else:
            self._switch_off()  # the click may have come after the stop

    def _watch(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no kernel, so no page
        loop.call_later(_SILENCE, self._look, loop, loop.time() + _SILENCE)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if not self._on:
            return
        # After a long cell, ticks that have arrived are still unread. Switching on once more would
        # make the browser count twice.
        late = loop.time() - due > _LATE
        if not late and time.monotonic() - self._last > _SILENCE:
            self._switch_off()
            self._switch_on()
        loop.call_later(_SILENCE, self._look, loop, loop.time() + _SILENCE)
