"""How tests wait: for an event, however long a busy machine takes to bring it about."""

from __future__ import annotations

import threading
import time

# Seconds until what did not come about is taken for what never will. No test is about it: whatever
# takes so long hangs, also on a slow machine that has other work.
PATIENCE = 600.0


def until(true, said=lambda: "it did not come about"):
    """Waits until a function's answer is true; an error says why, where it never is."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, said()
        time.sleep(0.005)


class Gate:
    """Holds a thread up until it is opened."""

    def __init__(self):
        self.reached, self.opened = threading.Event(), threading.Event()

    def __call__(self):
        self.reached.set()
        assert self.opened.wait(PATIENCE)


def hold_slice(monkeypatch, number, run=0):
    """The gate before one slice of one run, both counted from 0 in the order that they begin in."""
    from keraslr.training._loop import Loop  # and not above: other backends' tests wait, too

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
    """A list that grows with each slice of any run that begins, by its first step."""
    from keraslr.training._loop import Loop

    begun, slice_ = [], Loop.slice

    def counted(self, first):
        begun.append(first)
        return slice_(self, first)

    monkeypatch.setattr(Loop, "slice", counted)
    return begun
