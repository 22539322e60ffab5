"""Signals of one question -> the best passages or notes. Pure arithmetic on arrays; same input, same order.

Each signal is divided by its largest value for this question, then they are added with fixed weights. The weights were
fitted on the development half of LoCoMo and on Cranfield (docs/decisions/0003 says how); ties go by path, then place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.index.base import Signals

Floats = NDArray[np.float32]

PASSAGE_WEIGHTS = {"near": 1.0, "own": 0.5, "note": 1.0}
NOTE_WEIGHTS = {"near": 0.1, "own": 0.3, "note": 1.0}
# What its passages add to a note: the best, half the second, a quarter of the third.
POOLING = np.array([1.0, 0.5, 0.25], dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One passage: the note's id, the chunk, the score and what each signal added to it."""

    note: int
    ord: int
    score: float
    why: dict[str, float]


Keys = Callable[[list[int]], dict[int, bytes]]
"""Sort keys of notes by id, asked for ties only."""


def rank(signals: Signals, k: int, by: Literal["passage", "note"], keys: Keys) -> list[Ranked]:
    """The best `k` passages, or the best passages of the best `k` notes."""
    if not len(signals.notes):
        return []
    weights = NOTE_WEIGHTS if by == "note" else PASSAGE_WEIGHTS
    raw = {"near": signals.near, "own": signals.own, "note": signals.note}
    parts = {name: np.float32(weights[name]) * _normal(values) for name, values in raw.items()}
    return (_by_note if by == "note" else _by_passage)(signals, parts, k, keys)


def _normal(values: Floats) -> Floats:
    top = values.max(initial=0)
    return values / top if top > 0 else values


def _by_passage(s: Signals, parts: dict[str, Floats], k: int, keys: Keys) -> list[Ranked]:
    base = parts["note"]
    fused = parts["near"] + parts["own"] + base[s.owner]
    floor = _kth(fused, k)
    chosen = np.flatnonzero(fused >= floor)
    rows = [(float(fused[i]), int(s.owner[i]), int(s.ord[i]), int(i)) for i in chosen]
    # Passages without a word of the question near them can still be among the best, by their note alone.
    touched = np.bincount(s.owner, minlength=len(s.notes))
    for note in np.flatnonzero((base >= floor) & (touched < s.sizes)):
        near = set(s.ord[s.owner == note].tolist())
        rows += [
            (float(base[note]), int(note), chunk, -1)
            for chunk in range(int(s.sizes[note]))
            if chunk not in near and s.in_scope(int(note), chunk)
        ]
    return [_ranked(s, parts, row) for row in _ordered(s, rows, keys)[:k]]


def _by_note(s: Signals, parts: dict[str, Floats], k: int, keys: Keys) -> list[Ranked]:
    own = parts["near"] + parts["own"]
    order = np.lexsort((s.ord, -own, s.owner))
    owner = s.owner[order]
    place = np.arange(len(owner)) - np.searchsorted(owner, owner)
    # What is said of the note itself counts once, however few passages it has.
    pooled = {name: np.zeros(len(s.notes), dtype=np.float32) for name in ("near", "own")}
    pooled["note"] = POOLING.sum() * parts["note"]
    score = pooled["note"].copy()
    for i, weight in enumerate(POOLING):
        at = order[place == i]
        score[s.owner[at]] += weight * own[at]
        for name in ("near", "own"):
            pooled[name][s.owner[at]] += weight * parts[name][at]
    best = np.full(len(s.notes), -1, dtype=np.int64)
    firsts = order[place == 0]
    best[s.owner[firsts]] = firsts
    chosen = np.flatnonzero(score >= _kth(score, k))
    rows = []
    for note in chosen.tolist():
        i = int(best[note])
        chunk = int(s.ord[i]) if i >= 0 else _first_in_scope(s, note)
        rows.append((float(score[note]), note, chunk, i))
    return [
        Ranked(int(s.notes[note]), chunk, total, _why({name: float(part[note]) for name, part in pooled.items()}))
        for total, note, chunk, _ in _ordered(s, rows, keys)[:k]
    ]


def _first_in_scope(s: Signals, note: int) -> int:
    return next((c for c in range(int(s.sizes[note])) if s.in_scope(note, c)), 0)


def _kth(scores: Floats, k: int) -> float:
    if len(scores) <= k:
        return float("-inf")
    return float(np.partition(scores, len(scores) - k)[len(scores) - k])


def _ordered(s: Signals, rows: list[tuple[float, int, int, int]], keys: Keys) -> list[tuple[float, int, int, int]]:
    names = keys(sorted({int(s.notes[row[1]]) for row in rows}))
    return sorted(rows, key=lambda r: (-r[0], names.get(int(s.notes[r[1]]), b""), r[2]))


def _ranked(s: Signals, parts: dict[str, Floats], row: tuple[float, int, int, int]) -> Ranked:
    score, note, chunk, i = row
    why = {"note": float(parts["note"][note])}
    if i >= 0:
        why |= {name: float(parts[name][i]) for name in ("near", "own")}
    return Ranked(int(s.notes[note]), chunk, score, _why(why))


def _why(parts: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in parts.items() if value}
