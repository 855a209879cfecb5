"""Constant expressions are evaluated, however deep they are."""

from __future__ import annotations

import tvm
import tvm_ffi
from tvm import relax

_ROUND = tvm.transform.Sequential(
    [relax.transform.FoldConstant(), relax.transform.CanonicalizeBindings()],
    name="kp.fold_round",
)


@tvm.transform.module_pass(opt_level=0, name="FoldConstants")
class FoldConstants:
    """TVM's ``FoldConstant`` until it finds nothing more.

    The parts of a folded split are constants only in the next round, and gates that are taken
    out of weights piece by piece are splits of splits.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        folded = _ROUND(mod)
        while not tvm_ffi.structural_equal(folded, mod):
            mod, folded = folded, _ROUND(folded)
        return folded
