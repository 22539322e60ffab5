"""What the part of the port that looks for damage promises (holdfast.index.proofs): each flaw is seen, and no other.

That it finds nothing in an index that is whole, after any life, is asked in test_index.py of every comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import IndexDamaged, IndexFault
from holdfast.index.base import FactRow, LinkRow, NoteRecord
from holdfast.index.sqlite.db import create
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.model import sort_key
from tests.contract.test_index import note, witness
from tests.contract.test_vectors import input_of, record
from tests.fake_embedder import FakeEmbedder

RICH = {
    "names": (("a", 1, None), ("b", 2, "x/b")),
    "links": (LinkRow(1, "B", "b", None, None, False, False), LinkRow(2, "C", "c", "h", "b", True, True, "knows")),
    "facts": (FactRow(1, "observation", "tip", None, "2026"), FactRow(2, "relation", None, "2020", None)),
    "fields": (("tag", "home"), ("type", "note")),
    "tags": ("home", "desk"),
}


class Made:
    """An index with a few notes, some in a segment and some not, and their vectors."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("holdfast.index.sqlite.postings.SEGMENT_TERMS", 60)
        create(str(path / "gen-000001.db"), "me")
        self.index = SqliteIndex(str(path / "gen-000001.db"), 1, "me")
        self.records: dict[int, tuple[int, NoteRecord]] = {}
        self.fake = FakeEmbedder(dimension=70)
        texts: list[tuple[str, str | None]] = []
        for n in range(12):
            said = (f"ant bee {n}", f"cow dog gnu {n % 3} {n}")
            speakers = ("Ana", "Bo") if n % 4 == 3 else (None, None)
            texts += zip(said, speakers, strict=True)
            made = record(*said, title=f"owl {n}", speakers=speakers, **(RICH if n % 2 else {}))
            self.put(f"n{n}.md", made)
            if n == 8:
                self.index.flush()
        self.put("large.md", replace(note(), digest=b""))
        vectors = self.index.vectors
        live = vectors.add_embedder(self.fake.identity, self.fake.dimension)
        vectors.put(live, [self.fake.row(input_of(t, s)) for t, s in texts])
        with self.index.begin() as tx:
            tx.delete_file(sort_key("n2.md"))
        del self.records[3]

    def put(self, path: str, made: NoteRecord) -> None:
        with self.index.begin() as tx:
            id_ = tx.replace_note(witness(path), 0, made)
        self.records[id_] = (len(path), made)

    def sql(self, statement: str) -> None:
        db = self.index._writer.connection(grows=True)
        db.execute(statement)

    def flaws(self) -> dict[str, list[str]]:
        """What each look finds; a look that raises has found something too."""
        p = self.index.proofs
        looks: dict[str, Any] = {
            "database": lambda: p.database(whole=True),
            "sums": p.sums,
            "orphans": p.orphans,
            "words": lambda: [x for _, found in p.words() for x in found],
            "vectors": lambda: [x for _, found in p.vectors() for x in found],
            "differences": lambda: [
                f"{i}: {what}" for i, (size, r) in self.records.items() for what in p.differences(i, size, r)
            ],
            "unfound": lambda: [
                f"{i}: {lost}" for i, (_, r) in self.records.items()
                for lost in p.unfound(i, [t for entry in r.terms for t in entry])
            ],
        }  # fmt: skip
        out = {}
        for name, look in looks.items():
            try:
                out[name] = [getattr(x, "message", x) for x in look()]
            except IndexDamaged as e:
                out[name] = [e.message]
        return {name: found for name, found in out.items() if found}


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Made]:
    it = Made(tmp_path, monkeypatch)
    assert it.flaws() == {}
    yield it
    it.index.close()


# (statement, the look that must find it)
DAMAGE = [
    ("delete from file where id = 2", "orphans"),
    ("delete from note where id = 2", "orphans"),
    ("delete from doc where note = 2", "orphans"),
    ("delete from doc where note = 11", "orphans"),
    ("delete from chunk where note = 2 and ord = 1", "orphans"),
    ("delete from name where note = 2 and key = 'b'", "differences"),
    ("delete from link where note = 2 and ord = 0", "differences"),
    ("delete from fact where note = 2 and ord = 1", "differences"),
    ("delete from field where note = 2 and key = 'tag'", "differences"),
    ("delete from term where t = 'gnu'", "differences"),
    ("delete from segment where id = 1", "orphans"),
    ("delete from post where id = (select max(id) from post where id < 2 << 32)", "words"),
    ("delete from post where id = (select min(id) from post)", "unfound"),
    ("delete from gone", "orphans"),
    ("delete from vector where id = 3", "sums"),
    ("delete from token where id = (select min(id) from token)", "vectors"),
    ("delete from embedder", "orphans"),
    ("delete from vector_block", "orphans"),
    ("delete from meta where key = 'embedder'", "orphans"),
    ("delete from meta where key = 'seq'", "sums"),
    ("delete from total where name = 'chunks'", "sums"),
    ("update total set value = value + 1 where name = 'note_bytes'", "sums"),
    ("update meta set value = 2 where key = 'seq'", "sums"),
    ("update meta set value = 1 where key = 'next_note'", "sums"),
    ("update meta set value = 3 where key = 'next_term'", "sums"),
    ("update meta set value = 0 where key = 'next_segment'", "sums"),
    ("update meta set value = 3 where key = 'next_vector'", "sums"),
    ("update meta set value = 'x' where key = 'database'", "database"),
    ("update note set title = 'ow1' where id = 2", "differences"),
    ("update note set tags = null where id = 2", "differences"),
    ("update note set size = size + 1 where id = 2", "differences"),
    ("update note set digest = zeroblob(16) where id = 2", "differences"),
    ("update chunk set start = start + 1 where note = 2 and ord = 1", "differences"),
    ("update chunk set heading = cast(x'ff' as text) where note = 2 and ord = 1", "differences"),
    ("update chunk set input = zeroblob(16) where note = 2 and ord = 1", "differences"),
    ("update link set embed = 1 where note = 2 and ord = 0", "differences"),
    ("update doc set keys = zeroblob(length(keys)) where note = 2", "words"),
    ("update doc set lens = zeroblob(length(lens)) where note = 2", "words"),
    ("update doc set ids = cast(x'7f' || substr(ids, 2) as blob) where note = 2", "words"),
    ("update doc set ids = x'ff' where note = 2", "words"),
    ("update term set id = id + 1 where t = 'gnu'", "differences"),
    ("update segment set dead = cast(substr(notes, 1, 8) as blob) where id = 1", "orphans"),
    ("update segment set lens = zeroblob(length(lens)) where id = 1", "words"),
    ("update segment set keys = zeroblob(length(keys)) where id = 1", "words"),
    (("update segment set notes = cast(substr(notes, 9, 8) || substr(notes, 1, 8) || substr(notes, 17) as blob) "
     "where id = 1"), "words"),
    (("update post set data = cast(substr(data, 1, length(data) - 1) || x'07' as blob) "
     "where id = (select min(id) from post)"), "words"),
    ("update post set data = substr(data, 1, length(data) - 1) where id = (select min(id) from post)", "words"),
    ("update post set id = id + 1 where id = (select min(id) from post)", "words"),
    ("update vector set code = zeroblob(70) where id = 3", "vectors"),
    ("update vector set bits = zeroblob(16) where id = 3", "vectors"),
    ("update vector set code = x'01' where id = 3", "vectors"),
    ("update vector set embedder = 7 where id = 3", "orphans"),
    ("update vector set id = 5000 where id = 3", "orphans"),
    ("update token set id = 5000 where id = (select min(id) from token)", "orphans"),
    ("update embedder set dimension = 71", "vectors"),
    ("create table more (x)", "database"),
    ("drop index chunk_input", "database"),
    (("insert into chunk select 99, ord, start, size, line, count, heading, digest, speaker, at_ns, input, traits "
     "from chunk where note = 2"), "orphans"),
    ("insert into gone values (2, 1)", "orphans"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "look"), DAMAGE, ids=[d for d, _ in DAMAGE])
def test_each_damage_is_found_by_the_look_for_it(made: Made, damage: str, look: str) -> None:
    made.index.vectors.remember_ready()
    made.sql(damage)
    assert look in made.flaws()


def test_signs_that_do_not_go_with_the_codes_are_found_though_the_sum_is_right(made: Made) -> None:
    row = made.fake.row(input_of("ant bee 4"))
    from holdfast.index.vectors.codes import checksum, own_crc, seed

    bad = bytes(len(row.bits))
    crc = checksum(row.input, row.code, bad, row.tokens)
    live = made.index.vectors.live()
    assert live is not None
    own = own_crc(seed(live.identity), row.input, row.code, bad)
    made.index._writer.connection(grows=True).execute(
        "update vector set bits = ?, crc = ?, own_crc = ? where input = ?", (bad, crc, own, row.input)
    )
    assert ["has other signs" in text for text in made.flaws()["vectors"]] == [True]


def test_a_component_just_above_nought_is_no_flaw(made: Made) -> None:
    """Its sign is set and its code is 0."""
    import numpy as np

    from holdfast.index.vectors.codes import rows

    one = np.zeros((1, 70), dtype=np.float32)
    one[0, :2] = (1.0, 0.001)
    (row,) = rows([bytes(16)], one, [None])
    assert row.code[1] == 0
    assert made.index.proofs.spoiled(row) == ""


def test_coherence_looks_at_a_range_of_ids_alone(made: Made) -> None:
    made.sql("delete from chunk where note = 5 and ord = 1")
    made.sql("delete from doc where note = 6")
    p = made.index.proofs
    assert {f.note for f in p.coherence(0, 1 << 62)} == {5, 6}
    assert {f.note for f in p.coherence(4, 5)} == {5}
    assert {f.note for f in p.coherence(5, 6)} == {6}
    assert p.coherence(0, 4) == p.coherence(6, 1 << 62) == []


def test_a_word_that_a_search_would_not_find(made: Made) -> None:
    p = made.index.proofs
    assert p.unfound(2, ["ant", "bee"]) == []
    assert p.unfound(11, ["ant", "bee"]) == []  # in the overlay
    assert p.unfound(2, ["ant", "unheard"]) == ["“unheard”"]
    assert p.unfound(2, []) == p.unfound(2, [], 2) == []
    made.sql("delete from post")
    assert sorted(p.unfound(2, ["ant", "bee"])) == ["“ant”", "“bee”"]
    assert len(p.unfound(2, ["ant", "bee"], 1)) == 1
    assert p.unfound(2, [], 2)
    assert p.unfound(11, ["ant", "bee"]) == []


def test_frequencies_count_live_passages_and_titles(made: Made) -> None:
    found = made.index.proofs.frequencies(["ant", "owl", "unheard", "2", "4"])
    assert found == {"ant": 11, "owl": 11, "unheard": 0, "2": 3, "4": 3}


def test_vectors_by_their_inputs(made: Made) -> None:
    row = made.fake.row(input_of("ant bee 4"))
    assert made.index.proofs.vectors_of([row.input, bytes(16)]) == {row.input: row}
    said = made.fake.row(input_of("ant bee 3", "Ana"))
    assert said.tokens
    assert made.index.proofs.vectors_of([said.input]) == {said.input: said}


def test_files_and_samples(made: Made) -> None:
    p = made.index.proofs
    with made.index.begin() as tx:
        tx.set_file(witness("pixel.png"), 0)
    keys = [k for _, k in p.files(0, 100)]
    assert len(keys) == 13
    assert p.files(2, 2) == p.files(0, 100)[2:4]
    assert [k for _, k in p.bare(0, 100)] == [sort_key("pixel.png")]
    assert p.sample(100) == sorted(made.records)
    assert len(p.sample(4)) == 4
    assert p.inputs(2) == [c.input for c in made.records[2][1].chunks]


def test_what_is_looked_at_never_runs_in_circles(made: Made) -> None:
    """Pages that do not rise are damage, not a loop: a tree whose order is broken gives such."""
    p = made.index.proofs
    with pytest.raises(IndexFault, match="out of order"):
        p._rising("select id, key from file where id >= 1 or ? order by id limit ?", 1 << 40, 5)


def test_looking_changes_nothing(made: Made) -> None:
    before = made.index._db.execute("select count(*), (select value from meta where key = 'seq') from meta").fetchall()
    changes = made.index._db.total_changes()
    made.flaws()
    assert made.index._db.total_changes() == changes
    rows = made.index._db.execute("select count(*), (select value from meta where key = 'seq') from meta").fetchall()
    assert rows == before


def test_dropping_vectors_lets_all_count_anew(made: Made) -> None:
    """Also where the rows are gone already, and the remembered number is wrong."""
    vectors, proofs = made.index.vectors, made.index.proofs
    live = vectors.live()
    assert live is not None
    vectors.remember_ready()
    ready = vectors.ready(live.id)
    row = made.fake.row(input_of("ant bee 4"))
    made.sql("delete from vector where id = 3")
    assert vectors.ready(live.id) == ready
    assert vectors.drop(live.id, [bytes(16)]) == 0
    assert vectors.ready(live.id) == ready - 1 == vectors.counts(live.id)[0]
    assert vectors.drop(live.id, [row.input, bytes(16)]) == 1
    assert vectors.ready(live.id) == ready - 2
    assert proofs.vectors_of([row.input]) == {}
    assert proofs.sums() == []  # what went without a word is no longer counted
    assert vectors.put(live.id, [row]) == 1
    assert proofs.sums() == []
