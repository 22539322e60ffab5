"""How term ids and postings lie in bytes.

A note's *term row* holds the ids of its title's terms and then of each chunk's, in text order, as LEB128; `lens` holds
how many there are of each. A *segment* numbers the title and the chunks of its notes: two empty slots in front, then
for each note its title, two empty slots, its chunks, two empty slots. A shift by one or two slots therefore never
crosses a note, nor reaches a title, and needs no mask. Slots are u16, so a segment has at most 65,536.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]

SEGMENT_SLOTS = 65_536
GAP = 2
ROW_BYTES = 4_000
COUNT_MAX = 255
LEN_MAX = 65_535
KEY_BYTES = 8
SORTED_TERMS = 200_000


def encode_ids(ids: NDArray[np.uint32], lens: Ints) -> list[bytes]:
    """LEB128 of `ids`, cut into one bytes object for each of `lens` (numbers of ids, in order)."""
    widths = np.ones(len(ids), dtype=np.int64)
    for bits in (7, 14, 21, 28):
        widths += ids >= (1 << bits)
    ends = np.cumsum(widths)
    starts = ends - widths
    out = np.zeros(int(ends[-1]) if len(ids) else 0, dtype=np.uint8)
    for k in range(int(widths.max()) if len(ids) else 0):
        has = widths > k
        more = (widths[has] > k + 1).astype(np.uint8) << 7
        out[starts[has] + k] = ((ids[has] >> (7 * k)) & 127).astype(np.uint8) | more
    cuts = np.concatenate(([0], np.cumsum(lens)))
    at = np.concatenate((starts, [len(out)]))[cuts].tolist() if len(ids) else [0] * len(cuts)
    raw = out.tobytes()
    return [raw[a:b] for a, b in pairwise(at)]


def decode_ids(data: bytes) -> NDArray[np.uint32]:
    """The ids that `encode_ids` wrote."""
    raw = np.frombuffer(data, dtype=np.uint8)
    ends = np.flatnonzero(raw < 128)
    if not len(ends):
        return np.zeros(0, dtype=np.uint32)
    starts = np.concatenate(([0], ends[:-1] + 1))
    widths = ends - starts + 1
    values = np.zeros(len(ends), dtype=np.uint32)
    for k in range(int(widths.max())):
        has = widths > k
        values[has] |= (raw[starts[has] + k].astype(np.uint32) & 127) << (7 * k)
    return values


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the notes of one segment or overlay lie.

    `notes` ids; `sizes` chunks per note; `lens` terms of each entry, a note's title first, then its chunks (u16);
    `keys` of each chunk the first 8 bytes of its input's digest (the lowest bit says whether it is a turn).
    """

    notes: Ints
    sizes: Ints
    lens: NDArray[np.uint16]
    keys: NDArray[np.uint64]

    @property
    def starts(self) -> Ints:
        """The title's slot of each note; its first chunk is GAP + 1 after it."""
        steps = self.sizes + 1 + 2 * GAP
        return GAP + np.cumsum(steps) - steps

    @property
    def slots(self) -> int:
        return GAP + int(self.sizes.sum()) + len(self.sizes) * (1 + 2 * GAP)

    def entry_slots(self) -> Ints:
        """The slot of each entry of `lens`."""
        entries = self.sizes + 1
        note = np.repeat(np.arange(len(entries)), entries)
        place = np.arange(len(note)) - np.repeat(np.cumsum(entries) - entries, entries)
        return self.starts[note] + place + GAP * (place > 0)


def slots_needed(chunks: int, notes: int) -> int:
    """The slots that a segment of so many chunks and notes takes."""
    return GAP + chunks + notes * (1 + 2 * GAP)


def pack_segment(layout: Layout, ids: NDArray[np.uint32]) -> Iterator[tuple[int, bytes]]:
    """(first term id, data) of each posting row, in rising order, of the notes in `layout` with all their term `ids`.

    A row is `u32 n, u32 term[n], u16 start[n], u16 slot[P], u8 count[P]`, about ROW_BYTES, whole terms only; a longer
    list stands in a row of its own. Counts stop at COUNT_MAX.
    """
    assert layout.slots <= SEGMENT_SLOTS
    slots = np.repeat(layout.entry_slots().astype(np.uint16), layout.lens)
    for lo, hi in pairwise(term_ranges(ids)):
        mine = np.flatnonzero((ids >= lo) & (ids < hi))
        yield from _pack((ids[mine].astype(np.uint64) << np.uint64(16)) | slots[mine])


def term_ranges(ids: NDArray[np.uint32]) -> list[int]:
    """Bounds of ranges of term ids with about SORTED_TERMS occurrences each: sorting one takes little memory."""
    top = int(ids.max(initial=0)) + 1
    filled = np.cumsum(np.bincount(ids, minlength=top))
    cuts = np.searchsorted(filled, np.arange(SORTED_TERMS, len(ids), SORTED_TERMS)) + 1
    return sorted({0, *cuts.tolist(), top})


def _pack(pairs: NDArray[np.uint64]) -> Iterator[tuple[int, bytes]]:
    """The posting rows of the occurrences `pairs`, each term << 16 | slot."""
    pairs.sort()
    if not len(pairs):
        return
    firsts = np.flatnonzero(np.concatenate(([True], pairs[1:] != pairs[:-1])))
    counts = np.minimum(np.diff(np.append(firsts, len(pairs))), COUNT_MAX).astype(np.uint8)
    pairs = pairs[firsts]
    del firsts
    slots = (pairs & np.uint64(0xFFFF)).astype(np.uint16)
    terms = (pairs >> np.uint64(16)).astype(np.uint32)
    heads = np.flatnonzero(np.concatenate(([True], terms[1:] != terms[:-1])))
    heads = np.append(heads, len(terms))
    sizes = np.concatenate(([0], np.cumsum(6 + 3 * np.diff(heads))))
    at, last = 0, len(heads) - 1
    while at < last:
        end = max(at + 1, int(np.searchsorted(sizes, sizes[at] + ROW_BYTES - 4, side="right")) - 1)
        a, b = int(heads[at]), int(heads[end])
        names = terms[heads[at:end]]
        yield (
            int(names[0]),
            b"".join(
                (
                    np.uint32(end - at).tobytes(),
                    names.tobytes(),
                    (heads[at:end] - a).astype(np.uint16).tobytes(),
                    slots[a:b].tobytes(),
                    counts[a:b].tobytes(),
                )
            ),
        )
        at = end


def find_term(data: bytes, term: int) -> tuple[Ints, Ints] | None:
    """(slots, counts) of `term` in one posting row, or None if it is not there."""
    n = int(np.frombuffer(data, dtype=np.uint32, count=1)[0])
    names = np.frombuffer(data, dtype=np.uint32, count=n, offset=4)
    i = int(np.searchsorted(names, term))
    if i == n or int(names[i]) != term:
        return None
    starts = np.frombuffer(data, dtype=np.uint16, count=n, offset=4 + 4 * n)
    total = (len(data) - 4 - 6 * n) // 3
    a, b = int(starts[i]), int(starts[i + 1]) if i + 1 < n else total
    base = 4 + 6 * n
    slots = np.frombuffer(data, dtype=np.uint16, count=b - a, offset=base + 2 * a)
    counts = np.frombuffer(data, dtype=np.uint8, count=b - a, offset=base + 2 * total + a)
    return slots.astype(np.int64), counts.astype(np.int64)
