"""Questions to one snapshot: which chunks are in scope, and what the words say about them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

import apsw
import numpy as np
from numpy.typing import NDArray

from holdfast.index.asking import SPEAKER, Newest, Search, Signals
from holdfast.index.lexical.corpus import Corpus, Postings
from holdfast.index.lexical.pack import Ints
from holdfast.index.lexical.score import Floats, Scores, score
from holdfast.index.sqlite import phrase, scope, vocabulary
from holdfast.index.sqlite.db import rows
from holdfast.index.sqlite.detail import detail
from holdfast.index.sqlite.feedback import feedback
from holdfast.index.sqlite.meaning import Meaning
from holdfast.model import speaker_byte

TALKS_WHOLE = 40
"""Of so many conversations all turns are candidates."""

UNKNOWN_SHOWN = 8
KEY_CHUNKS = 3
KEY_CHARS = 4
_YEAR = re.compile(r"(19|20)\d\d")

Word = tuple[str, Postings, float]
"""(term, its postings, its weight)"""


def signals(
    db: apsw.Connection, corpus: Corpus, meaning: Meaning, search: Search, seq: int, generation: int
) -> Signals:
    """See index.base.Index.signals."""
    remarks: list[str] = []
    words = _words(db, corpus, search, remarks)
    in_scope = scope.mask(db, corpus, search.conditions)
    allowed = _narrow(db, corpus, search, in_scope, remarks)
    hits = corpus.is_chunk if allowed is None else allowed
    found = _score(corpus, words, search.names, allowed)
    dense = meaning.similarities(search.question, hits)
    slots = found.slots
    if search.question is not None:
        slots = _union(corpus, slots, _nearest(dense, search.nearest, search.floor))
    present = _present(db, corpus, search.who)
    slots = _union(corpus, slots, _turns_of_best(db, corpus, found.note, present, hits))
    ordinals = _notes(corpus, found, slots, allowed)
    place = np.zeros(len(corpus.ids), dtype=np.int64)
    place[ordinals] = np.arange(len(ordinals))
    owner = corpus.note[slots]
    firsts = corpus.first[ordinals]
    near, own = _at(found.slots, found.near, slots), _at(found.slots, found.own, slots)
    best = np.maximum.reduceat(dense, corpus.first) if len(corpus.first) else np.zeros(0, np.float32)
    content = [found for word, found, _ in words if word not in search.names]
    return Signals(
        owner=place[owner], ord=slots - corpus.first[owner], near=near, own=own, dense=dense[slots],
        is_known=meaning.row[slots] >= 0, is_turn=corpus.is_turn[slots], speaks=_speaks(corpus, slots, search.who),
        keyed=_keyed(corpus, words, slots),
        notes=corpus.ids[ordinals], sizes=corpus.sizes[ordinals], note=found.note[ordinals], note_dense=best[ordinals],
        is_talk=corpus.is_turn[firsts], present=present[ordinals],
        matched_notes=len(ordinals), matched_chunks=len(slots),
        scope_notes=corpus.note_count if in_scope is None else len(_owners(corpus, in_scope)),
        scope_chunks=corpus.chunk_count if in_scope is None else int(in_scope.sum()),
        chunks=corpus.chunk_count, ready=meaning.ready, seq=seq, generation=generation,
        in_scope=lambda at, chunk: bool(hits[firsts[at] + chunk]),
        similarity=lambda at, chunk: meaning.similarity(search.question, int(firsts[at]) + chunk),
        detail=lambda at: detail(db, corpus, meaning, search.question, content, slots[at]),
        feedback=lambda best, weights, at, stop: feedback(db, corpus, ordinals[best], weights, ordinals[at], stop),
        echo=lambda best, at: _echo(corpus, meaning, dense, hits, ordinals[best], ordinals[at]), remarks=tuple(remarks),
        is_exact=meaning.is_exact(hits),
    )  # fmt: skip


def is_key(word: str, chunks: int) -> bool:
    """Whether a word that stands in so many chunks names one thing: digits in it, not too short, no year, and rare."""
    looks_so = len(word) >= KEY_CHARS and any(map(str.isdigit, word)) and not _YEAR.fullmatch(word)
    return looks_so and chunks <= KEY_CHUNKS


def _keyed(corpus: Corpus, words: Sequence[Word], slots: Ints) -> NDArray[np.bool_]:
    out = np.zeros(len(slots), dtype=bool)
    for word, (at, _), _ in words:
        if is_key(word, int(corpus.is_chunk[at].sum())):
            out |= np.isin(slots, at)
    return out


def _echo(corpus: Corpus, meaning: Meaning, dense: Floats, hits: scope.Mask, best: Ints, pool: Ints) -> Floats:
    """The best cosine of each note of `pool` with the middle of what the `best` notes have nearest to the question."""
    out = np.zeros(len(pool), dtype=np.float32)
    best = best[corpus.sizes[best] > 0]  # a note that was never opened has no chunk
    nearest = [corpus.first[o] + int(dense[corpus.first[o] : corpus.first[o] + corpus.sizes[o]].argmax()) for o in best]
    centre = meaning.centre(np.array(nearest, dtype=np.int64))
    if centre is not None:
        slots = scope.ordinal_slots(corpus, pool)
        place = np.repeat(np.arange(len(pool)), corpus.sizes[pool])
        np.maximum.at(out, place[hits[slots]], meaning.exact(centre, slots[hits[slots]]))
    return out


def _union(corpus: Corpus, *slots: Ints) -> Ints:
    """All of these slots, rising. (np.union1d, which hashes, takes ten times as long.)"""
    mask = np.zeros(len(corpus.note), dtype=np.bool_)
    for part in slots:
        mask[part] = True
    return np.flatnonzero(mask)


def _score(corpus: Corpus, words: Sequence[Word], names: Sequence[str], allowed: scope.Mask | None) -> Scores:
    """The scores of all words; turns and conversations are scored without the `names` among them, if there are
    others."""
    content = [(found, weight) for word, found, weight in words if word not in names]
    if not content or len(content) == len(words):
        return score(corpus, [(found, weight) for _, found, weight in words], allowed)
    without = score(corpus, content, allowed)
    named = score(corpus, [(found, weight) for word, found, weight in words if word in names], allowed)
    of_passages = ~corpus.is_turn[named.slots]
    at = named.slots[of_passages]
    slots = _union(corpus, without.slots, at)
    near, own = (
        _at(without.slots, content_only, slots) + _at(at, names_only[of_passages], slots)
        for content_only, names_only in ((without.near, named.near), (without.own, named.own))
    )
    is_talk = corpus.is_turn[corpus.first]
    return Scores(slots, near, own, without.note + np.where(is_talk, np.float32(0), named.note))


def _turns_of_best(db: apsw.Connection, corpus: Corpus, note: Floats, present: Floats, hits: scope.Mask) -> Ints:
    """The slots of all turns of the conversations that have most of the words, and of those who are asked for: what
    answers may use none of the words that are asked."""
    value = note / max(float(note.max(initial=0)), 1e-6) + present
    talks = np.flatnonzero(corpus.is_live & corpus.is_turn[corpus.first] & (note > 0) & _has_any(corpus, hits))
    if len(talks) > TALKS_WHOLE:
        # Ties by path: the order in which the notes are stored is another one after a rebuild.
        floor = np.partition(value[talks], len(talks) - TALKS_WHOLE)[len(talks) - TALKS_WHOLE]
        talks = talks[value[talks] >= floor]
        ids = corpus.ids[talks].tolist()
        keys = dict(rows(db, "select id, key from file where id in (select value from json_each(?))", (str(ids),)))
        talks = talks[sorted(range(len(ids)), key=lambda i: (-value[talks[i]], keys.get(ids[i], b"")))][:TALKS_WHOLE]
    slots = scope.ordinal_slots(corpus, talks)
    return np.asarray(slots[hits[slots] & corpus.is_turn[slots]], dtype=np.int64)


def _has_any(corpus: Corpus, hits: scope.Mask) -> NDArray[np.bool_]:
    """Per ordinal whether any of its chunks is in scope."""
    if hits is corpus.is_chunk:
        return corpus.is_live
    out = np.zeros(len(corpus.ids), dtype=bool)
    out[_owners(corpus, hits)] = True
    return out


def _speaks(corpus: Corpus, slots: Ints, who: Sequence[str]) -> Floats:
    if not who:
        return np.zeros(len(slots), dtype=np.float32)
    keys = corpus.keys[slots]
    said = ((keys >> np.uint64(8)) & np.uint64(255)).astype(np.int64)
    wanted = np.isin(said, [speaker_byte(name) for name in who])
    return np.asarray(wanted & corpus.is_turn[slots], dtype=np.float32)


def _present(db: apsw.Connection, corpus: Corpus, who: Sequence[str]) -> Floats:
    """Per ordinal the share of `who` that speaks there."""
    out = np.zeros(len(corpus.ids), dtype=np.float32)
    for name in who:
        notes = rows(db, "select note from field where key = ? and value = ?", (SPEAKER, name))
        out[corpus.ordinals(np.array(sorted(n for (n,) in notes), dtype=np.int64))] += np.float32(1 / len(who))
    return out


def _at(known: Ints, values: Floats, slots: Ints) -> Floats:
    """`values` of the rising slots `known`, spread over the rising `slots`; 0 elsewhere."""
    if len(known) == len(slots):
        return values
    out = np.zeros(len(slots), dtype=np.float32)
    out[np.searchsorted(slots, known)] = values
    return out


def _nearest(dense: Floats, count: int, floor: float) -> Ints:
    """The slots with the highest cosines, none below `floor`."""
    if len(dense) > count:
        floor = max(floor, float(np.partition(dense, len(dense) - count)[len(dense) - count]))
    return np.flatnonzero((dense >= floor) & (dense > 0))


def newest(db: apsw.Connection, corpus: Corpus, search: Search, limit: int, ready: int, seq: int) -> Newest:
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
    return Newest(places, len(owners), len(slots), corpus.chunk_count, ready, seq, tuple(remarks))


def _notes(corpus: Corpus, found: Scores, slots: Ints, allowed: scope.Mask | None) -> Ints:
    """The ordinals of live notes with any of the words or a candidate, in scope."""
    has = (found.note > 0) & corpus.is_live
    if allowed is not None:
        inside = np.zeros(len(corpus.ids), dtype=bool)
        inside[_owners(corpus, allowed)] = True
        has &= inside
    has[corpus.note[slots]] = True
    return np.flatnonzero(has)


def _owners(corpus: Corpus, mask: scope.Mask) -> Ints:
    return np.unique(corpus.note[np.flatnonzero(mask)])


def _words(db: apsw.Connection, corpus: Corpus, search: Search, remarks: list[str]) -> list[Word]:
    out: list[Word] = []
    unknown: list[str] = []
    for term, times, typed in zip(search.words, search.repeats, search.typed or search.words, strict=True):
        found = vocabulary.postings(db, corpus, term)
        if found is None and (other := vocabulary.nearest(db, corpus, term)) is not None:
            found = other[0]
            remarks.append(f"no note has “{typed}”; searched {', '.join(f'“{t}”' for t in other[1])}")
        if found is not None:
            out.append((term, found, float(times)))
        else:
            unknown.append(f"“{typed}”")
    if unknown and not out and not search.prefixes:
        remarks.append(f"no note has {' or '.join(unknown[:UNKNOWN_SHOWN])}")
    begun = [(text, vocabulary.prefix(db, corpus, text)) for text in search.prefixes]
    return out + [(f"{text}*", found, 1.0) for text, found in begun if found is not None]


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
