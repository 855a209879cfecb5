"""The emitted files: golden, strict, the same every time, and honest about what they need."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relax

import tvm_kp
from tvm_kp.artifacts import Model
from tvm_kp.compress.layers import KroneckerLSTM

op = relax.op


class Net(nn.Module):
    """A small recurrence with weights that a reader can follow: multiples of 1/8."""

    def __init__(self, rnn: nn.Module, hidden: int, classes: int) -> None:
        super().__init__()
        self.rnn = rnn
        self.head = nn.Linear(hidden, classes)
        with torch.no_grad():
            for parameter in self.parameters():
                steps = torch.arange(parameter.numel()) * 3 % 7 - 3
                parameter.copy_(steps.reshape(parameter.shape) / 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _, (h, _) = self.rnn(x)
        return self.head(h[0])


def dense() -> Net:
    return Net(nn.LSTM(2, 3, batch_first=True), 3, 2)


def kronecker() -> Net:
    return Net(KroneckerLSTM(3, 6, ((2, 3), (3, 3)), batch_first=True), 6, 2)


NETS = {"dense_lstm": (dense, 2, "host"), "kronecker_lstm": (kronecker, 3, "mps2-an386")}


def compiled(name: str) -> tuple[Model, Net, torch.Tensor]:
    make, inputs, target = NETS[name]
    x = torch.linspace(-1, 1, 4 * inputs).reshape(1, 4, inputs)
    options = tvm_kp.Options(tuning_records="none")
    model = tvm_kp.compile(make(), target, example_inputs=(x,), options=options).model
    return model, make().eval(), x


def files(model: Model) -> dict[str, str]:
    return {model.header_name: model.header, **model.sources}


@pytest.mark.parametrize("name", NETS)
def test_golden(name: str, golden: Callable[[str, str], None]) -> None:
    model, net, x = compiled(name)
    for file, text in files(model).items():
        text = re.sub(r"tvm_kp \S+ with TVM \S+, for", "tvm_kp with TVM, for", text)
        golden(f"{name}/{file}", re.sub(r"Model [0-9a-f]{16}:", "Model:", text))
    found = tvm_kp.run(model, model.target, {"x": x.numpy()}).outputs["output"][0]
    np.testing.assert_allclose(found, net(x).detach().numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_the_same_model_gives_the_same_files(name: str) -> None:
    assert files(compiled(name)[0]) == files(compiled(name)[0])


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("target", ["host", "mps2-an386"])
def test_files_compile_strictly(
    name: str, target: str, compile_strictly: Callable[..., None]
) -> None:
    make, inputs, _ = NETS[name]
    x = torch.zeros(1, 4, inputs)
    model = tvm_kp.compile(make(), target, example_inputs=(x,)).model
    compile_strictly(files(model), target)
    for hooks in ("TVMGEN_PROFILE", "TVMGEN_TRACE"):
        hooked = {key: f"#define {hooks}\n{text}" for key, text in model.sources.items()}
        compile_strictly({model.header_name: model.header, **hooked}, target)


def test_header_is_c_and_cpp(tmp_path: Path) -> None:
    model = compiled("dense_lstm")[0]
    (tmp_path / model.header_name).write_text(model.header)
    user = f'#include "{model.header_name}"\n#include "{model.header_name}"\nint main(void);\n'
    user += "int main(void) {\n  struct tvmgen_default_inputs i = {0};\n"
    user += "  struct tvmgen_default_outputs o = {0};\n"
    user += "  return TVMGEN_DEFAULT_X_SIZE - 32 + (int)tvmgen_default_run(&i, &o);\n}\n"
    for name, compiler in (("u.c", ["gcc", "-std=c99"]), ("u.cc", ["g++", "-std=c++17"])):
        (tmp_path / name).write_text(user)
        command = [*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-c", name, "-o", "u.o"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        # Pedants of C++ have {0} for structs of pointers, and the macros are plain numbers.
        assert done.returncode == 0, done.stderr


def test_header_tells_the_sizes() -> None:
    model = compiled("kronecker_lstm")[0]
    macros = dict(re.findall(r"#define (TVMGEN_\w+) (\d+)", model.header))
    assert macros["TVMGEN_DEFAULT_X_SIZE"] == "48"
    assert macros["TVMGEN_DEFAULT_OUTPUT_SIZE"] == "8"
    assert int(macros["TVMGEN_DEFAULT_WORKSPACE_SIZE"]) == model.workspace_bytes > 0
    assert int(macros["TVMGEN_DEFAULT_OPERATOR_COUNT"]) == len(model.operators)


@pytest.mark.parametrize("name", NETS)
def test_no_doubles_and_no_expf_on_a_microcontroller(
    name: str, compile_strictly: Callable[..., None], tmp_path: Path
) -> None:
    make, inputs, _ = NETS[name]
    x = torch.zeros(1, 4, inputs)
    model = tvm_kp.compile(make(), "mps2-an386", example_inputs=(x,)).model
    compile_strictly(files(model), "mps2-an386")
    objects = sorted(path.name for path in tmp_path.glob("*.o"))
    assert len(objects) == 2
    listed = subprocess.run(
        ["arm-none-eabi-nm", "-u", *objects],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    needed = {line.split()[-1] for line in listed.splitlines() if line.strip().startswith("U ")}
    own = {operator.name for operator in model.operators}
    assert needed - own <= {"memcpy", "memset"}


def straight(build: Callable[..., list], **shapes: tuple[int, ...]) -> tvm.IRModule:
    builder = relax.BlockBuilder()
    inputs = [relax.Var(name, relax.TensorType(z, "float32")) for name, z in shapes.items()]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(relax.Tuple(build(builder.emit, *inputs)))
        builder.emit_func_output(result)
    return builder.get()


def test_a_single_operator(model_of, compile_strictly) -> None:
    model = model_of(straight(lambda emit, x: [emit(op.tanh(x))], x=(5,)))
    for target in ("host", "mps2-an386"):
        compile_strictly(files(model), target)
    assert model.workspace_bytes == 0 and model.constants_bytes == model.tables_bytes
    assert "global_workspace" not in model.sources["m_lib0.c"]


def test_an_input_that_nothing_reads(model_of, compile_strictly) -> None:
    model = model_of(straight(lambda emit, x, unread: [emit(op.tanh(x))], x=(5,), unread=(3,)))
    compile_strictly(files(model), "host")
    assert [spec.name for spec in model.inputs] == ["x", "unread"]


def test_names_that_mean_something_in_c(model_of, compile_strictly) -> None:
    def build(emit, *inputs):
        total = inputs[0]
        for other in inputs[1:]:
            total = emit(op.add(total, op.tanh(other)))
        joined = [emit(op.concat([x, y], axis=0)) for x, y in itertools.pairwise(inputs)]
        return [total, *joined]

    names = ["int", "t", "memcpy_", "output", "output0", "x", "x_1", "int_t", "i", "kp_tanhf"]
    model = model_of(straight(build, **dict.fromkeys(names, (5,))))
    for target in ("host", "mps2-an386"):
        compile_strictly(files(model), target)
    fields = re.findall(r"void\* (\w+);", model.header)
    assert len(fields) == len({field.upper() for field in fields})


def test_special_constants_read_back(model_of) -> None:
    fixed = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], "float32")
    whole = np.array([2**62, -(2**62), 0], "int64")

    def build(emit, x):
        return [
            emit(op.add(x, relax.const(fixed))),
            relax.const(whole, "int64"),
            relax.const(fixed),
        ]

    model = model_of(straight(build, x=(5,)))
    found = tvm_kp.run(model, "host", {"x": np.zeros((1, 5), "float32")}).outputs
    np.testing.assert_array_equal(found["output1"][0], whole)
    np.testing.assert_array_equal(found["output2"][0].view("int32"), fixed.view("int32"))


def test_alignment_is_as_asked(model_of) -> None:
    mod = straight(
        lambda emit, x: [emit(op.matmul(op.tanh(x), relax.const(np.eye(5, dtype="float32"))))],
        x=(1, 5),
    )
    text = model_of(mod, alignment=32).sources["m_lib0.c"]
    assert text.count("aligned(32)") == 2
    assert all(int(n) % 32 == 0 for n in re.findall(r"&global_workspace\[(\d+)\]", text))
