from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from tvm_kp.board import Project, Session, create
from tvm_kp.board.layout import HOST_DRIVEN
from tvm_kp.errors import RunError
from tvm_kp.target import Target


def project(name: str, folder: Path) -> Project:
    from fuzz_link import SUM

    return create(SUM, Target.load(name), folder / "p", kind=HOST_DRIVEN)


@pytest.mark.parametrize(("name", "frames"), [("host", 1500), ("mps2-an386", 120)])
def test_spoiled_lines_give_right_values_or_no_answer(
    name: str, frames: int, tmp_path: Path
) -> None:
    from faulty_line import FAULTS
    from fuzz_link import fuzz_sessions

    counts = fuzz_sessions(project(name, tmp_path), frames, seed=1)
    assert sum(counts[fault] for fault in FAULTS) >= frames
    assert counts["inferences"] > frames // 40
    assert all(counts[fault] > 0 for fault in FAULTS)


class Lying:
    """A session whose first output is not what was computed."""

    @staticmethod
    @contextmanager
    def session(project: Project, **settings: object) -> Iterator[Session]:
        with Session(project, **settings) as session:  # type: ignore[arg-type]
            step = session.step
            session.step = lambda x: step(x=x) | {"total": x + 1}  # type: ignore[method-assign]
            yield session


def test_a_wrong_value_is_found(tmp_path: Path) -> None:
    import fuzz_link

    made = project("host", tmp_path)
    with (
        patch.object(fuzz_link.tvm_kp, "Session", Lying.session, create=True),
        pytest.raises(RunError, match="wrong values in step 1 of session 1"),
    ):
        fuzz_link.fuzz_sessions(made, 100, seed=0)


def test_every_fault_spoils_as_it_says() -> None:
    import random
    from collections import Counter

    from faulty_line import FAULTS, Spoiler

    frame = np.arange(1, 100, dtype=np.uint8).tobytes() + b"\0"
    made = {}
    for name, fault in FAULTS.items():
        spoiler = Spoiler(random.Random(0), 0.0, Counter())
        assert spoiler.pass_on(frame[:50]) == b"" and spoiler.pass_on(frame[50:]) == frame
        made[name] = b"".join(fault(spoiler, frame))
    assert made["dropped"] == made["reordered"] == b""
    assert made["duplicated"] == made["of the past"] == frame * 2
    assert frame.startswith(made["truncated"]) and made["truncated"] != frame
    assert len(made["corrupted"]) == len(frame) and made["corrupted"] != frame
    assert made["random"].endswith(b"\0" + frame) and made["random"].count(b"\0") > 2
