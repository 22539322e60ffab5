"""Inputs out of others by chance: flips, cuts, copies, splices and numbers at the edges."""

from __future__ import annotations

import random
from collections.abc import Sequence

EDGES = [b"\0", b"\xff", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"-1", b"1e999", b"NaN", b"null", b"9" * 30]
WORDS = [
    b"---\n", b"[[", b"]]", b"](", b"```", b"<!--", b"-->", b"\r\n", b"\xc3", b"\xed\xa0\x80", b"\xe2\x80\xa8",
    b"*a", b"&a ", b"{", b"[" * 40, b"}", b'"', b"'", b": ", b"- ", b"../", b"..", b"/", b"%2e", b"\\",
]  # fmt: skip


def mutated(seeds: Sequence[bytes], chance: random.Random, most: int = 20_000) -> bytes:
    """One input of at most `most` bytes."""
    data = bytearray(chance.choice(seeds)[:most])
    for _ in range(chance.choice([1, 1, 2, 4, 16])):
        at, size = chance.randrange(len(data) + 1), chance.choice([1, 1, 2, 8, 64, 512])
        match chance.randrange(7):
            case 0 if data:
                at = min(at, len(data) - 1)
                data[at] ^= 1 << chance.randrange(8)
            case 1:
                del data[at : at + size]
            case 2:
                data[at:at] = data[chance.randrange(len(data) + 1) :][:size]
            case 3:
                data[at:at] = chance.choice(EDGES)
            case 4:
                data[at:at] = chance.choice(WORDS) * chance.choice([1, 1, 3, 200])
            case 5:
                other = chance.choice(seeds)
                data[at:] = other[chance.randrange(len(other) + 1) :]
            case _:
                data[at : at + size] = chance.randbytes(size)
    return bytes(data[:most])
