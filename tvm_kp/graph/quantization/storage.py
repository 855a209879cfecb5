"""Which tensors of a model hold the same data, who writes it and who reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph import scan
from tvm_kp.graph.quantization.pointwise import POINTWISE
from tvm_kp.graph.rewrite import bindings, name_of, operands, returned, values

# What moves data and computes nothing: the first operand and the result are alike.
MOVES = {
    *("relax.reshape", "relax.permute_dims", "relax.strided_slice", "relax.take", "relax.flip"),
    *("relax.expand_dims", "relax.squeeze", "relax.flatten", "relax.broadcast_to", "relax.nn.pad"),
}
ACTIVATIONS = {"relax.sigmoid": "sigmoid", "relax.tanh": "tanh"}
# What reads integers of any scale.
_KINDS = {
    **ACTIVATIONS,
    "relax.matmul": "product",
    "relax.nn.softmax": "softmax",
    "relax.argmax": "order",
    "relax.argmin": "order",
}

Tensor: TypeAlias = "relax.Var | GenericConst"


@dataclass(eq=False)
class Stored:
    """Tensors with one scale, because they are the same data, moved around.

    ``readers`` and ``writers`` are kinds of operators: "product", "sigmoid", "tanh", "softmax",
    "order" (argmax), "pointwise", and "input" and "output" of the model. What is not ``kept`` lies
    in no memory: point-wise operators compute and read it.
    """

    members: list[Tensor] = field(default_factory=list)
    readers: set[str] = field(default_factory=set)
    writers: set[str] = field(default_factory=set)
    kept: bool = False


class Storage:
    """The ``Stored`` of every tensor of ``main`` and of the steps of its recurrences.

    ``joined`` are pairs of a tensor that a ``concat`` makes and one of its parts; ``products`` maps
    what a product stores, which is the sum where a bias is added to it and nothing else reads it,
    to the product and the bias.
    """

    def __init__(self, mod: tvm.IRModule) -> None:
        self._parent: dict[Tensor, Tensor] = {}
        self._joined: list[tuple[Tensor, Tensor]] = []
        self.products: dict[relax.Var, tuple[relax.Var, GenericConst | None]] = {}
        main = mod["main"]
        calls = [call for b in bindings(main) if (call := scan.match(b.value)) is not None]
        functions = [main, *(mod[gv] for gv in dict.fromkeys(call.step for call in calls))]
        for function in functions:
            self._relate(mod, function)
        self._stored: dict[Tensor, Stored] = {}
        for tensor in self._parent:
            self[tensor].members.append(tensor)
        for function in functions:
            self._note(function)
        for whole, part in reversed(self.joined):
            part.readers |= whole.readers
        for result in returned(main):
            self[result].readers.add("output")
            self[result].kept = True
        for param in main.params:
            self[param].writers.add("input")

    def __getitem__(self, tensor: Tensor) -> Stored:
        return self._stored.setdefault(self._root(tensor), Stored())

    @property
    def all(self) -> list[Stored]:
        return list(self._stored.values())

    @property
    def joined(self) -> list[tuple[Stored, Stored]]:
        return [(self[whole], self[part]) for whole, part in self._joined]

    def _root(self, tensor: Tensor) -> Tensor:
        self._parent.setdefault(tensor, tensor)
        while self._parent[tensor] is not tensor:
            tensor = self._parent[tensor]
        return tensor

    def _alike(self, one: Tensor, other: Tensor) -> None:
        self._parent[self._root(one)] = self._root(other)

    def _relate(self, mod: tvm.IRModule, function: relax.Function) -> None:
        """Find what is alike, what is joined, and the biases of products."""
        bound = values(function)
        for var in (*function.params, *bound):
            self._root(var)
        for binding in bindings(function):
            var, value = binding.var, binding.value
            call = scan.match(value)
            if call is not None:
                self._relate_scan(mod[call.step], call)
            elif isinstance(value, relax.Var):
                self._alike(var, value)
            elif isinstance(value, relax.TupleGetItem):
                self._relate_field(mod, var, value, bound)
            elif name_of(value) in MOVES:
                self._alike(var, value.args[0])
            elif name_of(value) == "relax.concat":
                self._joined += [(var, part) for part in _fields(value.args[0], bound)]
        for var, product, bias in _products(function):
            self.products[var] = product, bias

    def _relate_scan(self, step: relax.Function, call: scan.Scan) -> None:
        results = returned(step)
        operands_ = (*call.sequences, *call.states)
        for param, operand in zip(step.params, operands_, strict=True):
            self._alike(param, operand)
        count = len(call.states)
        if count:
            for param, result in zip(step.params[-count:], results[-count:], strict=True):
                self._alike(result, param)

    def _relate_field(
        self,
        mod: tvm.IRModule,
        var: relax.Var,
        value: relax.TupleGetItem,
        bound: dict[relax.Var, relax.Expr],
    ) -> None:
        source = bound.get(value.tuple_value)
        call = scan.match(source)
        if call is not None:
            self._alike(var, returned(mod[call.step])[value.index])
        elif name_of(source) == "relax.split":
            assert source is not None
            self._alike(var, source.args[0])

    def _note(self, function: relax.Function) -> None:
        """Who reads and writes what, and what is kept in memory."""
        for param in function.params:
            self[param].kept = True
        for binding in bindings(function):
            name = name_of(binding.value)
            if name in MOVES or name in ("relax.concat", "relax.split", scan.OP_NAME):
                moved = [binding.var, *_tensors(binding.value)]
                for tensor in (t for t in moved if isinstance(t.ty, relax.TensorType)):
                    self[tensor].kept = True
            elif name:
                kind = _KINDS.get(name, "pointwise")
                for tensor in _tensors(binding.value):
                    if isinstance(tensor, relax.Var):
                        self[tensor].readers.add(kind)
                        self[tensor].kept |= kind != "pointwise"
                self[binding.var].writers.add(kind)
                # What runs in float is made narrow for those that read it.
                self[binding.var].kept |= not _has_integers(binding.value)
        for var, (product, _) in self.products.items():
            if product is not var:
                self[product].readers.discard("pointwise")
            self[var].writers = {"product"}
            self[var].kept = True


def _products(
    function: relax.Function,
) -> Iterator[tuple[relax.Var, relax.Var, GenericConst | None]]:
    """What each product with a constant stores, the product, and its bias."""
    readers: dict[relax.Var, list[relax.VarBinding]] = {}
    for binding in bindings(function):
        for tensor in _tensors(binding.value):
            if isinstance(tensor, relax.Var):
                readers.setdefault(tensor, []).append(binding)
    results = returned(function)
    for binding in bindings(function):
        product, value = binding.var, binding.value
        if name_of(value) != "relax.matmul" or not any(map(_is_constant, value.args)):
            continue
        (*others, last) = readers.get(product, []) or [None]
        alone = last is not None and not others and not any(product.same_as(r) for r in results)
        bias = _bias(last.value, product) if alone and last is not None else None
        if bias is None or last is None:
            yield product, product, None
        else:
            yield last.var, product, bias


def _bias(value: relax.Expr, product: relax.Var) -> GenericConst | None:
    """The constant that ``value`` adds to ``product``, if that is all it does."""
    if name_of(value) != "relax.add":
        return None
    constants = [arg for arg in value.args if _is_constant(arg)]
    same = [int(n) for n in value.ty.shape] == [int(n) for n in product.ty.shape]
    return constants[0] if constants and same else None


def _has_integers(call: relax.Call) -> bool:
    name = name_of(call)
    if name == "relax.matmul":
        return any(map(_is_constant, call.args))
    return name in POINTWISE or name in _KINDS


def _is_constant(expr: relax.Expr) -> bool:
    return isinstance(expr, GenericConst)


def _fields(expr: relax.Expr, bound: dict[relax.Var, relax.Expr]) -> list[Tensor]:
    while isinstance(expr, relax.Var):
        expr = bound[expr]
    return list(expr.fields)


def _tensors(expr: relax.Expr) -> Iterator[Tensor]:
    """The variables and constants that ``expr`` reads."""
    if isinstance(expr, (relax.Var, GenericConst)):
        yield expr
        return
    for operand in operands(expr):
        if not isinstance(operand, tvm.ir.GlobalVar):
            yield from _tensors(operand)
