"""The wire format of Protocol Buffers, as far as a manifest needs it, over bytes that nobody vouches for.

Source: protobuf.dev/programming-guides/encoding. Nothing is allocated by a length that the bytes only claim.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

Value: TypeAlias = "int | bytes"

VARINT, I64, BYTES, I32 = 0, 1, 2, 5
_MAX_SHIFT = 63


class DamagedMessageError(ValueError):
    """The bytes are no message, or not a whole one."""


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """Each field of a message as (number, value): an integer, or the bytes of a text or message within it."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, value
        elif wire == BYTES:
            size, at = _varint(data, at)
            if size > end - at:
                raise DamagedMessageError("a field is longer than its message")
            yield number, data[at : at + size]
            at += size
        elif wire in (I64, I32):
            size = 8 if wire == I64 else 4
            if size > end - at:
                raise DamagedMessageError("a number is cut off")
            yield number, int.from_bytes(data[at : at + size], "little")
            at += size
        else:
            raise DamagedMessageError(f"there is no wire type {wire}")


def numbers(head: bytes) -> Iterator[int]:
    """The numbers of the fields of a message of which only the first bytes are there, up to where they end."""
    at = 0
    try:
        while at < len(head):
            key, at = _varint(head, at)
            yield key >> 3
            wire = key & 7
            if wire == BYTES:
                size, at = _varint(head, at)
                at += size
            elif wire == VARINT:
                _, at = _varint(head, at)
            else:
                at += 8 if wire == I64 else 4
    except DamagedMessageError:
        return


def integer(value: Value) -> int:
    """`value` where a number must stand."""
    if not isinstance(value, int):
        raise DamagedMessageError("a number was expected")
    return value


def message(value: Value) -> bytes:
    """`value` where bytes must stand."""
    if not isinstance(value, bytes):
        raise DamagedMessageError("a message was expected")
    return value


def text(value: Value) -> str:
    """`value` where a text must stand; bytes that are no UTF-8 are kept as they are."""
    return message(value).decode("utf-8", "surrogateescape")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > _MAX_SHIFT:
            raise DamagedMessageError("a number is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
