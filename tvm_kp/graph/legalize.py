"""From Relax operators to fused TIR functions, keeping as views what moves no data."""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_kp.graph.canonicalize_views import VIEWS, CanonicalizeViews
from tvm_kp.graph.fuse_pointwise import FusePointwise
from tvm_kp.graph.hoist_invariants import HoistInvariants
from tvm_kp.graph.integer_operators import legalizations
from tvm_kp.graph.join_matmuls import JoinMatmuls
from tvm_kp.graph.note_constants import NoteConstants
from tvm_kp.graph.sink_reshape import SinkReshape
from tvm_kp.graph.split_pointwise import SplitPointwise


def arrange() -> tvm.transform.Pass:
    """Products joined with their biases, views in canonical form, cells whole."""
    return tvm.transform.Sequential(
        [
            # Before a product with what stays is joined with one that does not.
            HoistInvariants(),
            JoinMatmuls(),
            CanonicalizeViews(),
            SinkReshape(),
            # Gates that are one product by now, with its bias, are left whole.
            SplitPointwise(),
            # A reshape that nobody reads would keep its product from fusing.
            relax.transform.CanonicalizeBindings(),
            relax.transform.DeadCodeElimination(["main"]),
        ],
        name="kp.arrange",
    )


def legalize() -> tvm.transform.Pass:
    """Every operator but views and ``kp.scan`` becomes a call of a fused PrimFunc."""
    return tvm.transform.Sequential(
        [
            arrange(),
            FusePointwise(),
            relax.transform.LegalizeOps(legalizations(), skip_ops=list(VIEWS)),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(fuse_opt_level=2),
            relax.transform.FuseTIR(),
            relax.transform.DeadCodeElimination(["main"]),
            NoteConstants(),
        ],
        name="kp.legalize",
    )
