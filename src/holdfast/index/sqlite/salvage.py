"""What can still be read of the vectors of a damaged database: row by row where a range fails, each proven by its
checksum. The file is opened by SQLite alone and is not changed."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from holdfast.index.sqlite.db import connect, rows
from holdfast.index.vectors.codes import VectorRow, bits_size

STEP = 256
IDS_MAX = 1 << 32
"""More ids than an index ever has: a larger one is damage."""


def rows_of(path: str) -> Iterator[tuple[str, int, VectorRow]]:
    """(identity of the embedder, dimension, row) of every vector in the database at `path` that is whole."""
    try:
        db = connect(path)
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    except apsw.Error:
        return
    try:
        known = {i: (identity, dimension) for i, identity, dimension in _all(db, "select * from embedder", ())}
        last = _all(db, "select max(id) from vector", ())
        given = _all(db, "select value from meta where key = 'next_vector'", ())
        top = min((x[0][0] for x in (last, given) if x and isinstance(x[0][0], int)), default=0)
        for lo in range(0, min(top, IDS_MAX) + 1, STEP):
            for embedder, row in _range(db, lo, lo + STEP):
                identity, dimension = known.get(embedder, ("", 0))
                if identity and len(row.code) == dimension and len(row.bits) == bits_size(dimension) and row.is_whole:
                    yield identity, dimension, row
    finally:
        db.close()


def _range(db: apsw.Connection, lo: int, hi: int) -> Iterator[tuple[int, VectorRow]]:
    sql = (
        "select v.embedder, v.input, v.code, v.bits, t.data, v.crc from vector v left join token t on t.id = v.id "
        "where v.id >= ? and v.id < ?"
    )
    try:
        found = rows(db, sql, (lo, hi))
    except apsw.Error:
        found = [] if hi - lo == 1 else [x for i in range(lo, hi) for x in _one(db, sql, i)]
    for embedder, input_, code, bits, tokens, crc in found:
        parts = (input_, code, bits, tokens if tokens is not None else b"")
        if all(isinstance(part, bytes) for part in parts) and isinstance(crc, int):
            yield embedder, VectorRow(*parts, crc)


def _one(db: apsw.Connection, sql: str, id_: int) -> list[tuple]:  # type: ignore[type-arg]
    # Where tokens cannot be read, a vector that has none still proves itself.
    bare = "select embedder, input, code, bits, null, crc from vector where id = ?"
    return _all(db, sql, (id_, id_ + 1)) or _all(db, bare, (id_,))


def _all(db: apsw.Connection, sql: str, values: tuple[int, ...]) -> list[tuple]:  # type: ignore[type-arg]
    try:
        return rows(db, sql, values)
    except (apsw.Error, UnicodeDecodeError):
        return []
