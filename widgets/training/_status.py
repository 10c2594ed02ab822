"""The state of a run, in words."""

from __future__ import annotations

import html

from keraslr.training import LiveRun
from widgets.parts._panel import ERROR, GOOD, PLAIN


def status(live: LiveRun, waiting: int) -> str:
    """Returns the line above the progress bar, as HTML.

    Args:
        live: The run that trains, or trained last.
        waiting: Number of runs that wait.
    """
    progress, parts = live.progress, [live.state]
    if live.steps_per_epoch:
        epochs = live.epochs or 1
        epoch = min(progress.steps_done // live.steps_per_epoch + 1, epochs)
        parts.append(f"epoch {epoch} of {epochs}")
        if progress.examples_per_second:
            parts.append(f"{progress.examples_per_second:,.0f} examples/s")
        if live.under_way and progress.seconds_left is not None:
            parts.append(f"{progress.seconds_left:.0f} s left")
        if live.result.learning_rate:
            by_hand = " (by hand)" if live.held_rate is not None else ""
            parts.append(f"rate {live.result.learning_rate[-1]:.4g}{by_hand}")
    if waiting:
        parts.append(f"{waiting} waiting")
    return html.escape(" · ".join(parts))


def end(name: str, live: LiveRun) -> tuple[list[str], str]:
    """Returns the result of a run: the lines of the message, and their colour."""
    result = live.result
    problem = live.problem
    note = [problem.note] if problem is not None and problem.substitute else []
    if live.error is not None:
        return [f"{name} failed: {live.error}"], ERROR
    if live.state == "diverged":
        said = (
            f"{name} diverged at step {len(result.loss)}: the loss is no longer finite. "
            "Lower the rate."
        )
        return [said, *note], ERROR
    if not result.test_accuracy:
        return [f"{name} {live.state} before its first epoch ended.", *note], PLAIN
    epochs = len(result.test_accuracy)
    said = (
        f"{name} {live.state}: test accuracy {result.test_accuracy[-1]:.4f} after "
        f"{epochs} {'epoch' if epochs == 1 else 'epochs'}, {result.wall_time:.0f} s on "
        f"{result.device}."
    )
    return [said, *note], GOOD
