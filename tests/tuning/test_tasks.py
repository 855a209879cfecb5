from __future__ import annotations

import numpy as np
import torch
from torch import nn

import tvm_kp
from tvm_kp import tuning
from tvm_kp.kernel.schedule import is_offered
from tvm_kp.target import Target
from tvm_kp.tuning import Task


def test_calls_are_those_of_an_inference(
    net: nn.Module, net_inputs: tuple[torch.Tensor], net_tasks: list[Task], m4: Target
) -> None:
    model = tvm_kp.compile(net, m4, example_inputs=net_inputs).model
    result = tvm_kp.run(model, m4, {"x": net_inputs[0].numpy()}, profile=True)
    counted = sorted(round(operator.calls) for operator in result.operators)
    assert sorted(task.calls for task in net_tasks) == counted
    assert len({task.key for task in net_tasks}) == len(net_tasks) > 1


def test_weights_and_biases_are_constants(net: nn.Module, task: Task) -> None:
    _, weights, bias = task.function.params[:3]
    assert task.results == 1 and sorted(task.constants) == [1, 2]
    for index, param in ((1, weights), (2, bias)):
        constant = task.constants[index]
        assert (constant.shape, str(constant.dtype)) == (
            tuple(int(size) for size in param.shape),
            str(param.dtype),
        )
    kept = np.sort(
        np.concatenate([net.rnn.weight_ih_l0.detach(), net.rnn.weight_hh_l0.detach()], 1)
    )
    np.testing.assert_array_equal(np.sort(task.constants[1].ravel()), np.sort(kept.ravel()))


def test_a_state_is_updated_in_place(net_tasks: list[Task]) -> None:
    (cell,) = (task for task in net_tasks if task.joined)
    (state,) = cell.joined
    result, operand = state.indices
    assert operand < len(cell.function.params) - cell.results <= result


def test_all_ways_are_offered(net_tasks: list[Task], m4: Target) -> None:
    for task in net_tasks:
        assert task.ways and task.default == task.ways[0]
        assert all(is_offered(task.function, m4.isa, way) for way in task.ways)


def test_kernels_that_differ_in_numbers_alone_are_one(m4: Target) -> None:
    """Two layers of one shape, whose weights differ."""
    layers = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5))
    found = tuning.tasks(layers, m4, example_inputs=(torch.zeros(1, 5),))
    assert [task.calls for task in found] == [3]


def test_stages_are_told(net: nn.Module, net_inputs: tuple[torch.Tensor], m4: Target) -> None:
    told: list[str] = []
    tuning.tasks(
        net, m4, example_inputs=net_inputs, progress=lambda stage, _seconds: told.append(stage)
    )
    assert told[0] == "load TVM" and told[-1] == "legalize"
