"""Relax: PyTorch models in, recurrences as loops, Kronecker weights recognized and factored."""

from tvm_kp.graph.calibrate import METHODS, calibrate
from tvm_kp.graph.expand_scan import ExpandScan
from tvm_kp.graph.factorize import FactorizeKronecker
from tvm_kp.graph.import_torch import import_torch
from tvm_kp.graph.legalize import arrange, legalize
from tvm_kp.graph.normalize import normalize
from tvm_kp.graph.quantization import Quantization, measure, quantize
from tvm_kp.graph.recognize import RecognizeKronecker, recognize
from tvm_kp.graph.recorded import decisions, leave_dense
from tvm_kp.graph.reroll_recurrence import RerollRecurrence, recurrences
from tvm_kp.graph.stream import Stream, stream

__all__ = [
    "METHODS",
    "ExpandScan",
    "FactorizeKronecker",
    "Quantization",
    "RecognizeKronecker",
    "RerollRecurrence",
    "Stream",
    "arrange",
    "calibrate",
    "decisions",
    "import_torch",
    "leave_dense",
    "legalize",
    "measure",
    "normalize",
    "quantize",
    "recognize",
    "recurrences",
    "stream",
]
