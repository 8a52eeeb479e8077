"""`python -m ulmfit` is the command `ulmfit`."""

from __future__ import annotations

import os
import sys

from ulmfit.cli import main

code = main()
if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    # Threads that PyTorch's process group leaves behind now and then abort a process that is done,
    # and with it the whole launch: leave without a farewell.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
sys.exit(code)
