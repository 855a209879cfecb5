"""PyTorch layers with compressed weights, plans of them, and training, also of rounded ones."""

from tvm_kp.compress.apply import anneal, apply
from tvm_kp.compress.fake_quantize import freeze, prepare
from tvm_kp.compress.fast_rnn import FastGRNN, FastRNN, KroneckerFastGRNN, KroneckerFastRNN
from tvm_kp.compress.forms import Kronecker, LowRank, Pruned
from tvm_kp.compress.layers import KroneckerGRU, KroneckerLSTM, KroneckerRNN
from tvm_kp.compress.need import Met, Try, meet
from tvm_kp.compress.planner import plan
from tvm_kp.compress.plans import Choice, Plan
from tvm_kp.compress.reset_first_gru import ResetFirstGRU
from tvm_kp.compress.sizes import parse_size, size
from tvm_kp.compress.training import Epoch, Teacher, fit

__all__ = [
    "Choice",
    "Epoch",
    "FastGRNN",
    "FastRNN",
    "Kronecker",
    "KroneckerFastGRNN",
    "KroneckerFastRNN",
    "KroneckerGRU",
    "KroneckerLSTM",
    "KroneckerRNN",
    "LowRank",
    "Met",
    "Plan",
    "Pruned",
    "ResetFirstGRU",
    "Teacher",
    "Try",
    "anneal",
    "apply",
    "fit",
    "freeze",
    "meet",
    "parse_size",
    "plan",
    "prepare",
    "size",
]
