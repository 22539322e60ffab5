"""Whether postings say what the term rows say: segment by segment, and for single notes.

Only live notes can be compared: what a segment says of notes that changed since stands nowhere else, and nobody reads
it. Memory is that of one segment, as for its making.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import apsw
import numpy as np
from numpy.typing import NDArray

from holdfast.index.lexical.pack import COUNT_MAX, GAP, Bytes, Ints, Layout, decode_ids, find_term, term_ranges
from holdfast.index.proofs import FLAWS_MAX, Flaw
from holdfast.index.sqlite.db import first, rows
from holdfast.index.sqlite.postings import i64, layout_of, meta

PAGE = 64

Pairs = tuple[NDArray[np.uint64], Bytes]
"""(term << 16 | slot, rising; how often)"""


class Reading(Protocol):
    """What is needed of the open index."""

    def snapshot(self) -> AbstractContextManager[None]: ...

    def reading(self) -> AbstractContextManager[apsw.Connection]: ...


def check_words(index: Reading) -> Iterator[tuple[int, list[Flaw]]]:
    """See Proofs.words."""
    after = -1
    while True:
        with index.snapshot(), index.reading() as db:
            sql = "select id, dead, notes, sizes, lens, keys from segment where id > ? order by id limit 1"
            if (row := first(db, sql, (after,))) is None:
                return
            if not row[0] > after:
                raise ValueError("segments out of order")
            after = row[0]
            found = _check_segment(db, after, i64(row[1]), layout_of(*row[2:]))
        yield found


def _check_segment(db: apsw.Connection, segment: int, dead: Ints, layout: Layout) -> tuple[int, list[Flaw]]:
    def flaw(what: str) -> tuple[int, list[Flaw]]:
        return len(layout.keys), [Flaw("words", 0, f"Segment {segment} {what}.")]

    if not (np.diff(layout.notes) > 0).all():
        return flaw("has notes out of order")
    post_seq = meta(db, "post_seq")
    listed = str(layout.notes.tolist())
    sql = (
        "select d.note, d.lens, d.keys from json_each(?) j cross join doc d on d.note = j.value "
        "where d.seq <= ? and d.note not in (select note from gone)"
    )
    docs = [d for d in rows(db, sql, (listed, post_seq)) if d[0] not in set(dead.tolist())]
    alive = np.isin(layout.notes, np.array([d[0] for d in docs], dtype=np.int64))
    entries = np.repeat(alive, layout.sizes + 1)
    lens = np.frombuffer(b"".join(d[1] for d in docs), np.uint16)
    if not np.array_equal(layout.lens[entries], lens):
        return flaw("has notes of another length than their term rows")
    if layout.keys[np.repeat(alive, layout.sizes)].tobytes() != b"".join(d[2] for d in docs):
        return flaw("has other keys than the term rows")
    ids = _ids(db, [d[0] for d in docs])
    if len(ids) != int(lens.sum(dtype=np.int64)):
        return flaw("has term rows that do not fit their lengths")
    slots = np.repeat(layout.entry_slots()[entries], lens)
    is_live = np.zeros(layout.slots, dtype=bool)
    is_live[layout.entry_slots()[entries]] = True
    try:
        differs = _first_difference(_expected(ids, slots), _stored(db, segment, is_live))
    except (ValueError, IndexError) as e:
        return flaw(f"has postings that make no sense ({e})")
    return flaw(f"does not say where the term {differs} stands") if differs is not None else (len(layout.keys), [])


def _ids(db: apsw.Connection, notes: list[int]) -> NDArray[np.uint32]:
    parts = []
    for at in range(0, len(notes), 512):
        sql = "select d.ids from json_each(?) j cross join doc d on d.note = j.value"
        parts.append(decode_ids(b"".join(x for (x,) in rows(db, sql, (str(notes[at : at + 512]),)))))
    return np.concatenate(parts) if parts else np.zeros(0, np.uint32)


def _expected(ids: NDArray[np.uint32], slots: Ints) -> Iterator[Pairs]:
    for lo, hi in pairwise(term_ranges(ids)):
        mine = np.flatnonzero((ids >= lo) & (ids < hi))
        pairs, counts = np.unique((ids[mine].astype(np.uint64) << np.uint64(16)) | slots[mine].astype(np.uint64),
                                  return_counts=True)  # fmt: skip
        yield pairs, np.minimum(counts, COUNT_MAX).astype(np.uint8)


def _stored(db: apsw.Connection, segment: int, is_live: NDArray[np.bool_]) -> Iterator[Pairs]:
    after, end, last = (segment << 32) - 1, (segment + 1) << 32, -1
    while True:
        sql = "select id, data from post where id > ? and id < ? order by id limit ?"
        page = rows(db, sql, (after, end, PAGE))
        if not page:
            return
        for after, data in page:
            names, slots, counts, sizes = _unpack(data)
            if int(names[0]) != after & 0xFFFFFFFF or int(names[0]) <= last:
                raise ValueError("a row under another number than its own")
            last = int(names[-1])
            keep = is_live[slots]
            yield ((np.repeat(names, sizes).astype(np.uint64) << np.uint64(16)) | slots)[keep], counts[keep]


def _unpack(data: bytes) -> tuple[NDArray[np.uint32], NDArray[np.uint16], Bytes, Ints]:
    """(terms, slots, counts, slots of each term) of a posting row."""
    n = int(np.frombuffer(data, np.uint32, count=1)[0])
    total, rest = divmod(len(data) - 4 - 6 * n, 3)
    if n < 1 or total < n or rest:
        raise ValueError("a row of another size")
    names = np.frombuffer(data, np.uint32, count=n, offset=4)
    starts = np.frombuffer(data, np.uint16, count=n, offset=4 + 4 * n).astype(np.int64)
    sizes = np.diff(np.append(starts, total))
    if starts[0] or not (sizes > 0).all() or not (np.diff(names.astype(np.int64)) > 0).all():
        raise ValueError("a row whose terms are out of order")
    base = 4 + 6 * n
    slots = np.frombuffer(data, np.uint16, count=total, offset=base)
    return names, slots, np.frombuffer(data, np.uint8, count=total, offset=base + 2 * total), sizes


def _first_difference(a: Iterator[Pairs], b: Iterator[Pairs]) -> int | None:
    """The term at which two streams part; None if they are the same."""
    x, y = _EMPTY, _EMPTY
    while True:
        x, y = _filled(x, a), _filled(y, b)
        n = min(len(x[0]), len(y[0]))
        if not n:
            left = x[0] if len(x[0]) else y[0]
            return int(left[0]) >> 16 if len(left) else None
        differ = np.flatnonzero((x[0][:n] != y[0][:n]) | (x[1][:n] != y[1][:n]))
        if len(differ):
            return int(x[0][differ[0]]) >> 16
        x, y = (x[0][n:], x[1][n:]), (y[0][n:], y[1][n:])


_EMPTY: Pairs = (np.zeros(0, np.uint64), np.zeros(0, np.uint8))


def _filled(held: Pairs, more: Iterator[Pairs]) -> Pairs:
    while not len(held[0]):
        found = next(more, None)
        if found is None:
            return _EMPTY
        held = found
    return held


@dataclass(frozen=True, slots=True)
class _Segment:
    id: int
    notes: Ints
    starts: Ints
    dead: frozenset[int]

    def start(self, note: int) -> int | None:
        """The slot of the note's title, if the note is here and not dead."""
        at = int(np.searchsorted(self.notes, note))
        is_here = at < len(self.notes) and int(self.notes[at]) == note and note not in self.dead
        return int(self.starts[at]) if is_here else None


@dataclass(frozen=True, slots=True)
class Places:
    """Where notes lie in segments."""

    segments: tuple[_Segment, ...]

    @staticmethod
    def of(db: apsw.Connection) -> Places:
        """Those of the snapshot that `db` is in."""
        found = []
        for id_, notes, sizes, dead in rows(db, "select id, notes, sizes, dead from segment order by id"):
            if len(notes) != len(sizes):
                raise ValueError("a segment does not fit together")
            bare = Layout(i64(notes), i64(sizes), np.zeros(0, np.uint16), np.zeros(0, np.uint64))
            found.append(_Segment(id_, bare.notes, bare.starts, frozenset(i64(dead).tolist())))
        return Places(tuple(found))

    def lost(self, db: apsw.Connection, note: int, terms: Set[int], most: int) -> list[int]:
        """Those of `terms` (of all its own, if none) that are not where its term row says; see Proofs.unfound."""
        doc = first(db, "select seq, lens, ids from doc where note = ?", (note,))
        if doc is None:
            return sorted(terms)
        ids = decode_ids(doc[2])
        wanted = sorted(terms or set(ids.tolist()), reverse=True)
        wanted = wanted[: most or len(wanted)]
        at = [(s, start) for s in self.segments if (start := s.start(note)) is not None]
        if doc[0] > meta(db, "post_seq"):
            return sorted(set(wanted).difference(ids.tolist()))
        if len(at) != 1:
            return wanted
        (segment, start), lens = at[0], np.frombuffer(doc[1], np.uint16)
        slots = np.repeat(np.arange(len(lens)) + GAP * (np.arange(len(lens)) > 0) + start, lens)
        row: tuple[int, bytes] | None = None
        out = []
        for term in wanted:
            key = segment.id << 32 | term
            if row is None or row[0] > key:
                row = first(db, "select id, data from post where id <= ? order by id desc limit 1", (key,))
            if row is None or not _stands(row, segment.id, term, slots[ids == term], start + GAP + len(lens)):
                out.append(term)
        return out


def _stands(row: tuple[int, bytes], segment: int, term: int, slots: Ints, end: int) -> bool:
    found = find_term(row[1], term) if row[0] >> 32 == segment else None
    if found is None or not len(slots):
        return False
    mine = (found[0] >= slots[0]) & (found[0] < end)
    expected, counts = np.unique(slots, return_counts=True)
    return np.array_equal(found[0][mine], expected) and np.array_equal(found[1][mine], np.minimum(counts, COUNT_MAX))


def unlisted(db: apsw.Connection, places: Places, after: int, upto: int) -> list[Flaw]:
    """Notes with `after` < id <= `upto` that are in no segment and not in the overlay, in two, or only there."""
    post_seq = meta(db, "post_seq")
    docs = rows(db, "select note, seq from doc where note > ? and note <= ?", (after, upto))
    sql = "select note from gone where note > ? and note <= ? and seq > ?"
    hidden = {n for n, seq in docs if seq > post_seq} | {n for (n,) in rows(db, sql, (after, upto, post_seq))}
    seen: dict[int, int] = {}
    for segment in places.segments:
        lo, hi = (int(np.searchsorted(segment.notes, x, side="right")) for x in (after, upto))
        for note in segment.notes[lo:hi].tolist():
            if note not in segment.dead and note not in hidden:
                seen[note] = seen.get(note, 0) + 1
    settled = {n for n, seq in docs if seq <= post_seq}
    out = [(n, "stands in no segment") for n in sorted(settled - seen.keys())]
    out += [(n, "stands in a segment and has no term row") for n in sorted(seen.keys() - settled)]
    out += [(n, "stands in two segments") for n in sorted(n for n, count in seen.items() if count > 1)]
    return [Flaw("words", n, f"Note {n} {what}.") for n, what in out[:FLAWS_MAX]]
