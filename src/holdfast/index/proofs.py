"""The part of the index port that looks for damage. It reads and never writes, and holds no snapshot for long.

Nothing that an index says of itself proves it: flipped bits pass every check of SQLite (faults.md, fact 3). So what can
be told from the inside is told here, and each note's rows are compared with what its file gives (`differences`).
See tests/contract/test_proofs.py for each guarantee as a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from holdfast.index.vectors.codes import VectorRow

if TYPE_CHECKING:  # the port of the whole index names this part of it
    from holdfast.index.base import NoteRecord

FLAWS_MAX = 100
"""At most so many of one sort are named."""


@dataclass(frozen=True, slots=True)
class Flaw:
    """What cannot be in an index that is whole.

    `kind` is database, sums, orphan, words or vector; `note` the id of the note that it concerns, 0 if it is none.
    """

    kind: str
    note: int
    message: str


class Proofs(Protocol):
    """What is looked at, and what is wrong with it. Raises IndexFault where it cannot even be read."""

    def database(self, *, whole: bool) -> list[Flaw]:
        """Identity, size, tables, and what SQLite finds; `whole` compares its own indexes with their tables too."""

    def sums(self) -> list[Flaw]:
        """Sums and change numbers against a recount."""

    def orphans(self) -> list[Flaw]:
        """Rows whose note, vector or embedder is not there; notes that lack rows, or that no segment has."""

    def coherence(self, after: int, upto: int) -> list[Flaw]:
        """What `orphans` finds of notes with `after` < id <= `upto`."""

    def words(self) -> Iterator[tuple[int, list[Flaw]]]:
        """(passages, flaws) of each segment: its postings against its live notes' term rows."""

    def vectors(self) -> Iterator[tuple[int, list[Flaw]]]:
        """(vectors, flaws) by pages: sizes, checksums, signs against codes, and whether a reader would see them."""

    def differences(self, id_: int, size: int, record: NoteRecord) -> list[str]:
        """What the index keeps of a note otherwise than `record` (of a file of `size` bytes) gives it, in words."""

    def unfound(self, id_: int, terms: Sequence[str], most: int = 0) -> list[str]:
        """Those of `terms`, which the note has, that a search would not find in it; at most `most` are looked up, 0
        all. Without `terms`, the note's newest words in the dictionary are taken."""

    def frequencies(self, terms: Iterable[str]) -> dict[str, int]:
        """In how many passages and titles of live notes each of `terms` stands."""

    def vectors_of(self, inputs: Iterable[bytes]) -> dict[bytes, VectorRow]:
        """The live embedder's vectors of these inputs, as they are."""

    def spoiled(self, row: VectorRow) -> str:
        """What is wrong with a vector of the live embedder, "" if nothing is."""

    def files(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """(id, key) of files of any kind in rising order of ids, `after` excluded."""

    def bare(self, after: int, limit: int) -> list[tuple[int, bytes]]:
        """As `files`, those that have no note; most are no notes."""

    def inputs(self, id_: int) -> list[bytes]:
        """The digests of what an embedder is given for the note's passages."""

    def sample(self, count: int) -> list[int]:
        """The ids of `count` notes, evenly spread over all, or of all if there are fewer."""
