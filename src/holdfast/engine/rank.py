"""Signals of one question -> the best passages or notes. Pure arithmetic on arrays; same input, same order.

Two looks. The first adds up the signals of every candidate, each divided by its largest value for this question, with
a few round weights. The second (turns.py, forest.py) looks again at the best turns of conversations and deals out the
places that the first look gave to turns anew among them: a passage of a document neither gains nor loses by it. For
notes, the first ones found are asked what else they speak of (index.sqlite.feedback). docs/decisions/0011 and 0012 say
what each step buys and what it was fitted on; ties go by path, then place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.engine import forest, turns
from holdfast.engine.question import Question
from holdfast.index.asking import Signals
from holdfast.text.tokens import stop_terms

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]
By = Literal["passage", "note"]
Mode = Literal["hybrid", "keyword", "vector", "bm25"]

POOL: Mapping[By, int] = {"passage": 100, "note": 300}
"""So many of the best turns are looked at again."""

NOTE_OWN, NOTE_PRESENT = np.float32(0.5), np.float32(0.7)
"""A conversation is as good as the log-sum-exp of its turns' scores, half its own words, and who speaks in it."""

FEEDBACK_FROM = 3
FEEDBACK_POOL = 50


@dataclass(frozen=True, slots=True)
class Recipe:
    """The weights of one mode: of passages, of turns among each other, of notes; of `feedback` and `echo` for notes.

    `looks_again`: the best turns are judged by a forest.
    """

    passages: Mapping[str, float]
    turns: Mapping[str, float]
    notes: Mapping[str, float]
    feedback: float = 0.0
    echo: float = 0.0
    looks_again: bool = False


RECIPES: Mapping[Mode, Recipe] = {
    "hybrid": Recipe(
        {"near": 1.0, "own": 0.5, "note": 1.0, "dense": 1.5},
        {"near": 1.0, "own": 0.2, "note": 0.3, "dense": 1.0, "speaker": 0.4, "present": 0.7},
        {"note": 1.0, "dense": 1.0},
        feedback=0.75,
        echo=1.0,
        looks_again=True,
    ),
    "keyword": Recipe(
        {"near": 1.0, "own": 0.5, "note": 1.0},
        {"near": 1.0, "own": 0.2, "note": 0.3, "speaker": 0.4, "present": 0.7},
        {"note": 1.0},
        feedback=0.75,
        looks_again=True,
    ),
    "vector": Recipe({"dense": 1.0}, {}, {"dense": 1.0}),
    "bm25": Recipe({"own": 1.0}, {}, {"note": 1.0}),
}


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage: the note's id, the chunk, the score, what each signal added to it, whether it has any of the words,
    its cosine (None without a vector), and whether that alone would have made it a candidate."""

    note: int
    ord: int
    score: float
    why: dict[str, float] = field(default_factory=dict)
    has_words: bool = True
    similarity: float | None = None
    is_near: bool = False


Keys = Callable[[list[int]], dict[int, bytes]]
"""Sort keys of notes by id, asked for ties only."""


@cache
def _forest(name: str) -> forest.Forest:
    return forest.load(name)


def rank(
    s: Signals,
    question: Question,
    k: int,
    by: By,
    keys: Keys,
    mode: Mode = "hybrid",
    *,
    explain: bool = False,
    least: float | None = None,
) -> list[Ranked]:
    """The best `k` passages, or the best passages of the best `k` notes; `explain` names every signal of each.

    With `least`, of those alone whose cosine is known and at least that.
    """
    if not len(s.notes):
        return []
    if mode in ("hybrid", "vector") and question.asked is None:
        mode = "keyword"
    return _Ranking(s, question, RECIPES[mode], keys, explain, least).run(k, by)


class _Ranking:
    def __init__(
        self, s: Signals, question: Question, recipe: Recipe, keys: Keys, explain: bool, least: float | None = None
    ) -> None:
        self.explain, self.least = explain, least
        self.out = np.zeros(len(s.owner), bool) if least is None else ~(s.is_known & (s.dense >= np.float32(least)))
        self.columns: dict[int, dict[str, float]] = {}
        self.s, self.question, self.recipe, self.keys = s, question, recipe, keys
        near, note = _normal(s.near), _normal(s.note)
        # What has no vector yet is taken to mean as much as it says: it must not lose for being new.
        dense = np.where(s.is_known, _normal(s.dense), near if recipe.passages.get("near") else np.float32(0))
        self.per_note = {"note": note, "dense": _normal(s.note_dense)}
        self.parts: dict[str, Floats] = {
            "near": near, "own": _normal(s.own), "note": note[s.owner], "dense": dense, "speaker": s.speaks,
            "present": s.present[s.owner],
        }  # fmt: skip
        total = sum(recipe.passages.values())
        self.weighed = {name: np.float32(w / total) * self.parts[name] for name, w in recipe.passages.items()}
        self.first = np.asarray(sum(self.weighed.values()), dtype=np.float32)
        # Turns among each other; what a passage of a document is worth beside a turn, `first` alone says.
        self.talk = np.zeros(len(s.owner), dtype=np.float32)
        for name, weight in recipe.turns.items():
            self.talk += np.float32(weight) * self.parts[name]
        self.talk[~s.is_turn] = 0

    def run(self, k: int, by: By) -> list[Ranked]:
        pool = self._pool(POOL[by])
        judged = self._judge(pool)
        if by == "note":
            return self._by_note(pool, judged, k)
        final = self.first.copy()
        if judged is not None:
            final[pool[np.argsort(-judged, kind="stable")]] = np.sort(self.first[pool])[::-1]
        return self._by_passage(final, k)

    def _pool(self, size: int) -> Ints:
        """The best turns, the best first."""
        if not self.recipe.looks_again:
            return np.zeros(0, np.int64)
        at = np.flatnonzero(self.s.is_turn)
        # A turn that holds a key is looked at whatever else it says: it is most likely what was asked for.
        at = at[(self.talk[at] >= _kth(self.talk[at], size)) | self.s.keyed[at]]
        return self._by_path(at, self.s.owner[at], -self.s.keyed[at].astype(np.float32), -self.talk[at])[:size]

    def _judge(self, pool: Ints) -> Floats | None:
        if len(pool) < 2:
            return None
        columns = turns.signals_of(self.s, self.parts, self.talk, pool, self.question)
        judged = _forest(_forest_for(columns)).judge(columns, self.talk[pool])
        # What the trees learned of conversations must not bury a key. Test: unit/test_rank.py::test_a_key_comes_first.
        judged += self.s.keyed[pool] * np.float32(judged.max() - judged.min() + 1)
        if self.explain:
            columns["second_look"] = judged
            for i, at in enumerate(pool.tolist()):
                self.columns[at] = {name: float(values[i]) for name, values in columns.items()}
        return judged

    def _share(self, name: str) -> np.float32:
        return np.float32(self.recipe.passages.get(name, 0.0) / sum(self.recipe.passages.values()))

    def _by_passage(self, final: Floats, k: int) -> list[Ranked]:
        s = self.s
        final[self.out] = -np.inf
        floor = _kth(final, k)
        at = np.flatnonzero((final >= floor) & ~self.out)
        rows = [(float(final[i]), int(s.owner[i]), int(s.ord[i]), int(i)) for i in at]
        if self.least is not None:
            # What is that near is a candidate, so nothing else can be meant.
            return [self._ranked(row) for row in self._ordered(rows)[:k]]
        # Passages without a word of the question near them can still be among the best, by their note alone.
        base = self._share("note") * self.per_note["note"]
        touched = np.bincount(s.owner, minlength=len(s.notes))
        for note in np.flatnonzero((base >= floor) & (touched < s.sizes) & (base > 0)):
            near = set(s.ord[s.owner == note].tolist())
            rows += [
                (float(base[note]), int(note), chunk, -1)
                for chunk in range(int(s.sizes[note]))
                if chunk not in near and s.in_scope(int(note), chunk)
            ]
        return [self._ranked(row) for row in self._ordered(rows)[:k]]

    def _by_note(self, pool: Ints, judged: Floats | None, k: int) -> list[Ranked]:
        s = self.s
        total = np.float32(sum(self.recipe.notes.values()))
        parts = {name: np.float32(w) / total * self.per_note[name] for name, w in self.recipe.notes.items()}
        score = np.asarray(sum(parts.values()), dtype=np.float32)
        if self.recipe.feedback:
            parts |= self._feedback(score)
            score += parts["feedback"] + parts["echo"]
        if judged is not None:
            score = self._deal_notes(score, pool, judged)
        best = self._best_passages(pool, judged)
        if self.least is not None:
            has = np.zeros(len(score), dtype=bool)
            has[s.owner[~self.out]] = True
            score[~has] = -np.inf
        rows = []
        for note in np.flatnonzero((score >= _kth(score, k)) & np.isfinite(score)).tolist():
            i = int(best[note])
            chunk = int(s.ord[i]) if i >= 0 else self._first_in_scope(note)
            rows.append((float(score[note]), note, chunk, i))
        return [self._ranked(row, parts) for row in self._ordered(rows)[:k]]

    def _feedback(self, score: Floats) -> dict[str, Floats]:
        """What the best notes that are no conversations say of the others of that kind, in words and in meaning."""
        out = {name: np.zeros(len(score), dtype=np.float32) for name in ("feedback", "echo")}
        at = np.flatnonzero(~self.s.is_talk)
        at = at[score[at] >= _kth(score[at], FEEDBACK_POOL)]
        at = self._by_path(at, at, -score[at])[:FEEDBACK_POOL]
        best = at[:FEEDBACK_FROM]
        if len(at) > FEEDBACK_FROM and float(score[best].min()) > 0:
            total = sum(self.recipe.notes.values())
            said = self.s.feedback(best, score[best] / score[best].sum(), at, stop_terms())
            out["feedback"][at] = np.float32(self.recipe.feedback / total) * _normal(said)
            if self.recipe.echo and self.question.asked is not None:
                out["echo"][at] = np.float32(self.recipe.echo / total) * _normal(self.s.echo(best, at))
        return out

    def _deal_notes(self, score: Floats, pool: Ints, judged: Floats) -> Floats:
        """The scores of conversations, dealt out anew by their turns."""
        owner = self.s.owner[pool]
        value = talk_value(owner, judged, self.per_note["note"], self.s.present)
        talks = np.flatnonzero(self.s.is_talk)
        places = np.sort(score[talks])[::-1]
        order = self._by_path(talks, talks, -value[talks], -score[talks])
        out = score.copy()
        out[order] = places
        return out

    def _best_passages(self, pool: Ints, judged: Floats | None) -> Ints:
        """Per note the candidate that speaks for it, -1 if it has none."""
        value = self.first.copy()
        if judged is not None:
            value[pool] = judged - judged.min() + self.first.max() + 1
        value[self.out] = -np.inf
        order = np.lexsort((self.s.ord, -value, self.s.owner))
        owner = self.s.owner[order]
        firsts = order[np.concatenate(([True], owner[1:] != owner[:-1]))] if len(order) else order
        best = np.full(len(self.s.notes), -1, dtype=np.int64)
        best[self.s.owner[firsts]] = firsts
        return best

    def _first_in_scope(self, note: int) -> int:
        return next((c for c in range(int(self.s.sizes[note])) if self.s.in_scope(note, c)), 0)

    def _by_path(self, at: Ints, owner: Ints, *columns: Floats) -> Ints:
        """`at` in rising order of the columns, the first one first; ties by the path of `owner`, then as they come.

        The order in which an index holds its notes is another one after a rebuild: it must decide nothing.
        """
        order = np.lexsort(columns[::-1])
        is_tied = np.zeros(len(at), dtype=bool)
        if len(at) > 1:
            same = np.all([c[order[1:]] == c[order[:-1]] for c in columns], axis=0)
            is_tied[1:] |= same
            is_tied[:-1] |= same
        tied = np.unique(owner[order[is_tied]])
        names = self.keys(self.s.notes[tied].tolist()) if len(tied) else {}
        place = np.zeros(len(self.s.notes), dtype=np.int64)
        place[sorted(tied.tolist(), key=lambda o: names.get(int(self.s.notes[o]), b""))] = np.arange(len(tied))
        by: list[NDArray[Any]] = [place[owner], *columns[::-1]]
        return at[np.lexsort(by)]

    def _ordered(self, rows: list[tuple[float, int, int, int]]) -> list[tuple[float, int, int, int]]:
        ids = self.s.notes
        names = self.keys(sorted({int(ids[row[1]]) for row in rows}))
        return sorted(rows, key=lambda r: (-r[0], names.get(int(ids[r[1]]), b""), r[2]))

    def _ranked(self, row: tuple[float, int, int, int], of_note: dict[str, Floats] | None = None) -> Ranked:
        score, note, chunk, i = row
        if of_note is not None:
            why = {name: float(values[note]) for name, values in of_note.items()}
        elif i >= 0:
            why = {name: float(values[i]) for name, values in self.weighed.items()}
        else:
            why = {"note": score}
        has_words = i < 0 or bool(self.s.near[i] > 0) or bool(self.s.note[note] > 0)
        similarity = None
        if self.question.asked is not None and i < 0:
            similarity = self.s.similarity(note, chunk)
        elif self.question.asked is not None and self.s.is_known[i]:
            similarity = float(self.s.dense[i])
        why = self.columns.get(i, {}) | why
        shown = {name: round(value, 4) for name, value in why.items() if value}
        is_near = similarity is not None and similarity >= max(self.question.search.floor, 1e-6)
        similarity = round(similarity, 4) if similarity is not None else None
        return Ranked(int(self.s.notes[note]), chunk, score, shown, has_words, similarity, is_near)


def _forest_for(columns: Mapping[str, Floats]) -> str:
    """The forest that was fitted with what is known: token vectors come from a local model alone."""
    return "turns" if "late" in columns else "turns-pooled" if "dense" in columns else "turns-keyword"


def talk_value(owner: Ints, judged: Floats, note: Floats, present: Floats) -> Floats:
    """What each note is worth as a conversation: `judged` are scores of turns, `owner` their places in the per-note
    arrays `note` (normalised BM25) and `present`. Notes without such a turn come after all others."""
    mass = np.zeros(len(note), dtype=np.float32)
    np.add.at(mass, owner, np.exp(judged - judged.max()))
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(mass) + NOTE_OWN * (note + NOTE_PRESENT * present), dtype=np.float32)


def _normal(values: Floats) -> Floats:
    top = values.max(initial=0)
    return values / top if top > 0 else np.zeros_like(values)


def _kth(scores: Floats, k: int) -> float:
    if len(scores) <= k:
        return float("-inf")
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])
