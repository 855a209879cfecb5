"""Helpers on four floats please strict compilers; a board says how near they are, in schedules."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tvm_kp.c.support import helpers, is_helper
from tvm_kp.c.tanh_helpers import LIMIT

NAMES = ["kp_tanhf_x4", "kp_sigmoidf_x4", "kp_maxf_x4", "kp_minf_x4", "kp_loadf_x4", "kp_storef_x4"]
USE = """\
float32x4_t use(float32x4_t a, float32x4_t b);
float32x4_t use(float32x4_t a, float32x4_t b) {
  return kp_maxf_x4(kp_tanhf_x4(a), kp_minf_x4(kp_sigmoidf_x4(b), a));
}
void move(float *to, const float *from);
void move(float *to, const float *from) { kp_storef_x4(to, kp_loadf_x4(from, 3), 3); }
"""


def test_strict_compilers_take_them(compile_strictly: Callable[..., None]) -> None:
    assert all(map(is_helper, NAMES))
    compile_strictly({"m.c": "#include <stdint.h>\n" + helpers(NAMES) + USE}, "mps3-an547")


@pytest.mark.parametrize("level", ["-O0", "-Os"])
def test_registers_suffice(level: str, tmp_path: Path) -> None:
    """At every level of optimization."""
    (tmp_path / "m.c").write_text("#include <stdint.h>\n" + helpers(NAMES) + USE)
    core = ["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard", level, "-c", "m.c"]
    subprocess.run(["arm-none-eabi-gcc", *core], cwd=tmp_path, check=True)


def test_a_sigmoid_is_half_a_tanh_of_half() -> None:
    tanh, sigmoid = (
        [float(n.rstrip("f")) for n in found.split(", ")]
        for found in re.findall(r"numbers\[\] = {(.*)}", helpers(NAMES[:2]))[::-1]
    )
    assert (tanh[0], sigmoid[0]) == (LIMIT, 2 * LIMIT)
    assert [s / t for s, t in zip(sigmoid[1:5], tanh[1:5], strict=True)] == [
        4**-4,
        4**-3,
        4**-2,
        0.25,
    ]
    assert (tanh[-2:], sigmoid[-2:]) == ([1, 0], [1, 0.5])
