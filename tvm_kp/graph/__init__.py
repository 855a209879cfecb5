"""Relax: PyTorch models in, recurrences as loops, Kronecker weights recognized and factored."""

from tvm_kp.graph.calibrate import calibrate
from tvm_kp.graph.expand_scan import ExpandScan
from tvm_kp.graph.factorize import FactorizeKronecker
from tvm_kp.graph.import_torch import import_torch
from tvm_kp.graph.legalize import legalize
from tvm_kp.graph.normalize import normalize
from tvm_kp.graph.recognize import RecognizeKronecker, decisions, recognize
from tvm_kp.graph.reroll_recurrence import RerollRecurrence, recurrences
from tvm_kp.graph.stream import Stream, stream

__all__ = [
    "ExpandScan",
    "FactorizeKronecker",
    "RecognizeKronecker",
    "RerollRecurrence",
    "Stream",
    "calibrate",
    "decisions",
    "import_torch",
    "legalize",
    "normalize",
    "recognize",
    "recurrences",
    "stream",
]
