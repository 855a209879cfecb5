"""Two products that are added become one over the concatenated inputs."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax
from tvm.relax.dpl import is_const, is_op, rewrite_call, wildcard

from tvm_kp.graph.rewrite import update


@tvm.transform.module_pass(opt_level=0, name="JoinMatmuls")
class JoinMatmuls:
    """``x·V + h·W -> [x, h]·[V; W]`` for constant 2-D V and W.

    One kernel keeps its accumulators in registers over both inputs. Left unchanged: products
    whose weights are no constants, inputs of different batch, outputs of different width.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        x, v, h, w = wildcard(), is_const(), wildcard(), is_const()
        pattern = is_op("relax.add")(is_op("relax.matmul")(x, v), is_op("relax.matmul")(h, w))

        def join(call: relax.Expr, found: dict[relax.dpl.DFPattern, relax.Expr]) -> relax.Expr:
            if not _joinable(found[x], found[v], found[h], found[w]):
                return call
            weights = np.concatenate([found[v].value.numpy(), found[w].value.numpy()])
            return relax.op.matmul(
                relax.op.concat([found[x], found[h]], axis=1), relax.const(weights)
            )

        return update(mod, lambda function: rewrite_call(pattern, join, function))


def _joinable(x: relax.Expr, v: relax.Expr, h: relax.Expr, w: relax.Expr) -> bool:
    two_dimensional = all(len(t.ty.shape) == 2 for t in (x, v, h, w))
    return (
        two_dimensional
        and int(x.ty.shape[0]) == int(h.ty.shape[0])
        and int(v.ty.shape[1]) == int(w.ty.shape[1])
    )
