"""The helpers of integer arithmetic are numpy's on the host, and few instructions on a board."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tvm_kp import fixedpoint
from tvm_kp.c.support import helpers

BITS = range(2, 32)
OTHERS = ("kp_interpolate", "kp_multiply_high")
TABLE = fixedpoint.tanh_table()


def functions() -> str:
    """Every helper over an array."""
    calls = {f"saturate{bits}": f"kp_saturate{bits}(x[i])" for bits in BITS}
    calls["high"] = "kp_multiply_high(x[i], x[n - 1 - i])"
    calls["curve"] = "kp_interpolate(table + 256, x[i], 7, 64, 7)"
    text = "#include <stdint.h>\n" + helpers([*OTHERS, *(f"kp_saturate{b}" for b in BITS)])
    for name, call in calls.items():
        head = f"void {name}(const int16_t *table, const int32_t *x, int32_t *y, int32_t n)"
        text += f"{head};\n{head} {{\n  for (int32_t i = 0; i < n; ++i) {{ y[i] = {call}; }}\n"
        text += "  (void)table;\n}\n"
    return text


@pytest.mark.parametrize("define", ["", "-D__ARM_ARCH_6M__"])
def test_they_compute_what_numpy_says(
    define: str, compile_strictly: Callable[..., None], tmp_path: Path
) -> None:
    """Also as they are for cores without a long multiply."""
    compile_strictly({"f.c": functions()}, "host")
    command = ["gcc", "-std=c99", "-O2", "-fPIC", "-shared", "f.c", "-o", "f.so"]
    command += [define, "-fsanitize=undefined", "-fno-sanitize-recover=all"] if define else []
    subprocess.run(command, cwd=tmp_path, check=True)
    library = ctypes.CDLL(str(tmp_path / "f.so"))

    def call(name: str, x: np.ndarray) -> np.ndarray:
        y = np.empty_like(x)
        library[name](*(a.ctypes.data_as(ctypes.c_void_p) for a in (TABLE, x, y)), len(x))
        return y

    for bits in BITS:
        low, high = fixedpoint.limits(bits)
        x = np.array([-(2**31), low - 1, low, -1, 0, high, high + 1, 2**31 - 1], "int32")
        np.testing.assert_array_equal(call(f"saturate{bits}", x), fixedpoint.saturate(x, bits))
    wide = np.random.default_rng(0).integers(-(2**31), 2**31, 10_000).astype("int32")
    wide[:4], wide[-4:] = [-(2**31), 2**31 - 1, -1, 0x8000], [-(2**31), -(2**31), 1, -0x8000]
    found, expected = call("high", wide), fixedpoint.multiply_high(wide, wide[::-1])
    np.testing.assert_array_equal(found, expected)
    every = np.arange(-(2**15), 2**15, dtype="int32")
    np.testing.assert_array_equal(call("curve", every), fixedpoint.tanh(every, 12))


def test_they_are_few_instructions(compile_strictly: Callable[..., None], tmp_path: Path) -> None:
    compile_strictly({"f.c": functions()}, "mps2-an386")
    disassembly = subprocess.run(
        ["arm-none-eabi-objdump", "-d", "mps2-an386-f.c.o"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert all(f"#{bits}," in disassembly for bits in BITS)
    assert disassembly.count("ssat") == len(BITS)
    assert disassembly.count("smlad") == disassembly.count("mla\t") == 1


def test_no_library_multiplies_on_a_cortex_m0(tmp_path: Path) -> None:
    (tmp_path / "f.c").write_text(functions())
    core = ["-mcpu=cortex-m0", "-mthumb", "-mfloat-abi=soft"]
    command = ["arm-none-eabi-gcc", "-std=c99", "-O3", *core, "-c", "f.c", "-o", "f.o"]
    subprocess.run(command, cwd=tmp_path, check=True)
    names = ["arm-none-eabi-nm", "--undefined-only", "f.o"]
    done = subprocess.run(names, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == ""
