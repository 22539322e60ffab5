"""What every index promises (holdfast.index.base), as one suite for each of them.

The memory index is the oracle: whatever is written to an index is written to it too, and all answers must agree.
"""

from __future__ import annotations

import random
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.engine.question import Question
from holdfast.engine.rank import Ranked, rank
from holdfast.index.asking import SPEAKER, ChunkRow, Condition, Search, Signals
from holdfast.index.base import Aside, FactRow, LinkRow, NameLevel, NameRow, NoteRecord
from holdfast.index.sqlite.db import create
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.model import Witness, fold, sort_key, speaker_byte
from tests.dump import dump
from tests.memory_index import MemoryIndex, rank_all

WORDS = "ant bee cow dog eel fox gnu hen ibis jay koala lynx mole newt owl panda".split()
DAY = 86_400_000_000_000


def digest(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def witness(path: str, n: int = 0, *, size: int | None = None) -> Witness:
    return sort_key(path), len(path) if size is None else size, 1_000 + n, 2_000 + n, 3_000 + n


def input_of(text: str, speaker: str | None = None) -> bytes:
    """What stands for the input of a chunk: the lowest bit says whether it is a turn, then comes who speaks."""
    raw = digest(f"input of {text}")
    if speaker is None:
        return bytes([raw[0] & 0xFE]) + raw[1:]
    return bytes([raw[0] | 1, speaker_byte(fold(speaker))]) + raw[2:]


def said(chunk: ChunkRow, speaker: str | None, **named: Any) -> ChunkRow:
    """The chunk as a turn of that speaker."""
    return replace(chunk, speaker=speaker, input=input_of(chunk.digest.hex(), speaker), **named)


def talk(*turns: tuple[str, str], title: str = "", **named: Any) -> NoteRecord:
    """A conversation: (speaker, text) of each turn; the speaker is a word of the turn too."""
    made = note(*(f"{who.lower()} {text}" for who, text in turns), title=title, **named)
    rows = [said(c, who) for c, (who, _) in zip(made.chunks, turns, strict=True)]
    spoken = {(SPEAKER, fold(who)) for who, _ in turns}
    return replace(made, chunks=rows, fields=tuple(sorted({*made.fields, *spoken})))


def note(*texts: str, title: str = "", **named: Any) -> NoteRecord:
    """A note with a chunk of each text; words are split at blanks and are terms as they are."""
    rows = [ChunkRow(i * 100, len(t), i + 1, 1, "", digest(t), input=input_of(t)) for i, t in enumerate(texts)]
    base = NoteRecord(
        digest=digest("\n".join((title, *texts))), title=title, type="note", permalink=None, trust="own", tags=(),
        author=None, session=None, modified_ns=None, valid_from_ns=None, valid_to_ns=None, chunks=rows,
        terms=[title.split(), *(t.split() for t in texts)],
    )  # fmt: skip
    return replace(base, **named)


def ask(text: str = "", **named: Any) -> Search:
    words = list(dict.fromkeys(text.split()))
    return Search(words=tuple(words), repeats=tuple(text.split().count(w) for w in words), **named)


def answer(s: Signals) -> dict[str, Any]:
    """Signals without the order in which an implementation holds its notes."""
    ids = s.notes.tolist()
    places = [(ids[o], c) for o, c in zip(s.owner.tolist(), s.ord.tolist(), strict=True)]
    assert places == sorted(places, key=lambda p: (ids.index(p[0]), p[1]))
    return {
        "places": dict(zip(places, zip(s.near.tolist(), s.own.tolist(), s.dense.tolist(), strict=True), strict=True)),
        "kinds": dict(
            zip(places, zip(s.is_known.tolist(), s.is_turn.tolist(), s.speaks.tolist(), strict=True), strict=True)
        ),
        "notes": {
            n: values
            for n, *values in zip(ids, s.note.tolist(), s.note_dense.tolist(), s.present.tolist(), strict=True)
        },
        "sizes": dict(zip(ids, zip(s.sizes.tolist(), s.is_talk.tolist(), strict=True), strict=True)),
        "counts": (s.matched_notes, s.matched_chunks, s.scope_notes, s.scope_chunks, s.chunks, s.ready),
        "scope": {(n, c): s.in_scope(i, c) for i, n in enumerate(ids) for c in range(int(s.sizes[i]))},
        "remarks": s.remarks,
        "detail": looked_at(s, places),
        "feedback": fed(s),
        "echo": echoed(s),
    }


def looked_at(s: Signals, places: list[tuple[int, int]]) -> dict[str, Any]:
    """What `detail` says of all candidates, asked for from the last to the first."""
    d = s.detail(np.arange(len(places))[::-1])
    columns = zip(
        d.rows, d.words.tolist(), d.words_before.tolist(), d.in_pair.T.tolist(), d.in_near.T.tolist(),
        d.before.tolist(), d.tokens, strict=True,
    )  # fmt: skip
    return {"idf": d.idf.tolist(), "places": dict(zip(reversed(places), columns, strict=True))}


def fed(s: Signals) -> dict[int, float]:
    """What the notes with the lowest ids, but the first, say of all that were found."""
    order = np.argsort(s.notes, kind="stable")
    best = order[1:4]
    weights = np.array([0.5, 0.3, 0.2][: len(best)], dtype=np.float32)
    out = s.feedback(best, weights, order, frozenset({"ant", "unheard"})) if len(best) else np.zeros(len(order))
    return dict(zip(s.notes[order].tolist(), out.tolist(), strict=True))


def echoed(s: Signals) -> dict[int, float]:
    """What all notes that were found echo of the three with the lowest ids."""
    order = np.argsort(s.notes, kind="stable")
    return dict(zip(s.notes[order].tolist(), s.echo(order[:3], order).tolist(), strict=True))


def agree(real: Any, oracle: MemoryIndex, search: Search) -> None:
    """Same candidates, same scope, same scores to 1e-5, same words about them and in them, same newest."""
    a, b = answer(real.signals(search)), answer(oracle.signals(search))
    for kind in ("kinds", "sizes", "counts", "scope", "remarks", "echo"):
        assert a[kind] == b[kind], kind
    for kind in ("places", "notes", "feedback"):
        assert a[kind].keys() == b[kind].keys(), kind
        for at, values in a[kind].items():
            assert values == pytest.approx(b[kind][at], rel=1e-5, abs=1e-6), (kind, at)
    assert a["detail"]["idf"] == pytest.approx(b["detail"]["idf"], rel=1e-5)
    assert a["detail"]["places"] == b["detail"]["places"]
    assert replace(real.newest(search, 50), seq=0) == replace(oracle.newest(search, 50), seq=0)


def ranked(index: Any, search: Search, k: int, by: Any = "passage") -> list[Ranked]:
    question = Question(" ".join(search.words), search, len(search.words), (), index.counts().chunks, None)
    return rank(index.signals(search), question, k, by, index.keys)


class Both:
    """An index and the oracle, written to in step."""

    def __init__(self, real: Any) -> None:
        self.real, self.oracle = real, MemoryIndex()

    def write(self, *calls: Callable[[Any], Any]) -> list[Any]:
        out = []
        for index in (self.real, self.oracle):
            with index.begin() as tx:
                out.append([call(tx) for call in calls])
        assert out[0] == out[1]
        return out[0]

    def put(self, path: str, record: NoteRecord, n: int = 0, **named: Any) -> int:
        made: int = self.write(lambda tx: tx.replace_note(witness(path, n), 0, record, **named))[0]
        return made

    def agree(self, *searches: Search) -> None:
        assert self.real.file_rows(b"", 10_000) == self.oracle.file_rows(b"", 10_000)
        assert replace(self.real.counts(), seq=0) == replace(self.oracle.counts(), seq=0)
        for search in searches:
            agree(self.real, self.oracle, search)
        self.nothing_is_wrong()

    def nothing_is_wrong(self) -> None:
        """Every note is in the real index as the oracle has it, and the index finds no flaw in itself."""
        proofs = getattr(self.real, "proofs", None)
        if proofs is None:
            return
        flaws = [*proofs.sums(), *proofs.orphans(), *proofs.coherence(0, 1 << 62)]
        flaws += [*(x for _, found in proofs.words() for x in found), *proofs.database(whole=True)]
        assert not flaws
        for id_, record in self.oracle.state.notes.items():
            assert proofs.differences(id_, self.oracle.state.sizes[id_], record) == []
            assert proofs.unfound(id_, [t for entry in record.terms for t in entry]) == []
            assert proofs.inputs(id_) == [c.input for c in record.chunks]


KINDS = ("file", "in_memory", "oracle")


@pytest.fixture(params=KINDS)
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    index: Any
    if request.param == "file":
        create(str(tmp_path / "gen-000001.db"), "me")
        index = SqliteIndex(str(tmp_path / "gen-000001.db"), 1, "me")
    elif request.param == "in_memory":
        index = SqliteIndex.in_memory()
    else:
        index = MemoryIndex()
    yield Both(index)
    index.close()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[SqliteIndex, str]]:
    path = str(tmp_path / "gen-000001.db")
    create(path, "me")
    index = SqliteIndex(path, 1, "me")
    yield index, path
    index.close()


def random_note(rng: random.Random, words: list[str] = WORDS) -> NoteRecord:
    # Without any chunk: a note that is listed by its name and was never opened.
    texts = [" ".join(rng.choices(words, k=rng.randrange(12))) for _ in range(rng.randrange(7))]
    speakers = [rng.choice([None, None, "Ana", "Bo"]) for _ in texts]
    made = note(*texts, title=" ".join(rng.choices(words, k=rng.randrange(3))))
    rows = [
        said(
            replace(c, digest=digest(f"{rng.random()}")), s, at_ns=rng.choice([None, rng.randrange(9) * DAY]),
            traits=rng.randrange(1 << 14),
        )
        for c, s in zip(made.chunks, speakers, strict=True)
    ]  # fmt: skip
    spoken = {(SPEAKER, s.lower()) for s in speakers if s}
    author = rng.choice([None, "Bo", "Cy"])
    fields = {("type", rng.choice(["note", "plan"])), ("tag", rng.choice(["home", "home/desk", "homes", "work"]))}
    if author:
        fields.add(("author", author.lower()))
    return replace(
        made, chunks=rows, author=author, fields=tuple(sorted(fields | spoken)), digest=digest(f"{rng.random()}"),
        modified_ns=rng.choice([None, rng.randrange(9) * DAY]),
        valid_from_ns=rng.choice([None, rng.randrange(5) * DAY]),
        valid_to_ns=rng.choice([None, rng.randrange(4, 9) * DAY]),
    )  # fmt: skip


def random_search(rng: random.Random) -> Search:
    unknown = ["pandas", "koalo", "lynk", "zebra", "moles"]
    text = " ".join(rng.choices(WORDS + unknown, k=rng.randrange(5)))
    phrases = tuple(tuple(rng.choices(WORDS, k=rng.randrange(1, 3))) for _ in range(rng.choice([0, 0, 0, 1])))
    excluded = tuple(tuple(rng.choices(WORDS, k=rng.randrange(1, 3))) for _ in range(rng.choice([0, 0, 1])))
    prefixes = tuple(rng.choices(["k", "pa", "eel", "zz"], k=rng.choice([0, 0, 1])))
    conditions = tuple(
        replace(rng.choice(CONDITIONS), negated=rng.random() < 0.3) for _ in range(rng.choice([0, 0, 1, 2]))
    )
    names = tuple(w for w in dict.fromkeys(text.split()) if rng.random() < 0.3)
    who = tuple(rng.sample(["ana", "bo", "cy", "nobody"], rng.choice([0, 0, 1, 2])))
    return ask(text, phrases=phrases, excluded=excluded, prefixes=prefixes, conditions=conditions, names=names, who=who)


CONDITIONS = [
    Condition("field", "type", ("plan",)),
    Condition("field", "tag", ("home",)),
    Condition("field", "tag", ("home/desk", "work")),
    Condition("field", "nobody", ("x",)),
    Condition("path", values=("d",)),
    Condition("path", values=("d/e/",)),
    Condition("path", values=("a0.md",)),
    Condition("path", values=("*3.MD",)),
    Condition("path", values=("d/?1.md",)),
    Condition("path", values=("/",)),
    Condition("who", values=("ana",)),
    Condition("who", values=("bo",)),
    Condition("time", lo_ns=3 * DAY),
    Condition("time", hi_ns=4 * DAY),
    Condition("time", lo_ns=2 * DAY, hi_ns=6 * DAY),
    Condition("valid", lo_ns=4 * DAY),
    Condition("valid", lo_ns=0),
]


def random_paths(rng: random.Random) -> list[str]:
    return [f"{folder}{name}{n}.md" for folder in ("", "d/", "d/e/", "d-/") for name in "ab" for n in range(4)]


def random_edit(rng: random.Random, both: Both, n: int) -> None:
    paths = random_paths(rng)
    known = [p for p in paths if both.oracle.file_row(sort_key(p))]
    free = [p for p in paths if p not in known]
    what = rng.choice(["put", "put", "put", "put", "move", "delete", "drop", "retitle"])
    if what in ("put", "retitle") or not known or not free:
        both.put(rng.choice(paths), random_note(rng), n)
    elif what == "move":
        old, new = rng.choice(known), rng.choice(free)
        both.write(lambda tx: tx.move_file(sort_key(old), witness(new, n), 0))
    else:
        key = sort_key(rng.choice(known))
        both.write(lambda tx: tx.delete_file(key))


def fail(index: Any) -> None:
    """A transaction that changes everything and ends badly."""
    with index.begin() as tx:
        tx.replace_note(witness("a.md", 1), 0, note("cow"))
        tx.replace_note(witness("b.md", 1), 0, note("unheard"))
        tx.delete_file(sort_key("a.md"))
        tx.quarantine(sort_key("c.md"), "bad", 1, 2)
        tx.put_meta("mine", 1)
        raise ZeroDivisionError


class TestIndex:
    def test_file_rows_are_in_the_order_of_the_walk_and_page_without_a_gap(self, both: Both) -> None:
        paths = ["z.md", "a/x.md", "a/b/y.md", "a.md", "a-b/x.md", "ä.md", "a/z.md", "b/\udcff.md"]
        for n, path in enumerate(paths):
            both.write(lambda tx, p=path, n=n: tx.set_file(witness(p, n), n % 2))
        whole = both.real.file_rows(b"", 100)
        assert [r[0] for r in whole] == sorted(sort_key(p) for p in paths)
        assert [r[1] for r in whole] == [-1 if paths.index(p) % 2 else len(p) for p in sorted(paths, key=sort_key)]
        for limit in (1, 2, 3, 100):
            pages, after = [], b""
            while page := both.real.file_rows(after, limit):
                assert len(page) <= limit
                pages += page
                after = page[-1][0]
            assert pages == whole
        assert both.real.file_range(sort_key("a/x")[:-1]) == [
            r for r in whole if r[0] in map(sort_key, ("a/x.md", "a/z.md"))
        ]
        both.agree()

    def test_paging_skips_nothing_that_was_there_throughout(self, both: Both) -> None:
        rng = random.Random(1)
        stays = {sort_key(f"s{n:03}.md") for n in range(40)}
        for n in range(40):
            both.write(lambda tx, n=n: tx.set_file(witness(f"s{n:03}.md"), 0))
        seen, after = [], b""
        while page := both.real.file_rows(after, 3):
            seen += [r[0] for r in page]
            after = page[-1][0]
            name = f"s{rng.randrange(40):03}-{rng.random()}.md"
            both.write(
                lambda tx, p=name: tx.set_file(witness(p), 0),
                *[lambda tx, k=k: tx.delete_file(k) for k in seen[-1:] if k not in stays],
            )
        assert stays <= set(seen)
        assert seen == sorted(set(seen))

    def test_a_transaction_that_fails_leaves_nothing(self, both: Both) -> None:
        both.put("a.md", note("ant bee", title="old"))
        before = (both.real.file_rows(b"", 9), both.real.counts(), answer(both.real.signals(ask("ant"))))
        with pytest.raises(ZeroDivisionError):
            fail(both.real)
        assert (both.real.file_rows(b"", 9), both.real.counts(), answer(both.real.signals(ask("ant")))) == before
        assert both.real.meta("mine") is None
        # The word that came and went is not half known: it is found when it comes again.
        both.put("b.md", note("unheard cow"))
        both.agree(ask("unheard"), ask("cow"), ask("ant"))

    def test_what_was_committed_is_read(self, both: Both) -> None:
        id_ = both.put("d/a.md", note("ant bee", "cow", title="First"))
        row = both.real.notes([id_])[id_]
        assert (row.key, row.title, row.size, row.modified_ns) == (sort_key("d/a.md"), "First", 6, 1_000)
        assert both.real.note_by_key(sort_key("d/a.md")) == row
        assert both.real.notes([id_, 99]) == {id_: row}
        assert both.real.note_by_key(sort_key("a.md")) is None
        assert [c and c.line for c in both.real.chunks([(id_, 1), (id_, 2), (7, 0), (id_, 0)])] == [2, None, None, 1]
        assert both.real.file_row(sort_key("d/a.md")).digest == row.digest
        both.put("d/a.md", note("eel", title="Second", modified_ns=5))
        assert both.real.notes([id_])[id_].modified_ns == 5
        both.agree(ask("ant"), ask("eel first"))

    def test_an_id_stays_through_changes_and_moves(self, both: Both) -> None:
        id_ = both.put("a.md", note("ant bee"))
        assert both.put("a.md", note("ant cow"), 1) == id_
        both.write(lambda tx: tx.move_file(sort_key("a.md"), witness("d/b.md", 2), 0))
        row = both.real.file_row(sort_key("d/b.md"))
        assert (row.id, row.digest) == (id_, note("ant cow").digest)
        assert both.real.file_row(sort_key("a.md")) is None
        assert both.put("c.md", note("ant dog"), 3, id_=id_) == id_
        assert [r[0] for r in both.real.file_rows(b"", 9)] == [sort_key("c.md")]
        assert both.put("d.md", note("bee")) != id_
        both.agree(ask("ant"), ask("cow"), ask("dog"))

    def test_a_note_that_moves_onto_another_takes_its_place(self, both: Both) -> None:
        first, second = both.put("a.md", note("ant")), both.put("b.md", note("bee"))
        both.write(lambda tx: tx.move_file(sort_key("a.md"), witness("b.md", 1), 0))
        assert both.real.notes([first, second]).keys() == {first}
        third = both.put("c.md", note("cow"))
        both.put("c.md", note("dog"), 2, id_=first)
        assert both.real.notes([first, third]).keys() == {first}
        assert both.real.counts().chunks == 1
        both.agree(ask("ant"), ask("bee"), ask("cow"), ask("dog"))

    def test_the_same_note_twice_changes_nothing(self, both: Both) -> None:
        record = note("ant bee", "cow", title="ant", fields=(("tag", "x"),), names=(("a", 8, None),))
        id_ = both.put("a.md", record)
        before = both.real.file_rows(b"", 9), answer(both.real.signals(ask("ant cow"))), both.real.named("a")
        assert both.put("a.md", record) == id_
        assert (both.real.file_rows(b"", 9), answer(both.real.signals(ask("ant cow"))), both.real.named("a")) == before

    def test_replace_and_delete_within_one_transaction(self, both: Both) -> None:
        key = sort_key("a.md")
        both.write(
            lambda tx: tx.replace_note(witness("a.md", 0), 0, note("ant")),
            lambda tx: tx.replace_note(witness("a.md", 1), 0, note("bee")),
            lambda tx: tx.replace_note(witness("b.md", 1), 0, note("cow")),
            lambda tx: tx.delete_file(sort_key("b.md")),
            lambda tx: tx.delete_file(sort_key("never.md")),
        )
        assert both.real.file_row(key).digest == note("bee").digest
        both.write(
            lambda tx: tx.delete_file(key),
            lambda tx: tx.replace_note(witness("a.md", 2), 0, note("dog")),
        )
        both.agree(ask("ant"), ask("bee"), ask("cow"), ask("dog"))

    def test_moved_and_similar_files_are_found(self, both: Both) -> None:
        a, b, c = note("ant", "bee", "cow"), note("ant", "bee", "dog"), note("eel")
        for n, (path, record) in enumerate([("a.md", a), ("b.md", b), ("c.md", c), ("d.md", c)]):
            both.put(path, record, n)
        big = (sort_key("e.md"), 9, 1, 2, (1 << 63) - 5)
        both.write(lambda tx: tx.set_file(big, 0))
        for index in (both.real, both.oracle):
            assert [r.id for r in index.find_moved((sort_key("x.md"), *big[1:]))] == [5]
            assert [r.witness[0] for r in index.find_moved((sort_key("x/a.md"), *witness("a.md", 0)[1:]))] == [
                sort_key("a.md")
            ]
            assert index.find_moved(witness("a.md", 0)) == []
            assert [r.witness[0] for r in index.find_digest(c.digest)] == [sort_key("c.md"), sort_key("d.md")]
            near = [r.witness[0] for r in index.find_similar([x.digest for x in b.chunks], 0.6)]
            assert near == [sort_key("b.md"), sort_key("a.md")]
            assert index.find_similar([x.digest for x in b.chunks], 0.7) == [index.file_row(sort_key("b.md"))]
            assert index.find_similar([], 0.6) == []
        both.agree()
        with both.real.begin() as tx:
            assert tx.witness(big[0]) == big
            assert tx.witness(sort_key("never.md")) is None

    def test_names_links_and_fields(self, both: Both) -> None:
        link = LinkRow(3, "work/Plan", "plan", "Goals", None, False, False, "part_of")
        relative = LinkRow(4, "../b.md", "b", None, "x1", True, True)
        names = (
            ("plan", int(NameLevel.PERMALINK | NameLevel.TITLE), None),
            ("plan", int(NameLevel.ALIAS), "work/plan"),
        )
        one = both.put("a.md", note("ant", names=names, links=(link, relative), fields=(("kind", "x"), ("kind", "y"))))
        two = both.put(
            "b.md", note("bee", names=(("plan", 8, None), ("b", 8, None)), permalink="p/b", fields=(("kind", "x"),))
        )
        for index in (both.real, both.oracle):
            found = index.named("plan")
            assert [r.note for r in found] == [one, one, two]
            assert NameRow(one, sort_key("a.md"), NameLevel.ALIAS, "work/plan", None) in found
            assert index.named("b") == [NameRow(two, sort_key("b.md"), NameLevel.STEM, None, "p/b")]
            assert index.named("") == []
            assert index.links_from(one) == [link, relative]
            assert index.links_from(two) == []
            assert index.links_to(["b", "plan"]) == [(one, link), (one, relative)]
            assert index.links_to([]) == []
            assert index.field_values("kind", 9) == ["x", "y"]
            assert index.field_values("kind", 1) == ["x"]
            assert [index.has_field("kind"), index.has_field("kind", "y"), index.has_field("kind", "z")] == [
                True,
                True,
                False,
            ]
        both.write(lambda tx: tx.delete_file(sort_key("a.md")))
        assert (both.real.links_to(["plan"]), len(both.real.named("plan"))) == ([], 1)

    def test_two_names_that_end_alike_are_both_kept(self, both: Both) -> None:
        both.put("a.md", note("ant", names=(("plan", 4, "home/plan"), ("plan", 4, "work/plan"))))
        assert {r.whole for r in both.real.named("plan")} == {"home/plan", "work/plan"}

    def test_facts_do_not_get_lost(self, both: Both) -> None:
        facts = (FactRow(2, "observation", "tip", None, None), FactRow(3, "relation", "part_of", "2024", None))
        both.put("a.md", note("ant", facts=facts))
        if isinstance(both.real, SqliteIndex):
            assert len(dump(both.real)["fact"]) == 2

    def test_quarantine(self, both: Both) -> None:
        a, b = sort_key("a.md"), sort_key("b.md")
        both.write(
            lambda tx: tx.quarantine(a, "first", 1, 10),
            lambda tx: tx.quarantine(b, "second", 2, 20, b"digest"),
            lambda tx: tx.quarantine(a, "again", 3, 30),
        )
        assert both.real.quarantined(9) == [Aside(a, "again", 3, 2, 30, b""), Aside(b, "second", 2, 1, 20, b"digest")]
        assert both.real.quarantined(1) == [Aside(a, "again", 3, 2, 30, b"")]
        assert both.real.counts().quarantined == 2
        both.write(lambda tx: tx.quarantine(a, "again", 4, 40))
        assert both.real.aside(a) == Aside(a, "again", 3, 3, 40, b""), "since when it is so stays"
        assert both.real.aside(sort_key("z.md")) is None
        assert both.real.due(19, 9) == []
        assert [x.key for x in both.real.due(40, 9)] == [b, a]
        assert [x.key for x in both.real.due(40, 1)] == [b]
        both.write(lambda tx: tx.release(b), lambda tx: tx.replace_note(witness("a.md"), 0, note("ant")))
        assert both.real.quarantined(9) == []
        both.write(lambda tx: tx.quarantine(a, "cut", 4, 5), lambda tx: tx.move_file(a, witness("c.md"), 0))
        assert both.real.quarantined(9) == [Aside(sort_key("c.md"), "cut", 4, 1, 5, b"")]
        both.put("d.md", note("bee"), id_=both.real.file_row(sort_key("c.md")).id)
        assert both.real.quarantined(9) == []
        both.write(lambda tx: tx.quarantine(b, "gone", 5, 6), lambda tx: tx.delete_file(b))
        assert both.real.quarantined(9) == []

    def test_other_bytes_are_tried_as_often_as_the_first_ones(self, both: Both) -> None:
        a = sort_key("a.md")
        tries = []
        for n, digest in enumerate([b"one", b"one", b"two", b"two", b"two", b"", b"one"]):
            both.write(lambda tx, n=n, digest=digest: tx.quarantine(a, "bad", n, n + 1, digest))
            aside = both.real.aside(a)
            assert aside is not None
            assert (aside.digest, aside.retry_ns, aside.at_ns) == (digest, n + 1, 0)
            tries.append(aside.tries)
        assert tries == [1, 2, 1, 2, 3, 1, 1]

    def test_lists_are_in_path_order_and_page(self, both: Both) -> None:
        for path in ("b.md", "a/x.md", "a/b/y.md", "a.md", "ab/x.md"):
            both.put(path, note("ant", title=path))
        both.write(lambda tx: tx.set_file(witness("a/pic.png"), 0))
        hi = b"\xff" * 5
        for index in (both.real, both.oracle):
            assert [r.title for r in index.list_notes(b"", hi, b"", 9)] == [
                "a.md",
                "b.md",
                "a/x.md",
                "a/b/y.md",
                "ab/x.md",
            ]
            assert [r.title for r in index.list_notes(b"", hi, sort_key("b.md"), 2)] == ["a/x.md", "a/b/y.md"]
            assert [r.title for r in index.list_notes(b"a\0", b"a\1", b"", 9)] == ["a/x.md", "a/b/y.md"]

    def test_meta_and_jobs(self, both: Both) -> None:
        both.real.put_meta({"x": 1, "y": "two"})
        both.write(lambda tx: tx.put_meta("x", 5))
        assert [both.real.meta(k) for k in ("x", "y", "z")] == [5, "two", None]
        both.real.note_job("sync", "", 7)
        both.real.note_job("sync", "disk full", 9, failed=True)
        assert both.real.jobs() == {"sync": {"last_success_ns": 7, "last_failure_ns": 9, "error": "disk full"}}
        both.real.note_job("sync", "", 11)
        assert both.real.jobs()["sync"]["error"] is None

    def test_each_commit_has_a_higher_number(self, both: Both) -> None:
        seqs = []
        for n in range(3):
            both.put("a.md", note("ant"), n)
            seqs.append(both.real.counts().seq)
        assert seqs == sorted(set(seqs))
        assert both.real.signals(ask("ant")).seq == seqs[-1]

    def test_a_snapshot_stands_still(self, both: Both) -> None:
        if isinstance(both.real, SqliteIndex) and both.real.path == ":memory:":
            return  # one connection: its readers and its writer take turns
        both.put("a.md", note("ant"))
        with both.real.snapshot():
            before = both.real.counts()
            both.put("b.md", note("ant bee"))
            assert both.real.counts() == before
            assert len(both.real.signals(ask("ant")).notes) == 1
        assert len(both.real.signals(ask("ant")).notes) == 2

    def test_an_empty_index_answers(self, both: Both) -> None:
        both.agree(
            ask("ant"), ask(), ask(prefixes=("a",)), ask(phrases=(("ant", "bee"),)), ask(conditions=CONDITIONS[:1])
        )

    @pytest.mark.parametrize("condition", CONDITIONS, ids=lambda c: f"{c.kind}-{c.field}{c.values}{c.lo_ns // DAY}")
    @pytest.mark.parametrize("negated", [False, True])
    def test_every_kind_of_condition(self, both: Both, condition: Condition, negated: bool) -> None:
        rng = random.Random(7)
        for n, path in enumerate(random_paths(rng)):
            both.put(path, random_note(rng), n)
        condition = replace(condition, negated=negated)
        both.agree(ask("ant owl", conditions=(condition,)), ask(conditions=(condition,)))

    def test_conditions_mean_what_they_say(self, both: Both) -> None:
        turns = note("ant", "ant", "ant")
        rows = [
            said(c, s, at_ns=t) for c, s, t in zip(turns.chunks, ("Ana", "Bo", None), (DAY, 3 * DAY, None), strict=True)
        ]
        spoken = ((SPEAKER, "ana"), (SPEAKER, "bo"), ("tag", "home/desk"))
        both.put("d/a.md", replace(turns, chunks=rows, fields=spoken, modified_ns=5 * DAY))
        written = (("author", "ana"), ("tag", "homes"))
        both.put("d.md", note("ant", author="Ana", fields=written, modified_ns=3 * DAY, valid_to_ns=DAY))

        def hits(**named: Any) -> list[tuple[int, int]]:
            return sorted(answer(both.real.signals(ask("ant", conditions=(Condition(**named),))))["places"])

        assert hits(kind="who", values=("ana",)) == [(1, 0), (2, 0)]
        assert hits(kind="who", values=("ana",), negated=True) == [(1, 1), (1, 2)]
        assert hits(kind="time", lo_ns=3 * DAY) == [(1, 1), (1, 2), (2, 0)]
        assert hits(kind="time", hi_ns=3 * DAY) == [(1, 0)]
        assert hits(kind="time", lo_ns=3 * DAY, hi_ns=5 * DAY) == [(1, 1), (2, 0)]
        assert hits(kind="field", field="tag", values=("home",)) == [(1, 0), (1, 1), (1, 2)]
        assert hits(kind="path", values=("d",)) == [(1, 0), (1, 1), (1, 2)]
        assert hits(kind="path", values=("D.*",)) == [(2, 0)]
        assert hits(kind="path", values=("/",)) == [(1, 0), (1, 1), (1, 2), (2, 0)]
        assert hits(kind="valid", lo_ns=DAY) == [(1, 0), (1, 1), (1, 2)]
        assert len(hits(kind="valid", lo_ns=DAY - 1)) == 4

    def test_phrases_and_excluded(self, both: Both) -> None:
        both.put("a.md", note("ant bee cow", "bee ant", "cow ant bee ant bee", title="dog"))
        both.put("b.md", note("ant", "bee", title="ant bee"))
        both.put("c.md", note("ant ant bee", "cow"))
        searches = [
            ask("ant", phrases=(("ant", "bee"),)),
            ask(phrases=(("ant", "bee"),)),
            ask("cow", phrases=(("ant", "bee"), ("cow",))),
            ask("ant", phrases=(("bee", "ant", "bee"),)),
            ask("ant", phrases=(("ant", "unheard"),)),
            ask("bee", excluded=(("ant", "bee"),)),
            ask("bee", excluded=(("cow",), ("unheard",))),
            ask("bee", phrases=(("bee",),), excluded=(("bee", "ant"),)),
        ]
        both.agree(*searches)
        found = answer(both.real.signals(searches[0]))["places"]
        assert sorted(found) == [(1, 0), (1, 2), (2, 0), (2, 1), (3, 0)]  # in b.md the title has it, for all its chunks

    def test_prefixes_and_misspellings(self, both: Both) -> None:
        both.put("a.md", note("garden gardener gardening", "gardens", title="garlic"))
        both.put("b.md", note("harden garde", "hardly hardness"))
        both.put("c.md", note("kitchen kittens", "cafe"))
        both.agree(
            *(ask(prefixes=p) for p in (("gard",), ("g", "kit"), ("zz",), ("gardens", "gard"))),
            *map(ask, "ktichen kitchn hardnes gardenxyz gard cfe xafe caffe c4fe gadrenre".split()),
        )
        assert answer(both.real.signals(ask("ktichen")))["remarks"] == ("no note has “ktichen”; searched “kitchen”",)

    def test_words_that_no_note_has_any_more_stand_for_nothing(self, both: Both) -> None:
        """The dictionary keeps words of deleted notes; answers must be those of an index that never saw them."""
        old = [f"kitchenx{n:03}" for n in range(300)]
        both.put("a.md", note(" ".join([*old, "kitchan", "kitchens"])))
        both.put("b.md", note("kitchen kitcheny", title="kit"))
        both.write(lambda tx: tx.delete_file(sort_key("a.md")))
        both.agree(
            ask("kitchan"), ask("kitchenx000"), ask(prefixes=("kitchen",)), ask(prefixes=("kit",)), ask("kitche")
        )
        assert answer(both.real.signals(ask("kitchan")))["notes"]
        assert answer(both.real.signals(ask(prefixes=("kitchen",))))["notes"]

    def test_ties_have_one_order(self, both: Both) -> None:
        for path in ("c.md", "a.md", "b/x.md", "b.md"):
            both.put(path, note("ant bee", "bee ant"))
        keys = {i: r.key for i, r in both.real.notes(range(9)).items()}
        for by in ("passage", "note"):
            got = ranked(both.real, ask("ant"), 3, by)
            assert [keys[r.note] for r in got] == sorted(keys[r.note] for r in got)
            assert [(keys[r.note], r.ord) for r in got] == [
                (t.key, t.ord) for t in rank_all(both.real, ask("ant"), by)[:3]
            ]  # type: ignore[arg-type]

    def test_turns_are_searched_without_the_names_of_speakers(self, both: Both) -> None:
        both.put("a.md", talk(("Ana", "ant bee"), ("Bo", "cow"), ("Ana", "dog"), title="ana"))
        both.put("b.md", talk(("Bo", "ant"), ("Cy", "eel ana")))
        both.put("c.md", note("ana ant", "fox", "gnu", "hen", "ana", title="bo"))
        asked = [
            ask("ana ant", names=("ana",), who=("ana",)),
            ask("ana ant", names=("ana",), who=("ana",), conditions=(Condition("path", values=("a.md",)),)),
            ask("ana bo ant cow", names=("ana", "bo"), who=("ana", "bo")),
            ask("ana", names=("ana",), who=("ana",)),  # nothing else is asked: the name is all there is to search
            ask("ana bo", names=("bo",), who=("bo",)),
            ask("ana", prefixes=("an",), names=("ana",), who=("ana", "nobody")),
            ask("unheard ana", names=("ana",), who=("ana",)),
            ask("ana ant", who=("ana",)),
        ]
        both.agree(*asked)
        s = answer(both.real.signals(asked[0]))
        plain = answer(both.real.signals(ask("ant")))
        assert s["notes"][1][0] == plain["notes"][1][0]
        assert s["notes"][3][0] > plain["notes"][3][0]  # in a document the name is a word like any other
        assert s["places"][1, 0][:2] == plain["places"][1, 0][:2]
        assert (3, 4) in s["places"].keys() - plain["places"].keys()
        assert answer(both.real.signals(asked[3]))["places"][1, 0][1] > 0

    def test_who_speaks_and_is_present(self, both: Both) -> None:
        both.put("a.md", talk(("Ana", "ant"), ("Bo", "ant"), ("Ana", "ant")))
        both.put("b.md", talk(("Cy", "ant")))
        both.put("c.md", note("ant", author="Ana", fields=(("author", "ana"),)))
        both.agree(ask("ant", who=("ana",)), ask("ant", who=("ana", "cy")), ask("ant", who=("nobody",)))
        s = answer(both.real.signals(ask("ant", who=("ana", "cy"))))
        assert {p: k[2] for p, k in s["kinds"].items()} == {
            (1, 0): 1.0, (1, 1): 0.0, (1, 2): 1.0, (2, 0): 1.0, (3, 0): 0.0
        }  # fmt: skip
        assert {n: v[2] for n, v in s["notes"].items()} == {1: 0.5, 2: 0.5, 3: 0.0}
        assert {n: v[1] for n, v in s["sizes"].items()} == {1: True, 2: True, 3: False}

    def test_all_turns_of_the_best_conversations_are_candidates(self, both: Both) -> None:
        """What answers may use none of the words that are asked; what is out of scope stays out all the same."""
        far = ("Bo", "gnu")
        both.put("a.md", talk(("Ana", "ant bee"), *[far] * 6))
        both.put("b.md", note("ant bee", *["gnu"] * 6))
        both.put("c.md", talk(*[far] * 3))
        mixed = talk(*[far] * 6, ("Ana", "ant"))
        rows = [said(c, c.speaker if i != 2 else None) for i, c in enumerate(mixed.chunks)]
        both.put("d.md", replace(mixed, chunks=rows))
        both.agree(
            ask("ant"), ask("ant", excluded=(("cow",),)), ask("ant", conditions=(Condition("who", values=("bo",)),))
        )
        found = set(answer(both.real.signals(ask("ant")))["places"])
        assert found == {(1, o) for o in range(7)} | {(2, o) for o in range(3)} | {(4, o) for o in range(7) if o != 2}
        by_bo = set(answer(both.real.signals(ask("ant", conditions=(Condition("who", values=("bo",)),))))["places"])
        assert by_bo == {(1, o) for o in range(1, 7)} | {(4, o) for o in range(6) if o != 2}

    def test_so_many_conversations_are_taken_whole_and_ties_go_by_path(self, both: Both) -> None:
        for n in range(45):
            both.put(f"{(n * 7) % 45:02}.md", talk(("Ana", "ant"), *[("Bo", "gnu")] * 4))
        both.put("best.md", talk(("Ana", "ant ant"), *[("Bo", "gnu")] * 4))
        found = answer(both.real.signals(ask("ant")))["places"]
        keys = both.real.keys({n for n, _ in found})
        whole = sorted(keys[n] for n in keys if (n, 4) in found)
        assert whole == sorted([sort_key("best.md"), *(sort_key(f"{n:02}.md") for n in range(39))])
        both.agree(ask("ant"), ask("ant", who=("bo",)))
        both.real.flush()
        both.agree(ask("ant"))

    def test_the_best_notes_say_what_else_to_look_for(self, both: Both) -> None:
        """Words that stand out in them find what has none of the words asked."""
        both.put("a.md", note("ant bee cow", "bee bee", title="cow"))
        both.put("b.md", note("ant bee", "owl panda"))
        both.put("c.md", note("bee cow cow", "eel"))
        both.put("d.md", note("fox", "gnu", title="the"))
        s = both.real.signals(ask("ant bee cow eel fox"))
        at = {n: i for i, n in enumerate(s.notes.tolist())}
        pool, best = np.array([at[n] for n in (1, 2, 3, 4)]), np.array([at[1], at[2]])
        said_ = s.feedback(best, np.array([0.75, 0.25], dtype=np.float32), pool, frozenset({"ant"}))
        # cow counts 3 of 7 in a.md, for its title counts double; d.md shares no word with either.
        assert said_[0] > said_[2] > said_[1] > said_[3] == 0.0
        both.agree(ask("ant bee cow eel fox"))

    def test_notes_without_a_chunk_are_found_by_their_titles(self, both: Both) -> None:
        """So are notes that are too large to be opened."""
        for n in range(4):
            both.put(f"{n}.md", note(title="ant bee"))
        both.put("a.md", note("ant", "cow"))
        both.agree(ask("ant"), ask("bee"), ask("ant", conditions=(Condition("path", values=("0.md",)),)))
        both.real.flush()
        both.agree(ask("ant bee cow"))
        s = answer(both.real.signals(ask("bee")))
        assert (s["notes"].keys(), s["places"]) == ({1, 2, 3, 4}, {})

    def test_which_of_equally_good_words_are_taken_goes_by_their_letters(self, both: Both) -> None:
        """Not by which was seen first: that is another one after a rebuild."""
        words = [f"{x}{y}" for x in "abcdefgh" for y in "stuvwx"]
        rng = random.Random(3)
        rng.shuffle(words)
        both.put("first.md", note(" ".join(words[:10])))
        both.put("a.md", note("key", title=""))
        both.put("b.md", note("key " + " ".join(words)))
        both.put("c.md", note("key " + " ".join(sorted(words)[:24])))
        both.put("d.md", note("key " + " ".join(sorted(words)[24:])))
        both.agree(ask("key"))

    def test_counts_stop_where_a_byte_ends(self, both: Both) -> None:
        both.put("a.md", note(" ".join(["ant"] * 300), "ant bee"))
        both.put("b.md", note(" ".join(["ant"] * 255), " ".join(["anti", "ant"] * 200)))
        both.agree(ask("ant"), ask(prefixes=("ant",)), ask("ant bee", phrases=(("ant", "ant"),)))
        both.real.flush()
        both.agree(ask("ant"), ask(prefixes=("ant",)), ask("ant bee", phrases=(("ant", "ant"),)))

    def test_very_common_words_give_way_to_rare_ones(self, both: Both) -> None:
        many = ["ant"] * 4_200
        both.put("a.md", note(*many[:2_100]))
        both.put("b.md", note(*many[2_100:], "ant owl"))
        both.agree(ask("ant owl"), ask("ant"))
        assert len(answer(both.real.signals(ask("ant owl")))["places"]) == 3
        assert len(answer(both.real.signals(ask("ant")))["places"]) == 4_201

    @pytest.mark.parametrize("seed", range(12))
    def test_a_random_life_agrees_with_the_oracle(self, both: Both, seed: int) -> None:
        rng = random.Random(seed)
        for n in range(60):
            random_edit(rng, both, n)
            if rng.random() < 0.1:
                both.real.flush()
            if n % 12 == 11:
                both.agree(*[random_search(rng) for _ in range(4)])
        both.real.flush()
        both.agree(*[random_search(rng) for _ in range(20)])


def bits(s: Signals) -> dict[str, Any]:
    """Everything an answer is made of, to the last bit."""
    order = np.argsort(s.notes, kind="stable")
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    by = np.lexsort((s.ord, place[s.owner]))
    detail = s.detail(by)
    weights = np.array([0.5, 0.3, 0.2][: len(order)], dtype=np.float32)
    per_note = (s.notes, s.sizes, s.note, s.note_dense, s.is_talk, s.present)
    per_candidate = (s.ord, s.near, s.own, s.dense, s.is_known, s.is_turn, s.speaks)
    return {
        "notes": [x[order].tobytes() for x in per_note], "owner": place[s.owner][by].tobytes(),
        "candidates": [x[by].tobytes() for x in per_candidate], "rows": detail.rows,
        "detail": [x.tobytes() for x in (detail.words, detail.words_before, detail.in_pair, detail.in_near)],
        "idf": detail.idf.tobytes(),
        "feedback": s.feedback(order[: len(weights)], weights, order, frozenset()).tobytes() if len(order) else b"",
        "counts": (s.matched_chunks, s.scope_notes, s.scope_chunks), "remarks": s.remarks,
    }  # fmt: skip


class TestPostings:
    """SqliteIndex only: how the words are stored changes no answer."""

    @pytest.mark.parametrize("seed", range(4))
    def test_flush_merge_discard_and_a_fresh_build_give_the_same_bits(
        self, stored: tuple[SqliteIndex, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
    ) -> None:
        monkeypatch.setattr("holdfast.index.sqlite.postings.SEGMENT_TERMS", 400)
        index, _ = stored
        rng = random.Random(seed)
        both = Both(index)
        searches = [random_search(rng) for _ in range(25)]
        counts = set()
        for n in range(150):
            random_edit(rng, both, n)
            if rng.random() < 0.15:
                index.flush()
                counts.add(index._db.execute("select count(*) from segment").fetchall()[0][0])
        assert max(counts) > 1
        history = [bits(index.signals(s)) for s in searches]
        index.flush()
        assert [bits(index.signals(s)) for s in searches] == history
        index.discard_postings()
        assert [bits(index.signals(s)) for s in searches] == history
        index.flush()
        assert [bits(index.signals(s)) for s in searches] == history
        fresh = SqliteIndex.in_memory()
        rows = index.file_rows(b"", 1_000)
        with fresh.begin() as tx:
            for row in rows:
                known = both.oracle.file_row(row[0])
                assert known is not None
                if known.id in both.oracle.now.notes:
                    tx.replace_note(known.witness, known.racy_ns, both.oracle.now.notes[known.id], known.id)
        assert [bits(fresh.signals(s)) for s in searches] == history
        fresh.close()
        again = SqliteIndex(index.path, 1, "me")
        assert [bits(again.signals(s)) for s in searches] == history
        again.close()

    def test_a_change_of_more_than_a_segment_is_flushed(
        self, stored: tuple[SqliteIndex, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A transaction may bring more than fits into one segment: few large notes, or many small chunks."""
        monkeypatch.setattr("holdfast.index.sqlite.postings.SEGMENT_TERMS", 100)
        both = Both(stored[0])
        both.write(
            lambda tx: tx.replace_note(witness("a.md"), 0, note("ant bee cow")),
            lambda tx: tx.replace_note(witness("b.md"), 0, note(" ".join(["ant", "owl"] * 60))),
            lambda tx: tx.replace_note(witness("c.md"), 0, note(" ".join(["eel"] * 99), "ant")),
        )
        before = bits(stored[0].signals(ask("ant owl eel")))
        stored[0].flush()
        assert bits(stored[0].signals(ask("ant owl eel"))) == before
        assert stored[0]._db.execute(
            "select count(*) from doc where seq > (select value from meta where key = 'post_seq')"
        ).fetchall() == [(0,)]
        both.agree(ask("ant owl eel"))

    def test_postings_of_a_build_that_died_are_swept(self, stored: tuple[SqliteIndex, str]) -> None:
        index, _ = stored
        both = Both(index)
        both.put("a.md", note("ant bee"))
        index.flush()
        with index.begin() as tx:
            tx._db.execute("insert into post values (?, x'00')", ((7 << 32) | 1,))
        assert index._db.execute("select count(*) from post").fetchall() == [(2,)]
        index.sweep()
        assert index._db.execute("select count(*) from post").fetchall() == [(1,)]
        both.agree(ask("ant"))


WRITER = """
import sys
from holdfast.index.sqlite.store import SqliteIndex
from tests.contract.test_index import note, witness
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
index = SqliteIndex(path, 1, "me")
print("ready", flush=True)
sys.stdin.readline()
for n in range(count):
    with index.begin() as tx:
        tx.replace_note(witness(f"{name}{n % 40}.md", n), 0, note(f"ant {name}{n} shared{n % 7}", f"bee {name}"))
        if n % 5 == 4:
            tx.delete_file(witness(f"{name}{(n - 2) % 40}.md")[0])
index.close()
"""


def start(script: str, *args: str) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script), *args],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    return child


def test_two_processes_write_at_once(stored: tuple[SqliteIndex, str]) -> None:
    index, path = stored
    children = [start(WRITER, path, name, "100") for name in ("left", "right")]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    seqs = []
    while any(child.poll() is None for child in children):
        index.flush(20)
        seqs.append(index.counts().seq)
        for s in (index.signals(ask("ant")), index.signals(ask("bee shared3"))):
            assert len(set(s.notes.tolist())) == len(s.notes)
    for child in children:
        assert child.wait() == 0
        child.communicate()
    assert seqs == sorted(seqs)
    assert index.counts().seq == 200
    oracle = MemoryIndex()
    for name in ("left", "right"):
        for n in range(100):
            with oracle.begin() as tx:
                tx.replace_note(
                    witness(f"{name}{n % 40}.md", n), 0, note(f"ant {name}{n} shared{n % 7}", f"bee {name}")
                )
                if n % 5 == 4:
                    tx.delete_file(sort_key(f"{name}{(n - 2) % 40}.md"))
    assert index.file_rows(b"", 999) == oracle.file_rows(b"", 999)
    for search in (ask("ant"), ask("left97 shared3"), ask("bee right"), ask("left60")):
        mine, theirs = rank_all(index, search), rank_all(oracle, search)
        assert [(t.key, t.ord) for t in mine] == [(t.key, t.ord) for t in theirs]
        assert [t.score for t in mine] == pytest.approx([t.score for t in theirs], rel=1e-5)


def test_a_reader_keeps_its_snapshot_while_writers_commit(stored: tuple[SqliteIndex, str]) -> None:
    index, path = stored
    both = Both(index)
    both.put("a.md", note("ant bee"))
    index.flush()
    reader = SqliteIndex(path, 1, "me")
    before = bits(reader.signals(ask("ant")))
    done: list[BaseException] = []

    def write() -> None:
        try:
            for n in range(30):
                both.put(f"n{n}.md", note("ant cow", "ant"), n)
                index.flush(10)
        except BaseException as e:
            done.append(e)

    with reader.snapshot():
        assert bits(reader.signals(ask("ant"))) == before
        thread = threading.Thread(target=write)
        thread.start()
        while thread.is_alive():
            assert bits(reader.signals(ask("ant"))) == before
            assert reader.counts().notes == 1
        thread.join()
        assert bits(reader.signals(ask("ant"))) == before
    assert not done
    assert len(reader.signals(ask("ant")).notes) == 31
    reader.close()
