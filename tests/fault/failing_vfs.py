"""SQLite's way to the disk with faults: the N-th call kills the process, tears a write, or fails.

The calls that change files are counted: xWrite, xTruncate, xSync, xDelete, and xOpen of a file that may be made.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import apsw

How = Literal["kill", "tear", "full", "ioerr", "cantopen"]
ERRORS = {"full": apsw.FullError, "ioerr": apsw.IOError, "cantopen": apsw.CantOpenError}


class FailingVFS(apsw.VFS):
    """At call `at`, counted from 1, and at the `times` - 1 ones behind it (None: all of them), `how` happens."""

    def __init__(self, how: How = "kill", at: int = 0, times: int | None = 1) -> None:
        self.how, self.at, self.times, self.calls = how, at, times, 0
        super().__init__("failing", "unix", makedefault=True)

    def step(self) -> bool:
        """Whether the call is one to be torn; raises where it fails, and does not return where it kills."""
        self.calls += 1
        if not self.at or self.calls < self.at or (self.times is not None and self.calls >= self.at + self.times):
            return False
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how in ERRORS:
            raise ERRORS[self.how](f"call {self.calls} fails")
        return self.how == "tear"

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        if flags[0] & apsw.SQLITE_OPEN_CREATE:
            self.step()
        return FailingFile(self, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        self.step()
        super().xDelete(name, syncdir)


class FailingFile(apsw.VFSFile):
    """A file whose calls are counted by its VFS."""

    def __init__(self, vfs: FailingVFS, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self._vfs = vfs

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        if self._vfs.step():
            super().xWrite(bytes(data)[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        super().xWrite(data, offset)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self._vfs.step()
        super().xTruncate(size)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._vfs.step()


@contextmanager
def failing(how: How = "kill", at: int = 0, times: int | None = 1) -> Iterator[FailingVFS]:
    """For all connections that are opened meanwhile."""
    vfs = FailingVFS(how, at, times)
    try:
        yield vfs
    finally:
        vfs.unregister()
