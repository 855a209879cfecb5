"""The entry point: light, harmless when called again, and a pipeline that builds."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import tvm
from tvm import relax

from tvm_kp import autoload


def test_registering_imports_no_passes():
    code = (
        "import sys, tvm\nbefore = set(sys.modules)\n"
        "from tvm_kp.autoload import register\nregister()\nregister()\n"
        "print(*sorted(set(sys.modules) - before))\n"
        "from tvm import relax\nprint(type(relax.get_pipeline('tvm_kp')).__name__)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    new, kind = answer.stdout.splitlines()
    assert set(new.split()) <= {"tvm_kp", "tvm_kp.autoload"}
    assert kind == "Sequential"


def test_pipeline_builds_a_factored_network():
    autoload.register()
    random = np.random.default_rng(0)
    w = np.kron(random.normal(size=(3, 4)), random.normal(size=(5, 2))).astype("float32")
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((2, 8), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            y = builder.emit_output(relax.op.matmul(x, relax.const(w.T.copy())))
        builder.emit_func_output(y)
    executable = relax.build(builder.get(), "llvm", relax_pipeline="tvm_kp")
    data = random.normal(size=(2, 8)).astype("float32")
    result = relax.VirtualMachine(executable, tvm.cpu())["main"](tvm.runtime.tensor(data))
    np.testing.assert_allclose(result.numpy(), data @ w.T, atol=1e-5)
