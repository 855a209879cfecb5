from __future__ import annotations

import numpy as np
import pytest

from tvm_kp.errors import RunError
from tvm_kp.target import Target
from tvm_kp.tuning import remote

BOARD = Target.load("mps2-an386")
ADD = "void {0}(unsigned char *memory);\nvoid {0}(unsigned char *memory) {{ memory[0] += {1}; }}\n"
MEMORIES = (np.array([1, 2, 3], np.uint8), np.array([9, 8, 7], np.uint8))


def source(symbol: str, text: str) -> remote.Source:
    return remote.Source(symbol, text, MEMORIES)


def test_what_a_board_answers():
    hangs = "void c(unsigned char *m);\nvoid c(unsigned char *m) { for (;;) m[0]++; }\n"
    sources = [source("a", ADD.format("a", 1)), source("b", "no C"), source("c", hangs)]
    answer = remote.serve(BOARD, remote.request(sources, BOARD, limit=1000))
    right, refused, endless = remote.results(answer)
    assert [run.memory.tolist() for run in right.runs] == [[2, 2, 3], [10, 8, 7]]
    assert right.failure == "" and all(run.instructions > 0 for run in right.runs)
    assert (refused.failure, refused.runs) == ("build", ()) and "b.c" in refused.message
    assert endless.failure == "hang"


def test_cycles():
    request = remote.request([source("a", ADD.format("a", 1))], BOARD, limit=1000, cycles=True)
    (result,) = remote.results(remote.serve(BOARD, request))
    assert all(run.cycles and run.cycles > run.instructions for run in result.runs)


def test_another_board_refuses():
    request = remote.request([source("a", ADD.format("a", 1))], BOARD, limit=1000)
    answer = remote.serve(Target.load("mps3-an547"), request)
    with pytest.raises(RunError, match="this is a mps3-an547, not a mps2-an386"):
        remote.results(answer)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04"])
def test_what_is_no_request(content):
    with pytest.raises(RunError, match="no request or answer"):
        remote.results(remote.serve(BOARD, content))
