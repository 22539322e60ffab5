"""What every store of vectors promises (holdfast.index.vectors.port), and what an index says by them.

The oracle is a plain loop: decode each code, take the cosine, sort.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.embed.base import Floats
from holdfast.errors import EmbedderWrong, IndexDamaged
from holdfast.index.asking import Condition, Search
from holdfast.index.base import NoteRecord
from holdfast.index.sqlite import vectors as sqlite_vectors
from holdfast.index.sqlite.db import create
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.index.vectors import copy as scan_copy
from holdfast.index.vectors.codes import VectorRow, rows
from holdfast.model import Input, sort_key
from holdfast.text.inputs import input_digest
from tests.contract.test_index import WORDS, ask, note, witness
from tests.dump import dump
from tests.fake_embedder import (
    FakeEmbedder,
    assert_nothing_is_left_of_others,
    recount,
    stored_rows,
)

DIMENSION = 48
Place = tuple[int, int]
"""(note id, chunk)"""


def input_of(text: str, speaker: str | None = None) -> Input:
    return Input(text, 0, len(text), speaker is not None, input_digest(text, 0, len(text), speaker))


def record(*texts: str, speakers: tuple[str | None, ...] = (), **named: Any) -> NoteRecord:
    """A note with a chunk of each text, each the input of its own."""
    made = note(*texts, **named)
    who = speakers or (None,) * len(texts)
    chunks = [
        replace(c, input=input_of(t, s).digest, speaker=s) for c, t, s in zip(made.chunks, texts, who, strict=True)
    ]
    return replace(made, chunks=chunks)


class Life:
    """An index, an embedder, and every text that was ever put in."""

    def __init__(self, index: SqliteIndex, fake: FakeEmbedder) -> None:
        self.index, self.fake = index, fake
        self.serial = 0
        self.at: dict[str, tuple[str, ...]] = {}
        self.speakers: dict[str, tuple[str | None, ...]] = {}
        self.inputs: dict[bytes, Input] = {}

    @property
    def vectors(self) -> Any:
        return self.index.vectors

    def put_note(self, path: str, *texts: str, speakers: tuple[str | None, ...] = (), **named: Any) -> int:
        self.serial += 1
        who = speakers or (None,) * len(texts)
        self.inputs |= {x.digest: x for x in map(input_of, texts, who)}
        self.at[path], self.speakers[path] = texts, who
        with self.index.begin() as tx:
            return tx.replace_note(witness(path, self.serial), 0, record(*texts, speakers=who, **named))

    def delete(self, path: str) -> None:
        del self.at[path], self.speakers[path]
        with self.index.begin() as tx:
            tx.delete_file(sort_key(path))

    def move(self, old: str, new: str) -> None:
        self.serial += 1
        self.at[new], self.speakers[new] = self.at.pop(old), self.speakers.pop(old)
        with self.index.begin() as tx:
            tx.move_file(sort_key(old), witness(new, self.serial), 0)

    def give(self, *texts: str, fake: FakeEmbedder | None = None, speaker: str | None = None) -> int:
        """Store vectors of these texts, whoever has them."""
        fake = fake or self.fake
        id_ = self.vectors.add_embedder(fake.identity, fake.dimension)
        stored: int = self.vectors.put(id_, [fake.row(input_of(t, speaker)) for t in texts])
        return stored

    def embed(self, fake: FakeEmbedder | None = None) -> int:
        """Give every chunk its vector; returns how many were new."""
        fake = fake or self.fake
        id_ = self.vectors.add_embedder(fake.identity, fake.dimension)
        wanted = {input_of(t, s).digest for p in self.at for t, s in zip(self.at[p], self.speakers[p], strict=True)}
        stored: int = self.vectors.put(id_, [fake.row(self.inputs[d]) for d in sorted(wanted)])
        return stored

    def id(self, fake: FakeEmbedder | None = None) -> int:
        found = self.vectors.find((fake or self.fake).identity)
        assert found is not None
        return int(found)

    def ready(self, fake: FakeEmbedder | None = None) -> int:
        """What is said of it, after it was compared with a recount: fresh, remembered, and by another reader."""
        fake = fake or self.fake
        said: int = self.vectors.ready(self.id(fake))
        assert said == recount(self.index, fake.identity) == self.vectors.counts(self.id(fake))[0]
        assert self.vectors.counts(self.id(fake))[1] == len(stored_rows(self.index, fake.identity))
        self.vectors.remember_ready()
        assert self.vectors.ready(self.id(fake)) == said
        with self.other() as other:
            assert other.vectors.ready(self.id(fake)) == said
        return said

    @contextmanager
    def other(self) -> Iterator[SqliteIndex]:
        """Another reader of the same index, as another process has it; where there can be none, the same one."""
        if self.index.path == ":memory:":
            yield self.index
            return
        index = SqliteIndex(self.index.path, 1, "me")
        try:
            yield index
        finally:
            index.close()

    # The oracle

    def cosines(self, question: Floats, fake: FakeEmbedder | None = None) -> dict[Place, float]:
        """The cosine of every chunk that has a vector."""
        have = stored_rows(self.index, (fake or self.fake).identity)
        out = {}
        for path, texts in self.at.items():
            row = self.index.file_row(sort_key(path))
            assert row is not None
            for ord_, (text, speaker) in enumerate(zip(texts, self.speakers[path], strict=True)):
                if (found := have.get(input_of(text, speaker).digest)) is not None:
                    code = np.frombuffer(found.code, np.int8).astype(np.float64)
                    out[row.id, ord_] = float(code @ question / max(np.linalg.norm(code), 1))
        return out


def said(index: Any, search: Search) -> dict[Place, float]:
    """The cosine of each candidate."""
    s = index.signals(search)
    ids = s.notes.tolist()
    return {(ids[o], c): d for o, c, d in zip(s.owner.tolist(), s.ord.tolist(), s.dense.tolist(), strict=True)}


def top(cosines: dict[Place, float], count: int = 10) -> list[Place]:
    return sorted(cosines, key=lambda p: (-round(cosines[p], 6), p))[:count]


@pytest.fixture(params=["file", "in_memory"])
def life(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Life]:
    if request.param == "file":
        create(str(tmp_path / "gen-000001.db"), "me")
        index = SqliteIndex(str(tmp_path / "gen-000001.db"), 1, "me")
    else:
        index = SqliteIndex.in_memory()
    yield Life(index, FakeEmbedder(DIMENSION))
    index.close()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Life]:
    create(str(tmp_path / "gen-000001.db"), "me")
    index = SqliteIndex(str(tmp_path / "gen-000001.db"), 1, "me")
    yield Life(index, FakeEmbedder(DIMENSION))
    index.close()


class TestPut:
    def test_nothing_is_known_of_an_empty_store(self, life: Life) -> None:
        v = life.vectors
        assert (v.live(), v.find("x"), v.lacking_notes(0), v.ready(0), v.counts(7)) == (None, None, [], 0, (0, 0))
        assert v.lacking(0, [bytes(16)]) == {bytes(16)}
        assert (v.rows(1, 0, 10), v.stored_bytes(1), v.drop_orphans(1)) == ([], 0, 0)
        v.remember_ready()
        v.write_copy()
        assert said(life.index, ask("ant", question=life.fake.ask("ant").vector)) == {}

    def test_only_what_a_live_chunk_has_is_stored(self, life: Life) -> None:
        life.put_note("a.md", "ant bee", "cow")
        assert life.give("ant bee", "nobody has this", "cow") == 2
        assert stored_rows(life.index, life.fake.identity).keys() == {input_of(t).digest for t in ("ant bee", "cow")}
        life.delete("a.md")
        life.put_note("b.md", "dog")
        assert life.give("eel", "dog") == 1
        assert life.ready() == 1

    def test_a_text_that_was_edited_away_takes_no_vector(self, life: Life) -> None:
        life.put_note("a.md", "ant bee")
        life.put_note("a.md", "cow")
        assert life.give("ant bee") == 0
        assert life.vectors.counts(life.id()) == (0, 0)
        # The same words by somebody, or in another place of the text, are another input.
        life.put_note("b.md", "cow", speakers=("Ana",))
        assert life.give("cow") == 1
        assert life.ready() == 1

    def test_the_same_input_twice_is_stored_once(self, life: Life) -> None:
        life.put_note("a.md", "ant", "bee", "ant")
        assert life.give("ant", "ant", "bee") == 2
        assert life.give("bee", "ant") == 0
        assert life.vectors.counts(life.id()) == (3, 2)
        assert life.ready() == 3

    def test_rows_are_kept_as_they_were_given(self, life: Life) -> None:
        life.put_note("a.md", "ant bee", "cow", "dog", speakers=("Ana", None, "Bo"))
        life.embed()
        have = stored_rows(life.index, life.fake.identity)
        assert have == {d: life.fake.row(x) for d, x in life.inputs.items()}
        assert [bool(r.tokens) for d, r in sorted(have.items())] == [life.inputs[d].is_turn for d in sorted(have)]
        assert all(r.is_whole for r in have.values())

    def test_an_embedder_has_one_dimension(self, life: Life) -> None:
        id_ = life.vectors.add_embedder("x", 8)
        assert life.vectors.add_embedder("x", 8) == id_
        assert life.vectors.live().dimension == 8
        assert life.vectors.add_embedder("y", 9) != id_
        newer = life.vectors.add_embedder("x", 9)
        assert newer not in (id_, life.vectors.find("y"))
        assert (life.vectors.find("x"), life.vectors.find("x", 8), life.vectors.find("x", 9)) == (newer, id_, newer)
        assert life.vectors.find("x", 7) is None
        assert life.vectors.live().id == id_

    def test_a_vector_of_another_dimension_is_refused_or_left_out(self, life: Life) -> None:
        """Whoever gives it: a reader of the block would take the whole index for damaged."""
        life.put_note("a.md", "ant", "bee")
        life.give("ant")
        with suppress(EmbedderWrong):
            life.vectors.put(life.id(), [FakeEmbedder(DIMENSION + 8).row(input_of("bee"))])
        assert life.ready() == 1
        assert len(said(life.index, ask("ant", question=life.fake.ask("ant").vector))) == 2

    def test_rows_page_in_order_without_a_gap(self, life: Life) -> None:
        texts = [f"text {n}" for n in range(25)]
        life.put_note("a.md", *texts)
        second = FakeEmbedder(DIMENSION, "second")
        for text in texts:  # by turns, so that the ids of two embedders are mixed
            life.give(text)
            life.give(text, fake=second)
        for fake in (life.fake, second):
            whole = life.vectors.rows(life.id(fake), 0, 100)
            assert [r for _, r in whole] == [fake.row(input_of(t)) for t in texts]
            for limit in (1, 7, 25):
                pages, after = [], 0
                while page := life.vectors.rows(life.id(fake), after, limit):
                    assert len(page) <= limit
                    pages += page
                    after = page[-1][0]
                assert pages == whole

    def test_what_a_transaction_that_fails_had_is_not_there(self, life: Life) -> None:
        life.put_note("a.md", "ant", "bee", "cow")
        good = life.fake.row(input_of("ant"))
        id_ = life.vectors.add_embedder(life.fake.identity, DIMENSION)
        with pytest.raises((IndexDamaged, AttributeError)):
            life.vectors.put(id_, [good, None])
        assert life.vectors.counts(id_) == (0, 0)
        assert life.embed() == 3
        assert life.ready() == 3


class TestEmbedders:
    def test_the_first_one_answers_at_once_and_another_when_it_is_told_to(self, life: Life) -> None:
        second = FakeEmbedder(DIMENSION, "second")
        life.put_note("a.md", "ant bee", "cow", speakers=("Ana", None))
        life.give("cow")
        live = life.vectors.live()
        assert (live.id, live.identity, live.dimension) == (life.id(), life.fake.identity, DIMENSION)
        life.embed()
        before = said(life.index, ask("ant", question=life.fake.ask("ant").vector))
        assert life.embed(second) == 2
        assert life.vectors.live() == live
        assert said(life.index, ask("ant", question=life.fake.ask("ant").vector)) == before
        assert (life.ready(), life.ready(second)) == (2, 2)
        with life.other() as other:
            assert other.vectors.live() == live

    def test_switching_drops_what_the_others_left(self, life: Life) -> None:
        second, third = FakeEmbedder(DIMENSION, "second"), FakeEmbedder(8, "third")
        life.put_note("a.md", "ant bee", "cow", "dog", speakers=("Ana", None, "Bo"))
        life.embed()
        life.embed(second)
        life.give("cow", fake=third)
        reader = said(life.index, ask("ant", question=life.fake.ask("ant").vector))
        assert reader
        life.vectors.switch(life.id(second))
        assert life.vectors.live().identity == "second:48"
        assert (life.vectors.find(life.fake.identity), life.vectors.find(third.identity)) == (None, None)
        assert_nothing_is_left_of_others(life.index, second.identity)
        assert life.ready(second) == 3
        question = second.ask("ant").vector
        want = life.cosines(question, second)
        for index in (life.index, SqliteIndex(life.index.path, 1, "me") if life.index.path != ":memory:" else None):
            if index is not None:
                got = said(index, ask("ant", question=question, floor=-1.0))
                assert got == pytest.approx({p: c for p, c in want.items() if p in got}, abs=1e-5)
        # It can come back, as a new one.
        assert life.embed() == 3
        life.vectors.switch(life.id())
        assert life.ready() == 3
        assert_nothing_is_left_of_others(life.index, life.fake.identity)

    def test_a_switch_that_dies_is_ended_by_the_next(self, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        second = FakeEmbedder(DIMENSION, "second")
        life.put_note("a.md", "ant bee", "cow")
        life.embed()
        life.embed(second)
        with monkeypatch.context() as patch:
            patch.setattr(sqlite_vectors, "_delete", _die)
            with pytest.raises(Died):
                life.vectors.switch(life.id(second))
        assert life.vectors.live().identity in (life.fake.identity, second.identity)
        life.vectors.switch(life.id(second))
        assert_nothing_is_left_of_others(life.index, second.identity)

    def test_more_vectors_than_are_dropped_at_a_time(self, life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_vectors, "BATCH_ROWS", 7)
        second = FakeEmbedder(8, "second")
        texts = [f"text {n}" for n in range(40)]
        life.put_note("a.md", *texts, speakers=("Ana", None) * 20)
        life.embed()
        life.embed(second)
        life.vectors.switch(life.id(second))
        assert_nothing_is_left_of_others(life.index, second.identity)
        life.put_note("a.md", *texts[:5])
        assert life.vectors.drop_orphans(life.id(second)) == 38  # of the five, three are said by nobody now
        assert life.vectors.drop_orphans(life.id(second)) == 0


class Died(BaseException):
    """No `except Exception` sees it."""


def _die(*_: Any) -> int:
    raise Died


class TestLacking:
    def test_notes_that_lack_a_vector_newest_first(self, life: Life) -> None:
        ids = {
            "b.md": life.put_note("b.md", "ant", modified_ns=50),
            "a.md": life.put_note("a.md", "bee", modified_ns=50),
            "new.md": life.put_note("new.md", "cow", "dog", modified_ns=90),
            "file.md": life.put_note("file.md", "eel"),  # its file's time is what counts: 1,000 and more
            "old.md": life.put_note("old.md", "fox", modified_ns=-3),
        }
        order = [ids[p] for p in ("file.md", "new.md", "a.md", "b.md", "old.md")]
        assert life.vectors.lacking_notes(0) == order
        life.give("bee", "cow")
        assert life.vectors.lacking_notes(life.id()) == [i for i in order if i != ids["a.md"]]
        life.embed()
        assert life.vectors.lacking_notes(life.id()) == []
        assert life.vectors.lacking_notes(life.id() + 1) == order
        life.put_note("a.md", "ant", "gnu")
        assert life.vectors.lacking_notes(life.id()) == [ids["a.md"]]

    def test_inputs_that_lack_a_vector(self, life: Life) -> None:
        life.put_note("a.md", "ant", "bee")
        life.give("ant")
        asked = [input_of(t).digest for t in ("ant", "bee", "cow", "bee")]
        assert life.vectors.lacking(life.id(), iter(asked)) == set(asked[1:3])
        assert life.vectors.lacking(life.id() + 1, asked) == set(asked)
        assert [life.vectors.is_wanted(x) for x in asked] == [True, True, False, True]


class TestCounts:
    def test_a_vector_goes_with_the_text_wherever_it_is(self, life: Life) -> None:
        life.put_note("a.md", "ant bee")
        life.put_note("b.md", "ant bee", "cow")
        assert life.give("ant bee") == 1
        assert life.ready() == 2
        life.move("a.md", "d/e.md")
        assert life.ready() == 2
        life.delete("d/e.md")
        assert life.ready() == 1
        life.put_note("b.md", "cow", "dog")
        assert life.ready() == 0
        life.put_note("back.md", "dog", "ant bee")
        assert life.ready() == 1
        assert life.give("ant bee") == 0
        question = life.fake.ask("ant bee").vector
        got = said(life.index, ask("ant bee", question=question))
        assert got == pytest.approx(life.cosines(question) | {p: 0.0 for p in got if p not in life.cosines(question)})
        assert max(got.values()) > 0.99

    @pytest.mark.parametrize("seed", range(6))
    def test_a_random_life_is_counted_right(self, life: Life, seed: int) -> None:
        rng = random.Random(seed)
        texts = [f"{rng.choice(WORDS)} {rng.choice(WORDS)}" for _ in range(30)]
        paths = [f"{d}n{n}.md" for d in ("", "d/") for n in range(5)]
        life.put_note("always.md", "always")
        life.embed()
        for _ in range(40):
            what, path = rng.randrange(6), rng.choice(paths)
            if what < 2 or not set(paths) & set(life.at):
                life.put_note(path, *rng.choices(texts, k=rng.randrange(1, 5)))
            elif what == 2:
                life.delete(rng.choice(sorted(set(paths) & set(life.at))))
            elif what == 3 and path not in life.at:
                life.move(rng.choice(sorted(set(paths) & set(life.at))), path)
            elif what == 4:
                life.give(*rng.choices(texts, k=8))
            else:
                orphans = len(stored_rows(life.index, life.fake.identity).keys() - _wanted(life))
                assert life.vectors.drop_orphans(life.id()) == orphans
                assert stored_rows(life.index, life.fake.identity).keys() <= _wanted(life)
            if rng.random() < 0.5:
                life.ready()
        life.embed()
        assert life.ready() == sum(map(len, life.at.values()))
        question = life.fake.ask(rng.choice(texts)).vector
        got = said(life.index, ask("ant owl", question=question, floor=-1.0))
        want = life.cosines(question)
        assert {p: c for p, c in got.items() if c > 0} == pytest.approx(
            {p: want[p] for p in got if want[p] > 0}, abs=1e-5
        )
        assert {p for p, c in want.items() if c > 0} <= got.keys()

    def test_what_is_remembered_is_not_believed_when_something_changed(self, stored: Life) -> None:
        stored.put_note("a.md", "ant", "bee")
        stored.embed()
        stored.vectors.remember_ready()
        with stored.other() as other:
            assert other.vectors.ready(stored.id()) == 2
            with other.begin() as tx:
                tx.replace_note(witness("b.md"), 0, record("ant", "cow"))
            assert stored.vectors.ready(stored.id()) == other.vectors.ready(stored.id()) == 3
            stored.vectors.remember_ready()
            other.vectors.put(stored.id(), [stored.fake.row(input_of("cow"))])
            assert stored.vectors.ready(stored.id()) == 4
        with stored.other() as other:
            assert other.vectors.ready(stored.id()) == 4

    def test_what_is_remembered_is_used(self, stored: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        stored.put_note("a.md", "ant", "bee")
        stored.embed()
        stored.vectors.remember_ready()
        monkeypatch.setattr(sqlite_vectors, "counts", _die)
        with stored.other() as other:
            assert other.vectors.ready(stored.id()) == 2
        assert stored.vectors.ready(stored.id()) == 2

    def test_orphans_are_dropped_with_their_tokens_and_nothing_else(self, life: Life) -> None:
        second = FakeEmbedder(8, "second")
        life.put_note("a.md", "ant", "bee", "cow", speakers=("Ana", None, "Bo"))
        life.put_note("b.md", "bee", "dog")
        life.embed()
        life.embed(second)
        life.put_note("a.md", "eel")
        assert life.vectors.drop_orphans(life.id()) == 2
        assert life.vectors.counts(life.id()) == (2, 2)
        assert life.vectors.counts(life.id(second)) == (2, 4)
        tokens = life.index._db.execute("select count(*) from token").fetchall()
        assert tokens == [(2,)]  # the second one's
        assert life.ready() == 2
        assert life.vectors.stored_bytes(life.id()) > 2 * DIMENSION


def _wanted(life: Life) -> set[bytes]:
    return {input_of(t, s).digest for p in life.at for t, s in zip(life.at[p], life.speakers[p], strict=True)}


class TestSignals:
    @pytest.fixture
    def full(self, life: Life) -> Life:
        rng = random.Random(5)
        for n in range(60):
            texts = [" ".join(rng.choices(WORDS, k=6)) for _ in range(rng.randrange(1, 6))]
            speakers = tuple(rng.choice([None, "Ana", "Bo"]) for _ in texts)
            fields = ((":speaker", "ana"), ("tag", rng.choice(["home", "work"])))
            life.put_note(f"{'d/' * (n % 3)}n{n}.md", *texts, speakers=speakers, modified_ns=n, fields=fields)
        life.embed()
        # Notes that came after, moved, and went.
        life.put_note("late.md", "ant bee cow", "nothing embeds this")
        life.move("n0.md", "moved/n0.md")
        for n in (1, 2, 33):
            life.delete(f"{'d/' * (n % 3)}n{n}.md")
        return life

    @pytest.mark.parametrize("question", ["ant bee", "owl", "panda newt gnu", "unheard words only"])
    @pytest.mark.parametrize(
        "condition",
        [
            None,
            Condition("path", values=("d",)),
            Condition("field", "tag", ("home",)),
            Condition("who", values=("ana",)),
            Condition("time", lo_ns=30),
            Condition("field", "tag", ("home",), negated=True),
        ],
        ids=lambda c: f"{c.kind}{'-not' * c.negated}" if c else "all",
    )
    def test_cosines_are_those_of_the_oracle(self, full: Life, question: str, condition: Condition | None) -> None:
        vector = full.fake.ask(question).vector
        conditions = (condition,) if condition else ()
        search = ask(question, question=vector, conditions=conditions, floor=-1.0)
        got, want = said(full.index, search), full.cosines(vector)
        scope = said(full.index, ask(" ".join(WORDS), conditions=conditions)).keys()  # every text has one of them
        assert 0 < len(scope) < len(want) or condition is None
        assert {p for p, c in want.items() if c > 0} & scope <= got.keys()
        if condition is not None:
            assert got.keys() <= scope
        for place, cosine in got.items():
            assert cosine == pytest.approx(want.get(place, 0.0), abs=1e-5)
        assert full.index.signals(search).ready == len(want)
        s = full.index.signals(search)
        known = {p for p, k in zip(got, s.is_known.tolist(), strict=True) if k}
        assert known == got.keys() & want.keys()
        ids = s.notes.tolist()
        for note_, best in zip(ids, s.note_dense.tolist(), strict=True):
            mine = [c for (n, _), c in want.items() if n == note_ and (n, _) in (scope if conditions else want)]
            assert best == pytest.approx(max(0.0, *mine) if mine else 0.0, abs=1e-5)

    def test_what_shares_no_word_is_found_by_meaning_alone(self, life: Life) -> None:
        meant = life.put_note("a.md", "the very thing")
        life.put_note("b.md", "something else")
        life.fake.row(input_of("the very thing"))
        life.embed()
        question = life.fake.ask("the very thing").vector
        got = said(life.index, Search(words=("unheard",), repeats=(1,), question=question, floor=0.5))
        assert got == {(meant, 0): pytest.approx(1.0, abs=0.01)}
        assert said(life.index, Search(words=("unheard",), repeats=(1,), floor=0.5)) == {}

    def test_the_floor_and_the_number_of_the_nearest_bound_what_comes_by_meaning(self, full: Life) -> None:
        vector = full.fake.ask("ant bee").vector
        want = full.cosines(vector)
        for floor in (0.1, 0.3, 0.5, 0.99):
            got = said(full.index, Search(words=("unheard",), repeats=(1,), question=vector, floor=floor))
            assert got.keys() == {p for p, c in want.items() if c >= floor}
        for count in (1, 5, 30):
            got = said(full.index, Search(words=("unheard",), repeats=(1,), question=vector, nearest=count))
            assert sorted(got, key=lambda p: -got[p])[: count // 2] == top(want, count // 2)
            assert count <= len(got) <= count + 3  # equal texts are equally near
        # A word makes a candidate whatever its cosine is.
        assert min(said(full.index, ask("ant", question=vector, floor=0.99)).values()) < 0.3

    def test_without_a_question_nothing_is_said_of_meaning(self, full: Life) -> None:
        s = full.index.signals(ask("ant bee"))
        assert not s.dense.any()
        assert not s.note_dense.any()
        assert s.is_known.any()

    def test_a_chunk_without_a_vector_says_so(self, full: Life) -> None:
        late = full.index.file_row(sort_key("late.md")).id  # type: ignore[union-attr]
        search = ask("ant nothing", question=full.fake.ask("ant").vector)
        s = full.index.signals(search)
        known = dict(zip(said(full.index, search), s.is_known.tolist(), strict=True))
        assert known[late, 1] is False
        assert sum(known.values()) > 10
        assert s.ready == len(full.cosines(full.fake.ask("ant").vector))

    def test_the_second_look_gets_rows_and_tokens_of_the_right_chunks(self, full: Life) -> None:
        vector = full.fake.ask("ant bee").vector
        with full.index.snapshot():
            s = full.index.signals(ask("ant bee", question=vector))
            detail = s.detail(np.arange(len(s.owner)))
        want = full.cosines(vector)
        for i, (place, ord_) in enumerate(zip(s.owner.tolist(), s.ord.tolist(), strict=True)):
            at = (int(s.notes[place]), ord_)
            chunk = full.index.chunks([at])[0]
            assert detail.rows[i] == chunk
            assert chunk is not None
            row = stored_rows(full.index, full.fake.identity).get(chunk.input)
            tokens = detail.tokens[i]
            assert (b"" if tokens is None else tokens.tobytes()) == (row.tokens if row and chunk.speaker else b"")
            assert detail.before[i] == pytest.approx(want.get((at[0], ord_ - 1), 0.0), abs=1e-5)

    def test_an_answer_is_of_one_snapshot(self, stored: Life) -> None:
        stored.put_note("a.md", "ant", "bee")
        stored.give("ant")
        question = stored.fake.ask("ant").vector
        search = ask("ant bee", question=question)
        with stored.index.snapshot():
            before = said(stored.index, search)
            with stored.other() as other:
                other.vectors.put(stored.id(), [stored.fake.row(input_of("bee"))])
                with other.begin() as tx:
                    tx.replace_note(witness("b.md"), 0, record("ant bee"))
                assert len(said(other, search)) == 3
            assert said(stored.index, search) == before
            assert stored.index.signals(search).ready == 1
        assert len(said(stored.index, search)) == 3
        assert stored.index.signals(search).ready == 2


class TestMany:
    """Above EXACT_ROWS: signs are held, the best are looked at exactly."""

    COUNT = 1_200

    @pytest.fixture
    def many(self, life: Life, monkeypatch: pytest.MonkeyPatch) -> Life:
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", 300)
        monkeypatch.setattr("holdfast.index.sqlite.meaning.EXACT_LEAST", 240)
        monkeypatch.setattr("holdfast.index.sqlite.meaning.EXACT_SCOPE", 700)
        life.fake = FakeEmbedder(200)
        rng = random.Random(3)
        for n in range(self.COUNT // 4):
            life.put_note(f"n{n}.md", *(" ".join(rng.choices(WORDS, k=8)) + f" {n} {i}" for i in range(4)))
        life.embed()
        return life

    def test_the_best_are_the_oracles(self, many: Life) -> None:
        for words in ("ant bee cow", "owl", "panda newt gnu ant", "ant owl fox", "77 2"):
            question = many.fake.ask(words).vector
            want = many.cosines(question)
            assert len(want) == self.COUNT
            got = said(many.index, Search(words=("unheard",), repeats=(1,), question=question))
            assert top(got) == top(want)
            assert [got[p] for p in top(got)] == pytest.approx([want[p] for p in top(got)], abs=1e-5)
            assert 400 <= len(got) <= 480  # estimates come in steps, and so in ties
            held = many.vectors._held.vectors
            assert not held.is_exact

    def test_filters_narrow_what_is_looked_at(self, many: Life) -> None:
        question = many.fake.ask("ant bee cow").vector
        conditions = (Condition("path", values=("n1*.md",)),)
        got = said(many.index, Search(words=("unheard",), repeats=(1,), question=question, conditions=conditions))
        names = many.index.keys({n for n, _ in got})
        assert all(names[n].startswith(b"\0n1") for n, _ in got)
        want = {p: c for p, c in many.cosines(question).items() if many.index.keys([p[0]])[p[0]][:3] == b"\0n1"}
        assert top(got) == top(want)

    def test_all_that_a_filter_leaves_is_exact(self, many: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each candidate, not only the best: the ranking weighs them all."""
        monkeypatch.setattr("holdfast.index.sqlite.meaning.EXACT_LEAST", 20)
        question = many.fake.ask("ant bee cow").vector
        search = ask("ant owl", question=question, conditions=(Condition("path", values=("n1*.md",)),))
        for _ in range(2):
            got, want = said(many.index, search), many.cosines(question)
            assert 300 < many.index.signals(search).scope_chunks <= 700
            assert got == pytest.approx({p: want[p] for p in got}, abs=1e-5)
            assert many.index.signals(search).is_exact
            assert not many.vectors._held.vectors.is_exact
            many.put_note("n1more.md", "ant owl gnu")
            many.embed()
        assert not many.index.signals(replace(search, conditions=())).is_exact

    def test_what_nobody_has_any_more_does_not_count(self, many: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", 700)
        question = many.fake.ask("ant bee cow").vector
        for n in range(70, self.COUNT // 4):
            many.delete(f"n{n}.md")
        got, want = said(many.index, ask("ant", question=question)), many.cosines(question)
        assert many.vectors.orphans(many.id()) > 300 >= len(want)
        assert got == pytest.approx({p: want[p] for p in got}, abs=1e-5)
        assert many.vectors._held.vectors.is_exact

    def test_it_becomes_exact_again_when_there_are_fewer(self, many: Life) -> None:
        question = many.fake.ask("ant bee cow").vector
        search = Search(words=("unheard",), repeats=(1,), question=question, nearest=2_000, floor=-1.0)
        said(many.index, search)
        for n in range(70, self.COUNT // 4):
            many.delete(f"n{n}.md")
        assert top(said(many.index, search)) == top(many.cosines(question))
        many.vectors.drop_orphans(many.id())
        got = said(many.index, search)
        assert many.vectors._held.vectors.is_exact
        want = many.cosines(question)
        assert got == pytest.approx({p: want[p] for p in got}, abs=1e-5)
        many.put_note("more.md", *(f"owl {n}" for n in range(100)))
        many.embed()
        assert top(said(many.index, search)) == top(many.cosines(question))
        assert not many.vectors._held.vectors.is_exact


class TestCopy:
    """The scan copy: what it holds need not be read row by row, and whatever is wrong with it changes no answer."""

    TEXTS = 100

    @pytest.fixture(autouse=True)
    def small_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_vectors, "BLOCK_ROWS", 16)

    @pytest.fixture
    def kept(self, stored: Life) -> Life:
        stored.put_note("a.md", *(f"{WORDS[n % 16]} {WORDS[n % 7]} {n}" for n in range(self.TEXTS)))
        stored.embed()
        stored.vectors.write_copy()
        return stored

    @pytest.fixture
    def read(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """The numbers of the blocks that are read from their rows."""
        numbers: list[int] = []
        real = sqlite_vectors.read_block

        def counted(db: Any, embedder: int, dimension: int, number: int, seq: int) -> Any:
            numbers.append(number)
            return real(db, embedder, dimension, number, seq)

        monkeypatch.setattr(sqlite_vectors, "read_block", counted)
        return numbers

    def path(self, life: Life) -> str:
        return life.index.path.removesuffix(".db") + ".vec"

    def search(self, life: Life) -> Search:
        return ask("ant", question=life.fake.ask("ant bee").vector, floor=-1.0)

    def answer(self, life: Life) -> dict[Place, float]:
        """By a new reader."""
        with life.other() as other:
            return said(other, self.search(life))

    def truth(self, life: Life) -> dict[Place, float]:
        want = life.cosines(life.fake.ask("ant bee").vector)
        return {p: pytest.approx(c, abs=1e-5) for p, c in want.items() if c > 0 or WORDS[p[1] % 16] == "ant"}

    def test_a_new_reader_reads_no_rows(self, kept: Life, read: list[int]) -> None:
        assert os.path.getsize(self.path(kept)) > self.TEXTS * (DIMENSION + 24)
        with kept.other() as other:
            got = said(other, self.search(kept))
            assert {p: c for p, c in got.items() if c > 0} == {p: c for p, c in self.truth(kept).items() if got[p] > 0}
            assert other.vectors._held.vectors.is_exact
        assert read == []
        assert not [n for n in os.listdir(os.path.dirname(kept.index.path)) if n.startswith(".holdfast-tmp")]
        os.unlink(self.path(kept))
        assert self.answer(kept) == got
        assert len(read) == 7

    def test_signs_alone_are_taken_from_it(self, kept: Life, read: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", 50)
        got = self.answer(kept)
        assert read == []
        assert {p: c for p, c in got.items() if c > 0} == {p: c for p, c in self.truth(kept).items() if got[p] > 0}

    @pytest.fixture
    def by_id(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many codes were read from their rows, each time; signs are held, and copied blocks are small."""
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", 50)
        monkeypatch.setattr("holdfast.index.sqlite.vector_store.COPY_ROWS", 4)
        counts: list[int] = []
        real = sqlite_vectors.codes

        def counted(db: Any, embedder: int, ids: Any, dimension: int) -> Any:
            counts.append(len(list(ids)))
            return real(db, embedder, ids, dimension)

        monkeypatch.setattr(sqlite_vectors, "codes", counted)
        return counts

    def test_codes_are_taken_from_it(self, kept: Life, by_id: list[int]) -> None:
        got = self.answer(kept)
        assert by_id == []
        assert {p: c for p, c in got.items() if c > 0} == {p: c for p, c in self.truth(kept).items() if got[p] > 0}

    def test_codes_of_a_stale_block_are_read_from_their_rows(self, kept: Life, by_id: list[int]) -> None:
        kept.put_note("b.md", "late ant", "late owl")
        kept.embed()
        got = self.answer(kept)
        assert by_id == [self.TEXTS + 2 + 1 - 6 * 16]  # ids begin at 1
        assert {p: c for p, c in got.items() if c > 0} == {
            p: c for p, c in self.truth(kept).items() if p in got and got[p] > 0
        }

    def test_codes_of_a_damaged_copy_are_read_from_their_rows(self, kept: Life, by_id: list[int]) -> None:
        with kept.other() as other:
            want = said(other, self.search(kept))
            with open(self.path(kept), "r+b") as f:
                f.seek(200)
                f.write(bytes(300))
            assert said(other, self.search(kept)) == want
        assert by_id

    def test_few_blocks_need_none(self, stored: Life) -> None:
        stored.put_note("a.md", *(f"ant {n}" for n in range(20)))
        stored.embed()
        stored.vectors.write_copy()
        assert not os.path.exists(self.path(stored))

    def test_an_index_in_memory_has_none(self) -> None:
        life = Life(SqliteIndex.in_memory(), FakeEmbedder(DIMENSION))
        life.put_note("a.md", *(f"ant {n}" for n in range(100)))
        life.embed()
        life.vectors.write_copy()
        assert len(said(life.index, self.search(life))) == 100
        life.index.close()

    def test_a_stale_block_is_read_from_its_rows(self, kept: Life, read: list[int]) -> None:
        kept.put_note("b.md", "late ant", "late owl")
        kept.embed()
        got = self.answer(kept)
        assert len(read) == 1
        assert {p: c for p, c in got.items() if c > 0} == {
            p: c for p, c in self.truth(kept).items() if p in got and got[p] > 0
        }
        late = kept.index.file_row(sort_key("b.md")).id  # type: ignore[union-attr]
        assert got[late, 0] == pytest.approx(kept.cosines(kept.fake.ask("ant bee").vector)[late, 0], abs=1e-5)

    def test_a_block_that_lost_rows_is_read_from_its_rows(self, kept: Life, read: list[int]) -> None:
        kept.put_note("a.md", *kept.at["a.md"][:50])
        assert kept.vectors.drop_orphans(kept.id()) == 50
        with kept.other() as other:
            said(other, self.search(kept))
            assert len(other.vectors._held.vectors) == 50
        assert len(read) >= 3
        kept.put_note("a.md", *kept.at["a.md"], "a new one")
        kept.embed()
        assert len(self.answer(kept)) == len([c for c in self.answer(kept).values() if c]) > 0

    def test_it_is_written_anew_when_much_is_stale(self, kept: Life, read: list[int]) -> None:
        before = Path(self.path(kept)).read_bytes()
        kept.vectors.write_copy()
        assert Path(self.path(kept)).read_bytes() == before  # nothing is stale
        kept.put_note("b.md", *(f"more {n}" for n in range(60)))
        kept.embed()
        kept.vectors.write_copy()
        assert Path(self.path(kept)).read_bytes() != before
        read.clear()
        got = self.answer(kept)
        assert read == []
        assert len(got) > 50

    def test_a_reader_goes_on_with_what_it_holds(self, kept: Life, read: list[int]) -> None:
        with kept.other() as other:
            said(other, self.search(kept))
            held = dict(other.vectors._held.vectors.blocks)
            os.unlink(self.path(kept))
            kept.put_note("b.md", "late ant")
            kept.embed()
            assert len(said(other, self.search(kept))) > 50
            assert len(read) == 1
            now = other.vectors._held.vectors.blocks
            assert sum(now[n] is held.get(n) for n in now) == len(held) - 1

    def test_a_reader_in_the_middle_of_a_rewrite_keeps_its_own(self, kept: Life) -> None:
        live = kept.vectors.live()
        open_ = scan_copy.Copy(kept.vectors._fs, self.path(kept), "me", live.id, DIMENSION)
        before = {n: open_.block(n, seq, with_codes=True) for n, seq in open_.blocks.items()}
        with kept.other() as reader, reader.snapshot():
            counted = reader.counts().chunks  # the snapshot begins
            kept.put_note("b.md", *(f"more {n}" for n in range(90)))
            kept.embed()
            kept.vectors.write_copy()
            again = {n: open_.block(n, seq, with_codes=True) for n, seq in open_.blocks.items()}
            assert all(_same(before[n], again[n]) for n in before)
            got = said(reader, self.search(kept))
            assert len(got) <= self.TEXTS == counted
            assert len(reader.vectors._held.vectors) == self.TEXTS
        open_.close()

    def test_a_write_that_fails_leaves_the_old_one(self, kept: Life) -> None:
        from tests.fault.faulty_fs import Fault, FaultyFS

        before = Path(self.path(kept)).read_bytes()
        kept.put_note("b.md", *(f"more {n}" for n in range(60)))
        kept.embed()
        for call, at in (("open_new", 1), ("write", 1), ("write", 3), ("replace", 1)):
            kept.vectors._fs = FaultyFS(Fault(call=call, at=at, error=28))
            with pytest.raises(OSError, match="No space left"):
                kept.vectors.write_copy()
            assert Path(self.path(kept)).read_bytes() == before
            assert not [n for n in os.listdir(os.path.dirname(kept.index.path)) if n.startswith(".holdfast-tmp")]
        kept.vectors._fs = FaultyFS()
        Path(os.path.dirname(kept.index.path), ".holdfast-tmp-gen-000001.vec").write_bytes(b"of one that died")
        kept.vectors.write_copy()
        assert Path(self.path(kept)).read_bytes() != before
        assert not [n for n in os.listdir(os.path.dirname(kept.index.path)) if n.startswith(".holdfast-tmp")]

    def hurt(self, kept: Life, data: bytes | None) -> dict[Place, float]:
        """What a new reader says with `data` in the copy's place."""
        if data is None:
            os.unlink(self.path(kept))
        else:
            Path(self.path(kept)).write_bytes(data)
        return self.answer(kept)

    def test_a_flipped_byte_changes_no_answer(self, kept: Life, read: list[int]) -> None:
        good, truth = Path(self.path(kept)).read_bytes(), self.answer(kept)
        assert read == []
        tail = len(good) - 12
        places = {*random.Random(1).sample(range(len(good)), 120), *range(tail - 40, len(good)), 0}
        for at in sorted(places):
            read.clear()
            flipped = good[at] ^ random.Random(at).choice([1, 32, 128, 255])
            assert self.hurt(kept, good[:at] + bytes([flipped]) + good[at + 1 :]) == truth
            assert read, f"the byte at {at} of {len(good)} is believed"

    @pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.9999])
    def test_a_copy_that_is_cut_changes_no_answer(self, kept: Life, read: list[int], share: float) -> None:
        good, truth = Path(self.path(kept)).read_bytes(), self.answer(kept)
        assert self.hurt(kept, good[: int(len(good) * share)]) == truth
        assert len(read) == 7
        read.clear()
        assert self.hurt(kept, good[max(1, int(len(good) * (1 - share))) :] if share else b"x" * 50) == truth
        assert read

    def test_what_stands_in_its_place_changes_no_answer(self, kept: Life, read: list[int]) -> None:
        good, truth = Path(self.path(kept)).read_bytes(), self.answer(kept)
        assert self.hurt(kept, None) == truth
        os.mkdir(self.path(kept))
        assert self.answer(kept) == truth
        os.rmdir(self.path(kept))
        os.mkfifo(self.path(kept))
        assert self.answer(kept) == truth
        os.unlink(self.path(kept))
        Path(self.path(kept) + "-other").write_bytes(good)
        os.symlink(self.path(kept) + "-other", self.path(kept))
        assert self.answer(kept) == truth
        assert len(read) == 4 * 7

    @pytest.mark.parametrize(
        "lie",
        [
            {"database": "another"}, {"embedder": 2}, {"dimension": DIMENSION + 1}, {"blocks": []}, {"blocks": None},
            {"rows": 1 << 40}, {"rows": -1}, {"rows": 15}, {"offset": -8}, {"offset": 1 << 60}, {"offset": 40},
            {"seq": 999}, {"short": 2}, {"odd": "text"},
        ],
        ids=str,
    )  # fmt: skip
    def test_a_copy_that_lies_changes_no_answer(self, kept: Life, read: list[int], lie: dict[str, Any]) -> None:
        """Its sums hold, but it is of another database, embedder or version."""
        import json
        from zlib import crc32

        good, truth = Path(self.path(kept)).read_bytes(), self.answer(kept)
        size, _, magic = scan_copy._TAIL.unpack(good[-12:])
        head = json.loads(good[-12 - size : -12])
        for name, value in lie.items():
            if name in head:
                head[name] = value
            for block in head["blocks"] or ():
                if name in ("seq", "rows", "offset"):
                    block[("number", "seq", "rows", "offset").index(name)] = value
                elif name == "short":
                    del block[value:]
                elif name == "odd":
                    block[2] = value
        raw = json.dumps(head).encode()
        assert self.hurt(kept, good[: -12 - size] + raw + scan_copy._TAIL.pack(len(raw), crc32(raw), magic)) == truth
        assert read

    def test_the_copy_of_another_index_is_not_used(self, kept: Life, read: list[int], tmp_path: Path) -> None:
        """A generation that was built anew has the same numbers of blocks and changes, and other vectors."""
        os.mkdir(tmp_path / "b")
        create(str(tmp_path / "b" / "gen-000001.db"), "other")
        index = SqliteIndex(str(tmp_path / "b" / "gen-000001.db"), 1, "other")
        life = Life(index, kept.fake)
        life.put_note("a.md", *reversed(kept.at["a.md"]))
        life.embed()
        Path(self.path(life)).write_bytes(Path(self.path(kept)).read_bytes())
        got = said(index, self.search(life))
        assert len(read) == 7
        want = life.cosines(life.fake.ask("ant bee").vector)
        assert {p: c for p, c in got.items() if c > 0} == pytest.approx(
            {p: want[p] for p in got if got[p] > 0}, abs=1e-5
        )
        index.close()

    @pytest.mark.parametrize("exact", [10_000, 10], ids=["codes", "signs"])
    def test_a_copy_that_is_newer_than_the_database_is_not_used(
        self, kept: Life, exact: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The database was put back to an earlier state, and went on from there with other texts."""
        kept.index.checkpoint()
        earlier = Path(kept.index.path).read_bytes()
        kept.put_note("b.md", *(f"owl {WORDS[n % 7]} {n}" for n in range(self.TEXTS)))
        kept.embed()
        kept.vectors.write_copy()
        kept.index.close()
        for suffix in ("-wal", "-shm"):
            Path(kept.index.path + suffix).unlink(missing_ok=True)
        Path(kept.index.path).write_bytes(earlier)
        del kept.at["b.md"], kept.speakers["b.md"]
        index = SqliteIndex(kept.index.path, 1, "me")
        life = Life(index, kept.fake)
        life.at, life.speakers, life.inputs, life.serial = kept.at, kept.speakers, kept.inputs, 1
        life.put_note("c.md", *(f"ant {WORDS[n % 5]} {n}" for n in range(self.TEXTS)))
        life.embed()
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", exact)
        question = life.fake.ask("ant bee").vector
        with life.other() as other:
            got = other.signals(self.search(life))
        want = life.cosines(question)
        places = list(zip(got.notes[got.owner].tolist(), got.ord.tolist(), strict=True))
        assert all(got.is_known)
        assert got.dense.tolist() == pytest.approx([want[p] for p in places], abs=1e-5)
        index.close()

    def test_the_copy_of_the_embedder_before_is_not_used(self, kept: Life, read: list[int]) -> None:
        second = FakeEmbedder(DIMENSION, "second")
        kept.embed(second)
        kept.vectors.switch(kept.id(second))
        question = second.ask("ant bee").vector
        with kept.other() as other:
            got = said(other, ask("ant", question=question, floor=-1.0))
        assert len(read) >= 7
        want = kept.cosines(question, second)
        assert {p: c for p, c in got.items() if c > 0} == pytest.approx(
            {p: want[p] for p in got if got[p] > 0}, abs=1e-5
        )


def _same(a: Any, b: Any) -> bool:
    return a is not None and b is not None and all(
        np.array_equal(getattr(a, n), getattr(b, n)) for n in ("ids", "keys", "bits", "codes")
    )  # fmt: skip


class TestCost:
    def test_a_part_is_read_by_ids_alone(self, stored: Life) -> None:
        """Not by a walk over all vectors of the embedder for each block: that is quadratic in their number."""
        stored.put_note("a.md", *(f"ant {n}" for n in range(60)))
        stored.embed()
        asked: list[str] = []
        db, id_ = stored.index._db, stored.id()
        db.set_exec_trace(lambda cursor, sql, values: asked.append(sql) or True)
        try:
            sqlite_vectors.read_block(db, id_, DIMENSION, 0, 1)
            sqlite_vectors.all_rows(db, id_, 0, 10)
        finally:
            db.set_exec_trace(None)
        for sql in (x for x in asked if "from vector" in x):
            plan = " ".join(row[3] for row in db.execute(f"explain query plan {sql}", (0,) * sql.count("?")))
            assert "SEARCH v" in plan, plan
            assert "vector_input" not in plan, plan
        assert len(asked) == 4


class TestDamage:
    def test_a_row_that_cannot_be_one_is_damage_and_not_a_crash(self, stored: Life) -> None:
        stored.put_note("a.md", "ant", "bee")
        stored.embed()
        for sql in ("code = x'00'", "bits = x'00'", "input = x'00'", "code = 'text'", "input = null or 1"):
            stored.index._writer.connection(grows=True).execute(f"update vector set {sql} where id = 1")
            with stored.other() as other, pytest.raises(IndexDamaged):
                said(other, ask("ant", question=stored.fake.ask("ant").vector))
            stored.index._writer.connection(grows=True).execute(
                "update vector set input = ?, code = ?, bits = ? where id = 1", _parts(stored)
            )
        assert len(said(stored.index, ask("ant", question=stored.fake.ask("ant").vector))) == 2

    @pytest.mark.parametrize("exact", [10_000, 0], ids=["codes", "signs"])
    @pytest.mark.parametrize("column", ["code", "bits", "input", "own_crc", "identity"])
    def test_a_flipped_bit_is_not_ranked(
        self, stored: Life, column: str, exact: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Size and type are as they must be; only the row's own checksum tells."""
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", exact)
        stored.put_note("a.md", "ant", "bee")
        stored.embed()
        table = "embedder" if column == "identity" else "vector"
        ((old,),) = stored.index._db.execute(f"select {column} from {table} where id = 1").fetchall()
        raw = bytearray(old) if isinstance(old, bytes) else bytearray(str(old), "ascii")
        raw[-1] ^= 1
        new = bytes(raw) if isinstance(old, bytes) else type(old)(raw.decode())
        search = ask("ant bee", question=stored.fake.ask("ant bee").vector)
        want = said(stored.index, search)
        assert len(want) == 2
        stored.index._writer.connection(grows=True).execute(f"update {table} set {column} = ? where id = 1", (new,))
        with stored.other() as other:
            s = other.signals(search)
            left_out = 2 if column == "identity" else 1
            assert (s.ready, s.is_known.tolist().count(False)) == (2 - left_out, left_out)
            for place, cosine in said(other, search).items():
                assert cosine in (0, pytest.approx(want[place], abs=1e-5))

    def test_a_code_that_is_read_alone_proves_itself(self, stored: Life, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where signs are held, codes are read later."""
        monkeypatch.setattr(sqlite_vectors, "EXACT_ROWS", 0)
        stored.put_note("a.md", "ant", "bee")
        stored.embed()
        search = ask("ant", question=stored.fake.ask("ant").vector)
        said(stored.index, search)
        stored.index._writer.connection(grows=True).execute(
            "update vector set code = randomblob(length(code)) where id = 1"
        )
        assert 0 in said(stored.index, search).values()

    def test_token_vectors_prove_themselves(self, stored: Life) -> None:
        stored.put_note("a.md", "ant bee", "owl", speakers=("Ana", "Bo"))
        stored.embed()
        s = stored.index.signals(ask("ant owl", question=stored.fake.ask("ant").vector))
        assert not any(t is None for t in s.detail(np.arange(2)).tokens)
        stored.index._writer.connection(grows=True).execute(
            "update token set data = zeroblob(length(data)) where id = 1"
        )
        s = stored.index.signals(ask("ant owl", question=stored.fake.ask("ant").vector))
        assert [t is None for t in s.detail(np.arange(2)).tokens].count(True) == 1

    def test_a_dump_has_the_vectors_of_what_the_notes_say(self, life: Life) -> None:
        """The oracle of the state machine sees a code that is wrong."""
        life.put_note("a.md", "ant", "bee")
        before = dump(life.index)
        life.embed()
        after = dump(life.index)
        assert len(after["vectors"]) == 3
        assert before["vectors"] == {"live": []}
        life.index._writer.connection(grows=True).execute(
            "update vector set code = zeroblob(length(code)) where id = 1"
        )
        assert dump(life.index) != after


def _parts(life: Life) -> tuple[bytes, bytes, bytes]:
    row: VectorRow = life.fake.row(life.inputs[sorted(life.inputs)[0]])
    assert row == rows([row.input], life.fake.encode([life.inputs[row.input]]).vectors, [None])[0]
    return row.input, row.code, row.bits
