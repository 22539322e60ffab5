"""The seam: the one place that touches the file system, besides SQLite itself.

Paths are `str` as `os.fsdecode` gives them. Every method is one small step and raises `OSError` as the system does;
whoever calls knows what it means and translates. Tests subclass `FileSystem` to inject faults, latency and clocks, so
whatever is composed here (`read_all`, `write_new`, `rmtree`) goes through the small methods.
"""

from __future__ import annotations

import errno
import itertools
import os
import sys
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

READ_BLOCK = 1 << 20
TEMP_PREFIX = ".holdfast-tmp-"
"""Names of files in the making begin so; one that is left was never acknowledged and may be removed."""

NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
"""What the system says when no further file can be opened, by this process or by any."""

_NOFOLLOW: int = getattr(os, "O_NOFOLLOW", 0)
_NONBLOCK: int = getattr(os, "O_NONBLOCK", 0)
_CLOEXEC: int = getattr(os, "O_CLOEXEC", 0)
_serial = itertools.count()


# renameat2(2) of Linux and renamex_np(2) of macOS call them differently.
_EXCHANGE, _NO_REPLACE = (2, 4) if sys.platform == "darwin" else (2, 1)
_AT_FDCWD = -100


def _rename_with(old: str, new: str, flags: int) -> None:
    import ctypes

    library: Any = ctypes.CDLL(None, use_errno=True)
    names = os.fsencode(old), os.fsencode(new)
    call = getattr(library, "renamex_np" if sys.platform == "darwin" else "renameat2", None)
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), old)
    if sys.platform == "darwin":
        failed = call(*names, ctypes.c_uint(flags))
    else:
        failed = call(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(flags))
    if failed:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), old, None, new)


class Entry(Protocol):
    """What is used of `os.DirEntry`."""

    @property
    def name(self) -> str: ...
    def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...
    def is_file(self, *, follow_symlinks: bool = True) -> bool: ...
    def is_symlink(self) -> bool: ...
    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result: ...


class Notifier(Protocol):
    """A source of the system's notices of changes, as `watchfiles` has it.

    `watch` waits for changes and returns (kind, path) of each, or a word: "stop" once `stop_event` is set. It raises
    RuntimeError where a notice could not be told, and then at every call.
    """

    def watch(self, debounce_ms: int, step_ms: int, timeout_ms: int, stop_event: Any) -> set[tuple[int, str]] | str: ...
    def close(self) -> None: ...


class FileSystem:
    """The real file system."""

    listing_carries_stat: ClassVar[bool] = False
    """Whether a listing already holds size and times, so that `Entry.stat` costs nothing."""

    def scandir(self, path: str) -> list[Entry]:
        """The whole listing: an error half way is an error, never a short list."""
        with os.scandir(path) as it:
            return list(it)

    def lstat(self, path: str) -> os.stat_result:
        return os.lstat(path)

    def stat(self, path: str) -> os.stat_result:
        return os.stat(path)

    def readlink(self, path: str) -> str:
        return os.readlink(path)

    def realpath(self, path: str) -> str:
        """The path without symbolic links; what does not exist stays as it is."""
        return os.path.realpath(path)

    def statvfs(self, path: str) -> os.statvfs_result:
        return os.statvfs(path)

    def open_read(self, path: str, *, follow: bool = False) -> int:
        """A descriptor for reading. Never waits for a FIFO's writer; a symbolic link is ELOOP unless `follow`."""
        return os.open(path, os.O_RDONLY | _CLOEXEC | _NONBLOCK | (0 if follow else _NOFOLLOW))

    def open_new(self, path: str, mode: int = 0o666) -> int:
        """A descriptor for writing a file that did not exist."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW, mode)

    def open_lock(self, path: str) -> int:
        """A descriptor for reading and writing a small file of ours, created if missing."""
        return os.open(path, os.O_RDWR | os.O_CREAT | _CLOEXEC | _NOFOLLOW, 0o666)

    def open_append(self, path: str) -> int:
        """A descriptor for adding lines to the end of a file of ours, created if missing."""
        return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | _CLOEXEC | _NOFOLLOW, 0o600)

    def fstat(self, fd: int) -> os.stat_result:
        return os.fstat(fd)

    def fd_path(self, fd: int) -> str | None:
        """The real path of an open file as the kernel knows it, or None where it cannot be asked."""
        try:
            if sys.platform != "darwin":
                return os.readlink(f"/proc/self/fd/{fd}")
            import fcntl

            return os.fsdecode(fcntl.fcntl(fd, fcntl.F_GETPATH, b"\0" * 1024).split(b"\0", 1)[0])
        except OSError:
            return None

    def pread(self, fd: int, size: int, offset: int) -> bytes:
        """At most `size` bytes; fewer do not mean the end of the file, none do."""
        return os.pread(fd, size, offset)

    def read_all(self, fd: int, size: int | None = None) -> bytes:
        """The bytes from the start, however short the single reads are: `size` of them or, without it, all.

        Fewer than `size` where the file ends. A file that grows all the time is no endless read with `size`.
        """
        parts: list[bytes] = []
        at = 0
        while size is None or at < size:
            part = self.pread(fd, READ_BLOCK if size is None else min(size - at, READ_BLOCK), at)
            if not part:
                break
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, fd: int, data: bytes | memoryview) -> int:
        """The number of bytes taken, maybe not all."""
        return os.write(fd, data)

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        """As `write`, at `offset`."""
        return os.pwrite(fd, data, offset)

    def write_all(self, fd: int, data: bytes) -> None:
        """Write all of `data`, however short the single writes are."""
        rest = memoryview(data)
        while rest:
            taken = self.write(fd, rest)
            if taken <= 0:
                raise OSError(errno.EIO, "nothing was written")
            rest = rest[taken:]

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def fsync(self, fd: int) -> None:
        """Make the bytes of an open file, or the names in an open directory, survive power loss.

        On macOS fsync alone leaves them in the drive's cache.
        """
        if sys.platform == "darwin":
            import fcntl

            try:
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
                return
            except OSError as e:
                # Some file systems have no such thing, and fsync is all there is. A disk's error is an error.
                if e.errno not in (errno.ENOTSUP, errno.EINVAL, errno.ENOTTY):
                    raise
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def makedirs(self, path: str) -> None:
        os.makedirs(path, exist_ok=True)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def replace(self, old: str, new: str) -> None:
        os.replace(old, new)

    def exchange(self, one: str, other: str) -> None:
        """Let two names change places, in one step; raises OSError with ENOSYS or EINVAL where that cannot be."""
        _rename_with(one, other, _EXCHANGE)

    def rename_new(self, old: str, new: str) -> None:
        """Rename to a name that nothing has yet, in one step; raises FileExistsError, and as `exchange`."""
        _rename_with(old, new, _NO_REPLACE)

    def chmod(self, fd: int, mode: int) -> None:
        os.fchmod(fd, mode)

    def chown(self, fd: int, user: int, group: int) -> None:
        os.fchown(fd, user, group)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)

    def rmtree(self, path: str) -> None:
        """Remove a directory and all below it; symbolic links are removed, not followed."""
        for entry in self.scandir(path):
            inner = path + "/" + entry.name
            if entry.is_dir(follow_symlinks=False):
                self.rmtree(inner)
            else:
                self.unlink(inner)
        self.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """Make the names in `path` survive power loss."""
        fd = self.open_read(path)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def write_new(self, path: str, data: bytes, *, durable: bool = True, mode: int = 0o666) -> None:
        """Make `data` the content of `path`, wholly or not at all.

        When this returns and `durable`, the bytes and the name survive power loss. When it raises, the old content
        stands, or the new one if only the last step failed, the fsync of the directory. A failed fsync is never
        repeated on the same file (the kernel may have dropped the pages and would report success): the file goes.
        """
        folder, slash, _ = path.rpartition("/")
        temp = f"{folder}{slash}{TEMP_PREFIX}{os.getpid()}-{next(_serial)}"
        fd = self.open_new(temp, mode)
        try:
            try:
                self.write_all(fd, data)
                if durable:
                    self.fsync(fd)
            finally:
                self.close(fd)
            self.replace(temp, path)
        except OSError:
            self._discard(temp)
            raise
        if durable:
            self.sync_directory(folder or slash or ".")

    def _discard(self, temp: str) -> None:
        try:
            self.unlink(temp)
        except OSError:
            pass  # a hidden file stays behind, which a scan reports; the error above is the one to tell

    def flock(self, fd: int, *, exclusive: bool, blocking: bool = False) -> bool:
        """Whether the lock was taken; without `blocking`, False means that somebody else holds it.

        The lock belongs to the open file: it ends when the last descriptor of it is closed, at the latest with the
        process. A child by plain fork shares it, a started program does not (descriptors close on exec).
        """
        import fcntl

        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def open_files_limit(self) -> int:
        """The number of descriptors this process may have."""
        import resource

        return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    def raise_open_files_limit(self, wanted: int) -> None:
        """Let this process have `wanted` descriptors, or as many as its hard limit allows; it never has fewer."""
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft != resource.RLIM_INFINITY and soft < most:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

    def notifier(self, folders: Sequence[str], *, recursive: bool) -> Notifier:
        """What tells of changes in these folders from now on.

        Raises ENOSPC or EMFILE at the system's limits of watches, ENOSYS where the system tells nothing, and what else
        is wrong with a folder.
        """
        from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

        try:
            # Errors of permission are not ignored: that would ignore the limit of watches too.
            made = RustNotify(list(folders), False, False, 3_600_000, recursive, False)
        except WatchfilesRustInternalError as e:
            is_limit = f"(os error {errno.EMFILE})" in str(e)
            raise OSError(errno.EMFILE if is_limit else errno.EIO, str(e)) from e
        except OSError as e:
            if type(e) is not OSError or e.errno is not None:
                raise
            raise OSError(errno.ENOSPC if "limit" in str(e) else errno.EIO, str(e)) from e
        if "Poll(" in repr(made):  # it would stat everything, all the time
            made.close()
            raise OSError(errno.ENOSYS, "the system announces no changes")
        return made

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def time_ns(self) -> int:
        return time.time_ns()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
