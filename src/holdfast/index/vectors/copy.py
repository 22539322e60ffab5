"""The scan copy: the blocks of one embedder's vectors in a file, so that a new process need not read row by row.

It is disposable: each block says which change number it shows and has a checksum, and whatever does not fit is read
from its rows. It is never mapped into memory, since a file that is cut short under a map ends the process.

    for each block ids i64, keys u64, bits, codes; then the list, JSON {database, embedder, dimension, blocks: [[number,
    seq, rows, offset, crc of ids+keys+bits, crc of codes], ...]}; then u32 size of the list, u32 its crc, "HFVC"
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterable
from zlib import crc32

import numpy as np

from holdfast.files.fs import TEMP_PREFIX, FileSystem
from holdfast.index.vectors.codes import bits_size
from holdfast.index.vectors.scan import BLOCK_ROWS, Block

_TAIL = struct.Struct("<II4s")
_MAGIC = b"HFVC"
_LIST_MAX = 16 << 20


class Copy:
    """An open scan copy. `blocks` says which blocks it has, at which change number."""

    def __init__(self, fs: FileSystem, path: str, database: str, embedder: int, dimension: int) -> None:
        """Raises OSError or ValueError if there is none that can be used."""
        self._fs, self._dimension = fs, dimension
        self._fd = fs.open_read(path)
        try:
            end = fs.fstat(self._fd).st_size - _TAIL.size
            size, crc, magic = _TAIL.unpack(fs.pread(self._fd, _TAIL.size, max(end, 0)).ljust(_TAIL.size, b"\0"))
            raw = fs.pread(self._fd, min(size, _LIST_MAX), max(end - size, 0))
            if magic != _MAGIC or len(raw) != size or crc32(raw) != crc:
                raise ValueError("no scan copy")
            head = json.loads(raw)
            if (head["database"], head["embedder"], head["dimension"]) != (database, embedder, dimension):
                raise ValueError("the scan copy of another index")
            self._at = {number: tuple(rest) for number, *rest in head["blocks"]}
            if not all(len(rest) == 5 and all(type(x) is int for x in rest) for rest in self._at.values()):
                raise ValueError("a scan copy of another kind")
        except BaseException:
            fs.close(self._fd)
            raise
        self.blocks: dict[int, int] = {number: rest[0] for number, rest in self._at.items()}

    def block(self, number: int, seq: int, *, with_codes: bool) -> Block | None:
        """That block if it is there, as of `seq`, and whole."""
        if self.blocks.get(number) != seq:
            return None
        _, rows, offset, crc, codes_crc = self._at[number]
        if not 0 <= rows <= BLOCK_ROWS:
            return None
        bits = bits_size(self._dimension)
        head = self._read(rows * (16 + bits), offset, crc)
        codes = self._read(rows * self._dimension, offset + rows * (16 + bits), codes_crc) if with_codes else b""
        if head is None or codes is None:
            return None
        return Block(
            seq=seq,
            ids=np.frombuffer(head, np.int64, rows),
            keys=np.frombuffer(head, np.uint64, rows, rows * 8),
            bits=np.frombuffer(head, np.uint64, rows * bits // 8, rows * 16).reshape(rows, -1),
            codes=np.frombuffer(codes, np.int8).reshape(rows, self._dimension) if with_codes else None,
        )

    def _read(self, size: int, offset: int, crc: int) -> bytes | None:
        try:
            raw = self._fs.pread(self._fd, size, offset)
        except OSError:
            return None
        return raw if len(raw) == size and crc32(raw) == crc else None

    def close(self) -> None:
        self._fs.close(self._fd)


def write(
    fs: FileSystem, path: str, database: str, embedder: int, dimension: int, blocks: Iterable[tuple[int, Block]]
) -> None:
    """Write a scan copy beside `path` and put it in its place; a reader of the old one keeps it. Raises OSError.

    One block is held at a time. On a crash a file with TEMP_PREFIX is left, which the next sync removes.
    """
    folder, _, name = path.rpartition("/")
    temp = f"{folder}/{TEMP_PREFIX}{name}"
    fd = _open(fs, temp)
    listed: list[list[int]] = []
    try:
        offset = 0
        for number, block in blocks:
            assert block.codes is not None, "a scan copy is made of whole blocks"
            head = block.ids.tobytes() + block.keys.tobytes() + block.bits.tobytes()
            codes = block.codes.tobytes()
            fs.write_all(fd, head + codes)
            listed.append([number, block.seq, len(block.ids), offset, crc32(head), crc32(codes)])
            offset += len(head) + len(codes)
        about = {"database": database, "embedder": embedder, "dimension": dimension, "blocks": listed}
        raw = json.dumps(about).encode()
        fs.write_all(fd, raw + _TAIL.pack(len(raw), crc32(raw), _MAGIC))
        # Not synced to disk: what a power cut leaves of it fails its checksums, and is made again.
        fs.replace(temp, path)
    except BaseException:
        _remove(fs, temp)
        raise
    finally:
        fs.close(fd)


def sweep(fs: FileSystem, path: str) -> None:
    """Remove what a writer that died left."""
    folder, _, name = path.rpartition("/")
    _remove(fs, f"{folder}/{TEMP_PREFIX}{name}")


def _open(fs: FileSystem, path: str) -> int:
    _remove(fs, path)  # of a writer that died; only the holder of the embedding lock writes here
    return fs.open_new(path)


def _remove(fs: FileSystem, path: str) -> None:
    try:
        fs.unlink(path)
    except FileNotFoundError:
        pass
