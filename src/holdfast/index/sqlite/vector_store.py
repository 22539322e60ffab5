"""The vectors of an open SQLite index: see index.vectors.port.VectorStore."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import apsw

from holdfast.errors import EmbedderWrong
from holdfast.index.lexical.corpus import Corpus
from holdfast.index.sqlite import vectors
from holdfast.index.sqlite.db import first
from holdfast.index.sqlite.meaning import Meaning
from holdfast.index.vectors.codes import VectorRow
from holdfast.index.vectors.port import LiveEmbedder


class Connections(Protocol):
    """Where the connections come from: each for the time of one call."""

    def reading(self) -> AbstractContextManager[apsw.Connection]: ...

    def writing(self) -> AbstractContextManager[apsw.Connection]: ...


class SqliteVectors:
    """See VectorStore. `over` lays the vectors of the snapshot being read over a corpus."""

    def __init__(self, connections: Connections) -> None:
        self._open = connections
        self._held: Meaning | None = None
        self._held_at: tuple[tuple[int, str, int] | None, int] | None = None

    def live(self) -> LiveEmbedder | None:
        with self._open.reading() as db:
            found = vectors.live(db)
        return LiveEmbedder(*found) if found else None

    def find(self, identity: str) -> int | None:
        with self._open.reading() as db:
            known = vectors.embedder(db, identity)
        return known[0] if known else None

    def add_embedder(self, identity: str, dimension: int) -> int:
        with self._open.writing() as db:
            id_ = vectors.add_embedder(db, identity, dimension)
            known = vectors.embedder(db, identity)
        if known is None or known[1] != dimension:
            raise EmbedderWrong(f"The embedder {identity} gave vectors of another dimension than before.")
        return id_

    def switch(self, embedder: int) -> None:
        with self._open.writing() as db:
            vectors.switch(db, embedder)

    def put(self, embedder: int, rows: Sequence[VectorRow]) -> int:
        with self._open.writing() as db:
            return vectors.put(db, embedder, rows)

    def drop_orphans(self, embedder: int) -> int:
        with self._open.writing() as db:
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
                found = vectors.load(db, live[0], live[2], found, None)
            self._held, self._held_at = Meaning(corpus, found, self._codes), at
            return self._held

    def _codes(self, ids: vectors.Ids) -> vectors.Codes:
        with self._open.reading() as db:
            live = vectors.live(db)
            assert live is not None, "codes are asked for within the snapshot that had vectors"
            return vectors.codes(db, ids.tolist(), live[2])
