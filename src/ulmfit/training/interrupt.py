"""An interrupt (Ctrl-C) that waits for the end of a step, so that nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Interrupt:
    """Whether the user has asked for an end."""

    def __init__(self) -> None:
        self.asked = False


@contextmanager
def patient_interrupt() -> Iterator[Interrupt]:
    """Note the first interrupt, and say so; the second one acts at once, as ever.

    In a thread other than the main one, which gets no signals, nothing is changed, nor where
    interrupts are ignored, as a shell has it for what it runs in the background.
    """
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or before in (signal.SIG_IGN, None):
        yield interrupt
        return

    def note(*_: Any) -> None:
        interrupt.asked = True
        signal.signal(signal.SIGINT, before)
        with suppress(OSError):  # whoever reads it may have been interrupted too, as `tee` is
            print("interrupted: the step at hand is ended first; again: at once", file=sys.stderr)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
