"""What is trained is what is found: compiled layers have just the structure they were given.

Layers of all kinds are the parts of one model, which is exported and compiled as a whole.
"""

from __future__ import annotations

import warnings
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

import tvm_kp
from tvm_kp.compress import (
    Choice,
    FastRNN,
    Kronecker,
    LowRank,
    Plan,
    Pruned,
    ResetFirstGRU,
    anneal,
    apply,
)

# Two steps are too few for a loop; sizes with few divisors are quick to look through.
STEPS, INPUTS, HIDDEN = 3, 15, 12
LAYERS = {
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    "fast": FastRNN,
    "reset": ResetFirstGRU,
    "head": lambda inputs, hidden: nn.Linear(inputs + hidden, hidden),
}
# Gates that are one product with a vector: the candidate of a GRU is one by itself.
GATES = {"lstm": (4,), "gru": (2, 1), "rnn": (1,), "fast": (1,), "reset": (2, 1), "head": (1,)}
# Shapes for [W_ih | W_hh] (12, 27), W_ih (12, 15) and W_hh (12, 12).
SHAPES = ((3, 3), (4, 9)), ((3, 5), (4, 3)), ((2, 6), (6, 2))
BELOW = ((2, 3), (5, 9)), ((2, 5), (5, 3)), ((2, 4), (5, 3))
THREE = ((2, 3), (2, 3), (3, 3)), ((3, 3), (2, 5), (2, 1)), ((2, 3), (3, 2), (2, 2))
FORMS = {
    "kronecker": [Kronecker(factors) for factors in SHAPES],
    "kronecker sum": [Kronecker(factors, terms=2) for factors in SHAPES],
    "hybrid": [Kronecker(factors, dense_rows=2) for factors in BELOW],
    "doped": [Kronecker(factors, density=0.013) for factors in SHAPES],
    "three factors": [Kronecker(factors) for factors in THREE],
    "low rank": [LowRank(3)] * 3,
}
# Loops take long to compile: products are in both, most other forms in one.
WITHOUT = {
    "kronecker": (),
    "kronecker sum": ("fast", "rnn"),
    "hybrid": ("reset", "rnn"),
    "doped": ("fast", "rnn"),
    "three factors": ("fast", "reset"),
    "low rank": ("fast", "reset"),
}


class Layers(nn.Module):
    """Layers side by side, compressed and as training leaves them."""

    def __init__(self, choices: list[Choice]) -> None:
        super().__init__()
        torch.manual_seed(0)
        for one in choices:
            self.add_module(one.site, LAYERS[one.site](INPUTS, HIDDEN))
        apply(self, Plan(tuple(choices)), start="random")
        for name, parameter in self.named_parameters():
            if name.endswith("entries"):
                nn.init.normal_(parameter)
        anneal(self, 1.0)
        self.eval()

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        wide = x.reshape(1, -1)[:, : INPUTS + HIDDEN]
        return tuple(
            layer(wide) if name == "head" else layer(x)[0] for name, layer in self.named_children()
        )


def compiled(choices):
    """(structure, shape, how) of every weight, once the C has computed what PyTorch does."""
    model, x = Layers(choices), torch.rand(2, STEPS, 1, INPUTS) * 2 - 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(model, (x[0],))
    made = tvm_kp.compile(program, "host").model
    outputs = tvm_kp.run(made, "host", {"x": x.numpy()}).outputs
    with torch.no_grad():
        expected = zip(*(model(one) for one in x), strict=True)
    for output, good in zip(outputs.values(), expected, strict=True):
        np.testing.assert_allclose(output, torch.stack(good), rtol=0, atol=1e-5)
    return Counter((one.structure, one.shape, one.reason) for one in made.decisions)


def found(name, form, gates, cols, joint=""):
    """What is to be said of gates that each have the form."""
    shape = gates * HIDDEN, cols
    count = f"{gates} x " if gates > 1 else ""
    if isinstance(form, LowRank):
        return name + joint, shape, f"{count}({HIDDEN}x{form.rank}) · ({form.rank}x{cols})"
    more = {
        "kronecker sum": f", {form.terms} terms",
        "hybrid": f" below {form.dense_rows} dense rows",
        "doped": f" and {gates * round(form.density * HIDDEN * cols)} entries",
    }
    text = " ⊗ ".join(f"({m}x{n})" for m, n in form.factors)
    return name + joint, shape, count + text + more.get(name, "")


def found_apart(layer, names, forms):
    """The same of W_ih and W_hh."""
    pair = [*zip(names, forms, (INPUTS, HIDDEN), strict=True)]
    return [found(name, form, gates, cols) for gates in GATES[layer] for name, form, cols in pair]


def found_joint(layer, name, form):
    """The same of [W_ih | W_hh], or of a linear layer."""
    joint = "" if layer == "head" else " joint"
    return [found(name, form, gates, INPUTS + HIDDEN, joint) for gates in GATES[layer]]


@pytest.mark.parametrize("name", FORMS)
def test_every_gate_has_the_form(name):
    """Of [W_ih | W_hh], but for the GRU, whose candidate has two products: of both weights."""
    joint, *pair = FORMS[name]
    choices, expected = [Choice("gru", tuple(pair))], found_apart("gru", [name] * 2, pair)
    for layer in sorted({*LAYERS} - {"gru", *WITHOUT[name]}):
        choices.append(Choice(layer, (joint,)))
        expected += found_joint(layer, name, joint)
    assert compiled(choices) == Counter(expected)


def test_weights_with_different_forms():
    """W_ih a product, W_hh of low rank; and a GRU with joint factors, of which B is in both."""
    pair = Kronecker(SHAPES[1]), LowRank(3)
    layers = ("lstm", "reset")
    choices = [Choice("gru", (Kronecker(SHAPES[0]),)), *(Choice(layer, pair) for layer in layers)]
    expected = [
        ("kronecker joint", (24, 27), "2 x (3x3) ⊗ (4x9)"),
        ("kronecker parts", (12, 15), "(3x2) ⊗ (4x9), columns of (3x3) ⊗ (4x9)"),
        ("kronecker parts", (12, 12), "(3x2) ⊗ (4x9), columns of (3x3) ⊗ (4x9)"),
    ]
    for layer in layers:
        expected += found_apart(layer, ("kronecker", "low rank"), pair)
    assert compiled(choices) == Counter(expected)


def test_gates_stacked():
    """One B for all gates; where gates are computed apart, each has its rows of A."""
    choices = [
        Choice("lstm", (Kronecker(((12, 3), (4, 9))),), stacked=True),
        Choice("gru", (Kronecker(((9, 5), (4, 3))), Kronecker(((6, 6), (6, 2)))), stacked=True),
        Choice("reset", (Kronecker(((9, 3), (4, 9))),), stacked=True),
    ]
    expected = [
        ("kronecker joint", (48, 27), "(12x3) ⊗ (4x9)"),
        ("kronecker", (24, 15), "(6x5) ⊗ (4x3)"),
        ("kronecker", (24, 12), "(4x6) ⊗ (6x2)"),
        ("kronecker", (12, 15), "(3x5) ⊗ (4x3)"),
        ("kronecker", (12, 12), "(2x6) ⊗ (6x2)"),
        ("kronecker joint", (24, 27), "(6x3) ⊗ (4x9)"),
        ("kronecker joint", (12, 27), "(3x3) ⊗ (4x9)"),
    ]
    assert compiled(choices) == Counter(expected)


def test_pruned_weights_stay_dense():
    choices = [Choice(layer, (Pruned(0.5),)) for layer in ("lstm", "gru", "head")]
    shapes = [(48, 15), (48, 12), (24, 15), (24, 12), (12, 15), (12, 12), (12, 27)]
    assert compiled(choices) == Counter(
        ("dense", shape, "no structure exactly") for shape in shapes
    )
