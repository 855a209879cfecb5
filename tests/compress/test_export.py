"""Exported programs: they can be loaded, and of what cannot be exported one line is told."""

from __future__ import annotations

import io
import logging

import pytest
import torch
from torch import nn

from tvm_kp.compress import Choice, Kronecker, LowRank, Plan, apply
from tvm_kp.compress.export import export
from tvm_kp.errors import ModelError


@pytest.mark.parametrize("form", [Kronecker(((2, 2), (3, 2))), LowRank(2)], ids=str)
def test_a_program_can_be_loaded(form):
    """Also of one product, for which a sum of more would leave an operator without outputs."""
    model = nn.Linear(4, 6)
    apply(model, Plan((Choice("", (form,)),)))
    program = torch.export.load(io.BytesIO(export(model, (1, 4)))).module()
    x = torch.randn(1, 4)
    assert torch.equal(program(x), model(x))
    assert model.training


def test_a_program_that_cannot_be_made(capfd):
    class Fork(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ModelError, match=r"cannot export Fork for an input \(1, 4\)") as error:
        export(Fork(), (1, 4))
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == logging.NOTSET
