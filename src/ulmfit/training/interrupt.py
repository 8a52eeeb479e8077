"""An end that is asked for, by Ctrl-C or SIGTERM, and waits for that of a step: nothing is lost."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM asked for the end, as `kill` does, and a scheduler before it kills."""


SIGNALS = {signal.SIGINT: KeyboardInterrupt, signal.SIGTERM: Terminated}
"""What ends a run, and the exception it ends with."""


class Interrupt:
    """Whether an end has been asked for, and the exception to end with."""

    def __init__(self) -> None:
        self.asked = False
        self.exception: type[KeyboardInterrupt] = KeyboardInterrupt


@contextmanager
def terminable() -> Iterator[None]:
    """Raise `Terminated` at SIGTERM, where that would have ended the process without a word."""
    if not _gets_signals() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def terminate(*_: Any) -> None:
        raise Terminated

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def patient_interrupt() -> Iterator[Interrupt]:
    """Note the first signal that asks for an end, and say so; the second acts at once, as ever.

    In a thread other than the main one, which gets no signals, nothing is changed, nor the signals
    that Python does not handle: the interrupts that a shell has ignored by what it runs in the
    background, and SIGTERM outside of `terminable`.
    """
    interrupt = Interrupt()
    handlers = {each: signal.getsignal(each) for each in SIGNALS} if _gets_signals() else {}
    handled = {each: handler for each, handler in handlers.items() if callable(handler)}

    def give_back() -> None:
        for each, handler in handled.items():
            signal.signal(each, handler)

    def note(number: int, _: Any) -> None:
        interrupt.asked, interrupt.exception = True, SIGNALS[signal.Signals(number)]
        give_back()
        with suppress(OSError):  # whoever reads it may have been interrupted too, as `tee` is
            print("interrupted: the step at hand is ended first; again: at once", file=sys.stderr)

    for each in handled:
        signal.signal(each, note)
    try:
        yield interrupt
    finally:
        give_back()


def _gets_signals() -> bool:
    return threading.current_thread() is threading.main_thread()
