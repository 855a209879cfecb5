"""One network of ``scripts/reproduce``: trained, and kept with what is known of its training."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any
from zlib import crc32

import torch
from benchmarks import BENCHMARKS, Benchmark, Recipe, numbers
from classifier import Classifier, Ensemble
from datasets import Data
from torch import Tensor

from tvm_kp.cli import output
from tvm_kp.compress import Teacher, fit
from tvm_kp.compress.samples import Samples, accuracy

QUICK_EPOCHS, QUICK_TRAIN, QUICK_TEST = 2, 1000, 300  # of --quick


@dataclass(frozen=True)
class Job:
    """The network of ``method`` for ``benchmark``, drawn and trained with ``seed``.

    Its files are in ``folder``. A ``quick`` one sees few samples and learns little.
    """

    benchmark: str
    method: str
    seed: int
    folder: Path
    data: Path
    quick: bool = False

    @property
    def of(self) -> Benchmark:
        """The benchmark itself."""
        return BENCHMARKS[self.benchmark]

    @property
    def recipe(self) -> Recipe:
        """How it is trained."""
        recipe = self.of.recipe(self.method)
        return replace(recipe, epochs=QUICK_EPOCHS) if self.quick else recipe

    @property
    def teachers(self) -> tuple[Job, ...]:
        """The dense networks that it learns from, if it is none itself."""
        if self.method == "dense":
            return ()
        many = self.of.teachers
        seeds = range(many) if many > 1 else (self.seed,)
        return tuple(replace(self, method="dense", seed=seed) for seed in seeds)

    def file(self, ending: str) -> Path:
        """A file of the job: "pt" has the weights, "json" the result."""
        return self.folder / self.benchmark / f"{self.method}-{self.seed}.{ending}"

    @property
    def checkpoint(self) -> Path:
        """The state of a training that was cut off; one with other settings has another name."""
        return self.file(f"{crc32(json.dumps(self.settings()).encode()):08x}.checkpoint")

    def settings(self) -> dict[str, Any]:
        """What the result depends on: another one is trained anew."""
        choice = self.of.choice(self.method)
        form = ", ".join(map(str, choice.forms)) if choice else f"{self.method}"
        taught = [dense.settings() for dense in self.teachers]
        return {"form": form, "quick": self.quick, "teachers": taught, **asdict(self.recipe)}

    def load_data(self) -> Data:
        """Samples to train on and to test on; fewer of them if ``quick``."""
        data = self.of.load(self.data)
        if not self.quick:
            return data
        train, test = _some(*data.train, QUICK_TRAIN), _some(*data.test, QUICK_TEST)
        return Data(train, test, data.augment)

    def result(self) -> dict[str, Any] | None:
        """What ``train`` has written; None if that is still to be done."""
        try:
            found: dict[str, Any] = json.loads(self.file("json").read_text())
        except (OSError, ValueError):
            return None
        return found if found.get("settings") == self.settings() else None

    def network(self) -> Classifier:
        """The trained network, in eval mode."""
        network = self.of.make(self.method)
        network.load_state_dict(torch.load(self.file("pt"), weights_only=True))
        return network.eval()


def train(job: Job) -> None:
    """Trains on one thread, from the last checkpoint if there is one, and writes the files."""
    torch.set_num_threads(1)
    data, recipe = job.load_data(), job.recipe
    torch.manual_seed(job.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = job.of.make(job.method).to(device)
    begin = perf_counter()
    history = fit(
        network,
        *data.train,
        epochs=recipe.epochs,
        lr=recipe.lr,
        batch_size=recipe.batch_size,
        weight_decay=recipe.weight_decay,
        seed=job.seed,
        augment=data.augment,
        teacher=_teacher(job, device),
        checkpoint=job.checkpoint,
    )
    seconds = perf_counter() - begin
    network.to("cpu")
    torch.save(network.state_dict(), job.file("pt"))
    result = {
        "settings": job.settings(),
        "numbers": numbers(network),
        "accuracy": accuracy(network, Samples(*data.test)),
        "seconds": seconds,
        "history": [asdict(epoch) for epoch in history],
    }
    output.write_json(job.file("json"), result)
    job.checkpoint.unlink(missing_ok=True)


def _teacher(job: Job, device: torch.device) -> Teacher | None:
    if not job.teachers:
        return None
    dense, recipe = [teacher.network() for teacher in job.teachers], job.recipe
    model = dense[0] if len(dense) == 1 else Ensemble(dense)
    return Teacher(model.to(device), recipe.temperature, recipe.share, recipe.mix)


def _some(x: Tensor, y: Tensor, count: int) -> tuple[Tensor, Tensor]:
    chosen = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:count]
    return x[chosen], y[chosen]
