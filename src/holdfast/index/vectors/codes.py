"""How one vector lies in bytes: int8 codes, the signs as bits, and a checksum over them and what they are of.

Measured on real vectors: int8 loses nothing that a ranking shows; signs alone order well enough to choose what is
looked at exactly (design.md, section 4; docs/decisions/0010).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

TOP = 127


@dataclass(frozen=True, slots=True)
class VectorRow:
    """The vector of one input as an index stores it.

    `code` int8 per dimension, `bits` the signs (64 dimensions in 8 bytes, padded), `tokens` int8 (tokens, token
    dimension) in one run, b"" if there are none; `crc` covers the three and the input's digest.
    """

    input: bytes
    code: bytes
    bits: bytes
    tokens: bytes
    crc: int

    @property
    def is_whole(self) -> bool:
        return self.crc == checksum(self.input, self.code, self.bits, self.tokens)


def checksum(input_: bytes, code: bytes, bits: bytes, tokens: bytes) -> int:
    """The CRC-32 of a vector and of what it is of."""
    return crc32(tokens, crc32(bits, crc32(code, crc32(input_))))


def seed(identity: str) -> int:
    """What the checksum of a vector by the embedder with this identity begins with: a row proves whose it is."""
    return crc32(identity.encode("utf-8", "surrogateescape"))


def own_crc(start: int, input_: bytes, code: bytes, bits: bytes) -> int:
    """The CRC-32 of a vector and of what it is of, without its token vectors; `start` is its embedder's seed."""
    return crc32(bits, crc32(code, crc32(input_, start)))


def bits_size(dimension: int) -> int:
    """The bytes of the signs of a vector."""
    return -(-dimension // 64) * 8


def signs(vectors: Floats) -> NDArray[np.uint64]:
    """(n, words): which components are above 0, 64 in a word."""
    raw = np.packbits(vectors > 0, axis=1, bitorder="little")
    padded = np.zeros((len(vectors), bits_size(vectors.shape[1])), dtype=np.uint8)
    padded[:, : raw.shape[1]] = raw
    return padded.view(np.uint64)


def rows(inputs: Sequence[bytes], vectors: Floats, tokens: Sequence[NDArray[np.int8] | None]) -> list[VectorRow]:
    """The rows of float32 (n, dimension) `vectors` of the inputs with these digests; lengths do not matter."""
    top = np.maximum(np.abs(vectors).max(axis=1, keepdims=True), np.float32(1e-12))
    codes = np.rint(vectors * (np.float32(TOP) / top)).astype(np.int8)
    bits = signs(vectors)
    out = []
    for i, input_ in enumerate(inputs):
        own = tokens[i]
        code, sign, token = codes[i].tobytes(), bits[i].tobytes(), own.tobytes() if own is not None else b""
        out.append(VectorRow(input_, code, sign, token, checksum(input_, code, sign, token)))
    return out
