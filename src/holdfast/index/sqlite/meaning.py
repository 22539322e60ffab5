"""How near in meaning every slot of a corpus is to a question: the vectors of one snapshot laid over its slots."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from holdfast.index.lexical.corpus import Corpus
from holdfast.index.lexical.pack import Ints
from holdfast.index.lexical.score import Floats
from holdfast.index.sqlite.scope import Mask
from holdfast.index.vectors.scan import Vectors, cosines, lengths

EXACT_SCOPE = 50_000
"""Of so many candidates, whatever was filtered out and however many vectors there are, every cosine is exact."""

# Of more than that, so many of the best estimates are looked at exactly, and the more the more there are
# (design.md, section 4: at 18,000 real vectors 400 lose nothing).
EXACT_LEAST = 1_000
EXACT_SHARE = 250

Codes = Callable[[Vectors, Ints], NDArray[np.int8]]
"""(vectors whose signs are held, rows of them) -> their codes, int8 (rows, dimension)."""


class Meaning:
    """The vectors of the live embedder for the slots of one corpus; without vectors every cosine is 0.

    `ready` is the number of live chunks that have a vector.
    """

    def __init__(self, corpus: Corpus, vectors: Vectors | None, codes: Codes) -> None:
        self.corpus, self.vectors, self._codes = corpus, vectors, codes
        self.row = np.full(corpus.slots, -1, dtype=np.int64)
        if vectors is not None and len(vectors):
            at = np.flatnonzero(corpus.is_chunk)
            self.row[at] = vectors.find(corpus.keys[at])
        self.ready = int((self.row >= 0).sum())

    def similarities(self, question: Floats | None, allowed: Mask) -> Floats:
        """The cosine of each slot in `allowed`, 0 elsewhere. Of more than EXACT_SCOPE slots the best are exact and the
        others estimates, where codes are not held (see `is_exact`)."""
        out = np.zeros(self.corpus.slots, dtype=np.float32)
        if question is None or self.vectors is None or not self.ready:
            return out
        at = self._at(allowed)
        if not self.vectors.is_exact and len(at) <= EXACT_SCOPE:
            out[at] = self.exact(question, at)
            return out
        out[at] = self.vectors.similarities(question)[self.row[at]]
        if not self.vectors.is_exact:
            count = EXACT_SCOPE if len(at) <= EXACT_SCOPE else max(EXACT_LEAST, len(at) // EXACT_SHARE)
            best = at[np.argpartition(-out[at], count)[:count]] if len(at) > count else at
            out[best] = self.exact(question, best)
        return out

    def is_exact(self, allowed: Mask) -> bool:
        """Whether all that `similarities` says of the slots in `allowed` is exact."""
        return self.vectors is None or self.vectors.is_exact or len(self._at(allowed)) <= EXACT_SCOPE

    def _at(self, allowed: Mask) -> Ints:
        """The slots in `allowed` that have a vector."""
        return np.flatnonzero(allowed & (self.row >= 0))

    def exact(self, question: Floats | None, slots: Ints) -> Floats:
        """The exact cosine of each of `slots`, 0 where there is no vector."""
        out = np.zeros(len(slots), dtype=np.float32)
        if question is None or self.vectors is None:
            return out
        has = np.flatnonzero(self.row[slots] >= 0)
        if len(has):
            rows, where = np.unique(self.row[slots[has]], return_inverse=True)
            out[has] = cosines(self._codes_of(rows), question)[where]
        return out

    def similarity(self, question: Floats | None, slot: int) -> float | None:
        """The exact cosine of one slot, None where there is no vector."""
        if question is None or self.row[slot] < 0:
            return None
        return float(self.exact(question, np.array([slot]))[0])

    def centre(self, slots: Ints) -> Floats | None:
        """The mean of the vectors of `slots`, of length 1; None if none of them has one."""
        rows = self.row[slots]
        rows = rows[rows >= 0]
        if not len(rows):
            return None
        codes = self._codes_of(rows)
        mean = (codes.astype(np.float32) / lengths(codes)[:, None]).mean(0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), dtype=np.float32)

    def _codes_of(self, rows: Ints) -> NDArray[np.int8]:
        assert self.vectors is not None, "rows are of vectors"
        held = self.vectors.codes(rows)
        return held if held is not None else self._codes(self.vectors, rows)

    def ids(self, slots: Ints) -> list[int]:
        """The id of each slot's vector, 0 where it has none."""
        if self.vectors is None or not len(self.vectors):
            return [0] * len(slots)
        rows = self.row[slots]
        return [int(i) for i in np.where(rows >= 0, self.vectors.ids[rows], 0)]
