"""`python -m ulmfit` is the command `ulmfit`."""

from __future__ import annotations

import sys

from ulmfit.cli import main

sys.exit(main())
