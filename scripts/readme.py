"""The parts of README.md that scripts write, each between two markers."""

from __future__ import annotations

from pathlib import Path

from tvm_kp.cli import output

README = Path(__file__).parent.parent / "README.md"


def rewrite(script: str, text: str) -> None:
    """Puts ``text`` between the markers of ``scripts/<script>``."""
    start = f"<!-- {script}: scripts/{script} --readme writes this -->\n"
    end = f"<!-- end of {script} -->\n"
    before, rest = README.read_text(encoding="utf-8").split(start)
    output.write(README, f"{before}{start}\n{text}\n{end}{rest.split(end)[1]}")
