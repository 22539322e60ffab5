"""What the part of the port that knows links, names and facts promises (holdfast.index.graph), of every index."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import IndexDamaged
from holdfast.index.base import FactRow, LinkRow, NameLevel, NameRow, NoteRecord
from holdfast.index.graph import Dated, Tie
from holdfast.index.sqlite.db import create
from holdfast.index.sqlite.store import SqliteIndex
from holdfast.model import sort_key
from tests.contract.test_index import Both, both, note, witness

__all__ = ["both"]  # a fixture of the suite of the whole index

NAMES = ["plan", "goal", "tea", "sun"]


def link(target: str, line: int = 1, relation: str | None = None, *, relative: bool = False) -> LinkRow:
    return LinkRow(line, target, target.lower(), None, None, False, relative, relation)


def random_note(rng: random.Random) -> NoteRecord:
    names = {(n, int(rng.choice([1, 2, 4, 8])), rng.choice([None, f"x/{n}"])) for n in rng.sample(NAMES, 2)}
    links = tuple(
        LinkRow(i, rng.choice(NAMES).title(), rng.choice(NAMES), rng.choice([None, "H"]), rng.choice([None, "b"]),
                rng.random() < 0.3, rng.random() < 0.3, rng.choice([None, "knows"]))
        for i in range(rng.randrange(5))
    )  # fmt: skip
    facts = tuple(
        FactRow(i, rng.choice(["observation", "relation"]), rng.choice([None, "tip", "Status"]),
                rng.choice([None, "2024"]), rng.choice([None, "2025-01"]))
        for i in range(rng.randrange(4))
    )  # fmt: skip
    fields = tuple(sorted({(rng.choice(["created", "type"]), rng.choice(["2024", "x"])) for _ in range(2)}))
    texts = ["ant"] * rng.randrange(4)
    return note(*texts, names=tuple(sorted(names, key=repr)), links=links, facts=facts, fields=fields)


def said(index: Any) -> dict[str, Any]:
    graph = index.graph
    ids = [0, *range(1, 30)]
    return {
        "names_of": graph.names_of(ids),
        "named": graph.named([*NAMES, "nobody"]),
        "sources": sorted(graph.sources(["plan", "tea"])),
        "links": graph.links([(n, at) for n in ids for at in range(5)]),
        "ties_from": graph.ties_from(ids[::2], 2),
        "ties_to": graph.ties_to(NAMES, 3),
        "steps": [graph.steps((-1, -1), 5), graph.steps((3, 1), 100)],
        "note_keys": graph.note_keys(),
        "other_keys": graph.other_keys(),
        "stamps": graph.stamps(ids),
        "passages_at": graph.passages_at([(n, line) for n in ids for line in (0, 1, 2, 9)]),
        "labels": graph.labels(),
        "labelled": graph.labelled(["tip", "none"]),
        "facts_of": graph.facts_of(ids[::3]),
        "dated": [graph.dated((-1, -1), 4), graph.dated((4, 0), 100)],
        "stated": [graph.stated(["created"]), graph.stated(["created", "type"], ids[::2]), graph.stated(["type"], [])],
    }


@pytest.mark.parametrize("seed", range(6))
def test_all_answers_are_the_oracles(both: Both, seed: int) -> None:
    rng = random.Random(seed)
    paths = [f"{folder}n{n}.md" for folder in ("", "a/", "a/b/") for n in range(4)]
    for step in range(30):
        path = rng.choice(paths)
        if rng.random() < 0.7:
            both.put(path, random_note(rng), step)
        elif rng.random() < 0.5:
            both.write(lambda tx, p=path: tx.delete_file(sort_key(p)))  # type: ignore[misc]
        else:
            both.write(lambda tx, n=step: tx.set_file(witness(f"pic{n}.png"), 0))  # type: ignore[misc]
        assert said(both.real) == said(both.oracle)


def test_each_answer_says_what_it_promises(both: Both) -> None:
    names = (("plan", int(NameLevel.TITLE | NameLevel.STEM), None), ("b", int(NameLevel.ALIAS), "x/b"))
    links = (link("Tea", 2, "likes"), link("Sun", 3), link("tea", 4, relative=True))
    facts = (FactRow(2, "relation", "likes", "2024", None), FactRow(5, "observation", "tip", None, None))
    one = both.put("a.md", note("ant", "bee", names=names, links=links, facts=facts, fields=(("created", "2024"),)))
    two = both.put("z/b.md", note("ant", names=(("tea", 8, None),), links=(link("Tea", 9),)), 7)
    both.write(lambda tx: tx.set_file(witness("pic.png"), 0))
    for index in (both.real, both.oracle):
        graph = index.graph
        assert graph.names_of([one, two, 99]) == {one: ["b", "plan"], two: ["tea"]}
        row = NameRow(one, sort_key("a.md"), NameLevel.TITLE | NameLevel.STEM, None, None)
        assert graph.named(["plan", "nobody"]) == {"plan": [row]}
        assert sorted(graph.sources(["tea"])) == [
            (sort_key("a.md"), 0, "Tea", 0, one), (sort_key("a.md"), 2, "tea", 1, one),
            (sort_key("z/b.md"), 0, "Tea", 0, two),
        ]  # fmt: skip
        assert graph.links([(two, 0), (one, 1), (one, 9), (99, 0)]) == [link("Tea", 9), links[1], None, None]
        assert [t.ord for t in graph.ties_from([one], 2)] == [0, 1]
        assert graph.ties_to(["tea", "none"], 2) == [
            [Tie(two, 0, 9, "Tea", "tea", None, False, None), Tie(one, 2, 4, "tea", "tea", None, True, None)], []
        ]  # fmt: skip
        assert graph.steps((one, 1), 1) == [((one, 2), (one, 4, "tea", "tea", 1))]
        assert graph.note_keys() == [(one, sort_key("a.md")), (two, sort_key("z/b.md"))]
        assert graph.other_keys() == [sort_key("pic.png")]
        assert graph.stamps([two, 99]) == {two: (sort_key("z/b.md"), 1_007)}
        assert graph.passages_at([(one, 1), (one, 2), (one, 50), (one, 0), (99, 1)]) == [0, 1, 1, 0, 0]
        assert graph.labels() == ["likes", "tip"]
        assert graph.labelled(["tip"]) == graph.facts_of([one])[1:]
        assert graph.dated((-1, -1), 9) == [Dated(one, 0, 2, "relation", "likes", "2024", None)]
        assert graph.dated((one, 0), 9) == []
        assert graph.stated(["created"]) == graph.stated(["created"], [one, two]) == [(one, "created", "2024")]
        assert graph.stated(["created"], [two]) == []


def test_a_row_that_no_index_can_hold_is_damage(tmp_path: Path) -> None:
    create(str(tmp_path / "gen-000001.db"), "me")
    index = SqliteIndex(str(tmp_path / "gen-000001.db"), 1, "me")
    with index.begin() as tx:
        tx.replace_note(witness("a.md"), 0, note("ant", links=(link("Tea"),), names=(("tea", 8, None),)))
    with index.writing() as db:
        db.execute("update link set target = x'00ff'")
    for ask in (
        lambda: index.graph.sources(["tea"]), lambda: index.graph.ties_to(["tea"], 1),
        lambda: index.graph.steps((-1, -1), 1), lambda: index.graph.links([(1, 0)]),
        lambda: index.graph.ties_from([1], 1),
    ):  # fmt: skip
        with pytest.raises(IndexDamaged):
            ask()
    index.close()
