"""What a command that keeps no log says beside its result."""

from __future__ import annotations

import sys

from ulmfit.text.printable import printable
from ulmfit.text.unicode import UnicodeCheck


def warn_of(unicode: UnicodeCheck, quiet: bool) -> None:
    """Say on standard error what was not valid Unicode, if anything was; nothing if `quiet`."""
    if (report := unicode.report()) and not quiet:
        print(f"ulmfit: warning: {printable(report)}", file=sys.stderr)
