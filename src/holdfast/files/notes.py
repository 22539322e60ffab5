"""Read notes: whole, in part, or as a digest; never a half-written one without noticing, never outside the vault.

What a path says and what is opened can differ: folders and files may be exchanged for symbolic links at any moment. So
the final name is never followed, and the kernel is asked where the open file really is before a byte of it is used.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b

from holdfast.errors import FileLimit, HoldfastError, NoteTooLarge, NoteUnreadable, NoteUnstable
from holdfast.files.fs import READ_BLOCK, FileSystem
from holdfast.files.paths import is_inside
from holdfast.model import INODE_MASK, Witness, show_path, sort_key

NOTE_BYTES = 16 << 20
DIGEST_BYTES = 16
TRIES = 3

_KINDS = (
    (stat.S_ISDIR, "is a directory"),
    (stat.S_ISFIFO, "is a FIFO"),
    (stat.S_ISSOCK, "is a socket"),
    (stat.S_ISCHR, "is a device"),
    (stat.S_ISBLK, "is a device"),
)


@dataclass(frozen=True, slots=True)
class NoteBytes:
    """The bytes of a note, their digest, and the witness of the file at the moment they were its content."""

    data: bytes
    digest: bytes
    witness: Witness


def digest_of(data: bytes) -> bytes:
    """The digest of a note's bytes."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def read_note(
    fs: FileSystem, root: str, path: str, *, max_bytes: int = NOTE_BYTES, size: int | None = None
) -> NoteBytes:
    """The note at `path` in the vault `root`, read while it stood still.

    A file over `max_bytes` is not opened; `size` is what the scan saw, which saves a stat. Raises FileNotFoundError
    when it is gone, NoteTooLarge, NoteUnreadable, NoteUnstable (it changed in each of three tries) and FileLimit.
    """
    with _translated(fs, path):
        if size is None:
            size = fs.stat(f"{root}/{path}").st_size
        for _ in range(TRIES):
            _refuse_large(path, size, max_bytes)
            fd, before = _open(fs, root, path)
            try:
                _refuse_large(path, before.st_size, max_bytes)
                data = fs.read_all(fd, before.st_size)
                after = fs.fstat(fd)
            finally:
                fs.close(fd)
            if _same(before, after) and len(data) == after.st_size:
                return NoteBytes(data, digest_of(data), _witness(path, after))
            size = after.st_size
    raise NoteUnstable(f"{show_path(path)} changed each of the {TRIES} times it was read.")


def read_range(fs: FileSystem, root: str, path: str, start: int, size: int) -> bytes:
    """At most `size` bytes of the note from byte `start`; fewer where the file ends. Errors as `read_note`."""
    with _translated(fs, path):
        fd, _ = _open(fs, root, path)
        try:
            data = fs.pread(fd, size, start)
            while data and len(data) < size and (more := fs.pread(fd, size - len(data), start + len(data))):
                data += more
            return data
        finally:
            fs.close(fd)


def digest_file(fs: FileSystem, root: str, path: str) -> bytes:
    """The digest of any file of the vault, whatever its size, in the memory of one block. Errors as `read_note`."""
    with _translated(fs, path):
        for _ in range(TRIES):
            fd, before = _open(fs, root, path)
            try:
                digest, at = blake2b(digest_size=DIGEST_BYTES), 0
                while at < before.st_size and (block := fs.pread(fd, READ_BLOCK, at)):
                    digest.update(block)
                    at += len(block)
                after = fs.fstat(fd)
            finally:
                fs.close(fd)
            if _same(before, after) and at == after.st_size:
                return digest.digest()
    raise NoteUnstable(f"{show_path(path)} changed each of the {TRIES} times it was read.")


def _same(a: os.stat_result, b: os.stat_result) -> bool:
    return (a.st_size, a.st_mtime_ns, a.st_ctime_ns) == (b.st_size, b.st_mtime_ns, b.st_ctime_ns)


def _witness(path: str, st: os.stat_result) -> Witness:
    return sort_key(path), st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino & INODE_MASK


def _refuse_large(path: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise NoteTooLarge(f"{show_path(path)} has {size:,} bytes; a note has at most {max_bytes:,}.")


def _open(fs: FileSystem, root: str, path: str) -> tuple[int, os.stat_result]:
    """A descriptor of the regular file at `path`, proven to lie inside the vault, and its stat."""
    full = f"{root}/{path}"
    try:
        fd = fs.open_read(full)
    except OSError as e:
        if e.errno not in (errno.ELOOP, errno.EMLINK):  # EMLINK: BSD's word for a link that is not followed
            raise
        target = fs.realpath(full)
        if not is_inside(fs, root, target):
            raise NoteUnreadable(f"{show_path(path)} is a link out of the vault.") from e
        fd = fs.open_read(target)
    try:
        st = fs.fstat(fd)
        for test, words in _KINDS:
            if test(st.st_mode):
                raise NoteUnreadable(f"{show_path(path)} {words}, not a file.")
        real = fs.fd_path(fd)
        if real is None:
            real = fs.realpath(full)
        # Without symbolic links on the way the two are equal, and that is the only case which costs nothing more.
        if real != full and not is_inside(fs, root, real.removesuffix(" (deleted)")):
            raise NoteUnreadable(f"{show_path(path)} leads out of the vault.")
    except BaseException:
        fs.close(fd)
        raise
    return fd, st


@contextmanager
def _translated(fs: FileSystem, path: str) -> Iterator[None]:
    """OS errors as the room's errors; only that a file is gone passes through as FileNotFoundError."""
    try:
        yield
    except (HoldfastError, FileNotFoundError):
        raise
    except NotADirectoryError as e:
        raise FileNotFoundError(errno.ENOENT, "a folder on the way is a file now", path) from e
    except OSError as e:
        if e.errno in (errno.EMFILE, errno.ENFILE):
            whose = f"{fs.open_files_limit()} of this process" if e.errno == errno.EMFILE else "of the whole system"
            raise FileLimit(f"The limit of open files ({whose}) is reached.") from e
        if e.errno == errno.ELOOP:
            raise NoteUnreadable(f"{show_path(path)} is a link that leads back to itself.") from e
        reason = os.strerror(e.errno) if e.errno else str(e)
        raise NoteUnreadable(f"{show_path(path)} cannot be read: {reason}.") from e
