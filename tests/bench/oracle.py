"""What a question's ranking must be, straight from the definitions, by dictionaries and in double precision.

Nothing here is shared with the index but the analyzer, the chunks and the constants: no postings, no slots, no arrays.
The definitions are those of index/lexical/score.py (BM25 of a chunk, of a chunk with its neighbours, of a note with its
title twice), engine/rank.py (each divided by its largest, weighted, added; ties by path, then place) and, for notes,
index/sqlite/feedback.py (the words of the best notes asked of the best fifty). Documents only: there are no turns.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from holdfast.engine.rank import FEEDBACK_FROM, FEEDBACK_POOL, RECIPES
from holdfast.engine.record import note_terms, read_note
from holdfast.index.lexical import score
from holdfast.index.sqlite.feedback import TERMS
from holdfast.model import sort_key
from holdfast.text.query import parse_query
from holdfast.text.tokens import stop_terms

At = TypeVar("At")

Place = tuple[str, int]
"""(path, chunk of the note)."""

# What a chunk at this distance lends to one at 0, in twentieths of its own words.
LENDS = {0: 20, -1: 10, 1: 7, -2: 3, 2: 3}
TITLE_TIMES = 2


@dataclass
class _Note:
    path: str
    title: Counter[str]
    chunks: list[Counter[str]]
    lines: list[tuple[int, int]]
    words: int

    def count(self, term: str) -> int:
        return TITLE_TIMES * self.title[term] + sum(c[term] for c in self.chunks)


class Oracle:
    """All notes of a vault as counts of terms."""

    def __init__(self, root: Path, files: Iterable[Path], chunk_tokens: int = 250) -> None:
        self.notes: list[_Note] = []
        self.holders: dict[str, list[int]] = {}
        for path in files:
            name = str(path.relative_to(root))
            note = read_note(path.read_bytes(), name, chunk_tokens)
            title, *chunks = note_terms(note)
            words = TITLE_TIMES * len(title) + sum(map(len, chunks))
            lines = [(c.line, c.count) for c in note.chunks]
            for term in {t for part in (title, *chunks) for t in part}:
                self.holders.setdefault(term, []).append(len(self.notes))
            self.notes.append(_Note(name, Counter(title), [Counter(c) for c in chunks], lines, words))
        self.chunk_count = sum(len(n.chunks) for n in self.notes)
        self.mean_own = sum(c.total() for n in self.notes for c in n.chunks) / self.chunk_count
        self.mean_near = (
            sum(blend(n, i, Counter.total) for n in self.notes for i in range(len(n.chunks))) / self.chunk_count
        )
        self.mean_note = sum(n.words for n in self.notes) / len(self.notes)

    def rank(self, question: str, k: int, by: str) -> list[tuple[float, Place]]:
        """The best `k` passages or notes with their scores; a note stands with chunk 0."""
        near: dict[tuple[int, int], float] = {}
        own: dict[tuple[int, int], float] = {}
        whole: dict[int, float] = {}
        for term, weight in self._words(question):
            self._add(term, weight, near, own, whole)
        rows = self._by_note(whole) if by == "note" else self._by_passage(near, own, whole)
        rows.sort(key=lambda r: (-r[0], sort_key(r[1][0]), r[1][1]))
        return rows[:k]

    def _words(self, question: str) -> list[tuple[str, float]]:
        query = parse_query(question)
        known = [(t, float(n)) for t, n in zip(query.words, query.repeats, strict=True) if t in self.holders]
        limit = max(score.SKIP_POSTINGS, self.chunk_count // score.SKIP_SHARE)
        rare = [(t, n) for t, n in known if self._postings(t) <= limit]
        return rare or known

    def _postings(self, term: str) -> int:
        return sum(
            (term in self.notes[i].title) + sum(term in c for c in self.notes[i].chunks) for i in self.holders[term]
        )

    def _add(
        self,
        term: str,
        weight: float,
        near: dict[tuple[int, int], float],
        own: dict[tuple[int, int], float],
        whole: dict[int, float],
    ) -> None:
        alone: dict[tuple[int, int], tuple[float, float]] = {}
        beside: dict[tuple[int, int], tuple[float, float]] = {}
        notes: dict[int, tuple[float, float]] = {}
        for n in self.holders[term]:
            note = self.notes[n]
            notes[n] = note.count(term), note.words / self.mean_note
            for i, chunk in enumerate(note.chunks):
                if chunk[term]:
                    alone[n, i] = chunk[term], chunk.total() / self.mean_own
                if lent := blend(note, i, lambda c: c[term]):
                    beside[n, i] = lent, blend(note, i, Counter.total) / self.mean_near
        _gain(near, beside, weight, self.chunk_count, score.NEAR_K1, score.NEAR_B)
        _gain(own, alone, weight, self.chunk_count, score.SELF_K1, score.SELF_B)
        _gain(whole, notes, weight, len(self.notes), score.NOTE_K1, score.NOTE_B)

    def _by_passage(
        self, near: dict[tuple[int, int], float], own: dict[tuple[int, int], float], whole: dict[int, float]
    ) -> list[tuple[float, Place]]:
        weights = RECIPES["keyword"].passages
        total = sum(weights.values())
        parts = [_shares(signal, weights[name] / total) for name, signal in (("near", near), ("own", own))]
        return [
            (sum(part.get((n, i), 0.0) for part in parts) + base, (self.notes[n].path, i))
            for n, base in _shares(whole, weights["note"] / total).items()
            for i in range(len(self.notes[n].chunks))
        ]

    def _by_note(self, whole: dict[int, float]) -> list[tuple[float, Place]]:
        score = _shares(whole, 1.0)
        best = sorted(score, key=lambda n: (-score[n], sort_key(self.notes[n].path)))[:FEEDBACK_POOL]
        if len(best) > FEEDBACK_FROM:
            said = self._feedback(best, {n: score[n] for n in best[:FEEDBACK_FROM]})
            for n, value in _shares(said, RECIPES["keyword"].feedback).items():
                score[n] += value
        return [(value, (self.notes[n].path, 0)) for n, value in score.items()]

    def _feedback(self, pool: list[int], best: dict[int, float]) -> dict[int, float]:
        """RM3: what the words that stand out in `best`, weighted by their scores, say of each note of `pool`."""
        weight: dict[str, float] = {}
        for n in sorted(best):
            note = self.notes[n]
            terms = {t for part in (note.title, *note.chunks) for t in part}
            share = best[n] / sum(best.values()) / sum(map(note.count, terms))
            for t in terms - stop_terms():
                weight[t] = weight.get(t, 0.0) + share * note.count(t)
        # Rounded, for equal weights that were added up in another order are ties too.
        chosen = sorted(weight, key=lambda t: (-round(weight[t], 12), t))[:TERMS]
        total = sum(weight[t] for t in chosen)
        out = dict.fromkeys(pool, 0.0)
        for t in chosen:
            found = {
                n: (count, self.notes[n].words / self.mean_note) for n in pool if (count := self.notes[n].count(t))
            }
            gain: dict[int, float] = {}
            _gain(gain, found, weight[t] / total, len(self.notes), score.NOTE_K1, score.NOTE_B, len(self.holders[t]))
            for n, value in gain.items():
                out[n] += value
        return out


def _shares(values: Mapping[At, float], weight: float) -> dict[At, float]:
    """`values`, the largest of which becomes `weight`."""
    top = max(values.values(), default=0.0)
    return {at: weight * value / top for at, value in values.items()} if top > 0 else dict.fromkeys(values, 0.0)


def _gain(
    into: dict[At, float],
    found: Mapping[At, tuple[float, float]],
    weight: float,
    many: int,
    k1: float,
    b: float,
    df: int | None = None,
) -> None:
    """Okapi BM25 of one term: `found` maps what has it to (how often, its length as a share of the mean); `df` of
    `many` have it, as many as `found` unless given."""
    df = len(found) if df is None else df
    idf = math.log(1 + (many - df + 0.5) / (df + 0.5))
    for at, (tf, length) in found.items():
        into[at] = into.get(at, 0.0) + weight * idf * (k1 + 1) * tf / (tf + k1 * (1 - b + b * length))


def blend(note: _Note, at: int, count: Callable[[Counter[str]], int]) -> float:
    """What chunk `at` and its neighbours within the note have of something, the neighbours' at their share."""
    within = ((at + step, share) for step, share in LENDS.items() if 0 <= at + step < len(note.chunks))
    return sum(share * count(note.chunks[i]) for i, share in within) / LENDS[0]
