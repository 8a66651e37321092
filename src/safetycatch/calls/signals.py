"""The first SIGINT or SIGTERM asks for a drain, the second leaves at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopFlag:
    """Set once, with the number of the signal that asked for it; those who wait are called back."""

    def __init__(self) -> None:
        self.signal_number = 0
        self._callbacks: list[Callable[[], None]] = []
        # A signal handler may interrupt the thread that holds the lock.
        self._lock = threading.RLock()

    def __bool__(self) -> bool:
        return self.signal_number != 0

    def set(self, signal_number: int = signal.SIGINT) -> None:
        """Ask everybody who listens to stop; `signal_number` decides the exit code (128 + it)."""
        with self._lock:
            if self.signal_number:
                return
            self.signal_number = int(signal_number)
            callbacks = list(self._callbacks)
        for call in callbacks:
            call()

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` when the flag is set (at once when it is); return a function that ends the listening."""
        with self._lock:
            self._callbacks.append(callback)
            already = bool(self)
        if already:
            callback()

        def end() -> None:
            with self._lock:
                if callback in self._callbacks:
                    self._callbacks.remove(callback)

        return end


LEFT = b"\nleft at once: calls in flight are perhaps paid; the same command resumes\n"


@contextmanager
def install(flag: StopFlag | None = None, *, leave: Callable[[int], None] = os._exit) -> Generator[StopFlag]:
    """Handle SIGINT and SIGTERM inside the block: the first sets the flag, the second calls `leave(128 + number)`.

    Only the main thread can handle signals; elsewhere the flag is returned and nothing is installed.
    """
    stop = flag or StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop:
            with suppress(OSError):
                os.write(2, LEFT)
            leave(128 + number)
        stop.set(number)

    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            # None: a handler that was not set from Python cannot be put back.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
