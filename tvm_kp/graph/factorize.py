"""Rewrite the products that ``RecognizeKronecker`` found to products with the factors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import tvm
from tvm import relax

from tvm_kp.artifacts import Decision
from tvm_kp.graph.apply import Emitter, apply, take_rows
from tvm_kp.graph.recognize import (
    PARTS,
    ROWS,
    RecognizeKronecker,
    distant_summands,
    joint_weight,
    operators,
    summands,
    table,
    weight,
)
from tvm_kp.graph.recorded import ATTRIBUTE, JOINT, decisions
from tvm_kp.graph.rewrite import bindings, functions, rebuild, values
from tvm_kp.structure import Product, Structure, confirm


@tvm.transform.module_pass(opt_level=0, name="FactorizeKronecker")
class FactorizeKronecker:
    """``x·(A ⊗ B)ᵀ -> reshape(A·X·Bᵀ)`` with ``X = reshape(x, (n1, n2))``, gates as a batch.

    The other structures likewise: see ``apply``. ``x·W_xᵀ + h·W_hᵀ`` with a joint structure
    becomes one product on ``concat(x, h)``; row r of an embedding's A ⊗ B is row r // m2 of A times
    row r % m2 of B. Products with parts of [W_x W_h] = A ⊗ B have some columns of A, and zeros
    beside x or h where those say more than the part. Works on any Relax module for any target,
    and runs ``RecognizeKronecker`` first where it did not run. Left unchanged: what the decisions
    call dense, functions without decisions, operators that changed since they were decided on.
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
    parts = _parts(function, chosen)
    inputs: dict[relax.Var, relax.Expr] = {}

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        if weight(bound[var], bound) is not None:
            inputs[var] = value.args[0]
        if var in parts:
            product, before = parts[var]
            x = _padded(value.args[0], before, product.shape[1])
            return apply(product, Emitter(builder.emit, module.add_func), builder.emit(x))
        decision = chosen.get(names[var])
        found = None if decision is None else _confirmed(bound[var], bound, decision)
        if found is None:
            return builder.emit(value)
        to = Emitter(builder.emit, module.add_func)
        if isinstance(found, Product) and table(bound[var]) is not None:
            return take_rows(found, to, value.args[1])
        if var in inputs:
            return apply(found, to, value.args[0])
        both = [inputs[arg] for arg in bound[var].args]
        return apply(found, to, builder.emit(relax.op.concat(both, axis=-1)))

    return rebuild(function, emit)


def _parts(
    function: relax.Function, chosen: Mapping[str, Decision]
) -> dict[relax.Var, tuple[Product, int]]:
    """The products with columns of one A ⊗ B, and how many columns each has too many in front."""
    bound, names = values(function), operators(function)
    result = {}
    for binding in bindings(function):
        pair = distant_summands(binding.value, bound)
        of_x, of_h = (chosen.get(names[var]) for var in pair) if pair else (None, None)
        if pair is None or of_x is None or of_h is None or not of_x.structure.endswith(PARTS):
            continue
        w = joint_weight((bound[pair[0]], bound[pair[1]]), bound)
        ((m1, _), (m2, n2)), split = of_x.factors, of_x.shape[1]
        form = replace(of_x, factors=((m1, w.shape[1] // n2), (m2, n2)))
        found = confirm(w, Product.name, of_x.blocks, form, 1.01 * of_x.error)
        if isinstance(found, Product):
            result[pair[0]] = found.columns(0, split), 0
            result[pair[1]] = found.columns(split, w.shape[1]), split % n2
    return result


def _padded(x: relax.Expr, before: int, columns: int) -> relax.Expr:
    """x (…, N) with zeros in front and behind, (…, columns)."""
    axes, behind = len(x.ty.shape), columns - before - int(x.ty.shape[-1])
    if not before and not behind:
        return x
    return relax.op.nn.pad(x, [0, 0] * (axes - 1) + [before, behind])


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
