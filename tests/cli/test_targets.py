from __future__ import annotations

from tvm_kp import target


def test_list_has_every_target(tvm_kp_main):
    answer = tvm_kp_main("targets")
    assert answer.code == 0
    for name in target.names():
        line = next(line for line in answer.out.splitlines() if line.startswith(name))
        assert target.Target.load(name).core in line


def test_one_target_whole(tvm_kp_main):
    out = tvm_kp_main("targets", "mps2-an386").out
    for key, value in (
        ("core", "cortex-m4"),
        ("memories.ram.origin", "0x20000000"),
        ("memories.ram.length", "4096"),
        ("toolchain.prefix", "arm-none-eabi-"),
        ("runner.machine", "mps2-an386"),
    ):
        assert any(line.split()[:2] == [key, value] for line in out.splitlines()), key


def test_a_file_of_ones_own(tvm_kp_main, tmp_path):
    shipped = (target.content_dir("targets") / "mps2-an386.toml").read_text()
    own = tmp_path / "own.toml"
    own.write_text(shipped.replace('"Arm MPS2', '"[Mine] Arm MPS2'))
    assert "[Mine] Arm MPS2" in tvm_kp_main("targets", own).out
