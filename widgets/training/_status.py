"""The state of a run, in words."""

from __future__ import annotations

import html

from keraslr._chart_data import usual_figure
from widgets.parts._panel import ERROR, GOOD, PLAIN
from widgets.training._runs import KeptRun


def status(kept: KeptRun, waiting: int) -> str:
    """Returns the line above the progress bar, as HTML.

    Args:
        kept: The run that trains, or trained last.
        waiting: Number of runs that wait.
    """
    live = kept.live
    progress, parts = live.progress, [live.state]
    if kept.per_epoch:
        epochs = live.epochs or 1
        epoch = min(progress.steps_done // kept.per_epoch + 1, epochs)
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


def end(kept: KeptRun) -> tuple[list[str], str]:
    """Returns the result of a run: the lines of the message, and their colour."""
    live, name = kept.live, kept.name.value
    result, problem = live.result, live.problem
    note = [problem.note] if problem is not None and problem.substitute else []
    if live.error is not None:
        return [f"{name} failed: {live.error}"], ERROR
    if live.state == "diverged":
        said = (
            f"{name} diverged at step {result.steps_done}: the loss is no longer finite. "
            "Lower the rate."
        )
        return [said, *note], ERROR
    epochs = result.epochs_done
    if not epochs:
        return [f"{name} {live.state} before its first epoch ended.", *note], PLAIN
    figure = usual_figure(result.epochs) or "loss"
    reached = f"{figure} {result.epochs[figure][-1]:.4g}" if figure in result.epochs else "done"
    if kept.is_of_images:
        reached = f"test accuracy {result.test_accuracy[-1]:.4f}"
    said = (
        f"{name} {live.state}: {reached} after {epochs} {'epoch' if epochs == 1 else 'epochs'}, "
        f"{result.wall_time:.0f} s on {result.device}."
    )
    return [said, *note], GOOD
