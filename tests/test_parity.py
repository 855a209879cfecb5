"""Random models: PyTorch, TVM's virtual machine, C and objects, here and on a board, agree.

Ten models at a time are the parts of one, which is exported and compiled as a whole: an import,
a build and a start of the emulator cost more than a small model.
"""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relax

import tvm_kp
from tvm_kp import graph
from tvm_kp.artifacts import Model
from tvm_kp.compress.layers import KroneckerLSTM
from tvm_kp.kronecker import factor_shapes

BUNDLES, PARTS, RECORDS = 6, 10, 3
CELL_BUNDLES, CELL_TRIED = 24, 9  # of 16 parts each
ON_VM = 4  # one in so many bundles: building for it takes as long as all else
BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547", "mps2-an385")
OBJECTS = ("llvm", "llvm -mcpu=cortex-m4", "llvm -mcpu=cortex-m55")
STRUCTURES = ("dense", "joint", "apart", "recurrent only", "input only")
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Shape:
    """What is drawn of a part."""

    steps: int
    inputs: int
    hidden: int
    classes: int
    structure: str
    bias: bool
    batch_first: bool
    given_state: bool
    outputs: str
    batch: int
    kind: str = "LSTM"
    layers: int = 1
    directions: int = 1
    projection: int = 0

    @property
    def width(self) -> int:
        return self.directions * (self.projection or self.hidden)

    @property
    def states(self) -> list[tuple[int, int, int]]:
        count = self.layers * self.directions
        h, c = (count, self.batch, self.projection or self.hidden), (count, self.batch, self.hidden)
        return [h, c] if self.kind == "LSTM" else [h]


def draw(random: np.random.Generator, batch: int) -> Shape:
    return Shape(
        steps=int(random.integers(1, 9)),
        inputs=int(random.integers(1, 17)),
        hidden=int(random.integers(1, 25)),
        classes=int(random.integers(1, 13)),
        structure=str(random.choice(STRUCTURES)),
        bias=bool(random.integers(2)),
        batch_first=bool(random.integers(2)),
        given_state=bool(random.integers(2)),
        outputs=str(random.choice(["classes", "last", "sequence", "states", "all", "cell"])),
        batch=batch,
    )


def cells(bundle: int) -> list[Shape]:
    """Some of the cross product of what PyTorch's recurrent layers can be, shapes drawn."""
    random = np.random.default_rng(0)
    kinds = ("LSTM", "GRU", "RNN", "ReLU")
    flags = itertools.product(kinds, (1, 2, 3), (1, 2), *[(False, True)] * 3, ("last", "all"))
    shuffled = random.permutation(np.array(list(flags), object))
    return [drawn(random, *flag) for flag in shuffled][bundle::CELL_BUNDLES]


def drawn(
    random: np.random.Generator,
    kind: str,
    layers: int,
    directions: int,
    bias: bool,
    batch_first: bool,
    given_state: bool,
    outputs: str,
) -> Shape:
    hidden = int(random.integers(1, 10))
    return Shape(
        steps=int(random.integers(1, 5)),
        inputs=int(random.integers(1, 9)),
        hidden=hidden,
        classes=int(random.integers(1, 6)),
        structure="dense",
        bias=bias,
        batch_first=batch_first,
        given_state=given_state,
        outputs=outputs,
        batch=1,
        kind=kind,
        layers=layers,
        directions=directions,
        projection=hidden // 2 if kind == "LSTM" and random.integers(3) == 0 else 0,
    )


class Part(nn.Module):
    """One recurrence with what stands around it; returns a tuple."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.rnn = recurrence(shape)
        self.head = nn.Linear(shape.width, shape.classes)

    def forward(self, x: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        lstm = self.shape.kind == "LSTM"
        y, states = self.rnn(x, (state if lstm else state[0]) if state else None)
        states = states if lstm else (states,)
        last = y[:, -1] if self.shape.batch_first else y[-1]
        return {
            "classes": (torch.softmax(self.head(last), -1),),
            "last": (last,),
            "sequence": (y,),
            "states": states,
            "all": (torch.tanh(self.head(y)), y, *states),
            "cell": states[1:],
        }[self.shape.outputs]

    def example(self, random: np.random.Generator) -> list[torch.Tensor]:
        """Inputs in [-1, 1]."""
        s = self.shape
        lead = (s.batch, s.steps) if s.batch_first else (s.steps, s.batch)
        shapes = [(*lead, s.inputs), *(s.states if s.given_state else [])]
        return [torch.from_numpy(random.uniform(-1, 1, z).astype("float32")) for z in shapes]


def recurrence(s: Shape) -> nn.Module:
    if s.structure in ("joint", "apart"):
        apart = s.structure == "apart"
        return KroneckerLSTM(
            s.inputs, s.hidden, apart=apart, bias=s.bias, batch_first=s.batch_first
        )
    settings = {"bidirectional": s.directions == 2}
    if s.kind == "LSTM":
        settings["proj_size"] = s.projection
    if s.kind == "ReLU":
        settings["nonlinearity"] = "relu"
    rnn = getattr(nn, "RNN" if s.kind == "ReLU" else s.kind)(
        s.inputs, s.hidden, s.layers, bias=s.bias, batch_first=s.batch_first, **settings
    )
    side = {"recurrent only": "weight_hh_l0", "input only": "weight_ih_l0"}.get(s.structure)
    if side is not None:
        weight = getattr(rnn, side)
        shapes = factor_shapes(s.hidden, weight.shape[1])
        with torch.no_grad():
            gates = [torch.kron(*(torch.randn(z) / 3 for z in shapes)) for _ in range(4)]
            weight.copy_(torch.cat(gates))
    return rnn


class Bundle(nn.Module):
    """Parts side by side; the inputs and outputs of all of them, one after the other."""

    def __init__(self, parts: list[Part]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        rest, results = list(inputs), []
        for part in self.parts:
            count = 1 + len(part.shape.states) * part.shape.given_state
            results += part(*rest[:count])
            rest = rest[count:]
        return results


def bundle(seed: int, parts: int = PARTS, batch: int = 1) -> tuple[Bundle, list[list]]:
    """A drawn bundle and its inputs for ``RECORDS`` inferences."""
    random = np.random.default_rng(seed)
    return bundled([draw(random, batch) for _ in range(parts)], seed)


def bundled(shapes: list[Shape], seed: int) -> tuple[Bundle, list[list]]:
    """A bundle of these parts and its inputs for ``RECORDS`` inferences."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = Bundle([Part(shape) for shape in shapes]).eval()
    examples = [[x for part in model.parts for x in part.example(random)] for _ in range(RECORDS)]
    return model, examples


def imported(program: torch.export.ExportedProgram) -> tvm.IRModule:
    """The module that the machine and all targets are built from."""
    return graph.FactorizeKronecker()(graph.normalize()(graph.import_torch(program)))


def run_vm(mod: tvm.IRModule, examples: list[list]) -> list[list]:
    """The outputs of every inference on TVM's virtual machine."""
    vm = relax.VirtualMachine(relax.build(graph.ExpandScan()(mod), target="llvm"), tvm.cpu())
    return [
        [out.numpy() for out in vm["main"](*(tvm.runtime.tensor(x.numpy()) for x in example))]
        for example in examples
    ]


def compare(found: list[list], expected: list[list], parts: Bundle) -> None:
    for values, wanted in zip(found, expected, strict=True):
        for index, (value, good) in enumerate(zip(values, wanted, strict=True)):
            np.testing.assert_allclose(
                value,
                good,
                rtol=0,
                atol=TOLERANCE,
                err_msg=f"output {index} of {[part.shape for part in parts.parts]}",
            )


def run_c(model: Model, examples: list[list]) -> list[list]:
    """The outputs of every inference in C on the model's target."""
    columns = zip(*examples, strict=True)
    inputs = {
        spec.name: np.stack([x.numpy() for x in column])
        for spec, column in zip(model.inputs, columns, strict=True)
    }
    outputs = tvm_kp.run(model, model.target, inputs).outputs
    return [[column[k] for column in outputs.values()] for k in range(len(examples))]


def torch_outputs(model: Bundle, examples: list[list]) -> list[list]:
    with torch.no_grad():
        return [[out.numpy() for out in model(*example)] for example in examples]


def export(model: Bundle, examples: list[list]) -> torch.export.ExportedProgram:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.export.export(model, tuple(examples[0]))


@pytest.mark.parametrize("seed", range(BUNDLES))
def test_bundles_agree_everywhere(seed: int, model_of: Callable[..., Model]) -> None:
    model, examples = bundle(seed)
    expected = torch_outputs(model, examples)
    mod = imported(export(model, examples))
    if seed % ON_VM == 0:
        compare(run_vm(mod, examples), expected, model)
    for target in ("host", BOARDS[seed % len(BOARDS)], *OBJECTS[seed : seed + 1]):
        compare(run_c(model_of(mod, target), examples), expected, model)


def test_every_pair_of_flags_is_tried() -> None:
    """The cross product takes too long; what two flags do to each other is seen."""

    def pairs(shapes: list[Shape]) -> set[tuple]:
        names = ("kind", "layers", "directions", "bias", "batch_first", "given_state", "outputs")
        flags = ([(name, getattr(shape, name)) for name in names] for shape in shapes)
        return {pair for one in flags for pair in itertools.combinations(one, 2)}

    tried, every = (
        [shape for number in range(count) for shape in cells(number)]
        for count in (CELL_TRIED, CELL_BUNDLES)
    )
    assert len(every) == 4 * 3 * 2**5 and pairs(tried) == pairs(every)


@pytest.mark.parametrize("number", range(CELL_TRIED))
def test_layers_of_pytorch_agree_everywhere(number: int, model_of: Callable[..., Model]) -> None:
    model, examples = bundled(cells(number), 3000 + number)
    expected = torch_outputs(model, examples)
    mod = imported(export(model, examples))
    if number % ON_VM == 0:
        compare(run_vm(mod, examples), expected, model)
    for target in ("host", *BOARDS[number : number + 1]):
        compare(run_c(model_of(mod, target), examples), expected, model)


@pytest.mark.parametrize("board", BOARDS)
def test_one_model_alone(board: str) -> None:
    model, examples = bundle(1000 + BOARDS.index(board), parts=1)
    compiled = tvm_kp.compile(export(model, examples), board).model
    compare(run_c(compiled, examples), torch_outputs(model, examples), model)


def test_batches_on_the_host(model_of: Callable[..., Model]) -> None:
    model, examples = bundle(2000, batch=3)
    expected = torch_outputs(model, examples)
    mod = imported(export(model, examples))
    compare(run_vm(mod, examples), expected, model)
    compare(run_c(model_of(mod), examples), expected, model)
