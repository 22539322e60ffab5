"""What went wrong, as JSON lines in a file that cannot grow without end: 10 MiB, and two older ones.

The first time something happens it is written; what repeats is counted, and written again at the 10th, 100th ... time.
A log that cannot be written hinders nothing. No text of a note goes in here.
"""

from __future__ import annotations

import json
import os
import threading

from holdfast.engine.times import rfc3339
from holdfast.files.fs import FileSystem

LOG_BYTES = 10 << 20
KEPT = 2
KINDS_MAX = 1_000


class Log:
    """One log file; several processes may write to it."""

    def __init__(self, fs: FileSystem, path: str) -> None:
        self._fs, self.path = fs, path
        self._times: dict[tuple[str, str], int] = {}
        self._guard = threading.Lock()
        self.failed = 0

    def event(self, kind: str, message: str) -> None:
        """Note that `kind` happened, with one sentence about it."""
        with self._guard:
            if len(self._times) >= KINDS_MAX:
                self._times.clear()
            times = self._times[kind, message] = self._times.get((kind, message), 0) + 1
            if not _is_told(times):
                return
            entry = {"at": rfc3339(self._fs.time_ns()), "pid": os.getpid(), "kind": kind, "message": message}
            if times > 1:
                entry["times"] = times
            try:
                self._append((json.dumps(entry, ensure_ascii=True) + "\n").encode())
            except OSError:
                self.failed += 1

    def _append(self, line: bytes) -> None:
        try:
            fd = self._fs.open_append(self.path)
        except FileNotFoundError:
            self._fs.makedirs(os.path.dirname(self.path))
            fd = self._fs.open_append(self.path)
        try:
            if self._fs.fstat(fd).st_size + len(line) > LOG_BYTES:
                self._fs.flock(fd, exclusive=True, blocking=True)
                self._turn_over(fd)
                self._fs.close(fd)
                fd = self._fs.open_append(self.path)
            self._fs.write_all(fd, line)
        finally:
            self._fs.close(fd)

    def _turn_over(self, fd: int) -> None:
        """Give each file the next older name, unless another process just did. The oldest is replaced."""
        if self._fs.lstat(self.path).st_ino != self._fs.fstat(fd).st_ino:
            return
        for age in range(KEPT, 0, -1):
            older = self.path if age == 1 else f"{self.path}.{age - 1}"
            try:
                self._fs.replace(older, f"{self.path}.{age}")
            except FileNotFoundError:
                continue


def _is_told(times: int) -> bool:
    """The first time, and every power of ten."""
    while times % 10 == 0:
        times //= 10
    return times == 1
