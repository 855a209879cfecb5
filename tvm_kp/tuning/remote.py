"""Candidates as bytes for a board on another machine, and what became of them as bytes back.

Both are arrays in numpy's npz, the first of them JSON: nothing that is received is executed but C,
which is compiled and run on the board.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from zipfile import BadZipFile

import numpy as np

from tvm_kp import scratch
from tvm_kp.board import Trial, TrialResult, TrialRun, compile_trial
from tvm_kp.errors import BuildError, RunError, TvmKpError
from tvm_kp.target import Target
from tvm_kp.tuning import measure

FUNCTION = "tvm_kp.run_trials"  # its name among the functions of a TVM RPC server


@dataclass(frozen=True)
class Source:
    """The C of a trial, and what lies in memory before each of its calls."""

    symbol: str
    text: str
    memories: tuple[np.ndarray, ...]


def request(
    sources: Sequence[Source], target: Target, limit: int, cycles: bool = False
) -> bytearray:
    """What ``serve`` takes."""
    head = {
        "target": target.name,
        "limit": limit,
        "cycles": cycles,
        "trials": [{"symbol": s.symbol, "text": s.text} for s in sources],
    }
    arrays = {
        f"{k}_{j}": memory for k, s in enumerate(sources) for j, memory in enumerate(s.memories)
    }
    return _packed(head, arrays)


def serve(target: Target, content: bytes) -> bytearray:
    """Compile and run what was requested; an error of the board is told in the answer."""
    try:
        head, arrays = _unpacked(content)
        if head["target"] != target.name:
            raise RunError(f"this is a {target.name}, not a {head['target']}")
        sources = [
            Source(t["symbol"], t["text"], _series(arrays, k)) for k, t in enumerate(head["trials"])
        ]
        return _answer(_run(sources, target, head["limit"], head["cycles"]))
    except TvmKpError as error:
        return _packed({"error": str(error)}, {})


def results(content: bytes) -> list[TrialResult]:
    """What an answer of ``serve`` says; raises ``RunError`` if the board could not run."""
    head, arrays = _unpacked(content)
    if "error" in head:
        raise RunError(head["error"])
    return [
        TrialResult(
            tuple(map(TrialRun, result["instructions"], _series(arrays, k), result["cycles"])),
            result["failure"],
            result["message"],
        )
        for k, result in enumerate(head["results"])
    ]


def _run(sources: Sequence[Source], target: Target, limit: int, cycles: bool) -> list[TrialResult]:
    failed: dict[int, TrialResult] = {}
    trials: dict[int, Trial] = {}
    with scratch.folder() as folder:
        for k, source in enumerate(sources):
            try:
                compiled = compile_trial(source.text, source.symbol, target, folder)
                trials[k] = Trial(source.symbol, compiled, source.memories)
            except BuildError as error:
                failed[k] = TrialResult((), "build", str(error))
        found = measure.run(list(trials.values()), target, limit, cycles)
    ran = dict(zip(trials, found, strict=True))
    return [failed[k] if k in failed else ran[k] for k in range(len(sources))]


def _answer(results: Sequence[TrialResult]) -> bytearray:
    head = [
        {
            "instructions": [run.instructions for run in result.runs],
            "cycles": [run.cycles for run in result.runs],
            "failure": result.failure,
            "message": result.message,
        }
        for result in results
    ]
    arrays = {f"{k}_{j}": run.memory for k, r in enumerate(results) for j, run in enumerate(r.runs)}
    return _packed({"results": head}, arrays)


def _packed(head: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> bytearray:
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez(buffer, allow_pickle=False, head=text, **dict(arrays))
    return bytearray(buffer.getvalue())


def _unpacked(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    try:
        with np.load(io.BytesIO(bytes(content)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return json.loads(arrays.pop("head").tobytes()), arrays
    except (ValueError, KeyError, OSError, EOFError, BadZipFile) as error:
        raise RunError(f"the other side sent what is no request or answer: {error}") from None


def _series(arrays: Mapping[str, np.ndarray], k: int) -> tuple[np.ndarray, ...]:
    count = sum(name.startswith(f"{k}_") for name in arrays)
    return tuple(arrays[f"{k}_{j}"] for j in range(count))
