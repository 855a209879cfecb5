from __future__ import annotations

from argparse import Namespace

from tvm_kp.cli import console


def test_stages_with_seconds_when_verbose(capsys):
    with console.progress(Namespace(verbose=1, verbose_after=0), "Compiling") as progress:
        progress("import [x]", 2.5)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].split() == ["2.50", "s", "import", "[x]"]
    assert lines[1].endswith("total")


def test_silent_in_a_pipe(capsys):
    with console.progress(Namespace(verbose=0, verbose_after=0), "Compiling") as progress:
        progress("import", 2.5)
    assert capsys.readouterr() == ("", "")


def test_wide_enough_in_a_pipe(capsys):
    console.stdout().print("x" * 115)
    assert capsys.readouterr().out == "x" * 115 + "\n"
