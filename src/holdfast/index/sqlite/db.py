"""A connection to one generation's database, and what SQLite's errors mean here.

Only SQLite opens a live database, its -wal and its -shm: closing any other descriptor of theirs would drop SQLite's
locks, and two writers would commit at once (faults.md, rule 2).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

import apsw

from holdfast.errors import (
    DiskFull,
    FileLimit,
    HoldfastError,
    IndexDamaged,
    IndexOverBudget,
    MemoryBudget,
    ResourceFault,
    VaultBusy,
)

APPLICATION_ID = 0x484F4C44  # "HOLD"
SCHEMA = 3
BUSY_MS = 10_000
ALONE_BUSY_MS = 250
PAGE_BYTES = 4096
WAL_PAGES = 500
WAL_KEEP_BYTES = 4 << 20
CACHE_KIB = 2_048
SPARE_FILES = 8


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Errors of SQLite as errors of ours; `path` names the database in them."""
    try:
        yield
    except apsw.FullError as e:
        if _is_disk_full(path):
            raise DiskFull("The disk is full; the index stopped growing.") from e
        raise IndexOverBudget from e
    except apsw.BusyError as e:
        raise VaultBusy("Another process is writing to the index.") from e
    except apsw.CantOpenError as e:
        raise _cannot_open(path, e) from e
    except apsw.ReadOnlyError as e:
        raise ResourceFault(
            f"The index {path} cannot be written.", hint="Make its directory writable, or name another by --state-dir."
        ) from e
    except apsw.IOError as e:
        if _is_disk_full(path):
            raise DiskFull("The disk is full; the index cannot be read or written.") from e
        raise _at_file_limit() or IndexDamaged(f"The index {path} cannot be read: {e}.") from e
    except apsw.NoMemError as e:
        raise MemoryBudget("There is not enough memory for the index.") from e
    except (apsw.MisuseError, apsw.ConnectionClosedError, apsw.ThreadingViolationError):
        raise  # ours to mend
    except apsw.Error as e:
        # Corrupt, no database, a table that is not there, a broken constraint: the file is not what its name says.
        raise IndexDamaged(f"The index {path} is damaged: {e}.") from e


@contextmanager
def decoding(path: str) -> Iterator[None]:
    """What no row of ours can hold, as damage: most flipped bits pass every check of SQLite (faults.md, fact 3)."""
    try:
        yield
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, MemoryError) as e:
        raise IndexDamaged(f"The index {path} is damaged: {type(e).__name__}: {e}.") from e


def _is_disk_full(path: str) -> bool:
    try:
        st = os.statvfs(os.path.dirname(path) or ".")
    except OSError:
        return False
    return st.f_bavail * st.f_frsize < 64 * 1024


def _cannot_open(path: str, cause: Exception) -> HoldfastError:
    # At the limit of descriptors SQLite says "unable to open database file": ask the system for the real cause.
    return _at_file_limit() or IndexDamaged(f"The index {path} cannot be opened: {cause}.")


def _at_file_limit() -> FileLimit | None:
    """The error if there are not as many descriptors left as SQLite takes for a database, and a few for us."""
    probes: list[int] = []
    try:
        while len(probes) < SPARE_FILES:
            probes.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as e:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return FileLimit(f"The limit of {soft} open files is reached ({e.strerror}).")
    finally:
        for fd in probes:
            os.close(fd)
    return None


def connect(path: str, *, create: bool = False, alone: bool = False) -> apsw.Connection:
    """A connection with our settings; raises apsw errors.

    `alone`: nobody else can open the database meanwhile, and no shared memory is needed. On a disk without a free byte
    it is the only way to read one (faults.md, fact 1).
    """
    flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
    db = apsw.Connection(path, flags=flags)
    try:
        db.set_busy_timeout(ALONE_BUSY_MS if alone else BUSY_MS)
        if alone:
            db.pragma("locking_mode", "EXCLUSIVE")
        if create:
            db.pragma("page_size", PAGE_BYTES)
            db.pragma("auto_vacuum", 2)  # incremental: free pages can be given back a few at a time (shrink)
        # No checksum or cell check can prove an index; these only keep a damaged file from crashing the process.
        db.pragma("trusted_schema", 0)
        db.pragma("cell_size_check", 1)
        db.pragma("mmap_size", 0)
        if path != ":memory:":
            db.pragma("journal_mode", "WAL")
        db.pragma("synchronous", 1)
        db.pragma("journal_size_limit", WAL_KEEP_BYTES)
        db.pragma("wal_autocheckpoint", WAL_PAGES)
        db.pragma("cache_size", -CACHE_KIB)
        db.pragma("temp_store", 2)
    except BaseException:
        db.close()
        raise
    return db


def create(path: str, database_id: str) -> None:
    """Make an empty generation at `path`."""
    with translated(path):
        db = connect(path, create=True)
        try:
            prepare(db, database_id)
        finally:
            db.close()


def prepare(db: apsw.Connection, database_id: str) -> None:
    """Make the tables of an empty generation."""
    with immediate(db):
        for statement in _statements():
            db.execute(statement)
        counters = ("seq", "post_seq", "layout", "next_note", "next_term", "next_segment", "next_vector", "vector_seq")
        db.executemany("insert into meta values (?, ?)", [("database", database_id), *((k, 0) for k in counters)])
    db.pragma("application_id", APPLICATION_ID)
    db.pragma("user_version", SCHEMA)


def _statements() -> list[str]:
    text = files(__package__).joinpath("schema.sql").read_text(encoding="utf-8")
    bare = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [s for s in (part.strip() for part in bare.split(";")) if s]


def verify(db: apsw.Connection, path: str, database_id: str) -> None:
    """Raise IndexDamaged unless `db` is the very database that the manifest names, and whole as far as its size tells.

    A file of 0 bytes opens as a valid, empty database (faults.md, fact 4): it is the identity that tells.
    """
    if db.pragma("application_id") != APPLICATION_ID or db.pragma("user_version") != SCHEMA:
        raise IndexDamaged(f"The index {path} is empty or not an index.")
    row = first(db, "select value from meta where key = 'database'")
    if row is None or row[0] != database_id:
        raise IndexDamaged(f"The index {path} is not the one that its manifest names.")
    if path == ":memory:":
        return
    pages, size = db.pragma("page_count"), db.pragma("page_size")
    # With an empty WAL the file must hold every page that its header counts.
    wal = file_size(path + "-wal")
    if not wal and file_size(path) < pages * size:
        raise IndexDamaged(f"The index {path} is cut short.")


def identity(path: str) -> tuple[int, int] | None:
    """Which file is under the name now; None if there is none."""
    try:
        st = os.stat(path)
    except OSError:
        return None
    return st.st_dev, st.st_ino


def add_totals(db: apsw.Connection, changes: Mapping[str, int]) -> None:
    """Add to the sums in `total`; within a transaction."""
    moved = [(by, name) for name, by in changes.items() if by]
    if moved:
        db.executemany("update total set value = value + ? where name = ?", moved)


def file_size(path: str) -> int:
    """Its bytes; 0 if it is not there."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


@contextmanager
def immediate(db: apsw.Connection) -> Iterator[None]:
    """One transaction that takes the right to write at its beginning, so that what it reads is what it writes over."""
    db.execute("begin immediate")
    try:
        yield
        db.execute("commit")
    finally:
        if db.in_transaction:
            db.execute("rollback")


def rows(db: apsw.Connection, sql: str, values: Any = ()) -> list[Any]:
    """All rows; the statement is run to its end, so that it holds no lock."""
    return db.execute(sql, values).fetchall()


def first(db: apsw.Connection, sql: str, values: Any = ()) -> Any:
    """The first row, or None."""
    found = rows(db, sql, values)
    return found[0] if found else None


_KINDS: dict[str, type | tuple[type, ...]] = {
    "i": int, "b": bytes, "s": str, "I": (int, type(None)), "B": (bytes, type(None)), "S": (str, type(None)),
}  # fmt: skip


def check_kinds(found: list[Any], kinds: str) -> list[Any]:
    """`found`, if each column is of its kind, a letter of _KINDS; raises TypeError. No `kinds`, no check.

    SQLite lets a flipped bit turn a text into a blob.
    """
    for row in found if kinds else ():
        for value, kind in zip(row, kinds, strict=True):
            if not isinstance(value, _KINDS[kind]):
                raise TypeError(f"{value!r:.40} is of another type")
    return found
