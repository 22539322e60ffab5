"""The part of the index port that knows links, names and facts of many notes at once. It reads and never writes.

Nothing here resolves anything (docs/decisions/0004): what a target means is worked out by engine.resolve from the rows
that come back. Every call is linear in what it returns, or says what else it costs.
See tests/contract/test_graph.py for each guarantee as a test.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # the port of the whole index names this part of it
    from holdfast.index.base import LinkRow, NameRow

Place = tuple[int, int]
"""(note id, which of its links or facts, from 0)."""

Source = tuple[bytes, int, str, int, int]
"""A link as it is found from its target: (key of its note, which of its links, target, 1 if it is relative, note id).

A plain tuple: ten thousand of them are made for one note that everybody links to.
"""

Step = tuple[int, int, str, str, int]
"""A link as a walk over all of them meets it: (note id, line, target, its folded last part, 1 if it is relative)."""


@dataclass(frozen=True, slots=True)
class Tie:
    """A link of a note, with what weighs it. `ord` is which of the note's links it is."""

    note: int
    ord: int
    line: int
    target: str
    name: str
    heading: str | None
    relative: bool
    relation: str | None


@dataclass(frozen=True, slots=True)
class Dated:
    """An observation or relation of a note, without its words."""

    note: int
    ord: int
    line: int
    kind: str
    label: str | None
    valid_from: str | None
    valid_to: str | None


class Graph(Protocol):
    """What is asked of links, names and facts."""

    def names_of(self, notes: Iterable[int]) -> dict[int, list[str]]:
        """The folded last parts of all names of each of these notes, sorted; notes without a name are left out."""

    def named(self, names: Iterable[str]) -> dict[str, list[NameRow]]:
        """What Index.named says of each of these names; those that nobody has are left out."""

    def sources(self, names: Iterable[str]) -> list[Source]:
        """Every link whose folded last part is one of `names`, in no order."""

    def links(self, places: Sequence[Place]) -> list[LinkRow | None]:
        """The links at these places."""

    def ties_from(self, notes: Iterable[int], most: int) -> list[Tie]:
        """The first `most` links of each of these notes, in (note, ord) order."""

    def ties_to(self, names: Sequence[str], most: int) -> list[list[Tie]]:
        """For each of `names` at most `most` links with it as folded last part, those of the highest note ids first."""

    def steps(self, after: Place, limit: int) -> list[tuple[Place, Step]]:
        """Links of all notes in (note, ord) order, behind `after`."""

    def note_keys(self) -> list[tuple[int, bytes]]:
        """(id, key) of every note, in key order."""

    def other_keys(self) -> list[bytes]:
        """The keys of files that have no name in the index, in key order: pictures, notes that are set aside, and those
        that are too large to be opened. Costs a walk over all files.
        """

    def stamps(self, notes: Iterable[int]) -> dict[int, tuple[bytes, int]]:
        """(key, time of the last change in ns, stated or the file's) of each of these notes."""

    def passages_at(self, places: Sequence[tuple[int, int]]) -> list[int]:
        """For each (note, line) the passage that holds the line: the last that begins at or before it, else 0."""

    def labels(self) -> list[str]:
        """Every category and relation type, each once, sorted. Costs a walk over all facts."""

    def labelled(self, labels: Iterable[str]) -> list[Dated]:
        """Facts with one of these labels, in (note, ord) order. Costs a walk over all facts."""

    def facts_of(self, notes: Iterable[int]) -> list[Dated]:
        """All facts of these notes, in (note, ord) order."""

    def dated(self, after: Place, limit: int) -> list[Dated]:
        """Facts that state a `from` or a `to`, in (note, ord) order, behind `after`."""

    def stated(self, keys: Iterable[str], notes: Iterable[int] | None = None) -> list[tuple[int, str, str]]:
        """(note, key, folded value) of every frontmatter value under one of `keys`, of these notes or of all."""
