"""Serves microTVM's Project API for the folder that this file lies in: a project, or none yet."""

import sys
from pathlib import Path

from tvm_kp.cli.main import main

sys.exit(main(["micro", "server", "--project-dir", str(Path(__file__).parent), *sys.argv[1:]]))
