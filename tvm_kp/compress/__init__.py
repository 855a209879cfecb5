"""PyTorch layers that carry structured weights, their training, also with rounded weights."""

from tvm_kp.compress.fake_quantize import freeze, prepare
from tvm_kp.compress.fast_rnn import FastGRNN, FastRNN, KroneckerFastGRNN, KroneckerFastRNN
from tvm_kp.compress.layers import KroneckerGRU, KroneckerLSTM, KroneckerRNN
from tvm_kp.compress.training import Epoch, fit

__all__ = [
    "Epoch",
    "FastGRNN",
    "FastRNN",
    "KroneckerFastGRNN",
    "KroneckerFastRNN",
    "KroneckerGRU",
    "KroneckerLSTM",
    "KroneckerRNN",
    "fit",
    "freeze",
    "prepare",
]
