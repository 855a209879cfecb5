"""Flashes a board that the emulator plays: starts it with an image in place of the one before.

``probe.py IMAGE FOLDER MACHINE…``, with more arguments of QEMU: in the folder ``boards`` has the
process of every flash, and ``port`` is a link to the terminal that is the board's line, if it is.
"""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

image, folder, machine = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
boards, pid = folder / "boards", folder / "pid"
if pid.exists():
    with suppress(ProcessLookupError):
        os.kill(int(pid.read_text()), signal.SIGKILL)
command = ["qemu-system-arm", "-kernel", image, "-M", *machine, "-nodefaults", "-display", "none"]
command += ["-monitor", "none", "-daemonize", "-pidfile", str(pid)]
said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
with boards.open("a") as file:
    file.write(pid.read_text())
if terminal := re.search("/dev/pts/[0-9]+", said):
    (folder / "port").unlink(missing_ok=True)
    (folder / "port").symlink_to(terminal[0])
