"""The point-wise part of a time step becomes one function, hence one loop."""

from __future__ import annotations

from collections.abc import Container

import tvm
from tvm import relax
from tvm.ir import GenericConst

from tvm_kp.graph import scan
from tvm_kp.graph.rewrite import bindings, name_of, shape_of, substitute, variables

_POINTWISE = {
    *("relax.abs", "relax.add", "relax.astype", "relax.clip", "relax.cos", "relax.divide"),
    *("relax.exp", "relax.floor", "relax.log", "relax.maximum", "relax.minimum", "relax.multiply"),
    *("relax.negative", "relax.power", "relax.right_shift", "relax.rsqrt", "relax.sigmoid"),
    *("relax.sin", "relax.sqrt", "relax.square", "relax.subtract", "relax.tanh", "relax.nn.gelu"),
    *("relax.nn.leakyrelu", "relax.nn.relu", "relax.nn.silu"),
}
_INTEGER = {"kp.interpolate", "kp.quantize", "kp.requantize"}


@tvm.transform.module_pass(opt_level=0, name="FusePointwise")
class FusePointwise:
    """All point-wise operators of one shape in a step -> one call of a primitive function.

    ``FuseOps`` splits where a value is both returned and used again, as an LSTM's c' is; this
    groups by dependence instead: operators are in one group unless something that is not
    point-wise lies between them. Left unchanged: groups of one, a bias that belongs to a matmul.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        builder = relax.BlockBuilder(mod)
        for gv in steps(mod):
            builder.update_func(gv, _Rebuilt(mod[gv], builder).function())
        return builder.get()


def steps(mod: tvm.IRModule) -> list[tvm.ir.GlobalVar]:
    """The step functions of the recurrences in ``main``."""
    found = (scan.match(binding.value) for binding in bindings(mod["main"]))
    return list(dict.fromkeys(call.step for call in found if call is not None))


class _Rebuilt:
    """A step rebuilt group by group; ``module`` receives the primitive functions."""

    def __init__(self, step: relax.Function, module: relax.BlockBuilder) -> None:
        self._step = step
        self._module = module
        self._new = {param: relax.Var(param.name, param.ty) for param in step.params}

    def function(self) -> relax.Function:
        builder = relax.BlockBuilder()
        with builder.function("step", list(self._new.values()), private=True):
            with builder.dataflow():
                for group in _groups(self._step):
                    if len(group) == 1:
                        (binding,) = group
                        self._new[binding.var] = builder.emit(self._replaced(binding.value))
                    else:
                        self._emit(group, builder)
                result = builder.emit_output(self._replaced(self._step.body.body))
            builder.emit_func_output(result)
        return builder.get()["step"]

    def _replaced(self, expr: relax.Expr) -> relax.Expr:
        return substitute(expr, self._new)

    def _emit(self, group: list[relax.VarBinding], builder: relax.BlockBuilder) -> None:
        """Emit one call of a new primitive function that computes ``group``."""
        inside = {binding.var for binding in group}
        others = [b for b in bindings(self._step) if b.var not in inside]
        exprs = [self._step.body.body, *(b.value for b in others)]
        read_outside = {var for expr in exprs for var in variables(expr)}
        outputs = [b.var for b in group if b.var in read_outside]
        inputs = list(
            dict.fromkeys(v for b in group for v in variables(b.value) if v not in inside)
        )
        # A primitive function holds no tensors: they are arguments like others.
        tensors = list(dict.fromkeys(t for b in group for t in _tensors(b.value)))
        function = _primitive(group, [*inputs, *tensors], outputs)
        primitive = self._module.add_func(function, "cell")
        result = builder.emit(relax.Call(primitive, [*(self._new[v] for v in inputs), *tensors]))
        for index, var in enumerate(outputs):
            only = len(outputs) == 1
            self._new[var] = result if only else builder.emit(result[index])


def _primitive(
    group: list[relax.VarBinding], inputs: list[relax.Expr], outputs: list[relax.Var]
) -> relax.Function:
    new = {expr: relax.Var(getattr(expr, "name", "weights"), expr.ty) for expr in inputs}
    builder = relax.BlockBuilder()
    params = list(new.values())
    with builder.function("cell", params, attrs={"Primitive": 1}, private=True):
        with builder.dataflow():
            for binding in group:
                new[binding.var] = builder.emit(substitute(binding.value, new))
            results = [new[var] for var in outputs]
            output = builder.emit_output(results[0] if len(results) == 1 else relax.Tuple(results))
        builder.emit_func_output(output)
    return builder.get()["cell"]


def _tensors(value: relax.Expr) -> list[GenericConst]:
    """The constant operands of ``value`` that are no scalars."""
    args = value.args if isinstance(value, relax.Call) else []
    return [arg for arg in args if isinstance(arg, GenericConst) and len(arg.ty.shape)]


def _groups(step: relax.Function) -> list[list[relax.VarBinding]]:
    """The bindings in an order in which every group's inputs come before it.

    A value's level counts the changes from point-wise to something else on the way to it, so
    a group (one level, one shape) never depends on itself through something outside.
    """
    level, shape = _levels(step)
    singles: dict[int, list[list[relax.VarBinding]]] = {}
    groups: dict[tuple[int, tuple[int, ...]], list[relax.VarBinding]] = {}
    for binding in bindings(step):
        here, own = level[binding.var], shape.get(binding.var)
        if own is None:
            singles.setdefault(here, []).append([binding])
        else:
            groups.setdefault((here, own), []).append(binding)
    ordered = []
    for here in range(max(level.values()) + 1):
        ordered += singles.get(here, [])
        ordered += [group for (at, _), group in groups.items() if at == here]
    return ordered


def _levels(step: relax.Function) -> tuple[dict[relax.Var, int], dict[relax.Var, tuple[int, ...]]]:
    """The level of every value, and the shape of what is point-wise.

    What is computed early for later loops of its shape alone waits for the first of them.
    """
    level: dict[relax.Var, int] = dict.fromkeys(step.params, 0)
    shape: dict[relax.Var, tuple[int, ...]] = {}
    readers: dict[relax.Var, list[relax.Var | None]] = {}  # None for the step's result
    products: set[relax.Var] = set()
    sums: set[relax.Var] = set()  # products, with or without their bias
    for binding in bindings(step):
        operands = variables(binding.value)
        pointwise = is_pointwise(binding.value, products) or _is_integer(binding.value, sums)
        own = tuple(shape_of(binding.var)) if pointwise else None
        crossed = (level[v] + (v in shape and shape[v] != own) for v in operands)
        level[binding.var] = max(crossed, default=0)
        if own is not None:
            shape[binding.var] = own
        if name_of(binding.value) == "relax.matmul":
            products.add(binding.var)
        if own is None and not products.isdisjoint([binding.var, *operands]):
            sums.add(binding.var)
        for operand in operands:
            readers.setdefault(operand, []).append(binding.var)
    for result in variables(step.body.body):
        readers.setdefault(result, []).append(None)
    for var in reversed(shape):
        later = readers.get(var, [None])
        if all(reader is not None and shape.get(reader) == shape[var] for reader in later):
            level[var] = min(level[reader] for reader in later if reader is not None)
    return level, shape


def is_pointwise(value: relax.Expr, products: Container[relax.Expr]) -> bool:
    """Whether ``value`` is a point-wise operator, and not the bias of one of ``products``."""
    if name_of(value) not in _POINTWISE:
        return False
    biased = name_of(value) == "relax.add" and any(arg in products for arg in value.args)
    return not (biased and any(isinstance(arg, GenericConst) for arg in value.args))


def _is_integer(value: relax.Expr, sums: Container[relax.Expr]) -> bool:
    """Whether ``value`` is a point-wise operator of ours, and not how one of ``sums`` is stored."""
    if name_of(value) not in _INTEGER:
        return False
    return not (name_of(value) == "kp.requantize" and value.args[0] in sums)
