"""Quantized models: numpy, TVM's virtual machine, C and objects, here and on the boards, give the
same bits.

The models are those of ``test_parity``'s kind: ten small recurrences side by side, whose float
outputs the integers must come near.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import tvm
from torch import nn
from tvm import relax
from tvm.ir import GenericConst

import tvm_kp
from tvm_kp import fixedpoint, graph
from tvm_kp.compress import KroneckerFastGRNN, KroneckerLSTM
from tvm_kp.fixedpoint import Interpolation, Multiplier
from tvm_kp.graph import scan
from tvm_kp.graph.integer_operators import legalizations
from tvm_kp.graph.rewrite import bindings, name_of, returned

BOARDS = ("mps2-an386", "mps2-an500", "mps3-an547", "mps2-an385")
OBJECTS = tuple(f"llvm -mcpu=cortex-{core}" for core in ("m3", "m4", "m7", "m55"))
DECIBELS = {"int8": 25, "int16x8": 45}
BUNDLES, PARTS = 4, 8
FORMS = tuple(DECIBELS)


def models() -> ModuleType:
    """``test_parity``, which draws them: test files cannot import each other by name."""
    spec = importlib.util.spec_from_file_location(
        "drawn_models", Path(__file__).with_name("test_parity.py")
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look for it there
    spec.loader.exec_module(module)
    return module


MODELS = models()


class Numpy:
    """Runs a quantized module with ``fixedpoint`` and nothing else."""

    def __init__(self, mod: tvm.IRModule) -> None:
        self._mod = mod

    def __call__(self, *inputs):
        return self._function(self._mod["main"], list(inputs))

    def _function(self, function, args):
        env = dict(zip(function.params, args, strict=True))
        for binding in bindings(function):
            env[binding.var] = self._value(binding.value, env)
        return [self._operand(result, env) for result in returned(function)]

    def _operand(self, expr, env):
        if isinstance(expr, relax.Tuple):
            return [self._operand(item, env) for item in expr.fields]
        if isinstance(expr, relax.ShapeExpr):
            return [int(n) for n in expr.values]
        return expr.value.numpy() if isinstance(expr, GenericConst) else env.get(expr, expr)

    def _value(self, value, env):
        if isinstance(value, relax.TupleGetItem):
            return env[value.tuple_value][value.index]
        if (call := scan.match(value)) is not None:
            return self._scan(call, env)
        if not isinstance(value, relax.Call):
            return self._operand(value, env)
        args = [self._operand(arg, env) for arg in value.args]
        return getattr(self, name_of(value).split(".")[-1])(value.attrs, *args)

    def _scan(self, call, env):
        sequences, states = (
            [self._operand(x, env) for x in xs] for xs in (call.sequences, call.states)
        )
        step, rows = self._mod[call.step], {}
        for t in call.order():
            results = self._function(step, [*(x[t] for x in sequences), *states])
            count = len(results) - len(states)
            rows[t], states = results[:count], results[count:]
        outputs = zip(*(rows[t] for t in range(call.steps)), strict=True)
        return [*(np.stack(column) for column in outputs), *states]

    def reshape(self, _, x, shape):
        return x.reshape(shape)

    def concat(self, attrs, parts):
        return np.concatenate(parts, int(attrs.axis))

    def split(self, attrs, x):
        ends = attrs.indices_or_sections
        ends = int(ends) if isinstance(ends, tvm.tirx.IntImm) else [int(end) for end in ends]
        return np.split(x, ends, int(attrs.axis))

    def permute_dims(self, attrs, x):
        return x.transpose(None if attrs.axes is None else [int(a) for a in attrs.axes])

    def strided_slice(self, _, x, axes, begin, end):
        ((axis,), (first,), (last,)) = ([int(v) for v in a] for a in (axes, begin, end))
        return np.take(x, range(first, min(last, x.shape[axis])), axis)

    def astype(self, attrs, x):
        return x.astype(str(attrs.dtype))

    def clip(self, _, x, low, high):
        return np.clip(x, int(low.value), int(high.value)).astype(x.dtype)

    def add(self, _, a, b):
        return self._exact(np.add, a, b)

    def subtract(self, _, a, b):
        return self._exact(np.subtract, a, b)

    def multiply(self, _, a, b):
        return self._exact(np.multiply, a, b)

    def maximum(self, _, a, b):
        return np.maximum(a, b)

    def minimum(self, _, a, b):
        return np.minimum(a, b)

    def right_shift(self, _, a, b):
        return a >> b

    def _exact(self, function, a, b):
        """What does not fit int32 would be a wrong bound."""
        if a.dtype.kind == "f":
            return function(a, b)
        result = function(a.astype("int64"), b)
        assert np.array_equal(result, result.astype("int32"))
        return result.astype("int32")

    def quantize(self, attrs, x):
        dtype = str(attrs["dtype"])
        bits = 8 * np.dtype(dtype).itemsize
        return fixedpoint.quantize(x, float(attrs["scale"]), bits).astype(dtype)

    def requantize(self, attrs, x, factor):
        dtype = str(attrs["dtype"])
        multiplier = Multiplier(factor, int(attrs["left"]))
        return fixedpoint.requantize(x, multiplier, 8 * np.dtype(dtype).itemsize).astype(dtype)

    def softmax(self, attrs, x, factor):
        return fixedpoint.softmax(x, Multiplier(factor, int(attrs["left"]))).astype("int16")

    def interpolate(self, attrs, x, table):
        form = Interpolation(*(int(attrs[name]) for name in ("between", "offset", "shift")))
        assert np.array_equal(table, fixedpoint.tanh_table())
        return fixedpoint.interpolate(x, form).astype("int16")

    def integer_matmul(self, attrs, a, b, factor, bias=0):
        total = np.matmul(a.astype("int64"), b.astype("int64")) + bias
        assert np.array_equal(total, total.astype("int32"))
        return self.requantize(attrs, total.astype("int32"), factor)


def drawn(seed):
    """A bundle without softmax, whose small numbers have few decibels, and its inputs."""
    random = np.random.default_rng(seed)
    shapes = [MODELS.draw(random, 1) for _ in range(PARTS)]
    shapes = [replace(s, outputs="last") if s.outputs == "classes" else s for s in shapes]
    return MODELS.bundled(shapes, seed)


def layers(number):
    """Some of PyTorch's layers, likewise."""
    shapes = MODELS.cells(number)[:PARTS]
    return MODELS.bundled(shapes, 3000 + number)


def quantized(model, examples, form, io_bits=None):
    """The float module arranged, the same in integers, and the inputs of every inference."""
    mod = graph.arrange()(MODELS.imported(MODELS.export(model, examples)))
    records = [[x.numpy() for x in example] for example in examples]
    ranges = graph.calibrate(mod, records)
    how = graph.Quantization({"int8": 8, "int16x8": 16}[form], io_bits)
    return graph.quantize(mod, ranges, how), records


def decibels(found, expected):
    pairs = [(a.ravel(), b.ravel()) for a, b in zip(found, expected, strict=True)]
    signal, noise = (
        sum(float(np.sum(np.square(x, dtype=np.float64))) for x in xs)
        for xs in ([b for _, b in pairs], [a - b for a, b in pairs])
    )
    return 10 * np.log10(signal / noise)


def check_vm(integers, records):
    """TVM's virtual machine gives the bits of numpy; building for it takes as long as all else."""
    legal = relax.transform.LegalizeOps(legalizations())(graph.ExpandScan()(integers.mod))
    vm = relax.VirtualMachine(relax.build(legal, target="llvm"), tvm.cpu())
    for inputs in map(integers.taken, records):
        wanted = Numpy(integers.mod)(*inputs)
        for a, b in zip(vm["main"](*map(tvm.runtime.tensor, inputs)), wanted, strict=True):
            np.testing.assert_array_equal(a.numpy(), b, strict=True)


def check_same(integers, records, targets, model_of):
    """The outputs of every inference, the same bits everywhere."""
    taken = [integers.taken(record) for record in records]
    expected = [Numpy(integers.mod)(*inputs) for inputs in taken]
    for target in targets:
        compiled = model_of(integers.mod, target)
        columns = zip(compiled.inputs, zip(*taken, strict=True), strict=True)
        result = tvm_kp.run(compiled, target, {t.name: np.stack(x) for t, x in columns})
        for k, wanted in enumerate(expected):
            for a, b in zip(result.outputs.values(), wanted, strict=True):
                np.testing.assert_array_equal(a[k], b, strict=True)
    return expected


@pytest.mark.parametrize("seed", range(BUNDLES))
def test_bundles_agree_everywhere(seed, model_of):
    form = FORMS[seed % 2]
    model, examples = drawn(seed)
    integers, records = quantized(model, examples, form)
    targets = ("host", BOARDS[seed % len(BOARDS)], OBJECTS[seed])
    found = check_same(integers, records, targets, model_of)
    if seed < len(FORMS):
        check_vm(integers, records)
    expected = MODELS.torch_outputs(model, examples)
    worst = min(decibels(a, b) for a, b in zip(found, expected, strict=True))
    assert worst >= DECIBELS[form]


@pytest.mark.parametrize("number", range(2))
def test_layers_of_pytorch_agree_everywhere(number, model_of):
    model, examples = layers(number)
    integers, records = quantized(
        model, examples, FORMS[number % 2], io_bits=(None, 8, 16)[number % 3]
    )
    check_same(integers, records, ("host", BOARDS[number]), model_of)


class Small(nn.Module):
    """A recurrence and a head on its last output."""

    def __init__(self, rnn: nn.Module, hidden: int) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(hidden, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1])


SMALL = {
    "kronecker lstm": lambda: Small(KroneckerLSTM(4, 6, ((2, 5), (3, 2)), batch_first=True), 6),
    "lstm": lambda: Small(nn.LSTM(4, 5, batch_first=True), 5),
    "gru": lambda: Small(nn.GRU(4, 5, batch_first=True), 5),
    "relu": lambda: Small(nn.RNN(4, 7, nonlinearity="relu", batch_first=True), 7),
    "fast": lambda: Small(KroneckerFastGRNN(4, 6, batch_first=True), 6),
}
CASES, ON_BOARDS = 2000, 60  # inferences of every small network


@pytest.fixture(scope="module", params=SMALL)
def small(request):
    """A small network in integers, inputs that reach the ends, and what numpy says."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    bits = 8 if request.param in ("lstm", "relu") else 16
    x = torch.from_numpy(random.uniform(-1, 1, (1, 3, 4)).astype("float32"))
    form = "int8" if bits == 8 else "int16x8"
    integers, _ = quantized(SMALL[request.param]().eval(), [[x]], form, bits)
    low, high = fixedpoint.limits(bits)
    values = random.integers(low, high + 1, (CASES, 1, 3, 4))
    ends = random.choice([low, high, 0, -1], values.shape)
    x = np.where(np.arange(CASES)[:, None, None, None] % 3, values, ends).astype(f"int{bits}")
    expected = np.stack([Numpy(integers.mod)(one)[0] for one in x])
    assert {low, high} & set(np.unique(expected))  # results saturate
    return integers.mod, x, expected


@pytest.mark.parametrize("target", ["host", "mps2-an386"])
def test_ten_thousand_cases_under_sanitizers(small, target, model_of, tmp_path):
    """The C for cores with DSP says in plain C too what its instructions compute."""
    mod, x, expected = small
    model = model_of(mod, target)
    for name, text in {model.header_name: model.header, **model.sources}.items():
        (tmp_path / name).write_text(text)
    (taken,), (given,) = model.inputs, model.outputs
    (tmp_path / "main.c").write_text(
        f"""
        #include <stdio.h>
        #include "{model.header_name}"
        static long long x[{taken.nbytes}], y[{given.nbytes}];
        int main(void) {{
          struct tvmgen_m_inputs inputs = {{.{taken.name} = x}};
          struct tvmgen_m_outputs outputs = {{.{given.name} = y}};
          while (fread(x, {taken.nbytes}, 1, stdin) == 1) {{
            if (tvmgen_m_run(&inputs, &outputs) != 0) return 1;
            fwrite(y, {given.nbytes}, 1, stdout);
          }}
          return 0;
        }}
        """
    )
    flags = ["-std=gnu99", "-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all"]
    program = tmp_path / "program"
    subprocess.run(["cc", *flags, *tmp_path.glob("*.c"), "-lm", "-o", program], check=True)
    done = subprocess.run([program], input=x.tobytes(), capture_output=True, check=True)
    found = np.frombuffer(done.stdout, given.dtype).reshape(expected.shape)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("board", BOARDS)
def test_three_hundred_cases_on_every_board(small, board, model_of):
    mod, x, expected = small
    result = tvm_kp.run(model_of(mod, board), board, {"x": x[:ON_BOARDS]})
    (found,) = result.outputs.values()
    np.testing.assert_array_equal(found, expected[:ON_BOARDS])


def test_a_stream_has_the_bits_of_the_sequence():
    torch.manual_seed(0)
    network = SMALL["kronecker lstm"]().eval()
    x = np.random.default_rng(0).uniform(-1, 1, (4, 1, 3, 4)).astype("float32")
    options = tvm_kp.Options(quantize="int8", calibration={"x": x})
    example = (torch.from_numpy(x[0]),)
    for target in ("host", "mps2-an386"):
        whole, step = (
            tvm_kp.compile(network, target, example_inputs=example, options=replace(options, **s))
            for s in ({}, {"stream": True})
        )
        expected = tvm_kp.run(whole.model, target, {"x": x[:1]}).outputs["output"]
        rows = x[0].transpose(1, 0, 2)[:, None]  # a time step an inference
        found = tvm_kp.run(step.model, target, {"x": rows}).outputs["output"]
        np.testing.assert_array_equal(found[-1], expected[0])
