"""What values the tensors of a model take, in every time step, on given inputs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import tvm
from tvm import relax

from tvm_kp.errors import InputError
from tvm_kp.graph import scan
from tvm_kp.graph.expand_scan import ExpandScan
from tvm_kp.graph.rewrite import bindings, returned, shape_of, substitute, with_body

Ranges = dict[relax.Var, tuple[float, float]]


def calibrate(mod: tvm.IRModule, records: Iterable[Sequence[np.ndarray]]) -> Ranges:
    """The smallest and largest value of every float tensor of ``main`` and its time steps.

    ``records`` are the inputs of ``main``, one after the other; a step's tensors are taken over
    the whole sequence, a state also before the first step. Raises ``InputError`` where there is
    no record, one does not have the inputs' shapes, or a tensor becomes infinite or not a number.
    """
    observed, tensors = _observed(mod)
    executable = relax.build(ExpandScan()(observed), target="llvm")
    main = relax.VirtualMachine(executable, tvm.cpu())["main"]
    ranges: Ranges = {}
    for record in records:
        _check(mod["main"].params, record)
        results = main(*(tvm.runtime.tensor(np.ascontiguousarray(x)) for x in record))
        for var, result in zip(tensors, results, strict=True):
            values = result.numpy()
            if not np.isfinite(values).all():
                raise InputError(
                    f"the tensor {var.name} becomes infinite or not a number on the calibration "
                    "inputs; calibrate with inputs like those that the model was trained on"
                )
            low, high = float(values.min(initial=0.0)), float(values.max(initial=0.0))
            before = ranges.get(var, (0.0, 0.0))
            ranges[var] = min(before[0], low), max(before[1], high)
    if not ranges:
        raise InputError("there are no calibration inputs; quantizing needs at least one record")
    return ranges


def _check(params: Sequence[relax.Var], record: Sequence[np.ndarray]) -> None:
    expected = [(tuple(shape_of(param)), str(param.ty.dtype.dtype)) for param in params]
    found = [(x.shape, str(x.dtype)) for x in record]
    if found != expected:
        raise InputError(
            f"the calibration inputs are {_listed(found)}; the model takes {_listed(expected)}"
        )


def _listed(tensors: Sequence[tuple[tuple[int, ...], str]]) -> str:
    return ", ".join(f"{dtype} {'x'.join(map(str, shape))}" for shape, dtype in tensors)


def _observed(mod: tvm.IRModule) -> tuple[tvm.IRModule, list[relax.Var]]:
    """``mod`` with a ``main`` that returns a tuple of its tensors, and their variables in ``mod``.

    Of a step's tensors it returns those of all time steps, stacked, from a recurrence that runs
    beside the one that is there.
    """
    module = relax.BlockBuilder(mod)
    main = mod["main"]
    tensors = _floats(main.params)

    def body(builder: relax.BlockBuilder, new: dict[relax.Var, relax.Expr]) -> relax.Expr:
        results = [new[var] for var in tensors]
        for binding in bindings(main):
            value = substitute(binding.value, new)
            new[binding.var] = builder.emit(value)
            inside, observed = _observed_scan(mod, value, module)
            if observed is not None:
                stacked = builder.emit(observed)
                results += [builder.emit(stacked[k]) for k in range(len(inside))]
            own = _floats([binding.var])
            results += [new[var] for var in own]
            tensors.extend([*inside, *own])
        return relax.Tuple(results)

    module.update_func(mod.get_global_var("main"), with_body(main, body))
    return module.get(), tensors


def _observed_scan(
    mod: tvm.IRModule, value: relax.Expr, module: relax.BlockBuilder
) -> tuple[list[relax.Var], relax.Call | None]:
    """The tensors of a recurrence's step, and the recurrence that stacks them."""
    call = scan.match(value)
    if call is None:
        return [], None
    step = mod[call.step]
    inside = _floats([*step.params, *(binding.var for binding in bindings(step))])

    def body(builder: relax.BlockBuilder, new: dict[relax.Var, relax.Expr]) -> relax.Expr:
        for binding in bindings(step):
            new[binding.var] = builder.emit(substitute(binding.value, new))
        results = returned(step)
        states = [substitute(state, new) for state in results[len(results) - len(call.states) :]]
        return relax.Tuple([*(new[var] for var in inside), *states])

    observed = module.add_func(with_body(step, body), f"{call.step.name_hint}_observed")
    return inside, call.rebuild(observed)


def _floats(variables: Iterable[relax.Var]) -> list[relax.Var]:
    """Those that are tensors of floats."""
    return [
        var
        for var in variables
        if isinstance(var.ty, relax.TensorType) and str(var.ty.dtype.dtype).startswith("float")
    ]
