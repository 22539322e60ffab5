"""Vectors in rows: put in only for chunks that are live, read by block, taken out when nothing has them any more.

Ids only rise. A block of 1,024 ids has a change number; whoever holds a block reads it again when that is another.
Change numbers are drawn, not counted: a database that was put back to an earlier state would count to the same numbers
again, and a scan copy from before that would pass for its own. Vectors of an embedder that is not live yet stand beside
the others and are seen by nobody until it is.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import apsw
import numpy as np
from numpy.typing import NDArray

from holdfast.errors import EmbedderWrong
from holdfast.index.sqlite.db import add_totals, first, immediate, rows
from holdfast.index.vectors.codes import VectorRow, bits_size, checksum, own_crc, seed
from holdfast.index.vectors.scan import BLOCK_ROWS, EXACT_ROWS, Block, Vectors

BATCH_ROWS = 1_000
SEQ_BITS = 63
TOKEN_DIMENSION = 64
"""Token vectors are projected to so many dimensions by the embedder (embed/base.py)."""

Ids = NDArray[np.int64]
Codes = NDArray[np.int8]


class Kept(Protocol):
    """Blocks from another place than the rows."""

    def block(self, number: int, seq: int, *, with_codes: bool) -> Block | None: ...


def row_bytes(dimension: int) -> int:
    """What a vector takes as a row: its codes, signs and digest, the digest's index, and what SQLite adds."""
    return dimension + bits_size(dimension) + 64


def embedder(db: apsw.Connection, identity: str, dimension: int = 0) -> int | None:
    """The id of an embedder, of the newest one with this identity if no dimension is named; None if there is none."""
    sql = "select max(id) from embedder where identity = ?1 and (?2 = 0 or dimension = ?2)"
    found: int | None = first(db, sql, (identity, dimension))[0]
    return found


def live(db: apsw.Connection) -> tuple[int, str, int] | None:
    """(id, identity, dimension) of the embedder whose vectors answer questions."""
    found: tuple[int, str, int] | None = first(
        db,
        "select e.id, e.identity, e.dimension from meta m join embedder e on e.id = m.value where m.key = 'embedder'",
    )
    return found


def add_embedder(db: apsw.Connection, identity: str, dimension: int) -> int:
    """The id of an embedder, made if it is new; the first one is live at once."""
    with immediate(db):
        db.execute("insert or ignore into embedder (identity, dimension) values (?,?)", (identity, dimension))
        known = first(db, "select id from embedder where identity = ? and dimension = ?", (identity, dimension))
        db.execute("insert or ignore into meta values ('embedder', ?)", known)
    return int(known[0])


def put(db: apsw.Connection, embedder_id: int, given: Sequence[VectorRow]) -> int:
    """Store the vectors of inputs that a live chunk has, in one transaction; returns how many were stored."""
    with immediate(db):
        identity, dimension = first(db, "select identity, dimension from embedder where id = ?", (embedder_id,))
        start = seed(identity)
        if any(len(x.code) != dimension or len(x.bits) != bits_size(dimension) for x in given):
            raise EmbedderWrong(f"A vector has another dimension than the {dimension} of its embedder.")
        next_id = _counter(db, "next_vector")
        stored, token_bytes, blocks = 0, 0, set()
        for row in given:
            if first(db, "select 1 from chunk where input = ? limit 1", (row.input,)) is None:
                continue
            db.execute(
                "insert or ignore into vector values (?,?,?,?,?,?,?)",
                (next_id + 1, embedder_id, row.input, row.code, row.bits, row.crc,
                 own_crc(start, row.input, row.code, row.bits)),
            )  # fmt: skip
            if not db.changes():
                continue
            next_id += 1
            stored += 1
            blocks.add(next_id // BLOCK_ROWS)
            if row.tokens:
                db.execute("insert into token values (?,?)", (next_id, row.tokens))
                token_bytes += len(row.tokens)
        if stored:
            add_totals(db, {"vectors": stored, "token_bytes": token_bytes})
            _stamp(db, embedder_id, blocks)
            db.execute("update meta set value = ? where key = 'next_vector'", (next_id,))
    return stored


def _stamp(db: apsw.Connection, embedder_id: int, blocks: Iterable[int]) -> None:
    """Say that these blocks changed, and the vectors as a whole; within the transaction that changes them."""
    seq = secrets.randbits(SEQ_BITS)
    db.executemany("insert or replace into vector_block values (?,?,?)", [(embedder_id, b, seq) for b in blocks])
    db.execute("update meta set value = ? where key = 'vector_seq'", (seq,))


def _counter(db: apsw.Connection, key: str) -> int:
    return int(first(db, "select value from meta where key = ?", (key,))[0])


def switch(db: apsw.Connection, embedder_id: int) -> None:
    """Make an embedder the live one, and take the vectors of all others out, in batches."""
    with immediate(db):
        db.execute("insert or replace into meta values ('embedder', ?)", (embedder_id,))
        _stamp(db, embedder_id, ())
    for (other,) in rows(db, "select id from embedder where id <> ?", (embedder_id,)):
        while _delete(db, other, "select id from vector where embedder = ? limit ?", (other, BATCH_ROWS)):
            pass
        with immediate(db):
            db.execute("delete from vector_block where embedder = ?", (other,))
            db.execute("delete from embedder where id = ?", (other,))


def orphans(db: apsw.Connection, embedder_id: int) -> int:
    """How many vectors are of inputs that no chunk has."""
    sql = (
        "select count(*) from vector v where v.embedder = ? and not exists (select 1 from chunk where input = v.input)"
    )
    return int(first(db, sql, (embedder_id,))[0])


def drop(db: apsw.Connection, embedder_id: int, inputs: Iterable[bytes]) -> int:
    """Take out the vectors of these inputs; returns how many. `vector_seq` changes in any case: all count anew."""
    found = [first(db, "select id from vector where embedder = ? and input = ?", (embedder_id, x)) for x in inputs]
    ids = json.dumps([row[0] for row in found if row is not None])
    dropped = _delete(db, embedder_id, "select id from vector where id in (select value from json_each(?))", (ids,))
    with immediate(db):
        # Rows that went without a word of ours are still in the sums, and their tokens in the table.
        db.execute("delete from token where id not in (select id from vector)")
        db.execute("update total set value = (select count(*) from vector) where name = 'vectors'")
        sizes = "(select coalesce(sum(length(data)), 0) from token)"
        db.execute(f"update total set value = {sizes} where name = 'token_bytes'")
        if not dropped:
            _stamp(db, embedder_id, ())
    return dropped


def drop_orphans(db: apsw.Connection, embedder_id: int) -> int:
    """Take out vectors of inputs that no chunk has; returns how many."""
    dropped = 0
    sql = (
        "select v.id from vector v where v.embedder = ? "
        "and not exists (select 1 from chunk c where c.input = v.input) limit ?"
    )
    while count := _delete(db, embedder_id, sql, (embedder_id, BATCH_ROWS)):
        dropped += count
    return dropped


def _delete(db: apsw.Connection, embedder_id: int, sql: str, values: tuple[int | str, ...]) -> int:
    with immediate(db):
        ids = [i for (i,) in rows(db, sql, values)]
        many = json.dumps(ids)
        tokens = first(
            db,
            "select coalesce(sum(length(data)), 0) from token where id in (select value from json_each(?))",
            (many,),
        )
        add_totals(db, {"vectors": -len(ids), "token_bytes": -tokens[0]})
        db.execute("delete from vector where id in (select value from json_each(?))", (many,))
        db.execute("delete from token where id in (select value from json_each(?))", (many,))
        if ids:
            _stamp(db, embedder_id, {i // BLOCK_ROWS for i in ids})
    return len(ids)


def counts(db: apsw.Connection, embedder_id: int) -> tuple[int, int]:
    """(chunks that have a vector, vectors)."""
    found: tuple[int, int] = first(
        db,
        "select (select count(*) from chunk c where exists "
        "(select 1 from vector v where v.embedder = ?1 and v.input = c.input)), "
        "(select count(*) from vector where embedder = ?1)",
        (embedder_id,),
    )
    return found


def lacking_notes(db: apsw.Connection, embedder_id: int) -> list[int]:
    """Ids of the notes with a chunk that has no vector, newest first."""
    found = rows(
        db,
        "select n.id from note n join file f on f.id = n.id where n.id in (select c.note from chunk c where not exists "
        "(select 1 from vector v where v.embedder = ? and v.input = c.input)) "
        "order by coalesce(n.modified_ns, f.mtime_ns) desc, f.key",
        (embedder_id,),
    )
    return [i for (i,) in found]


def lacking(db: apsw.Connection, embedder_id: int, inputs: Iterable[bytes]) -> set[bytes]:
    """Those of `inputs` that have no vector."""
    sql = "select 1 from vector where embedder = ? and input = ?"
    return {x for x in set(inputs) if first(db, sql, (embedder_id, x)) is None}


def load(db: apsw.Connection, embedder_id: int, dimension: int, held: Vectors | None, kept: Kept | None) -> Vectors:
    """The vectors of the snapshot that `db` is in: blocks that did not change are taken from `held`, or `kept`."""
    have = held.blocks if held is not None and held.embedder == embedder_id else {}
    stamps = dict(rows(db, "select block, seq from vector_block where embedder = ?", (embedder_id,)))
    total = int(first(db, "select count(*) from vector where embedder = ?", (embedder_id,))[0])
    # Vectors that no chunk has do not count: there are at most about as many of them (engine/embed.py).
    chunks = int(first(db, "select value from total where name = 'chunks'")[0])
    with_codes = min(total, chunks) <= EXACT_ROWS and total <= 2 * EXACT_ROWS
    blocks = {}
    for number, seq in stamps.items():
        block = have.get(number)
        if block is None or block.seq != seq or (with_codes and block.codes is None):
            block = kept.block(number, seq, with_codes=with_codes) if kept is not None else None
        if block is None:
            block = read_block(db, embedder_id, dimension, number, seq)
        if not with_codes and block.codes is not None:
            block = Block(block.seq, block.ids, block.keys, block.bits, None)
        if len(block.ids):
            blocks[number] = block
    return Vectors(embedder_id, max(stamps.values(), default=0), dimension, blocks)


def read_block(db: apsw.Connection, embedder_id: int, dimension: int, number: int, seq: int) -> Block:
    """One block from its rows; raises ValueError for a row that cannot be one.

    A row that fails its checksum is left out: its passage has no vector then, and is found by words. Measured: 1 ms a
    block, as much as reading the rows takes.
    """
    found = rows(
        db,
        # The plus keeps SQLite from walking the embedder's whole index for each block.
        "select id, input, bits, code, own_crc from vector where id >= ? and id < ? and +embedder = ? order by id",
        (number * BLOCK_ROWS, (number + 1) * BLOCK_ROWS, embedder_id),
    )
    if any(len(x[1]) != 16 or len(x[2]) != bits_size(dimension) or len(x[3]) != dimension for x in found):
        raise ValueError("a vector has another size than its embedder's")
    found = _proven(db, embedder_id, found)
    return Block(
        seq=seq,
        ids=np.array([x[0] for x in found], dtype=np.int64),
        keys=np.frombuffer(b"".join(x[1][:8] for x in found), np.uint64),
        bits=np.frombuffer(b"".join(x[2] for x in found), np.uint64).reshape(len(found), bits_size(dimension) // 8),
        codes=np.frombuffer(b"".join(x[3] for x in found), np.int8).reshape(len(found), dimension),
    )


def blocks_of(ids: Ids) -> Ids:
    """The number of each id's block."""
    return ids // BLOCK_ROWS


def _proven(db: apsw.Connection, embedder_id: int, found: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Those of (id, input, bits, code, own_crc) that are what was stored.

    Most flipped bits pass every check of SQLite, and a vector with one would be ranked. Test: contract/test_vectors.py.
    """
    start = seed(first(db, "select identity from embedder where id = ?", (embedder_id,))[0])
    return [x for x in found if own_crc(start, x[1], x[3], x[2]) == x[4]]


def codes(db: apsw.Connection, embedder_id: int, ids: Iterable[int], dimension: int) -> Codes:
    """int8 (ids, dimension), zeros for an id that is not there, or whose row fails its checksum."""
    wanted = list(ids)
    sql = "select id, input, bits, code, own_crc from vector where id in (select value from json_each(?))"
    have = {x[0]: x[3] for x in _proven(db, embedder_id, rows(db, sql, (str(wanted),)))}
    zero = bytes(dimension)
    return np.frombuffer(b"".join(have.get(i, zero) for i in wanted), np.int8).reshape(len(wanted), dimension)


def tokens(db: apsw.Connection, ids: Iterable[int]) -> dict[int, bytes]:
    """The token vectors of those ids that have any, and that are what was stored."""
    found = rows(
        db,
        "select v.id, v.input, v.code, v.bits, t.data, v.crc from token t join vector v on v.id = t.id "
        "where t.id in (select value from json_each(?))",
        (str(list(ids)),),
    )
    return {id_: parts[-1] for id_, *parts, crc in found if checksum(*parts) == crc}


def all_rows(db: apsw.Connection, embedder_id: int, after: int, limit: int) -> list[tuple[int, VectorRow]]:
    """(id, row) in rising order of ids behind `after`, tokens included."""
    found = rows(
        db,
        "select v.id, v.input, v.code, v.bits, t.data, v.crc, v.own_crc from vector v left join token t on t.id = v.id "
        "where +v.embedder = ? and v.id > ? order by v.id limit ?",
        (embedder_id, after, limit),
    )
    if not found:
        return []
    start = seed(first(db, "select identity from embedder where id = ?", (embedder_id,))[0])
    return [(i, as_row(start, *rest)) for i, *rest in found]


def as_row(start: int, input_: bytes, code: bytes, bits: bytes, tokens: bytes | None, crc: int, own: int) -> VectorRow:
    """A row as it crosses the port; one that would not be ranked, for its own checksum fails, is not whole either."""
    is_proven = own_crc(start, input_, code, bits) == own
    return VectorRow(input_, code, bits, tokens or b"", crc if is_proven else ~crc)
