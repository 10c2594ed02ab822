"""Waiting in tests: for an event, however long a busy machine needs for it."""

from __future__ import annotations

import threading
import time

# Seconds until a test gives up. No test depends on the value: work that takes this long hangs, even
# on a slow and busy machine.
PATIENCE = 600.0


def until(true, said=lambda: "timeout while waiting"):
    """Waits until a function returns true; fails with a message after the timeout."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.005)


class Gate:
    """A gate that blocks a thread until the gate is opened."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.opened.wait(PATIENCE)


def hold_slice(monkeypatch, number, run=0):
    """Returns a gate before one slice of one run, both counted from 0 in their starting order."""
    # Not at the top of the file: tests of other backends use this module, too.
    from keraslr.training._loop import Loop

    gate, begun, slice_ = Gate(), {}, Loop.slice

    def held(self, first):
        slices = begun.setdefault(self, [])
        slices.append(first)
        if self is list(begun)[-1] and (len(begun), len(slices)) == (run + 1, number + 1):
            gate()
        return slice_(self, first)

    monkeypatch.setattr(Loop, "slice", held)
    return gate


def slices_begun(monkeypatch):
    """Returns a list to which each starting slice of any run adds its first step."""
    from keraslr.training._loop import Loop

    begun, slice_ = [], Loop.slice

    def counted(self, first):
        begun.append(first)
        return slice_(self, first)

    monkeypatch.setattr(Loop, "slice", counted)
    return begun
