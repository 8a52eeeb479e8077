"""What a command that keeps no log says beside its result."""

from __future__ import annotations

import sys

from ulmfit.models.classifier import Classifier
from ulmfit.text.printable import printable
from ulmfit.text.unicode import UnicodeCheck


def warn_of_columns(classifier: Classifier, given: int, quiet: bool) -> None:
    """Say on standard error if documents have another number of texts than those of training."""
    trained = classifier.text_columns
    if trained not in (None, given) and not quiet:
        print(
            f"ulmfit: warning: documents have {given} text column(s), where those of training had "
            f"{trained}; --reading.text-columns names them",
            file=sys.stderr,
        )


def warn_of(unicode: UnicodeCheck, quiet: bool) -> None:
    """Say on standard error what was not valid Unicode, if anything was; nothing if `quiet`."""
    if (report := unicode.report()) and not quiet:
        print(f"ulmfit: warning: {printable(report)}", file=sys.stderr)
