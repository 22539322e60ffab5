"""One writing transaction: notes in, notes out, whole or not at all.

Rows are gathered and written together at the end of the transaction, term rows encoded for the whole batch at once.
No posting is touched here: a note newer than the newest segment is read from its term row until the next flush
(postings.py), so a reader sees it in the same transaction that stored it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from types import TracebackType
from typing import Any

import apsw
import numpy as np

from holdfast.index.base import NoteRecord
from holdfast.index.lexical.pack import KEY_BYTES, LEN_MAX, encode_ids
from holdfast.index.sqlite.db import add_totals, decoding, first, rows, translated
from holdfast.model import Witness

TERM_CACHE = 60_000
TERMS_AT_ONCE = 4_096

_INSERT = {
    "chunk": "insert into chunk values (?,?,?,?,?,?,?,?,?,?,?,?)",
    "name": "insert or ignore into name values (?,?,?,?)",
    "link": "insert into link values (?,?,?,?,?,?,?,?,?,?)",
    "fact": "insert into fact values (?,?,?,?,?,?,?)",
    "field": "insert or ignore into field values (?,?,?)",
}


def note_row(id_: int, r: NoteRecord, size: int) -> tuple[Any, ...]:
    """The row in `note` of a note with `size` bytes."""
    tags = json.dumps(r.tags, ensure_ascii=False) if r.tags else None
    return (
        id_, r.digest, r.title, r.type, r.permalink, r.trust, tags, r.author, r.session, r.modified_ns,
        r.valid_from_ns, r.valid_to_ns, size, len(r.chunks),
    )  # fmt: skip


def owned_rows(id_: int, r: NoteRecord) -> dict[str, list[tuple[Any, ...]]]:
    """The note's rows in every table of which it has several."""
    return {
        "chunk": [
            (id_, i, c.start, c.size, c.line, c.count, c.heading, c.digest, c.speaker, c.at_ns, c.input, c.traits)
            for i, c in enumerate(r.chunks)
        ],
        "name": [(key, id_, levels, whole or "") for key, levels, whole in r.names],
        "link": [
            (id_, i, x.line, x.target, x.name, x.heading, x.block, x.embed, x.relative, x.relation)
            for i, x in enumerate(r.links)
        ],
        "fact": [(id_, i, x.line, x.kind, x.label, x.valid_from, x.valid_to) for i, x in enumerate(r.facts)],
        "field": [(id_, key, value) for key, value in r.fields],
    }


def chunk_keys(r: NoteRecord) -> bytes:
    """`keys` of its term row."""
    return b"".join(c.input[:KEY_BYTES] for c in r.chunks)


class Terms:
    """Term ids, cached. Ids are dense, in order of first sight, and never change within a generation, so a cached id
    stays true whatever other processes do; ids given in a transaction that failed are forgotten."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def ids(
        self, db: apsw.Connection, texts: Sequence[str], fresh: dict[str, int], next_id: int
    ) -> tuple[list[int], int]:
        known = self.known
        # In order, many at once: a note of a million different words is stored at the cost of one of many equal ones.
        unknown = sorted(set(texts).difference(known))
        for at in range(0, len(unknown), TERMS_AT_ONCE):
            part = unknown[at : at + TERMS_AT_ONCE]
            sql = "select t, id from term where t in (select value from json_each(?))"
            known.update(rows(db, sql, (json.dumps(part, ensure_ascii=False),)))
            given = dict(zip((t for t in part if t not in known), count(next_id)))
            db.executemany("insert into term values (?,?)", given.items())
            fresh.update(given)
            known.update(given)
            next_id += len(given)
        return [known[t] for t in texts], next_id

    def trim(self) -> None:
        if len(self.known) > TERM_CACHE:
            self.known.clear()


class SqliteTx:
    """See index.base.Tx. Use as a context manager; `seq` is the change number that the commit publishes."""

    def __init__(self, db: apsw.Connection, path: str, terms: Terms) -> None:
        self._db, self._path, self._terms = db, path, terms
        self._fresh: dict[str, int] = {}
        self._rows: dict[str, list[tuple[Any, ...]]] = {table: [] for table in _INSERT}
        self._docs: list[tuple[int, list[int], bytes]] = []
        self._ids: list[int] = []
        self._pending: set[int] = set()
        self._totals = dict.fromkeys(("files", "notes", "chunks", "note_bytes"), 0)

    def __enter__(self) -> SqliteTx:
        with translated(self._path):
            self._db.execute("begin immediate")
            try:
                with decoding(self._path):
                    meta = dict(rows(self._db, "select key, value from meta where key like 'next_%' or key = 'seq'"))
                    self.seq = meta["seq"] + 1
                    self._next_note: int
                    self._next_note, self._next_term = int(meta["next_note"]), int(meta["next_term"])
            except BaseException:
                self._db.execute("rollback")
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with translated(self._path):
                    self._flush()
                    add_totals(self._db, self._totals)
                    self._db.executemany(
                        "update meta set value = ? where key = ?",
                        [(self.seq, "seq"), (self._next_note, "next_note"), (self._next_term, "next_term")],
                    )
                    self._db.execute("commit")
                self._fresh.clear()
        finally:
            if self._db.in_transaction:
                self._db.execute("rollback")
            for t in self._fresh:
                self._terms.known.pop(t, None)
            self._terms.trim()

    def replace_note(self, witness: Witness, racy_ns: int, record: NoteRecord, id_: int | None = None) -> int:
        with translated(self._path):
            known = first(self._db, "select id from file where key = ?", (witness[0],))
            if id_ is None:
                id_ = known[0] if known else self._new_id()
            elif known is None or known[0] != id_:
                if known is not None:
                    self._clear_note(known[0])
                self._db.execute("delete from quarantine where key in (select key from file where id = ?)", (id_,))
                self._db.execute("delete from file where id = ?", (id_,))
                self._totals["files"] -= self._db.changes()
            self._put_file(witness, racy_ns, id_, is_new=known is None)
            self._clear_note(id_)
            self._put_note(id_, record, witness[1])
            self._db.execute("delete from quarantine where key = ?", (witness[0],))
        return id_

    def witness(self, key: bytes) -> Witness | None:
        with translated(self._path):
            sql = "select key, size, mtime_ns, ctime_ns, inode from file where key = ?"
            found: Witness | None = first(self._db, sql, (key,))
        return found

    def set_file(self, witness: Witness, racy_ns: int) -> None:
        with translated(self._path):
            known = first(self._db, "select id from file where key = ?", (witness[0],))
            self._put_file(witness, racy_ns, known[0] if known else self._new_id(), is_new=known is None)

    def move_file(self, old_key: bytes, witness: Witness, racy_ns: int) -> None:
        with translated(self._path):
            known = first(self._db, "select id from file where key = ?", (old_key,))
            assert known is not None, "only a file that is known can move"
            if (other := first(self._db, "select id from file where key = ?", (witness[0],))) and other != known:
                self._clear_note(other[0])
            self._db.execute("delete from file where key = ?", (old_key,))
            self._totals["files"] -= self._db.changes()
            self._put_file(witness, racy_ns, known[0], is_new=other is None or other == known)
            self._db.execute("update or replace quarantine set key = ? where key = ?", (witness[0], old_key))

    def move_directory(self, old: bytes, new: bytes) -> None:
        with translated(self._path):
            values = (new, len(old) + 1, old, old[:-1] + b"\1")
            for table in ("file", "quarantine"):
                self._db.execute(
                    f"update {table} set key = cast(? || substr(key, ?) as blob) where key >= ? and key < ?", values
                )

    def delete_file(self, key: bytes) -> None:
        with translated(self._path):
            known = first(self._db, "select id from file where key = ?", (key,))
            if known is not None:
                self._clear_note(known[0])
                self._db.execute("delete from file where key = ?", (key,))
                self._totals["files"] -= self._db.changes()
            self._db.execute("delete from quarantine where key = ?", (key,))

    def quarantine(self, key: bytes, reason: str, at_ns: int, retry_ns: int, digest: bytes = b"") -> None:
        with translated(self._path):
            self._db.execute(
                "insert into quarantine values (?1,?2,?3,1,?4,?5) on conflict do update "
                "set reason = ?2, at_ns = iif(reason = ?2, at_ns, ?3), tries = iif(digest = ?5, tries + 1, 1), "
                "retry_ns = ?4, digest = ?5",
                (key, reason, at_ns, retry_ns, digest),
            )

    def release(self, key: bytes) -> None:
        with translated(self._path):
            self._db.execute("delete from quarantine where key = ?", (key,))

    def put_meta(self, key: str, value: str | int) -> None:
        with translated(self._path):
            self._db.execute("insert or replace into meta values (?,?)", (key, value))

    def _new_id(self) -> int:
        self._next_note += 1
        return self._next_note

    def _put_file(self, witness: Witness, racy_ns: int, id_: int, *, is_new: bool) -> None:
        self._totals["files"] += is_new
        key, size, mtime_ns, ctime_ns, inode = witness
        row = (key, id_, size, mtime_ns, ctime_ns, inode, racy_ns)
        self._db.execute("insert or replace into file values (?,?,?,?,?,?,?)", row)

    def _clear_note(self, id_: int) -> None:
        if id_ in self._pending:
            self._flush()
        known = first(self._db, "select size, chunks from note where id = ?", (id_,))
        if known is None:
            return
        self._count_note(-1, *known)
        for table in ("chunk", "name", "link", "fact", "field", "doc"):
            self._db.execute(f"delete from {table} where note = ?", (id_,))
        self._db.execute("delete from note where id = ?", (id_,))
        self._db.execute("insert or replace into gone values (?,?)", (id_, self.seq))

    def _count_note(self, sign: int, size: int, chunks: int) -> None:
        self._totals["notes"] += sign
        self._totals["note_bytes"] += sign * size
        self._totals["chunks"] += sign * chunks

    def _put_note(self, id_: int, r: NoteRecord, size: int) -> None:
        self._pending.add(id_)
        self._count_note(1, size, len(r.chunks))
        self._db.execute("insert into note values (?,?,?,?,?,?,?,?,?,?,?,?,?,?)", note_row(id_, r, size))
        for table, gathered in owned_rows(id_, r).items():
            self._rows[table] += gathered
        entries = [t[:LEN_MAX] for t in r.terms]
        ids, self._next_term = self._terms.ids(
            self._db, [t for entry in entries for t in entry], self._fresh, self._next_term
        )
        self._ids += ids
        self._docs.append((id_, [len(entry) for entry in entries], chunk_keys(r)))

    def _flush(self) -> None:
        for table, gathered in self._rows.items():
            if gathered:
                self._db.executemany(_INSERT[table], gathered)
                gathered.clear()
        if self._docs:
            blobs = encode_ids(
                np.array(self._ids, dtype=np.uint32), np.array([sum(lens) for _, lens, _ in self._docs], dtype=np.int64)
            )
            self._db.executemany(
                "insert into doc values (?,?,?,?,?)",
                [
                    (id_, self.seq, np.array(lens, dtype=np.uint16).tobytes(), blob, keys)
                    for (id_, lens, keys), blob in zip(self._docs, blobs, strict=True)
                ],
            )
            # A note that is back in the overlay is not gone; its older postings are masked by its newer term row.
            self._db.executemany("delete from gone where note = ?", [(id_,) for id_, _, _ in self._docs])
            self._docs.clear()
            self._ids.clear()
        self._pending.clear()
