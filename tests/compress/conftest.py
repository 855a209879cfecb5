from __future__ import annotations

from collections.abc import Iterator

import pytest

from tvm_kp.compress import training


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Several only wait for each other where tensors are small."""
    with training.one_thread():
        yield
