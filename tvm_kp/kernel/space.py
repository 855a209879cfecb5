"""The choices that a schedule rule leaves open, and all the ways to make them.

A rule asks ``choose(name, options, default)`` for each of its choices; what it offers may depend on
what was chosen before. So one rule is the default schedule, every recorded one, and the space that
tuning searches: every way through its questions is a legal program.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

T = TypeVar("T", int, str)
Value = int | str
Choices = Mapping[str, Value]


class StaleChoices(Exception):
    """What was chosen is not what a rule asks for: it has changed since."""


class Choose:
    """Answers the questions of a rule, with the defaults; ``made`` has the answers by name."""

    def __init__(self) -> None:
        self.made: dict[str, Value] = {}

    def __call__(self, name: str, options: Sequence[T], default: T) -> T:
        """One of ``options``, which are distinct; ``default`` is one of them."""
        assert default in options and name not in self.made, f"{name}: {default} of {options}"
        chosen = self._choose(name, options, default)
        self.made[name] = chosen
        return chosen

    def _choose(self, _name: str, _options: Sequence[T], default: T) -> T:
        return default


class Recorded(Choose):
    """Answers as recorded. Raises ``StaleChoices`` for another question, or other options."""

    def __init__(self, choices: Choices) -> None:
        super().__init__()
        self._choices = choices

    def _choose(self, name: str, options: Sequence[T], _default: T) -> T:
        for option in options:
            if name in self._choices and option == self._choices[name]:
                return option
        raise StaleChoices(f"{name} is {self._choices.get(name)!r}, of {list(options)}")

    def finish(self) -> None:
        """Raises ``StaleChoices`` if there are answers to what was not asked."""
        if unasked := self._choices.keys() - self.made.keys():
            raise StaleChoices(f"there is no choice of {', '.join(sorted(unasked))}")


class _Path(Choose):
    """Answers with the options at ``places``, then with the first of what is left."""

    def __init__(self, places: Sequence[int]) -> None:
        super().__init__()
        self._places = places
        self.taken: list[tuple[int, int]] = []  # of every question the place and how many there are

    def _choose(self, _name: str, options: Sequence[T], _default: T) -> T:
        step = len(self.taken)
        place = self._places[step] if step < len(self._places) else 0
        self.taken.append((place, len(options)))
        return options[place]


def every(ask: Callable[[Choose], object]) -> Iterator[dict[str, Value]]:
    """All answers that there are to the questions of ``ask``, which is called for each."""
    places: list[int] | None = []
    while places is not None:
        path = _Path(places)
        ask(path)
        yield path.made
        taken = path.taken
        while taken and taken[-1][0] + 1 == taken[-1][1]:
            taken = taken[:-1]
        places = [place for place, _ in taken[:-1]] + [taken[-1][0] + 1] if taken else None
