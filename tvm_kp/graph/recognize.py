"""Find structure in the constant weights of a module; nothing is rewritten."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import tvm
import tvm_ffi
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.artifacts import Decision
from tvm_kp.graph.recorded import JOINT, left_dense, record
from tvm_kp.graph.rewrite import bindings, functions, name_of, values, variables
from tvm_kp.structure import Doped, Hybrid, Product, Structure, cheapest, find, search

PARTS = " parts"  # ends that of one whose products with x and h are needed apart
ROWS = " rows"  # ends that of an embedding's table
_BLOCKS = (1, 2, 3, 4)  # row blocks tried: gates of the common cells
# Dense rows and single entries beside a product are one more kernel, which costs the instructions
# of about a tenth of the MACs; zeros of a pruned matrix are such structures that save less.
_WORTH = 0.9
# What may stand between a product and the sum that it is part of, as in x·W_xᵀ + r∘(h·W_hᵀ + b).
_TRANSPARENT = ("add", "subtract", "multiply", "split", "reshape", "strided_slice")


@tvm.transform.module_pass(opt_level=0, name="RecognizeKronecker")
@dataclass(frozen=True)
class RecognizeKronecker:
    """Record in the module's attribute ``kp.decisions`` what ``recognize`` finds."""

    __call__: ClassVar[Any]  # from module_pass
    tolerance: float = 0.0

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        return record(mod, recognize(mod, self.tolerance))


def recognize(mod: tvm.IRModule, tolerance: float = 0.0) -> tuple[Decision, ...]:
    """One decision for every constant weight of a product or an embedding in ``mod``.

    ``x·Wᵀ`` is tested alone; ``x·W_xᵀ + h·W_hᵀ`` also as ``[x, h]·[W_x W_h]ᵀ``, and where that
    sum is not direct (the candidate gate of PyTorch's GRU) as two products with the columns of one
    Kronecker product. Each is tested as a whole and in 2, 3 and 4 equal row blocks, for every kind
    in ``tvm_kp.structure``; the structure with the fewest multiplies wins. Dense rows or entries
    beside a product must save a tenth of them.
    ``tolerance`` is the relative Frobenius error allowed, 0 for exact.
    """
    result: list[Decision] = []
    for gv, function in functions(mod):
        result += _in_function(gv.name_hint, function, tolerance)
    return tuple(result)


def weight(expr: relax.Expr, bound: dict[relax.Var, relax.Expr]) -> np.ndarray | None:
    """W, rows x columns, of ``matmul(x, Wᵀ)`` with a constant 2-D weight; None for others."""
    if name_of(expr) != "relax.matmul" or not isinstance(expr.args[0].ty.shape, relax.ShapeExpr):
        return None
    constant = expr.args[1]
    constant = bound.get(constant, constant) if isinstance(constant, relax.Var) else constant
    transposed = name_of(constant) == "relax.permute_dims"
    if transposed:
        axes = constant.attrs.axes
        transposed = axes is None or [int(axis) % 2 for axis in axes] == [1, 0]
        constant = constant.args[0]
    if not isinstance(constant, GenericConst) or len(constant.ty.shape) != 2:
        return None
    array = constant.value.numpy()
    return array if transposed else array.T


def table(expr: relax.Expr) -> np.ndarray | None:
    """W, rows x columns, of ``take(W, indices)``, an embedding; None for others."""
    if name_of(expr) != "relax.take" or not isinstance(expr.args[0], GenericConst):
        return None
    constant, indices = expr.args
    lookup = len(constant.ty.shape) == 2 and int(expr.attrs.axis) == 0
    return constant.value.numpy() if lookup and not isinstance(indices, GenericConst) else None


def summands(
    expr: relax.Expr, bound: dict[relax.Var, relax.Expr]
) -> tuple[relax.Call, relax.Call] | None:
    """The two products of ``x·W_xᵀ + h·W_hᵀ`` with vectors x and h of one batch."""
    if name_of(expr) != "relax.add":
        return None
    left, right = (bound.get(arg) if isinstance(arg, relax.Var) else None for arg in expr.args)
    if left is None or right is None:
        return None
    over_x, over_h = weight(left, bound), weight(right, bound)
    if over_x is None or over_h is None or len(over_x) != len(over_h):
        return None
    same = tvm_ffi.structural_equal(_leading(left), _leading(right), map_free_vars=False)
    return (left, right) if same else None


def distant_summands(
    expr: relax.Expr, bound: dict[relax.Var, relax.Expr]
) -> tuple[relax.Var, relax.Var] | None:
    """The two products of ``f(x·W_xᵀ) + g(h·W_hᵀ)``; see ``summands``."""
    if name_of(expr) != "relax.add":
        return None
    left, right = (_products_behind(arg, bound) for arg in expr.args)
    if len(left) != 1 or len(right) != 1 or left == right:
        return None
    (from_x,), (from_h,) = left, right
    pair = bound[from_x], bound[from_h]
    over_x, over_h = (weight(product, bound) for product in pair)
    assert over_x is not None and over_h is not None
    alike = len(over_x) == len(over_h) and tvm_ffi.structural_equal(*map(_leading, pair))
    return (from_x, from_h) if alike else None


def _products_behind(expr: relax.Expr, bound: dict[relax.Var, relax.Expr]) -> set[relax.Var]:
    """The variables of the nearest products with constant weights, through what is transparent."""
    value = bound.get(expr) if isinstance(expr, relax.Var) else expr
    if value is None:
        return set()
    if isinstance(expr, relax.Var) and weight(value, bound) is not None:
        return {expr}
    if isinstance(value, relax.TupleGetItem):
        return _products_behind(value.tuple_value, bound)
    if name_of(value).removeprefix("relax.") not in _TRANSPARENT:
        return set()
    behind: set[relax.Var] = set()
    return behind.union(*(_products_behind(arg, bound) for arg in value.args))


def joint_weight(
    products: tuple[relax.Call, relax.Call], bound: dict[relax.Var, relax.Expr]
) -> np.ndarray:
    """[W_x W_h] of what ``summands`` found."""
    over_x, over_h = (weight(product, bound) for product in products)
    assert over_x is not None and over_h is not None
    return np.concatenate([over_x, over_h], axis=1)


def operators(function: relax.Function) -> dict[relax.Var, str]:
    """A name for every variable, its own or, where that is taken, with a number."""
    seen: Counter[str] = Counter()
    names = {}
    for binding in bindings(function):
        name = binding.var.name
        names[binding.var] = f"{name}#{seen[name] + 1}" if seen[name] else name
        seen[name] += 1
    return names


def _leading(product: relax.Call) -> relax.ShapeExpr:
    return relax.ShapeExpr(list(product.args[0].ty.shape)[:-1])


def _in_function(name: str, function: relax.Function, tolerance: float) -> Iterator[Decision]:
    bound, names = values(function), operators(function)
    uses = Counter(var for b in bindings(function) for var in variables(b.value))
    alone = {
        binding.var: _decide(name, names[binding.var], w, tolerance)
        for binding in bindings(function)
        if (w := weight(binding.value, bound)) is not None
    }
    for binding in bindings(function):
        products = summands(binding.value, bound)
        if products is None or any(uses[arg] != 1 for arg in binding.value.args):
            continue
        joined = joint_weight(products, bound)
        joint = _decide(name, names[binding.var], joined, tolerance)
        apart = [alone[arg] for arg in binding.value.args]
        # Apart they may need as few MACs, but store B twice.
        if _cost(joint) < _cost(*apart):
            for arg in binding.value.args:
                del alone[arg]
            alone[binding.var] = replace(joint, structure=f"{joint.structure}{JOINT}")
    for binding in bindings(function):
        pair = distant_summands(binding.value, bound)
        if pair is not None and all(var in alone for var in pair):
            alone.update(zip(pair, _decide_parts(pair, alone, bound, tolerance), strict=True))
    yield from alone.values()
    for binding in bindings(function):
        rows = table(binding.value)
        if rows is not None:
            yield _decide_table(name, names[binding.var], rows, tolerance)


def _cost(*decisions: Decision) -> tuple[int, int]:
    """MACs, then bytes."""
    return sum(one.macs_after for one in decisions), sum(one.bytes_after for one in decisions)


def _decide_parts(
    pair: tuple[relax.Var, relax.Var],
    alone: Mapping[relax.Var, Decision],
    bound: dict[relax.Var, relax.Expr],
    tolerance: float,
) -> tuple[Decision, ...]:
    """Both with columns of one product, if [W_x W_h] is one and that is cheaper; else as before."""
    before = tuple(alone[var] for var in pair)
    w = joint_weight((bound[pair[0]], bound[pair[1]]), bound)
    if w.dtype != np.float32:
        return before
    blocks = [count for count in _BLOCKS if w.shape[0] % count == 0]
    best = cheapest(next(search(w, count, tolerance), None) for count in blocks)
    if not isinstance(best, Product):
        return before
    split = before[0].shape[1]
    parts = best.columns(0, split), best.columns(split, w.shape[1])
    # B is stored once, for both.
    stored = parts[0].nbytes, parts[1].a.nbytes
    if sum(one.macs for one in parts) >= sum(one.macs_after for one in before):
        return before
    if sum(stored) >= w.nbytes:
        return before
    return tuple(
        replace(
            _with(decision, part),
            structure=f"{part.name}{PARTS}",
            reason=f"{part.text}, columns of {best.text}",
            bytes_after=nbytes,
        )
        for decision, part, nbytes in zip(before, parts, stored, strict=True)
    )


def _decide_table(function: str, operator: str, w: np.ndarray, tolerance: float) -> Decision:
    """An embedding reads one row: dense that costs no MAC, a product of rows costs one a column."""
    found = replace(_decide(function, operator, w, tolerance), macs_before=0)
    if found.structure == "dense":
        return replace(found, macs_after=0)
    best = find(w, 1, tolerance)
    if not isinstance(best, Product):
        return left_dense(replace(found, reason=f"{found.reason} has no product of rows"))
    return replace(_with(found, best), structure=f"{best.name}{ROWS}", macs_after=w.shape[1])


def _decide(function: str, operator: str, w: np.ndarray, tolerance: float) -> Decision:
    dense = Decision(
        function=function,
        operator=operator,
        shape=w.shape,
        structure="dense",
        reason="",
        macs_before=w.size,
        macs_after=w.size,
        bytes_before=w.nbytes,
        bytes_after=w.nbytes,
    )
    if w.dtype != np.float32:
        return replace(dense, reason=f"{w.dtype} weights are left as they are")
    blocks = [count for count in _BLOCKS if w.shape[0] % count == 0]
    best = cheapest(find(w, count, tolerance) for count in blocks)
    if best is None:
        return replace(dense, reason=_why_dense(w, blocks, tolerance))
    if isinstance(best, Hybrid | Doped) and best.macs > _WORTH * w.size:
        reason = f"{best.text} would not pay: {best.macs} of {w.size} MACs"
        return replace(dense, reason=reason)
    return _with(dense, best)


def _with(decision: Decision, found: Structure) -> Decision:
    """``decision`` to use what was found."""
    return replace(
        decision,
        structure=found.name,
        reason=found.text,
        macs_after=found.macs,
        bytes_after=found.nbytes,
        blocks=found.blocks,
        factors=found.factors,
        order=found.order,
        error=found.error,
        terms=found.terms,
        rank=found.rank,
        split_row=found.split_row,
        nonzeros=found.nonzeros,
    )


def _why_dense(w: np.ndarray, blocks: Sequence[int], tolerance: float) -> str:
    best = cheapest(next(search(w, count, tolerance), None) for count in blocks)
    if best is None:
        return f"no structure {f'within {tolerance:g}' if tolerance else 'exactly'}"
    return f"{best.text} would not pay: {best.macs} MACs"
