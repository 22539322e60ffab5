"""What the history keeps of a change, and what it is told."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b

_DIGEST_BYTES = 16


class Kind(IntEnum):
    """How a change came to be known: made through Holdfast, or found by a sync."""

    FOUND = 0
    WRITTEN = 1
    MOVED = 2
    DELETED = 3
    RESTORED = 4
    GONE = 5
    """Found to be deleted, by whoever."""


@dataclass(frozen=True, slots=True)
class By:
    """Who changes a note, in which session, and why; "" where that is not said."""

    author: str = ""
    session: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """A change: `digest` and `size` are of what the note held after it, None and 0 where it was deleted."""

    seq: int
    note: int
    kind: Kind
    time_ns: int
    path: str
    digest: bytes | None
    size: int
    by: By


@dataclass(frozen=True, slots=True)
class Change:
    """A change to record. `body` is None where the note is gone; `old_path` is set where it moved."""

    kind: Kind
    path: str
    body: bytes | None
    time_ns: int
    by: By = By()
    old_path: str | None = None


def digest_of(body: bytes) -> bytes:
    """The digest of a version: that of a note with these bytes."""
    return blake2b(body, digest_size=_DIGEST_BYTES).digest()
