"""Questions to one snapshot: which chunks are in scope, and what the words say about them."""

from __future__ import annotations

import json

import apsw
import numpy as np

from holdfast.index.base import Newest, Search, Signals
from holdfast.index.lexical.corpus import Corpus, Postings
from holdfast.index.lexical.score import Scores, score
from holdfast.index.sqlite import phrase, scope, vocabulary
from holdfast.index.sqlite.db import rows


def signals(db: apsw.Connection, corpus: Corpus, search: Search, seq: int, generation: int) -> Signals:
    """See index.base.Index.signals."""
    remarks: list[str] = []
    words = _words(db, corpus, search, remarks)
    in_scope = scope.mask(db, corpus, search.conditions)
    allowed = _narrow(db, corpus, search, in_scope, remarks)
    found = score(corpus, words, allowed)
    ordinals = _notes(corpus, found, allowed)
    place = np.zeros(len(corpus.ids), dtype=np.int64)
    place[ordinals] = np.arange(len(ordinals))
    owner = corpus.note[found.slots]
    firsts = corpus.first[ordinals]
    hits = corpus.is_chunk if allowed is None else allowed
    return Signals(
        owner=place[owner], ord=found.slots - corpus.first[owner], near=found.near, own=found.own,
        notes=corpus.ids[ordinals], sizes=corpus.sizes[ordinals], note=found.note[ordinals],
        matched_notes=len(ordinals), matched_chunks=len(found.slots),
        scope_notes=corpus.note_count if in_scope is None else len(_owners(corpus, in_scope)),
        scope_chunks=corpus.chunk_count if in_scope is None else int(in_scope.sum()),
        chunks=corpus.chunk_count, seq=seq, generation=generation,
        in_scope=lambda at, chunk: bool(hits[firsts[at] + chunk]), remarks=tuple(remarks),
    )  # fmt: skip


def newest(db: apsw.Connection, corpus: Corpus, search: Search, limit: int, seq: int) -> Newest:
    """See index.base.Index.newest."""
    remarks: list[str] = []
    mask = _narrow(db, corpus, search, scope.mask(db, corpus, search.conditions), remarks)
    slots = np.flatnonzero(corpus.is_chunk if mask is None else mask)
    owners, heads = np.unique(corpus.note[slots], return_index=True)
    ids = corpus.ids[owners].tolist()
    chunk = dict(zip(ids, (slots[heads] - corpus.first[owners]).tolist(), strict=True))
    found = rows(
        db,
        "select n.id from json_each(?) j cross join note n on n.id = j.value join file f on f.id = n.id "
        "order by coalesce(n.modified_ns, f.mtime_ns) desc, f.key limit ?",
        (json.dumps(ids), limit),
    )
    places = [(i, chunk[i]) for (i,) in found]
    return Newest(places, len(owners), len(slots), corpus.chunk_count, seq, tuple(remarks))


def _notes(corpus: Corpus, found: Scores, allowed: scope.Mask | None) -> np.ndarray:
    """The ordinals of live notes with any of the words, in scope."""
    has = (found.note > 0) & corpus.is_live
    if allowed is not None:
        inside = np.zeros(len(corpus.ids), dtype=bool)
        inside[_owners(corpus, allowed)] = True
        has &= inside
    has[corpus.note[found.slots]] = True
    return np.flatnonzero(has)


def _owners(corpus: Corpus, mask: scope.Mask) -> np.ndarray:
    return np.unique(corpus.note[np.flatnonzero(mask)])


def _words(db: apsw.Connection, corpus: Corpus, search: Search, remarks: list[str]) -> list[tuple[Postings, float]]:
    out = []
    for term, times, typed in zip(search.words, search.repeats, search.typed or search.words, strict=True):
        found = vocabulary.postings(db, corpus, term)
        if found is None and (other := vocabulary.nearest(db, corpus, term)) is not None:
            found = other[0]
            remarks.append(f"no note has “{typed}”; searched {', '.join(f'“{t}”' for t in other[1])}")
        if found is not None:
            out.append((found, float(times)))
    begun = [vocabulary.prefix(db, corpus, text) for text in search.prefixes]
    return out + [(found, 1.0) for found in begun if found is not None]


def _narrow(
    db: apsw.Connection, corpus: Corpus, search: Search, mask: scope.Mask | None, remarks: list[str]
) -> scope.Mask | None:
    """The slots that hold every phrase and none of what is excluded, within `mask`."""
    if not (search.phrases or search.excluded):
        return mask
    out = corpus.is_chunk.copy() if mask is None else mask.copy()
    for terms, wanted in [(p, True) for p in search.phrases] + [(p, False) for p in search.excluded]:
        slots, complete = phrase.find(db, corpus, terms)
        if not complete:
            remarks.append(f"“{' '.join(terms)}” was looked for in the first {phrase.CHECKED_NOTES} notes only")
        hit = np.zeros(corpus.slots, dtype=bool)
        hit[slots] = True
        if wanted:
            # A phrase in the title holds for every chunk of the note.
            titles = corpus.ids[corpus.note[slots[corpus.is_title[slots]]]]
            hit[scope.note_slots(corpus, np.sort(titles))] = True
        out &= hit if wanted else ~hit
    return out
