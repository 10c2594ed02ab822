"""Recommends strategies and optimizers, from the catalog's guidance."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping

from keraslr.catalog import CATALOG, OPTIMIZERS, RECOMMENDATIONS, Strategy

__all__ = ["Advice", "advise", "advise_optimizers", "problems", "questions"]


@dataclasses.dataclass(frozen=True)
class Advice:
    """A strategy recommended by answers.

    Attributes:
        strategy: Its entry in the catalog; `strategy.good` says when to use it.
        reasons: The answers that recommend it, each as "question: answer".
        caveat: What to beware of.
        score: How many answers recommend it, and the sum of its places in their lists, of which 1
            is the first.
    """

    strategy: Strategy
    reasons: tuple[str, ...]
    caveat: str
    score: tuple[int, int]


def questions() -> dict[str, tuple[str, ...]]:
    """Returns the questions, each with its possible answers.

    Example:
        >>> questions()["loss"]
        ('fluctuates strongly', 'falls steadily')
    """
    asked: dict[str, tuple[str, ...]] = {}
    for question, answer, _ in RECOMMENDATIONS:
        asked[question] = (*asked.get(question, ()), answer)
    return asked


def advise(answers: Mapping[str, str]) -> list[Advice]:
    """Returns the strategies that the answers recommend, best first.

    Each answer has a list of strategies, best first. A strategy that more answers recommend comes
    first; of those with as many, the one with the smaller sum of places in the lists; of those
    with the same sum, the one that the catalog names first.

    Args:
        answers: Answer by question, of `questions()`; questions may be left out.

    Returns:
        List of `Advice`, empty without answers.

    Raises:
        TypeError: `answers` is no mapping.
        ValueError: There is no such question or answer; the error names the nearest one.

    Example:
        >>> for each in advise({"task": "classification", "loss": "falls steadily"}):
        ...     print(each.strategy.name, each.score, each.reasons)
        step decay (2, 2) ('task: classification', 'loss: falls steadily')
        exponential decay (1, 2) ('loss: falls steadily',)
        cosine annealing (1, 2) ('task: classification',)
        cyclical (1, 3) ('task: classification',)
    """
    if not isinstance(answers, Mapping):
        raise TypeError(
            "answers must be a mapping from question to answer. "
            f"Received: answers={answers!r} ({type(answers).__name__})"
        )
    asked = questions()
    for question, answer in answers.items():
        _check("question", question, asked)
        _check(f'answer to "{question}"', answer, asked[question])
    reasons: dict[str, list[str]] = {name: [] for name in CATALOG}
    places = dict.fromkeys(CATALOG, 0)
    for question, answer, names in RECOMMENDATIONS:
        if answers.get(question) == answer:
            for place, name in enumerate(names, start=1):
                reasons[name].append(f"{question}: {answer}")
                places[name] += place
    advice = [
        Advice(strategy, tuple(why), strategy.bad, (len(why), places[strategy.name]))
        for strategy in CATALOG.values()
        if (why := reasons[strategy.name])
    ]
    # Python's sort keeps the catalog's order among equals.
    return sorted(advice, key=lambda each: (-each.score[0], each.score[1]))


def problems() -> tuple[str, ...]:
    """Returns the kinds of problems for which optimizers are recommended.

    Example:
        >>> problems()[1]
        'noisy gradients'
    """
    return tuple(problem for problem, _ in OPTIMIZERS)


def advise_optimizers(problem: str) -> tuple[str, ...]:
    """Returns the optimizers that suit a kind of problem, in the order of the catalog.

    Args:
        problem: One of `problems()`.

    Returns:
        Their names.

    Raises:
        ValueError: There is no such problem; the error names the nearest one.

    Example:
        >>> advise_optimizers("sparse data")
        ('AdaGrad', 'RMSProp')
    """
    _check("problem", problem, problems())
    return dict(OPTIMIZERS)[problem]


def _check(noun: str, value: object, known: Iterable[str]) -> None:
    """Raises a `ValueError` unless the value is a known one."""
    names = list(known)
    if value in names:
        return
    near = difflib.get_close_matches(str(value).lower(), names, n=1, cutoff=0.3)
    hint = f' Did you mean "{near[0]}"?' if near else ""
    listed = ", ".join(f'"{name}"' for name in names)
    raise ValueError(f"{noun} must be one of {listed}. Received: {value!r}.{hint}")
