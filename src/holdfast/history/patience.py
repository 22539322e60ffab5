"""How long a process waits for another one's lock on the history."""

from __future__ import annotations

import random
import time

_BUSY_MS = 10_000


class Patience:
    """What SQLite asks whether to go on waiting for a lock: short waits, unlike its own, which grow to 100 ms.

    A change holds the lock for a few milliseconds, most of them an fsync.
    """

    def __init__(self) -> None:
        self._until = 0.0

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            self._until = now + _BUSY_MS / 1000
        time.sleep(random.uniform(0.0005, 0.004))  # noqa: S311 - so that waiting processes do not march in step
        return now < self._until
