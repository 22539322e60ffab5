"""Conditions as SQL: which notes, and which chunks of them, are in scope. User text is always bound, never spliced."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import apsw
import numpy as np
from numpy.typing import NDArray

from holdfast.index.asking import SPEAKER, Condition
from holdfast.index.lexical.corpus import Corpus
from holdfast.index.lexical.pack import Ints
from holdfast.index.sqlite.db import rows
from holdfast.model import fold, key_path, show_path, sort_key


@dataclass(frozen=True, slots=True)
class Match:
    """What one condition admits: whole `notes`, and (note, ord) `chunks` of others.

    `apart` are chunks of `notes` that do not count because they state a time of their own.
    """

    notes: set[int]
    chunks: list[tuple[int, int]]
    apart: list[tuple[int, int]]


Mask = NDArray[np.bool_]


def mask(db: apsw.Connection, corpus: Corpus, conditions: tuple[Condition, ...]) -> Mask | None:
    """Slots of chunks that meet all conditions, or None if there are no conditions."""
    if not conditions:
        return None
    out = corpus.is_chunk.copy()
    for condition in conditions:
        match = _match(db, condition)
        hit = np.zeros(corpus.slots, dtype=bool)
        hit[note_slots(corpus, np.array(sorted(match.notes), dtype=np.int64))] = True
        hit[_chunk_slots(corpus, match.apart)] = False
        hit[_chunk_slots(corpus, match.chunks)] = True
        out &= ~hit if condition.negated else hit
    return out


def note_slots(corpus: Corpus, notes: Ints) -> Ints:
    """The slots of all chunks of the given note ids."""
    return ordinal_slots(corpus, corpus.ordinals(notes))


def ordinal_slots(corpus: Corpus, ordinals: Ints) -> Ints:
    """The slots of all chunks of the notes with the given ordinals."""
    sizes = corpus.sizes[ordinals]
    starts = np.repeat(corpus.first[ordinals] - (np.cumsum(sizes) - sizes), sizes)
    slots: Ints = np.arange(len(starts)) + starts
    return slots


def _chunk_slots(corpus: Corpus, places: list[tuple[int, int]]) -> Ints:
    if not places:
        return np.zeros(0, np.int64)
    pairs = np.array(sorted(places), dtype=np.int64)
    notes = np.unique(pairs[:, 0])
    ordinals = corpus.ordinals(notes)
    first = dict(zip(corpus.ids[ordinals].tolist(), corpus.first[ordinals].tolist(), strict=True))
    return np.array([first[n] + o for n, o in pairs.tolist() if n in first], dtype=np.int64)


def _match(db: apsw.Connection, c: Condition) -> Match:
    if c.kind == "field":
        return Match(_by_field(db, c), [], [])
    if c.kind == "path":
        return Match(_by_path(db, c.values[0]), [], [])
    if c.kind == "who":
        return _by_who(db, c.values[0])
    if c.kind == "time":
        return _by_time(db, c)
    sql = "select id from note where coalesce(valid_from_ns, ?) <= ? and coalesce(valid_to_ns, ?) > ?"  # open ends hold
    return Match(_ids(db, sql, (c.lo_ns, c.lo_ns, c.lo_ns + 1, c.lo_ns)), [], [])


def _by_field(db: apsw.Connection, c: Condition) -> set[int]:
    out: set[int] = set()
    for value in c.values:
        out |= _ids(db, "select note from field where key = ? and value = ?", (c.field, value))
        if c.field == "tag":
            # A tag's children: `/` is followed by `0` in every encoding of text that SQLite compares by bytes.
            out |= _ids(
                db, "select note from field where key = 'tag' and value >= ? and value < ?", (value + "/", value + "0")
            )
    return out


def _by_path(db: apsw.Connection, value: str) -> set[int]:
    value = value.strip("/")
    if "*" in value or "?" in value:
        return {
            i
            for i, key in rows(db, "select id, key from file")
            if fnmatchcase(fold(show_path(key_path(key))), fold(value))
        }
    if not value:
        return _ids(db, "select id from note", ())
    key = sort_key(value)
    under = key.replace(b"\0\0", b"\0").lstrip(b"\0") + b"\0"
    out = _ids(db, "select id from file where key = ?", (key,))
    return out | _ids(db, "select id from file where key >= ? and key < ?", (under, under[:-1] + b"\1"))


def _by_who(db: apsw.Connection, who: str) -> Match:
    notes = _ids(db, "select note from field where key = 'author' and value = ?", (who,))
    found = rows(
        db,
        "select c.note, c.ord, c.speaker from field f join chunk c on c.note = f.note "
        "where f.key = ? and f.value = ? and c.speaker is not null",
        (SPEAKER, who),
    )
    return Match(notes, [(n, o) for n, o, speaker in found if fold(speaker) == who], [])


def _by_time(db: apsw.Connection, c: Condition) -> Match:
    span = (c.lo_ns, c.hi_ns)
    notes = _ids(
        db,
        "select n.id from note n join file f on f.id = n.id "
        "where coalesce(n.modified_ns, f.mtime_ns) >= ? and coalesce(n.modified_ns, f.mtime_ns) < ?",
        span,
    )
    chunks = rows(db, "select note, ord from chunk where at_ns >= ? and at_ns < ?", span)
    apart = rows(db, "select note, ord from chunk where at_ns is not null and not (at_ns >= ? and at_ns < ?)", span)
    return Match(notes, chunks, apart)


def _ids(db: apsw.Connection, sql: str, values: tuple[object, ...]) -> set[int]:
    return {i for (i,) in rows(db, sql, values)}
