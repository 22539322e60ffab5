"""A death in this process that leaves nothing open, as a real one does."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from tests.fault.faulty_fs import FaultyFS, Killed


class Mortal(FaultyFS):
    """A file system that knows its open files; after a death, `bury` closes them, and with them their locks."""

    open_files: set[int]

    def step(self, call: str, where: str, real: Callable[[], Any]) -> Any:
        # These two never raise on a real system.
        return real() if call in ("realpath", "fd_path") and not self.is_dead else super().step(call, where, real)

    def open_lock(self, path: str) -> int:
        fd: int = super().open_lock(path)
        return self._opened(fd)

    def open_new(self, path: str, mode: int = 0o666) -> int:
        fd: int = super().open_new(path, mode)
        return self._opened(fd)

    def open_read(self, path: str, *, follow: bool = False) -> int:
        fd: int = super().open_read(path, follow=follow)
        return self._opened(fd)

    def close(self, fd: int) -> None:
        if self.is_dead:
            return  # finalizers of what died
        try:
            super().close(fd)
        except OSError:
            os.close(fd)  # a close that fails has closed all the same
            self._all().discard(fd)
            raise
        except Killed:
            return  # raised from a finalizer it would be lost; the next step raises it
        self._all().discard(fd)

    def bury(self) -> None:
        for fd in self._all():
            os.close(fd)
        self._all().clear()
        self.is_dead = True

    def _opened(self, fd: int) -> int:
        self._all().add(fd)
        return fd

    def _all(self) -> set[int]:
        if "open_files" not in vars(self):
            self.open_files = set()
        return self.open_files
