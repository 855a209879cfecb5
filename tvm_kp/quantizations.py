"""The names of what a model can be quantized to; nothing is imported for them."""

from __future__ import annotations

# Bits of the activations that products read, by format; weights have 8, cell states 16.
QUANTIZATIONS = {"int8": 8, "int16x8": 16}
# Bits of inputs and outputs, by type.
IO_BITS = {"float32": None, "int8": 8, "int16": 16}
CALIBRATION_RANGES = ("min-max", "percentile", "mse")
RANDOM = "random"  # calibration inputs that are made up
