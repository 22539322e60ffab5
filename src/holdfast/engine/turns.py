"""A second look at the best turns of conversations: what a question wants beside what each turn holds. Pure.

Every signal is of the pool and the question; none needs a text. docs/decisions/0011 says what each group buys and what
was left out; the trees that weigh them were fitted by tools/fit.py. Only turns are looked at so: what was learned is
how people talk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.embed.base import Asked
from holdfast.engine.asks import TIME, match, named_date
from holdfast.engine.question import Question
from holdfast.index.asking import Detail, Signals
from holdfast.text.tokens import STOP
from holdfast.text.traits import COUNT_MAX, COUNT_SHIFTS, Trait

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Columns = dict[str, Floats]

MASS_OF = 100
"""A conversation's standing is what its turns score above the hundredth best."""

KEPT = ("near", "own", "note", "speaker", "present")
"""Signals of the first look that are looked at again."""

_FLAGS = {
    "is_question": Trait.ASKS,
    "has_question": Trait.HAS_QUESTION,
    "answers": Trait.FOLLOWS_QUESTION,
    "temporal": Trait.TIME,
}


def signals_of(s: Signals, parts: Columns, first: Floats, pool: Ints, question: Question) -> Columns:
    """A column for each signal, a value for each of `pool` (places of candidates, the best first).

    `parts` are the normalised signals of all candidates and `first` what those of turns add up to.
    """
    seen = s.detail(pool)
    out: Columns = {name: parts[name][pool] for name in KEPT}
    out |= _standing(s, parts["near"], first, pool)
    out |= _coverage(seen, question)
    out |= _dates(seen, question)
    out |= _held(seen)
    out["when"] = np.float32(bool(TIME.match(question.text))) * out["temporal"]
    if question.asked is not None:
        best = np.float32(max(s.dense.max(), seen.before.max(), 0) + 1e-6)
        out["dense"] = parts["dense"][pool]
        out["dense_prev"] = seen.before / best
        asked = question.asked.tokens
        if asked is not None and len(asked) and any(t is not None for t in seen.tokens):
            out |= _late(s, seen, pool, question.asked, question.speakers)
    return out


def _standing(s: Signals, near: Floats, first: Floats, pool: Ints) -> Columns:
    """How a turn and its conversation stand among all candidates."""
    top = np.float32(first.max())
    heads = np.concatenate(([True], s.owner[1:] != s.owner[:-1]))
    starts, of = np.flatnonzero(heads), (np.cumsum(heads) - 1)[pool]
    best = np.maximum.reduceat(first, starts)
    above = np.maximum(first - first[pool[min(MASS_OF, len(pool)) - 1]], 0)
    return {
        "s": first[pool] - top,
        "s_rank": np.log1p(np.arange(len(pool), dtype=np.float32)),
        "s_before": _beside(s, first, pool, -1) - top,
        "note_gap": (best - best.max())[of],
        "note_sum": np.add.reduceat(above, starts)[of],
        "near_best": np.maximum.reduceat(near, starts)[of],
        "near_prev": _beside(s, near, pool, -1),
        "near_next": _beside(s, near, pool, 1),
    }


def _beside(s: Signals, values: Floats, pool: Ints, step: int) -> Floats:
    """The value of the chunk `step` away in the same note, 0 where that is no candidate."""
    at = np.clip(pool + step, 0, len(values) - 1)
    is_it = (s.owner[at] == s.owner[pool]) & (s.ord[at] == s.ord[pool] + step)
    return np.where(is_it, values[at], np.float32(0))


def _coverage(seen: Detail, question: Question) -> Columns:
    """How much of the question, by idf, stands in a turn and the one before it, and within two turns of it."""
    unknown = max(0, question.content - len(seen.idf))
    total = float(seen.idf.sum()) + unknown * math.log1p(2 * max(1, question.chunks)) or 1.0
    out = {"terms_pair": seen.in_pair.sum(0).astype(np.float32)}
    for name, has in (("pair", seen.in_pair), ("near", seen.in_near)):
        weighed = seen.idf[:, None] * has
        out[f"cover_{name}"] = np.asarray(weighed.sum(0) / total, dtype=np.float32)
        out[f"rarest_{name}"] = weighed.max(0, initial=0).astype(np.float32)
    return out


def _dates(seen: Detail, question: Question) -> Columns:
    """Whether a turn was said on the date that the question names, or shortly after."""
    named = named_date(question.text)
    times = {row.at_ns for row in seen.rows if row is not None}
    known = {at_ns: match(named, at_ns) for at_ns in times}
    both = np.array([known[row.at_ns] if row is not None else (0.0, 0.0) for row in seen.rows], dtype=np.float32)
    return {"on_date": both.reshape(-1, 2)[:, 0], "after_date": both.reshape(-1, 2)[:, 1]}


def _held(seen: Detail) -> Columns:
    """What stands in the turn itself."""
    bits = np.array([row.traits if row is not None else 0 for row in seen.rows], dtype=np.int64)
    out: Columns = {name: ((bits & flag) > 0).astype(np.float32) for name, flag in _FLAGS.items()}
    for name, shift in COUNT_SHIFTS.items():
        out[name] = (bits >> shift & COUNT_MAX).astype(np.float32)
    for name, words in (("length", seen.words), ("length_before", seen.words_before)):
        out[name] = np.asarray(np.log1p(words.astype(np.float32)) / np.float32(4), dtype=np.float32)
    return out


def _late(s: Signals, seen: Detail, pool: Ints, asked: Asked, speakers: Sequence[str]) -> Columns:
    """MaxSim (Khattab and Zaharia, SIGIR 2020): each token of the question and the token of the turn nearest to it.

    A turn that has no token vectors yet is taken to be like the others on the average.
    """
    assert asked.tokens is not None
    has = [i for i, t in enumerate(seen.tokens) if t is not None and len(t)]
    held = [t for t in (seen.tokens[i] for i in has) if t is not None]
    starts = np.cumsum([0] + [len(t) for t in held[:-1]])
    best = np.maximum.reduceat(asked.tokens @ np.concatenate(held).astype(np.float32).T, starts, axis=1)
    keep = np.array([_is_content(w, speakers) for w in asked.words], dtype=bool)
    if not keep.any():
        keep[:] = True
    even, content, least = (
        _spread(values, has, len(pool)) for values in (best.mean(0), best[keep].mean(0), best[keep].min(0))
    )
    before = np.full(len(s.owner), even.min(initial=0), dtype=np.float32)
    before[pool] = even
    note = _by_note(even, s.owner[pool])
    return {
        "late": even, "late_content": content, "late_least": least, "late_prev": _beside(s, before, pool, -1),
        "late_gap": even - even.max(), "late_content_gap": content - content.max(), "late_note_gap": note - note.max(),
    }  # fmt: skip


def _spread(values: Floats, at: list[int], count: int) -> Floats:
    out = np.full(count, values.mean(), dtype=np.float32)
    out[at] = values
    return out


def _is_content(piece: str, speakers: Sequence[str]) -> bool:
    word = piece.lower()
    return word.isalnum() and word not in STOP and word not in speakers


def _by_note(values: Floats, owner: Ints) -> Floats:
    """The largest value of each note, for each of its turns."""
    _, group = np.unique(owner, return_inverse=True)
    best = np.full(int(group.max(initial=0)) + 1, -np.inf, dtype=np.float32)
    np.maximum.at(best, group, values)
    return best[group]
