"""Vectors in a file of their own, for keeps: exported from an index, read back into another as far as it is whole.

    holdfast-vectors 1 {"embedder": identity, "dimension": n}\\n
    records: "HFV1" | u32 code size | u32 bits size | u32 tokens size | input (16) | code | bits | tokens | u32 crc

Integers are little-endian. Each record stands for itself: after a damaged one, reading goes on at the next "HFV1" whose
checksum holds.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import BinaryIO

from holdfast.errors import UserError
from holdfast.index.vectors.codes import VectorRow

TITLE = b"holdfast-vectors 1 "
_MAGIC = b"HFV1"
_HEAD = struct.Struct("<4sIII16s")
_CRC = struct.Struct("<I")
_PART_MAX = 1 << 20
_RECORD_MAX = _HEAD.size + 3 * _PART_MAX + _CRC.size
_BLOCK = 4 << 20


def write_head(file: BinaryIO, embedder: str, dimension: int) -> None:
    """Begin an export of the vectors of this embedder."""
    file.write(TITLE + json.dumps({"embedder": embedder, "dimension": dimension}).encode() + b"\n")


def write_row(file: BinaryIO, row: VectorRow) -> None:
    """Add one record."""
    file.write(_HEAD.pack(_MAGIC, len(row.code), len(row.bits), len(row.tokens), row.input))
    file.write(row.code + row.bits + row.tokens + _CRC.pack(row.crc))


def read_head(file: BinaryIO) -> tuple[str, int]:
    """(identity of the embedder, dimension); raises UserError if the file is none of ours."""
    line = file.readline(65_536)
    try:
        if not line.startswith(TITLE):
            raise ValueError(line[:40])
        head = json.loads(line[len(TITLE) :])
        return str(head["embedder"]), int(head["dimension"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as e:
        raise UserError(
            "This is no file of vectors.", hint="Name one that `holdfast vectors export` wrote, or an index's .db file."
        ) from e


def read_rows(file: BinaryIO) -> Iterator[VectorRow]:
    """Every record that is whole; memory is bounded by the largest record."""
    data, at, is_end = b"", 0, False
    while True:
        # A record that begins within what is held is held whole, unless the file ends.
        while not is_end and len(data) - at < _RECORD_MAX:
            more = file.read(_BLOCK)
            is_end = not more
            data, at = data[at:] + more, 0
        found = data.find(_MAGIC, at)
        if found < 0:
            if is_end:
                return
            at = len(data) - len(_MAGIC) + 1
        elif len(data) - found < _RECORD_MAX and not is_end:
            at = found  # behind damage: what follows is fetched first
        else:
            row, size = _row(data, found)
            if row is not None:
                yield row
            at = found + size


def _row(data: bytes, at: int) -> tuple[VectorRow | None, int]:
    """(the record at `at` if it is whole, how many bytes to go on)."""
    if len(data) - at < _HEAD.size:
        return None, len(_MAGIC)
    _, code, bits, tokens, input_ = _HEAD.unpack_from(data, at)
    size = _HEAD.size + code + bits + tokens + _CRC.size
    if max(code, bits, tokens) > _PART_MAX or at + size > len(data):
        return None, len(_MAGIC)
    start = at + _HEAD.size
    parts = (
        data[start : start + code],
        data[start + code : start + code + bits],
        data[start + code + bits : at + size - 4],
    )
    row = VectorRow(input_, *parts, _CRC.unpack_from(data, at + size - _CRC.size)[0])
    return (row, size) if row.is_whole else (None, len(_MAGIC))
