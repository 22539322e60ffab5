"""Which slots hold a sequence of terms: the postings say where all its words are, the term rows in which order."""

from __future__ import annotations

from collections.abc import Sequence

import apsw
import numpy as np

from holdfast.index.lexical.corpus import Corpus
from holdfast.index.lexical.pack import GAP, Ints, decode_ids
from holdfast.index.sqlite import vocabulary
from holdfast.index.sqlite.db import first

CHECKED_NOTES = 3_000


def find(db: apsw.Connection, corpus: Corpus, phrase: Sequence[str]) -> tuple[Ints, bool]:
    """(slots of live chunks and titles that hold `phrase`, whether all candidates were checked)."""
    found = [vocabulary.postings(db, corpus, t) for t in dict.fromkeys(phrase)]
    slots = None
    for part in found:
        if part is None:
            return np.zeros(0, np.int64), True
        slots = part[0] if slots is None else np.intersect1d(slots, part[0], assume_unique=True)
    assert slots is not None
    if len(phrase) == 1 or not len(slots):
        return slots, True
    ids = [first(db, "select id from term where t = ?", (t,))[0] for t in phrase]
    owners, heads = np.unique(corpus.note[slots], return_index=True)
    groups = np.split(slots, heads[1:])
    out = []
    for ordinal, group in zip(owners[:CHECKED_NOTES].tolist(), groups, strict=False):
        row = first(db, "select lens, ids from doc where note = ?", (int(corpus.ids[ordinal]),))
        entries = np.split(decode_ids(row[1]), np.cumsum(np.frombuffer(row[0], np.uint16), dtype=np.int64)[:-1])
        title = int(corpus.first[ordinal]) - GAP - 1
        for slot in group.tolist():
            entry = entries[0 if slot == title else slot - title - GAP]
            if _holds(entry, ids):
                out.append(slot)
    return np.array(out, dtype=np.int64), len(owners) <= CHECKED_NOTES


def _holds(entry: np.ndarray, ids: Sequence[int]) -> bool:
    last = len(entry) - len(ids) + 1
    if last < 1:
        return False
    hit = entry[:last] == ids[0]
    for i, term in enumerate(ids[1:], 1):
        hit = hit & (entry[i : last + i] == term)
    return bool(hit.any())
