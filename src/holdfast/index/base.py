"""The index port: what every index promises, and the values that cross it.

tests/contract/test_index.py runs the same suite against each implementation. An index holds derived state only; all of
it can be made again from the notes. Notes are named by sort key (model.sort_key) where the caller knows files, and by
id where it knows hits; an id stays with a note through changes and moves. All calls raise IndexFault for a damaged
index and ResourceFault for a machine that is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Protocol

from holdfast.index.asking import ChunkRow, Newest, Search, Signals
from holdfast.index.graph import Graph
from holdfast.index.proofs import Proofs
from holdfast.model import Witness

if TYPE_CHECKING:
    from holdfast.index.vectors.port import VectorStore


class NameLevel(IntFlag):
    """What a name of a note is; a link's target is tried in this order."""

    PERMALINK = 1
    TITLE = 2
    ALIAS = 4
    STEM = 8


@dataclass(frozen=True, slots=True)
class FileRow:
    """What the index knows of one file. `racy_ns` is 0 for a proven witness, else the time of the look (see sync)."""

    witness: Witness
    id: int
    racy_ns: int
    digest: bytes | None


@dataclass(frozen=True, slots=True)
class LinkRow:
    """One link of a note. `name` is the folded last part of its target, `relation` its type if it is one."""

    line: int
    target: str
    name: str
    heading: str | None
    block: str | None
    embed: bool
    relative: bool
    relation: str | None = None


@dataclass(frozen=True, slots=True)
class NameRow:
    """One name of a note: `whole` is the folded name where it has more parts than its last."""

    note: int
    key: bytes
    levels: NameLevel
    whole: str | None
    stated_permalink: str | None


@dataclass(frozen=True, slots=True)
class FactRow:
    """Where an observation or relation stands and when it holds; its words are read from the note."""

    line: int
    kind: str
    label: str | None
    valid_from: str | None
    valid_to: str | None


@dataclass(frozen=True, slots=True)
class NoteRecord:
    """Everything the index keeps of one note.

    `terms` has the title's terms first, then each chunk's, so it is one longer than `chunks`. `names` maps a folded
    last part of a name to (levels, whole name where it has more parts). `fields` are (key, folded value) for filters.
    """

    digest: bytes
    title: str
    type: str
    permalink: str | None
    trust: str
    tags: tuple[str, ...]
    author: str | None
    session: str | None
    modified_ns: int | None
    valid_from_ns: int | None
    valid_to_ns: int | None
    chunks: Sequence[ChunkRow]
    terms: Sequence[Sequence[str]]
    names: Sequence[tuple[str, int, str | None]] = ()
    links: Sequence[LinkRow] = ()
    facts: Sequence[FactRow] = ()
    fields: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class NoteRow:
    """A note as lists and hits show it. `modified_ns` is the stated time, else the file's."""

    id: int
    key: bytes
    digest: bytes
    size: int
    title: str
    type: str
    permalink: str | None
    trust: str
    tags: tuple[str, ...]
    author: str | None
    session: str | None
    modified_ns: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How much there is: change number, notes, chunks, files of any kind, notes set aside, bytes of all notes."""

    seq: int
    notes: int
    chunks: int
    files: int
    quarantined: int
    note_bytes: int


NEVER_NS = (1 << 63) - 1
"""The time of the next try where only another content, or another limit, can help."""


@dataclass(frozen=True, slots=True)
class Aside:
    """A note that was set aside: why, since when, how often it was tried, and when it is tried again.

    `digest` is of the bytes that were tried, b"" where they could not be read.
    """

    key: bytes
    reason: str
    at_ns: int
    tries: int
    retry_ns: int
    digest: bytes

    @property
    def is_poison(self) -> bool:
        """Whether it harmed who parsed it: it is not one that cannot be read, or is kept in part."""
        return bool(self.digest) and self.retry_ns < NEVER_NS


class Tx(Protocol):
    """One transaction: committed whole when its `with` block ends, or not at all."""

    def replace_note(self, witness: Witness, racy_ns: int, record: NoteRecord, id_: int | None = None) -> int:
        """Put the note in, whole, and return its id; what was there under that key, or `id_`, is replaced."""

    def witness(self, key: bytes) -> Witness | None:
        """What is stored for that key as of this transaction."""

    def set_file(self, witness: Witness, racy_ns: int) -> None:
        """Record a file's witness without touching a note's content; a new key is a file that is no note."""

    def move_file(self, old_key: bytes, witness: Witness, racy_ns: int) -> None:
        """Give the file under `old_key` a new path; id, chunks and postings stay."""

    def move_directory(self, old: bytes, new: bytes) -> None:
        """Give the files directly in the directory with key prefix `old` the prefix `new`, where there are none."""

    def delete_file(self, key: bytes) -> None:
        """Forget a file and, if it is one, its note."""

    def quarantine(self, key: bytes, reason: str, at_ns: int, retry_ns: int, digest: bytes = b"") -> None:
        """Set a note aside, or once more; `at_ns` of the first time with this reason stays.

        Tries are counted by `digest`: other bytes begin anew.
        """

    def release(self, key: bytes) -> None: ...

    def put_meta(self, key: str, value: str | int) -> None: ...


class Index(Protocol):
    """See tests/contract/test_index.py for each guarantee as a test."""

    generation: int
    path: str

    @property
    def vectors(self) -> VectorStore: ...

    @property
    def proofs(self) -> Proofs: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def is_in_place(self) -> bool:
        """Whether what is open is still what stands at its place."""

    def snapshot(self) -> AbstractContextManager[None]:
        """All reads within see the same state."""

    def file_rows(self, after: bytes, limit: int) -> list[tuple[bytes, int, int, int, int]]:
        """Witnesses in rising key order, `after` excluded; size is -1 where the witness is unproven or quarantined."""

    def file_range(self, prefix: bytes) -> list[tuple[bytes, int, int, int, int]]:
        """What `file_rows` gives for the files directly in the directory with this key prefix."""

    def file_row(self, key: bytes) -> FileRow | None: ...

    def find_moved(self, witness: Witness) -> list[FileRow]:
        """Files with this size, times and inode under other keys."""

    def find_digest(self, digest: bytes) -> list[FileRow]: ...

    def find_similar(self, digests: Iterable[bytes], share: float) -> list[FileRow]:
        """Notes of which at least `share` of the given chunk digests are chunks, best first."""

    def begin(self, *, grows: bool = True) -> AbstractContextManager[Tx]:
        """One transaction: committed whole at the end of the block, or not at all.

        One that takes out more than it puts in (`grows` is False) may use room that others may not.
        """

    def flush(self, at_least: int = 0) -> None:
        """Make postings of what was written if it has `at_least` chunks. Only for the holder of the job lock."""

    def sweep(self) -> None:
        """Remove what a build that died left behind. Only for the holder of the job lock."""

    def checkpoint(self) -> None:
        """Give back the space of what was logged."""

    def limit(self, database_bytes: int, wal_bytes: int, growth_bytes: int) -> None:
        """Let the index grow to so many bytes, and its log; from there on writes that grow raise IndexOverBudget.

        One write may add `growth_bytes` at most.
        """

    def space(self) -> tuple[int, int]:
        """(bytes that are kept free in the index for later, bytes of its log): what `shrink` may give back."""

    def shrink(self) -> None:
        """Give back what is kept free, and the log's space, in small steps."""

    def signals(self, search: Search) -> Signals: ...

    def newest(self, search: Search, limit: int) -> Newest:
        """What answers a question without words: the notes in scope, newest first."""

    def chunks(self, places: Sequence[tuple[int, int]]) -> list[ChunkRow | None]: ...

    def notes(self, ids: Iterable[int]) -> dict[int, NoteRow]: ...

    def keys(self, ids: Iterable[int]) -> dict[int, bytes]: ...

    def note_by_key(self, key: bytes) -> NoteRow | None: ...

    def named(self, name: str) -> list[NameRow]:
        """Every note with `name` as the folded last part of a name, in key order."""

    def links_from(self, note: int) -> list[LinkRow]: ...

    def links_to(self, names: Iterable[str]) -> list[tuple[int, LinkRow]]:
        """(note id, link) of every link whose `name` is one of `names`, in (note, ord) order."""

    def list_notes(self, lo: bytes, hi: bytes, after: bytes, limit: int) -> list[NoteRow]:
        """Notes with lo <= key < hi, behind `after`, in key order."""

    def meta(self, key: str) -> str | int | None: ...

    def put_meta(self, values: Mapping[str, str | int]) -> None: ...

    def note_job(
        self, job: str, message: str, at_ns: int, values: Mapping[str, str | int] | None = None, *, failed: bool = False
    ) -> None: ...

    def jobs(self) -> dict[str, dict[str, object]]: ...

    def has_field(self, key: str, value: str | None = None) -> bool: ...

    def speakers(self, name: str) -> list[str]:
        """The folded names of speakers who are called `name` (folded), or `name` and more; a few at most."""

    def field_values(self, key: str, limit: int) -> list[str]: ...

    def quarantined_count(self) -> int: ...

    def quarantined(self, limit: int) -> list[Aside]:
        """What is set aside, newest first."""

    def due(self, now_ns: int, limit: int) -> list[Aside]:
        """What is set aside and is to be tried again by now, the longest due first."""

    def aside(self, key: bytes) -> Aside | None: ...

    def counts(self) -> Counts: ...

    def close(self) -> None: ...
