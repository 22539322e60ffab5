"""What a reader holds in memory: the slots of all live notes, flat, and where to find a term in them.

Segments come first, then the overlay (notes newer than the newest segment, decoded). A corpus is immutable; when the
index's change number moves, a new one is made from the layouts already held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.index.lexical.pack import COUNT_MAX, GAP, Ints, Layout

# Own words count 20 twentieths, the chunk before lends 10, the one after 7, those two away 3 (fitted on the
# development half of LoCoMo: bench/retrieval, NEAR). Integers, so that no order of adding changes a score.
OWN, BEFORE, AFTER, AWAY = 20, 10, 7, 3
BLEND = 20
TITLE_WEIGHT = 2

Postings = tuple[Ints, Ints]
Fetch = Callable[[int, int], Postings | None]
"""(segment id, term id) -> slots within the segment and counts, or None."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A published segment: its id and where its notes lie."""

    id: int
    layout: Layout


@dataclass(frozen=True, slots=True)
class Overlay:
    """Notes held as their terms: `ids` of all entries of `layout`, in order."""

    layout: Layout
    ids: NDArray[np.uint32]

    def find(self, term: int) -> Postings:
        at = np.flatnonzero(self.ids == term)
        if not len(at):
            return at, at
        entry = np.searchsorted(np.cumsum(self.layout.lens, dtype=np.int64), at, side="right")
        firsts = np.flatnonzero(np.concatenate(([True], entry[1:] != entry[:-1])))
        counts = np.minimum(np.diff(np.append(firsts, len(entry))), COUNT_MAX)
        return self.layout.entry_slots()[entry[firsts]], counts


EMPTY = Overlay(
    Layout(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint16), np.zeros(0, np.uint64)),
    np.zeros(0, np.uint32),
)


class Corpus:
    """All live notes of one snapshot.

    Per slot: `own` terms (0 in gaps), `blended` terms in twentieths, `note` ordinal, `is_chunk` (a live chunk),
    `is_title`, `keys` of inputs (0 where there is none), `is_turn`. Per note ordinal: `ids`, `first` chunk's slot,
    `sizes` chunks, `words`, `is_live`.
    """

    def __init__(self, segments: Sequence[Segment], overlay: Overlay, dead: Iterable[tuple[int, int]], fetch: Fetch):
        """`dead` holds (place of the segment in `segments`, note id) of notes that are gone or newer elsewhere."""
        self.segments, self.overlay, self._fetch = segments, overlay, fetch
        layouts = [s.layout for s in segments] + [overlay.layout]
        spans = [x.slots for x in layouts]
        self.bases = np.concatenate(([0], np.cumsum(spans)))[:-1].tolist()
        self.slots = sum(spans)
        self.ids = np.concatenate([x.notes for x in layouts])
        self.sizes = np.concatenate([x.sizes for x in layouts])
        titles = np.concatenate([x.starts + b for x, b in zip(layouts, self.bases, strict=True)])
        self.first = titles + GAP + 1
        self.own = np.zeros(self.slots, dtype=np.int32)
        for x, b in zip(layouts, self.bases, strict=True):
            self.own[x.entry_slots() + b] = x.lens
        self.is_live = self._live(layouts, dead)
        self.note = np.zeros(self.slots, dtype=np.int32)
        self.is_chunk = np.zeros(self.slots, dtype=bool)
        self.is_title = np.zeros(self.slots, dtype=bool)
        self.is_title[titles] = self.is_live
        chunk_note = np.repeat(np.arange(len(self.ids)), self.sizes)
        chunk_slot = np.arange(len(chunk_note)) + np.repeat(
            self.first - (np.cumsum(self.sizes) - self.sizes), self.sizes
        )
        self.note[titles] = np.arange(len(self.ids))
        self.note[chunk_slot] = chunk_note
        self.is_chunk[chunk_slot] = self.is_live[chunk_note]
        self.keys = np.zeros(self.slots, dtype=np.uint64)
        self.keys[chunk_slot] = np.concatenate([x.keys for x in layouts])
        self.is_turn = (self.keys & np.uint64(1)).astype(bool)
        self.words = TITLE_WEIGHT * self.own[titles].astype(np.int64)
        np.add.at(self.words, chunk_note, self.own[chunk_slot])
        self.own[titles] = 0
        self.blended = self._blend()
        self.chunk_count = int(self.is_chunk.sum())
        self.note_count = int(self.is_live.sum())
        self.mean_own = _mean(self.own[self.is_chunk], self.chunk_count)
        self.mean_blended = _mean(self.blended[self.is_chunk], self.chunk_count)
        self.mean_words = _mean(self.words[self.is_live], self.note_count)
        self._order = np.argsort(self.ids, kind="stable")

    def _live(self, layouts: Sequence[Layout], dead: Iterable[tuple[int, int]]) -> NDArray[np.bool_]:
        live = np.ones(len(self.ids), dtype=bool)
        first = np.concatenate(([0], np.cumsum([len(x.notes) for x in layouts])))
        gone: dict[int, list[int]] = {}
        for place, note in dead:
            gone.setdefault(place, []).append(note)
        for place, notes in gone.items():
            live[first[place] : first[place + 1]] &= ~np.isin(layouts[place].notes, np.array(notes, dtype=np.int64))
        return live

    def _blend(self) -> NDArray[np.int32]:
        own = self.own
        out = OWN * own
        out[1:] += BEFORE * own[:-1]
        out[:-1] += AFTER * own[1:]
        out[2:] += AWAY * own[:-2]
        out[:-2] += AWAY * own[2:]
        return out

    def postings(self, term: int) -> Postings:
        """(slots, counts) of a term in live notes, slots rising; titles' slots included."""
        found = []
        for segment, base in zip(self.segments, self.bases, strict=False):
            if (part := self._fetch(segment.id, term)) is not None:
                found.append((part[0] + base, part[1]))
        if len(self.overlay.ids):
            part = self.overlay.find(term)
            found.append((part[0] + self.bases[-1], part[1]))
        if not found:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        slots = np.concatenate([s for s, _ in found]) if len(found) > 1 else found[0][0]
        counts = np.concatenate([c for _, c in found]) if len(found) > 1 else found[0][1]
        keep = self.is_live[self.note[slots]]
        return (slots, counts) if keep.all() else (slots[keep], counts[keep])

    def ordinals(self, notes: Ints) -> Ints:
        """The ordinals of live note ids; ids that are not live here are left out."""
        if not len(self.ids):
            return np.zeros(0, np.int64)
        ids = self.ids[self._order]
        out = []
        # A note can stand in several segments, of which one is live; equal ids are neighbours in the sorted order.
        lo, hi = np.searchsorted(ids, notes, side="left"), np.searchsorted(ids, notes, side="right")
        for step in range(int((hi - lo).max(initial=0))):
            has = lo + step < hi
            ordinal = self._order[lo[has] + step]
            out.append(ordinal[self.is_live[ordinal]])
        return np.concatenate(out) if out else np.zeros(0, np.int64)


def union(parts: Sequence[Postings]) -> Postings:
    """The postings of several terms that count as one."""
    if len(parts) == 1:
        return parts[0]
    slots, where = np.unique(np.concatenate([s for s, _ in parts]), return_inverse=True)
    counts = np.zeros(len(slots), dtype=np.int64)
    np.add.at(counts, where, np.concatenate([c for _, c in parts]))
    return slots, np.minimum(counts, COUNT_MAX)


def _mean(values: NDArray[np.int32] | Ints, count: int) -> float:
    return float(values.sum(dtype=np.int64)) / count if count else 1.0
