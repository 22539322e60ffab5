"""The SQLite index: one published generation, open.

Reads share one connection and see one snapshot per call, or per `with snapshot()`; writes have another. Both may be
used from any thread; calls take turns.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar

import apsw

from holdfast.errors import IndexDamaged
from holdfast.index.asking import SPEAKER, ChunkRow, Newest, Search, Signals
from holdfast.index.base import Aside, Counts, FileRow, LinkRow, NameLevel, NameRow, NoteRow
from holdfast.index.lexical.corpus import Corpus
from holdfast.index.sqlite import ask, postings
from holdfast.index.sqlite.db import check_kinds, connect, decoding, identity, prepare, translated, verify
from holdfast.index.sqlite.detail import chunk_rows
from holdfast.index.sqlite.graph import SqliteGraph
from holdfast.index.sqlite.room import Writer, shrink, space
from holdfast.index.sqlite.vector_store import SqliteVectors
from holdfast.index.sqlite.verify import SqliteProofs
from holdfast.index.sqlite.write import SqliteTx, Terms

SPEAKERS_MAX = 8

P = ParamSpec("P")
T = TypeVar("T")

_NOTE = (
    "select n.id, f.key, n.digest, f.size, n.title, n.type, n.permalink, n.trust, n.tags, n.author, n.session, "
    "coalesce(n.modified_ns, f.mtime_ns) from note n join file f on f.id = n.id "
)
_ASIDE = "select key, reason, at_ns, tries, retry_ns, digest from quarantine"
_LINK_KINDS = "iissSSiiS"
_LINK = "select note, line, target, name, heading, block, embed, relative, relation from link "


class SqliteIndex:
    """See index.base.Index."""

    def __init__(self, path: str, generation: int, database_id: str, *, alone: bool = False) -> None:
        """Open the database; raises IndexDamaged if it is not the one that the manifest names, or not whole.

        `alone` opens it for reading on a disk without a free byte; nobody else can open it meanwhile.
        """
        self._init(path, generation, database_id)
        self.is_alone = alone
        self._writer = Writer(path, is_barred=alone)
        with translated(path):
            self._file = identity(path)
            self._db = connect(path, alone=alone)
            try:
                verify(self._db, path, database_id)
                # Questions come from anybody; whatever they are, this connection writes nothing.
                self._db.pragma("query_only", 1)
            except BaseException:
                self._db.close()
                raise

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is still under its name: what is written to a deleted one is lost."""
        return identity(self.path) == self._file is not None

    @classmethod
    def in_memory(cls) -> SqliteIndex:
        """An empty index that lives as long as the object, of generation 0."""
        index = cls.__new__(cls)
        index._db = connect(":memory:")
        prepare(index._db, "")
        index._writer = Writer(":memory:", index._db)
        index._init(":memory:", 0, "")
        index._writing = index._reading
        return index

    def _init(self, path: str, generation: int, database_id: str) -> None:
        self.path, self.generation = path, generation
        self._reading, self._writing = threading.RLock(), threading.RLock()
        self._depth = 0
        self._corpus: Corpus | None = None
        self._corpus_at: tuple[int, int] | None = None
        self._terms = Terms()
        self.is_alone = False
        self.graph = SqliteGraph(weakref.proxy(self))
        self.vectors = SqliteVectors(weakref.proxy(self), path)
        self.proofs = SqliteProofs(weakref.proxy(self), path, database_id)

    def close(self) -> None:
        with self._reading, self._writing:
            self._db.close()
            self._writer.close()

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """All reads within see the same state. Keep it short: while it is open, the WAL cannot shrink."""
        with self._reading, translated(self.path):
            if self._depth == 0:
                self._db.execute("begin")
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0 and self._db.in_transaction:
                    self._db.execute("rollback")

    @contextmanager
    def reading(self) -> Iterator[apsw.Connection]:
        """The connection that reads, for the time of one call."""
        with self._reading, decoding(self.path), translated(self.path):
            yield self._db

    @contextmanager
    def writing(self, *, grows: bool = True) -> Iterator[apsw.Connection]:
        """The connection that writes, for the time of one call; what does not grow may use the room kept for it."""
        with self._writing, decoding(self.path), translated(self.path):
            yield self._writer.connection(grows=grows)

    def _all(self, sql: str, values: Sequence[object] = (), kinds: str = "") -> list[Any]:
        """All rows; fetched before the call returns, so that no statement keeps a lock.

        `kinds` as in check_kinds.
        """
        with self._reading, decoding(self.path), translated(self.path):
            found = self._db.execute(sql, values).fetchall()
            return check_kinds(found, kinds)

    # What the scan compares

    def file_rows(self, after: bytes, limit: int) -> list[tuple[bytes, int, int, int, int]]:
        found = self._all(
            "select key, iif(racy_ns, -1, size), mtime_ns, ctime_ns, inode from file where key > ? "
            "order by key limit ?",
            (after, limit),
        )
        if found and not (found[-1][0] > after and all(type(row[0]) is bytes for row in found)):
            # Out of order only in a damaged tree; who pages through it would never come to an end.
            raise IndexDamaged(f"The index {self.path} is damaged: its files are out of order.")
        return found

    def file_range(self, prefix: bytes) -> list[tuple[bytes, int, int, int, int]]:
        """What `file_rows` gives for the files directly in the directory with this key prefix."""
        return self._all(
            "select key, iif(racy_ns, -1, size), mtime_ns, ctime_ns, inode from file where key >= ? and key < ? "
            "order by key",
            (prefix, prefix[:-1] + b"\1"),
        )

    def file_row(self, key: bytes) -> FileRow | None:
        found = self._files("where f.key = ?", (key,))
        return found[0] if found else None

    def find_moved(self, witness: tuple[bytes, int, int, int, int]) -> list[FileRow]:
        key, size, mtime_ns, ctime_ns, inode = witness
        if not inode:
            return []  # inodes mean nothing here; size and times alone prove no identity
        return self._files(
            "where f.inode = ? and f.size = ? and f.mtime_ns = ? and f.ctime_ns = ? and f.key <> ?",
            (inode, size, mtime_ns, ctime_ns, key),
        )

    def find_digest(self, digest: bytes) -> list[FileRow]:
        return self._files("where f.id in (select id from note where digest = ?)", (digest,))

    def find_similar(self, digests: Iterable[bytes], share: float) -> list[FileRow]:
        wanted = set(digests)
        shared: dict[int, int] = {}
        with self._reading, translated(self.path):
            for digest in wanted:
                for (note,) in self._db.execute("select distinct note from chunk where digest = ? limit 32", (digest,)):
                    shared[note] = shared.get(note, 0) + 1
        ids = sorted((n for n, count in shared.items() if count >= share * len(wanted)), key=lambda n: (-shared[n], n))
        return [row for n in ids for row in self._files("where f.id = ?", (n,))]

    def _files(self, where: str, values: Sequence[object]) -> list[FileRow]:
        rows = self._all(
            "select f.key, f.size, f.mtime_ns, f.ctime_ns, f.inode, f.id, f.racy_ns, n.digest "
            f"from file f left join note n on n.id = f.id {where} order by f.key",
            values,
            "biiiiiiB",
        )
        return [FileRow((r[0], r[1], r[2], r[3], r[4]), r[5], r[6], r[7]) for r in rows]

    # Writing

    @contextmanager
    def begin(self, *, grows: bool = True) -> Iterator[SqliteTx]:
        with (
            self._writing,
            translated(self.path),
            SqliteTx(self._writer.connection(grows=grows), self.path, self._terms) as tx,
        ):
            yield tx

    def flush(self, at_least: int = 0) -> None:
        """Make postings of the overlay if it has `at_least` chunks. Only for the holder of the job lock."""
        with self.writing() as db:
            if postings.pending_chunks(db) >= max(at_least, 1):
                postings.flush(db)

    def sweep(self) -> None:
        """Delete what a build that died left behind. Only for the holder of the job lock."""
        with self.writing(grows=False) as db:
            postings.sweep(db)

    def discard_postings(self) -> None:
        with self.writing() as db:
            postings.discard(db)

    def checkpoint(self) -> None:
        with self.writing(grows=False) as db:
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    # Size

    def limit(self, database_bytes: int, wal_bytes: int, growth_bytes: int) -> None:
        with self._writing:
            self._writer.limit(database_bytes, wal_bytes, growth_bytes)

    def space(self) -> tuple[int, int]:
        with self.reading() as db:
            return space(db, self.path)

    def shrink(self) -> None:
        with self.writing(grows=False) as db:
            shrink(db)

    # Asking

    def signals(self, search: Search) -> Signals:
        with decoding(self.path), self.snapshot():
            corpus, seq = self._load()
            said = ask.signals(self._db, corpus, self.vectors.over(corpus), search, seq, self.generation)
            guarded = self._guarded
            return replace(said, detail=guarded(said.detail), feedback=guarded(said.feedback), echo=guarded(said.echo))

    def _guarded(self, call: Callable[P, T]) -> Callable[P, T]:
        """`call` with the errors of this index: what is asked later reads rows as well."""

        def guarded(*args: P.args, **kwargs: P.kwargs) -> T:
            with decoding(self.path), self.snapshot():
                return call(*args, **kwargs)

        return guarded

    def newest(self, search: Search, limit: int) -> Newest:
        with decoding(self.path), self.snapshot():
            corpus, seq = self._load()
            return ask.newest(self._db, corpus, search, limit, self.vectors.over(corpus).ready, seq)

    def corpus(self) -> Corpus:
        """What a reader holds of the snapshot that it is in."""
        return self._load()[0]

    def _load(self) -> tuple[Corpus, int]:
        meta = dict(self._all("select key, value from meta where key in ('seq', 'layout')"))
        at = (meta["seq"], meta["layout"])
        if self._corpus is None or self._corpus_at != at:
            self._corpus, self._corpus_at = postings.load(self._db, self._corpus), at
        return self._corpus, at[0]

    def chunks(self, places: Sequence[tuple[int, int]]) -> list[ChunkRow | None]:
        with self.reading() as db:
            return chunk_rows(db, [n for n, _ in places], [o for _, o in places])

    def notes(self, ids: Iterable[int]) -> dict[int, NoteRow]:
        found = self._notes("where n.id in (select value from json_each(?))", (json.dumps(sorted(set(ids))),))
        return {r.id: r for r in found}

    def keys(self, ids: Iterable[int]) -> dict[int, bytes]:
        return dict(
            self._all(
                "select id, key from file where id in (select value from json_each(?))", (json.dumps(list(ids)),), "ib"
            )
        )

    def note_by_key(self, key: bytes) -> NoteRow | None:
        found = self._notes("where f.key = ?", (key,))
        return found[0] if found else None

    def list_notes(self, lo: bytes, hi: bytes, after: bytes, limit: int) -> list[NoteRow]:
        return self._notes(
            "where f.key >= ? and f.key < ? and f.key > ? order by f.key limit ?", (lo, hi, after, limit)
        )

    def _notes(self, where: str, values: Sequence[object]) -> list[NoteRow]:
        with decoding(self.path):
            return [_note_row(r) for r in self._all(_NOTE + where, values, "ibbissSsSSSi")]

    def named(self, name: str) -> list[NameRow]:
        rows = self._all(
            "select n.note, f.key, n.levels, n.whole, o.permalink from name n join file f on f.id = n.note "
            "join note o on o.id = n.note where n.key = ? order by f.key",
            (name,),
            "ibisS",
        )
        return [
            NameRow(note, key, NameLevel(levels), whole or None, stated) for note, key, levels, whole, stated in rows
        ]

    def links_from(self, note: int) -> list[LinkRow]:
        rows = self._all(_LINK + "where note = ? order by ord", (note,), _LINK_KINDS)
        return [_link_row(r) for r in rows]

    def links_to(self, names: Iterable[str]) -> list[tuple[int, LinkRow]]:
        rows = self._all(
            _LINK + "where name in (select value from json_each(?)) order by note, ord",
            (json.dumps(sorted(set(names))),),
            _LINK_KINDS,
        )
        return [(r[0], _link_row(r)) for r in rows]

    def speakers(self, name: str) -> list[str]:
        # A name's further parts follow a space, and `!` is what follows a space.
        rows = self._all(
            "select distinct value from field where key = ?1 and "
            "(value = ?2 or value >= ?2 || ' ' and value < ?2 || '!') limit ?3",
            (SPEAKER, name, SPEAKERS_MAX),
            "s",
        )
        return [value for (value,) in rows]

    def field_values(self, key: str, limit: int) -> list[str]:
        """Distinct folded values of a frontmatter field, the first `limit` in order."""
        rows = self._all("select distinct value from field where key = ? order by value limit ?", (key, limit), "s")
        return [v for (v,) in rows]

    def has_field(self, key: str, value: str | None = None) -> bool:
        if value is None:
            return bool(self._all("select 1 from field where key = ? limit 1", (key,)))
        return bool(self._all("select 1 from field where key = ? and value = ? limit 1", (key, value)))

    def quarantined_count(self) -> int:
        return int(self._all("select count(*) from quarantine")[0][0])

    def quarantined(self, limit: int) -> list[Aside]:
        found = self._all(f"{_ASIDE} order by at_ns desc, key limit ?", (limit,), "bsiiib")
        return [Aside(*row) for row in found]

    def due(self, now_ns: int, limit: int) -> list[Aside]:
        found = self._all(f"{_ASIDE} where retry_ns <= ? order by retry_ns, key limit ?", (now_ns, limit), "bsiiib")
        return [Aside(*row) for row in found]

    def aside(self, key: bytes) -> Aside | None:
        found = self._all(f"{_ASIDE} where key = ?", (key,), "bsiiib")
        return Aside(*found[0]) if found else None

    def meta(self, key: str) -> str | int | None:
        rows = self._all("select value from meta where key = ?", (key,))
        return rows[0][0] if rows else None

    def put_meta(self, values: Mapping[str, str | int]) -> None:
        """Keep small facts about the index itself."""
        with self.writing(grows=False) as db, db:
            db.executemany("insert or replace into meta values (?,?)", list(values.items()))

    def note_job(
        self, job: str, message: str, at_ns: int, values: Mapping[str, str | int] | None = None, *, failed: bool = False
    ) -> None:
        """Record when a job last ended, well or not, what it said, and other `values` with it."""
        key = f"job:{job}"
        with decoding(self.path):
            entry = dict(json.loads(str(self.meta(key) or "{}")))
        entry |= {"last_failure_ns": at_ns, "error": message} if failed else {"last_success_ns": at_ns, "error": None}
        self.put_meta({**(values or {}), key: json.dumps(entry)})

    def jobs(self) -> dict[str, dict[str, object]]:
        rows = self._all("select key, value from meta where key like 'job:%' order by key")
        with decoding(self.path):
            return {key.removeprefix("job:"): dict(json.loads(value)) for key, value in rows}

    def counts(self) -> Counts:
        found = self._all(
            "select name, value from total union all select 'seq', value from meta where key = 'seq' "
            "union all select 'quarantined', count(*) from quarantine",
            (),
            "si",
        )
        with decoding(self.path):
            total = dict(found)
            return Counts(**{name: total[name] for name in Counts.__slots__})


def _note_row(row: Any) -> NoteRow:
    id_, key, digest, size, title, type_, permalink, trust, tags, author, session, modified_ns = row
    many = tuple(json.loads(tags)) if tags else ()
    return NoteRow(id_, key, digest, size, title, type_, permalink, trust, many, author, session, modified_ns)


def _link_row(row: Any) -> LinkRow:
    _, line, target, name, heading, block, embed, relative, relation = row
    return LinkRow(line, target, name, heading, block, bool(embed), bool(relative), relation)
