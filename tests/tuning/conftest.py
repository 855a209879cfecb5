"""A small model whose kernels are tuned, and what tuning makes of one of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tvm_kp import tuning
from tvm_kp.kernel.schedule import Way
from tvm_kp.target import Target
from tvm_kp.tuning import Task
from tvm_kp.tuning.candidates import Candidate, Job, as_json, build
from tvm_kp.tuning.samples import Sample, samples_of


class Net(nn.Module):
    """An LSTM, and a layer that reads its last state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = nn.LSTM(4, 6), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0][-1])


@pytest.fixture(scope="session")
def net() -> nn.Module:
    return Net().eval()


@pytest.fixture(scope="session")
def net_inputs() -> tuple[torch.Tensor]:
    return (torch.zeros(5, 1, 4),)


@pytest.fixture(scope="session")
def net_file(
    net: nn.Module,
    net_inputs: tuple[torch.Tensor],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.pt2"
    torch.export.save(torch.export.export(net, net_inputs), path)
    return path


@pytest.fixture(scope="session")
def m4() -> Target:
    return Target.load("mps2-an386")


@pytest.fixture(scope="session")
def net_tasks(net: nn.Module, net_inputs: tuple[torch.Tensor], m4: Target) -> list[Task]:
    return tuning.tasks(net, m4, example_inputs=net_inputs)


@pytest.fixture(scope="session")
def task(net_tasks: list[Task]) -> Task:
    """The products of a time step: weights and biases are constants, there are several ways."""
    return next(task for task in net_tasks if len(task.constants) == 2 and len(task.ways) > 1)


@pytest.fixture(scope="session")
def samples(task: Task) -> list[Sample]:
    return samples_of(task)


@pytest.fixture(scope="session")
def job_of(m4: Target) -> Callable[[Task, Way, Path], Job]:
    def make(task: Task, way: Way, folder: Path) -> Job:
        function = as_json(task.function)
        return Job(function, task.aliased, task.joined, way, m4, "kp_trial", folder)

    return make


@pytest.fixture(scope="session")
def candidate(
    task: Task,
    job_of: Callable[[Task, Way, Path], Job],
    tmp_path_factory: pytest.TempPathFactory,
) -> Candidate:
    """The task scheduled as it is by default."""
    return build(job_of(task, task.default, tmp_path_factory.mktemp("candidate")))
