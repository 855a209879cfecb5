"""Decisions on weights, as a module carries them from where they are made to who reads them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import tvm

from tvm_kp.artifacts import Decision

FLOAT_BYTES = 4
ATTRIBUTE = "kp.decisions"
JOINT = " joint"  # ends the name of a structure of [W_x W_h]


def record(mod: tvm.IRModule, found: Sequence[Decision]) -> tvm.IRModule:
    """``mod`` with the decisions."""
    return mod.with_attr(ATTRIBUTE, json.dumps([asdict(one) for one in found]))


def decisions(
    mod: tvm.IRModule, kept: bool = True, weight_bytes: int = FLOAT_BYTES
) -> tuple[Decision, ...]:
    """What ``RecognizeKronecker`` recorded, nothing where it did not run.

    With ``kept`` false every structure is reported as found and left multiplied out. Bytes are
    those of weights of ``weight_bytes`` each, what they become after quantization.
    """
    recorded = json.loads((mod.attrs or {}).get(ATTRIBUTE, "[]"))
    found = (Decision.from_dict(entry) for entry in recorded)
    return tuple(
        replace(
            one,
            bytes_before=one.bytes_before * weight_bytes // FLOAT_BYTES,
            bytes_after=one.bytes_after * weight_bytes // FLOAT_BYTES,
        )
        for one in (one if kept else left_dense(one) for one in found)
    )


def left_dense(found: Decision) -> Decision:
    """What was found, left multiplied out."""
    if not found.factors:
        return found
    return replace(
        found,
        structure="dense",
        reason=f"{found.reason} was not to be used",
        macs_after=found.macs_before,
        bytes_after=found.bytes_before,
    )


def leave_dense(mod: tvm.IRModule, structure: str, why: str) -> tvm.IRModule:
    """``mod`` with what was recorded as ``structure`` (a name, joint or not) recorded as dense."""
    kept = [
        one
        if one.structure.removesuffix(JOINT) != structure
        else replace(left_dense(one), factors=(), reason=f"{one.reason} {why}")
        for one in decisions(mod)
    ]
    return record(mod, kept)
