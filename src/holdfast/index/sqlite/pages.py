"""Vectors out of the bytes of a database that SQLite cannot read any more: its pages are looked at one by one.

Where the first page is gone, or the root of a table, or the second half of the file, the leaves with the rows are still
there, and every vector proves itself by its checksum; whatever else a page holds does not. The format is SQLite's
(https://sqlite.org/fileformat.html): a table leaf begins with 13, its cells are `size, rowid, record`, long records go
on in overflow pages. Only for a file that this process does not have open: closing it would drop SQLite's locks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from holdfast.files.fs import FileSystem
from holdfast.index.vectors.codes import VectorRow, bits_size, own_crc, seed

PAGE = 4096
WAL_HEAD, FRAME_HEAD = 32, 24
RECORD_MAX = 1 << 20
INPUT = 16

Value = int | bytes | str | None


def rows_in_pages(fs: FileSystem, path: str, meant: str) -> Iterator[tuple[str, int, VectorRow]]:
    """(identity, dimension, row) of every vector in the file at `path` that proves itself, and in its -wal.

    Where the row that names an embedder is lost, its vectors are those of `meant`, if their checksums say so.
    """
    with ExitStack() as stack:
        files = []
        for name, head in ((path, 0), (path + "-wal", FRAME_HEAD)):
            try:
                fd = fs.open_read(name)
            except OSError:
                continue
            stack.callback(fs.close, fd)
            files.append(_File(fs, fd, head, meant))
        names = {embedder: known for file in files for embedder, known in file.look().items()}
        for file in files:
            yield from file.rows(names)


@dataclass(slots=True)
class _File:
    """`head` is what stands before each page; of a database nothing."""

    fs: FileSystem
    fd: int
    head: int
    meant: str
    tokens: dict[int, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))

    def rows(self, names: dict[int, str]) -> Iterator[tuple[str, int, VectorRow]]:
        for _, _, rowid, record in self._cells(7, 7):
            found = _vector(record)
            if found is None:
                continue
            embedder, own, row = found
            # An embedder's id may have been another's before, whose rows are left in free pages: the checksum tells.
            for identity in dict.fromkeys((names.get(embedder, self.meant), self.meant)):
                if identity and own_crc(seed(identity), row.input, row.code, row.bits) == own:
                    whole = row if row.is_whole else self._with_tokens(rowid, row)
                    if whole.is_whole:
                        yield identity, len(row.code), whole

    def look(self) -> dict[int, str]:
        """Who the embedders are; a first pass, which also finds where token vectors may be."""
        names = {}
        for page, at, rowid, record in self._cells(2, 3):
            if len(record) == 3 and isinstance(record[1], str) and isinstance(record[2], int):
                names[rowid] = record[1]
            elif len(record) == 2 and isinstance(record[1], bytes):
                self.tokens[rowid].append((page, at))
        return names

    def _with_tokens(self, rowid: int, row: VectorRow) -> VectorRow:
        for page, at in self.tokens.get(rowid, ()):
            record = self._record(self.fs.pread(self.fd, PAGE, page), at)
            data = record[1][1] if record is not None else None
            if isinstance(data, bytes) and (whole := replace(row, tokens=data)).is_whole:
                return whole
        return row

    def _pages(self) -> Iterator[tuple[int, bytes]]:
        at, step = (WAL_HEAD, FRAME_HEAD + PAGE) if self.head else (0, PAGE)
        salt = self.fs.pread(self.fd, 8, 16) if self.head else b""
        while len(frame := self.fs.pread(self.fd, step, at)) == step:
            if frame[8:16] == salt or not self.head:  # others are of an earlier life of the log
                yield at + self.head, frame[self.head :]
            at += step

    def _cells(self, least: int, most: int) -> Iterator[tuple[int, int, int, list[Value]]]:
        """(page, offset, rowid, record) of every cell of every table leaf with so many columns."""
        for offset, page in self._pages():
            if page[0] != 13:
                continue
            for n in range(min(int.from_bytes(page[3:5], "big"), (PAGE - 8) // 2)):
                at = int.from_bytes(page[8 + 2 * n : 10 + 2 * n], "big")
                found = self._record(page, at)
                if found is not None and least <= len(found[1]) <= most:
                    yield offset, at, *found

    def _record(self, page: bytes, at: int) -> tuple[int, list[Value]] | None:
        try:
            size, at = _varint(page, at)
            rowid, at = _varint(page, at)
            if size > RECORD_MAX:
                return None
            kept = _local(size)
            payload = page[at : at + kept]
            if kept < size:
                payload += self._overflow(int.from_bytes(page[at + kept : at + kept + 4], "big"), size - kept)
            return rowid, _values(payload)
        except (IndexError, ValueError):
            return None

    def _overflow(self, number: int, size: int) -> bytes:
        if self.head:
            raise ValueError("pages of a log are not in their places")
        out = b""
        while size > len(out) and number:
            page = self.fs.pread(self.fd, PAGE, (number - 1) * PAGE)
            number, out = int.from_bytes(page[:4], "big"), out + page[4 : 4 + size - len(out)]
            if len(page) < PAGE:
                raise ValueError("an overflow page is missing")
        return out


def _vector(record: list[Value]) -> tuple[int, int, VectorRow] | None:
    """(id of the embedder, own_crc, row) if it looks like a row of the table `vector`; tokens are elsewhere."""
    _, embedder, input_, code, bits, crc, own = record
    if not (isinstance(input_, bytes) and isinstance(code, bytes) and isinstance(bits, bytes)):
        return None
    if not (isinstance(embedder, int) and isinstance(crc, int) and isinstance(own, int)):
        return None
    if len(input_) != INPUT or len(bits) != bits_size(len(code)):
        return None
    return embedder, own, VectorRow(input_, code, bits, b"", crc)


def _local(size: int) -> int:
    """How much of a record is in its leaf."""
    most, least = PAGE - 35, (PAGE - 12) * 32 // 255 - 23
    if size <= most:
        return size
    kept = least + (size - least) % (PAGE - 4)
    return kept if kept <= most else least


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for n in range(8):
        value = value << 7 | data[at + n] & 127
        if data[at + n] < 128:
            return value, at + n + 1
    return value << 8 | data[at + 8], at + 9


def _values(payload: bytes) -> list[Value]:
    """The columns of a record; raises ValueError if it is none."""
    size, at = _varint(payload, 0)
    kinds = []
    while at < size:
        kind, at = _varint(payload, at)
        kinds.append(kind)
        if len(kinds) > 16:
            raise ValueError("a record of another table")
    out: list[Value] = []
    for kind in kinds:
        width = (kind - 12) // 2 if kind >= 12 else (0, 1, 2, 3, 4, 6, 8, 8, 0, 0, 0, 0)[kind]
        part, at = payload[at : at + width], at + width
        if len(part) != width:
            raise ValueError("a record that ends early")
        if kind >= 12:
            out.append(part if kind % 2 == 0 else part.decode())
        else:
            out.append(None if kind == 0 else kind - 8 if kind in (8, 9) else int.from_bytes(part, "big", signed=True))
    return out
