"""Records of tuning: a file with a line of JSON for each candidate that was measured.

A line ends with a checksum of itself, so a damaged one is known. Lines are appended whole, under a
lock that sessions on one file share; whatever ends a session, what it measured before is kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO

from tvm_kp.errors import InputError, OutputError, TargetError
from tvm_kp.target import Target, content_dir, is_attached

INSTRUCTIONS, CYCLES = "instructions", "cycles"
OBJECTIVES = (INSTRUCTIONS, CYCLES)
_CHECK = "crc32"


@dataclass(frozen=True)
class Record:
    """What a way to schedule a kernel costs on a core, or why it cannot be used.

    ``key`` identifies the kernel, ``label`` says what it is; ``rule``, its ``version`` and
    ``choices`` are the way. ``cost`` is that of one call in units of ``objective``, None if there
    was a ``failure``: "build", "crash", "fault", "hang", "wrong" or "stray", as ``message`` says.
    ``board`` is the attached one that measured; what is counted or estimated is of none.
    """

    core: str
    key: str
    label: str
    rule: str
    version: int
    choices: Mapping[str, int | str]
    objective: str
    cost: float | None
    tvm: str
    failure: str = ""
    message: str = ""
    board: str = ""

    @property
    def way(self) -> tuple:
        """What tells ways apart, to compare with."""
        return self.key, self.rule, self.version, tuple(sorted(self.choices.items()))


@dataclass(frozen=True)
class Found:
    """The records of a file, and its lines that are none."""

    records: tuple[Record, ...] = ()
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Best:
    """The cheapest way for every kernel of ``core`` among ``records``.

    ``stale`` are records of another TVM, for which what they say may not hold.
    """

    core: str
    records: Mapping[str, Record] = field(default_factory=dict)
    stale: int = 0


def read(path: Path) -> Found:
    """The records in a file; raises ``InputError`` if there is none that can be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read tuning records {path}: {error.strerror}") from None
    records, damaged = [], []
    for line in text.split("\n"):
        record = _parsed(line)
        if record is not None:
            records.append(record)
        elif line.strip():
            damaged.append(line)
    return Found(tuple(records), tuple(damaged))


def append(path: Path, records: Iterable[Record]) -> None:
    """Add lines at the end of a file, all of them or, if this is killed, some of them whole."""
    lines = "".join(map(_line, records)).encode()
    with _locked(path):
        try:
            with path.open("ab+") as file:
                file.write((b"" if _ends_whole(file) else b"\n") + lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write tuning records {path}: {error.strerror}") from None


def repair(path: Path) -> int:
    """Move damaged lines of a file to ``<file>.damaged``; how many there were."""
    with _locked(path):
        if not path.exists():
            return 0
        found = read(path)
        if found.damaged:
            with path.with_name(f"{path.name}.damaged").open("a", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in found.damaged)
            write(path, found.records)
        return len(found.damaged)


def write(path: Path, records: Iterable[Record]) -> None:
    """Write a file of ``records`` alone, through a temporary sibling."""
    sibling = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        sibling.write_text("".join(map(_line, records)), encoding="utf-8")
        os.replace(sibling, path)
    except OSError as error:
        raise OutputError(f"cannot write tuning records {path}: {error.strerror}") from None
    finally:
        sibling.unlink(missing_ok=True)


def objective_of(target: Target, asked: str | None) -> str:
    """What is made small on ``target``: what is ``asked`` for, or else what its board counts.

    Raises TargetError if that board cannot tell.
    """
    attached = is_attached(target)
    if attached and asked == INSTRUCTIONS:
        raise TargetError(
            f"{target.name} is attached and counts cycles, no instructions: "
            "leave --objective out, or tune for an emulated board"
        )
    return asked or (CYCLES if attached else INSTRUCTIONS)


def board_of(target: Target) -> str:
    """The ``board`` of records of ``target``."""
    return target.name if is_attached(target) else ""


def best(
    records: Sequence[Record],
    core: str,
    tvm: str,
    objective: str = INSTRUCTIONS,
    board: str = "",
) -> Best:
    """The cheapest way for every kernel; records of another core, objective or board do not
    count."""
    kind = (core, objective, board)
    mine = [r for r in records if (r.core, r.objective, r.board) == kind]
    usable = [r for r in mine if r.cost is not None and r.tvm == tvm]
    cheapest: dict[str, Record] = {}
    for record in usable:
        other = cheapest.get(record.key)
        if other is None or (other.cost or 0) > (record.cost or 0):
            cheapest[record.key] = record
    return Best(core, cheapest, sum(record.tvm != tvm for record in mine))


def nearest(records: Sequence[Record], core: str, tvm: str, board: str) -> Best:
    """The best of the kind that is nearest to time on ``board``: cycles that it measured, cycles
    that are estimated, those of another board with the core, instructions."""
    others = sorted({record.board for record in records} - {"", board})
    kinds = [(CYCLES, one) for one in (board, "", *others)] + [(INSTRUCTIONS, "")]
    bests = [best(records, core, tvm, *kind) for kind in kinds]
    return next((best for best in bests if best.records), bests[-1])


def shipped(core: str) -> Path | None:
    """The file of records that comes with the package for a core, if there is one."""
    path = content_dir("schedules") / "records" / f"{core}.jsonl"
    return path if path.is_file() else None


def _line(record: Record) -> str:
    entry = {name: value for name, value in asdict(record).items() if value != ""}
    text = json.dumps(entry, ensure_ascii=False, sort_keys=True)
    return json.dumps({**entry, _CHECK: _checksum(text)}, ensure_ascii=False, sort_keys=True) + "\n"


def _parsed(line: str) -> Record | None:
    try:
        entry = json.loads(line)
        check = entry.pop(_CHECK)
        if _checksum(json.dumps(entry, ensure_ascii=False, sort_keys=True)) != check:
            return None
        return Record(**entry)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _checksum(text: str) -> str:
    return f"{zlib.crc32(text.encode()):08x}"


def _ends_whole(file: BinaryIO) -> bool:
    """Whether what is appended begins a line: a session that was killed may have left a part."""
    if file.seek(0, os.SEEK_END) == 0:
        return True
    file.seek(-1, os.SEEK_END)
    return file.read(1) == b"\n"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other sessions out. The lock is a sibling: the file itself may be replaced."""
    try:
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise OutputError(f"cannot write tuning records {path}: {error.strerror}") from None
