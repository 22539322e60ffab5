"""The vectors of an open SQLite index: see index.vectors.port.VectorStore."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import apsw
import numpy as np
from numpy.typing import NDArray

from holdfast.files.fs import FileSystem
from holdfast.index.lexical.corpus import Corpus
from holdfast.index.sqlite import vectors
from holdfast.index.sqlite.db import first, rows
from holdfast.index.sqlite.meaning import Meaning
from holdfast.index.vectors import copy
from holdfast.index.vectors.codes import VectorRow
from holdfast.index.vectors.port import LiveEmbedder
from holdfast.index.vectors.scan import Block, Vectors

COPY_BLOCKS = 3
"""Below so many blocks the rows are read as fast."""

COPY_STALE = 0.125
"""The share of blocks that may be stale before the scan copy is written anew: each stale one is read from its rows."""


SLICE = 4_096
COPY_ROWS = 128
"""Fewer codes of a block than these are read from their rows: a block of the scan copy is read and proven whole."""


class Connections(Protocol):
    """Where the connections come from: each for the time of one call."""

    def reading(self) -> AbstractContextManager[apsw.Connection]: ...

    def writing(self, *, grows: bool = True) -> AbstractContextManager[apsw.Connection]: ...


class SqliteVectors:
    """See VectorStore. `over` lays the vectors of the snapshot being read over a corpus."""

    def __init__(self, connections: Connections, path: str) -> None:
        """`path` is the database's; the scan copy stands beside it."""
        self._open = connections
        self._copy_path = path.removesuffix(".db") + ".vec" if path != ":memory:" else None
        self._fs = FileSystem()
        self._ready = ""
        self._held: Meaning | None = None
        self._held_at: tuple[tuple[int, str, int] | None, int] | None = None

    def live(self) -> LiveEmbedder | None:
        with self._open.reading() as db:
            found = vectors.live(db)
        return LiveEmbedder(*found) if found else None

    def find(self, identity: str, dimension: int = 0) -> int | None:
        with self._open.reading() as db:
            return vectors.embedder(db, identity, dimension)

    def add_embedder(self, identity: str, dimension: int) -> int:
        with self._open.writing() as db:
            return vectors.add_embedder(db, identity, dimension)

    def switch(self, embedder: int) -> None:
        with self._open.writing(grows=False) as db:
            vectors.switch(db, embedder)

    def put(self, embedder: int, rows: Sequence[VectorRow]) -> int:
        with self._open.writing() as db:
            return vectors.put(db, embedder, rows)

    def has_others(self, embedder: int) -> bool:
        with self._open.reading() as db:
            return first(db, "select 1 from embedder where id <> ?", (embedder,)) is not None

    def orphans(self, embedder: int) -> int:
        with self._open.reading() as db:
            return vectors.orphans(db, embedder)

    def drop(self, embedder: int, inputs: Iterable[bytes]) -> int:
        with self._open.writing() as db:
            return vectors.drop(db, embedder, inputs)

    def drop_orphans(self, embedder: int) -> int:
        with self._open.writing(grows=False) as db:
            return vectors.drop_orphans(db, embedder)

    def lacking_notes(self, embedder: int) -> list[int]:
        with self._open.reading() as db:
            return vectors.lacking_notes(db, embedder)

    def lacking(self, embedder: int, inputs: Iterable[bytes]) -> set[bytes]:
        with self._open.reading() as db:
            return vectors.lacking(db, embedder, inputs)

    def rows(self, embedder: int, after: int, limit: int) -> list[tuple[int, VectorRow]]:
        with self._open.reading() as db:
            return vectors.all_rows(db, embedder, after, limit)

    def counts(self, embedder: int) -> tuple[int, int]:
        with self._open.reading() as db:
            return vectors.counts(db, embedder)

    def stored_bytes(self, embedder: int) -> int:
        ready = self.ready(embedder)
        with self._open.reading() as db:
            live = vectors.live(db)
            total = dict(rows(db, "select name, value from total where name in ('vectors', 'token_bytes')"))
        share = total["token_bytes"] / max(1, total["vectors"])
        return int(ready * (vectors.row_bytes(live[2] if live else 0) + share))

    def is_wanted(self, input_: bytes) -> bool:
        with self._open.reading() as db:
            return first(db, "select 1 from chunk where input = ? limit 1", (input_,)) is not None

    def ready(self, embedder: int) -> int:
        with self._open.reading() as db:
            at = _state(db, embedder)
            for known in (self._ready, str((first(db, "select value from meta where key = 'ready'") or ("",))[0])):
                if known.startswith(at):
                    return int(known[len(at) :])
            count = vectors.counts(db, embedder)[0]
            self._ready = f"{at}{count}"
            return count

    def remember_ready(self) -> None:
        live = self.live()
        if live is not None:
            self.ready(live.id)
            with self._open.writing(grows=False) as db:
                stored = first(db, "select value from meta where key = 'ready'")
                if self._ready and (stored is None or stored[0] != self._ready):
                    db.execute("insert or replace into meta values ('ready', ?)", (self._ready,))

    def write_copy(self) -> None:
        path = self._copy_path
        if path is not None:
            copy.sweep(self._fs, path)
        with self._open.reading() as db:
            live, stamps = vectors.live(db), []
            if live is not None:
                stamps = rows(db, "select block, seq from vector_block where embedder = ? order by block", (live[0],))
            if live is None or path is None or len(stamps) < COPY_BLOCKS:
                return
            database = database_of(db)
        have: dict[int, int] = {}
        if (old := open_copy(self._fs, path, database, live[0], live[2])) is not None:
            have = old.blocks
            old.close()
        stale = sum(have.get(number) != seq for number, seq in stamps)
        if stale <= len(stamps) * COPY_STALE:
            return
        copy.write(self._fs, path, database, live[0], live[2], self._blocks(live[0], live[2], stamps))

    def _blocks(self, embedder: int, dimension: int, stamps: list[tuple[int, int]]) -> Iterator[tuple[int, Block]]:
        for number, _ in stamps:
            with self._open.reading() as db:
                # What is read now shows the change number of now, which may be later than when the list was made.
                sql = "select seq from vector_block where embedder = ? and block = ?"
                if (seq := first(db, sql, (embedder, number))) is not None:
                    yield number, vectors.read_block(db, embedder, dimension, number, seq[0])

    def over(self, corpus: Corpus) -> Meaning:
        """The vectors of the live embedder for the slots of `corpus`; call it within the snapshot of that corpus."""
        with self._open.reading() as db:
            live = vectors.live(db)
            seq = int(first(db, "select value from meta where key = 'vector_seq'")[0])
            held, at = self._held, (live, seq)
            if held is not None and self._held_at == at and held.corpus is corpus:
                return held
            found = held.vectors if held is not None else None
            if live is None:
                found = None
            elif self._held_at != at or found is None:
                found = self._load(db, live[0], live[2], found)
            self._held, self._held_at = Meaning(corpus, found, _CodeReader(self._open, self._fs, self._copy_path)), at
            return self._held

    def _load(self, db: apsw.Connection, embedder: int, dimension: int, held: Vectors | None) -> Vectors:
        kept = None
        if held is None:
            kept = open_copy(self._fs, self._copy_path, database_of(db), embedder, dimension)
        try:
            return vectors.load(db, embedder, dimension, held, kept)
        finally:
            if kept is not None:
                kept.close()


class _CodeReader:
    """Reads the codes of some rows of vectors whose signs are held.

    It does not hold the store: whoever is let go of must give back its lock at once. It is asked within the snapshot
    that had the vectors.
    """

    def __init__(self, connections: Connections, fs: FileSystem, copy_path: str | None) -> None:
        self._open, self._fs, self._copy_path = connections, fs, copy_path

    def __call__(self, of: Vectors, at: vectors.Ids) -> vectors.Codes:
        ids = of.ids[at]
        out = np.zeros((len(ids), of.dimension), np.int8)
        left = np.ones(len(ids), dtype=bool)
        with self._open.reading() as db:
            if len(ids) >= COPY_ROWS:
                self._from_copy(db, of, ids, out, left)
            if left.any():
                rest = np.flatnonzero(left)
                for i in range(0, len(rest), SLICE):  # or what SQLite gives takes more memory than the codes
                    part = rest[i : i + SLICE]
                    out[part] = vectors.codes(db, of.embedder, ids[part].tolist(), of.dimension)
        return out

    def _from_copy(
        self, db: apsw.Connection, of: Vectors, ids: vectors.Ids, out: vectors.Codes, left: NDArray[np.bool_]
    ) -> None:
        """Fill in, whole blocks at a time, what stands in the scan copy as it is in the rows; `left` is the rest."""
        kept = open_copy(self._fs, self._copy_path, database_of(db), of.embedder, of.dimension)
        if kept is None:
            return
        numbers = vectors.blocks_of(ids)
        try:
            for number, count in zip(*np.unique(numbers, return_counts=True), strict=True):
                held = of.blocks.get(int(number)) if count >= COPY_ROWS else None
                block = kept.block(int(number), held.seq, with_codes=True) if held is not None else None
                if block is not None and block.codes is not None and len(block.ids):
                    mine = np.flatnonzero(numbers == number)
                    place = np.minimum(np.searchsorted(block.ids, ids[mine]), len(block.ids) - 1)
                    is_there = block.ids[place] == ids[mine]
                    out[mine[is_there]] = block.codes[place[is_there]]
                    left[mine[is_there]] = False
        finally:
            kept.close()


def open_copy(fs: FileSystem, path: str | None, database: str, embedder: int, dimension: int) -> copy.Copy | None:
    """The scan copy, if there is one of this database and embedder."""
    if path is None:
        return None
    try:
        return copy.Copy(fs, path, database, embedder, dimension)
    except (OSError, ValueError, KeyError, TypeError):
        return None  # disposable: what it would have held is read from the rows


def database_of(db: apsw.Connection) -> str:
    """The id of a database, which its scan copy names."""
    return str(first(db, "select value from meta where key = 'database'")[0])


def _state(db: apsw.Connection, embedder: int) -> str:
    """What the number of chunks with a vector depends on."""
    seq, vector_seq = (first(db, "select value from meta where key = ?", (key,))[0] for key in ("seq", "vector_seq"))
    return f"{embedder}:{seq}:{vector_seq}:"
