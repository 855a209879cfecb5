"""Samples of a user's arrays, how they are split, and the share that a model gets right."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp.compress.samples import Samples, accuracy, samples
from tvm_kp.errors import InputError


def given(count=10):
    x = torch.randn(count, 3, generator=torch.Generator().manual_seed(0))
    return Samples(x, (x[:, 0] > 0).long())


def test_samples_of_any_integers():
    made = samples({"x": np.ones((4, 3), "float32"), "y": np.array([0, 1, 2, 3], "uint8")}, "x.npz")
    assert made.y.dtype == torch.int64 and made.y.tolist() == [0, 1, 2, 3]
    with pytest.raises(InputError, match=r"x\.npz has no arrays; it needs x"):
        samples({}, "x.npz")


def test_a_split_loses_nothing():
    whole = given()
    train, test = whole.split(3, seed=1)
    assert (len(train), len(test)) == (7, 3)
    rows = sorted(torch.cat([train.x, test.x]).tolist())
    assert rows == sorted(whole.x.tolist())
    assert torch.equal(train.y, (train.x[:, 0] > 0).long())
    assert torch.equal(whole.split(3, seed=1)[1].x, test.x)
    assert not torch.equal(whole.split(3, seed=2)[1].x, test.x)


def test_guesses():
    assert Samples(torch.zeros(4, 1), torch.tensor([2, 0, 2, 2])).guessed() == 0.75


def test_accuracy_of_many():
    """More samples than are looked at together."""
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[-1.0, 0, 0], [1, 0, 0]]))
        model.bias.zero_()
    many = given(1300)
    assert accuracy(model, many) == 1
    assert accuracy(model, Samples(many.x, 1 - many.y)) == 0
