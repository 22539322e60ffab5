"""How large a database and its log may become, and how space is given back.

The limit is in the write path: whatever grows passes through `Writer.connection`.
"""

from __future__ import annotations

import apsw

from holdfast.errors import DiskFull, IndexOverBudget
from holdfast.index.sqlite.db import BUSY_MS, PAGE_BYTES, connect, file_size

UNLIMITED = 1 << 44
HEADROOM = 0.05
"""The share of the limit that is kept for what makes the index smaller."""

CHECKPOINT_BUSY_MS = 250
VACUUM_PAGES = 256


class Writer:
    """The connection that writes to the database at `path`, opened at first use.

    `db` is one that is open already (an index in memory, without limits); `is_barred` says that nothing can be written.
    """

    def __init__(self, path: str, db: apsw.Connection | None = None, *, is_barred: bool = False) -> None:
        self._path, self._db, self._is_barred = path, db, is_barred
        self._has_limits = db is None
        self._database_bytes = self._wal_bytes = self._growth_bytes = UNLIMITED
        self._capped: int | None = None

    def limit(self, database_bytes: int, wal_bytes: int, growth_bytes: int = UNLIMITED) -> None:
        """Let the database grow to so many bytes, and its log; and the database by so many in one transaction."""
        self._database_bytes, self._wal_bytes, self._growth_bytes = database_bytes, wal_bytes, growth_bytes

    def connection(self, *, grows: bool) -> apsw.Connection:
        """For one write. One that `grows` leaves the headroom alone, and waits for room in the log.

        Raises DiskFull, IndexOverBudget, and apsw's errors.
        """
        if self._is_barred:
            raise DiskFull("The disk is full; the index is only read.")
        if self._db is None:
            self._db, self._capped = connect(self._path), None
        if not self._has_limits:
            return self._db
        most = self._database_bytes if not grows else int(self._database_bytes * (1 - HEADROOM))
        if grows and self._growth_bytes < most:
            most = min(most, int(self._db.pragma("page_count")) * PAGE_BYTES + self._growth_bytes)
        if self._capped != most:
            _cap(self._db, most)
            self._capped = most
        if grows:
            _bound_wal(self._db, self._path, self._wal_bytes)
        return self._db

    def close(self) -> None:
        if self._db is not None:
            self._db.close()


def _cap(db: apsw.Connection, database_bytes: int) -> None:
    """From now on this connection lets the database grow to so many bytes and no further; it raises IndexOverBudget.

    SQLite keeps the limit per connection and counts the database alone, not its WAL (faults.md, fact 2).
    """
    db.pragma("max_page_count", max(1, database_bytes // PAGE_BYTES))


def _bound_wal(db: apsw.Connection, path: str, most_bytes: int) -> None:
    """Raise IndexOverBudget if the WAL is over its share and cannot be emptied, because somebody reads an old state.

    Test: fault/test_bounds.py::test_a_pinned_reader_stops_the_writers.
    """
    if file_size(path + "-wal") <= most_bytes:
        return
    db.set_busy_timeout(CHECKPOINT_BUSY_MS)
    try:
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    except apsw.BusyError:
        pass  # what it could not empty is seen below
    finally:
        db.set_busy_timeout(BUSY_MS)
    if (size := file_size(path + "-wal")) > most_bytes:
        raise IndexOverBudget(
            f"The log of the index has {size:,} bytes and cannot be emptied: a process reads an old state of it.",
            hint="End the process that has the index open for so long; everything goes on by itself then.",
        )


def shrink(db: apsw.Connection) -> None:
    """Give free pages back to the file system, a few in each transaction, and empty the WAL."""
    while (free := int(db.pragma("freelist_count"))) > 0:
        db.execute(f"pragma incremental_vacuum({VACUUM_PAGES})").fetchall()
        if int(db.pragma("freelist_count")) >= free:
            break  # made without auto_vacuum, or nothing can be moved
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)


def space(db: apsw.Connection, path: str) -> tuple[int, int]:
    """(bytes of free pages in the database, bytes of its WAL)."""
    return int(db.pragma("freelist_count")) * PAGE_BYTES, file_size(path + "-wal")
