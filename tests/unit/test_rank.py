"""Ranking against an oracle that scores every chunk of every note in plain loops, ties and silent chunks included."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.embed.base import Asked
from holdfast.engine import rank as module
from holdfast.engine.question import Question
from holdfast.engine.rank import RECIPES, Mode, Ranked, rank, talk_value
from holdfast.index.asking import ChunkRow, Detail, Search, Signals
from holdfast.text.tokens import stop_terms
from holdfast.text.traits import traits
from tests.memory_index import FEEDBACK_FROM, FEEDBACK_POOL, POOL, TALK_NOTE, TALK_PRESENT, WEIGHTS, rank_all

By = Literal["passage", "note"]
MODES: tuple[Mode, ...] = ("hybrid", "keyword", "vector", "bm25")
ASKED = Asked(np.array([1, 0], dtype=np.float32))
SAYINGS = ["Yes?", "I was there last May", "and Anna said so", ""]
# Few values, so that ties are common; among them some that float32 cannot hold exactly.
scores = st.sampled_from([0.1, 0.3, 0.5, 1.0, 1.0, 2.7, 3.3])
maybe = st.one_of(st.just(0.0), scores)


def question(*, asked: Asked | None = None, floor: float = 0.0, text: str = "when was that, in May?") -> Question:
    search = Search(words=("may",), repeats=(1,), question=None if asked is None else asked.vector, floor=floor)
    return Question(text, search, content=2, speakers=(), chunks=20, asked=asked)


def about(mode: Mode) -> Question:
    return question(asked=ASKED if mode in ("hybrid", "vector") else None)


@st.composite
def signals(draw: st.DrawFn) -> Signals:
    owner, ord_, is_turn, sizes, is_talk = [], [], [], [], []
    scope: set[tuple[int, int]] = set()
    for place in range(draw(st.integers(0, 8))):
        size = draw(st.integers(1, 6))
        sizes.append(size)
        is_talk.append(draw(st.booleans()))
        inside = draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
        scope |= {(place, o) for o in inside}
        for o in sorted(draw(st.sets(st.sampled_from(inside)))):
            owner.append(place)
            ord_.append(o)
            is_turn.append(is_talk[-1] and draw(st.sampled_from([True, True, False])))
    ids = draw(st.permutations(range(1, len(sizes) + 1)))

    def column(kind: st.SearchStrategy[Any], count: int) -> list[Any]:
        return draw(st.lists(kind, min_size=count, max_size=count))

    many, notes = len(owner), len(sizes)
    fed, echoed = (np.array(column(maybe, notes), dtype=np.float32) for _ in range(2))
    return made(
        owner=owner, ord=ord_, near=column(maybe, many), own=column(maybe, many), dense=column(maybe, many),
        is_known=column(st.booleans(), many), is_turn=is_turn, speaks=column(st.sampled_from([0.0, 1.0]), many),
        notes=ids, sizes=sizes, note=column(scores, notes), note_dense=column(maybe, notes), is_talk=is_talk,
        present=column(st.sampled_from([0.0, 0.5, 1.0]), notes),
        in_scope=lambda place, chunk: (place, chunk) in scope,
        detail=in_detail(column(st.sampled_from(SAYINGS), many)),
        feedback=lambda best, weights, at, stop: fed[at],
        echo=lambda best, at: echoed[at],
    )  # fmt: skip


def in_detail(said: list[str]) -> Any:
    """Signals.detail of turns that say these; one word is asked, `may`, and each speaks an hour after the other."""

    def detail(at: Any) -> Detail:
        texts = [said[i] for i in at.tolist()]
        rows = [ChunkRow(0, 1, 1, 1, "", bytes(16), "Ana", i * 3_600 * 10**9, traits=traits(t))
                for i, t in zip(at.tolist(), texts, strict=True)]  # fmt: skip
        return Detail(
            rows=rows, words=np.array([len(t.split()) for t in texts]), words_before=np.zeros(len(texts), np.int64),
            in_pair=np.array([["May" in t for t in texts]]), in_near=np.array([[bool(t) for t in texts]]),
            idf=np.array([1.5], dtype=np.float32), before=np.zeros(len(texts), np.float32), tokens=[None] * len(texts),
        )  # fmt: skip

    return detail


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


def made(**named: Any) -> Signals:
    """Signals of these lists; what is not said of a candidate or note is 0 or no, and what it holds is nothing."""
    many, notes = len(named.get("owner", ())), len(named.get("notes", ()))
    zeros = {k: [0.0] * many for k in ("near", "own", "dense", "speaks")}
    zeros |= {k: [0.0] * notes for k in ("note", "note_dense", "present")}
    flags = {"keyed": [False] * many, "is_known": [False] * many, "is_turn": [False] * many, "is_talk": [False] * notes}
    columns: dict[str, Any] = {"owner": [], "ord": [], "notes": [], "sizes": [], **zeros, **flags, **named}
    kinds = dict.fromkeys(zeros, np.float32) | dict.fromkeys(flags, np.bool_)
    arrays = {k: np.array(v, dtype=kinds.get(k, np.int64)) for k, v in columns.items() if isinstance(v, list | tuple)}
    counts = {
        "matched_notes": notes, "matched_chunks": many, "scope_notes": notes, "scope_chunks": many,
        "chunks": int(sum(columns["sizes"])), "ready": int(sum(columns["is_known"])), "seq": 1, "generation": 1,
        "in_scope": lambda *_: True, "similarity": lambda *_: None, "detail": in_detail([""] * many),
        "feedback": lambda best, weights, at, stop: np.zeros(len(at), dtype=np.float32),
        "echo": lambda best, at: np.zeros(len(at), dtype=np.float32),
    }  # fmt: skip
    return Signals(**(counts | columns | arrays))


def ask(said: Signals, k: int, by: By = "passage", mode: Mode = "keyword", *, explain: bool = False) -> list[Ranked]:
    return rank(said, about(mode), k, by, Fixed(said).keys, mode, explain=explain)


def places(found: list[Ranked]) -> list[tuple[float, int, int]]:
    return [(r.score, r.note, r.ord) for r in found]


def notes_held_otherwise(s: Signals, order: list[int]) -> Signals:
    """The same answer of an index that holds its notes in another order: place `order[i]` comes at place i."""
    to = np.argsort(np.array(order, dtype=np.int64))
    by = np.lexsort((s.ord, to[s.owner]))
    per_note = {n: getattr(s, n)[order] for n in ("notes", "sizes", "note", "note_dense", "is_talk", "present")}
    per_candidate = {n: getattr(s, n)[by] for n in ("ord", "near", "own", "dense", "is_known", "is_turn", "speaks")}
    back = np.array(order, dtype=np.int64)
    return replace(
        s, owner=to[s.owner][by], **per_note, **per_candidate,
        in_scope=lambda place, chunk: s.in_scope(order[place], chunk),
        detail=lambda at: s.detail(by[at]),
        feedback=lambda best, weights, at, stop: s.feedback(back[best], weights, back[at], stop),
        echo=lambda best, at: s.echo(back[best], back[at]),
    )  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("by", ["passage", "note"])
@given(said=signals(), k=st.integers(1, 12))
def test_the_best_are_the_best_of_all(by: By, mode: Mode, said: Signals, k: int) -> None:
    expected = [(t.score, t.note, t.ord) for t in rank_all(Fixed(said), about(mode), by, mode)][:k]
    assert places(ask(said, k, by, mode)) == expected


@pytest.mark.parametrize("by", ["passage", "note"])
@given(said=signals(), k=st.integers(1, 12))
def test_asking_for_fewer_gives_the_first_of_them(by: By, said: Signals, k: int) -> None:
    assert places(ask(said, k, by)) == places(ask(said, 50, by))[:k]


@pytest.mark.parametrize("mode", ["hybrid", "keyword"])
@pytest.mark.parametrize("by", ["passage", "note"])
@given(said=signals(), random=st.randoms(use_true_random=False))
def test_how_an_index_holds_its_notes_is_not_seen(by: By, mode: Mode, said: Signals, random: Any) -> None:
    """Another history of the same notes gives another order of them; the answer is that of a rebuild all the same."""
    order = list(range(len(said.notes)))
    random.shuffle(order)
    other = notes_held_otherwise(said, order)
    assert places(ask(other, 50, by, mode)) == places(ask(said, 50, by, mode))


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
@pytest.mark.parametrize("by", ["passage", "note"])
def test_equal_conversations_come_in_the_order_of_their_paths(by: By, order: list[int]) -> None:
    """The same turns in three notes: whichever the index holds first, no turn is judged by that."""
    said = made(
        owner=[0, 0, 1, 1, 2, 2], ord=[0, 1] * 3, near=[1.0, 0.5] * 3, own=[0.5, 1.0] * 3, is_turn=[True] * 6,
        notes=[1, 2, 3], sizes=[2] * 3, note=[1.0] * 3, is_talk=[True] * 3,
    )  # fmt: skip
    got = ask(notes_held_otherwise(said, order), 6, by)
    scores_ = [r.score for r in got]
    assert scores_ == sorted(scores_, reverse=True)
    assert places(got) == places(ask(said, 6, by))
    assert [r.note for r in got][:3] == [3, 2, 1]
    if by == "passage":
        assert [r.ord for r in got][:3] == [got[0].ord] * 3


def test_which_of_equal_turns_are_looked_at_again_goes_by_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL", {"passage": 2, "note": 2})
    said = made(
        owner=[0, 1, 2], ord=[0] * 3, near=[1.0] * 3, is_turn=[True] * 3, notes=[1, 2, 3], sizes=[1] * 3,
        note=[1.0] * 3, is_talk=[True] * 3,
    )  # fmt: skip
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        got = ask(notes_held_otherwise(said, order), 3, explain=True)
        assert {r.note for r in got if "second_look" in r.why or "cover_near" in r.why} <= {3, 2}
        assert "length" not in got[2].why or got[2].note != 1


@pytest.mark.parametrize("mode", MODES)
@given(said=signals())
def test_why_adds_up(mode: Mode, said: Signals) -> None:
    """Except for turns, whose places are dealt out anew."""
    turns_at = {(int(said.notes[o]), int(c)) for o, c, t in zip(said.owner, said.ord, said.is_turn, strict=True) if t}
    for r in ask(said, 50, mode=mode):
        assert all(v > 0 for v in r.why.values())
        assert (r.note, r.ord) in turns_at or sum(r.why.values()) == pytest.approx(r.score, abs=3e-4)
    talks = set(said.notes[said.is_talk].tolist())
    for r in ask(said, 50, "note", mode):
        assert all(v > 0 for v in r.why.values())
        assert r.note in talks or sum(r.why.values()) == pytest.approx(r.score, abs=3e-4)


def test_nothing_found_is_no_hit() -> None:
    for mode in MODES:
        assert ask(made(), 10, "passage", mode) == []
        assert ask(made(), 10, "note", mode) == []


def test_silent_chunks_of_a_strong_note_come_before_weak_ones() -> None:
    """The words stand in the title of note 1 alone; note 2 has one of them, once, in a long chunk."""
    said = made(
        owner=[1, 2], ord=[0, 0], near=[0.1, 10.0], own=[0.1, 10.0], notes=[1, 2, 3], sizes=[2, 1, 1],
        note=[10.0, 0.1, 1.0],
    )  # fmt: skip
    got = ask(said, 3)
    assert [(r.note, r.ord) for r in got] == [(3, 0), (1, 0), (1, 1)]
    assert got[1].why == {"note": 0.4}
    assert got[1].has_words
    assert got[1].similarity is None


def test_a_silent_chunk_out_of_scope_is_no_hit() -> None:
    said = made(notes=[1], sizes=[3], note=[1.0], in_scope=lambda place, chunk: chunk == 1)
    assert [(r.note, r.ord) for r in ask(said, 5)] == [(1, 1)]
    assert [(r.note, r.ord) for r in ask(said, 5, "note")] == [(1, 1)]


def test_ties_go_by_path_and_place_and_cost_no_more_keys_than_needed() -> None:
    said = made(
        owner=[0, 0, 1, 2], ord=[0, 1, 0, 0], near=[1, 1, 1, 0.5], notes=[1, 2, 3], sizes=[2, 1, 1], note=[1, 1, 0.1],
    )  # fmt: skip
    index = Fixed(said)
    got = rank(said, about("keyword"), 2, "passage", index.keys, "keyword")
    assert [(r.note, r.ord) for r in got] == [(2, 0), (1, 0)]
    assert set(index.asked) == {1, 2}


def test_the_oracle_has_the_same_weights() -> None:
    assert list(RECIPES) == list(WEIGHTS) == list(MODES)
    for mode, r in RECIPES.items():
        assert (r.passages, r.turns, r.notes, r.feedback, r.echo, r.looks_again) == WEIGHTS[mode], mode
    assert module.POOL == POOL
    assert (module.FEEDBACK_FROM, module.FEEDBACK_POOL) == (FEEDBACK_FROM, FEEDBACK_POOL)
    assert (module.NOTE_OWN, module.NOTE_PRESENT) == (TALK_NOTE, TALK_PRESENT)


# Modes

DOCUMENTS = {
    "owner": [0, 1, 2], "ord": [0, 0, 0], "near": [1.0, 0.5, 0.0], "own": [0.2, 1.0, 0.0], "dense": [0.0, 0.3, 0.9],
    "is_known": [True] * 3, "notes": [1, 2, 3], "sizes": [1, 1, 1], "note": [1.0, 0.9, 0.0],
    "note_dense": [0.0, 0.3, 0.9],
}  # fmt: skip


def test_each_mode_asks_what_it_says() -> None:
    best = {mode: [r.note for r in ask(made(**DOCUMENTS), 3, "passage", mode)] for mode in MODES}
    assert best == {"hybrid": [2, 1, 3], "keyword": [1, 2, 3], "vector": [3, 2, 1], "bm25": [2, 1, 3]}
    assert [r.note for r in ask(made(**DOCUMENTS), 3, "note", "vector")] == [3, 2, 1]
    assert [r.note for r in ask(made(**DOCUMENTS), 3, "note", "bm25")] == [1, 2, 3]
    assert set(ask(made(**DOCUMENTS), 1, mode="hybrid")[0].why) == {"near", "own", "note", "dense"}


def test_without_a_vector_of_the_question_hybrid_is_keyword() -> None:
    said = made(**DOCUMENTS)
    for by in ("passage", "note"):
        got = rank(said, question(), 3, by, Fixed(said).keys, "hybrid")
        assert got == rank(said, question(), 3, by, Fixed(said).keys, "keyword")


def test_what_has_no_vector_yet_is_taken_to_mean_what_it_says() -> None:
    """The same passage with and without a vector: new text loses nothing, and does not win by it either."""
    known = made(**DOCUMENTS | {"near": [1.0, 0.5, 0.5], "own": [0.0] * 3, "note": [0.5] * 3, "dense": [0.6, 0.3, 0.1]})
    fresh = replace(known, is_known=np.array([True, False, True]))
    a, b = ({r.note: r for r in ask(s, 3, mode="hybrid")} for s in (known, fresh))
    assert b[2].why["dense"] == pytest.approx(0.5 * 1.5 / 4, abs=1e-4)  # near says 0.5 of the most
    assert b[2].score == pytest.approx(a[2].score, abs=1e-4)
    assert (b[2].similarity, b[2].is_near) == (None, False)
    assert a[2].similarity == pytest.approx(0.3)


def test_what_a_hit_says_of_words_and_meaning() -> None:
    said = made(**DOCUMENTS)
    got = {r.note: r for r in rank(said, question(asked=ASKED, floor=0.5), 3, "passage", Fixed(said).keys, "hybrid")}
    assert {n: r.has_words for n, r in got.items()} == {1: True, 2: True, 3: False}
    assert {n: r.similarity for n, r in got.items()} == {1: 0.0, 2: 0.3, 3: 0.9}
    assert {n: r.is_near for n, r in got.items()} == {1: False, 2: False, 3: True}
    assert all(r.similarity is None and not r.is_near for r in ask(said, 3))
    low = rank(said, question(asked=ASKED), 3, "passage", Fixed(said).keys, "hybrid")
    assert {r.note: r.is_near for r in low} == {1: False, 2: True, 3: True}  # a cosine of 0 is never near


# Conversations

TALK = {
    "owner": [0, 0, 0, 1], "ord": [0, 1, 2, 0], "near": [1.0, 0.9, 0.2, 0.6], "own": [1.0, 0.8, 0.1, 0.6],
    "is_turn": [True, True, True, False], "notes": [1, 2], "sizes": [3, 1], "note": [1.0, 0.5],
    "is_talk": [True, False],
}  # fmt: skip


class Judge:
    """A forest that prefers what was chosen last, and says what it was shown."""

    def __init__(self) -> None:
        self.columns: dict[str, Any] = {}

    def judge(self, columns: dict[str, Any], first: Any) -> Any:
        self.columns, self.first = columns, first
        return np.arange(len(first), dtype=np.float32)


@pytest.fixture
def backwards(monkeypatch: pytest.MonkeyPatch) -> Judge:
    judge = Judge()
    monkeypatch.setattr(module, "_forest", lambda name: judge)
    return judge


def test_places_of_turns_are_dealt_out_among_turns_alone(backwards: Judge) -> None:
    """The second look turns their order around; the passage of a document keeps score and place."""
    first = rank_all(Fixed(made(**TALK | {"is_turn": [False] * 4, "is_talk": [False] * 2})), about("keyword"))
    got = ask(made(**TALK), 4)
    assert [t.score for t in first] == [r.score for r in got]
    assert [(t.note, t.ord) for t in first] == [(1, 0), (1, 1), (2, 0), (1, 2)]
    assert [(r.note, r.ord) for r in got] == [(1, 2), (1, 1), (2, 0), (1, 0)]


def test_turns_are_chosen_by_weights_of_their_own(backwards: Judge) -> None:
    """Who speaks counts among turns; it gives no passage of a document a place."""
    said = made(**TALK | {"speaks": [0.0, 0.0, 1.0, 0.0], "present": [1.0, 0.0]})
    ask(said, 4)
    expected = [1.0 + 0.2 + 0.3 + 0.7, 0.9 + 0.2 * 0.8 + 0.3 + 0.7, 0.2 + 0.2 * 0.1 + 0.3 + 0.4 + 0.7]
    assert backwards.first == pytest.approx(expected)
    assert "speaker" not in {name for r in ask(said, 4) for name in r.why}


def test_a_turn_alone_is_not_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_forest", None)
    said = made(**TALK | {"is_turn": [True, False, False, False]})
    assert [(r.note, r.ord) for r in ask(said, 4)] == [(1, 0), (1, 1), (2, 0), (1, 2)]


@pytest.mark.parametrize("mode", ["vector", "bm25"])
def test_the_plain_modes_do_not_look_again(monkeypatch: pytest.MonkeyPatch, mode: Mode) -> None:
    monkeypatch.setattr(module, "_forest", None)
    assert len(ask(made(**TALK), 4, "note", mode)) == 2


def test_only_the_best_turns_are_looked_at_again(backwards: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POOL", {"passage": 2, "note": 2})
    assert [(r.note, r.ord) for r in ask(made(**TALK), 4)] == [(1, 1), (1, 0), (2, 0), (1, 2)]
    assert len(backwards.first) == 2


def test_a_note_shows_the_turn_that_the_second_look_likes_best(backwards: Judge) -> None:
    assert [(r.note, r.ord) for r in ask(made(**TALK), 2, "note")] == [(1, 2), (2, 0)]
    plain = made(**TALK | {"is_turn": [False] * 4})
    assert [(r.note, r.ord) for r in ask(plain, 2, "note")] == [(1, 0), (2, 0)]


def test_conversations_take_their_places_from_each_other(backwards: Judge) -> None:
    """Of three conversations the second look likes the worst best; the document between them stays where it was."""
    said = made(
        owner=[0, 1, 2, 3], ord=[0] * 4, near=[1.0, 0.8, 0.6, 0.1], is_turn=[True, False, True, True],
        notes=[1, 2, 3, 4], sizes=[1] * 4, note=[1.0, 0.8, 0.6, 0.1], is_talk=[True, False, True, True],
    )  # fmt: skip
    got = ask(said, 4, "note")
    assert [r.note for r in got] == [4, 2, 3, 1]
    assert [r.score for r in got] == pytest.approx([1.0, 0.8, 0.6, 0.1])


def test_what_a_conversation_is_worth() -> None:
    """log-sum-exp of its turns, half of its own words, and who is there; without a turn among the best it is last."""
    owner, judged = np.array([0, 0, 1]), np.array([0.0, -1.0, -0.5], dtype=np.float32)
    note, present = np.array([0.2, 0.4, 1.0], dtype=np.float32), np.array([1.0, 0.0, 1.0], dtype=np.float32)
    value = talk_value(owner, judged, note, present).tolist()
    assert value[0] == pytest.approx(np.log(1 + np.exp(-1)) + 0.5 * (0.2 + 0.7))
    assert value[1] == pytest.approx(-0.5 + 0.5 * 0.4)
    assert value[2] == float("-inf")


@pytest.mark.parametrize("by", ["passage", "note"])
def test_explain_says_every_signal_of_a_turn(by: By) -> None:
    said = made(**TALK)
    plain, full = ask(said, 4, by), ask(said, 4, by, explain=True)
    assert places(plain) == places(full)
    for a, b in zip(plain, full, strict=True):
        assert a.why.items() <= b.why.items()
        is_turn = b.note == 1
        assert ("s_rank" in b.why or "second_look" in b.why) is is_turn
    named = {name for r in full for name in r.why}
    assert {"second_look", "cover_near", "length"} & named
    assert named <= {*module._forest("turns-keyword").signals, *WEIGHTS["keyword"][0], "second_look", "when"}


# Feedback


def test_the_best_documents_are_asked_what_else_they_speak_of() -> None:
    asked: list[Any] = []

    def feedback(best: Any, weights: Any, at: Any, stop: Any) -> Any:
        asked.append((best.tolist(), weights.tolist(), at.tolist(), stop))
        return np.array([8.0 if place == 4 else 0.0 for place in at], dtype=np.float32)

    said = made(
        notes=[1, 2, 3, 4, 5, 6], sizes=[1] * 6, note=[0.9, 0.8, 1.0, 0.6, 0.5, 0.95], is_talk=[False] * 5 + [True],
        feedback=feedback,
    )  # fmt: skip
    got = ask(said, 6, "note")
    assert asked[0][0] == [2, 0, 1]
    assert asked[0][1] == pytest.approx([1 / 2.7, 0.9 / 2.7, 0.8 / 2.7])
    assert asked[0][2] == [2, 0, 1, 3, 4]  # the conversation is neither asked nor judged
    assert asked[0][3] == stop_terms()
    assert got[0].note == 5
    assert got[0].score == pytest.approx(0.5 + 0.75)
    assert got[0].why == {"note": 0.5, "feedback": 0.75}
    ask(said, 6, "passage")
    ask(said, 6, "note", "bm25")
    assert len(asked) == 1


def test_the_best_documents_are_asked_what_is_near_to_them() -> None:
    asked: list[Any] = []

    def echo(best: Any, at: Any) -> Any:
        asked.append((best.tolist(), at.tolist()))
        return np.array([0.4 if place == 3 else 0.2 for place in at], dtype=np.float32)

    said = made(
        notes=[1, 2, 3, 4], sizes=[1] * 4, note=[1.0, 0.8, 0.6, 0.2], note_dense=[0.1, 0.2, 0.4, 0.2], echo=echo,
    )  # fmt: skip
    got = {r.note: r for r in ask(said, 4, "note", "hybrid")}
    assert asked == [([2, 1, 0], [2, 1, 0, 3])]
    assert got[4].why == {"note": 0.1, "dense": 0.25, "echo": 0.5}
    assert got[1].why == {"note": 0.5, "dense": 0.125, "echo": 0.25}
    ask(said, 4, "note", "keyword")
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("notes", "is_asked"), [([1.0, 0.9, 0.8], False), ([1.0, 0.9, 0.0, 0.0], False), ([1.0, 0.9, 0.8, 0.7], True)]
)
def test_few_documents_are_not_asked(notes: list[float], is_asked: bool) -> None:
    asked = []

    def feedback(best: Any, weights: Any, at: Any, stop: Any) -> Any:
        asked.append(at)
        return np.zeros(len(at), dtype=np.float32)

    many = len(notes)
    said = made(notes=list(range(1, many + 1)), sizes=[1] * many, note=notes, feedback=feedback)
    assert len(ask(said, 9, "note")) == many
    assert bool(asked) is is_asked


def test_a_key_comes_first() -> None:
    turns = {
        "owner": [0] * 4,
        "ord": [0, 1, 2, 3],
        "is_turn": [True] * 4,
        "notes": [1],
        "sizes": [4],
        "is_talk": [True],
    }
    said = made(**turns, near=[1.0, 0.9, 0.8, 0.01], own=[1.0, 0.9, 0.8, 0.01], note=[1.0], keyed=[False] * 3 + [True])
    assert ask(said, 4)[0].ord == 3
    plain = made(**turns, near=[1.0, 0.9, 0.8, 0.01], own=[1.0, 0.9, 0.8, 0.01], note=[1.0])
    assert ask(plain, 4)[0].ord != 3, "without the key it is the last"


def test_a_key_outside_of_the_best_turns_is_looked_at_too() -> None:
    many = 150
    said = made(
        owner=[0] * many, ord=list(range(many)), is_turn=[True] * many, notes=[1], sizes=[many], is_talk=[True],
        near=[*np.linspace(1, 0.5, many - 1), 0.0], own=[0.5] * (many - 1) + [0.0], note=[1.0],
        keyed=[False] * (many - 1) + [True],
    )  # fmt: skip
    assert ask(said, 1)[0].ord == many - 1


@pytest.mark.parametrize("by", ["passage", "note"])
def test_the_least_similarity_is_asked_before_the_best_are_chosen(by: By) -> None:
    many = 40
    said = made(
        owner=list(range(many)), ord=[0] * many, notes=list(range(1, many + 1)), sizes=[1] * many,
        near=[1.0] * (many - 1) + [0.1], own=[1.0] * (many - 1) + [0.1], note=[1.0] * (many - 1) + [0.1],
        dense=[0.3] * (many - 1) + [0.75], note_dense=[0.3] * (many - 1) + [0.75], is_known=[True] * many,
    )  # fmt: skip
    found = rank(said, about("hybrid"), 3, by, Fixed(said).keys, "hybrid", least=0.7)
    assert [(r.note, r.similarity) for r in found] == [(many, 0.75)]
    assert rank(said, about("hybrid"), 3, by, Fixed(said).keys, "hybrid", least=0.8) == []


def test_with_a_least_similarity_a_note_is_shown_by_a_passage_that_has_it() -> None:
    said = made(
        owner=[0, 0], ord=[0, 1], notes=[1], sizes=[2], near=[1.0, 0.1], own=[1.0, 0.1], note=[1.0],
        dense=[0.3, 0.75], note_dense=[0.75], is_known=[True, True],
    )  # fmt: skip
    for by in ("passage", "note"):
        found = rank(said, about("hybrid"), 3, by, Fixed(said).keys, "hybrid", least=0.7)  # type: ignore[arg-type]
        assert [r.ord for r in found] == [1]
