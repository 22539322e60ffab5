"""Where a Chroma directory is, what lies in it, and how its database is opened without writing a byte beside it."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote

import apsw

from holdfast.errors import VaultBusy

DATABASE = "chroma.sqlite3"
_FIRST = ("palace", "chroma")
_MOST_FOLDERS = 10_000
_TRIES = 3
_BUSY_MS = 5_000
_ENDINGS = ("", "-wal", "-journal")

_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_SEGMENT = re.compile(rf"{_UUID}\Z")
_ASIDE = re.compile(rf"({_UUID})\.(?:drift|corrupt)-(\d{{8}}-\d{{6}})(-\d{{1,6}})?\Z")


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders of a Chroma directory: of segments, and what was set aside."""

    segments: tuple[str, ...]
    aside: tuple[str, ...]


def find(path: str) -> str | None:
    """The directory with the chroma.sqlite3: `path`, its `palace` or `chroma`, or another direct subfolder."""
    if _is_file(os.path.join(path, DATABASE)):
        return path
    try:
        with os.scandir(path) as entries:
            names = [
                e.name for _, e in zip(range(_MOST_FOLDERS), entries, strict=False) if e.is_dir(follow_symlinks=False)
            ]
    except OSError:
        return None
    for name in sorted(names, key=lambda n: (n not in _FIRST, n)):
        if _is_file(os.path.join(path, name, DATABASE)):
            return os.path.join(path, name)
    return None


def _is_file(path: str) -> bool:
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


def is_segment(name: str) -> bool:
    """Whether `name` is that of a segment's folder: a lower-case UUID and nothing else."""
    return _SEGMENT.match(name) is not None


def set_aside(name: str) -> tuple[str, str] | None:
    """The segment and the time in the name of a folder that was set aside, by us or by MemPalace; None for others."""
    found = _ASIDE.match(name)
    return (found[1], found[2]) if found else None


def folders(directory: str) -> Folders:
    """What lies in `directory`, in order of name. Links are listed as what they stand for, never followed."""
    segments, aside = [], []
    with os.scandir(directory) as entries:
        for entry in entries:
            if is_segment(entry.name):
                segments.append(entry.name)
            elif set_aside(entry.name) and entry.is_dir(follow_symlinks=False):
                aside.append(entry.name)
    return Folders(tuple(sorted(segments)), tuple(sorted(aside)))


@contextmanager
def opened(directory: str) -> Iterator[apsw.Connection]:
    """A read-only connection to the database of `directory`.

    A database at rest, or one whose owner is at work, is read where it is. One that a killed process left with a log or
    a journal is copied to a temporary folder first: SQLite would write its -shm, or roll back, beside the original.
    """
    path = os.path.join(directory, DATABASE)
    scratch = None
    try:
        if not _size(f"{path}-wal") and (connection := _open_in_place(path)) is not None:
            pass
        else:
            scratch = tempfile.mkdtemp(prefix="holdfast-clinic-")
            copy = os.path.join(scratch, DATABASE)
            _copy(path, copy)
            connection = apsw.Connection(copy)
        try:
            connection.set_busy_timeout(_BUSY_MS)
            connection.pragma("cache_size", -8_000)
            connection.pragma("trusted_schema", False)
            yield connection
        finally:
            connection.close()
    finally:
        if scratch is not None:
            shutil.rmtree(scratch)


def _open_in_place(path: str) -> apsw.Connection | None:
    """A connection that cannot write; None where the database must be rolled back before it can be read."""
    # A WAL database without its log is whole in the one file; to say so keeps SQLite from making a new log.
    still = "&immutable=1" if _is_wal(path) else ""
    flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
    connection = apsw.Connection(f"file:{quote(os.fsencode(os.path.abspath(path)))}?mode=ro{still}", flags=flags)
    connection.set_busy_timeout(_BUSY_MS)
    try:
        connection.execute("SELECT count(*) FROM sqlite_schema").get  # noqa: B018
    except (apsw.ReadOnlyError, apsw.CantOpenError):
        connection.close()
        return None
    except apsw.Error:
        connection.close()
        raise
    return connection


def _copy(path: str, copy: str) -> None:
    """Copy the database and what is beside it, again if somebody wrote meanwhile."""
    for _ in range(_TRIES):
        before = _stamps(path)
        try:
            for ending in _ENDINGS:
                if os.path.exists(copy + ending):
                    os.unlink(copy + ending)
                if os.path.exists(path + ending):
                    shutil.copyfile(path + ending, copy + ending)
        except FileNotFoundError:
            continue  # A journal that went away: its owner is at work.
        if _stamps(path) == before:
            return
    raise VaultBusy(
        f"{path} is being written all the time, and cannot be copied.",
        hint="End the program that writes it, and try again.",
    )


def _stamps(path: str) -> list[tuple[int, int]]:
    out = []
    for ending in _ENDINGS:
        try:
            st = os.stat(path + ending)
        except FileNotFoundError:
            continue
        out.append((st.st_size, st.st_mtime_ns))
    return out


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _is_wal(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(20)[18:20] == b"\2\2"
