"""What is wrong with an open SQLite index: see index.proofs.Proofs. Words are in verify_words, vectors here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import cache
from typing import Any, Protocol

import apsw
import numpy as np

from holdfast.errors import IndexDamaged
from holdfast.index.base import NoteRecord
from holdfast.index.lexical.corpus import Corpus
from holdfast.index.lexical.pack import LEN_MAX, decode_ids
from holdfast.index.proofs import FLAWS_MAX, Flaw
from holdfast.index.sqlite import vectors
from holdfast.index.sqlite.db import first, prepare, rows, verify
from holdfast.index.sqlite.verify_words import Places, check_words, unlisted
from holdfast.index.sqlite.write import chunk_keys, note_row, owned_rows
from holdfast.index.vectors.codes import VectorRow, bits_size, seed
from holdfast.index.vectors.scan import BLOCK_ROWS

PAGE = 512
TERM_CACHE = 60_000
ID_END = (1 << 63) - 1

_TABLES = "select type, name, tbl_name, sql from sqlite_master where name not like 'sqlite_%' order by type, name"
_SUMS = {
    "files": "select count(*) from file",
    "notes": "select count(*) from note",
    "chunks": "select coalesce(sum(chunks), 0) from note",
    "note_bytes": "select coalesce(sum(size), 0) from note",
    "vectors": "select count(*) from vector",
    "token_bytes": "select coalesce(sum(length(data)), 0) from token",
}
# What each counter of `meta` must not be below.
_HIGHEST = {
    "seq": "select max(x) from (select max(seq) x from doc union all select max(seq) from gone "
    "union all select value from meta where key = 'post_seq')",
    "next_note": "select max(x) from (select max(id) x from file union all select max(id) from note)",
    "next_term": "select max(id) + 1 from term",
    "next_segment": "select max(id) from segment",
    "next_vector": "select max(id) from vector",
}
# Ids of notes of which something is not as it must be; {} stands for the range of the column in it.
_OWN = [
    ("has no file", "select id from note n where {n.id} and not exists (select 1 from file where id = n.id)"),
    ("has rows in {table} and no row of its own",
     "select distinct note from {table} t where {t.note} and not exists (select 1 from note where id = t.note)"),
    ("has not as many passages as its row says",
     "select id from note n where {n.id} and chunks <> (select count(*) from chunk where note = n.id)"),
    ("has no term row", "select id from note n where {n.id} and not exists (select 1 from doc where note = n.id)"),
    ("has a term row of another size",
     ("select n.id from note n join doc on doc.note = n.id where {n.id} "
     "and (length(lens) <> 2 * (chunks + 1) or length(keys) <> 8 * chunks)")),
    ("counts as deleted and is there",
     "select note from gone g where {g.note} and exists (select 1 from doc where note = g.note)"),
]  # fmt: skip
_OWNED = ("chunk", "name", "link", "fact", "field", "doc")
_LIVE = "(select value from meta where key = 'embedder')"
_VECTOR = [
    ("token vectors of no vector", "select id from token t where not exists (select 1 from vector where id = t.id)"),
    ("a vector of an embedder that is not known",
     "select id from vector where embedder not in (select id from embedder)"),
    ("a block of vectors of an embedder that is not known",
     "select block from vector_block where embedder not in (select id from embedder)"),
    ("a vector in a block that no reader looks at",
     ("select id from vector v where not exists (select 1 from vector_block b where b.embedder = v.embedder "
     f"and b.block = v.id / {BLOCK_ROWS})")),
    ("embedders of which none answers", ("select id from embedder where not exists "
     f"(select 1 from embedder where id = {_LIVE})")),
]  # fmt: skip


class Reading(Protocol):
    """What is needed of the open index."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def reading(self) -> AbstractContextManager[apsw.Connection]: ...

    def corpus(self) -> Corpus: ...


class SqliteProofs:
    """See index.proofs.Proofs."""

    def __init__(self, index: Reading, path: str, database_id: str) -> None:
        """`database_id` is what the manifest names."""
        self._index, self._path, self._database_id = index, path, database_id
        self._terms: dict[str, int] = {}
        self._places: Places | None = None
        self._version = (-1, -1)

    def database(self, *, whole: bool) -> list[Flaw]:
        with self._index.reading() as db:
            out = []
            try:
                verify(db, self._path, self._database_id)
            except IndexDamaged as e:
                out.append(Flaw("database", 0, e.message))
            if rows(db, _TABLES) != _expected_tables():
                out.append(Flaw("database", 0, "Its tables are not those of an index."))
            said = rows(db, f"pragma {'integrity' if whole else 'quick'}_check({FLAWS_MAX})")
            return out + [Flaw("database", 0, f"SQLite: {text}.") for (text,) in said if text != "ok"]

    def sums(self) -> list[Flaw]:
        with self._index.snapshot(), self._index.reading() as db:
            known, meta = dict(rows(db, "select * from total")), dict(rows(db, "select key, value from meta"))
            out = []
            for name, sql in _SUMS.items():
                count = first(db, sql)[0]
                if known.get(name) != count:
                    out.append(Flaw("sums", 0, f"The sum of {name} is {known.get(name)}, a recount gives {count}."))
            for name, sql in _HIGHEST.items():
                least = first(db, sql)[0] or 0
                if not (isinstance(meta.get(name), int) and meta[name] >= least):
                    out.append(Flaw("sums", 0, f"The counter {name} is {meta.get(name)}; it cannot be below {least}."))
            return out + _remembered(db, str(meta.get("ready", "")), meta)

    def _held(self, db: apsw.Connection) -> Places:
        """Where notes lie in segments; it and the terms that are known are forgotten with every commit of anybody, for
        what is held must not hide what was damaged since."""
        version = (db.pragma("data_version"), db.total_changes())
        if self._places is None or version != self._version:
            self._places, self._version = Places.of(db), version
            self._terms.clear()
        return self._places

    def orphans(self) -> list[Flaw]:
        with self._index.snapshot(), self._index.reading() as db:
            out = _own(db, 0, ID_END) + unlisted(db, self._held(db), 0, ID_END)
            for what, sql in _VECTOR:
                found = rows(db, f"{sql} limit {FLAWS_MAX}")
                if found:
                    ids = ", ".join(str(x) for (x,) in found[:3])
                    out.append(Flaw("orphan", 0, f"There is {what} ({len(found)}, such as {ids})."))
            return out

    def coherence(self, after: int, upto: int) -> list[Flaw]:
        with self._index.snapshot(), self._index.reading() as db:
            return _own(db, after, upto) + unlisted(db, self._held(db), after, upto)

    def words(self) -> Iterator[tuple[int, list[Flaw]]]:
        return check_words(self._index)

    def vectors(self) -> Iterator[tuple[int, list[Flaw]]]:
        with self._index.reading() as db:
            known = rows(db, "select id, dimension from embedder")
        for embedder, dimension in known:
            after = 0
            while True:
                with self._index.reading() as db:
                    page = vectors.all_rows(db, embedder, after, PAGE)
                if not page:
                    break
                if not page[-1][0] > after:
                    raise IndexDamaged(f"The index {self._path} is damaged: its vectors are out of order.")
                after = page[-1][0]
                bad = [(i, why) for i, row in page if (why := _spoiled(row, dimension))]
                yield len(page), [Flaw("vector", 0, f"Vector {i} {why}.") for i, why in bad]

    def differences(self, id_: int, size: int, record: NoteRecord) -> list[str]:
        with self._index.snapshot(), self._index.reading() as db:
            self._held(db)
            out = []
            found = first(db, "select * from note where id = ?", (id_,))
            if found != note_row(id_, record, size):
                out.append("its row" if found is not None else "no row at all")
            for table, expected in owned_rows(id_, record).items():
                stored = rows(db, f"select {_COLUMNS[table]} from {table} where note = ?", (id_,))
                if set(stored) != set(expected) or len(stored) != len(set(expected)):
                    out.append(_CALLED[table])
            if not self._has_words(db, id_, record):
                out.append("words")
            return out

    def _has_words(self, db: apsw.Connection, id_: int, record: NoteRecord) -> bool:
        found = first(db, "select lens, ids, keys from doc where note = ?", (id_,))
        entries = [t[:LEN_MAX] for t in record.terms]
        lens = np.array([len(t) for t in entries], dtype=np.uint16).tobytes()
        if found is None or (found[0], found[2]) != (lens, chunk_keys(record)):
            return False
        texts = [t for entry in entries for t in entry]
        ids = {t: self._term(db, t) for t in set(texts)}
        return bool([ids[t] for t in texts] == decode_ids(found[1]).tolist())

    def _term(self, db: apsw.Connection, text: str) -> int | None:
        known = self._terms.get(text)
        if known is None and (row := first(db, "select id from term where t = ?", (text,))) is not None:
            if len(self._terms) >= TERM_CACHE:
                self._terms.clear()
            known = self._terms[text] = row[0]
        return known

    def unfound(self, id_: int, terms: Sequence[str], most: int = 0) -> list[str]:
        with self._index.snapshot(), self._index.reading() as db:
            places = self._held(db)
            wanted = {self._term(db, t): t for t in dict.fromkeys(terms)}
            out = [f"“{wanted.pop(None)}”"] if None in wanted else []
            numbers = {i for i in wanted if i is not None}
            lost = places.lost(db, id_, numbers, most) if numbers or not terms else []
            return out + [f"“{wanted[i]}”" if i in wanted else f"the term {i}" for i in lost]

    def frequencies(self, terms: Iterable[str]) -> dict[str, int]:
        with self._index.snapshot(), self._index.reading() as db:
            corpus = self._index.corpus()
            ids = {t: first(db, "select id from term where t = ?", (t,)) for t in set(terms)}
            return {t: len(corpus.postings(row[0])[0]) if row else 0 for t, row in ids.items()}

    def vectors_of(self, inputs: Iterable[bytes]) -> dict[bytes, VectorRow]:
        with self._index.reading() as db:
            live = vectors.live(db)
            out: dict[bytes, VectorRow] = {}
            sql = (
                "select v.code, v.bits, t.data, v.crc, v.own_crc from vector v left join token t on t.id = v.id "
                "where v.embedder = ? and v.input = ?"
            )
            if live is None:
                return out
            start = seed(live[1])
            for input_ in set(inputs):
                if (row := first(db, sql, (live[0], input_))) is not None:
                    out[input_] = vectors.as_row(start, input_, *row)
            return out

    def spoiled(self, row: VectorRow) -> str:
        with self._index.reading() as db:
            live = vectors.live(db)
            return _spoiled(row, live[2]) if live is not None else "is of no embedder that answers"

    def files(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        return self._rising("select id, key from file where id > ? order by id limit ?", after, limit)

    def bare(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        sql = "select id, key from file where id > ? and id not in (select id from note) order by id limit ?"
        return self._rising(sql, after, limit)

    def _rising(self, sql: str, after: int, limit: int) -> list[tuple[int, bytes]]:
        with self._index.reading() as db:
            found = rows(db, sql, (after, limit))
            if found and not (found[-1][0] > after and all(type(key) is bytes for _, key in found)):
                raise IndexDamaged(f"The index {self._path} is damaged: its files are out of order.")
            return found

    def inputs(self, id_: int) -> list[bytes]:
        with self._index.reading() as db:
            return [x for (x,) in rows(db, "select input from chunk where note = ? order by ord", (id_,))]

    def sample(self, count: int) -> list[int]:
        with self._index.snapshot(), self._index.reading() as db:
            top = int(first(db, "select max(id) from note")[0] or 0)
            steps = [top * i // count for i in range(count)]
            found = [first(db, "select id from note where id > ? order by id limit 1", (at,)) for at in steps]
            return sorted({int(row[0]) for row in found if row is not None})


_CALLED = {"chunk": "passages", "name": "names", "link": "links", "fact": "facts", "field": "fields"}
_COLUMNS = {
    "chunk": "*", "name": "key, note, levels, whole", "link": "*", "fact": "*", "field": "note, key, value"
}  # fmt: skip


@cache
def _expected_tables() -> list[Any]:
    db = apsw.Connection(":memory:")
    try:
        prepare(db, "")
        return rows(db, _TABLES)
    finally:
        db.close()


def _own(db: apsw.Connection, after: int, upto: int) -> list[Flaw]:
    """The flaws of notes in a range of ids."""
    out = []
    for what, sql in _OWN:
        for table in _OWNED if "{table}" in sql else ("",):
            for name in ("n.id", "t.note", "g.note"):
                sql = sql.replace("{" + name + "}", f"{name} > ?1 and {name} <= ?2")
            found = rows(db, f"{sql.replace('{table}', table)} limit {FLAWS_MAX}", (after, upto))
            out += [Flaw("orphan", int(i), f"Note {i} {what.format(table=table)}.") for (i,) in found]
    return out


def _remembered(db: apsw.Connection, ready: str, meta: dict[str, Any]) -> list[Flaw]:
    """Whether the number of passages with a vector that is remembered, if it is of now, is what there is."""
    live = vectors.live(db)
    if live is None or not ready.startswith(f"{live[0]}:{meta.get('seq')}:{meta.get('vector_seq')}:"):
        return []
    count = vectors.counts(db, live[0])[0]
    said = ready.rpartition(":")[2]
    return [] if said == str(count) else [Flaw("sums", 0, f"{said} passages are said to have a vector; {count} have.")]


def _spoiled(row: VectorRow, dimension: int) -> str:
    if len(row.code) != dimension or len(row.bits) != bits_size(dimension) or len(row.input) != 16:
        return "has another size than its embedder's"
    if not row.is_whole:
        return "has another checksum than it states"
    codes = np.frombuffer(row.code, np.int8)
    bits = np.unpackbits(np.frombuffer(row.bits, np.uint8), bitorder="little")[: len(codes)].astype(bool)
    # A component just above 0 has its bit and a code of 0.
    return "has other signs than its codes" if (bits[codes < 0].any() or not bits[codes > 0].all()) else ""
