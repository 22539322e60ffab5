"""What a second look at a pool of candidates needs: read for these alone, in the snapshot that chose them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import apsw
import numpy as np

from holdfast.index.asking import ChunkRow, Detail
from holdfast.index.lexical.corpus import Corpus, Postings
from holdfast.index.lexical.pack import Ints
from holdfast.index.lexical.score import Floats, idf
from holdfast.index.sqlite import vectors
from holdfast.index.sqlite.db import check_kinds, rows
from holdfast.index.sqlite.meaning import Meaning

NEAR = 2


def detail(
    db: apsw.Connection,
    corpus: Corpus,
    meaning: Meaning,
    question: Floats | None,
    words: Sequence[Postings],
    slots: Ints,
) -> Detail:
    """See index.base.Detail; `words` are the postings of each word that is no name."""
    owner = corpus.note[slots].astype(np.int64)
    found = chunk_rows(db, corpus.ids[owner].tolist(), (slots - corpus.first[owner]).tolist())
    return Detail(
        rows=found,
        words=corpus.own[slots].astype(np.int64),
        words_before=corpus.own[slots - 1].astype(np.int64),
        in_pair=_held(words, lambda at: _within(at, slots, 1, 0), len(slots)),
        in_near=_held(words, lambda at: _within(at, slots, NEAR, NEAR), len(slots)),
        idf=np.array([idf(_df(corpus, at), corpus.chunk_count) for at, _ in words], dtype=np.float32),
        before=meaning.exact(question, slots - 1),
        tokens=_tokens(db, meaning, slots, question is not None),
    )  # fmt: skip


def _held(words: Sequence[Postings], has: Callable[[Ints], np.ndarray], count: int) -> np.ndarray:
    return np.array([has(at) for at, _ in words], dtype=bool).reshape(len(words), count)


def _within(at: Ints, wanted: Ints, before: int, after: int) -> np.ndarray:
    """Whether any of the rising `at` lies in [x - before, x + after] for each x of `wanted`."""
    lo = np.searchsorted(at, wanted - before, side="left")
    return lo < np.searchsorted(at, wanted + after, side="right")


def _df(corpus: Corpus, at: Ints) -> int:
    return int(corpus.is_chunk[at].sum())


def chunk_rows(db: apsw.Connection, notes: list[int], ords: list[int]) -> list[ChunkRow | None]:
    """The row of each (note, ord), None where there is none."""
    places = json.dumps([*zip(notes, ords, strict=True)])
    found = rows(
        db,
        "select j.key, c.start, c.size, c.line, c.count, c.heading, c.digest, c.speaker, c.at_ns, c.input, c.traits "
        "from json_each(?) j cross join chunk c on c.note = j.value ->> 0 and c.ord = j.value ->> 1",
        (places,),
    )
    out: list[ChunkRow | None] = [None] * len(notes)
    for key, *row in check_kinds(found, "iiiiisbSIbi"):
        out[key] = ChunkRow(*row)
    return out


def _tokens(db: apsw.Connection, meaning: Meaning, slots: Ints, is_asked: bool) -> list[np.ndarray | None]:
    turns = slots[meaning.corpus.is_turn[slots]]
    if not (is_asked and len(turns)):
        return [None] * len(slots)
    found = vectors.tokens(db, {i for i in meaning.ids(turns) if i})
    return [
        np.frombuffer(found[i], np.int8).reshape(-1, vectors.TOKEN_DIMENSION) if i in found else None
        for i in meaning.ids(slots)
    ]
