"""A second look at the best turns of conversations: what a question wants beside what each turn holds. Pure.

Every signal is of the pool and the question; none needs a text. docs/decisions/0011 says what each buys; the trees that
weigh them were fitted by tools/fit.py. Only turns are looked at so: what was learned is how people talk.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.engine.asks import KINDS, TIME, match, named_date
from holdfast.engine.question import Question
from holdfast.index.base import Detail, Signals
from holdfast.text.tokens import STOP
from holdfast.text.traits import COUNT_MAX, COUNT_SHIFTS, Trait

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
Columns = dict[str, Floats]

MASS_OF = 100
"""A conversation's standing is what its turns score above the hundredth best."""

_FLAGS = {
    "is_question": Trait.ASKS, "has_question": Trait.HAS_QUESTION, "number": Trait.NUMBER, "place": Trait.PLACE,
    "quote": Trait.QUOTE, "duration": Trait.DURATION, "reason": Trait.REASON, "picture": Trait.PICTURE,
    "temporal": Trait.TIME, "answers": Trait.FOLLOWS_QUESTION, "next_is_question": Trait.NEXT_ASKS,
}  # fmt: skip


def signals_of(s: Signals, parts: Columns, first: Floats, pool: Ints, question: Question) -> Columns:
    """A column for each signal, a value for each of `pool` (places of candidates, the best first).

    `parts` are the normalised signals of all candidates and `first` what they add up to.
    """
    seen = s.detail(pool)
    out: Columns = {name: values[pool] for name, values in parts.items()}
    out |= _standing(s, parts, first, pool)
    out |= _coverage(seen, question)
    out |= _dates(seen, question)
    out |= _held(s, seen, pool)
    out |= _asked(question, len(pool))
    out["named"] = seen.named
    out["when"] = np.float32(bool(TIME.match(question.text))) * out["temporal"]
    out["s_rank"] = np.log1p(np.arange(len(pool), dtype=np.float32))
    if question.asked is not None:
        out |= _meaning(s, seen, pool)
        out |= _late(seen, s.owner[pool], question)
    return out


def _standing(s: Signals, parts: Columns, first: Floats, pool: Ints) -> Columns:
    """How a turn and its conversation stand among all candidates."""
    top = float(first.max())
    starts = np.flatnonzero(np.concatenate(([True], s.owner[1:] != s.owner[:-1])))
    group = np.cumsum(np.concatenate(([False], s.owner[1:] != s.owner[:-1])))
    best = np.maximum.reduceat(first, starts)
    place = np.empty(len(best), dtype=np.float32)
    place[np.argsort(-best, kind="stable")] = np.arange(len(best))
    above = np.maximum(first - first[pool[min(MASS_OF, len(pool)) - 1]], 0)
    of = group[pool]
    before, after = _beside(s, first, pool, -1), _beside(s, first, pool, 1)
    return {
        "s": first[pool] - top,
        "s_before": before - top,
        "s_after": after - top,
        "note_place": place[of],
        "note_gap": (best - best.max())[of],
        "below_note_best": first[pool] - best[of],
        "note_sum": np.add.reduceat(above, starts)[of],
        "note_count": np.add.reduceat((above > 0).astype(np.float32), starts)[of],
        "near_best": np.maximum.reduceat(parts["near"], starts)[of],
        "own_prev": _beside(s, parts["own"], pool, -1),
        "own_next": _beside(s, parts["own"], pool, 1),
        "near_prev": _beside(s, parts["near"], pool, -1),
        "near_next": _beside(s, parts["near"], pool, 1),
        "top_s": np.full(len(pool), top, dtype=np.float32),
    }


def _beside(s: Signals, values: Floats, pool: Ints, step: int) -> Floats:
    """The value of the chunk `step` away in the same note, 0 where that is no candidate."""
    at = np.clip(pool + step, 0, len(values) - 1)
    is_it = (s.owner[at] == s.owner[pool]) & (s.ord[at] == s.ord[pool] + step)
    return np.where(is_it, values[at], np.float32(0))


def _coverage(seen: Detail, question: Question) -> Columns:
    """How much of the question, by idf, a turn holds, with its neighbours, with its conversation."""
    unknown = max(0, question.content - len(seen.idf))
    total = float(seen.idf.sum()) + unknown * math.log1p(2 * max(1, question.chunks)) or 1.0
    out = {}
    for name, has in (("line", seen.in_line), ("pair", seen.in_pair), ("near", seen.in_near), ("note", seen.in_note)):
        weighed = seen.idf[:, None] * has
        out[f"cover_{name}"] = np.asarray(weighed.sum(0) / total, dtype=np.float32)
        out[f"rarest_{name}"] = weighed.max(0, initial=0).astype(np.float32)
        out[f"terms_{name}"] = has.sum(0).astype(np.float32)
    return out


def _dates(seen: Detail, question: Question) -> Columns:
    named = named_date(question.text)
    known: dict[int | None, tuple[float, float]] = {}
    found = []
    for row in seen.rows:
        at_ns = row.at_ns if row is not None else None
        if at_ns not in known:
            known[at_ns] = match(named, at_ns)
        found.append(known[at_ns])
    both = np.array(found, dtype=np.float32).reshape(-1, 2)
    return {
        "on_date": both[:, 0],
        "after_date": both[:, 1],
        "asks_date": np.full(len(both), named.fineness, dtype=np.float32),
    }


def _held(s: Signals, seen: Detail, pool: Ints) -> Columns:
    """What stands in the turn itself, and where it stands."""
    bits = np.array([row.traits if row is not None else 0 for row in seen.rows], dtype=np.int64)
    out: Columns = {name: ((bits & flag) > 0).astype(np.float32) for name, flag in _FLAGS.items()}
    for name, shift in COUNT_SHIFTS.items():
        out[name] = (bits >> shift & COUNT_MAX).astype(np.float32)
    sizes = s.sizes[s.owner[pool]].astype(np.float32)
    position = s.ord[pool].astype(np.float32)
    out |= {
        "position": position,
        "note_lines": sizes,
        "part": np.asarray(position / np.maximum(sizes, np.float32(1)), dtype=np.float32),
    }
    for name, words in (
        ("length", seen.words),
        ("length_before", seen.words_before),
        ("length_after", seen.words_after),
    ):
        out[name] = np.asarray(np.log1p(words.astype(np.float32)) / np.float32(4), dtype=np.float32)
    return out


def _asked(question: Question, count: int) -> Columns:
    values = {f"asks_{name}": float(bool(p.search(question.text))) for name, p in KINDS.items()}
    values |= {"asks_terms": float(question.content), "asks_names": float(len(question.search.names))}
    return {name: np.full(count, value, dtype=np.float32) for name, value in values.items()}


def _meaning(s: Signals, seen: Detail, pool: Ints) -> Columns:
    best = np.float32(max(s.dense.max(), seen.dense.max()) + 1e-6)
    return {
        "cosine": seen.dense,
        "dense_prev": seen.before / best,
        "dense_next": seen.after / best,
        "dense_best": s.note_dense[s.owner[pool]] / best,
        "dense_gap": seen.dense - best,
    }


def _late(seen: Detail, owner: Ints, question: Question) -> Columns:
    """MaxSim (Khattab and Zaharia, SIGIR 2020): each token of the question and the token of the turn nearest to it."""
    asked = question.asked
    even = np.zeros(len(owner), dtype=np.float32)
    content, least = even.copy(), even.copy()
    has = [i for i, t in enumerate(seen.tokens) if t is not None and len(t)]
    if asked is not None and asked.tokens is not None and len(asked.tokens) and has:
        held = [t for t in (seen.tokens[i] for i in has) if t is not None]
        starts = np.cumsum([0] + [len(t) for t in held[:-1]])
        codes = np.concatenate(held).astype(np.float32)
        best = np.maximum.reduceat(asked.tokens @ codes.T, starts, axis=1)
        keep = np.array([_is_content(w, question.speakers) for w in asked.words], dtype=bool)
        if not keep.any():
            keep[:] = True
        even[has], content[has], least[has] = best.mean(0), best[keep].mean(0), best[keep].min(0)
    note = _by_note(even, owner)
    return {
        "late": even, "late_content": content, "late_least": least, "late_note": note,
        "late_gap": even - even.max(), "late_content_gap": content - content.max(), "late_note_gap": note - note.max(),
    }  # fmt: skip


def _is_content(piece: str, speakers: Sequence[str]) -> bool:
    word = piece.lower()
    return word.isalnum() and word not in STOP and word not in speakers


def _by_note(values: Floats, owner: Ints) -> Floats:
    _, group = np.unique(owner, return_inverse=True)
    best = np.full(int(group.max(initial=0)) + 1, -np.inf, dtype=np.float32)
    np.maximum.at(best, group, values)
    return best[group]
