"""Rewrite the products that ``RecognizeKronecker`` found to products with the factors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import tvm
from tvm import relax

from tvm_kp.artifacts import Decision
from tvm_kp.graph.apply import Emitter, apply, take_rows
from tvm_kp.graph.recognize import (
    ATTRIBUTE,
    JOINT,
    ROWS,
    RecognizeKronecker,
    decisions,
    joint_weight,
    operators,
    summands,
    table,
    weight,
)
from tvm_kp.graph.rewrite import functions, rebuild, values
from tvm_kp.structure import Product, Structure, confirm


@tvm.transform.module_pass(opt_level=0, name="FactorizeKronecker")
class FactorizeKronecker:
    """``x·(A ⊗ B)ᵀ -> reshape(A·X·Bᵀ)`` with ``X = reshape(x, (n1, n2))``, gates as a batch.

    The other structures likewise: see ``apply``. ``x·W_xᵀ + h·W_hᵀ`` with a joint structure
    becomes one product on ``concat(x, h)``; row r of an embedding's A ⊗ B is row r // m2 of A times
    row r % m2 of B. Works on any Relax module for any target, and runs
    ``RecognizeKronecker`` first where it did not run. Left unchanged: what the decisions call
    dense, functions without decisions, operators that changed since they were decided on.
    """

    __call__: ClassVar[Any]  # from module_pass

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        if ATTRIBUTE not in (mod.attrs or {}):
            mod = RecognizeKronecker()(mod)
        module = relax.BlockBuilder(mod)
        for gv, function in functions(mod):
            chosen = {
                decision.operator: decision
                for decision in decisions(mod)
                if decision.function == gv.name_hint and decision.factors
            }
            if chosen:
                module.update_func(gv, _rewrite(function, chosen, module))
        return relax.transform.DeadCodeElimination()(module.get())


def _rewrite(
    function: relax.Function, chosen: Mapping[str, Decision], module: relax.BlockBuilder
) -> relax.Function:
    """The function with the products that are ``chosen``; ``module`` receives new PrimFuncs."""
    bound, names = values(function), operators(function)
    inputs: dict[relax.Var, relax.Expr] = {}

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        if weight(bound[var], bound) is not None:
            inputs[var] = value.args[0]
        decision = chosen.get(names[var])
        found = None if decision is None else _confirmed(bound[var], bound, decision)
        if found is None:
            return builder.emit(value)
        to = Emitter(builder.emit, module.add_func)
        if isinstance(found, Product) and table(bound[var]) is not None:
            return take_rows(found, to, value.args[1])
        if var in inputs:
            return apply(found, to, value.args[0])
        parts = [inputs[arg] for arg in bound[var].args]
        return apply(found, to, builder.emit(relax.op.concat(parts, axis=-1)))

    return rebuild(function, emit)


def _confirmed(
    value: relax.Expr, bound: dict[relax.Var, relax.Expr], decision: Decision
) -> Structure | None:
    """What was decided, if it still is so: other passes may have run since."""
    if decision.structure.endswith(JOINT):
        pair = summands(value, bound)
        w = None if pair is None else joint_weight(pair, bound)
    else:
        w = table(value) if decision.structure.endswith(ROWS) else weight(value, bound)
    if w is None or w.shape != decision.shape:
        return None
    name = decision.structure.removesuffix(JOINT).removesuffix(ROWS)
    # A little more than was found: the error was rounded when it was recorded.
    return confirm(w, name, decision.blocks, decision, 1.01 * decision.error)
