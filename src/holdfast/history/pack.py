"""One version of a note in few bytes: against the version that came after it, or by itself.

Most edits leave a common beginning and a common end. What lies between is deflated (RFC 1951, by zlib) with the same
part of the other version as its dictionary, of which deflate uses the last 32 KiB.
"""

from __future__ import annotations

import zlib

_RAW, _ZIPPED, _BETWEEN = 0, 1, 2
_WINDOW = 32_768
_LEVEL = 6
_STEP = 4_096


class DamagedVersionError(ValueError):
    """The bytes are no version, or not against this one."""


def pack(body: bytes, base: bytes | None = None) -> bytes:
    """`body` against `base`, or by itself, whichever is smaller."""
    alone = bytes([_ZIPPED]) + _deflate(body, b"")
    if len(alone) > len(body):
        alone = bytes([_RAW]) + body
    if base is None:
        return alone
    start = _same_start(body, base)
    end = _same_end(body, base, start)
    window = base[start : len(base) - end][-_WINDOW:]
    between = bytes([_BETWEEN]) + _number(start) + _number(end) + _deflate(body[start : len(body) - end], window)
    return min(between, alone, key=len)


def is_alone(data: bytes) -> bool:
    """Whether these packed bytes need no other version."""
    return data[:1] != bytes([_BETWEEN])


def unpack(data: bytes, base: bytes | None = None) -> bytes:
    """The version; `base` is the one that it was packed against. Raises DamagedVersionError."""
    kind = data[:1]
    try:
        if kind == bytes([_RAW]):
            return data[1:]
        if kind == bytes([_ZIPPED]):
            return _inflate(data[1:], b"")
        if kind == bytes([_BETWEEN]) and base is not None:
            start, at = _read_number(data, 1)
            end, at = _read_number(data, at)
            if start + end > len(base):
                raise DamagedVersionError("it is longer than what it was packed against")
            window = base[start : len(base) - end][-_WINDOW:]
            return base[:start] + _inflate(data[at:], window) + base[len(base) - end :]
    except (zlib.error, IndexError) as e:
        raise DamagedVersionError(str(e)) from e
    raise DamagedVersionError("it is of no known kind, or what it was packed against is missing")


def _deflate(data: bytes, window: bytes) -> bytes:
    made = zlib.compressobj(_LEVEL, zlib.DEFLATED, -15, zdict=window) if window else zlib.compressobj(_LEVEL, wbits=-15)
    return made.compress(data) + made.flush()


def _inflate(data: bytes, window: bytes) -> bytes:
    made = zlib.decompressobj(-15, zdict=window) if window else zlib.decompressobj(-15)
    out = made.decompress(data) + made.flush()
    if not made.eof:
        raise DamagedVersionError("it is cut off")
    return out


def _same_start(a: bytes, b: bytes) -> int:
    most = min(len(a), len(b))
    at = 0
    while at < most and a[at : at + _STEP] == b[at : at + _STEP]:
        at += _STEP
    at = min(at, most)
    while at < most and a[at] == b[at]:
        at += 1
    return at


def _same_end(a: bytes, b: bytes, start: int) -> int:
    most = min(len(a), len(b)) - start
    at = 0
    while at + _STEP <= most and a[len(a) - at - _STEP : len(a) - at] == b[len(b) - at - _STEP : len(b) - at]:
        at += _STEP
    while at < most and a[len(a) - at - 1] == b[len(b) - at - 1]:
        at += 1
    return at


def _number(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
