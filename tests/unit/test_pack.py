"""How term ids and postings lie in bytes: what goes in comes out, whatever it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.index.lexical.corpus import EMPTY, Corpus, Overlay, Postings, Segment, union
from holdfast.index.lexical.pack import (
    COUNT_MAX,
    GAP,
    ROW_BYTES,
    SEGMENT_SLOTS,
    Layout,
    decode_ids,
    encode_ids,
    find_term,
    pack_segment,
    slots_needed,
)

EDGES = [0, 1, 127, 128, 129, 16_383, 16_384, 2_097_151, 2_097_152, 268_435_455, 268_435_456, (1 << 32) - 1]
ids = st.one_of(st.sampled_from(EDGES), st.integers(0, (1 << 32) - 1), st.integers(0, 300))
notes = st.lists(st.lists(st.lists(st.integers(0, 40), max_size=9), min_size=1, max_size=5), max_size=8)
"""Notes as entries of term ids: the title's, then each chunk's."""


def leb128(value: int) -> bytes:
    """The encoding as the books have it."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def layout_of(entries: list[list[list[int]]]) -> tuple[Layout, np.ndarray]:
    layout = Layout(
        np.arange(1, len(entries) + 1, dtype=np.int64),
        np.array([len(note) - 1 for note in entries], dtype=np.int64),
        np.array([len(entry) for note in entries for entry in note], dtype=np.uint16),
        np.arange(sum(len(note) - 1 for note in entries), dtype=np.uint64),
    )
    return layout, np.array([t for note in entries for entry in note for t in entry], dtype=np.uint32)


def slots_of(entries: list[list[list[int]]]) -> list[int]:
    """The slot of each entry, counted by hand: two empty, then of each note its title, two empty, its chunks, two."""
    out, at = [], 2
    for note in entries:
        out.append(at)
        out += range(at + 3, at + 3 + len(note) - 1)
        at += 3 + len(note) - 1 + 2
    return out


@given(st.lists(st.lists(ids, max_size=20), max_size=8))
def test_ids_come_back_and_are_cut_where_they_were(groups: list[list[int]]) -> None:
    flat = np.array([i for g in groups for i in g], dtype=np.uint32)
    blobs = encode_ids(flat, np.array([len(g) for g in groups], dtype=np.int64))
    assert blobs == [b"".join(map(leb128, g)) for g in groups]
    assert [decode_ids(b).tolist() for b in blobs] == groups
    assert decode_ids(b"".join(blobs)).tolist() == flat.tolist()


@given(notes)
def test_slots_leave_room_around_each_note_and_after_each_title(entries: list[list[list[int]]]) -> None:
    layout, _ = layout_of(entries)
    slots = layout.entry_slots().tolist()
    assert slots == slots_of(entries)
    assert layout.slots == (slots[-1] + 1 + GAP + (GAP if len(entries[-1]) == 1 else 0) if entries else GAP)
    assert layout.slots == slots_needed(sum(len(n) - 1 for n in entries), len(entries))
    owner = dict(zip(slots, [i for i, note in enumerate(entries) for _ in note], strict=True))
    titles = set(layout.starts.tolist())
    for slot, note in owner.items():
        for step in (-2, -1, 1, 2):
            assert slot + step >= 0
            assert slot + step not in owner or (
                owner[slot + step] == note and slot not in titles and slot + step not in titles
            )


def read_back(rows: list[tuple[int, bytes]], term: int) -> dict[int, int] | None:
    before = [data for first, data in rows if first <= term]
    found = find_term(before[-1], term) if before else None
    return None if found is None else dict(zip(found[0].tolist(), found[1].tolist(), strict=True))


@given(notes)
def test_postings_come_back(entries: list[list[list[int]]]) -> None:
    layout, flat = layout_of(entries)
    rows = list(pack_segment(layout, flat))
    assert [first for first, _ in rows] == sorted({first for first, _ in rows})
    slots = slots_of(entries)
    by_term: dict[int, Counter[int]] = {}
    for slot, entry in zip(slots, [e for note in entries for e in note], strict=True):
        for term in entry:
            by_term.setdefault(term, Counter())[slot] += 1
    for term in range(42):
        expected = by_term.get(term)
        assert read_back(rows, term) == (None if expected is None else dict(expected))
    found = find_term(rows[0][1], rows[0][0]) if rows else None
    if found is not None:
        assert found[0].tolist() == sorted(found[0].tolist())
        assert (found[0].dtype, found[1].dtype) == (np.int64, np.int64)


def test_rows_are_about_a_page_and_a_long_list_stands_alone() -> None:
    rng = np.random.default_rng(1)
    entries = [[[]] + [[1, *rng.integers(2, 5_000, 10).tolist()] for _ in range(50)] for _ in range(60)]
    layout, flat = layout_of(entries)
    rows = list(pack_segment(layout, flat))
    assert rows[0][0] == 1
    long = [data for _, data in rows if len(data) > ROW_BYTES]
    assert len(long) == 1
    assert int(np.frombuffer(long[0], np.uint32, count=1)[0]) == 1
    assert read_back(rows, 1) == dict.fromkeys([s for s in layout.entry_slots().tolist() if s not in layout.starts], 1)
    assert sum(len(data) for _, data in rows[1:-1]) / len(rows[1:-1]) > ROW_BYTES / 2


def test_counts_stop_at_a_byte_and_slots_at_the_last() -> None:
    chunks = SEGMENT_SLOTS - GAP - (1 + 2 * GAP)
    entries = [[[], *([[]] * (chunks - 1)), [7] * 300]]
    layout, flat = layout_of(entries)
    assert layout.slots == SEGMENT_SLOTS
    rows = list(pack_segment(layout, flat))
    assert read_back(rows, 7) == {SEGMENT_SLOTS - GAP - 1: COUNT_MAX}
    with pytest.raises(AssertionError):
        list(pack_segment(*layout_of([[*entries[0], []]])))


@given(notes)
def test_an_overlay_finds_what_a_segment_finds(entries: list[list[list[int]]]) -> None:
    layout, flat = layout_of(entries)
    overlay = Overlay(layout, flat)
    rows = list(pack_segment(layout, flat))
    for term in range(42):
        slots, counts = overlay.find(term)
        assert (read_back(rows, term) or {}) == dict(zip(slots.tolist(), counts.tolist(), strict=True))


@given(notes, notes, st.sets(st.integers(1, 8)))
def test_a_corpus_is_the_same_from_segments_or_overlay(
    first: list[list[list[int]]], second: list[list[list[int]]], gone: set[int]
) -> None:
    """A segment, an overlay whose notes are newer than some of its, and notes that are gone."""
    held, held_ids = layout_of(first)
    rows = list(pack_segment(held, held_ids))

    def fetch(segment: int, term: int) -> Postings | None:
        before = [data for head, data in rows if head <= term]
        return find_term(before[-1], term) if before else None

    fresh, fresh_ids = layout_of(second)
    dead = [(0, n) for n in {*gone, *fresh.notes.tolist()}]
    corpus = Corpus([Segment(1, held)], Overlay(fresh, fresh_ids) if second else EMPTY, dead, fetch)
    live = {i + 1: note for i, note in enumerate(first) if i + 1 not in gone} | {i + 1: n for i, n in enumerate(second)}
    assert corpus.note_count == len(live)
    assert corpus.chunk_count == sum(len(n) - 1 for n in live.values())
    assert sorted(corpus.ids[corpus.ordinals(np.arange(10))].tolist()) == sorted(live)
    for term in range(42):
        slots, counts = corpus.postings(term)
        found = Counter[int]()
        for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
            found[int(corpus.ids[corpus.note[slot]])] += count
        assert found == Counter({i: n for i, note in live.items() if (n := sum(e.count(term) for e in note))})
        both = union([(slots, counts), (slots, counts)])
        assert both[1].tolist() == [2 * c for c in counts.tolist()]
