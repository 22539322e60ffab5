"""Postings in rows: what a reader loads of them, and the one function that makes them (flush, merge and rebuild).

Only the holder of the vault's job lock flushes. Segments are immutable; a note is live in the overlay if its term row
is newer than `post_seq`, else in the newest segment that has it. Deleting every segment loses nothing but time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import apsw
import numpy as np

from holdfast.index.lexical.corpus import EMPTY, Corpus, Overlay, Postings, Segment
from holdfast.index.lexical.pack import SEGMENT_SLOTS, Layout, decode_ids, find_term, pack_segment, slots_needed
from holdfast.index.sqlite.db import first, immediate, rows

# A segment is built in memory from about this many terms (8 bytes each, sorted in place), which bounds a build.
SEGMENT_TERMS = 1_500_000
BATCH_BYTES = 256 * 1024
MERGE_RATIO = 4
DEAD_SHARE = 0.3

Doc = tuple[int, int, bytes, bytes]
"""A term row without its ids: (note id, seq, lens, keys)."""


def load(db: apsw.Connection, held: Corpus | None) -> Corpus:
    """The corpus of the snapshot that `db` is in; layouts of segments that `held` has are taken from it."""
    post_seq = meta(db, "post_seq")
    have = {s.id: s for s in held.segments} if held else {}
    segments, dead = [], []
    for id_, gone, *arrays in rows(db, "select id, dead, notes, sizes, lens, keys from segment order by id"):
        segments.append(have.get(id_) or Segment(id_, layout_of(*arrays)))
        dead += [(len(segments) - 1, n) for n in i64(gone).tolist()]
    overlay = _overlay(db, post_seq)
    newer = overlay.layout.notes.tolist() + [n for (n,) in rows(db, "select note from gone where seq > ?", (post_seq,))]
    dead += [(place, n) for n in newer for place in range(len(segments))]
    return Corpus(segments, overlay, dead, _fetch(db))


def layout_of(notes: bytes, sizes: bytes, lens: bytes, keys: bytes) -> Layout:
    """A segment's layout; raises ValueError for numbers that no segment has, before memory is made for them."""
    layout = Layout(i64(notes), i64(sizes), np.frombuffer(lens, np.uint16), np.frombuffer(keys, np.uint64))
    is_sound = len(layout.notes) == len(layout.sizes)
    is_sound = is_sound and not ((layout.sizes < 0) | (layout.sizes > SEGMENT_SLOTS)).any()
    if not (is_sound and layout.slots <= SEGMENT_SLOTS and _fit_together(layout)):
        raise ValueError("a segment does not fit together")
    return layout


def _fit_together(layout: Layout) -> bool:
    chunks = int(layout.sizes.sum())
    return len(layout.lens) == chunks + len(layout.sizes) and len(layout.keys) == chunks


def _fetch(db: apsw.Connection) -> Callable[[int, int], Postings | None]:
    def fetch(segment: int, term: int) -> Postings | None:
        row = first(db, "select id, data from post where id <= ? order by id desc limit 1", (segment << 32 | term,))
        return find_term(row[1], term) if row is not None and row[0] >> 32 == segment else None

    return fetch


def _overlay(db: apsw.Connection, post_seq: int) -> Overlay:
    found = rows(db, "select note, lens, ids, keys from doc where seq > ? order by note", (post_seq,))
    if not found:
        return EMPTY
    lens = [np.frombuffer(r[1], np.uint16) for r in found]
    if not all(map(len, lens)):
        raise ValueError("a note without even a title")
    layout = Layout(
        np.array([r[0] for r in found], dtype=np.int64),
        np.array([len(x) - 1 for x in lens], dtype=np.int64),
        np.concatenate(lens),
        np.frombuffer(b"".join(r[3] for r in found), np.uint64),
    )
    if not _fit_together(layout):
        raise ValueError("a note's rows do not fit together")
    return Overlay(layout, decode_ids(b"".join(r[2] for r in found)))


def pending_chunks(db: apsw.Connection) -> int:
    """About how many chunks (and titles) the overlay holds."""
    row = first(db, "select coalesce(sum(length(lens)), 0) / 2 from doc where seq > ?", (meta(db, "post_seq"),))
    return int(row[0])


def flush(db: apsw.Connection) -> None:
    """Make segments of all notes in the overlay, and merge where that keeps their number small."""
    while _build(db, _overlay_notes(db), []):
        pass
    while (merging := _to_merge(db)) is not None:
        _build(db, *merging)


def discard(db: apsw.Connection) -> None:
    """Forget all postings; answers stay the same and get slower until the next flush."""
    with immediate(db):
        db.execute("delete from segment")
        db.execute("delete from post")
        db.execute("update meta set value = 0 where key = 'post_seq'")
        db.execute("update meta set value = value + 1 where key = 'layout'")


def sweep(db: apsw.Connection) -> None:
    """Delete posting rows of segments that were never published (a build that died)."""
    ids = [i for (i,) in rows(db, "select id from segment order by id")]
    last = first(db, "select id from post order by id desc limit 1")
    for lo, hi in zip([-1, *ids], [*ids, (last[0] >> 32) + 1 if last else 0], strict=True):
        if first(db, "select 1 from post where id >= ? and id < ? limit 1", ((lo + 1) << 32, hi << 32)):
            _delete_posts(db, lo + 1, hi)


def _delete_posts(db: apsw.Connection, lo: int, hi: int) -> None:
    while True:
        with immediate(db):
            db.execute(
                "delete from post where id in (select id from post where id >= ? and id < ? limit 64)",
                (lo << 32, hi << 32),
            )
            if not db.changes():
                return


def _overlay_notes(db: apsw.Connection) -> list[Doc]:
    return rows(db, "select note, seq, lens, keys from doc where seq > ? order by seq, note", (meta(db, "post_seq"),))


def _to_merge(db: apsw.Connection) -> tuple[list[Doc], list[int]] | None:
    """The live notes and the ids of segments worth making into one; None if there are none."""
    post_seq = meta(db, "post_seq")
    live: list[tuple[int, int, int, np.ndarray]] = []
    for id_, gone, *arrays in rows(db, "select id, dead, notes, sizes, lens, keys from segment"):
        layout = layout_of(*arrays)
        alive = ~np.isin(layout.notes, i64(gone))
        words = np.add.reduceat(layout.lens, np.cumsum(layout.sizes + 1) - layout.sizes - 1, dtype=np.int64)
        slots = slots_needed(int(layout.sizes[alive].sum()), int(alive.sum()))
        if alive.sum() < len(alive) * (1 - DEAD_SHARE):
            return _live_docs(db, [layout.notes[alive]], post_seq), [id_]
        live.append((slots, int(words[alive].sum()), id_, layout.notes[alive]))
    live.sort(key=lambda x: (x[0], x[2]))
    for (slots_a, words_a, a, notes_a), (slots_b, words_b, b, notes_b) in pairwise(live):
        fits = slots_a + slots_b <= SEGMENT_SLOTS and words_a + words_b <= SEGMENT_TERMS
        if fits and slots_b <= MERGE_RATIO * slots_a:
            return _live_docs(db, [notes_a, notes_b], post_seq), [a, b]
    return None


def _live_docs(db: apsw.Connection, notes: Sequence[np.ndarray], newer: int) -> list[Doc]:
    ids = np.sort(np.concatenate(notes)).tolist()
    return rows(
        db,
        "select d.note, d.seq, d.lens, d.keys from json_each(?) j cross join doc d on d.note = j.value "
        "where d.seq <= ?",
        (str(ids), newer),
    )


def _fits(docs: Sequence[Doc]) -> int:
    """How many of the first `docs` fit into one segment."""
    slots, words = slots_needed(0, 0), 0
    for i, (_, _, lens, _) in enumerate(docs):
        slots += slots_needed(len(lens) // 2 - 1, 1) - slots_needed(0, 0)
        words += int(np.frombuffer(lens, np.uint16).sum())
        if i and (slots > SEGMENT_SLOTS or words > SEGMENT_TERMS):
            return i
    return len(docs)


def _build(db: apsw.Connection, docs: Sequence[Doc], replaced: Sequence[int]) -> bool:
    """Publish as many `docs` (in order of seq where they come from the overlay) as fit into one segment, in the place
    of the segments `replaced`. Returns False if there was nothing to do.

    One change that is larger than a segment becomes several, published together.
    """
    if not docs and not replaced:
        return False
    chosen = list(docs) if replaced else _whole_changes(docs, _fits(docs))
    post_seq = meta(db, "post_seq")
    up_to = post_seq if replaced else chosen[-1][1]
    chosen.sort()
    made: list[tuple[int, Layout]] = []
    while chosen:
        count = _fits(chosen)
        layout = _insert_segment(db, segment := _next_segment(db), chosen[:count])
        if layout is None:
            # A note changed since it was listed; it is in the overlay again, and the next flush takes it.
            return bool(not replaced and _retry(db, docs))
        made.append((segment, layout))
        chosen = chosen[count:]
    if _publish(db, made, replaced, post_seq, up_to):
        for old in replaced:
            _delete_posts(db, old, old + 1)
    return True


def _next_segment(db: apsw.Connection) -> int:
    with immediate(db):
        db.execute("update meta set value = value + 1 where key = 'next_segment'")
    return meta(db, "next_segment")


def _insert_segment(db: apsw.Connection, segment: int, docs: Sequence[Doc]) -> Layout | None:
    """Insert the postings of `docs` under a segment's id that nobody reads yet; None if a doc is not what it was."""
    layout = Layout(
        np.array([d[0] for d in docs], dtype=np.int64),
        np.array([len(d[2]) // 2 - 1 for d in docs], dtype=np.int64),
        np.frombuffer(b"".join(d[2] for d in docs), dtype=np.uint16),
        np.frombuffer(b"".join(d[3] for d in docs), dtype=np.uint64),
    )
    ids = _term_ids(db, docs)
    if ids is None:
        return None
    _insert_posts(db, segment, layout, ids)
    return layout


def _retry(db: apsw.Connection, docs: Sequence[Doc]) -> bool:
    return [d[:2] for d in _overlay_notes(db)] != [d[:2] for d in docs]


def _whole_changes(docs: Sequence[Doc], count: int) -> list[Doc]:
    """The first `count` docs, cut back so that no change number is split: post_seq can then stand at the last one.

    If that leaves nothing, the whole first change, which is larger.
    """
    if count == len(docs):
        return list(docs)
    following = docs[count][1]
    cut = [d for d in docs[:count] if d[1] != following]
    return cut or [d for d in docs if d[1] == following]


def _term_ids(db: apsw.Connection, docs: Sequence[Doc]) -> np.ndarray | None:
    """The ids of all docs in order, or None if one of them is not what it was."""
    parts = []
    for at in range(0, len(docs), 512):
        part = docs[at : at + 512]
        found = rows(
            db,
            "select d.seq, d.ids from json_each(?) j cross join doc d on d.note = j.value",
            (str([d[0] for d in part]),),
        )
        if [s for s, _ in found] != [d[1] for d in part]:
            return None
        parts.append(decode_ids(b"".join(ids for _, ids in found)))
    return np.concatenate(parts) if parts else np.zeros(0, np.uint32)


def _insert_posts(db: apsw.Connection, segment: int, layout: Layout, ids: np.ndarray) -> None:
    batch: list[tuple[int, bytes]] = []
    size = 0
    for first_term, data in pack_segment(layout, ids):
        batch.append((segment << 32 | first_term, data))
        size += len(data)
        if size >= BATCH_BYTES:
            with immediate(db):
                db.executemany("insert into post values (?,?)", batch)
            batch, size = [], 0
    with immediate(db):
        db.executemany("insert into post values (?,?)", batch)


def _publish(
    db: apsw.Connection, made: Sequence[tuple[int, Layout]], replaced: Sequence[int], post_seq: int, up_to: int
) -> bool:
    """Let readers see the segments `made` instead of `replaced`; False if somebody else published meanwhile."""
    db.execute("begin immediate")
    try:
        if meta(db, "post_seq") != post_seq:
            return False
        gone = [n for (n,) in rows(db, "select note from gone where seq > ? and seq <= ?", (post_seq, up_to))]
        moved = np.concatenate((*(layout.notes for _, layout in made), np.array(gone, dtype=np.int64)))
        for old in replaced:
            db.execute("delete from segment where id = ?", (old,))
        for id_, notes, dead in rows(db, "select id, notes, dead from segment"):
            mine, known = i64(notes), i64(dead)
            now = np.union1d(known, mine[np.isin(mine, moved)])
            if len(now) > len(known):
                db.execute("update segment set dead = ? where id = ?", (now.tobytes(), id_))
        for segment, layout in made:
            db.execute(
                "insert into segment values (?,?,?,?,?,?)",
                (segment, layout.notes.tobytes(), layout.sizes.tobytes(), layout.lens.tobytes(), b"",
                 layout.keys.tobytes()),
            )  # fmt: skip
        db.execute("delete from gone where seq <= ?", (up_to,))
        db.execute("update meta set value = ? where key = 'post_seq'", (up_to,))
        db.execute("update meta set value = value + 1 where key = 'layout'")
        db.execute("commit")
        return True
    finally:
        if db.in_transaction:
            db.execute("rollback")


def meta(db: apsw.Connection, key: str) -> int:
    """A counter of the index."""
    row = first(db, "select value from meta where key = ?", (key,))
    return int(row[0])


def i64(blob: bytes) -> np.ndarray:
    """The numbers of a blob."""
    return np.frombuffer(blob, dtype=np.int64)
