"""Keeping freed memory for the next step, where the C library would give it back."""

from __future__ import annotations

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4
"""Names of the settings in glibc's `malloc.h`."""


def keep_freed_memory() -> bool:
    """Let glibc keep large blocks for reuse; tell whether it could be asked to.

    Each training step allocates and frees blocks of tens of megabytes. By default they go back to
    the system at once, and every step pays for their pages anew: see `benchmarks/LOG.md`.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # not glibc
        return False
    return bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, 2**31 - 1))
