"""How much room what is derived may take, in bytes: the budget and its parts, the disk, and a reserve for bad days.

What stops at a limit is the index, never a note. Faults.md, section 4 and rule 5; docs/decisions/0017.
"""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.config import MIB, Config
from holdfast.engine.workspace import Workspace
from holdfast.errors import DiskFull, HoldfastError, IndexOverBudget
from holdfast.index.base import Index

WAL_MAX_BYTES = 16 * MIB
WAL_SHARE = 8
RESERVE_MAX_BYTES = 16 * MIB
RESERVE_SHARE = 50
RESERVE_FROM_BYTES = 64 * MIB
"""A smaller budget has no reserve."""

LOW_DISK_MAX_BYTES = 256 * MIB
LOW_DISK_SHARE = 20
LOW_DISK_LEAST_BYTES = 2 * MIB
DATABASE_LEAST_BYTES = MIB
DISK_PARTS = 3
"""A transaction may add at most this part of the room on the disk to the database: what it adds is in the log first and
in the database later, and once more for good measure."""

RESERVE = "reserve"
_BLOCK = bytes(MIB)


@dataclass(frozen=True, slots=True)
class Bounds:
    """The budget of one vault's index: all of it, and of that the database, its log and the reserve."""

    total: int
    database: int
    wal: int
    reserve: int


def bounds(config: Config, note_bytes: int, vector_bytes: int, beside_bytes: int) -> Bounds:
    """The budget for so many bytes of notes and of live vectors.

    `beside_bytes` is what stands beside the database and its log: what was set aside, the scan copy. The log counts
    twice, since one transaction may go over its share before anybody can stop it.
    """
    total = config.index_limit(note_bytes, vector_bytes)
    wal = min(WAL_MAX_BYTES, total // WAL_SHARE)
    reserve = 0 if total < RESERVE_FROM_BYTES else min(RESERVE_MAX_BYTES, total // RESERVE_SHARE)
    return Bounds(total, max(DATABASE_LEAST_BYTES, total - 2 * wal - reserve - beside_bytes), wal, reserve)


def low_disk_bytes(disk_bytes: int) -> int:
    """Below so many free bytes, of a disk of this size, the index stops to grow: the rest is for notes."""
    return max(LOW_DISK_LEAST_BYTES, min(LOW_DISK_MAX_BYTES, disk_bytes // LOW_DISK_SHARE))


def bounds_of(ws: Workspace, index: Index) -> Bounds:
    """The budget as the vault is now."""
    live = index.vectors.live()
    vector_bytes = index.vectors.stored_bytes(live.id) if live is not None else 0
    return bounds(ws.config, index.counts().note_bytes, vector_bytes, beside_bytes(ws))


def beside_bytes(ws: Workspace) -> int:
    """The bytes in the index directory that are neither the live database, nor its log, nor the reserve."""
    stamp = ws.generations.live_name()
    return sum(
        size
        for name, size in ws.generations.files()
        if name != RESERVE and not (stamp and name.startswith(stamp) and not name.endswith(".vec"))
    )


def keep_within(ws: Workspace, index: Index) -> None:
    """Let `index` grow as far as the budget and the disk allow now; raises DiskFull if the disk is low."""
    check_disk(ws)
    of = bounds_of(ws, index)
    part = _disk_part(ws)
    index.limit(of.database, min(of.wal, max(MIB, part)), part)


def at_limit(ws: Workspace, index: Index, error: HoldfastError) -> HoldfastError:
    """`error` with the figure in it, where SQLite could only say that the database is full."""
    if isinstance(error, IndexOverBudget) and error.message == IndexOverBudget().message:
        of = bounds_of(ws, index)
        if _size(ws, index) + _disk_part(ws) < of.database:
            return _disk_low(ws)
        return IndexOverBudget(f"The index has reached its limit of {of.total:,} bytes.")
    return error


def _disk_part(ws: Workspace) -> int:
    """By how many bytes one transaction may grow the database, so that what is kept for notes stays free."""
    free, total = ws.disk()
    return max(0, free - low_disk_bytes(total)) // DISK_PARTS


def check_disk(ws: Workspace) -> None:
    """Raise DiskFull if the disk of the index has less free than is kept for notes."""
    free, total = ws.disk()
    if free < low_disk_bytes(total):
        raise _disk_low(ws)


def _disk_low(ws: Workspace) -> DiskFull:
    free, total = ws.disk()
    least = low_disk_bytes(total)
    state = f"has {free:,} bytes free"
    return DiskFull(
        f"The disk of the index {state}; below {least:,} the index stops to grow."
        if free < least
        else f"The disk of the index {state}; the index does not grow into the {least:,} that are kept for notes.",
        hint="Free some space; notes can still be written, and indexing goes on by itself then.",
    )


def _size(ws: Workspace, index: Index) -> int:
    try:
        return ws.fs.lstat(index.path).st_size
    except OSError:
        return 0


def make_reserve(ws: Workspace, size: int) -> None:
    """Have a file of `size` bytes that can be given up when the disk is full; where there is no room, there is none."""
    path = f"{ws.directory}/{RESERVE}"
    known = dict(ws.generations.files()).get(RESERVE, 0)
    if known >= size // 2 and (known or not size):
        return
    release_reserve(ws)
    try:
        check_disk(ws)
        fd = ws.fs.open_new(path, 0o600)
        try:
            while size > 0:
                size -= ws.fs.write(fd, memoryview(_BLOCK)[: min(size, MIB)])
        finally:
            ws.fs.close(fd)
    except (OSError, DiskFull):
        ws.count("reserve_failed")
        release_reserve(ws)


def release_reserve(ws: Workspace) -> int:
    """Give the reserve up; returns the bytes that are free now."""
    size = dict(ws.generations.files()).get(RESERVE, 0)
    try:
        ws.fs.unlink(f"{ws.directory}/{RESERVE}")
    except FileNotFoundError:
        return 0
    except OSError:
        ws.count("reserve_kept")
        return 0
    return size
