"""Which operands of a function are constants in all calls."""

from __future__ import annotations

import json

import numpy as np
from tvm import relax, tirx

from tvm_kp import graph
from tvm_kp.artifacts import CONSTANTS


def test_what_is_a_constant_in_all_calls() -> None:
    builder = relax.BlockBuilder()
    x, y = (relax.Var(name, relax.TensorType((3, 3), "float32")) for name in "xy")
    weights = [relax.const(np.full((3, 3), k, "float32")) for k in range(3)]
    with builder.function("main", [x, y]):
        with builder.dataflow():
            both = builder.emit(relax.op.matmul(x, weights[0]))
            one = builder.emit(relax.op.matmul(both, weights[1]))
            other = builder.emit(relax.op.tanh(builder.emit(relax.op.matmul(one, weights[2]))))
            none = builder.emit(relax.op.tanh(builder.emit(relax.op.matmul(other, y))))
            output = builder.emit_output(none)
        builder.emit_func_output(output)
    legal = graph.legalize()(builder.get())
    noted = {
        gv.name_hint: json.loads(str(function.attrs[CONSTANTS]))
        for gv, function in legal.functions_items()
        if isinstance(function, tirx.PrimFunc)
    }
    # The last two are one function: a constant in one call, an input in the other.
    assert sorted(noted.values()) == [[], [1]]
