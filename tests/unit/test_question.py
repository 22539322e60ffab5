"""A question made ready: the names of speakers among its words."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from holdfast.embed.base import Asked
from holdfast.engine.question import Question, make_question
from holdfast.errors import QueryError
from holdfast.index.asking import SPEAKER
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.text.query import parse_query
from tests.contract.test_index import note, talk, witness
from tests.memory_index import MemoryIndex


@pytest.fixture(params=["sqlite", "oracle"], scope="module")
def index(request: pytest.FixtureRequest) -> Any:
    made: Any = SqliteIndex.in_memory() if request.param == "sqlite" else MemoryIndex()
    with made.begin() as tx:
        turns = [
            ("Ana Lopez", "ant"),
            ("Bo", "bee"),
            ("Ana", "cow"),
            ("James", "dog"),
            ("Éva", "eel"),
            ("Anabel", "fox"),
        ]
        tx.replace_note(witness("a.md"), 0, talk(*turns))
        tx.replace_note(witness("b.md"), 0, note("gnu", author="Zoe", fields=(("author", "zoe"),)))
    return made


def ready(index: Any, text: str, **named: Any) -> Question:
    return make_question(parse_query(text), index, named.get("asked"), named.get("floor", 0.0))


@pytest.mark.parametrize(
    ("text", "names", "who"),
    [
        ("What did Bo buy?", ("bo",), ("bo",)),
        ("what did BO buy", ("bo",), ("bo",)),
        ("Bo's boat", ("bo",), ("bo",)),
        ("Bo’s boat", ("bo",), ("bo",)),
        ("Ana's ants", ("ana",), ("ana", "ana lopez")),  # by the whole name or the first one, but no part of a word
        ("Lopez", (), ()),
        ("James's dog", ("jame",), ("james",)),
        ("éva", ("eva",), ("éva",)),
        ("Bo and Ana", ("bo", "ana"), ("bo", "ana", "ana lopez")),
        ("Bo, Bo!", ("bo",), ("bo",)),
        ("Zoe", (), ()),  # who writes a note speaks in none
        ("the weather", (), ()),
        ("from:bo weather", (), ()),  # a filter is no word
        ("-bo weather", (), ()),
        ("", (), ()),
    ],
)
def test_the_names_of_speakers(index: Any, text: str, names: tuple[str, ...], who: tuple[str, ...]) -> None:
    q = ready(index, text)
    assert (q.search.names, q.search.who) == (names, who)


def test_what_is_asked_besides_names_is_counted(index: Any) -> None:
    q = ready(index, "What did Ana Lopez buy at the harb* market market, Bo?")
    assert q.search.words == ("ana", "lopez", "buy", "market", "bo")
    assert q.search.names == ("ana", "bo")
    assert q.content == 4  # lopez, buy, market, and what begins with harb
    assert q.speakers == ("ana", "ana", "lopez", "bo")
    assert q.chunks == 7
    assert ready(index, "Bo").content == 0


def test_the_text_is_the_question_without_its_filters(index: Any) -> None:
    q = ready(index, 'from:bo "ant bee" -cow when since:2023')
    assert q.text == "ant bee when"
    assert len(q.search.conditions) == 2


def test_a_vector_brings_the_floor_along(index: Any) -> None:
    asked = Asked(np.array([0.6, 0.8], dtype=np.float32))
    q = ready(index, "ant", asked=asked, floor=0.25)
    assert q.asked is asked
    assert q.search.question is asked.vector
    assert q.search.floor == 0.25
    plain = ready(index, "ant", floor=0.25)
    assert (plain.asked, plain.search.question, plain.search.floor) == (None, None, 0.0)


def test_a_date_that_is_none_is_refused(index: Any) -> None:
    with pytest.raises(QueryError):
        ready(index, "since:someday ant")


def test_a_name_that_many_bear_stands_for_a_few() -> None:
    index: Any = SqliteIndex.in_memory()
    with index.begin() as tx:
        tx.replace_note(witness("a.md"), 0, talk(*[(f"Ana {n}", "ant") for n in range(20)]))
    assert index.speakers("ana") == [f"ana {n}" for n in sorted(range(20), key=str)][:8]
    assert ready(index, "Ana").search.who == tuple(index.speakers("ana"))


def test_every_word_is_looked_up_as_typed_and_as_a_term() -> None:
    asked: list[str] = []
    index = SimpleNamespace(
        speakers=lambda name: asked.append(name) or [],
        counts=lambda: SimpleNamespace(chunks=0),
        has_field=lambda key, *_: key == SPEAKER,
    )
    ready(index, "Running (quickly)")
    assert asked == ["running", "run", "quickly", "quick"]


def test_where_nobody_speaks_no_name_is_looked_up() -> None:
    index = SimpleNamespace(counts=lambda: SimpleNamespace(chunks=0), has_field=lambda *_: False)
    assert ready(index, "Running quickly").search.names == ()
