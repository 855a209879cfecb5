"""Modules whose schedule is looked at, and run on the host and on a board with an FPU."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import tvm
from hypothesis import strategies as st
from tvm import relax

from tvm_kp import board, fixedpoint, graph
from tvm_kp.artifacts import Model
from tvm_kp.c.expressions import C_TYPES
from tvm_kp.c.model import make_model
from tvm_kp.fixedpoint import Multiplier
from tvm_kp.graph import integer_operators, scan
from tvm_kp.graph.integer_matmul import integer_matmul
from tvm_kp.kernel.schedule import schedule
from tvm_kp.kernel.space import Choose, T
from tvm_kp.target import Target

TARGETS = ("host", "mps2-an386")


@pytest.fixture(scope="session")
def module() -> Callable[..., tvm.IRModule]:
    """``(build, shape…)`` -> a module whose main returns ``build(emit, x0, …)``."""

    def make(build: Callable[..., list], *shapes: tuple[int, ...]) -> tvm.IRModule:
        builder = relax.BlockBuilder()
        inputs = [
            relax.Var(f"x{k}", relax.TensorType(shape, "float32")) for k, shape in enumerate(shapes)
        ]
        with builder.function("main", inputs):
            with builder.dataflow():
                result = builder.emit_output(relax.Tuple(build(builder.emit, *inputs)))
            builder.emit_func_output(result)
        return builder.get()

    return make


@pytest.fixture(scope="session")
def kernels() -> Callable[[tvm.IRModule, str], dict[str, str]]:
    """The scheduled functions of a module by name, as text."""

    def make(mod: tvm.IRModule, target: str) -> dict[str, str]:
        lowered = schedule(graph.legalize()(mod), Target.load(target).isa)
        return {name: function.script() for name, function in lowered.items()}

    return make


@pytest.fixture(scope="session")
def assert_same_as_vm(model_of: Callable[..., Model]) -> Callable[[tvm.IRModule], None]:
    """TVM's own schedules through LLVM and ours in C give the same, here and on a board."""

    def check(mod: tvm.IRModule) -> None:
        random = np.random.default_rng(0)
        shapes = [[int(n) for n in p.ty.shape] for p in mod["main"].params]
        data = [random.uniform(-2, 2, shape).astype("float32") for shape in shapes]
        vm = relax.VirtualMachine(relax.build(mod, target="llvm"), tvm.cpu())
        expected = [out.numpy() for out in vm["main"](*map(tvm.runtime.tensor, data))]
        for target in TARGETS:
            inputs = {f"x{k}": array[None] for k, array in enumerate(data)}
            found = board.run(model_of(mod, target), Target.load(target), inputs).outputs
            for (name, value), wanted in zip(found.items(), expected, strict=True):
                error = np.abs(value[0].astype("float64") - wanted).max()
                assert error <= 2e-6 * max(1, np.abs(wanted).max()), f"{name} on {target}: {error}"

    return check


class Drawn(Choose):
    """Answers by chance, but the same questions alike."""

    seed = 0

    def _choose(self, name: str, options: Sequence[T], _default: T) -> T:
        return options[crc32(f"{self.seed} {name} {len(options)}".encode()) % len(options)]


@pytest.fixture(scope="session")
def some_way() -> Callable[[int], AbstractContextManager[None]]:
    """Schedules in some way, which ``seed`` decides, for as long as it is entered."""

    @contextmanager
    def enter(seed: int) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Drawn, "seed", seed)
            patch.setattr("tvm_kp.kernel.schedule.Choose", Drawn)
            yield

    return enter


_STEPS = 3
_HALVED = Multiplier.of(2.0**-3)  # what brings a product of two gates to the scale of c times one
_CELL = Multiplier.of(2.0**-15)
_HIDDEN = Multiplier.of(127 * 2.0**-30)


def _integer_cell(emit, i, f, g, o, c):
    def product(a, b):
        return emit(relax.op.multiply(*(emit(relax.op.astype(x, "int32")) for x in (a, b))))

    i, f, o = (emit(integer_operators.sigmoid(x, 11)) for x in (i, f, o))
    new = emit(
        integer_operators.requantize(product(i, emit(integer_operators.tanh(g, 12))), _HALVED, 32)
    )
    total = emit(relax.op.add(product(f, c), new))
    c = emit(integer_operators.requantize(total, _CELL, 16))
    h = product(o, emit(integer_operators.tanh(c, 12)))
    return emit(integer_operators.requantize(h, _HIDDEN, 8)), c


def _numpy_cell(i, f, g, o, c):
    i, f, o = (fixedpoint.sigmoid(x, 11) for x in (i, f, o))
    new = fixedpoint.requantize(i * fixedpoint.tanh(g, 12), _HALVED, 32)
    c = fixedpoint.requantize(f * c.astype("int32") + new, _CELL, 16)
    return fixedpoint.requantize(o * fixedpoint.tanh(c, 12), _HIDDEN, 8), c


@pytest.fixture(scope="session")
def integer_lstm() -> Callable[..., tuple]:
    """``(size)`` -> a module of the cell of an LSTM over some steps, its inputs and outputs."""

    def make(size: int) -> tuple[tvm.IRModule, dict[str, np.ndarray], list[np.ndarray]]:
        random = np.random.default_rng(size)
        gates = random.integers(-(2**15), 2**15, (4, _STEPS, 1, size)).astype("int16")
        gates[:, 0] = random.choice(np.array([-(2**15), -1, 0, 2**15 - 1], "int16"), (4, 1, size))
        c = random.choice(np.array([-(2**15), 0, 2**15 - 1], "int16"), (1, size))
        inputs = dict(zip("ifgoc", [*gates, c], strict=True))
        hidden, state = [], c
        for t in range(_STEPS):
            h, state = _numpy_cell(*gates[:, t], state)
            hidden.append(h.astype("int8"))
        return _scan_of_cells(inputs), inputs, [np.stack(hidden), state.astype("int16")]

    return make


def _scan_of_cells(inputs: dict[str, np.ndarray]) -> tvm.IRModule:
    row = relax.TensorType(inputs["c"].shape, "int16")
    params = [relax.Var(name, row) for name in inputs]
    builder = relax.BlockBuilder()
    with builder.function("step", params, private=True):
        with builder.dataflow():
            result = builder.emit_output(relax.Tuple(_integer_cell(builder.emit, *params)))
        builder.emit_func_output(result)
    step = builder.get().get_global_var("step")
    params = [relax.Var(n, relax.TensorType(x.shape, "int16")) for n, x in inputs.items()]
    with builder.function("main", params):
        with builder.dataflow():
            result = builder.emit_output(scan.scan(step, params[:-1], params[-1:]))
        builder.emit_func_output(result)
    return builder.get()


@dataclass(frozen=True)
class Case:
    """A product; ``side`` says which operand the weights are, ``x`` holds the other."""

    x: np.ndarray
    weights: np.ndarray
    side: int
    multiplier: Multiplier
    bits: int
    bias: np.ndarray | None = None

    def call(self, x: relax.Expr) -> relax.Call:
        w = relax.const(self.weights)
        pair = (w, x) if self.side == 0 else (x, w)
        bias = None if self.bias is None else relax.const(self.bias)
        return integer_matmul(*pair, self.multiplier, self.bits, bias)

    def expected(self) -> np.ndarray:
        wide = [array.astype("int64") for array in (self.weights, self.x)]
        total = np.matmul(*wide[:: 1 if self.side == 0 else -1])
        total = total if self.bias is None else total + self.bias
        assert np.abs(total).max() < 2**31
        result = fixedpoint.requantize(total, self.multiplier, self.bits)
        return result.astype(f"int{self.bits}")


def _products(cases: Sequence[Case]) -> tvm.IRModule:
    """All cases side by side."""
    inputs = [
        relax.Var(f"x{k}", relax.TensorType(case.x.shape, str(case.x.dtype)))
        for k, case in enumerate(cases)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", inputs):
        with builder.dataflow():
            results = [builder.emit(case.call(x)) for case, x in zip(cases, inputs, strict=True)]
            output = builder.emit_output(relax.Tuple(results))
        builder.emit_func_output(output)
    return builder.get()


def _integers(dtype: str, shape: Sequence[int], fill: str, random: np.random.Generator):
    info = np.iinfo(dtype)
    if fill == "any":
        return random.integers(info.min, info.max + 1, shape).astype(dtype)
    return np.full(shape, info.min if fill == "low" else info.max, dtype)


def _ones_at(shape: Sequence[int], random: np.random.Generator) -> tuple[int, ...]:
    """A shape that broadcasts to ``shape``."""
    kept = shape[random.integers(0, len(shape) + 1) :]
    return tuple(size if random.random() < 0.6 else 1 for size in kept)


@st.composite
def _any_case(draw) -> Case:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    small, fills = st.integers(1, 9), st.sampled_from(["any", "any", "low", "high"])
    rows, columns = draw(st.sampled_from([1, 2, 3, 4, 5, 7, 14])), draw(small)
    depth = draw(st.one_of(small, st.integers(10, 70)))
    batch = draw(st.lists(st.integers(1, 3), max_size=3))
    batches = [_ones_at(batch, random) for _ in range(2)]
    side = draw(st.integers(0, 1))
    w = (rows, depth) if side == 0 else (depth, rows)
    x = (depth, columns) if side == 0 else (columns, depth)
    weights = _integers("int8", (*batches[0], *w), draw(fills), random)
    activations = _integers(
        draw(st.sampled_from(["int8", "int16"])), (*batches[1], *x), draw(fills), random
    )
    inner = (rows, columns) if side == 0 else (columns, rows)
    out = (*np.broadcast_shapes(*batches), *inner)
    factor = () if random.random() < 0.4 else _ones_at(out, random)
    scale = 2.0 ** random.uniform(-26, -8) * (2**16 if random.random() < 0.2 else 1)
    bias = None
    if random.random() < 0.6:
        bias = random.integers(-(2**29), 2**29, _ones_at(out, random)).astype("int32")
    multiplier = Multiplier.of(scale * 2.0 ** random.uniform(-2, 0, factor))
    return Case(activations, weights, side, multiplier, draw(st.sampled_from([8, 16])), bias)


def _case(x, w, side, dtype="int16", bits=16, bias=None, shift=-12.0) -> Case:
    """A case of these shapes; ``bias`` is the shape of one, ``shift`` the factors' exponents."""
    random = np.random.default_rng(sum((*x, *w)))
    biases = None if bias is None else random.integers(-(2**20), 2**20, bias).astype("int32")
    activations, weights = (_integers(*one, "any", random) for one in ((dtype, x), ("int8", w)))
    return Case(activations, weights, side, Multiplier.of(2.0 ** np.array(shift)), bits, biases)


_GATES = np.linspace(-9, -8, 4)[:, None, None]
_LARGE = [
    # More activations than are unpacked at a time, and more products than are written out.
    _case((1, 9, 300), (300, 7), 1),
    _case((300, 11), (6, 300), 0, "int8", bias=(6, 1), shift=np.linspace(-13, -9, 11)),
    _case((2, 300, 13), (2, 5, 300), 0, bias=(2, 5, 13)),
    _case((1, 2000), (2000, 3), 1, "int8", bias=(3,)),
    # Rows of a batch times the same weights, and gates with a factor that shifts to the left.
    _case((3, 25, 10), (10, 16), 1, bias=(16,)),
    _case((4, 1, 33), (4, 33, 9), 1, "int8", bias=(4, 1, 9), shift=_GATES + 9),
]


_DENSE = (1, 120), (120, 480), 1
_WORKLOADS = {
    "dense int8": [_case(*_DENSE, "int8", 8)],
    "dense int16": [_case(*_DENSE)],
    "dense with biases": [_case((1, 128), (128, 472), 1, bias=(472,))],
    "factored": [_case((1, 10, 12), (12, 20), 1), _case((1, 10, 20), (24, 10), 0)],
    "factored gates": [
        _case((1, 16, 8), (8, 16), 0),
        _case((4, 2, 8), (4, 8, 59), 1, bias=(4, 2, 59), shift=_GATES),
    ],
}


_HARNESS = """\
#include "m_lib1.c"
{arrays}
int main(void) {{
{calls}
  return 0;
}}
"""


@dataclass(frozen=True)
class Products:
    """Products of integers, and what the kernels for ``target`` make of them."""

    target: Target

    case = staticmethod(_case)
    module = staticmethod(_products)
    large = _LARGE
    workloads = _WORKLOADS

    @staticmethod
    def some(data: st.DataObject, count: int) -> list[Case]:
        """Cases of any kind."""
        return data.draw(st.lists(_any_case(), min_size=count, max_size=count))

    @staticmethod
    def of_rows(case: Case, first: int, count: int) -> tvm.IRModule:
        """The case for some rows of its activations, which may lie at any address."""
        x = relax.Var("x0", relax.TensorType(case.x.shape, str(case.x.dtype)))
        builder = relax.BlockBuilder()
        with builder.function("main", [x]):
            with builder.dataflow():
                rows = builder.emit(relax.op.strided_slice(x, [0], [first], [first + count]))
                output = builder.emit_output(relax.Tuple([builder.emit(case.call(rows))]))
            builder.emit_func_output(output)
        return builder.get()

    def kernels(self, several: Sequence[Case]) -> dict[str, tvm.tirx.PrimFunc]:
        return schedule(graph.legalize()(_products(several)), self.target.isa)

    def portable(self, several: Sequence[Case]) -> Model:
        """The C for ``target`` that a compiler for another core sees: the same reads and writes."""
        legal = graph.legalize()(_products(several))
        functions = schedule(legal, self.target.isa)
        return make_model(legal, functions, name="m", target="host", alignment=8, decisions=())

    def check(self, several: Sequence[Case], model: Model) -> int:
        """The results are numpy's; how many instructions that takes, where they are counted."""
        inputs = {f"x{k}": case.x[None] for k, case in enumerate(several)}
        found = board.run(model, Target.load(model.target), inputs)
        for case, result in zip(several, found.outputs.values(), strict=True):
            expected = case.expected()
            np.testing.assert_array_equal(result[0], expected, err_msg=str(case), strict=True)
        return found.instructions[0] if found.instructions else 0

    def assert_inside(self, several: Sequence[Case], folder: Path) -> None:
        """Run the portable C with guards around all operands."""
        functions, model = self.kernels(several), self.portable(several)
        arrays, calls = [], []
        for name, function in functions.items():
            names = [f"{name}_{k}" for k, _ in enumerate(function.params)]
            for one, param in zip(names, function.params, strict=True):
                (size,) = param.shape
                arrays.append(f"_Alignas(8) {C_TYPES[str(param.dtype)]} {one}[{size}];")
            calls.append(f"  tvmgen_m_{name}({', '.join(names)});")
        for name, text in model.sources.items():
            (folder / name).write_text(text)
        harness = _HARNESS.format(arrays="\n".join(arrays), calls="\n".join(calls))
        (folder / "main.c").write_text(harness)
        flags = ("-g", "-fsanitize=address,undefined", "-fno-sanitize-recover")
        subprocess.run(["gcc", *flags, "main.c", "-o", "a"], cwd=folder, check=True)
        done = subprocess.run(["./a"], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="session")
def products() -> Callable[[str], Products]:
    """``(target)`` -> products of integers for it."""
    return lambda target: Products(Target.load(target))


@dataclass(frozen=True)
class FloatCase:
    """``x`` times ``weights`` or, on the left ``side``, the reverse; then a bias and a function.

    Weights that are not ``constant`` are an input too.
    """

    x: tuple[int, ...]
    weights: tuple[int, ...]
    side: str = "right"
    bias: tuple[int, ...] | None = None
    relu: bool = False
    constant: bool = True

    def arrays(self) -> list[np.ndarray]:
        random = np.random.default_rng(sum((*self.x, *self.weights)))
        shapes = (self.x, self.weights, self.bias or ())
        return [random.uniform(-1, 1, shape).astype("float32") for shape in shapes]

    @property
    def inputs(self) -> list[np.ndarray]:
        return self.arrays()[: 1 if self.constant else 2]

    def emit(self, emit, x: relax.Expr, weights: relax.Expr | None = None) -> relax.Expr:
        op = relax.op
        _, constant, bias = map(relax.const, self.arrays())
        w = constant if weights is None else weights
        y = emit(op.matmul(*((w, x) if self.side == "left" else (x, w))))
        y = emit(op.add(y, bias)) if self.bias is not None else y
        return emit(op.nn.relu(y)) if self.relu else y

    def expected(self) -> np.ndarray:
        x, weights, bias = (array.astype("float64") for array in self.arrays())
        y = weights @ x if self.side == "left" else x @ weights
        y = y + bias if self.bias is not None else y
        return np.maximum(y, 0) if self.relu else y


@st.composite
def _any_float_case(draw, constant: st.SearchStrategy[bool]) -> FloatCase:
    few, many = st.integers(1, 9), st.integers(10, 70)
    sizes = st.one_of(few, many)
    batch = draw(st.lists(st.integers(1, 3), max_size=2))
    rows, depth, columns = draw(st.one_of(st.just(1), sizes)), draw(sizes), draw(sizes)
    left, right = (rows, depth), (depth, columns)
    kept = (*batch[draw(st.integers(0, len(batch))) :],)
    side = draw(st.sampled_from(["left", "right"]))
    x, weights = (right, left) if side == "left" else (left, right)
    biases = [None, (columns,), (rows, columns), (*batch, rows, columns), (rows, 1)]
    bias, relu = draw(st.sampled_from(biases)), draw(st.booleans())
    return FloatCase((*batch, *x), (*kept, *weights), side, bias, relu, draw(constant))


@dataclass(frozen=True)
class FloatProducts:
    """Products of floats, and what the kernels for ``target`` make of them."""

    target: Target
    module: Callable[..., tvm.IRModule]

    case = staticmethod(FloatCase)

    @staticmethod
    def some(
        data: st.DataObject, count: int, constant: st.SearchStrategy[bool] | None = None
    ) -> list[FloatCase]:
        """Cases of any kind."""
        case = _any_float_case(st.just(True) if constant is None else constant)
        return data.draw(st.lists(case, min_size=count, max_size=count))

    def model(self, several: Sequence[FloatCase], target: str = "") -> Model:
        """All cases side by side; for another ``target`` the C that its compiler sees."""

        def results(emit, *operands):
            left = list(operands)
            return [case.emit(emit, *(left.pop(0) for _ in case.inputs)) for case in several]

        shapes = [array.shape for case in several for array in case.inputs]
        legal = graph.legalize()(self.module(results, *shapes))
        kernels = schedule(legal, self.target.isa)
        return make_model(
            legal, kernels, name="m", target=target or self.target.name, alignment=8, decisions=()
        )

    def check(self, several: Sequence[FloatCase], model: Model) -> int:
        """The results are numpy's; how many instructions that takes, where they are counted."""
        arrays = [array[None] for case in several for array in case.inputs]
        inputs = {f"x{k}": array for k, array in enumerate(arrays)}
        found = board.run(model, Target.load(model.target), inputs)
        for case, result in zip(several, found.outputs.values(), strict=True):
            wanted = case.expected()
            error = np.abs(result[0] - wanted).max()
            assert error <= 2e-6 * max(1, np.abs(wanted).max()), f"{case} on {model.target}"
        return found.instructions[0] if found.instructions else 0

    def check_special_values(self) -> None:
        """Infinities and the like go through, and touch nothing else."""
        case = FloatCase((1, 7), (7, 9), bias=(9,))
        model, (x, weights, bias) = self.model([case]), case.arrays()
        for value in (np.inf, -np.inf, np.nan, 3e38):
            x[0, 3] = value
            with np.errstate(over="ignore", invalid="ignore"):
                wanted = x @ weights + bias
            (found,) = board.run(model, self.target, {"x0": x[None]}).outputs.values()
            np.testing.assert_allclose(found[0], wanted, rtol=1e-5)


@pytest.fixture(scope="session")
def float_products(module: Callable[..., tvm.IRModule]) -> Callable[[str], FloatProducts]:
    """``(target)`` -> products of floats for it."""
    return lambda target: FloatProducts(Target.load(target), module)
