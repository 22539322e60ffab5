"""A disk that loses power: what was written and not synced is kept, torn or lost, as it likes.

`Disk` records what two recorders tell it: `PowerFS`, our own calls, and `PowerVFS`, SQLite's. `Disk.after_loss` writes
what a disk may hold after the power went at some moment. It keeps only what POSIX promises: the bytes of a file that
was synced, the names of a directory that was synced. Of everything later any part may be there, in any order: single
sectors of a write, a length without its bytes, a name without its file's bytes. (SQLite's own crash tests do so too:
https://www.sqlite.org/testing.html, "Crash Testing".) Directories themselves are durable once made.
"""

from __future__ import annotations

import os
import random
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import apsw

from holdfast.files.fs import FileSystem

SECTOR = 512


@dataclass(frozen=True)
class Step:
    """`what`: write, truncate or sync a file; make, drop or sync a name; `name` is its path below the disk's root."""

    what: str
    file: int = 0
    name: str = ""
    at: int = 0
    data: bytes = b""


@dataclass
class Disk:
    """What was done below `root`, in order. A file is a number, since names come and go."""

    root: str
    steps: list[Step] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)
    on_step: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        self._guard = threading.RLock()

    def add(self, step: Step) -> None:
        with self._guard:
            self.steps.append(step)

    def name_of(self, path: str) -> str | None:
        return path[len(self.root) + 1 :] if path.startswith(self.root + "/") else None

    def opened(self, path: str) -> int:
        """The number of the file at `path`, which is a new one if there was none; 0 outside of the root."""
        with self._guard:
            name = self.name_of(path)
            if name is None:
                return 0
            if name not in self.files:
                self.files[name] = 1 + max([*self.files.values(), *(s.file for s in self.steps)], default=0)
                self.add(Step("make", self.files[name], name))
            return self.files[name]

    def removed(self, path: str) -> None:
        with self._guard:
            name = self.name_of(path)
            if name is not None and self.files.pop(name, None):
                self.add(Step("drop", name=name))

    def renamed(self, old: str, new: str) -> None:
        """One step for the two names of one file; the names below a directory move one by one."""
        with self._guard:
            was, now = self.name_of(old), self.name_of(new)
            if was is None or now is None:
                return
            for name in [n for n in self.files if n == was or n.startswith(was + "/")]:
                self.files[now + name[len(was) :]] = self.files.pop(name)
                self.add(Step("move", self.files[now + name[len(was) :]], now + name[len(was) :], data=name.encode()))

    def synced_names(self, folder: str) -> None:
        if folder == self.root or self.name_of(folder) is not None:
            self.add(Step("names", name=self.name_of(folder) or ""))

    def after_loss(self, upto: int, chance: random.Random, into: str, keep: float) -> None:
        """Write to `into` what may be there if the power goes after `upto` steps; `keep` of the unsynced is kept."""
        steps = self.steps[:upto]
        bytes_synced, names_synced = defaultdict(int), defaultdict(int)
        for n, step in enumerate(steps):
            if step.what == "sync":
                bytes_synced[step.file] = n
            elif step.what == "names":
                names_synced[step.name] = n

        def is_kept(n: int, since: int) -> bool:
            return n < since or chance.random() < keep

        bodies: dict[int, bytearray] = defaultdict(bytearray)
        names: dict[str, int] = {}
        for n, step in enumerate(steps):
            body, since = bodies[step.file], bytes_synced[step.file]
            if step.what == "write":
                for start in range(0, len(step.data), SECTOR):
                    if is_kept(n, since):
                        _put(body, step.at + start, step.data[start : start + SECTOR])
                if n >= since and chance.random() < keep:
                    _put(body, step.at + len(step.data), b"")  # the length came, the bytes did not
            elif step.what == "truncate" and is_kept(n, since):
                _put(body, step.at, b"")
                del body[step.at :]
            elif step.what in ("make", "drop", "move") and is_kept(n, names_synced[os.path.dirname(step.name)]):
                if step.what == "move":
                    names.pop(step.data.decode(), None)
                if step.what == "drop":
                    names.pop(step.name, None)
                else:
                    names[step.name] = step.file
        for name, file in names.items():
            path = f"{into}/{name}"
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(bodies[file])


def _put(body: bytearray, at: int, data: bytes) -> None:
    if len(body) < at:
        body.extend(bytes(at - len(body)))
    body[at : at + len(data)] = data


class PowerFS(FileSystem):
    """The real file system, which tells a disk what is done on it."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._open: dict[int, tuple[int, str]] = {}
        self._at: dict[int, int] = {}

    def open_read(self, path: str, *, follow: bool = False) -> int:
        fd = super().open_read(path, follow=follow)
        self._open[fd] = (self.disk.opened(path) if os.path.isfile(path) else 0, path)
        return fd

    def open_new(self, path: str, mode: int = 0o666) -> int:
        return self._opened(super().open_new(path, mode), path)

    def open_lock(self, path: str) -> int:
        return self._opened(super().open_lock(path), path)

    def open_append(self, path: str) -> int:
        fd = self._opened(super().open_append(path), path)
        self._at[fd] = os.fstat(fd).st_size
        return fd

    def write(self, fd: int, data: bytes | memoryview) -> int:
        taken = super().write(fd, data)
        self._told(Step("write", self._file(fd), at=self._at.get(fd, 0), data=bytes(data[:taken])))
        self._at[fd] = self._at.get(fd, 0) + taken
        return taken

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        taken = super().pwrite(fd, data, offset)
        self._told(Step("write", self._file(fd), at=offset, data=bytes(data[:taken])))
        return taken

    def truncate(self, fd: int, size: int) -> None:
        super().truncate(fd, size)
        self._told(Step("truncate", self._file(fd), at=size))

    def fsync(self, fd: int) -> None:
        file, path = self._open.get(fd, (0, ""))
        if os.path.isdir(path):
            self.disk.synced_names(path)
        else:
            self._told(Step("sync", file))

    def close(self, fd: int) -> None:
        self._open.pop(fd, None)
        self._at.pop(fd, None)
        super().close(fd)

    def rename(self, old: str, new: str) -> None:
        super().rename(old, new)
        self.disk.renamed(old, new)

    def replace(self, old: str, new: str) -> None:
        super().replace(old, new)
        self.disk.renamed(old, new)

    def unlink(self, path: str) -> None:
        super().unlink(path)
        self.disk.removed(path)

    def _opened(self, fd: int, path: str) -> int:
        self._open[fd] = (self.disk.opened(path), path)
        return fd

    def _file(self, fd: int) -> int:
        return self._open.get(fd, (0, ""))[0]

    def _told(self, step: Step) -> None:
        if step.file:
            self.disk.add(step)


class PowerVFS(apsw.VFS):
    """SQLite's own way to the disk, for all connections while it is registered."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        super().__init__("power", "unix", makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return PowerFile(self.disk, name, flags)

    def xDelete(self, name: str, syncdir: bool) -> None:  # noqa: N802
        super().xDelete(name, syncdir)
        self.disk.removed(name)
        if syncdir:
            self.disk.synced_names(os.path.dirname(name))


class PowerFile(apsw.VFSFile):
    """A file of SQLite's."""

    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        super().__init__("unix", name, flags)
        self.disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._folder = os.path.dirname(path or "")
        self._file = disk.opened(path) if path else 0
        # The system's own VFS syncs the directory with the first sync of a journal.
        self._must_sync_folder = not (path or "").endswith(".db")

    def xWrite(self, data: Any, offset: int) -> None:  # noqa: N802
        super().xWrite(data, offset)
        self._told(Step("write", self._file, at=offset, data=bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        super().xTruncate(size)
        self._told(Step("truncate", self._file, at=size))

    def xSync(self, flags: int) -> None:  # noqa: N802
        self._told(Step("sync", self._file))
        if self._must_sync_folder:
            self._must_sync_folder = False
            self.disk.synced_names(self._folder)

    def _told(self, step: Step) -> None:
        if self._file:
            self.disk.add(step)
