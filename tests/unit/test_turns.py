"""Each signal of the second look, on a conversation that fits on a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from holdfast.embed.base import Asked
from holdfast.engine import turns
from holdfast.engine.forest import load
from holdfast.engine.question import Question
from holdfast.engine.turns import signals_of
from holdfast.index.asking import ChunkRow, Detail, Search, Signals
from holdfast.text.traits import traits
from tests.unit.test_rank import made

NEAR = [0.2, 1.0, 0.0, 0.5, 0.1]
FIRST = [1.0, 2.5, 0.0, 2.0, 0.5]
PLACES = [1, 3, 0, 4]
"""Of the pool, the best first: the second and first turn of note 0, the turns of note 1 but one; 2 is a document's."""

SAID = ["Are you there?", "Yes, Anna. I was at my house last May", "Why? Because", "I ran"]


def signals(**named: Any) -> Signals:
    """Note 0 has the turns 0 and 1, and a passage that is no candidate; note 1 the chunks 0, 2 and 3."""
    base: dict[str, Any] = {
        "owner": [0, 0, 1, 1, 1], "ord": [0, 1, 0, 2, 3], "near": NEAR, "is_turn": [True, True, False, True, True],
        "notes": [1, 2], "sizes": [3, 4], "note": [1.0, 0.5], "is_talk": [True, True], "detail": lambda at: seen(),
    }  # fmt: skip
    return made(**base | named)


def seen(**named: Any) -> Detail:
    """What the turns of the pool hold, in its order."""
    rows = [ChunkRow(0, 1, 1, 1, "", bytes(16), "Ana", None, traits=traits(t, b))
            for t, b in zip(SAID, ["", "Are you there?", "", "Why? Because"], strict=True)]  # fmt: skip
    base = Detail(
        rows=rows, words=np.array([3, 9, 2, 0]), words_before=np.array([0, 3, 7, 2]),
        in_pair=np.array([[True, False, True, False], [True, False, False, False]]),
        in_near=np.array([[True, True, True, False], [True, True, False, False]]),
        idf=np.array([2.0, 1.0], dtype=np.float32), before=np.array([0.0, 0.5, -0.5, 0.25], dtype=np.float32),
        tokens=[None] * 4,
    )  # fmt: skip
    return replace(base, **named)


def question(
    text: str = "where was Anna", *, content: int = 2, asked: Asked | None = None, chunks: int = 10
) -> Question:
    return Question(text, Search(), content, ("ana", "lopez"), chunks, asked)


def look(q: Question | None = None, s: Signals | None = None) -> dict[str, list[float]]:
    s = signals() if s is None else s
    parts = {name: np.array(NEAR, dtype=np.float32) * n for n, name in enumerate((*turns.KEPT, "dense"), 1)}
    first = np.array(FIRST, dtype=np.float32)
    columns = signals_of(s, parts, first, np.array(PLACES), q or question())
    assert all(c.shape == (4,) and c.dtype == np.float32 for c in columns.values())
    return {name: c.tolist() for name, c in columns.items()}


def near(values: list[float]) -> Any:
    return pytest.approx(values, abs=1e-5)


def test_what_the_models_weigh_is_there() -> None:
    """By words alone; with vectors; with token vectors, which a local model alone gives."""
    words = look()
    assert set(load("turns-keyword").signals) <= words.keys()
    pooled = look(question(asked=Asked(VECTOR)))
    assert set(load("turns-pooled").signals) <= pooled.keys()
    assert pooled.keys() - words.keys() == {"dense", "dense_prev"}
    asked = Asked(VECTOR, np.ones((1, 2), dtype=np.float32), ("house",))
    late = look(question(asked=asked), signals(detail=lambda at: seen(tokens=[codes((1, 2))] * 4)))
    assert set(load("turns").signals) <= late.keys()
    assert all(name.startswith("late") for name in late.keys() - pooled.keys())
    assert {name: late[name] for name in words} == {name: pooled[name] for name in words} == words


def test_signals_of_the_first_look_are_looked_at_again() -> None:
    got = look()
    for n, name in enumerate(turns.KEPT, 1):
        assert got[name] == near([n * x for x in (1.0, 0.5, 0.2, 0.1)])


def test_how_a_turn_stands_among_all() -> None:
    got = look()
    assert got["s"] == near([0.0, -0.5, -1.5, -2.0])
    assert got["s_rank"] == near(np.log([1, 2, 3, 4]).tolist())
    # The turn before, if it is a candidate of the same note: chunk 1 of note 1 is none, nor is there one before 0.
    assert got["s_before"] == near([1.0 - 2.5, -2.5, -2.5, 2.0 - 2.5])
    assert got["near_prev"] == near([0.2, 0.0, 0.0, 0.5])
    assert got["near_next"] == near([0.0, 0.1, 1.0, 0.0])


def test_how_its_conversation_stands() -> None:
    got = look()
    assert got["note_gap"] == near([0.0, -0.5, 0.0, -0.5])
    assert got["near_best"] == near([1.0, 0.5, 1.0, 0.5])
    # Above the last of the pool, which has 0.5: 0.5 + 2.0 of note 0, 1.5 of note 1.
    assert got["note_sum"] == near([2.5, 1.5, 2.5, 1.5])


def test_what_counts_for_a_conversation_is_above_the_hundredth_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "MASS_OF", 2)
    assert look()["note_sum"] == near([0.5, 0.0, 0.5, 0.0])


def test_how_much_of_the_question_is_there() -> None:
    got = look()
    assert got["terms_pair"] == [2.0, 0.0, 1.0, 0.0]
    assert got["cover_pair"] == near([1.0, 0.0, 2 / 3, 0.0])
    assert got["cover_near"] == near([1.0, 1.0, 2 / 3, 0.0])
    assert got["rarest_pair"] == [2.0, 0.0, 2.0, 0.0]
    assert got["rarest_near"] == [2.0, 2.0, 2.0, 0.0]


def test_a_word_that_no_note_has_is_missed_everywhere() -> None:
    """It counts as much as the rarest word can."""
    got = look(question(content=4))
    total = 3 + 2 * np.log1p(2 * 10)
    assert got["cover_pair"] == near([3 / total, 0.0, 2 / total, 0.0])
    assert got["rarest_pair"] == [2.0, 0.0, 2.0, 0.0]


def test_a_question_of_names_alone_is_covered_by_nothing() -> None:
    none = np.zeros((0, 4), dtype=bool)
    empty = seen(in_pair=none, in_near=none, idf=np.zeros(0, dtype=np.float32))
    got = look(question(content=0), signals(detail=lambda at: empty))
    for name in ("terms_pair", "cover_pair", "cover_near", "rarest_pair", "rarest_near"):
        assert got[name] == [0.0] * 4


def test_dates() -> None:
    def at(month: int, day: int) -> int:
        return int(datetime(2023, month, day, 20).timestamp()) * 10**9

    when = [at(5, 8), at(5, 10), None, at(6, 30)]
    rows = [None if n == 2 else replace(r, at_ns=when[n]) for n, r in enumerate(seen().rows) if r is not None]
    said = signals(detail=lambda _: seen(rows=rows))
    got = look(question("What did she say on 8 May 2023?"), said)
    assert got["on_date"] == [1.0, 0.0, 0.0, 0.0]
    assert got["after_date"] == near([1.0, 1 - 2 / 14, 0.0, 0.0])
    assert look(question("What did she say?"), said)["on_date"] == [0.0] * 4


def test_what_stands_in_the_turn() -> None:
    got = look()
    assert got["is_question"] == [1.0, 0.0, 0.0, 0.0]
    assert got["has_question"] == [1.0, 0.0, 1.0, 0.0]
    assert got["answers"] == [0.0, 1.0, 0.0, 1.0]
    assert got["temporal"] == [0.0, 1.0, 0.0, 0.0]
    assert got["names"] == [0.0, 2.0, 0.0, 0.0]  # Anna and May
    assert got["first_person"] == [0.0, 2.0, 0.0, 1.0]
    assert got["length"] == near((np.log1p([3, 9, 2, 0]) / 4).tolist())
    assert got["length_before"] == near((np.log1p([0, 3, 7, 2]) / 4).tolist())


def test_who_asks_when_wants_a_time() -> None:
    assert look(question("When was that?"))["when"] == [0.0, 1.0, 0.0, 0.0]
    assert look(question("where was that?"))["when"] == [0.0] * 4


def test_a_chunk_that_is_gone_holds_nothing() -> None:
    got = look(s=signals(detail=lambda at: seen(rows=[None] * 4)))
    for name in ("is_question", "has_question", "answers", "temporal", "names", "first_person", "on_date"):
        assert got[name] == [0.0] * 4


# Meaning

VECTOR = np.array([1.0, 0.0], dtype=np.float32)


def test_the_turn_and_the_one_before_mean_something() -> None:
    said = signals(dense=[0.1, 0.2, 0.8, 0.3, 0.0], is_known=[True] * 5)
    got = look(question(asked=Asked(VECTOR)), said)
    assert got["dense"] == near([6 * x for x in (1.0, 0.5, 0.2, 0.1)])
    assert got["dense_prev"] == near([0.0, 0.625, -0.625, 0.3125])
    # The largest of all, candidates and those before them, is 1; without any vector nothing is divided by zero.
    low = signals(dense=[0.1] * 5, is_known=[True] * 5)
    assert look(question(asked=Asked(VECTOR)), low)["dense_prev"] == near([0.0, 1.0, -1.0, 0.5])
    none = signals(detail=lambda at: seen(before=np.zeros(4, dtype=np.float32)))
    assert look(question(asked=Asked(VECTOR)), none)["dense_prev"] == [0.0] * 4


def codes(*rows: tuple[int, int]) -> Any:
    return np.array(rows, dtype=np.int8).reshape(-1, 2)


def test_each_token_of_the_question_and_the_nearest_of_the_turn() -> None:
    asked = Asked(VECTOR, np.array([[1, 0], [0, 1], [0.5, 0.5]], dtype=np.float32), ("where", "house", "Ana"))
    tokens = [codes((4, 0), (0, 2)), None, codes((1, 1)), None]
    got = look(question(asked=asked), signals(detail=lambda at: seen(tokens=tokens)))
    # The best dot products of each token are [4, 2, 2] and [1, 1, 1]. What has no tokens yet is like the average.
    mean = (8 / 3 + 1) / 2
    assert got["late"] == near([8 / 3, mean, 1.0, mean])
    # What carries meaning: `where` is a stop word, `Ana` a speaker's name.
    assert got["late_content"] == near([2.0, 1.5, 1.0, 1.5])
    assert got["late_least"] == near([2.0, 1.5, 1.0, 1.5])
    assert got["late_gap"] == near([0.0, mean - 8 / 3, 1 - 8 / 3, mean - 8 / 3])
    assert got["late_content_gap"] == near([0.0, -0.5, -1.0, -0.5])
    # The turn before, if it is a candidate: chunk 0 stands before chunk 1 of note 0, chunk 2 before chunk 3 of note 1.
    assert got["late_prev"] == near([1.0, 0.0, 0.0, mean])
    assert got["late_note_gap"] == near([0.0, mean - 8 / 3, 0.0, mean - 8 / 3])


def test_a_turn_before_that_was_not_looked_at_counts_for_nothing() -> None:
    asked = Asked(VECTOR, np.array([[1, 0]], dtype=np.float32), ("house",))
    parts = {name: np.array(NEAR, dtype=np.float32) for name in (*turns.KEPT, "dense")}
    s = signals(detail=lambda at: seen(tokens=[codes((4, 0)), None, codes((3, 0)), codes((2, 0))]))
    got = signals_of(s, parts, np.array(FIRST, dtype=np.float32), np.array([4, 1, 2, 3]), question(asked=asked))
    assert got["late"].tolist() == [4.0, 3.0, 3.0, 2.0]
    assert got["late_prev"].tolist() == [2.0, 0.0, 0.0, 0.0]  # candidate 0 is not in the pool


def test_the_least_of_several_tokens_is_the_weakest() -> None:
    asked = Asked(VECTOR, np.array([[1, 0], [0, 1]], dtype=np.float32), ("house", "garden"))
    tokens = [codes((4, 0)), codes((3, 0), (0, 1)), None, None]
    got = look(question(asked=asked), signals(detail=lambda at: seen(tokens=tokens)))
    assert got["late"] == near([2.0] * 4)
    assert got["late_least"] == near([0.0, 1.0, 0.5, 0.5])


def test_a_question_of_stop_words_and_marks_counts_as_a_whole() -> None:
    asked = Asked(VECTOR, np.array([[1, 0], [0, 1]], dtype=np.float32), ("who", "?"))
    got = look(question(asked=asked), signals(detail=lambda at: seen(tokens=[codes((2, 4)), None, None, None])))
    assert got["late_content"] == got["late"] == near([3.0] * 4)


@pytest.mark.parametrize("asked", [Asked(VECTOR), Asked(VECTOR, np.zeros((0, 2), dtype=np.float32), ())])
def test_a_question_without_tokens_is_not_compared_by_them(asked: Asked) -> None:
    """Remote embedders give none, and a local model none for what its tokenizer drops."""
    got = look(question(asked=asked), signals(detail=lambda at: seen(tokens=[codes((1, 2))] * 4)))
    assert not [name for name in got if name.startswith("late")]


def test_turns_without_tokens_are_not_compared_by_them() -> None:
    asked = Asked(VECTOR, np.array([[1, 0]], dtype=np.float32), ("house",))
    assert not [name for name in look(question(asked=asked)) if name.startswith("late")]
