"""Float modules to integer ones: formats chosen, operators replaced, errors measured."""

from tvm_kp.graph.quantization.measure import measure
from tvm_kp.graph.quantization.plan import Quantization
from tvm_kp.graph.quantization.quantize import quantize

__all__ = ["Quantization", "measure", "quantize"]
