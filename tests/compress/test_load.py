"""Models from a user's files, the same whatever else is imported, and what is wrong with others."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from tvm_kp.compress.load import load_model
from tvm_kp.errors import ModelError


@pytest.fixture
def model_file(tmp_path):
    """Writes a file with the text; gives "file:factory"."""

    def write(text, factory="make", name="model.py"):
        (tmp_path / name).write_text(text)
        return f"{tmp_path / name}:{factory}"

    return write


LINEAR = "from torch import nn\ndef make():\n    return nn.Linear(3, 2)\n"


def test_is_in_eval_mode_and_the_same_each_time(model_file):
    first, again, other = (load_model(model_file(LINEAR), seed=seed) for seed in (1, 1, 2))
    assert not first.training
    assert torch.equal(first.weight, again.weight) and not torch.equal(first.weight, other.weight)


def test_modules_beside_the_file(model_file, tmp_path):
    """Also where the file has the name of a module, and none stays on the path."""
    path = list(sys.path)
    model_file("SIZE = 7\n", name="sizes_of_mine.py")
    text = "import json\nfrom torch import nn\nfrom sizes_of_mine import SIZE\n"
    text += "def make():\n    import sizes_of_mine\n    return nn.Linear(sizes_of_mine.SIZE, SIZE)"
    assert load_model(model_file(text, name="json.py")).weight.shape == (7, 7)
    assert sys.path == path
    assert "dumps" in vars(sys.modules["json"])


def test_dataclasses_and_classes(model_file):
    text = "from __future__ import annotations\nfrom dataclasses import dataclass\n"
    text += "from torch import nn\n@dataclass\nclass Sizes:\n    n: int = 3\n"
    text += (
        "class Net(nn.Linear):\n    def __init__(self):\n        super().__init__(Sizes().n, 2)\n"
    )
    assert load_model(model_file(text, "Net")).weight.shape == (2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def make(:\n", r"model.py raised SyntaxError: .*\(model.py, line 1\)$"),
        ("\nimport nothing_such\n", r"ModuleNotFoundError: No module .*nothing_such' \(line 2\)"),
        ("def make():\n    raise ValueError\n", r"model.py raised ValueError \(line 2\)"),
        ("def make():\n    raise SystemExit('a\\n b')\n", r"SystemExit: a b \(line 2\)"),
        ("def make(size):\n    pass\n", r"TypeError: make\(\) missing 1 required"),
        ("def make():\n    return {}\n", r"model.py:make returns a dict; return the nn.Module"),
        ("make = 3\n", "has no function make; it defines none"),
        ("def build():\n    pass\n", "has no function make; there are build"),
        (f"{LINEAR[:-1]}.to('meta')\n", "parameters are on meta; move"),
        (LINEAR.replace("Linear(3, 2)", "LazyLinear(2)"), "has lazy layers: let it call the model"),
    ],
)
def test_files_that_make_no_model(model_file, text, words):
    with pytest.raises(ModelError, match=words):
        load_model(model_file(text))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("state.pth", "give FILE.py:FACTORY --weights state.pth"),
        ("model.py", "MODEL is model.py; give FILE.py:FACTORY"),
        ("model.py:", "MODEL is model.py:; give"),
        ("model:make", "for example model.py:make"),
        ("none.py:make", "no file none.py: give"),
    ],
)
def test_specs(spec, words):
    with pytest.raises(ModelError, match=words):
        load_model(spec)


def test_weights(model_file, tmp_path):
    state = {"weight": torch.ones(2, 3), "bias": torch.zeros(2)}
    torch.save(state, tmp_path / "state.pt")
    model = load_model(model_file(LINEAR), tmp_path / "state.pt")
    assert torch.equal(model.weight, state["weight"])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello", r"cannot read .*state.pt as weights: save them with"),
        (nn.Linear(3, 2), r"cannot read .*state.pt as weights"),
        ([torch.ones(2)], r"state.pt holds a list: save the weights"),
        ({1: torch.ones(2)}, r"state.pt holds a dict: save the weights"),
        ({"state_dict": {}}, r"does not fit Linear: Missing key\(s\) in state_dict: \"weight\""),
        ({"weight": torch.ones(3, 3), "bias": torch.ones(2)}, "size mismatch for weight"),
        ({"weight": torch.full((2, 3), np.nan), "bias": torch.ones(2)}, "weight has NaN or"),
        (None, r"no file .*state.pt: save the weights"),
    ],
    ids=["text", "module", "list", "numbers", "nested", "size", "nan", "absent"],
)
def test_weights_that_do_not_fit(model_file, tmp_path, content, words):
    path = tmp_path / "state.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(ModelError, match=words) as error:
        load_model(model_file(LINEAR), path)
    assert "\n" not in str(error.value)
