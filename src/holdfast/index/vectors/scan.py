"""What a reader holds of the vectors of one embedder, and how near they are to a question.

Rows come in blocks of ids; a block is immutable and is loaded anew when its change number moves. Up to EXACT_ROWS the
codes are held and every cosine is exact; above, the signs are held, every cosine is an estimate from them, and whoever
needs exact ones reads the codes of those (sqlite/vectors.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.index.vectors.codes import Floats, signs

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

BLOCK_ROWS = 1024
"""Ids of one block: id >> 10."""

EXACT_ROWS = 65_536
SLICE = 2_048


@dataclass(frozen=True, slots=True)
class Block:
    """The vectors with ids of one block: `ids`, `keys` (first 8 bytes of the inputs' digests), `bits` (n, words), and
    `codes` (n, dimension), None where only the signs are held. `seq` is the change number that it shows."""

    seq: int
    ids: Ints
    keys: Keys
    bits: NDArray[np.uint64]
    codes: NDArray[np.int8] | None


class Vectors:
    """All vectors of one embedder at one change number."""

    def __init__(self, embedder: int, seq: int, dimension: int, blocks: Mapping[int, Block]) -> None:
        self.embedder, self.seq, self.dimension, self.blocks = embedder, seq, dimension, dict(blocks)
        held = [blocks[b] for b in sorted(blocks)]
        self.ids: Ints = np.concatenate([b.ids for b in held]) if held else np.zeros(0, np.int64)
        keys = np.concatenate([b.keys for b in held]) if held else np.zeros(0, np.uint64)
        self._order = np.argsort(keys, kind="stable")
        self._sorted = keys[self._order]
        self.is_exact = all(b.codes is not None for b in held)
        if self.is_exact:
            codes = [b.codes for b in held if b.codes is not None]
            self._codes = np.concatenate(codes) if codes else np.zeros((0, dimension), np.int8)
            self._lengths = lengths(self._codes)
        else:
            # Planes, so that adding up the words of a row runs along memory.
            self._planes = np.ascontiguousarray(np.concatenate([b.bits for b in held]).T)

    def __len__(self) -> int:
        return len(self.ids)

    def find(self, keys: Keys) -> Ints:
        """The row of each key, -1 where it has none."""
        if not len(self._sorted):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self._sorted, keys), len(self._sorted) - 1)
        return np.where(self._sorted[at] == keys, self._order[at], -1)

    def codes(self, rows: Ints) -> NDArray[np.int8] | None:
        """The codes of these rows, None where only signs are held."""
        return self._codes[rows] if self.is_exact else None

    def similarities(self, question: Floats) -> Floats:
        """The cosine of every row with the unit vector `question`; estimates where only signs are held."""
        if not self.is_exact:
            return self._estimates(question)
        out = np.empty(len(self), dtype=np.float32)
        for at in range(0, len(self), SLICE):
            out[at : at + SLICE] = self._codes[at : at + SLICE].astype(np.float32) @ question
        return np.asarray(out / self._lengths, dtype=np.float32)

    def _estimates(self, question: Floats) -> Floats:
        # The share of signs that differ is the angle (Goemans and Williamson 1995), for components without order.
        mine = signs(question[None])[0]
        differing = np.zeros(len(self), dtype=np.uint16)
        for plane, word in zip(self._planes, mine, strict=True):
            differing += np.bitwise_count(plane ^ word)
        table = np.cos(np.arange(64 * len(mine) + 1, dtype=np.float32) * np.float32(np.pi / self.dimension))
        return np.asarray(table[differing], dtype=np.float32)


def lengths(codes: NDArray[np.int8]) -> Floats:
    """The length of each row of codes, at least 1."""
    out = np.empty(len(codes), dtype=np.float32)
    for at in range(0, len(codes), SLICE):
        part = codes[at : at + SLICE].astype(np.float32)
        out[at : at + SLICE] = np.sqrt(np.einsum("ij,ij->i", part, part))
    return np.maximum(out, np.float32(1))


def cosines(codes: NDArray[np.int8], question: Floats) -> Floats:
    """The exact cosine of each row of codes with the unit vector `question`."""
    out = np.empty(len(codes), dtype=np.float32)
    for at in range(0, len(codes), SLICE):
        out[at : at + SLICE] = codes[at : at + SLICE].astype(np.float32) @ question
    return np.asarray(out / lengths(codes), dtype=np.float32)
