"""Locks of ours: flock on a small file, so that they end with their process, however it ends.

The lock is the truth; what is written in the file is for people, and is believed only while the file is locked. These
files are not deleted here: whoever waits on a deleted one holds something that nobody else will ever look at.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType

from holdfast.errors import VaultBusy
from holdfast.files.fs import FileSystem

_PROBES = 3
_PROBES_UNSIGNED = 40  # where nobody has signed the file: who holds it asks, or is a job on a full disk
_PROBE_S = 0.002
_POLL_S = 0.05
_TEXT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a lock: `since` is RFC 3339 in UTC; 0 and "" if it is held and its file says nothing (yet)."""

    pid: int = 0
    since: str = ""
    verb: str = ""

    def __str__(self) -> str:
        article = "an" if self.verb.startswith(("a", "e", "i", "o")) else "a"
        who = f"pid {self.pid or 'unknown'}, since {self.since or 'just now'}"
        return f"{article} {self.verb or 'job'} is in progress ({who})"


class JobLock:
    """The exclusive lock of one job on a vault.

    Taken with `try_acquire` or `acquire`, given back with `release` or by leaving the `with` block. Belongs to the
    process: a child made by plain fork shares it, a started program does not.
    """

    def __init__(self, fs: FileSystem, path: str) -> None:
        self._fs = fs
        self._path = path
        self._fd: int | None = None

    @property
    def is_held(self) -> bool:
        """Whether this object holds the lock."""
        return self._fd is not None

    def is_in_place(self) -> bool:
        """Whether the file that is locked is still the one that others would lock."""
        if self._fd is None:
            return False
        try:
            here, ours = self._fs.lstat(self._path), self._fs.fstat(self._fd)
        except FileNotFoundError:
            return False
        return (here.st_dev, here.st_ino) == (ours.st_dev, ours.st_ino)

    def try_acquire(self, verb: str) -> bool:
        """Take the lock for `verb` if it is free, and say whether it was."""
        assert self._fd is None, "the lock is held already"
        fd = self._fs.open_lock(self._path)
        try:
            # Who asks for the holder has the file locked for a moment, longer where the machine is busy; that must
            # not look like a job. A job has signed the file.
            for probe in range(_PROBES_UNSIGNED):
                if self._fs.flock(fd, exclusive=True):
                    self._sign(fd, verb)
                    self._fd, fd = fd, -1
                    return True
                if probe + 1 >= _PROBES and self._read(fd) != Holder():
                    return False
                self._fs.sleep(_PROBE_S)
            return False
        finally:
            if fd >= 0:
                self._fs.close(fd)

    def acquire(self, verb: str, timeout_s: float = 0.0) -> None:
        """Take the lock for `verb`, waiting up to `timeout_s`; raises VaultBusy, which names the holder."""
        until_ns = self._fs.monotonic_ns() + int(timeout_s * 1e9)
        while not self.try_acquire(verb):
            if self._fs.monotonic_ns() >= until_ns:
                text = str(self.holder() or Holder())
                raise VaultBusy(f"{text[0].upper()}{text[1:]}.")
            self._fs.sleep(_POLL_S)

    def holder(self) -> Holder | None:
        """Who holds the lock, or None if nobody does."""
        if self._fd is not None:
            return self._read(self._fd)
        try:
            fd = self._fs.open_read(self._path)
        except FileNotFoundError:
            return None
        try:
            return None if self._fs.flock(fd, exclusive=False) else self._read(fd)
        finally:
            self._fs.close(fd)

    def release(self) -> None:
        """Give the lock back; nothing happens if it is not held."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            try:
                self._fs.truncate(fd, 0)
            finally:
                self._fs.close(fd)

    def __enter__(self) -> JobLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _sign(self, fd: int, verb: str) -> None:
        """Write who holds the lock. On a full disk it stays unsigned: the lock holds all the same."""
        since = datetime.fromtimestamp(self._fs.time_ns() // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        try:
            self._fs.truncate(fd, 0)
            self._fs.write_all(fd, json.dumps({"pid": os.getpid(), "since": since, "verb": verb}).encode())
        except OSError:
            return

    def _read(self, fd: int) -> Holder:
        try:
            told = json.loads(self._fs.pread(fd, _TEXT_BYTES, 0))
            return Holder(int(told["pid"]), str(told["since"]), str(told["verb"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return Holder()
