"""What verbs that change notes return, and those that ask for their past: frozen, with the names of the JSON."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.results import Result


@dataclass(frozen=True, slots=True)
class Written(Result):
    """A change of a note that is on disk. `digest` is None where it was deleted, `rev` its number in the history.

    `indexed` says that the index of this moment, number `seq`, has it; where it is false, the next sync brings it in.
    """

    path: str
    digest: str | None
    seq: int
    indexed: bool
    rev: int | None


@dataclass(frozen=True, slots=True)
class Version(Result):
    """A change in the history: `kind` is found, written, moved, deleted, restored or gone; `digest` None: deleted."""

    rev: int
    path: str
    kind: str
    at: str
    digest: str | None
    bytes: int
    author: str | None
    session: str | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Versions(Result):
    """Versions, newest first, of the note `path`, or of all; `next` is what to pass as `before` for older ones."""

    path: str | None
    versions: tuple[Version, ...]
    next: int | None


@dataclass(frozen=True, slots=True)
class Difference(Result):
    """A note at two moments: what they are called, and what differs as a unified diff ("" if nothing does)."""

    path: str
    older: str
    newer: str
    diff: str


@dataclass(frozen=True, slots=True)
class Undone(Result):
    """The notes in which a session was taken back, and those that were left, with the reason."""

    session: str
    undone: tuple[str, ...]
    left: tuple[str, ...]
    done: bool


@dataclass(frozen=True, slots=True)
class Likeness(Result):
    """What is there already and says nearly the same."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Remembered(Result):
    """What was remembered: as Written, with its line; or nothing, as `duplicate` says nearly the same already."""

    path: str
    digest: str | None
    seq: int
    indexed: bool
    rev: int | None
    line: int
    stored: bool
    duplicate: Likeness | None


@dataclass(frozen=True, slots=True)
class Exported(Result):
    """A history that was written elsewhere: how many commits, or bytes."""

    path: str
    count: int


@dataclass(frozen=True, slots=True)
class Relinked(Result):
    """A note in which links were rewritten, and how many."""

    path: str
    links: int


@dataclass(frozen=True, slots=True)
class Moved(Result):
    """A note that has another path; as Written, with where it was, what was rewritten, and the session of the group.

    Where `done` is false, it is only what would be done.
    """

    old_path: str
    path: str
    digest: str | None
    seq: int
    indexed: bool
    rev: int | None
    relinked: tuple[Relinked, ...]
    done: bool
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Trace(Result):
    """A file in which something of a forgotten note was found, and what."""

    path: str
    text: str


@dataclass(frozen=True, slots=True)
class Forgotten(Result):
    """Notes that are gone with all their versions. `traces` is what a search of `searched_files` files found of them.

    `elsewhere` are other notes with a line of theirs; `unreached` says what no search from here can see.
    """

    paths: tuple[str, ...]
    versions: int
    done: bool
    traces: tuple[Trace, ...]
    searched_files: int
    elsewhere: tuple[str, ...]
    unreached: str
