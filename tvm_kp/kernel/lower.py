"""From scheduled blocks to plain loops over flat buffers."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx


def lower(mod: tvm.IRModule) -> tvm.IRModule:
    """Lower every PrimFunc of ``mod`` to loops, flat buffers and 32-bit indices.

    What is left is the subset of TIR that the C printer knows; loops marked as unrolled are
    written out, tiles that a loop does not fill are loops of their own.
    """
    config = {
        "s_tir.LoopPartition": {
            "partition_const_loop": True,
            "no_unroll_loop_with_extent_one": False,
        },
        "tirx.UnrollLoop": {"auto_max_extent": 1, "explicit_unroll": True},
    }
    with tvm.transform.PassContext(config=config):
        return tvm.transform.Sequential(
            [
                tirx.transform.ForceNarrowIndexToInt32(),
                s_tir.transform.CanonicalizeLoop(),
                s_tir.transform.LowerInitBlock(),
                s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
                s_tir.transform.ConvertBlocksToOpaque(),
                s_tir.transform.CompactBufferAllocation(),
                s_tir.transform.LowerMatchBuffer(),
                s_tir.transform.StmtSimplify(),
                s_tir.transform.LowerOpaqueBlock(),
                tirx.transform.FlattenBuffer(),
                tirx.transform.NarrowDataType(32),
                s_tir.transform.LoopPartition(),
                tirx.transform.UnrollLoop(),
                tirx.transform.StmtSimplify(),
                tirx.transform.RemoveNoOp(),
            ],
            name="kp.lower",
        )(mod)
