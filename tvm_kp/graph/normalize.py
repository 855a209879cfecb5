"""Bring an imported module to the form that the other passes expect."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_kp.graph.fold_constants import FoldConstants
from tvm_kp.graph.fuse_scans import FuseScans
from tvm_kp.graph.merge_reshapes import MergeReshapes
from tvm_kp.graph.prune_gates import PruneGates
from tvm_kp.graph.prune_scan import PruneScan
from tvm_kp.graph.reroll_recurrence import RerollRecurrence
from tvm_kp.graph.reverse_scan import ReverseScan
from tvm_kp.graph.take_last_state import TakeLastState


def normalize() -> tvm.transform.Pass:
    """Constants folded, dead code gone, recurrences returning only what is read."""
    return tvm.transform.Sequential(
        [
            relax.transform.DecomposeOpsForInference(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(["main"]),
            RerollRecurrence(),
            MergeReshapes(),
            TakeLastState(),
            # Only what is alive is folded: expressions of weights were evaluated at import.
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(["main"]),
            FuseScans(),
            relax.transform.CanonicalizeBindings(),
            FoldConstants(),
            PruneGates(),
            PruneScan(),
            ReverseScan(),
            relax.transform.ConvertToDataflow(),
            relax.transform.CanonicalizeBindings(),
            relax.transform.EliminateCommonSubexpr(),
            relax.transform.DeadCodeElimination(["main"]),
        ],
        name="kp.normalize",
    )
