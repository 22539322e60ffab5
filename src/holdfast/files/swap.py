"""Change a note by compare-and-swap: what another hand wrote meanwhile is never overwritten, only met.

The new content is on disk before anybody sees it. Then two names change places in one step, and what comes out is
compared with what was expected; if it is something else, the names change back. Whatever came out is given to the
caller, so nothing that was ever in the note is lost. Our own processes take turns (files/turns.py): between the two
steps a content can be seen that may not stay. Where the file system cannot exchange names, a rename does it, and an
editor that saves in the same millisecond is not covered.
"""

from __future__ import annotations

import errno
import itertools
import os
import re
import stat
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from holdfast.errors import Conflict, DiskFull, FileLimit, NotDurable, PathNotAllowed
from holdfast.files.fs import NO_DESCRIPTOR, TEMP_PREFIX, FileSystem
from holdfast.files.notes import digest_of
from holdfast.files.turns import turn
from holdfast.model import show_path

NEW_MODE = 0o644
_TRIES = 8
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
_serial = itertools.count()
_TEMP = re.compile(re.escape(TEMP_PREFIX) + r"(\d+)-\d+-([0-9a-f]{8})\Z")


def temp_of(folder: str, path: str) -> str:
    """A name for a moment, which tells whose it is should we die: the process, and the note (see `stray_of`)."""
    return f"{folder}/{TEMP_PREFIX}{os.getpid()}-{next(_serial)}-{_mark(path)}"


def stray_of(name: str, notes: Iterable[str]) -> tuple[int, str | None] | None:
    """(process, which of these notes of its folder it belongs to) of a file that was left; None if it is none."""
    found = _TEMP.match(name)
    if found is None:
        return None
    return int(found[1]), next((n for n in notes if _mark(n) == found[2]), None)


def _mark(path: str) -> str:
    return f"{zlib.crc32(os.fsencode(path.rpartition('/')[2])):08x}"


class Changed(Exception):
    """The note is not what was expected; it was left as it is. `met` is what it holds, `strays` what came between."""

    def __init__(self, met: bytes | None, strays: tuple[bytes, ...] = ()) -> None:
        super().__init__("changed")
        self.met, self.strays = met, strays


@dataclass(frozen=True, slots=True)
class Swap:
    """Changes notes below `root`; whoever changes one that is there holds its `turn`."""

    fs: FileSystem
    root: str

    def put(self, path: str, body: bytes, expect: bytes | None) -> bool:
        """Make `body` the content of the note, if its digest is `expect` (None: if there is no such file).

        When this returns, bytes and name survive power loss; it returns whether the change was one step. Raises
        Changed, DiskFull, NotDurable (the new content may or may not stand after a crash) and PathNotAllowed.
        """
        folder = self._folder(path)
        temp = temp_of(folder, path)
        try:
            if expect is not None:
                self._refuse_other(self._target(path), expect)
            try:
                self._write(temp, body, self._target(path) if expect is not None else None)
                if expect is None:
                    covered = self._appear(temp, path)
                else:
                    covered = self._exchange(temp, path, expect, digest_of(body))
            finally:
                self._discard(temp)
            self._sync(folder)
        except OSError as e:
            raise _translated(path, e) from e
        return covered

    def take(self, path: str, expect: bytes) -> bytes:
        """Remove the note if its digest is `expect`, and return its content. Raises as `put`."""
        target, folder = self._target(path), self._folder(path)
        temp = temp_of(folder, path)
        try:
            self._refuse_other(target, expect)
            try:
                self.fs.rename(target, temp)
            except FileNotFoundError:
                raise Changed(None) from None
            body = self._read(temp)
            if digest_of(body) != expect:
                self._put_back(temp, target)
                raise Changed(body)
            self.fs.unlink(temp)
            self._sync(folder)
        except OSError as e:
            raise _translated(path, e) from e
        return body

    def move(self, old: str, new: str) -> None:
        """Give a note another name that nothing has yet. Raises Conflict, and as `put`."""
        source, folder = self._target(old), self._folder(new)
        target = f"{self.root}/{new}"
        try:
            try:
                self.fs.rename_new(source, target)
            except FileExistsError:
                raise Conflict(
                    f"There is a note at {show_path(new)} already.", hint="Choose another name, or delete that one."
                ) from None
            except OSError as e:
                if e.errno not in _UNSUPPORTED:
                    raise
                self._rename_by_link(source, target, new)
            self._sync(folder)
            self._sync(os.path.dirname(source))
        except OSError as e:
            raise _translated(old, e) from e

    def _rename_by_link(self, source: str, target: str, new: str) -> None:
        try:
            self.fs.lstat(target)
        except FileNotFoundError:
            self.fs.rename(source, target)
            return
        raise Conflict(f"There is a note at {show_path(new)} already.", hint="Choose another name, or delete that one.")

    def _folder(self, path: str) -> str:
        """The real folder of a note, made where it is missing, with its names on disk."""
        target = self._target(path)
        folder = os.path.dirname(target)
        missing = []
        at = folder
        while True:
            try:
                if not stat.S_ISDIR(self.fs.stat(at).st_mode):
                    raise PathNotAllowed(f"{show_path(path)} leads through a file.", hint="Choose another path.")
                break
            except FileNotFoundError:
                missing.append(at)
                at = os.path.dirname(at)
        try:
            if missing:
                self.fs.makedirs(folder)
                for made in missing:
                    self._sync(os.path.dirname(made))
        except OSError as e:
            raise _translated(path, e) from e
        return folder

    def _target(self, path: str) -> str:
        """Where the file really is: a symbolic link inside the vault is followed, not replaced."""
        whole = f"{self.root}/{path}"
        try:
            if stat.S_ISLNK(self.fs.lstat(whole).st_mode):
                return self.fs.realpath(whole)
        except OSError:
            pass  # It is not there yet, or cannot be looked at: opening it says so.
        return whole

    def _refuse_other(self, target: str, expect: bytes) -> None:
        """Raise Changed where something else is there already: what need not be shown for a moment is not."""
        try:
            met = self._read(target)
        except FileNotFoundError:
            raise Changed(None) from None
        if digest_of(met) != expect:
            raise Changed(met)

    @contextmanager
    def turn(self, path: str, spare: str, wait_s: float) -> Iterator[None]:
        """Be the one of our processes that changes notes in the folder of `path`; raises VaultBusy after `wait_s`."""
        folder = os.path.dirname(self._target(path))
        while not os.path.isdir(folder) and len(folder) > len(self.root):
            folder = os.path.dirname(folder)  # It is made for this note: then the one above is locked.
        try:
            with turn(self.fs, folder, spare, wait_s):
                yield
        except OSError as e:
            raise _translated(path, e) from e

    def _write(self, temp: str, body: bytes, like: str | None) -> None:
        """The new content under another name, on disk, with mode and owner of the file that it will replace."""
        fd = self.fs.open_new(temp, NEW_MODE)
        try:
            if like is not None:
                self._dress(fd, like)
            self.fs.write_all(fd, body)
            self.fs.fsync(fd)
        finally:
            self.fs.close(fd)

    def _dress(self, fd: int, like: str) -> None:
        try:
            known = self.fs.stat(like)
        except FileNotFoundError:
            return
        self.fs.chmod(fd, stat.S_IMODE(known.st_mode))
        own = self.fs.fstat(fd)
        if (own.st_uid, own.st_gid) != (known.st_uid, known.st_gid):
            try:
                self.fs.chown(fd, known.st_uid, known.st_gid)
            except PermissionError:
                return  # A file of another user in a shared folder: its group and mode let us write, not give away.

    def _appear(self, temp: str, path: str) -> bool:
        target = f"{self.root}/{path}"
        try:
            self.fs.rename_new(temp, target)
            return True
        except FileExistsError:
            raise Changed(self._read(target)) from None
        except OSError as e:
            if e.errno not in _UNSUPPORTED:
                raise
        try:
            self.fs.lstat(target)
        except FileNotFoundError:
            self.fs.rename(temp, target)
            return False
        raise Changed(self._read(target))

    def _exchange(self, temp: str, path: str, expect: bytes, ours: bytes) -> bool:
        """Exchange `temp` and the note; what comes out stays in `temp`, to be discarded, if it is what was expected."""
        target = self._target(path)
        try:
            self.fs.exchange(temp, target)
        except FileNotFoundError:
            raise Changed(None) from None
        except OSError as e:
            if e.errno not in _UNSUPPORTED:
                raise
            met = self._read(target)
            if digest_of(met) != expect:
                raise Changed(met) from None
            self.fs.replace(temp, target)
            return False
        met = self._read(temp)
        if digest_of(met) == expect:
            return True
        strays: list[bytes] = []
        for _ in range(_TRIES):
            # Back again. If somebody saved over ours meanwhile, that comes out now, and belongs in the note.
            try:
                self.fs.exchange(temp, target)
            except FileNotFoundError:
                self._put_back(temp, target)
                raise Changed(met, tuple(strays)) from None
            out = self._read(temp)
            if digest_of(out) == ours:
                raise Changed(met, tuple(strays))
            strays.append(met)
            met, ours = out, digest_of(met)
        raise Changed(met, tuple(strays))

    def _put_back(self, temp: str, target: str) -> None:
        """Give a file that was taken its name back; if another has it meanwhile, that one stays and ours is kept."""
        try:
            self.fs.rename_new(temp, target)
        except FileExistsError:
            return  # The caller has its content, and keeps it in the history.
        except OSError as e:
            if e.errno not in _UNSUPPORTED:
                raise
            self.fs.rename(temp, target)

    def _read(self, path: str) -> bytes:
        fd = self.fs.open_read(path, follow=True)
        try:
            return self.fs.read_all(fd)
        finally:
            self.fs.close(fd)

    def _sync(self, folder: str) -> None:
        self.fs.sync_directory(folder)

    def _discard(self, temp: str) -> None:
        try:
            self.fs.unlink(temp)
        except FileNotFoundError:
            return


def _translated(path: str, e: OSError) -> Exception:
    name = show_path(path)
    if e.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"The disk is full; {name} is unchanged.")
    if e.errno in NO_DESCRIPTOR:
        return FileLimit(f"The limit of open files is reached; {name} is unchanged.")
    if e.errno == errno.EIO:
        return NotDurable(f"The disk did not confirm the write of {name}.")
    if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PathNotAllowed(f"{name} may not be written: {e.strerror}.", hint="Check the permissions of its folder.")
    if e.errno in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.EILSEQ, errno.EINVAL):
        return PathNotAllowed(f"{name} cannot be a file here: {e.strerror}.", hint="Choose another name.")
    return e
