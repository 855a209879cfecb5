"""``run --check``: a model's outputs compared with this computer's, down to the operator."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tvm_kp.errors import ModelError, TvmKpError
from tvm_kp.target import HOST, Target

if TYPE_CHECKING:
    import numpy as np

    from tvm_kp.artifacts import Model
    from tvm_kp.board import CallDifference
    from tvm_kp.report import Table

    Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Check:
    """What the ``reference`` to ``model``, or that itself, made of ``inputs`` on this computer."""

    model: Model
    target: Target
    reference: Model
    inputs: Arrays
    expected: Arrays
    timeout_s: float | None

    @classmethod
    def start(cls, args: argparse.Namespace, model: Model, target: Target, inputs: Arrays) -> Check:
        """Run the reference. Raises ModelError if it is none, and what `driver.run` does."""
        from tvm_kp import driver

        reference = model if args.reference is None else driver.load(args.reference)
        tensors = [{(t.name, t.shape) for t in m.outputs} for m in (model, reference)]
        if tensors[0] != tensors[1]:
            raise ModelError(
                f"{args.reference} is no reference to {args.PATH}: its outputs are others"
            )
        here = driver.run(reference, Target.load(HOST), inputs, timeout_s=args.timeout)
        return cls(model, target, reference, inputs, here.outputs, args.timeout)

    def table(self, outputs: Arrays) -> Table:
        """The largest absolute difference of every output, and the first operator that differs."""
        import numpy as np

        from tvm_kp import board, report

        rows = []
        for name, array in outputs.items():
            wanted = self.expected[name]
            largest = float(np.abs(wanted.astype(np.float64)).max())
            rows.append((name, float(board.differences(array, wanted).max()), largest))
        columns = ("output", "largest difference", "largest value")
        note = self._note(outputs)
        return report.Table("Compared with this computer", columns, tuple(rows), note)

    def _note(self, outputs: Arrays) -> str:
        """What differs first, in one line; nothing if operators cannot be compared."""
        from tvm_kp import board

        inference = self._first_inference(outputs)
        if inference is None:
            within = f"floats within {board.TOLERANCE:g} of their largest value"
            return f"No output differs: integers are equal, {within}."
        if self.target.runner.kind == "serial":
            return f"Outputs alone are compared: {self.target.name} is attached, so not traced."
        try:
            return self._first_operator(inference)
        except TvmKpError as error:  # the outputs are compared nevertheless
            return f"Which operator differs first is not known: {error}"

    def _first_inference(self, outputs: Arrays) -> int | None:
        """The first inference with an output that differs."""
        import numpy as np

        from tvm_kp import board

        firsts = []
        for name, array in outputs.items():
            wanted = self.expected[name]
            far = board.beyond(array, wanted, board.magnitude(wanted))
            firsts += np.flatnonzero(far.reshape(len(far), -1).any(axis=1))[:1].tolist()
        return min(firsts, default=None)

    def _first_operator(self, inference: int) -> str:
        """The operator in which ``inference``, or for a stream one before it, differs first."""
        from tvm_kp import board, driver

        if _operators(self.model) != _operators(self.reference):
            return ""
        # A stream's state comes from all inferences before.
        begin = 0 if self.model.state_bytes else inference
        records = board.as_records(self.model.inputs, self.inputs)
        inputs = {name: array[begin : inference + 1] for name, array in records.items()}
        there = driver.trace(self.model, self.target, inputs, timeout_s=self.timeout_s)
        here = driver.trace(self.reference, HOST, inputs, timeout_s=self.timeout_s)
        if not board.comparable(there, here):
            return ""
        found = board.first_difference(there, here, inference + 1 - begin)
        if found is None:
            return "Outputs differ, but no operator does beyond the tolerance."
        return f"First operator that differs: {_sentence(found, begin, self.target.name)}"


def _operators(model: Model) -> list[tuple[str, tuple[str, ...]]]:
    return [(operator.name, operator.output_dtypes) for operator in model.operators]


def _sentence(difference: CallDifference, begin: int, target: str) -> str:
    d = difference
    return (
        f"{d.operator}, call {d.call} of {d.calls} in inference {begin + d.inference}, "
        f"output {d.output} at {d.index}: {d.found:.9g} on {target}, {d.expected:.9g} here"
    )
