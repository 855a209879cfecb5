"""One reshape where there were several."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_kp.graph.rewrite import name_of, rebuild, update
from tvm_kp.graph.unrolled import VIEWS


@tvm.transform.module_pass(opt_level=0, name="MergeReshapes")
class MergeReshapes:
    """``reshape(reshape(x))`` -> ``reshape(x)``, so that an axis stays in sight that was merged.

    ``expand_dims``, ``squeeze`` and ``flatten`` are reshapes too. Left unchanged: everything else.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        return update(mod, _merge)


def _merge(function: relax.Function) -> relax.Function:
    sources: dict[relax.Var, relax.Expr] = {}  # of what is a reshape

    def emit(builder: relax.BlockBuilder, var: relax.Var, value: relax.Expr) -> relax.Expr:
        if name_of(value) not in VIEWS:
            return builder.emit(value, var.name)
        source = sources.get(value.args[0], value.args[0])
        new = builder.emit(relax.op.reshape(source, var.ty.shape), var.name)
        sources[new] = source
        return new

    return rebuild(function, emit)
