"""The hooks in main: every call of an operator is between them, and what it gives is traced."""

from __future__ import annotations

import re

import torch

from tvm_kp.c.emit import emit
from tvm_kp.c.model import make_model, plan_model
from tvm_kp.c.program import Call
from tvm_kp.compress import KroneckerLSTM
from tvm_kp.kernel.schedule import schedule
from tvm_kp.lowering import Options, Stages, lower, pass_context
from tvm_kp.target import Target


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = KroneckerLSTM(3, 6, ((2, 3), (3, 3))), torch.nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sequence = self.rnn(x)[0]
        return sequence, self.head(sequence[-1])


def test_every_output_of_every_call_is_traced() -> None:
    target, example = Target.load("mps2-an386"), (torch.zeros(4, 1, 3),)
    # Integers, so that outputs have several dtypes.
    samples = {"x": torch.linspace(-1, 1, 96).reshape(8, 4, 1, 3).numpy()}
    options = Options(quantize="int8", calibration=samples)
    with pass_context(options):
        found = lower(Net(), target, example, options, Stages(None))
        kernels = schedule(found.legal, target.isa)
    emission = plan_model(found.legal, kernels, "m", target.name, 8)
    text = emit(emission)["m_lib0.c"]
    calls = [s for s, _ in emission.program.flat() if isinstance(s, Call)]
    ids = [emission.order.index(call.function) for call in calls]

    traced = re.findall(r"tvmgen_trace\((\d+), (\d+), &(\w+)\[[^]]+\], (\d+)\);", text)
    assert [(int(op), int(output), to, int(size)) for op, output, to, size in traced] == [
        (op, output, view.location()[0].name, view.nbytes)
        for op, call in zip(ids, calls, strict=True)
        for output, view in enumerate(call.results)
    ]
    ended = re.findall(r"tvmgen_profile_end\((\d+)\);\n *tvmgen_trace\(\1, 0,", text)
    assert [int(op) for op in ended] == ids

    model = make_model(
        found.legal, kernels, name="m", target=target.name, alignment=8, decisions=()
    )
    for op, call in zip(ids, calls, strict=True):
        assert model.operators[op].output_dtypes == tuple(view.dtype for view in call.results)
