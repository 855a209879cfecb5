"""Rewrite the products that ``RecognizeKronecker`` found to products with the factors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tvm
from tvm import relax

from tvm_kp import kronecker
from tvm_kp.artifacts import Decision
from tvm_kp.graph.recognize import ATTRIBUTE, RecognizeKronecker, decisions, summands, weight
from tvm_kp.graph.rewrite import rebuild, shape_of, values


@tvm.transform.module_pass(opt_level=0, name="FactorizeKronecker")
class FactorizeKronecker:
    """``x·(A ⊗ B)ᵀ -> reshape(A·X·Bᵀ)`` with ``X = reshape(x, (n1, n2))``, gates as a batch.

    ``x·W_xᵀ + h·W_hᵀ`` with a joint structure becomes one product on ``concat(x, h)``. Works on
    any Relax module for any target, and runs ``RecognizeKronecker`` first where it did not run.
    Left unchanged: what the decisions call dense, functions without decisions.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        if ATTRIBUTE not in (mod.attrs or {}):
            mod = RecognizeKronecker()(mod)
        result = mod.clone()
        for gv, function in mod.functions_items():
            chosen = {
                decision.operator: decision
                for decision in decisions(mod)
                if decision.function == gv.name_hint and decision.factors
            }
            if chosen:
                result.update_func(gv, _rewrite(function, chosen))
        return relax.transform.DeadCodeElimination()(result)


def _rewrite(function: relax.Function, chosen: Mapping[str, Decision]) -> relax.Function:
    bound = values(function)
    inputs: dict[relax.Var, relax.Expr] = {}

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        if weight(bound[var], bound) is not None:
            inputs[var] = value.args[0]
        decision = chosen.get(var.name)
        if decision is None:
            return builder.emit(value)
        if decision.structure == "kronecker":
            return _product(builder, value.args[0], weight(bound[var], bound), decision)
        products = summands(bound[var], bound)
        joined = np.concatenate([weight(product, bound) for product in products], axis=1)
        parts = [inputs[arg] for arg in bound[var].args]
        x = builder.emit(relax.op.concat(parts, axis=-1))
        return _product(builder, x, joined, decision)

    return rebuild(function, emit)


def _product(
    builder: relax.BlockBuilder, x: relax.Expr, w: np.ndarray, decision: Decision
) -> relax.Expr:
    """``x·Wᵀ`` for x (…, N) with the factors of W (M, N): two batched matmuls."""
    (m1, n1), (m2, n2) = decision.factors
    gates = w.reshape(decision.blocks, -1, w.shape[1])
    pairs = [kronecker.fit(gate, decision.factors) for gate in gates]
    a, b_t = (
        np.stack(side).astype("float32")
        for side in ([a for a, _ in pairs], [b.T for _, b in pairs])
    )
    lead = shape_of(x)[:-1]
    op, emit, blocks = relax.op, builder.emit, decision.blocks
    if decision.order == "a_first":
        panel = emit(op.reshape(x, (*lead, n1, n2)))
        stacked = relax.const(a.reshape(blocks * m1, n1))
        held = emit(op.reshape(emit(op.matmul(stacked, panel)), (*lead, blocks, m1, n2)))
        result = emit(op.matmul(held, relax.const(b_t)))
    else:
        panel = emit(op.reshape(x, (*lead, 1, n1, n2)))
        result = emit(op.matmul(relax.const(a), emit(op.matmul(panel, relax.const(b_t)))))
    return emit(op.reshape(result, (*lead, blocks * m1 * m2)))
