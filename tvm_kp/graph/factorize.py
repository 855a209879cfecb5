"""Rewrite the products that ``RecognizeKronecker`` found to products with the factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import tvm
from tvm import relax

from tvm_kp.artifacts import Decision
from tvm_kp.graph.recognize import (
    ATTRIBUTE,
    RecognizeKronecker,
    decisions,
    joint_weight,
    operators,
    summands,
    weight,
)
from tvm_kp.graph.rewrite import functions, rebuild, values
from tvm_kp.structure import Structure, confirm


@tvm.transform.module_pass(opt_level=0, name="FactorizeKronecker")
class FactorizeKronecker:
    """``x·(A ⊗ B)ᵀ -> reshape(A·X·Bᵀ)`` with ``X = reshape(x, (n1, n2))``, gates as a batch.

    ``x·W_xᵀ + h·W_hᵀ`` with a joint structure becomes one product on ``concat(x, h)``. Works on
    any Relax module for any target, and runs ``RecognizeKronecker`` first where it did not run.
    Left unchanged: what the decisions call dense, functions without decisions, operators that
    changed since they were decided on.
    """

    __call__: ClassVar[Any]  # from module_pass

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        if ATTRIBUTE not in (mod.attrs or {}):
            mod = RecognizeKronecker()(mod)
        result = mod.clone()
        for gv, function in functions(mod):
            chosen = {
                decision.operator: decision
                for decision in decisions(mod)
                if decision.function == gv.name_hint and decision.factors
            }
            if chosen:
                result.update_func(gv, _rewrite(function, chosen))
        return relax.transform.DeadCodeElimination()(result)


def _rewrite(function: relax.Function, chosen: Mapping[str, Decision]) -> relax.Function:
    bound, names = values(function), operators(function)
    inputs: dict[relax.Var, relax.Expr] = {}

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        if weight(bound[var], bound) is not None:
            inputs[var] = value.args[0]
        decision = chosen.get(names[var])
        found = None if decision is None else _confirmed(bound[var], bound, decision)
        if found is None:
            return builder.emit(value)
        if var in inputs:
            return _product(builder, value.args[0], found)
        parts = [inputs[arg] for arg in bound[var].args]
        return _product(builder, builder.emit(relax.op.concat(parts, axis=-1)), found)

    return rebuild(function, emit)


def _confirmed(
    value: relax.Expr, bound: dict[relax.Var, relax.Expr], decision: Decision
) -> Structure | None:
    """What was decided, if it still is so: other passes may have run since."""
    if decision.structure == "kronecker":
        w = weight(value, bound)
    else:
        pair = summands(value, bound)
        w = None if pair is None else joint_weight(pair, bound)
    if w is None or w.shape != decision.shape:
        return None
    first, second = decision.factors
    # A little more than was found: the error was rounded when it was recorded.
    return confirm(w, decision.blocks, (first, second), 1.01 * decision.error)


def _product(builder: relax.BlockBuilder, x: relax.Expr, found: Structure) -> relax.Expr:
    """``x·Wᵀ`` for x (…, N) with the factors of W (M, N): two batched matmuls."""
    (m1, n1), (m2, n2) = found.factors
    b_t = relax.const(np.ascontiguousarray(found.b.transpose(0, 2, 1)))
    lead = list(x.ty.shape)[:-1]
    op, emit, blocks = relax.op, builder.emit, found.blocks
    if found.order == "a_first":
        panel = emit(op.reshape(x, (*lead, n1, n2)))
        stacked = relax.const(found.a.reshape(blocks * m1, n1))
        held = emit(op.reshape(emit(op.matmul(stacked, panel)), (*lead, blocks, m1, n2)))
        result = emit(op.matmul(held, b_t))
    else:
        panel = emit(op.reshape(x, (*lead, 1, n1, n2)))
        result = emit(op.matmul(relax.const(found.a), emit(op.matmul(panel, b_t))))
    return emit(op.reshape(result, (*lead, blocks * m1 * m2)))
