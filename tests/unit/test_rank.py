"""Ranking against an oracle that scores every chunk of every note in plain loops, ties and silent chunks included."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.engine.rank import NOTE_WEIGHTS, PASSAGE_WEIGHTS, POOLING, Ranked, rank
from holdfast.index.asking import Search, Signals
from tests.memory_index import BY_NOTE, PASSAGE, rank_all

By = Literal["passage", "note"]
# Few values, so that ties are common; among them some that float32 cannot hold exactly.
scores = st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.0, 2.7, 3.3])


@st.composite
def signals(draw: st.DrawFn) -> Signals:
    owner, ord_, near, own, sizes, note = [], [], [], [], [], []
    scope: set[tuple[int, int]] = set()
    for place in range(draw(st.integers(0, 6))):
        size = draw(st.integers(1, 6))
        sizes.append(size)
        note.append(draw(scores))
        inside = draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
        scope |= {(place, o) for o in inside}
        for o in sorted(draw(st.sets(st.sampled_from(inside)))):
            owner.append(place)
            ord_.append(o)
            near.append(draw(scores))
            own.append(draw(st.one_of(st.just(0.0), scores)))
    ids = draw(st.permutations(range(1, len(sizes) + 1)))
    return Signals(
        owner=np.array(owner, dtype=np.int64), ord=np.array(ord_, dtype=np.int64),
        near=np.array(near, dtype=np.float32), own=np.array(own, dtype=np.float32),
        notes=np.array(ids, dtype=np.int64), sizes=np.array(sizes, dtype=np.int64),
        note=np.array(note, dtype=np.float32), matched_notes=len(sizes), matched_chunks=len(owner),
        scope_notes=len(sizes), scope_chunks=len(scope), chunks=sum(sizes), seq=1, generation=1,
        in_scope=lambda place, chunk: (place, chunk) in scope,
    )  # fmt: skip


class Fixed:
    """An index that says one thing. Its keys run against its ids, so that a tie that goes by id is seen."""

    def __init__(self, said: Signals) -> None:
        self.said = said
        self.asked: list[int] = []

    def signals(self, _: Search) -> Signals:
        return self.said

    def keys(self, ids: Any) -> dict[int, bytes]:
        self.asked += ids
        return {i: b"\0%02d.md" % (50 - i) for i in ids}


def places(found: list[Ranked]) -> list[tuple[float, int, int]]:
    return [(r.score, r.note, r.ord) for r in found]


@pytest.mark.parametrize("by", ["passage", "note"])
@given(said=signals(), k=st.integers(1, 12))
def test_the_best_are_the_best_of_all(by: By, said: Signals, k: int) -> None:
    index = Fixed(said)
    got = rank(said, k, by, index.keys)
    expected = [(t.score, t.note, t.ord) for t in rank_all(index, Search(), by)][:k]
    assert places(got) == expected


@pytest.mark.parametrize("by", ["passage", "note"])
@given(said=signals(), k=st.integers(1, 12))
def test_asking_for_fewer_gives_the_first_of_them(by: By, said: Signals, k: int) -> None:
    index = Fixed(said)
    assert places(rank(said, k, by, index.keys)) == places(rank(said, 50, by, index.keys))[:k]


@given(said=signals())
def test_why_adds_up(said: Signals) -> None:
    for r in rank(said, 50, "passage", Fixed(said).keys):
        assert sum(r.why.values()) == pytest.approx(r.score, abs=3e-4)
        assert all(v > 0 for v in r.why.values())


def made(**named: Any) -> Signals:
    base: dict[str, Any] = {
        "owner": [], "ord": [], "near": [], "own": [], "notes": [], "sizes": [], "note": [], "matched_notes": 0,
        "matched_chunks": 0, "scope_notes": 0, "scope_chunks": 0, "chunks": 0, "seq": 1, "generation": 1,
        "in_scope": lambda *_: True,
    } | named  # fmt: skip
    kinds = {"near": np.float32, "own": np.float32, "note": np.float32}
    arrays = {k: np.array(v, dtype=kinds.get(k, np.int64)) for k, v in base.items() if isinstance(v, list)}
    return Signals(**(base | arrays))


def test_nothing_found_is_no_hit() -> None:
    assert rank(made(), 10, "passage", Fixed(made()).keys) == []
    assert rank(made(), 10, "note", Fixed(made()).keys) == []


def test_silent_chunks_of_a_strong_note_come_before_weak_ones() -> None:
    """The words stand in the title of note 1 alone; note 2 has one of them, once, in a long chunk."""
    said = made(
        owner=[1, 2], ord=[0, 0], near=[0.1, 10.0], own=[0.1, 10.0], notes=[1, 2, 3], sizes=[2, 1, 1],
        note=[10.0, 0.1, 1.0],
    )  # fmt: skip
    got = rank(said, 3, "passage", Fixed(said).keys)
    assert [(r.note, r.ord) for r in got] == [(3, 0), (1, 0), (1, 1)]
    assert got[1].why == {"note": 1.0}


def test_a_silent_chunk_out_of_scope_is_no_hit() -> None:
    said = made(notes=[1], sizes=[3], note=[1.0], in_scope=lambda place, chunk: chunk == 1)
    assert [(r.note, r.ord) for r in rank(said, 5, "passage", Fixed(said).keys)] == [(1, 1)]
    assert [(r.note, r.ord) for r in rank(said, 5, "note", Fixed(said).keys)] == [(1, 1)]


def test_ties_go_by_path_and_place_and_cost_no_more_keys_than_needed() -> None:
    said = made(
        owner=[0, 0, 1, 2], ord=[0, 1, 0, 0], near=[1, 1, 1, 0.5], own=[0, 0, 0, 0], notes=[1, 2, 3], sizes=[2, 1, 1],
        note=[1, 1, 0.1],
    )  # fmt: skip
    index = Fixed(said)
    assert [(r.note, r.ord) for r in rank(said, 2, "passage", index.keys)] == [(2, 0), (1, 0)]
    assert set(index.asked) == {1, 2}


def test_three_passages_of_a_note_count_and_no_more() -> None:
    many = made(
        owner=[0] * 5, ord=list(range(5)), near=[1.0] * 5, own=[1.0] * 5, notes=[1], sizes=[5], note=[1.0],
    )  # fmt: skip
    expected = 1.75 * NOTE_WEIGHTS["note"] + 1.75 * (NOTE_WEIGHTS["near"] + NOTE_WEIGHTS["own"])
    assert rank(many, 1, "note", Fixed(many).keys)[0].score == pytest.approx(expected)


def test_the_oracle_has_the_same_weights() -> None:
    assert PASSAGE_WEIGHTS == PASSAGE
    assert NOTE_WEIGHTS == BY_NOTE
    assert POOLING.tolist() == [1.0, 0.5, 0.25]
