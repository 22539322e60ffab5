"""One manifest of a Lance dataset: which files make up a version.

Layout and field numbers: `table.proto`, `file.proto` and `transaction.proto` of lance-format/lance (version 14). A file
ends with the position of its message, two version numbers and the letters LANC; each message follows its length.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from holdfast.clinic.lance.proto import DamagedMessageError, fields, integer, message, numbers, text

MAGIC = b"LANC"
_FOOTER = struct.Struct("<QHH4s")
_LENGTH = struct.Struct("<I")
_KNOWN_FLAGS = 0xFF
_V2_TOP = 2**64 - 1
_V2_DIGITS = 20

OPERATIONS = {
    100: "append", 101: "delete", 102: "overwrite", 103: "create index", 104: "compaction", 105: "merge",
    106: "restore", 107: "reserve fragments", 108: "update", 109: "project", 110: "configure", 111: "replace data",
    112: "update WAL", 113: "clone", 114: "update bases", 115: "overlay", 116: "reuse fragments",
}  # fmt: skip
COMPACTION = "compaction"


@dataclass(frozen=True, slots=True)
class Piece:
    """A file that a manifest names: `path` below the dataset; `size` 0 if unknown; `elsewhere` if in another place."""

    path: str
    size: int = 0
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Fragment:
    """A set of rows: `rows` with the deleted ones."""

    id: int
    rows: int
    deleted: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """An index of a column: its directory is `_indices/<uuid>`."""

    name: str
    uuid: str
    fields: tuple[int, ...]
    elsewhere: bool = False


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version; `timestamp_ns` is when it was made, `operation` what made it, as far as it says so."""

    version: int
    timestamp_ns: int
    fragments: tuple[Fragment, ...]
    indices: tuple[IndexEntry, ...]
    columns: dict[int, str] = field(default_factory=dict)
    transaction_file: str = ""
    operation: str = ""
    writer: str = ""
    flags: int = 0

    @property
    def rows(self) -> int:
        """Live rows."""
        return sum(f.rows - f.deleted for f in self.fragments)

    @property
    def deleted(self) -> int:
        """Rows that are marked as deleted and still take space."""
        return sum(f.deleted for f in self.fragments)

    @property
    def is_newer_than_known(self) -> bool:
        """Whether it uses features that this reader has never heard of."""
        return bool(self.flags & ~_KNOWN_FLAGS)

    def pieces(self) -> Iterator[Piece]:
        """Each file that holds rows or marks of deleted ones."""
        for fragment in self.fragments:
            yield from fragment.pieces


def version_of(name: str) -> int | None:
    """The version that a file of `_versions` is the manifest of, or None if it is none (or a detached one)."""
    stem, dot, kind = name.rpartition(".")
    if kind != "manifest" or not dot or not stem.isdecimal() or not stem.isascii():
        return None
    number = int(stem)
    return _V2_TOP - number if len(stem) == _V2_DIGITS else number


def read_manifest(data: bytes) -> Manifest:
    """Parse a manifest file; raises DamagedMessageError."""
    if len(data) < _FOOTER.size:
        raise DamagedMessageError("the file is too short")
    position, _, _, magic = _FOOTER.unpack_from(data, len(data) - _FOOTER.size)
    if magic != MAGIC:
        raise DamagedMessageError("the file does not end as a Lance file does")
    builder = _Builder(data)
    builder.take(_section(data, position))
    return builder.build()


def operation_of(transaction: bytes) -> str:
    """What a transaction did, or "": its first bytes are enough, as the operation follows a few small fields."""
    return next((OPERATIONS[n] for n in numbers(transaction) if n in OPERATIONS), "")


def _section(data: bytes, position: int) -> bytes:
    """The message at `position`, behind its length."""
    if position + _LENGTH.size > len(data):
        raise DamagedMessageError("a position points out of the file")
    (size,) = _LENGTH.unpack_from(data, position)
    start = position + _LENGTH.size
    if size > len(data) - start:
        raise DamagedMessageError("a message is longer than the file")
    return data[start : start + size]


class _Builder:
    """Takes the fields of one manifest as they come."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.version = self.timestamp_ns = self.flags = 0
        self.fragments: list[Fragment] = []
        self.indices: tuple[IndexEntry, ...] = ()
        self.columns: dict[int, str] = {}
        self.transaction_file = self.operation = self.writer = ""

    def take(self, body: bytes) -> None:
        for number, value in fields(body):
            if number == 1:
                id_, name = _column(message(value))
                self.columns[id_] = name
            elif number == 2:
                self.fragments.append(_fragment(message(value)))
            elif number == 3:
                self.version = integer(value)
            elif number == 6:
                self.indices = tuple(_indices(_section(self.data, integer(value))))
            elif number == 7:
                self.timestamp_ns = _timestamp_ns(message(value))
            elif number == 9:
                self.flags = integer(value)
            elif number == 12:
                self.transaction_file = text(value)
            elif number == 13:
                self.writer = " ".join(text(v) for n, v in fields(message(value)) if n in (1, 2))
            elif number == 21:
                self.operation = operation_of(_section(self.data, integer(value)))

    def build(self) -> Manifest:
        return Manifest(
            self.version, self.timestamp_ns, tuple(self.fragments), self.indices, self.columns,
            self.transaction_file, self.operation, self.writer, self.flags,
        )  # fmt: skip


def _timestamp_ns(body: bytes) -> int:
    found = dict(fields(body))
    return integer(found.get(1, 0)) * 10**9 + integer(found.get(2, 0))


def _column(body: bytes) -> tuple[int, str]:
    id_, name = 0, ""
    for number, value in fields(body):
        if number == 2:
            name = text(value)
        elif number == 3:
            id_ = integer(value)
    return id_, name


def _fragment(body: bytes) -> Fragment:
    id_ = rows = deleted = 0
    pieces: list[Piece] = []
    deletion = b""
    for number, value in fields(body):
        if number == 1:
            id_ = integer(value)
        elif number == 2:
            pieces.append(_rows_file(message(value)))
        elif number == 3:
            deletion = message(value)
        elif number == 4:
            rows = integer(value)
        elif number == 11:
            pieces += [_rows_file(message(v)) for n, v in fields(message(value)) if n == 1]
        elif number in (6, 8, 10):
            pieces += [Piece(text(v)) for n, v in fields(message(value)) if n == 1]
    if deletion:
        piece, deleted = _deletion_file(id_, deletion)
        pieces.append(piece)
    return Fragment(id_, rows, deleted, tuple(pieces))


def _rows_file(body: bytes) -> Piece:
    path, size, elsewhere = "", 0, False
    for number, value in fields(body):
        if number == 1:
            path = text(value)
        elif number == 6:
            size = integer(value)
        elif number == 7:
            elsewhere = True
    return Piece(f"data/{path}", size, elsewhere)


def _deletion_file(fragment: int, body: bytes) -> tuple[Piece, int]:
    kind = version = id_ = deleted = 0
    elsewhere = False
    for number, value in fields(body):
        if number == 1:
            kind = integer(value)
        elif number == 2:
            version = integer(value)
        elif number == 3:
            id_ = integer(value)
        elif number == 4:
            deleted = integer(value)
        elif number == 7:
            elsewhere = True
    name = f"{fragment}-{version}-{id_}.{'bin' if kind == 1 else 'arrow'}"
    return Piece(f"_deletions/{name}", 0, elsewhere), deleted


def _indices(body: bytes) -> Iterator[IndexEntry]:
    for number, value in fields(body):
        if number == 1:
            yield _index(message(value))


def _index(body: bytes) -> IndexEntry:
    id_, name, elsewhere = "", "", False
    columns: list[int] = []
    for number, value in fields(body):
        if number == 1:
            id_ = _uuid(message(value))
        elif number == 2:
            # Packed or one by one: both are in use.
            columns += [value] if isinstance(value, int) else list(_packed(value))
        elif number == 3:
            name = text(value)
        elif number == 9:
            elsewhere = True
    return IndexEntry(name, id_, tuple(columns), elsewhere)


def _uuid(body: bytes) -> str:
    for number, value in fields(body):
        if number == 1 and len(raw := message(value)) == 16:
            return str(uuid.UUID(bytes=raw))
    raise DamagedMessageError("an index has no id")


def _packed(data: bytes) -> Iterator[int]:
    value = shift = 0
    for byte in data:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0
