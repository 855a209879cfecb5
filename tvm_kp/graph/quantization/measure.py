"""What quantization changes: every stored tensor in integers beside the same in float."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tvm
from tvm import relax

from tvm_kp import fixedpoint
from tvm_kp.artifacts import QuantizedTensor
from tvm_kp.graph import scan
from tvm_kp.graph.calibrate import Range, Record
from tvm_kp.graph.observe import observer
from tvm_kp.graph.quantization.quantize import QuantizedModule
from tvm_kp.graph.quantization.rewriter import StoredTensor
from tvm_kp.graph.rewrite import bindings, returned


@dataclass
class _Sums:
    """Over all records; of a step's tensors ``signal`` and ``noise`` are by time step."""

    range: Range
    signal: np.ndarray = field(default_factory=lambda: np.zeros(1))
    noise: np.ndarray = field(default_factory=lambda: np.zeros(1))
    outside: int = 0
    count: int = 0


Accuracies = tuple[float, float]


def measure(
    mod: tvm.IRModule,
    quantized: QuantizedModule,
    records: Sequence[Record],
    labels: np.ndarray | None = None,
) -> tuple[tuple[QuantizedTensor, ...], Accuracies | None]:
    """Range, format, saturation and error of what ``quantized`` stores of ``mod``'s tensors.

    Errors grow from tensor to tensor and from step to step: they are those of the deployed
    model, in which every tensor is made of quantized ones. With ``labels``, the class of each
    record that the first output is or has its largest value at, also how often ``mod`` and
    ``quantized`` are right.
    """
    see, see_integers = observer(mod), observer(quantized.mod)
    sums: dict[relax.Var, _Sums] = {}
    outputs = [returned(one)[0] for one in (mod["main"], quantized.mod["main"])]
    answers: list[list[int]] = []
    for record in records:
        floats, integers = see(record), see_integers(quantized.taken(record))
        for var, stored in quantized.tensors.items():
            if var in floats and stored.var in integers:
                one = sums.setdefault(var, _Sums(stored.range))
                _add(one, stored, floats[var], integers[stored.var], var in quantized.in_steps)
        pairs = zip(outputs, (floats, integers), strict=True)
        if labels is not None:
            answers.append([_class(seen[output]) for output, seen in pairs])
    names = _names(mod)
    tensors = tuple(
        _reported(names.get(var, var.name), quantized.tensors[var], one, var in names)
        for var, one in sums.items()
    )
    if labels is None:
        return tensors, None
    right = (np.array(answers) == np.asarray(labels)[:, None]).mean(axis=0)
    return tensors, (float(right[0]), float(right[1]))


def _class(output: np.ndarray) -> int:
    """The class that a model answers: what its argmax gave, or where its scores are largest."""
    return int(output.ravel()[0]) if output.dtype == np.int64 else int(np.argmax(output))


def _add(sums: _Sums, stored: StoredTensor, x: np.ndarray, q: np.ndarray, in_step: bool) -> None:
    x = x.astype(np.float64)
    axes = tuple(range(1, x.ndim)) if in_step else None
    sums.signal = sums.signal + np.square(x).sum(axis=axes)
    sums.noise = sums.noise + np.square(q * stored.form.scale - x).sum(axis=axes)
    end = (fixedpoint.limits(stored.form.bits)[1] + 0.5) * stored.form.step
    sums.outside += int((np.abs(x) > end).sum())
    sums.count += x.size


def _reported(name: str, stored: StoredTensor, sums: _Sums, state: bool) -> QuantizedTensor:
    signal, noise = float(sums.signal.sum()), float(sums.noise.sum())
    drift = np.sqrt(sums.noise / np.maximum(sums.signal, np.finfo(float).tiny))
    return QuantizedTensor(
        name=name,
        low=sums.range.low,
        high=sums.range.high,
        scale=stored.form.step,
        bits=stored.form.bits,
        saturated=sums.outside / max(1, sums.count),
        harmless=stored.harmless,
        snr_db=float(10 * np.log10(signal / noise)) if signal and noise else float("inf"),
        drift=tuple(map(float, np.atleast_1d(drift))) if state else (),
    )


def _names(mod: tvm.IRModule) -> dict[relax.Var, str]:
    """What the recurrences carry from step to step, called as the steps' parameters are."""
    names: dict[relax.Var, str] = {}
    for binding in bindings(mod["main"]):
        call = scan.match(binding.value)
        if call is not None and call.states:
            step, count = mod[call.step], len(call.states)
            pairs = zip(returned(step)[-count:], step.params[-count:], strict=True)
            names.update({r: f"{call.step.name_hint}.{p.name}" for r, p in pairs})
    return names
