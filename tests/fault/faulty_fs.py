"""File systems that misbehave on purpose: twins of `holdfast.files.fs.FileSystem`.

`FaultyFS` counts every step through the seam and can fail, shorten, delay or kill at the N-th; it can also fold case,
round times down and run on a clock of its own. `SlowFS` is a network mount. Both are the real file system otherwise.
"""

from __future__ import annotations

import os
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from holdfast.files.fs import Entry, FileSystem, Notifier

SEAM = [
    "scandir",
    "lstat",
    "stat",
    "readlink",
    "realpath",
    "statvfs",
    "open_read",
    "open_new",
    "open_lock",
    "fstat",
    "fd_path",
    "pread",
    "write",
    "pwrite",
    "truncate",
    "fsync",
    "close",
    "makedirs",
    "rename",
    "replace",
    "exchange",
    "rename_new",
    "chmod",
    "chown",
    "unlink",
    "rmdir",
    "flock",
]
"""The single steps; what is composed of them is not counted twice."""


class Killed(BaseException):
    """The process died here: no `except Exception` and no clean-up of OSError may see it."""


@dataclass
class Fault:
    """What happens at a call: `at` counts the matching calls from 1, `times` of them in a row (None: from then on)."""

    call: str | None = None
    path: str | None = None
    at: int = 1
    times: int | None = 1
    error: int | None = None
    kill: bool = False
    kill_after: bool = False
    sleep_s: float = 0.0
    short: int | None = None
    """`pread`, `write` and `pwrite` of at most so many bytes."""
    hook: Callable[[], None] | None = None
    seen: int = 0

    def strikes(self, call: str, where: str) -> bool:
        if self.call not in (None, call) or (self.path is not None and self.path not in where):
            return False
        self.seen += 1
        return self.seen >= self.at and (self.times is None or self.seen < self.at + self.times)


class FaultyEntry:
    """An entry of a listing whose stat goes through the seam, as `entry_stat`."""

    def __init__(self, fs: FaultyFS, folder: str, entry: Entry) -> None:
        self._fs, self._entry, self._path = fs, entry, f"{folder}/{entry.name}"
        self.name = entry.name

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_dir(follow_symlinks=follow_symlinks)

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return self._entry.is_file(follow_symlinks=follow_symlinks)

    def is_symlink(self) -> bool:
        return self._entry.is_symlink()

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        real = self._entry.stat
        return self._fs.coarse(self._fs.step("entry_stat", self._path, lambda: real(follow_symlinks=follow_symlinks)))


class Silence:
    """A notifier of a system that tells of nothing."""

    def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: Any) -> str:
        stop_event.wait()
        return "stop"

    def close(self) -> None: ...


class FaultyFS(FileSystem):
    """The real file system with faults.

    `grain_ns` rounds all file times down. `folds_case` makes names that differ only in case one file, kept under the
    first spelling; `folds_form` the same for the form of accents. `is_silent`: no change is ever told of. `clock_ns` is
    a wall clock set by the test, None the real one; `drift_ns` shifts the monotonic one.
    """

    def __init__(
        self,
        *faults: Fault,
        grain_ns: int = 1,
        folds_case: bool = False,
        folds_form: bool = False,
        is_silent: bool = False,
        clock_ns: int | None = None,
    ) -> None:
        self.faults = list(faults)
        self.folds_form, self.is_silent = folds_form, is_silent
        self.grain_ns, self.folds_case, self.clock_ns, self.drift_ns = grain_ns, folds_case, clock_ns, 0
        self.calls: Counter[str] = Counter()
        self.trail: list[tuple[str, str]] = []
        self.is_dead = False
        self._paths: dict[int, str] = {}
        self._guard = threading.Lock()

    def step(self, call: str, where: str, real: Callable[[], Any]) -> Any:
        """One step through the seam, with whatever faults strike it."""
        with self._guard:
            if self.is_dead:
                raise Killed(call)  # a dead process does nothing more, not even its clean-up
            self.calls[call] += 1
            self.trail.append((call, where))
            struck = [fault for fault in self.faults if fault.strikes(call, where)]
        for fault in struck:
            if fault.sleep_s:
                time.sleep(fault.sleep_s)
            if fault.hook:
                fault.hook()
            if fault.kill:
                self.is_dead = True
                raise Killed(call)
            if fault.error is not None:
                raise OSError(fault.error, os.strerror(fault.error), where)
        result = real()
        if any(fault.kill_after for fault in struck):
            self.is_dead = True
            raise Killed(call)
        return result

    def shortened(self, call: str, size: int) -> int:
        with self._guard:
            lengths = [f.short for f in self.faults if f.short is not None and f.call in (None, call)]
        return min([size, *lengths])

    def coarse(self, st: os.stat_result) -> os.stat_result:
        """`st` as a file system that counts time in steps of `grain_ns` gives it."""
        if self.grain_ns == 1:
            return st
        mtime, ctime = (ns - ns % self.grain_ns for ns in (st.st_mtime_ns, st.st_ctime_ns))
        named = {
            "st_mtime_ns": mtime,
            "st_ctime_ns": ctime,
            "st_atime_ns": st.st_atime_ns,
            "st_mtime": mtime / 1e9,
            "st_ctime": ctime / 1e9,
            "st_atime": st.st_atime,
            "st_blocks": st.st_blocks,
        }
        return os.stat_result(tuple(st)[:10], named)

    def scandir(self, path: str) -> list[Entry]:
        listing: list[Entry] = self.step("scandir", path, lambda: FileSystem.scandir(self, self._folded(path)))
        return [FaultyEntry(self, path, entry) for entry in listing]

    def lstat(self, path: str) -> os.stat_result:
        return self.coarse(self.step("lstat", path, lambda: os.lstat(self._folded(path))))

    def stat(self, path: str) -> os.stat_result:
        return self.coarse(self.step("stat", path, lambda: os.stat(self._folded(path))))

    def fstat(self, fd: int) -> os.stat_result:
        return self.coarse(self.step("fstat", self._paths.get(fd, ""), lambda: os.fstat(fd)))

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        size = self.shortened("pread", size)
        data: bytes = self.step("pread", self._paths.get(fd, ""), lambda: os.pread(fd, size, offset))
        return data

    def write(self, fd: int, data: bytes | memoryview) -> int:
        part = data[: self.shortened("write", len(data))]
        taken: int = self.step("write", self._paths.get(fd, ""), lambda: os.write(fd, part))
        return taken

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        part = data[: self.shortened("pwrite", len(data))]
        taken: int = self.step("pwrite", self._paths.get(fd, ""), lambda: os.pwrite(fd, part, offset))
        return taken

    def notifier(self, folders: Sequence[str], *, recursive: bool) -> Notifier:
        real = Silence if self.is_silent else lambda: FileSystem.notifier(self, folders, recursive=recursive)
        made: Notifier = self.step("notifier", folders[0], real)
        return made

    def monotonic_ns(self) -> int:
        return time.monotonic_ns() + self.drift_ns

    def time_ns(self) -> int:
        return time.time_ns() if self.clock_ns is None else self.clock_ns

    def _folded(self, path: str) -> str:
        """`path` in the spelling on disk, where case or the form of accents does not count."""
        if not (self.folds_case or self.folds_form) or os.path.lexists(path):
            return path
        folder, _, name = path.rpartition("/")
        folder = self._folded(folder) if folder else folder
        try:
            spelled = [n for n in os.listdir(folder or "/") if self._same(n) == self._same(name)]
        except OSError:
            spelled = []
        return f"{folder}/{spelled[0] if spelled else name}"

    def _same(self, name: str) -> str:
        name = name.casefold() if self.folds_case else name
        return unicodedata.normalize("NFC", name) if self.folds_form else name


def _wrap(call: str) -> Callable[..., Any]:
    real = getattr(FileSystem, call)
    opens = call.startswith("open_")

    def wrapped(self: FaultyFS, *args: Any, **named: Any) -> Any:
        first = args[0]
        where = first if isinstance(first, str) else self._paths.get(first, "")
        if isinstance(first, str):
            args = (self._folded(first), *args[1:])
        result = self.step(call, where, lambda: real(self, *args, **named))
        if opens:
            self._paths[result] = where
        return result

    wrapped.__name__ = call
    return wrapped


for _call in SEAM:
    if _call not in vars(FaultyFS):
        setattr(FaultyFS, _call, _wrap(_call))


class SlowFS(FaultyFS):
    """A network mount: each stat and open takes `stat_s`, each listing `list_s`.

    With `listing_carries_stat` a listing brings sizes and times along. `most` is the highest number of calls at a time.
    """

    def __init__(self, stat_s: float, list_s: float, *, listing_carries_stat: bool = False) -> None:
        super().__init__()
        self.stat_s, self.list_s = stat_s, list_s
        self.listing_carries_stat = listing_carries_stat  # type: ignore[misc]
        self.now = self.most = 0

    def step(self, call: str, where: str, real: Callable[[], Any]) -> Any:
        delay = self.list_s if call == "scandir" else self.stat_s if call in _SLOW else 0.0
        if call == "entry_stat" and self.listing_carries_stat:
            delay = 0.0
        with self._guard:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            if delay:
                time.sleep(delay)
            return super().step(call, where, real)
        finally:
            with self._guard:
                self.now -= 1


_SLOW = {"entry_stat", "lstat", "stat", "open_read", "open_lock"}


def write_tree(root: str, tree: dict[str, bytes | str | None]) -> None:
    """Files (bytes or text) and empty directories (None) below `root`; paths may hold any bytes, surrogate-escaped."""
    for path, content in tree.items():
        full = f"{root}/{path}"
        os.makedirs(full if content is None else os.path.dirname(full), exist_ok=True)
        if content is not None:
            with open(full, "wb") as f:
                f.write(content.encode() if isinstance(content, str) else content)
