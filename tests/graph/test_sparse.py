"""Single entries added to a product, on TVM's virtual machine and scheduled for C."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from tvm_kp.graph.sparse import add_entries
from tvm_kp.kernel.schedule import schedule


@pytest.mark.parametrize("index", ["int16", "int32"])
@pytest.mark.parametrize("batch", [1, 3])
def test_entries_are_added(on_vm, batch, index):
    random = np.random.default_rng(0)
    rows, columns = (np.array(places, index) for places in ([0, 5, 5, 2], [1, 0, 3, 3]))
    values = random.standard_normal(4).astype("float32")
    builder = relax.BlockBuilder()
    shapes = {"product": (batch, 6), "x": (batch, 4)}
    params = [relax.Var(n, relax.TensorType(s, "float32")) for n, s in shapes.items()]
    function = builder.add_func(add_entries(batch, (6, 4), 4, index), "entries")
    with builder.function("main", params):
        args = [*params, *map(relax.const, (rows, columns, values))]
        out = relax.TensorType((batch, 6), "float32")
        builder.emit_func_output(builder.emit(relax.call_tir(function, args, out)))
    product, x = (random.standard_normal(s).astype("float32") for s in shapes.values())
    expected = product.copy()
    for row, column, value in zip(rows, columns, values, strict=True):
        expected[:, row] += value * x[:, column]
    np.testing.assert_allclose(on_vm(builder.get(), product, x)[0], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("isa", [(), ("fpu", "dsp")])
def test_no_rule_takes_it_for_something_else(isa):
    function = add_entries(1, (6, 4), 3, "int16")
    lowered = schedule(tvm.IRModule({"entries": function}), isa)["entries"]
    assert len(lowered.params) == len(function.params)
