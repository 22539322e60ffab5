"""The embedder port: text in, unit vectors out, and the faults that any embedder can have.

tests/contract/test_embedder.py runs one suite against each implementation. An embedder is made by `choose.make`, costs
nothing until it is first used, and never writes anywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import EmbedderWrong
from holdfast.model import Input

Floats = NDArray[np.float32]
Codes = NDArray[np.int8]

UNIT_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Encoded:
    """Vectors of a batch of inputs, in their order.

    `vectors` is float32 (n, dimension), each of length 1. `tokens` has for each input an int8 array
    (tokens of its own words, token dimension), or None where there are none: only local models give them, for turns.
    """

    vectors: Floats
    tokens: Sequence[Codes | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """A question as the embedder sees it: `vector` float32 (dimension,) of length 1.

    `tokens` float32 (tokens, token dimension), on the scale of `Encoded.tokens` so that the dot product of a row with a
    code is their cosine, or None; `words` has the piece of text of each row (a wordpiece, "##" kept).
    """

    vector: Floats
    tokens: Floats | None = None
    words: tuple[str, ...] = ()
    identity: str = ""
    """Of the embedder that was asked, where that was compared with the vectors' (engine/meaning.py)."""


class Embedder(Protocol):
    """May be used from several threads. Raises EmbedderDown, EmbedderWrong and MemoryBudget."""

    @property
    def identity(self) -> str:
        """What its vectors depend on: a model's digest, or (endpoint, model, dimension, prefixes). Never a secret."""

    @property
    def is_remote(self) -> bool:
        """Whether texts leave this process."""

    def encode(self, inputs: Sequence[Input]) -> Encoded: ...

    def ask(self, question: str) -> Asked: ...

    def close(self) -> None: ...


def prefix_mark(query_prefix: str, passage_prefix: str) -> str:
    """What an identity ends in for the sake of prefixes; nothing if there are none."""
    if not (query_prefix or passage_prefix):
        return ""
    text = f"{query_prefix}\0{passage_prefix}".encode("utf-8", "surrogateescape")
    return ":" + hashlib.blake2b(text, digest_size=8).hexdigest()


def checked(vectors: object, count: int, dimension: int | None, who: str) -> Floats:
    """`vectors` as float32 (count, dimension) of length 1; raises EmbedderWrong that names what is wrong with them.

    `dimension` None admits any, as long as all have the same.
    """
    try:
        out = np.asarray(vectors, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        # Not chained: numpy's error holds what it found, and a server may have put anything there, a key too.
        raise EmbedderWrong(f"{who} gave vectors of different lengths, or none.") from None
    if out.ndim != 2 or len(out) != count:
        raise EmbedderWrong(f"{who} gave {len(out) if out.ndim else 0} vectors for {count} texts.")
    if out.shape[1] == 0 or (dimension is not None and out.shape[1] != dimension):
        raise EmbedderWrong(f"{who} gave vectors of {out.shape[1]} numbers instead of {dimension or 'some'}.")
    if not np.isfinite(out).all():
        raise EmbedderWrong(f"{who} gave a vector with NaN or infinity in it.")
    top = np.abs(out).max(axis=1, keepdims=True, initial=0.0)
    if (top < UNIT_TOLERANCE).any():
        raise EmbedderWrong(f"{who} gave a vector of zeros.")
    out = out / top
    return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True), dtype=np.float32)
