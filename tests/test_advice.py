"""Advice is the catalog's guidance, counted."""

from __future__ import annotations

import dataclasses
import itertools

import pytest

from keraslr.advice import advise, advise_optimizers, problems, questions
from keraslr.catalog import CATALOG, OPTIMIZERS, RECOMMENDATIONS


def names(answers):
    return [each.strategy.name for each in advise(answers)]


def test_the_questions_are_those_of_the_guidance():
    asked = questions()
    assert list(asked) == [
        "data size and training length",
        "model",
        "task",
        "sensitivity to the rate",
        "loss",
    ]
    assert asked["model"] == (
        "simple (shallow network)",
        "deep (convolutional, recurrent)",
        "fine-tuning a pretrained model",
    )
    pairs = [(question, answer) for question, answers in asked.items() for answer in answers]
    assert pairs == [(question, answer) for question, answer, _ in RECOMMENDATIONS]


def test_without_answers_there_is_no_advice():
    assert advise({}) == []


@pytest.mark.parametrize(
    ("question", "answer", "recommended"),
    RECOMMENDATIONS,
    ids=[f"{question}-{answer}" for question, answer, _ in RECOMMENDATIONS],
)
def test_one_answer_gives_its_own_list(question, answer, recommended):
    advice = advise({question: answer})
    assert [each.strategy.name for each in advice] == list(recommended)
    for place, each in enumerate(advice, start=1):
        assert each.strategy is CATALOG[each.strategy.name]
        assert each.reasons == (f"{question}: {answer}",)
        assert each.caveat == each.strategy.bad
        assert each.score == (1, place)


def test_more_answers_count_first_and_then_the_places():
    answers = {
        "model": "deep (convolutional, recurrent)",
        "task": "classification",
        "sensitivity to the rate": "insensitive",
        "loss": "falls steadily",
    }
    assert [(each.strategy.name, each.score) for each in advise(answers)] == [
        ("step decay", (2, 2)),
        ("cosine annealing", (2, 3)),
        ("cyclical", (2, 4)),
        ("one cycle", (2, 5)),
        ("exponential decay", (1, 2)),
        ("reduce on plateau", (1, 2)),
    ]
    assert advise(answers)[0].reasons == ("task: classification", "loss: falls steadily")


def test_equals_come_in_the_order_of_the_catalog():
    # Each is recommended once, in the second place.
    answers = {
        "task": "time-series forecasting or language",
        "sensitivity to the rate": "sensitive",
    }
    assert names(answers) == ["reduce on plateau", "cosine annealing", "exponential decay"]
    answers = {"model": "simple (shallow network)", "sensitivity to the rate": "insensitive"}
    advice = {each.strategy.name: each.score for each in advise(answers)}
    assert advice == {
        "step decay": (1, 1),
        "cyclical": (1, 1),
        "exponential decay": (1, 2),
        "one cycle": (1, 2),
    }
    assert list(advice) == sorted(
        advice, key=lambda name: (advice[name], list(CATALOG).index(name))
    )


def test_the_order_of_the_answers_does_not_matter():
    answers = {question: answer[0] for question, answer in questions().items()}
    seen = {tuple(names(dict(order))) for order in itertools.permutations(answers.items())}
    assert len(seen) == 1


def test_advice_cannot_be_changed():
    (advice,) = advise({"loss": "fluctuates strongly"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        advice.caveat = "none"


@pytest.mark.parametrize(
    ("answers", "error", "text"),
    [
        (
            {"tasks": "regression"},
            ValueError,
            (
                r'^question must be one of "data size .*, "loss"\. Received: \'tasks\'\. '
                r'Did you mean "task"\?$'
            ),
        ),
        (
            {"task": "Regressing"},
            ValueError,
            (
                r'^answer to "task" must be one of "classification", "regression", "time-series '
                r'forecasting or language"\. Received: .Regressing.\. Did you mean "regression"\?$'
            ),
        ),
        ({"loss": None}, ValueError, r'^answer to "loss" must be one of .* Received: None\.'),
        ({"loss": "xyzzy"}, ValueError, r"Received: 'xyzzy'\.$"),
        ([("loss", "falls steadily")], TypeError, r"^answers must be a mapping .*\(list\)$"),
    ],
    ids=["question", "answer", "None", "nothing near", "no mapping"],
)
def test_what_is_unknown_is_helped(answers, error, text):
    with pytest.raises(error, match=text):
        advise(answers)


def test_optimizers_are_those_of_the_guidance():
    assert problems() == (
        "simple, low-dimensional problem",
        "noisy gradients",
        "sparse data",
        "deep network",
    )
    assert [(problem, advise_optimizers(problem)) for problem in problems()] == list(OPTIMIZERS)
    assert advise_optimizers("noisy gradients") == ("momentum", "Nesterov")
    with pytest.raises(
        ValueError, match=r'^problem must be one of .*Did you mean "sparse data"\?$'
    ):
        advise_optimizers("sparse")
