"""PyTorch layers that carry structured weights, and their training."""

from tvm_kp.compress.layers import KroneckerLSTM
from tvm_kp.compress.training import Epoch, fit

__all__ = ["Epoch", "KroneckerLSTM", "fit"]
