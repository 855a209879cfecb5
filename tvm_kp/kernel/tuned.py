"""The ways to schedule kernels that records of tuning know."""

from __future__ import annotations

from collections.abc import Sequence

from tvm import tirx

from tvm_kp.codegen import C
from tvm_kp.kernel.identity import key
from tvm_kp.kernel.schedule import Way, default_rule, is_offered
from tvm_kp.tuning_records import Best, Record


def way_of(record: Record) -> Way:
    """The way that a record is of."""
    return Way(record.rule, record.version, record.choices)


class TunedWays:
    """Looks functions up for ``schedule``; ``used`` and ``stale`` count what it found.

    Stale are records of another TVM, and ways that the rules do not offer any more; ``damaged``
    are lines that are no records. All were measured in C: for another ``kind`` of code they choose
    among the ways of the default rule alone.
    """

    def __init__(self, best: Best, isa: Sequence[str], damaged: int = 0, kind: str = C) -> None:
        self._records, self._isa, self._kind = best.records, isa, kind
        self.used, self.stale, self.damaged = 0, best.stale, damaged

    def __call__(self, function: tirx.PrimFunc) -> Way | None:
        record = self._records.get(key(function))
        if record is None:
            return None
        if self._kind != C and record.rule != default_rule(function, self._isa, self._kind):
            return None
        way = way_of(record)
        if not is_offered(function, self._isa, way):
            self.stale += 1
            return None
        self.used += 1
        return way
