"""What the best notes say of the others: RM3 (Abdul-Jaleel and others, UMass at TREC 2004).

The words that stand out in the first few notes found, weighted as they occur there, are asked of a pool of notes in
their turn. It finds documents that mean the same in other words; fitted on Cranfield alone (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import apsw
import numpy as np

from holdfast.index.lexical.corpus import TITLE_WEIGHT, Corpus
from holdfast.index.lexical.pack import Ints, decode_ids
from holdfast.index.lexical.score import NOTE_B, NOTE_K1, Floats, bm25, idf
from holdfast.index.sqlite.db import rows

TERMS = 30


def feedback(
    db: apsw.Connection, corpus: Corpus, best: Ints, weights: Floats, pool: Ints, stop: Collection[str]
) -> Floats:
    """The BM25 score of each note of `pool` for the words of the `best` notes (ordinals), whose `weights` add up to 1.

    `stop` holds terms that say nothing.
    """
    counted = _counts(db, corpus, np.union1d(best, pool))
    said: dict[int, float] = {}
    for ordinal, weight in zip(best.tolist(), weights.tolist(), strict=True):
        ids, counts = counted[ordinal]
        share = weight / max(1, int(counts.sum()))
        for term, count in zip(ids.tolist(), counts.tolist(), strict=True):
            said[term] = said.get(term, 0.0) + share * count
    for term in _ids(db, stop):
        said.pop(term, None)
    chosen = sorted(said, key=lambda t: (-said[t], t))[:TERMS]
    total = sum(said[t] for t in chosen) or 1.0
    out = np.zeros(len(pool), dtype=np.float32)
    lengths = corpus.words[pool]
    asked = np.array(chosen, dtype=np.int64)
    tf = np.array([_of(counted[o], asked) for o in pool.tolist()], dtype=np.int64).reshape(len(pool), len(asked))
    for i, term in enumerate(chosen):
        owners = corpus.note[corpus.postings(term)[0]]
        df = int((owners[1:] != owners[:-1]).sum()) + 1 if len(owners) else 0
        gain = said[term] / total * idf(df, corpus.note_count)
        out += np.float32(gain) * bm25(tf[:, i], lengths, corpus.mean_words, NOTE_K1, NOTE_B)
    return out


def _of(counted: tuple[Ints, Ints], asked: Ints) -> Ints:
    ids, counts = counted
    if not len(ids):
        return np.zeros(len(asked), dtype=np.int64)
    at = np.minimum(np.searchsorted(ids, asked), len(ids) - 1)
    return np.where(ids[at] == asked, counts[at], 0)


def _counts(db: apsw.Connection, corpus: Corpus, ordinals: Ints) -> Mapping[int, tuple[Ints, Ints]]:
    """For each note its distinct term ids, rising, and how often each stands in it; the title's count double."""
    of = dict(zip(corpus.ids[ordinals].tolist(), ordinals.tolist(), strict=True))
    found = rows(db, "select note, lens, ids from doc where note in (select value from json_each(?))", (str(list(of)),))
    out = {o: (np.zeros(0, np.int64), np.zeros(0, np.int64)) for o in of.values()}
    for note, lens, data in found:
        ids = decode_ids(data).astype(np.int64)
        title = int(np.frombuffer(lens, np.uint16)[0])
        weighted = np.concatenate([np.repeat(ids[:title], TITLE_WEIGHT), ids[title:]])
        distinct, counts = np.unique(weighted, return_counts=True)
        out[of[note]] = distinct, counts.astype(np.int64)
    return out


def _ids(db: apsw.Connection, texts: Collection[str]) -> list[int]:
    marks = ",".join("?" * len(texts))
    return [i for (i,) in rows(db, f"select id from term where t in ({marks})", sorted(texts))]
