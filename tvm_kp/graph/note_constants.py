"""Functions say which of their operands are constants, so that kernels may pack these."""

from __future__ import annotations

import json

import tvm
import tvm_ffi
from tvm import relax, tirx
from tvm.ir import GenericConst, GlobalVar

from tvm_kp.artifacts import CONSTANTS
from tvm_kp.graph.rewrite import name_of


@tvm.transform.module_pass(opt_level=0, name="NoteConstants")
class NoteConstants:
    """The attribute ``CONSTANTS`` of every PrimFunc has the indices of the operands that are
    constants in all calls.

    Left unchanged: PrimFuncs that nobody calls.
    """

    def transform_module(
        self, mod: tvm.IRModule, _context: tvm.transform.PassContext
    ) -> tvm.IRModule:
        noted = mod.clone()
        for gv, indices in _constants(mod).items():
            function = mod[gv]
            if isinstance(function, tirx.PrimFunc):
                noted.update_func(gv, function.with_attr(CONSTANTS, json.dumps(sorted(indices))))
        return noted


def _constants(mod: tvm.IRModule) -> dict[GlobalVar, set[int]]:
    found: dict[GlobalVar, set[int]] = {}

    def note(call: relax.Call) -> None:
        if name_of(call) == "relax.call_tir":
            callee, operands = call.args[0], call.args[1].fields
            constants = {k for k, one in enumerate(operands) if isinstance(one, GenericConst)}
            found[callee] = found.get(callee, constants) & constants

    for _, function in mod.functions_items():
        if isinstance(function, relax.Function):
            tvm_ffi.structural_walk(function.body, (relax.Call, note))
    return found
