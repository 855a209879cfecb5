"""The C of a stream, as firmware would call it."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import torch

import tvm_kp
from tvm_kp.compress import KroneckerLSTM
from tvm_kp.driver import Options


class Last(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = KroneckerLSTM(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][-1])


class Pointer(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p),)


def library(model, folder):
    for name, text in {model.header_name: model.header, **model.sources}.items():
        (folder / name).write_text(text, encoding="utf-8")
    sources = [folder / name for name in model.sources]
    flags = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-O2", "-shared", "-fPIC")
    subprocess.run(["cc", *flags, *sources, "-o", folder / "m.so", "-lm"], check=True)
    return ctypes.CDLL(str(folder / "m.so"))


def test_streams_do_not_disturb_each_other(tmp_path):
    x = np.random.default_rng(0).uniform(-1, 1, (2, 5, 1, 1, 4)).astype("float32")
    example = (torch.from_numpy(x[0, :, 0]),)
    model = tvm_kp.compile(
        Last(), "host", example_inputs=example, options=Options(stream=True)
    ).model
    assert model.header.count("_reset(") == model.header.count("_step(") == 1
    assert f"_STATE_SIZE {model.state_bytes}\n" in model.header
    assert "tvmgen_default_run" not in model.header
    c = library(model, tmp_path)
    states = [(ctypes.c_uint64 * (model.state_bytes // 8))() for _ in range(2)]
    found = np.empty((2, 3), "float32")
    for state in states:
        assert c.tvmgen_default_reset(state) == 0
    for t in range(5):
        for k, state in enumerate(states):
            inputs, outputs = Pointer(x[k, t].ctypes.data), Pointer(found[k].ctypes.data)
            assert c.tvmgen_default_step(ctypes.byref(inputs), ctypes.byref(outputs), state) == 0
    with torch.no_grad():
        expected = [Last()(torch.from_numpy(one[:, 0])).numpy()[0] for one in x]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_initial_values_of_a_state_come_from_the_model(tmp_path):
    class Trained(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.rnn, self.first = torch.nn.GRU(4, 6), torch.nn.Parameter(torch.randn(1, 1, 6))

        def forward(self, x):
            return self.rnn(x, self.first)[0]

    x = torch.linspace(-1, 1, 20).reshape(5, 1, 4)
    compiled = tvm_kp.compile(Trained(), "host", example_inputs=(x,), options=Options(stream=True))
    found = tvm_kp.run(compiled.model, "host", {"x": x.unsqueeze(1).numpy()}).outputs["output"]
    with torch.no_grad():
        np.testing.assert_allclose(found[:, 0], Trained()(x), rtol=0, atol=1e-6)
