"""The values that pass between the rooms: frozen, without behaviour beyond their JSON shape.

Paths are `str` with `/`, relative to the vault, as `os.fsdecode` gives them (bytes that are no UTF-8 are lone
surrogates); `show_path` is the form for people and JSON. Lines are 1-based. Times are RFC 3339 UTC text unless a name
ends in `_ns`. A digest is 16 bytes of BLAKE2b; `show_digest` is its form for people and JSON.
"""

from __future__ import annotations

import os
import unicodedata
from dataclasses import dataclass, field, fields, is_dataclass
from functools import cache
from hashlib import blake2b
from typing import Any

Value = str | None | list["Value"] | dict[str, "Value"]
"""A frontmatter value as written: text or null, in nested lists and mappings."""

Witness = tuple[bytes, int, int, int, int]
"""The cheap witness of a file: (sort key of its path, size in bytes, mtime_ns, ctime_ns, inode).

The inode is `st_ino` under a mask: INODE_MASK, or 0 where inodes mean nothing.
"""

INODE_MASK = (1 << 63) - 1
"""An inode number has 64 bits, an integer of SQLite has 63 and a sign."""


def show_path(path: str) -> str:
    """`path` with each byte that is no UTF-8 as `%XX`."""
    if path.isascii():
        return path
    return "".join(f"%{ord(c) - 0xDC00:02X}" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in path)


def sort_key(path: str) -> bytes:
    """The bytes whose plain order is the order of the walk: a directory's own files, then its directories, by name.

    Each directory's name ends with NUL, and one more NUL stands before the file's name. NUL cannot be part of a name,
    so keys and paths map one to one, and a directory's subtree is one range of keys.
    """
    head, _, name = os.fsencode(path).rpartition(b"/")
    return (head.replace(b"/", b"\0") + b"\0\0" if head else b"\0") + name


KEY_END = b"\xff" * 256
"""Greater than every sort key: no name has more than 255 bytes."""


def key_path(key: bytes) -> str:
    """The path whose sort key is `key`."""
    head, _, name = key.rpartition(b"\0")
    return os.fsdecode(head[:-1].replace(b"\0", b"/") + b"/" + name if head else name)


def fold(text: str) -> str:
    """`text` in the form in which names and values are compared: NFC, without case."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def speaker_byte(folded: str) -> int:
    """A byte for a speaker's folded name; 1 in 256 others has the same."""
    return blake2b(folded.encode("utf-8", "surrogatepass"), digest_size=1).digest()[0]


def show_digest(digest: bytes) -> str:
    """`digest` for people and JSON."""
    return "b2-" + digest.hex()


@dataclass(frozen=True, slots=True)
class Observation:
    """A list item with a category, a tag or a time."""

    line: int
    category: str | None
    content: str
    tags: tuple[str, ...] = ()
    context: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


@dataclass(frozen=True, slots=True)
class Relation:
    """A list item that links its note to `target` by a named relation."""

    line: int
    type: str
    target: str
    context: str | None = None
    valid_from: str | None = None
    valid_to: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """A link as written. `relative` says that it is a Markdown link, whose target is relative to its note's folder."""

    line: int
    target: str
    heading: str | None = None
    block: str | None = None
    embed: bool = False
    relative: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of a conversation; `line` is its marker's."""

    line: int
    n: int
    speaker: str
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something on a line that the format does not allow; the rest of the note counts all the same."""

    line: int
    message: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """The unit of retrieval.

    `start` and `size` are the byte range in the file; `line` and `count` its lines; `heading` the path of headings
    above and at it, joined by " > "; `text` what a reader sees (decoded, a turn's escapes undone); `digest` covers
    text and heading. `speaker` and `at` are a turn's.
    """

    start: int
    size: int
    line: int
    count: int
    heading: str
    text: str
    digest: bytes
    speaker: str | None = None
    at: str | None = None


@dataclass(frozen=True, slots=True)
class Input:
    """What an embedder is given for one chunk: `text`, of which the characters [start, end) are the chunk's own words.

    The rest is context (the turns before and after). `is_turn` says that it is a line of a conversation. `digest`
    covers all of that: inputs with one digest have one vector.
    """

    text: str
    start: int
    end: int
    is_turn: bool
    digest: bytes

    @property
    def own(self) -> str:
        return self.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Parsed:
    """What the notes' format says about one file; see docs/format.md."""

    title: str
    type: str
    permalink: str
    tags: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    frontmatter: dict[str, Value] = field(default_factory=dict)
    observations: tuple[Observation, ...] = ()
    relations: tuple[Relation, ...] = ()
    links: tuple[Link, ...] = ()
    turns: tuple[Turn, ...] = ()
    problems: tuple[Problem, ...] = ()
    trust: str = "own"

    def to_dict(self) -> dict[str, Any]:
        """The object that `holdfast parse --json` prints."""
        out: dict[str, Any] = plain(self)
        for item in (*out["observations"], *out["relations"]):
            item["from"], item["to"] = item.pop("valid_from"), item.pop("valid_to")
        for link in out["links"]:
            del link["relative"]
        del out["trust"]
        return out


_SCALARS = frozenset({str, int, float, bool, type(None)})


@cache
def _field_names(kind: type) -> tuple[str, ...] | None:
    """The names of a dataclass's fields; None for another type. Asked of each hit of each answer."""
    return tuple(f.name for f in fields(kind)) if is_dataclass(kind) else None


def plain(value: Any) -> Any:
    """`value` as dictionaries, lists and scalars for JSON."""
    kind: Any = type(value)
    if kind in _SCALARS:
        return value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    names = _field_names(kind)
    if names is None:
        return value
    out = {}
    for name in names:
        part = getattr(value, name)
        out[name] = part if type(part) in _SCALARS else plain(part)
    return out


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on notes or turns. `field` is lower-case; `value` is as typed, without its quotes."""

    field: str
    value: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Query:
    """A question, taken apart.

    `words` are the terms that are scored, each once, in the order asked, and `repeats` how often each was asked.
    `prefixes` are words typed with a `*`, folded. A hit holds every one of `phrases` and none of `excluded` (each a
    sequence of terms). `filters` narrow the scope before ranking. `ignored` holds stop words left out. `typed` has for
    each of `words` what was typed, `plain` is the question without its filters and signs.
    """

    text: str
    words: tuple[str, ...] = ()
    repeats: tuple[int, ...] = ()
    prefixes: tuple[str, ...] = ()
    phrases: tuple[tuple[str, ...], ...] = ()
    excluded: tuple[tuple[str, ...], ...] = ()
    filters: tuple[Filter, ...] = ()
    ignored: tuple[str, ...] = ()
    typed: tuple[str, ...] = ()
    plain: str = ""
    cut: int = 0

    @property
    def asks_beyond_phrases(self) -> bool:
        """A question that quotes something, rather than a search for nothing but quoted phrases."""
        return bool(self.phrases and set(self.words).difference(*self.phrases))

    @property
    def is_empty(self) -> bool:
        """No words to rank by: whatever is in scope is a hit, newest first."""
        return not (self.words or self.prefixes or self.phrases)
