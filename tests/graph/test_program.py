"""What of PyTorch is refused, with the layer and what to do, and what comes out of loading."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tvm_kp.errors import ModelError
from tvm_kp.graph.program import load_program, prepare


class Holder(nn.Module):
    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x):
        return self.rnn(x)[0]


def refused(model, x, pattern, **settings):
    program = torch.export.export(model.eval(), (x,), **settings)
    with pytest.raises(ModelError, match=pattern) as failure:
        prepare(program)
    assert "\n" not in str(failure.value)


class Sorted(nn.Module):
    def forward(self, x):
        return torch.linalg.svd(x)[1]


def test_an_operator_that_is_not_there():
    refused(Sorted(), torch.eye(3), r"uses the operator \S*svd\S*, .*core set")


def test_dynamic_shapes():
    dynamic = {"x": {0: torch.export.Dim("n", min=2, max=8)}}

    class Double(nn.Module):
        def forward(self, x):
            return x * 2

    pattern = r"input x has the dynamic shape \(.*\); export the model without dynamic_shapes"
    refused(Double(), torch.zeros(4, 3), pattern, dynamic_shapes=dynamic)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite(value):
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight[0, 1] = value
    refused(model, torch.zeros(1, 3), "weight has 1 NaN or infinite of 6 values")


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_other_floats(dtype):
    x = torch.zeros(1, 3, dtype=dtype)
    name = str(dtype).removeprefix("torch.")
    refused(nn.Linear(3, 2).to(dtype), x, rf"is {name}; models are float32: .*model.float\(\)")


def test_state_that_is_written():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1))

        def forward(self, x):
            self.count += 1
            return x + self.count

    refused(Counting(), torch.zeros(1, 3), "writes its buffer count; pass state in as an input")


def test_a_module_needs_inputs():
    with pytest.raises(ModelError, match="needs example_inputs"):
        load_program(nn.ReLU())


def test_a_module_that_cannot_be_exported():
    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum().item() > 0 else -x

    with pytest.raises(
        ModelError, match=r"torch.export cannot export Branching \(\w+: "
    ) as failure:
        load_program(Branching(), (torch.zeros(3),))
    assert "\n" not in str(failure.value)


def test_modes_of_the_layers_stay():
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5).eval())
    program = load_program(model, (torch.zeros(1, 3),))
    assert (model.training, model[0].training, model[1].training) == (True, True, False)
    assert load_program(program) is program


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_program(tmp_path, content):
    path = tmp_path / "model.pt2"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.pt2.*torch\.export\.save") as failure:
        load_program(path)
    assert "\n" not in str(failure.value)


def test_recurrent_layers_stay_whole():
    program = torch.export.export(Holder(nn.LSTM(3, 4)).eval(), (torch.zeros(2, 1, 3),))
    names = [str(n.target) for n in prepare(program).graph.nodes if n.op == "call_function"]
    assert names.count("tvm_kp.lstm.default") == 1
