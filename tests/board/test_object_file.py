"""What an object has in it is what the compiler's tools say."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tvm_kp.board.object_file import ObjectFile, Symbol

SOURCE = """
extern int other(int);
extern int absent(int) __attribute__((weak));
const int table[5] = {1, 2, 3, 4, 5};
static char room[12] __attribute__((used));
int twice(int x) { return other(x) + (absent ? absent(x) : 0); }
"""


def test_sections_and_symbols(tmp_path: Path) -> None:
    (tmp_path / "a.c").write_text(SOURCE)
    flags = ("-mcpu=cortex-m4", "-Os", "-fdata-sections", "-c", "a.c")
    subprocess.run(["arm-none-eabi-gcc", *flags], cwd=tmp_path, check=True)
    found = ObjectFile((tmp_path / "a.o").read_bytes())
    symbols = {symbol.name: symbol for symbol in found.symbols()}
    assert symbols["table"] == Symbol("table", 20, ".rodata.table", False)
    assert symbols["room"] == Symbol("room", 12, ".bss.room", False)
    assert symbols["other"] == Symbol("other", 0, "", True)
    assert symbols["absent"] == Symbol("absent", 0, "", False)
    assert symbols["twice"].nbytes == found.flash[".text"] > 0
    assert found.flash[".rodata.table"] == 20 and found.ram[".bss.room"] == 12
    assert ".comment" not in found.flash
