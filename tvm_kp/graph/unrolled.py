"""A flat function as a list of operators, for finding what repeats in it.

What costs nothing is no operator of the list: views (a reshape), rows of a sequence (``x[t]``) and
what is computed from constants alone. An operand is described by what it stands for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import tvm_ffi
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import bindings, name_of, operands

VIEWS = ("relax.reshape", "relax.expand_dims", "relax.squeeze", "relax.flatten")


@dataclass(frozen=True)
class Row:
    """``source[…, index, …]``, the index being along ``axis``, which is left out."""

    source: relax.Var
    axis: int
    index: int


# What an operand stands for but for its shape: a variable, a row, or a constant by its digest.
Base: TypeAlias = "relax.Var | Row | str"


class Unrolled:
    """``function`` taken apart; ``operators`` are its bindings that compute something."""

    def __init__(self, function: relax.Function) -> None:
        self.values = {binding.var: binding.value for binding in bindings(function)}
        self._bases: dict[relax.Var, Base] = {}
        self._digests: dict[GenericConst, str] = {}
        skeletons = {var: self._skeleton(var, value) for var, value in self.values.items()}
        times = Counter(skeletons.values())
        self.constant = self._constants(skeletons)
        self._sequences = {*function.params}
        self._sequences.update(var for var, kind in skeletons.items() if times[kind] < 3)
        self.operators = [b for b in bindings(function) if self._computes(b.var, b.value)]
        self.position = {binding.var: at for at, binding in enumerate(self.operators)}
        kinds: dict[Hashable, int] = {}
        self.kinds = np.array(
            [kinds.setdefault(skeletons[b.var], len(kinds)) for b in self.operators], np.intp
        )

    def bases(self, position: int) -> list[Base]:
        """What the operands of one operator stand for, in order."""
        return [self.base(leaf) for leaf in leaves(self.operators[position].value)]

    def base(self, leaf: relax.Expr) -> Base:
        """What an operand stands for."""
        if isinstance(leaf, relax.Var):
            return self._bases.get(leaf, leaf)
        if leaf not in self._digests:
            array = leaf.value.numpy()
            content = f"{array.dtype}{array.shape}".encode() + array.tobytes()
            self._digests[leaf] = hashlib.sha256(content).hexdigest()
        return self._digests[leaf]

    def _skeleton(self, var: relax.Var, value: relax.Expr) -> Hashable:
        # A recurrence inside another has no lowering: each stays what it is, and so its results.
        source = value.tuple_value if isinstance(value, relax.TupleGetItem) else var
        apart = scan.match(self.values.get(source)) is not None
        return var if apart else skeleton(value)

    def _constants(self, skeletons: dict[relax.Var, Hashable]) -> set[relax.Var]:
        """What is computed from constants alone, whatever inputs are, in every repetition.

        The product of a constant initial state is an operator of the first step nevertheless.
        """
        anyhow: set[relax.Var] = set()
        for var, value in self.values.items():
            if scan.match(value) is None and self._reads_only(value, anyhow):
                anyhow.add(var)
        mixed = {skeletons[var] for var in self.values if var not in anyhow}
        found: set[relax.Var] = set()
        first: dict[Hashable, relax.Var] = {}  # the one that stands for all that are equal
        for var in self.values:
            own = skeletons[var]
            if var in anyhow and own not in mixed and self._reads_only(self.values[var], found):
                found.add(var)
                bases = tuple(self.base(leaf) for leaf in leaves(self.values[var]))
                self._bases[var] = first.setdefault((own, bases), var)
        return found

    def _reads_only(self, value: relax.Expr, constant: set[relax.Var]) -> bool:
        return all(isinstance(leaf, GenericConst) or leaf in constant for leaf in leaves(value))

    def _computes(self, var: relax.Var, value: relax.Expr) -> bool:
        if var in self.constant:
            return False
        if isinstance(value, relax.Var) or name_of(value) in VIEWS:
            self._bases[var] = self.base(next(leaves(value)))
            return False
        base = self._row(value)
        if base is not None:
            self._bases[var] = base
        return base is None

    def _row(self, value: relax.Expr) -> Base | None:
        taken = taken_row(value) or self._part(value)
        if taken is None:
            return None
        source, axis, index = taken
        size = int(source.ty.shape[axis])
        if size == 1 and isinstance(source, relax.Var):
            return self.base(source)
        return Row(source, axis, index % size) if source in self._sequences else None

    def _part(self, value: relax.Expr) -> tuple[relax.Expr, int, int] | None:
        """A field of ``split(x, T)``, whose parts are rows."""
        if not isinstance(value, relax.TupleGetItem):
            return None
        split = self.values.get(value.tuple_value)
        if split is None or name_of(split) != "relax.split":
            return None
        axis = int(split.attrs.axis) % len(split.args[0].ty.shape)
        if int(value.tuple_value.ty.fields[value.index].shape[axis]) != 1:
            return None
        return split.args[0], axis, value.index


def taken_row(value: relax.Expr) -> tuple[relax.Expr, int, int] | None:
    """(source, axis, index) of a ``take`` or ``strided_slice`` of one index along one axis."""
    name = name_of(value)
    if name == "relax.take" and isinstance(value.args[1], GenericConst):
        index = value.args[1].value.numpy()
        if index.size == 1 and value.attrs.axis is not None:
            axis = int(value.attrs.axis) % len(value.args[0].ty.shape)
            return value.args[0], axis, int(index.reshape(()))
    if name == "relax.strided_slice":
        axes, begins, ends = ([int(v) for v in arg.fields] for arg in value.args[1:4])
        if len(axes) == 1:
            size = int(value.args[0].ty.shape[axes[0]])
            first, end = (min(v + size if v < 0 else v, size) for v in (begins[0], ends[0]))
            if end - first == 1:
                return value.args[0], axes[0], first
    return None


def leaves(expr: relax.Expr) -> Iterator[relax.Expr]:
    """The variables and constants in ``expr``, in order."""
    if isinstance(expr, relax.Var | GenericConst):
        yield expr
    for operand in operands(expr):
        yield from leaves(operand)


def replace_leaves(expr: relax.Expr, new: Iterator[relax.Expr]) -> relax.Expr:
    """``expr`` with its leaves replaced, in order."""
    if isinstance(expr, relax.Var | GenericConst):
        return next(new)
    parts = [replace_leaves(operand, new) for operand in operands(expr)]
    if isinstance(expr, relax.Call):
        return relax.Call(expr.op, parts, expr.attrs, expr.ty_args)
    if isinstance(expr, relax.Tuple):
        return relax.Tuple(parts)
    return relax.TupleGetItem(parts[0], expr.index) if parts else expr


def skeleton(expr: relax.Expr) -> Hashable:
    """What two operators have in common that differ in the values of their operands only."""
    if isinstance(expr, relax.Var | GenericConst):
        return tvm_ffi.structural_hash(expr.ty)
    parts = tuple(skeleton(operand) for operand in operands(expr))
    if isinstance(expr, relax.Call):
        attrs = tvm_ffi.structural_hash(expr.attrs) if expr.attrs else 0
        return name_of(expr), attrs, parts
    if isinstance(expr, relax.TupleGetItem):
        return expr.index, parts
    return parts or tvm_ffi.structural_hash(expr)
