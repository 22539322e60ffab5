"""The part of the index port that keeps vectors. They are derived twice over, from texts by an embedder; any of them
may be lost and made again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from holdfast.index.vectors.codes import VectorRow


@dataclass(frozen=True, slots=True)
class LiveEmbedder:
    """The embedder of the vectors that answer questions."""

    id: int
    identity: str
    dimension: int


class VectorStore(Protocol):
    """Vectors by (embedder, digest of the input). See tests/contract/test_vectors.py for each guarantee as a test."""

    def live(self) -> LiveEmbedder | None:
        """The embedder whose vectors answer questions; None if there are no vectors."""

    def find(self, identity: str, dimension: int = 0) -> int | None:
        """The id of an embedder that was added before, the newest one if no dimension is named."""

    def add_embedder(self, identity: str, dimension: int) -> int:
        """The id of an embedder, made if it is new; the first one is live at once. With another dimension it is another
        embedder, whatever its identity says."""

    def switch(self, embedder: int) -> None:
        """Make an embedder the live one and drop the vectors of all others."""

    def put(self, embedder: int, rows: Sequence[VectorRow]) -> int:
        """Store vectors of inputs that live chunks have, in one transaction; returns how many were new."""

    def lacking_notes(self, embedder: int) -> list[int]:
        """Ids of notes with a chunk that has no vector, newest first."""

    def lacking(self, embedder: int, inputs: Iterable[bytes]) -> set[bytes]:
        """Those of `inputs` that have no vector."""

    def is_wanted(self, input_: bytes) -> bool:
        """Whether a live chunk has this input."""

    def ready(self, embedder: int) -> int:
        """How many chunks have a vector; remembered as long as nothing changes."""

    def remember_ready(self) -> None:
        """Keep what `ready` says of the live embedder in the index; for who writes to it anyway."""

    def write_copy(self) -> None:
        """Write the scan copy anew if too much of it is stale. Only for the holder of the embedding lock."""

    def rows(self, embedder: int, after: int, limit: int) -> list[tuple[int, VectorRow]]:
        """(id, row) in rising order of ids behind `after`."""

    def counts(self, embedder: int) -> tuple[int, int]:
        """(chunks that have a vector, vectors)."""

    def stored_bytes(self, embedder: int) -> int:
        """About how many bytes the vectors of live chunks take."""

    def has_others(self, embedder: int) -> bool:
        """Whether another embedder than this has vectors."""

    def orphans(self, embedder: int) -> int:
        """How many vectors no chunk has."""

    def drop(self, embedder: int, inputs: Iterable[bytes]) -> int:
        """Drop the vectors of these inputs, whatever has them; what `ready` says is counted anew, also where there were
        none. Returns how many there were."""

    def drop_orphans(self, embedder: int) -> int:
        """Drop vectors that no chunk has; returns how many."""
