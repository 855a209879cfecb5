"""The C of models whose workspace lies in pools, or has inputs in it, as firmware calls it."""

from __future__ import annotations

import ctypes
import random
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp import graph
from tvm_kp.artifacts import Model
from tvm_kp.c.memory_settings import MemorySettings
from tvm_kp.c.model import make_model
from tvm_kp.errors import FitError
from tvm_kp.kernel.schedule import schedule

GUARD = 64  # bytes around every pool that nobody may write to
FLAGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-shared", "-fPIC")
Tensors = Mapping[str, np.ndarray]


class Net(nn.Module):
    """Two layers, so that the second reads what the first gave in every step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.gru = nn.LSTM(4, 6, batch_first=True), nn.GRU(6, 3, batch_first=True)
        self.head = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, gain: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sequence, (_, c) = self.rnn(x)
        _, h = self.gru(sequence * gain)
        return self.head(h[0]), c[0] + x[:, 0, :1]


STEPS = 5
Make = Callable[..., Model]


@pytest.fixture(scope="module")
def make() -> Make:
    """``make(stream, settings)``: the model of ``Net``, lowered once."""
    example = (torch.zeros(1, STEPS, 4), torch.zeros(1))
    whole = graph.normalize()(graph.import_torch(Net(), example))

    class Sequence(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.net.head(self.net.gru(self.net.rnn(x)[0])[0][:, -1])

    stream = graph.stream(graph.normalize()(graph.import_torch(Sequence(), example[:1])))
    lowered = {}
    for streamed, (mod, initial) in {
        False: (whole, ()),
        True: (stream.mod, stream.initial),
    }.items():
        legal = graph.legalize()(mod)
        lowered[streamed] = legal, schedule(legal, ()), initial

    def model(streamed: bool = False, **settings: Any) -> Model:
        legal, kernels, initial = lowered[streamed]
        return make_model(
            legal, kernels, name="m", target="host", alignment=8, decisions=(), initial=initial,
            memory=MemorySettings(**settings),
        )  # fmt: skip

    return model


class Firmware:
    """A model's C as a library, with the pools and the state that it is given."""

    def __init__(self, model: Model, folder: Path) -> None:
        for name, text in {model.header_name: model.header, **model.sources}.items():
            (folder / name).write_text(text, encoding="utf-8")
        # The loader knows libraries by their names.
        image = folder / f"{len(list(folder.iterdir()))}.so"
        sources = [folder / name for name in model.sources]
        subprocess.run(["cc", *FLAGS, *sources, "-o", image, "-lm"], check=True)
        self.model, self.library = model, ctypes.CDLL(str(image))
        self.memories = [np.full(p.nbytes + 2 * GUARD, 0xA5, "uint8") for p in model.pools]
        self.pools = [pointers(m[GUARD:] for m in self.memories)] if self.memories else []
        self.state = [(ctypes.c_uint64 * (model.state_bytes // 8))()] if model.state_bytes else []
        if self.state:
            assert self.library.tvmgen_m_reset(*self.state) == 0

    def infer(self, inputs: Tensors) -> list[np.ndarray]:
        outputs = [np.empty(spec.shape, spec.dtype) for spec in self.model.outputs]
        tensors = [] if self.model.workspace_io else [pointers(inputs.values()), pointers(outputs)]
        if self.model.workspace_io:
            for address, array in zip(self.map("inputs", inputs), inputs.values(), strict=True):
                ctypes.memmove(address, array.ctypes.data, array.nbytes)
        entry = self.library[self.model.entries[0]]
        assert entry(*tensors, *self.state, *self.pools) == 0
        if self.model.workspace_io:
            for address, array in zip(self.map("outputs", outputs), outputs, strict=True):
                ctypes.memmove(array.ctypes.data, address, array.nbytes)
        for memory in self.memories:
            assert (memory[:GUARD] == 0xA5).all() and (memory[-GUARD:] == 0xA5).all()
        return outputs

    def map(self, kind: str, tensors: Tensors | Sequence[np.ndarray]) -> list[int]:
        """The fields of the struct that ``map_<kind>`` returns."""
        fields = [(f"field{k}", ctypes.c_void_p) for k in range(len(tensors))]
        function = self.library[f"tvmgen_m_map_{kind}"]
        function.restype = type("Struct", (ctypes.Structure,), {"_fields_": fields})
        struct = function(*self.pools)
        return [getattr(struct, name) for name, _ in fields]


def pointers(arrays: Any) -> ctypes.Array[ctypes.c_void_p]:
    addresses = [array.ctypes.data for array in arrays]
    return (ctypes.c_void_p * len(addresses))(*addresses)


@pytest.fixture(scope="module")
def calls() -> list[dict[str, np.ndarray]]:
    draw = np.random.default_rng(0)
    x = draw.uniform(-1, 1, (3, 1, STEPS, 4)).astype("float32")
    return [{"x": one, "gain": np.full(1, 0.5, "float32")} for one in x]


@pytest.fixture(scope="module")
def steps(calls: list[dict[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    return [{"x": one["x"][:, :1].copy()} for one in calls]


def test_wherever_memory_lies_the_answers_are_the_same(
    make: Make, calls: list[dict[str, np.ndarray]], tmp_path: Path
) -> None:
    plain = make()
    firmware = Firmware(plain, tmp_path)
    expected = [firmware.infer(inputs) for inputs in calls]
    with torch.no_grad():
        answers = Net()(*(torch.from_numpy(calls[0][name]) for name in ("x", "gain")))
    for found, answer in zip(expected[0], answers, strict=True):
        np.testing.assert_allclose(found, answer, rtol=0, atol=1e-6)
    draw, planned = random.Random(0), 0
    while planned < 6:
        io, planner = bool(planned % 2), draw.choice(["best", "hill_climb", "exact"])
        pools = {name: draw.randint(1, 2 * plain.workspace_bytes) for name in ("a", "b")}
        try:
            model = make(pools=pools, workspace_io=io, planner=planner)
        except FitError:
            continue
        planned += 1
        assert all(pool.nbytes <= pools[pool.name] for pool in model.pools)
        assert model.workspace_bytes == sum(pool.nbytes for pool in model.pools)
        firmware = Firmware(model, tmp_path)
        for inputs, answers in zip(calls, expected, strict=True):
            for found, answer in zip(firmware.infer(inputs), answers, strict=True):
                np.testing.assert_array_equal(found, answer)


@pytest.mark.parametrize("pools", [{}, {"a": 64, "b": None}])
@pytest.mark.parametrize("io", [False, True])
def test_streams(
    make: Make, steps: list[dict[str, np.ndarray]], tmp_path: Path, pools: dict[str, Any], io: bool
) -> None:
    model = make(streamed=True, pools=pools, workspace_io=io)
    assert model.io_bytes == (0 if io else 16 + 8)
    plain, firmware = Firmware(make(streamed=True), tmp_path), Firmware(model, tmp_path)
    for inputs in steps:
        np.testing.assert_array_equal(firmware.infer(inputs), plain.infer(inputs))


def test_io_in_the_workspace_costs_what_cannot_share(make: Make) -> None:
    plain, shared = make(), make(workspace_io=True)
    assert plain.workspace_bytes <= shared.workspace_bytes == shared.workspace_bound
    assert shared.workspace_bytes < plain.workspace_bytes + plain.io_bytes


def test_the_header_tells_the_pools(make: Make, compile_strictly: Callable[..., None]) -> None:
    model = make(pools={"dtcm": 64, "sram": None}, workspace_io=True, constants_section=".qspi")
    first, second = model.pools
    for line in (
        f"#define TVMGEN_M_WORKSPACE_SIZE {first.nbytes + second.nbytes}\n",
        f"#define TVMGEN_M_DTCM_WORKSPACE_POOL_SIZE {first.nbytes}\n",
        f"#define TVMGEN_M_SRAM_WORKSPACE_POOL_SIZE {second.nbytes}\n",
        "struct tvmgen_m_workspace_pools {\n  void* dtcm;\n  void* sram;\n};",
        "int32_t tvmgen_m_run(struct tvmgen_m_workspace_pools* workspace_pools);",
        "struct tvmgen_m_inputs tvmgen_m_map_inputs("
        "struct tvmgen_m_workspace_pools* workspace_pools);",
    ):
        assert line in model.header
    assert "global_workspace" not in model.sources["m_lib0.c"]
    assert 'section(".qspi")' in model.sources["m_lib0.c"]
    compile_strictly({model.header_name: model.header, **model.sources}, "mps2-an386")
