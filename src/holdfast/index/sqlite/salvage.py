"""What can still be read of the vectors of a damaged database: row by row where a range fails, each proven by its
checksum. The file is opened by SQLite and is not changed; what SQLite cannot reach, pages.py looks for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import apsw

from holdfast.files.fs import FileSystem
from holdfast.index.sqlite.db import connect, rows
from holdfast.index.sqlite.pages import rows_in_pages
from holdfast.index.vectors.codes import VectorRow, bits_size

STEP = 256
IDS_MAX = 1 << 32
"""More ids than an index ever has: a larger one is damage."""


def rows_of(path: str, meant: str | None = None) -> Iterator[tuple[str, int, VectorRow]]:
    """(identity of the embedder, dimension, row) of every vector in the database at `path` that is whole.

    With `meant`, the identity of the embedder that is wanted, the file's own bytes are looked at where SQLite fails
    (pages.py): only for a file that this process does not have open.
    """
    state = _State()
    seen: set[tuple[str, bytes]] = set()
    for identity, dimension, row in _by_sqlite(path, state):
        if meant is not None:
            seen.add((identity, row.input))
        yield identity, dimension, row
    if meant is not None and state.is_damaged:
        for identity, dimension, row in rows_in_pages(FileSystem(), path, meant):
            if (identity, row.input) not in seen:
                seen.add((identity, row.input))
                yield identity, dimension, row


@dataclass(slots=True)
class _State:
    is_damaged: bool = False


def _by_sqlite(path: str, state: _State) -> Iterator[tuple[str, int, VectorRow]]:
    try:
        db = connect(path)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    except apsw.Error:
        state.is_damaged = True
        return
    try:
        known = {i: (identity, dimension) for i, identity, dimension in _all(db, "select * from embedder", (), state)}
        last = _all(db, "select max(id) from vector", (), state)
        given = _all(db, "select value from meta where key = 'next_vector'", (), state)
        top = min((x[0][0] for x in (last, given) if x and isinstance(x[0][0], int)), default=0)
        for lo in range(0, min(top, IDS_MAX) + 1, STEP):
            for embedder, row in _range(db, lo, lo + STEP, state):
                identity, dimension = known.get(embedder, ("", 0))
                if identity and len(row.code) == dimension and len(row.bits) == bits_size(dimension) and row.is_whole:
                    yield identity, dimension, row
                else:
                    state.is_damaged = True
    finally:
        db.close()


def _range(db: apsw.Connection, lo: int, hi: int, state: _State) -> Iterator[tuple[int, VectorRow]]:
    sql = (
        "select v.embedder, v.input, v.code, v.bits, t.data, v.crc from vector v left join token t on t.id = v.id "
        "where v.id >= ? and v.id < ?"
    )
    try:
        found = rows(db, sql, (lo, hi))
    except apsw.Error:
        state.is_damaged = True
        found = [] if hi - lo == 1 else [x for i in range(lo, hi) for x in _one(db, sql, i, state)]
    for embedder, input_, code, bits, tokens, crc in found:
        parts = (input_, code, bits, tokens if tokens is not None else b"")
        if all(isinstance(part, bytes) for part in parts) and isinstance(crc, int):
            yield embedder, VectorRow(*parts, crc)


def _one(db: apsw.Connection, sql: str, id_: int, state: _State) -> list[tuple]:  # type: ignore[type-arg]
    # Where tokens cannot be read, a vector that has none still proves itself.
    bare = "select embedder, input, code, bits, null, crc from vector where id = ?"
    return _all(db, sql, (id_, id_ + 1), state) or _all(db, bare, (id_,), state)


def _all(db: apsw.Connection, sql: str, values: tuple[int, ...], state: _State) -> list[tuple]:  # type: ignore[type-arg]
    try:
        return rows(db, sql, values)
    except (apsw.Error, UnicodeDecodeError):
        state.is_damaged = True
        return []
