"""What the best notes say of the others: RM3 (Abdul-Jaleel and others, UMass at TREC 2004).

The words that stand out in the first few notes found, weighted as they occur there, are asked of a pool of notes in
their turn. It finds documents that mean the same in other words; fitted on Cranfield alone (docs/decisions/0012).
"""

from __future__ import annotations

from collections.abc import Collection

import apsw
import numpy as np
from numpy.typing import NDArray

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
    notes = np.union1d(best, pool)
    owner, ids, counts = _counts(db, corpus, notes)
    total = np.zeros(len(notes))
    np.add.at(total, owner, counts)
    share = np.zeros(len(notes))
    share[np.searchsorted(notes, best)] = weights
    share /= np.maximum(total, 1)
    speaks = share[owner] > 0
    said_ids, where = np.unique(ids[speaks], return_inverse=True)
    said = np.bincount(where, weights=(share[owner] * counts)[speaks], minlength=len(said_ids))
    said[np.isin(said_ids, _ids(db, stop))] = 0
    chosen = _first(db, said_ids, np.asarray(said, dtype=np.float64))
    out = np.zeros(len(pool), dtype=np.float32)
    lengths, place = corpus.words[pool], np.full(len(notes), -1)
    place[np.searchsorted(notes, pool)] = np.arange(len(pool))
    for term, weight in zip(said_ids[chosen].tolist(), (said[chosen] / said[chosen].sum()).tolist(), strict=True):
        holds = ids == term
        tf = np.zeros(len(pool), dtype=np.int64)
        at = place[owner[holds]]
        tf[at[at >= 0]] = counts[holds][at >= 0]
        owners = corpus.note[corpus.postings(term)[0]]
        df = int((owners[1:] != owners[:-1]).sum()) + 1 if len(owners) else 0
        gain = weight * idf(df, corpus.note_count)
        out += np.float32(gain) * bm25(tf, lengths, corpus.mean_words, NOTE_K1, NOTE_B)
    return out


def _first(db: apsw.Connection, ids: Ints, said: NDArray[np.float64]) -> Ints:
    """Places of the terms that are said most; ties by their letters, for ids are another after a rebuild.

    Rounded first: after a rebuild the same numbers may be added up in another order.
    """
    said = said.round(12)
    floor = np.partition(said, len(said) - TERMS)[len(said) - TERMS] if len(said) > TERMS else 0.0
    near = np.flatnonzero((said >= floor) & (said > 0))
    letters = dict(
        rows(db, "select id, t from term where id in (select value from json_each(?))", (str(ids[near].tolist()),))
    )
    order = sorted(near.tolist(), key=lambda i: (-said[i], letters.get(int(ids[i]), "")))
    return np.array(order[:TERMS], dtype=np.int64)


def _counts(db: apsw.Connection, corpus: Corpus, ordinals: Ints) -> tuple[Ints, Ints, Ints]:
    """(place in `ordinals`, term id, how often it stands in that note) of each term of each note, in that order; what
    stands in a title counts double."""
    place = {note: i for i, note in enumerate(corpus.ids[ordinals].tolist())}
    found = rows(
        db, "select note, lens, ids from doc where note in (select value from json_each(?))", (str(list(place)),)
    )
    ids = decode_ids(b"".join(data for _, _, data in found)).astype(np.int64)
    lens = [np.frombuffer(raw, np.uint16) for _, raw, _ in found]
    sizes = np.array([int(x.sum()) for x in lens], dtype=np.int64)
    if int(sizes.sum()) != len(ids):
        raise ValueError("term rows do not fit together")
    owner = np.repeat(np.array([place[note] for note, _, _ in found], dtype=np.int64), sizes)
    within = np.arange(len(ids)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    titles = np.repeat(np.array([int(x[0]) for x in lens], dtype=np.int64), sizes)
    weight = np.where(within < titles, TITLE_WEIGHT, 1)
    pairs, where = np.unique((owner << 32) | ids, return_inverse=True)
    counts = np.bincount(where, weights=weight, minlength=len(pairs)).astype(np.int64)
    return pairs >> 32, pairs & 0xFFFFFFFF, counts


def _ids(db: apsw.Connection, texts: Collection[str]) -> list[int]:
    marks = ",".join("?" * len(texts))
    return [i for (i,) in rows(db, f"select id from term where t in ({marks})", sorted(texts))]
