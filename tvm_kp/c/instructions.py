"""Writes assembly in which accesses to memory take their pointers on, as far as they can.

Code says where in memory an access is. The one before leaves the pointer there if it can; else the
access reaches it from where the pointer is, or an instruction more takes it there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from tvm_kp.c.thumb import advanced, load_name, number

Places = Mapping[str, int]  # bytes from where operands begin, by their names

LANES = 4  # of a vector

_VECTOR, _PAIR, _WORD = range(-508, 509, 4), range(-1020, 1021, 4), range(-255, 256)
_WORD_NAME = "word"  # with which the names of operands begin that are words in memory
_FARTHEST = 1000  # instructions that LE goes back at most


def shifted(places: Places, step: Places, times: int = 1) -> dict[str, int]:
    """``times`` steps on; pointers that have no step stay."""
    return {pointer: place + times * step.get(pointer, 0) for pointer, place in places.items()}


def words(lines: Sequence[str]) -> list[str]:
    """The operands of instructions that are words in memory."""
    return sorted({name for line in lines for name in re.findall(rf"%\[({_WORD_NAME}\w*)\]", line)})


class Instructions:
    """``lines`` of instructions; pointers are operands, which begin at place 0."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._at: dict[str, int] = {}
        # The last access of a pointer, if it can take it on: its line, and by how many bytes.
        self._open: dict[str, tuple[int, Collection[int]]] = {}

    def access(self, name: str, pointer: str, place: int, reach: Collection[int]) -> None:
        """Load or store as ``name`` says: an instruction that can take its pointer on, or reach
        over, so many bytes. It is predicated if that ends in t."""
        away = self._taken(pointer, place)
        if away and away not in reach:
            self.go(pointer, place)
            away = 0
        self._predicate(name)
        if away:
            self.lines.append(f"{name}, [%[{pointer}], #{away}]!")
            self._at[pointer] = place
        else:
            self._last(f"{name}, [%[{pointer}]]", pointer, reach)

    def apart(self, name: str, pointer: str, place: int, offsets: str, bits: int) -> None:
        """The same for numbers that are apart: a vector has their ``offsets`` from a place, counted
        in numbers of 8 or 16 ``bits``."""
        self.go(pointer, place)
        self._predicate(name)
        scaled = ", uxtw #1" if bits == 16 else ""
        self.lines.append(f"{name}, [%[{pointer}], {offsets}{scaled}]")

    def away(self, pointer: str, place: int) -> int:
        """How far a place is from where a pointer is."""
        return place - self._at.get(pointer, 0)

    def vector(self, verb: str, vector: int, pointer: str, place: int, lanes: int = LANES) -> None:
        """Load or store the first lanes of a vector, as ``verb``, vld or vst, says."""
        if lanes < LANES:
            self._lanes(verb, vector, lanes, pointer, place)
            return
        size = "u32" if verb == "vld" else "32"
        self.access(f"{verb}rw.{size} q{vector}", pointer, place, _VECTOR)

    def words(self, registers: Sequence[str], pointer: str, place: int) -> None:
        """Load ascending registers."""
        self.go(pointer, place)
        if len(registers) > 2:
            text = f"ldmia %[{pointer}], {{{', '.join(registers)}}}"
            self._last(text, pointer, (4 * len(registers),))
            return
        name = load_name(registers)
        self._last(f"{name}, [%[{pointer}]]", pointer, _WORD if len(registers) == 1 else _PAIR)

    def words_apart(self, registers: Sequence[str], pointer: str, place: int) -> None:
        """Load registers from near where the pointer stays."""
        for k in range(0, len(registers), 2):
            self._apart(load_name(registers[k : k + 2]), pointer, place + 4 * k)

    def go(self, pointer: str, place: int) -> None:
        """Take a pointer to a place."""
        self.lines += advanced(pointer, self._taken(pointer, place))
        self._at[pointer] = place

    def repeat(
        self, times: int, at: Places, step: Places, straight: int, body: Callable[[Places], None]
    ) -> None:
        """``body`` for places that are a ``step`` apart, in a loop unless that is up to
        ``straight`` instructions."""
        if times > 1 and times * self._size(body, at) > straight:
            self.loop(times, at, step, body)
            return
        for k in range(times):
            body(shifted(at, step, k))

    def loop(
        self,
        times: int,
        at: Places,
        step: Places,
        body: Callable[[Places], None],
        counter: str = "lr",
    ) -> None:
        """``body``, ``times`` around a loop from places that are a ``step`` apart. The ``counter``
        waits in a word in memory where the body has another use for its register."""
        for pointer, place in at.items():
            self.go(pointer, place)
        self._open.clear()
        first = len(self.lines)
        body(at)
        for pointer, place in shifted(at, step).items():
            self.go(pointer, place)
        self._open.clear()
        self._at.update(shifted(at, step, times))
        inside = self.lines[first:]
        label = max((int(line[:-1]) for line in inside if line.endswith(":")), default=0) + 1
        if any(re.search(rf"\b{counter}\b", line) for line in inside):
            word = f"%[{_WORD_NAME}{label}]"
            inside = [f"str {counter}, {word}", *inside, f"ldr {counter}, {word}"]
        back = [f"subs {counter}, {counter}, #1", f"bne {label}b"]
        if counter == "lr" and len(inside) <= _FARTHEST:
            back = [f"le lr, {label}b"]
        self.lines[first:] = [*number(counter, times), f"{label}:", *inside, *back]

    def lend(self, register: str, body: Callable[[], None]) -> None:
        """``body``, which may change a register that is needed behind it."""
        word = f"%[{_WORD_NAME}_{register}]"
        self.lines.append(f"str {register}, {word}")
        body()
        self.lines.append(f"ldr {register}, {word}")

    def _size(self, body: Callable[[Places], None], at: Places) -> int:
        """The instructions of ``body``."""
        saved = list(self.lines), dict(self._at), dict(self._open)
        body(at)
        size = len(self.lines) - len(saved[0])
        self.lines, self._at, self._open = saved
        return size

    def _lanes(self, verb: str, vector: int, count: int, pointer: str, place: int) -> None:
        first, away = 4 * vector, self._taken(pointer, place)
        if away and away in _PAIR and count < LANES - 1:
            register = f"s{first}" if count == 1 else f"d{first // 2}"
            self._apart(f"{verb}r {register}", pointer, place)
            return
        self.go(pointer, place)
        named = ", ".join(f"s{first + lane}" for lane in range(count))
        self._last(f"{verb}mia %[{pointer}], {{{named}}}", pointer, (4 * count,))

    def _last(self, text: str, pointer: str, onward: Collection[int]) -> None:
        self._open[pointer] = len(self.lines), onward
        self.lines.append(text)

    def _apart(self, name: str, pointer: str, place: int) -> None:
        self._open.pop(pointer, None)
        self.lines.append(f"{name}, [%[{pointer}], #{place - self._at.get(pointer, 0)}]")

    def _predicate(self, name: str) -> None:
        self.lines += ["vpst"] * name.split(".")[0].endswith("t")

    def _taken(self, pointer: str, place: int) -> int:
        """How far from ``place`` the last access leaves the pointer."""
        away = place - self._at.get(pointer, 0)
        line, onward = self._open.pop(pointer, (0, ()))
        if away == 0 or away not in onward:
            return away
        text = self.lines[line]
        indexed = text.endswith("]")
        self.lines[line] = f"{text}, #{away}" if indexed else text.replace(",", "!,", 1)
        self._at[pointer] = place
        return 0
