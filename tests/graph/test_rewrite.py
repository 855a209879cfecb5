from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_kp.graph import FactorizeKronecker, RecognizeKronecker
from tvm_kp.graph.rewrite import bindings, functions, name_of, rebuild, shape_of, update, variables


@I.ir_module
class Mixed:
    @R.function
    def flat(x: R.Tensor((2, 3), "float32")):
        y = R.add(x, x)
        z = R.multiply(y, x)
        return (z, y)

    @R.function
    def branch(x: R.Tensor((2, 3), "float32"), c: R.Tensor((), "bool")):
        if c:  # noqa: SIM108
            y = R.add(x, x)
        else:
            y = R.multiply(x, x)
        return y

    @R.function(pure=False)
    def effect(x: R.Tensor((2, 3), "float32")):
        _ = R.print(x, format="{}")
        return x

    @R.function
    def cast(x: R.Tensor(("n", 3), "float32")):
        y = R.match_cast(x, R.Tensor((2, 3), "float32"))
        return y


def copied(function):
    return rebuild(function, lambda builder, _var, value: builder.emit(value))


def test_only_flat_functions_are_taken():
    assert [gv.name_hint for gv, _ in functions(Mixed)] == ["flat"]


def test_rebuild_keeps_what_a_function_is():
    flat = Mixed["flat"].with_attr("note", "kept")
    new = copied(flat)
    assert new.attrs["note"] == "kept" and new.attrs["global_symbol"] == "flat"
    assert [name_of(b.value) for b in bindings(new)][:2] == ["relax.add", "relax.multiply"]
    private = copied(flat.without_attr("global_symbol"))
    assert "global_symbol" not in private.attrs


def test_update_leaves_the_module_it_is_given():
    before = Mixed.clone()
    after = update(Mixed, copied)
    tvm.ir.assert_structural_equal(Mixed, before)
    relax.analysis.well_formed(after)
    for name in ("branch", "effect", "cast"):
        assert after[name].same_as(Mixed[name])


def test_passes_accept_every_kind_of_function():
    after = FactorizeKronecker()(RecognizeKronecker()(Mixed))
    for name in ("branch", "effect", "cast"):
        tvm.ir.assert_structural_equal(after[name], Mixed[name])


def test_reading_expressions():
    x = relax.Var("x", relax.TensorType((2, 3), "float32"))
    y = relax.Var("y", relax.TensorType((2, 3), "float32"))
    call = relax.op.add(x, y)
    assert name_of(call) == "relax.add"
    assert name_of(x) == name_of(None) == ""
    assert shape_of(x) == [2, 3]
    assert variables(relax.Tuple([call, x])) == [x, y, x]
    assert variables(relax.const(np.ones(2, "float32"))) == []
