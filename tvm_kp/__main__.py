"""``python -m tvm_kp``."""

import sys

from tvm_kp.cli.main import main

sys.exit(main())
