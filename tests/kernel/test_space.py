from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_kp.kernel.space import Choose, Recorded, StaleChoices, Value, every

# What a rule asks: a name, and for each option what it asks next; None is the end.
Question = tuple[str, dict[Value, "Question | None"]] | None

QUESTIONS: st.SearchStrategy[Question] = st.recursive(
    st.none(),
    lambda next_: st.tuples(
        st.text("ab", max_size=3),
        st.dictionaries(
            st.one_of(st.integers(-9, 9), st.text("xy", min_size=1)), next_, min_size=1, max_size=4
        ),
    ),
    max_leaves=40,
)


def asks(question: Question) -> Callable[[Choose], None]:
    """A rule that asks ``question``; a name says how deep it lies, so that none comes twice."""

    def ask(choose: Choose) -> None:
        left, depth = question, 0
        while left is not None:
            name, answers = left
            # The last option is the default: the first is what `every` begins with.
            left = answers[choose(f"{name}{depth}", tuple(answers), tuple(answers)[-1])]
            depth += 1

    return ask


def leaves(question: Question, depth: int = 0) -> Iterator[dict[str, Value]]:
    if question is None:
        yield {}
        return
    name, answers = question
    for answer, next_ in answers.items():
        for rest in leaves(next_, depth + 1):
            yield {f"{name}{depth}": answer, **rest}


@given(QUESTIONS)
def test_every_way_is_found_once(question: Question) -> None:
    assert list(every(asks(question))) == list(leaves(question))


@given(QUESTIONS)
def test_what_is_recorded_is_answered_again(question: Question) -> None:
    for choices in every(asks(question)):
        recorded = Recorded(choices)
        asks(question)(recorded)
        recorded.finish()
        assert recorded.made == choices


@given(QUESTIONS)
def test_defaults_are_one_of_the_ways(question: Question) -> None:
    choose = Choose()
    asks(question)(choose)
    assert choose.made in list(leaves(question))


def test_defaults() -> None:
    choose = Choose()
    assert choose("rows", (1, 2, 4), 2) == 2
    assert choose("how", ("wide", "narrow"), "narrow") == "narrow"
    assert choose.made == {"rows": 2, "how": "narrow"}


@pytest.mark.parametrize("choices", [{}, {"columns": 2}, {"rows": 3}, {"rows": "2"}])
def test_other_choices_are_stale(choices: dict[str, Value]) -> None:
    with pytest.raises(StaleChoices, match=r"rows is .*, of \[1, 2\]"):
        Recorded(choices)("rows", (1, 2), 1)


def test_choices_that_nothing_asks_for_are_stale() -> None:
    recorded = Recorded({"rows": 2, "depth": 1, "columns": 3})
    assert recorded("rows", (1, 2), 1) == 2
    with pytest.raises(StaleChoices, match="no choice of columns, depth"):
        recorded.finish()


@pytest.mark.parametrize("default", [3, 1])
def test_questions_that_make_no_sense(default: int) -> None:
    choose = Choose()
    choose("rows", (1, 2), 1)
    with pytest.raises(AssertionError, match="rows"):
        choose("rows", (1, 2), default)
