"""What the words of a question say about every chunk: exact, exhaustive, the same to the bit however notes were stored.

Okapi BM25 (Robertson and Zaragoza 2009) in three readings: a chunk alone, a chunk with its neighbours' words at reduced
weight, and the whole note with its title twice. Constants: own and near as fitted on the development half of LoCoMo,
note as usual for documents (bench/retrieval; docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.index.lexical.corpus import AFTER, AWAY, BEFORE, BLEND, OWN, TITLE_WEIGHT, Corpus, Postings
from holdfast.index.lexical.pack import Ints

Floats = NDArray[np.float32]

SELF_K1, SELF_B = 0.9, 0.3
NEAR_K1, NEAR_B = 0.9, 0.4
NOTE_K1, NOTE_B = 1.6, 0.7

# A word in most chunks says little and costs most; it is skipped where a rarer one was asked. The floor keeps the
# ordinary words of small vaults.
SKIP_POSTINGS = 4_096
SKIP_SHARE = 8


@dataclass(frozen=True, slots=True)
class Scores:
    """Candidates by slot, rising, `near` > 0 for each; and per ordinal the `note`'s score, 0 where it has no word."""

    slots: Ints
    near: Floats
    own: Floats
    note: Floats


def score(corpus: Corpus, words: Sequence[tuple[Postings, float]], allowed: NDArray[np.bool_] | None = None) -> Scores:
    """Scores of all chunks with any of `words` (postings, weight) in them or beside them.

    `allowed` masks slots: it narrows what is returned, not the document frequencies.
    """
    near = np.zeros(corpus.slots, dtype=np.float32)
    own = np.zeros(corpus.slots, dtype=np.float32)
    note = np.zeros(len(corpus.ids), dtype=np.float32)
    scratch = np.zeros(corpus.slots, dtype=np.int32)
    for (slots, counts), weight in _worth_scoring(corpus, words):
        chunk = corpus.is_chunk[slots]
        at, tf = (slots, counts) if chunk.all() else (slots[chunk], counts[chunk])
        if len(at):
            gain = weight * idf(len(at), corpus.chunk_count)
            own[at] += gain * bm25(tf, corpus.own[at], corpus.mean_own, SELF_K1, SELF_B)
            beside, blended = _spread(corpus, scratch, at, tf)
            gain = weight * idf(len(beside), corpus.chunk_count)
            near[beside] += gain * bm25(blended, corpus.blended[beside], corpus.mean_blended, NEAR_K1, NEAR_B, BLEND)
        _score_notes(corpus, note, slots, counts, weight)
    found = np.flatnonzero(near)
    if allowed is not None:
        found = found[allowed[found]]
    return Scores(found, near[found], own[found], note)


def _worth_scoring(corpus: Corpus, words: Sequence[tuple[Postings, float]]) -> list[tuple[Postings, float]]:
    limit = max(SKIP_POSTINGS, corpus.chunk_count // SKIP_SHARE)
    rare = [w for w in words if len(w[0][0]) <= limit]
    return rare or list(words)


def idf(df: int, total: int) -> float:
    """What a word in `df` of `total` units says (Robertson and Zaragoza 2009), never below 0."""
    return float(np.log1p((total - df + 0.5) / (df + 0.5)))


def bm25(
    tf: NDArray[np.int32] | Ints, length: NDArray[np.int32] | Ints, mean: float, k1: float, b: float, scale: int = 1
) -> Floats:
    """BM25's saturated term frequency in float32; tf and length are in units of 1/scale."""
    f = tf.astype(np.float32)
    norm = np.float32(k1 * (1 - b) * scale) + np.float32(k1 * b * scale / mean) * length.astype(np.float32)
    return np.asarray(np.float32(k1 + 1) * f / (f + norm), dtype=np.float32)


def _spread(corpus: Corpus, scratch: NDArray[np.int32], at: Ints, counts: Ints) -> tuple[Ints, NDArray[np.int32]]:
    """(slots, blended counts) of one term: every chunk that holds it or stands within two of one that does."""
    tf = counts.astype(np.int32)
    scratch[at] += OWN * tf
    scratch[at + 1] += BEFORE * tf
    scratch[at - 1] += AFTER * tf
    scratch[at + 2] += AWAY * tf
    scratch[at - 2] += AWAY * tf
    slots, values = [], []
    for step in (0, 1, -1, 2, -2):
        place = at + step
        value = scratch[place]
        scratch[place] = 0
        met = (value > 0) & corpus.is_chunk[place]
        slots.append(place[met])
        values.append(value[met])
    return np.concatenate(slots), np.concatenate(values)


def _score_notes(corpus: Corpus, note: Floats, slots: Ints, counts: Ints, weight: float) -> None:
    if not len(slots):
        return
    owner = corpus.note[slots]
    heads = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
    weighted = np.where(corpus.is_title[slots], TITLE_WEIGHT * counts, counts)
    tf = np.add.reduceat(weighted, heads)
    at = owner[heads]
    gain = weight * idf(len(at), corpus.note_count)
    note[at] += gain * bm25(tf, corpus.words[at], corpus.mean_words, NOTE_K1, NOTE_B)
