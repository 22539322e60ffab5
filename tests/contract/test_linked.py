"""Links, context, facts and time of a vault: what each verb promises beyond tests/property/test_graph.py."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, Vault
from holdfast.engine import context as spreading
from holdfast.engine import lines
from holdfast.engine.budget import size_bytes
from holdfast.engine.context import context
from holdfast.engine.facts import contradictions, facts
from holdfast.engine.lines import LINE_CHARS
from holdfast.engine.links import backlinks, mentions, outgoing
from holdfast.engine.problems import problems
from holdfast.engine.timeline import timeline
from holdfast.errors import NotFound, PathNotAllowed, QueryError
from holdfast.files import notes
from holdfast.graph import Spot
from holdfast.model import sort_key
from tests.fault.vaults import index_of

CONFIG = Config(background=False, embedder="none", note_bytes=64 * 1024)


class Made:
    """A vault with notes, synced when it is asked."""

    def __init__(self, base: Path) -> None:
        self.root = base / "notes"
        self.root.mkdir()
        self.vault = Vault.open(self.root, state_dir=base / "state", config=CONFIG)
        self.times = 0

    def put(self, path: str, text: str, days: int = 0) -> None:
        """`days` is how much older than others it is."""
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text, encoding="utf-8")
        at = 1_700_000_000 - 86_400 * days
        os.utime(full, (at, at))

    def ask(self, verb: Callable[..., Any], *asked: Any, sync: bool = True, **named: Any) -> Any:
        if sync:
            self.vault.sync()
        return verb(self.vault._ws, index_of(self.vault), *asked, **named)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Made]:
    found = Made(tmp_path)
    yield found
    found.vault.close()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of notes that are opened, in order."""
    found: list[str] = []
    whole, part = notes.read_note, notes.read_range

    def read_note(fs: Any, root: str, path: str, **named: Any) -> Any:
        found.append(path)
        return whole(fs, root, path, **named)

    def read_range(fs: Any, root: str, path: str, start: int, size: int) -> bytes:
        found.append(path)
        return part(fs, root, path, start, size)

    monkeypatch.setattr(notes, "read_note", read_note)
    monkeypatch.setattr(notes, "read_range", read_range)
    return found


class TestBacklinks:
    def test_each_line_with_its_words_and_what_it_points_at(self, made: Made) -> None:
        made.put("Tea.md", "# Tea\n")
        made.put("a.md", "# Ana\n\n- likes [[Tea#Green]] (daily)\nAlso ![[tea#^b1]] here.\n")
        made.put("b/c.md", "See [it](../Tea.md) and [[Teas]].\n")
        found = made.ask(backlinks, "tea")
        assert (found.path, found.total, found.next, found.degraded) == ("Tea.md", 3, None, ())
        assert [(x.path, x.line, x.kind, x.relation, x.heading, x.block) for x in found.links] == [
            ("a.md", 3, "relation", "likes", "Green", None), ("a.md", 4, "embed", None, None, "b1"),
            ("b/c.md", 1, "link", None, None, None),
        ]  # fmt: skip
        assert [x.text for x in found.links] == [
            "- likes [[Tea#Green]] (daily)", "Also ![[tea#^b1]] here.", "See [it](../Tea.md) and [[Teas]]."
        ]  # fmt: skip
        assert found.links[0].title == "Ana"

    def test_only_notes_of_the_page_are_read(self, made: Made, reads: list[str]) -> None:
        made.put("Tea.md", "# Tea\n")
        for n in range(20):
            made.put(f"n{n:02d}.md", "[[Tea]] [[Tea]]\n")
        made.vault.sync()
        reads.clear()
        page = made.ask(backlinks, "Tea", limit=4, sync=False)
        assert reads == ["n00.md", "n01.md"]
        assert (page.total, page.next) == (40, "n01.md:1")

    def test_a_page_goes_on_where_the_last_note_was_though_it_is_gone(self, made: Made) -> None:
        made.put("Tea.md", "# Tea\n")
        for n in range(4):
            made.put(f"n{n}.md", "[[Tea]] [[Tea]]\n")
        page = made.ask(backlinks, "Tea", limit=3)
        (made.root / "n1.md").unlink()
        rest = made.ask(backlinks, "Tea", limit=9, after=page.next)
        assert [x.path for x in rest.links] == ["n2.md", "n2.md", "n3.md", "n3.md"]

    def test_pages_go_on_behind_a_name_that_is_no_text(self, made: Made) -> None:
        made.put("Tea.md", "# Tea\n")
        for name in (b"\xff.md", b"\xfe.md", b"a.md"):
            with open(os.fsencode(made.root) + b"/" + name, "wb") as f:
                f.write(b"[[Tea]]\n- [status] a [from:: 2020]\n- [status] b [from:: 2021]\n")
        made.vault.sync()
        for verb, of in (
            (lambda after: made.ask(backlinks, "Tea", limit=1, after=after, sync=False), "links"),
            (lambda after: made.ask(contradictions, limit=1, after=after, sync=False), "findings"),
            (lambda after: made.ask(timeline, until="2020", limit=1, after=after, sync=False), "events"),
        ):
            pages, after = [], ""
            while after is not None and len(pages) < 9:
                page = verb(after)
                pages += getattr(page, of)
                after = page.next
            assert len(pages) == 3, of

    def test_a_line_that_moved_since_the_sync_is_found_again(self, made: Made) -> None:
        made.put("Tea.md", "# Tea\n")
        made.put("a.md", "old\nold\n[[Tea]]\n")
        made.put("b.md", "[[Tea]] [[Tea]]\n")
        made.put("c.md", "[[Tea]]\n")
        made.vault.sync()
        made.put("a.md", "[[Tea]] more\nnew\n- [[Tea]]\n[[Tea]] moved\n")
        made.put("b.md", "no more\n")
        (made.root / "c.md").unlink()
        found = made.ask(backlinks, "Tea", sync=False)
        assert [(x.path, x.line, x.text) for x in found.links] == [("a.md", 4, "[[Tea]] moved")]
        assert found.degraded == (
            "b.md changed since the last sync; a link in it was dropped", "c.md is gone since the last sync"
        )  # fmt: skip

    def test_a_note_that_harms_who_parses_it_is_not_parsed(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        made.put("Tea.md", "# Tea\n")
        made.put("a.md", "- likes [[Tea]]\n")
        made.vault.sync()
        made.put("a.md", "- likes [[Tea]] poison\n")
        with index_of(made.vault).begin() as tx:
            digest = notes.digest_of((made.root / "a.md").read_bytes())
            tx.quarantine(sort_key("a.md"), "It bites.", 1, 2, digest)

        def parsed(*asked: object) -> None:
            raise AssertionError("it was parsed")

        monkeypatch.setattr(lines, "parse", parsed)
        monkeypatch.setattr(lines, "read_carefully", parsed)
        found = made.ask(backlinks, "Tea", sync=False)
        assert [(x.line, x.text) for x in found.links] == [(1, None)]
        assert found.degraded == ("It bites.",) == made.ask(facts, "a.md", sync=False).degraded

    def test_a_note_that_cannot_be_read_keeps_its_place(self, made: Made) -> None:
        made.put("Tea.md", "# Tea\n")
        made.put("a.md", "[[Tea]]\n")
        made.vault.sync()
        (made.root / "a.md").unlink()
        (made.root / "a.md").mkdir()
        found = made.ask(backlinks, "Tea", sync=False)
        assert [(x.path, x.line, x.text) for x in found.links] == [("a.md", 1, None)]
        assert "a.md is a directory, not a file." in found.degraded

    def test_of_a_long_line_the_part_around_the_link_is_shown(self, made: Made) -> None:
        made.put("Tea.md", "# Tea\n")
        made.put("a.md", "x" * 3_000 + " [[Tea]] " + "y" * 3_000 + "\n")
        (link,) = made.ask(backlinks, "Tea").links
        assert "[[Tea]]" in link.text
        assert len(link.text) <= LINE_CHARS + 2

    def test_a_link_to_a_permalink_that_got_a_number(self, made: Made) -> None:
        made.put("My Plan.md", "x\n")
        made.put("my plan.md", "x\n")
        made.put("a.md", "[[my-plan-1]]\n")
        assert made.ask(outgoing, "a.md").links[0].to == ("my plan.md",)
        assert [x.path for x in made.ask(backlinks, "my plan.md").links] == ["a.md"]
        assert made.ask(backlinks, "My Plan.md").total == 0

    @pytest.mark.parametrize("after", ["a.md", "a.md:x", "a.md:²", ":", "a.md:" + "9" * 5_000])
    def test_a_place_that_is_none(self, made: Made, after: str) -> None:
        made.put("Tea.md", "# Tea\n")
        for verb in (backlinks, contradictions):
            with pytest.raises((QueryError, PathNotAllowed)) as e:
                made.ask(verb, *["Tea"] * (verb is backlinks), after=after)
            assert e.value.hint

    @pytest.mark.parametrize("limit", [0, -1, 1_001])
    def test_a_limit_that_is_none(self, made: Made, limit: int) -> None:
        made.put("Tea.md", "# Tea\n")
        for verb, asked in (
            (backlinks, ["Tea"]), (outgoing, ["Tea"]), (mentions, ["Tea"]), (facts, ["Tea"]), (timeline, []),
            (contradictions, []),
        ):  # fmt: skip
            with pytest.raises(QueryError, match="limit"):
                made.ask(verb, *asked, limit=limit)
        with pytest.raises(QueryError, match="limit"):
            problems(index_of(made.vault), limit=limit)

    def test_a_note_that_is_not_in_the_index(self, made: Made) -> None:
        made.put("a.md", "x\n")
        made.vault.sync()
        made.put("b.md", "x\n")
        with pytest.raises(NotFound, match=r"b\.md is not in the index"):
            made.ask(backlinks, "b.md", sync=False)
        with pytest.raises(NotFound, match="no note"):
            made.ask(outgoing, "nobody")


class TestOutgoing:
    def test_what_each_link_resolves_to(self, made: Made) -> None:
        made.put("a/plan.md", "x\n")
        made.put("b/plan.md", "x\n")
        made.put("tea.md", "x\n")
        made.put("pics/sun.png", "x")
        made.put("moon.pdf", "x")
        made.put("big.md", "x" * 70_000)
        made.put("n.md", "[[plan]] [[Tea#H]] [[gone]] [[#Here]] ![[sun.png]] [m](moon.pdf) [[big]] [[sun]]\n")
        found = made.ask(outgoing, "n.md")
        assert [(x.target, x.state, x.to) for x in found.links] == [
            ("plan", "ambiguous", ("a/plan.md", "b/plan.md")), ("Tea", "resolved", ("tea.md",)),
            ("gone", "dangling", ()), ("", "resolved", ("n.md",)), ("sun.png", "resolved", ("pics/sun.png",)),
            ("moon.pdf", "resolved", ("moon.pdf",)), ("big", "resolved", ("big.md",)), ("sun", "dangling", ()),
        ]  # fmt: skip
        assert made.ask(backlinks, "big.md").total == 1
        assert "big.md" not in problems(index_of(made.vault)).orphans

    def test_pages(self, made: Made) -> None:
        made.put("n.md", "".join(f"[[t{i}]]\n" for i in range(5)))
        first = made.ask(outgoing, "n.md", limit=3)
        rest = made.ask(outgoing, "n.md", limit=3, after=first.next)
        assert [x.target for x in (*first.links, *rest.links)] == [f"t{i}" for i in range(5)]
        assert (first.total, rest.next) == (5, None)
        with pytest.raises(QueryError, match="no place"):
            made.ask(outgoing, "n.md", after="x")


class TestMentions:
    def test_notes_that_name_it_and_do_not_link_to_it(self, made: Made) -> None:
        made.put("ana.md", "---\naliases: [Ana Maria, Al]\n---\n# Ana Berg\n\nAna Berg is me.\n")
        made.put("one.md", "# One\n\nMet Berg.\n\nThen ana berg came.\n", days=2)
        made.put("two.md", "Ana Berg and [[Ana Berg]].\n")
        made.put("three.md", "# Ana  Maria's trip\n\nAl was there.\n", days=1)
        made.put("four.md", "Al alone.\nBerg Ana.\n")
        found = made.ask(mentions, "ana.md")
        assert [(m.path, m.line, m.name, m.text) for m in found.mentions] == [
            ("three.md", 1, "ana maria", "# Ana  Maria's trip"), ("one.md", 5, "Ana Berg", "Then ana berg came.")
        ]  # fmt: skip

    def test_a_short_name_is_not_looked_for(self, made: Made) -> None:
        made.put("al.md", "# Al\n")
        made.put("b.md", "Al was there.\n")
        assert made.ask(mentions, "al.md").mentions == ()

    def test_it_is_bounded(self, made: Made, reads: list[str]) -> None:
        made.put("a.md", "# Tomato\n")
        for n in range(30):
            made.put(f"n{n:02d}.md", "A tomato.\n", days=n)
        made.vault.sync()
        reads.clear()
        found = made.ask(mentions, "Tomato", limit=3, sync=False)
        assert [m.path for m in found.mentions] == ["n00.md", "n01.md", "n02.md"] == reads
        assert found.degraded == ("only the newest 3 notes that mention it are shown",)

    def test_of_many_names_the_first_are_looked_for(self, made: Made) -> None:
        made.put("a.md", f"---\naliases: [{', '.join(f'name{c}' for c in 'abcdefghijkl')}]\n---\n# Alpha\n")
        made.put("b.md", "namea\n")
        made.put("c.md", "namel\n")
        found = made.ask(mentions, "a.md")
        assert [m.path for m in found.mentions] == ["b.md"]
        assert found.degraded == ("only 8 of 13 names were looked for",)

    def test_quotes_in_a_title_are_no_query(self, made: Made) -> None:
        made.put("a.md", "---\ntitle: 'A 5\" -tomato pot'\n---\n")
        made.put("b.md", "A 5 tomato pot is this.\n")
        assert [m.path for m in made.ask(mentions, "a.md").mentions] == ["b.md"]


class TestProblems:
    def test_dangling_targets_by_how_many_links_have_them(self, made: Made) -> None:
        made.put("a.md", "[[Gone]] [[gone]] [[rare]] ![[pic.png]]\n[self](a.md)\n")
        made.put("b/c.md", "[x](gone.md) [y](../gone.md)\n[[a]]\n")
        made.put("d.md", "[[d]] [[#H]]\n")
        made.put("pic.png", "x")
        made.vault.sync()
        found = problems(index_of(made.vault))
        assert [(t.target, t.links) for t in found.dangling] == [("Gone", 3), ("b/gone.md", 1), ("rare", 1)]
        assert found.dangling[0].places == (Spot("a.md", 1), Spot("a.md", 1), Spot("b/c.md", 1))
        assert (found.orphans, found.links, found.orphan_count) == (("d.md",), 9, 1)

    def test_a_thousand_notes_of_one_name_cost_no_square(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        """The namesakes are gone through a few times each, whatever the number of targets."""
        for n in range(60):
            made.put(f"d{n}/README.md", "[x](README.md) [[README]]\n" + "".join(f"[[d{i}/readme]]\n" for i in range(5)))
        made.vault.sync()
        shown: list[bytes] = []
        from holdfast.engine import resolve

        monkeypatch.setattr(resolve, "key_path", lambda key: shown.append(key) or os.fsdecode(_path_of(key)))
        found = problems(index_of(made.vault))
        assert (found.links, found.ambiguous_count) == (60 * 7, 1)
        assert len(shown) <= 60

    def test_a_place_that_is_none(self, made: Made) -> None:
        made.put("a.md", "x\n")
        made.vault.sync()
        with pytest.raises(QueryError, match="no place"):
            problems(index_of(made.vault), after="²")


def _path_of(key: bytes) -> bytes:
    head, _, name = key.rpartition(b"\0")
    return head[:-1].replace(b"\0", b"/") + b"/" + name if head else name


class TestContext:
    def test_relations_first_then_the_newest_and_why(self, made: Made) -> None:
        made.put("me.md", "# Me\n\n[[a plain]] [[z plain]]\n- knows [[friend]]\n")
        made.put("a plain.md", "Old words.\n", days=9)
        made.put("z plain.md", "New words.\n", days=1)
        made.put("friend.md", "# Friend\n\nFriendly.\n\n- likes [[far]]\n", days=20)
        made.put("far.md", "# Far\n\nFar away.\n")
        made.put("fan.md", f"{'blah ' * 400}\n\n# Later\n\n- admires [[me]]\n- follows [[me]]\n", days=30)
        found = made.ask(context, ["me"])
        assert [(p.path, p.distance, p.links) for p in found.pieces] == [
            ("me.md", 0, 0), ("fan.md", 1, 2), ("friend.md", 1, 1), ("z plain.md", 1, 1), ("a plain.md", 1, 1),
            ("far.md", 2, 1),
        ]  # fmt: skip
        by_path = {p.path: p for p in found.pieces}
        assert "- admires [[me]]" in by_path["fan.md"].text
        assert "blah" not in by_path["fan.md"].text
        assert [(w.path, w.line, w.relation, w.points_here) for w in by_path["friend.md"].why] == [
            ("me.md", 4, "knows", True)
        ]  # fmt: skip
        assert [(w.path, w.relation, w.points_here) for w in by_path["fan.md"].why] == [
            ("fan.md", "admires", False), ("fan.md", "follows", False)
        ]  # fmt: skip
        assert (by_path["far.md"].line, by_path["far.md"].count, by_path["far.md"].text) == (3, 1, "Far away.")
        assert found == made.ask(context, ["me"])
        assert {p.path for p in made.ask(context, ["me"], depth=1).pieces} == by_path.keys() - {"far.md"}
        assert [p.path for p in made.ask(context, ["me"], depth=0).pieces] == ["me.md"]

    def test_a_line_that_links_from_afar_is_the_one_shown(self, made: Made) -> None:
        made.put("me.md", "[[one]]\n")
        made.put("one.md", "x\n")
        made.put("two.md", "first\nsecond\nthen [[one]] here\nfourth\n")
        made.vault.sync()
        shown = made.ask(context, ["me"], sync=False).pieces[-1]
        assert (shown.path, shown.line, shown.text) == ("two.md", 3, "then [[one]] here")
        made.put("two.md", "new\n\n# Head\n\nfirst\nsecond\nthen [[one]] here\nfourth\n")
        shown = made.ask(context, ["me"]).pieces[-1]
        assert (shown.path, shown.line, shown.text) == ("two.md", 7, "then [[one]] here")

    def test_the_passage_under_the_heading_that_is_linked(self, made: Made) -> None:
        made.put("me.md", "[[one#Green tea]]\n")
        made.put("one.md", f"# One\n\n{'first ' * 300}\n\n## Green tea\n\nHere it is.\n")
        shown = made.ask(context, ["me"]).pieces[-1]
        assert "Here it is." in shown.text

    @pytest.mark.parametrize("budget", [1, 60, 150, 400, 1_000, 4_000])
    def test_it_fits_the_budget_or_is_empty(self, made: Made, budget: int) -> None:
        made.put("hub.md", "# Hub\n\n" + "words and more words, 日本語. " * 60 + "\n")
        for n in range(40):
            made.put(f"n{n}.md", f"# N{n}\n\n" + 'some words "quoted" \\ here. ' * 30 + "\n\nAll of [[hub]] is here.\n")
        found = made.ask(context, ["hub"], budget=budget)
        size = size_bytes(found.to_dict())
        assert found.tokens * 4 >= size
        assert found.tokens <= budget or not found.pieces
        assert budget < 400 or found.pieces
        left = 41 - len({p.path for p in found.pieces})
        assert not left or any(f"{left} note" in d and "left out to fit" in d for d in found.degraded)
        assert [p.path for p in found.pieces] == [p.path for p in made.ask(context, ["hub"]).pieces][
            : len(found.pieces)
        ]

    def test_what_is_said_meanwhile_counts_too(self, made: Made) -> None:
        made.put("hub.md", "# Hub\n")
        for n in range(24):
            made.put(f"n{n}.md", "All of [[hub]] is here.\n" + "words " * 30)
        made.vault.sync()
        for n in range(0, 24, 2):
            (made.root / f"n{n}.md").unlink()
        found = made.ask(context, ["hub"], sync=False, budget=500)
        assert sum("is gone" in d for d in found.degraded) >= 10
        assert found.pieces
        assert size_bytes(found.to_dict()) <= 4 * found.tokens <= 4 * 500

    def test_a_hub_does_not_read_the_vault(self, made: Made, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spreading, "LINKS", 20)
        monkeypatch.setattr(spreading, "KEPT", 10)
        monkeypatch.setattr(spreading, "STARTS", 5)
        made.put("hub.md", "# Hub\n\n" + " ".join(f"[[n{n}]]" for n in range(60)) + "\n")
        for n in range(60):
            made.put(f"n{n}.md", f"[[hub]] [[n{(n + 1) % 60}]]\n")
        made.vault.sync()
        reads.clear()
        found = made.ask(context, ["hub"], sync=False, budget=100_000)
        assert len(found.pieces) <= 1 + 2 * 10
        assert len(reads) <= 1 + 2 * 10
        assert any("1 note has more than 20 links" in d for d in found.degraded)
        assert any("left out, or not gone on from" in d for d in found.degraded)

    def test_only_the_best_are_gone_on_from(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spreading, "STARTS", 1)
        made.put("me.md", "[[a]]\n- knows [[b]]\n")
        made.put("a.md", "[[behind a]]\n")
        made.put("b.md", "[[behind b]]\n")
        made.put("behind a.md", "x\n")
        made.put("behind b.md", "x\n")
        found = made.ask(context, ["me"])
        assert [p.path for p in found.pieces] == ["me.md", "b.md", "a.md", "behind b.md"]
        assert found.degraded == ("1 note with fewer links to these: left out, or not gone on from",)

    def test_no_more_is_read_than_the_budget_holds(self, made: Made, reads: list[str]) -> None:
        made.put("hub.md", "# Hub\n")
        for n in range(90):
            made.put(f"n{n}.md", "some words here. " * 40 + "\n\n[[hub]]\n")
        made.vault.sync()
        reads.clear()
        made.ask(context, ["hub"], sync=False, budget=600)
        assert len(reads) <= spreading.READ

    def test_patterns(self, made: Made) -> None:
        made.put("My Projects/a.md", "x\n")
        made.put("My Projects/deep/b [1].md", "x\n")
        made.put("else.md", "---\npermalink: my-projects/c\n---\n")
        for pattern, found in (
            ("memory://my-projects/*", {"My Projects/a.md", "My Projects/deep/b [1].md", "else.md"}),
            ("My Projects/*", {"My Projects/a.md", "My Projects/deep/b [1].md"}),
            ("*/b [1]*", {"My Projects/deep/b [1].md"}),
            ("*deep/b-1", {"My Projects/deep/b [1].md"}),
        ):
            assert {p.path for p in made.ask(context, [pattern]).pieces} == found, pattern
        assert len(made.ask(context, ["else.md", "My Projects/a", "else.md"]).notes) == 2
        with pytest.raises(NotFound, match="No note matches"):
            made.ask(context, ["none/*"])

    def test_of_many_the_newest_are_taken(self, made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spreading, "SEEDS", 2)
        for n in range(5):
            made.put(f"f/n{n}.md", "x\n", days=n)
        found = made.ask(context, ["f/*"])
        assert found.notes == ("f/n0.md", "f/n1.md")
        assert any("5 notes are meant" in d for d in found.degraded)

    def test_a_note_that_was_never_opened_or_is_gone_is_passed_over(self, made: Made) -> None:
        made.put("me.md", "[[big]] [[lost]] [[here]]\n")
        made.put("big.md", "x" * 70_000)
        made.put("lost.md", "x\n")
        made.put("here.md", "x\n")
        made.vault.sync()
        (made.root / "lost.md").unlink()
        found = made.ask(context, ["me"], sync=False)
        assert [p.path for p in found.pieces] == ["me.md", "here.md"]
        assert any("lost.md is gone" in d for d in found.degraded)
        assert not any("to fit" in d for d in found.degraded)

    @pytest.mark.parametrize(
        ("asked", "named"),
        [([], {}), (["a"], {"depth": -1}), (["a"], {"depth": 6}), (["a"], {"budget": 0})],
    )
    def test_what_cannot_be_asked(self, made: Made, asked: list[str], named: dict[str, int]) -> None:
        made.put("a.md", "x\n")
        with pytest.raises(QueryError) as e:
            made.ask(context, asked, **named)
        assert e.value.hint
        with pytest.raises(NotFound):
            made.ask(context, ["a", "nobody"])


class TestFacts:
    def fill(self, made: Made) -> None:
        made.put(
            "people/Alice.md",
            "---\naliases: [Ali]\n---\n# Alice\n\n- [likes] tea #drink (often) [from:: 2024-03]\n"
            "- works_at [[Acme]] [from:: 2023-01-15] [to:: 2024-06-30]\n- works_at [[Beta]] [from:: 2024-07]\n",
        )
        made.put("bob.md", "# Bob\n\n- knows [[Ali]] (from school)\n- knows [[Cy]]\nplain [[Alice]]\n")
        made.put("Beta.md", "x\n")

    def test_what_is_known_and_what_points_there(self, made: Made) -> None:
        self.fill(made)
        for subject in ("Alice", "ali", "people/Alice.md", "memory://people/alice", "people/alice"):
            found = made.ask(facts, subject)
            assert found.notes == ("people/Alice.md",)
            assert [(f.path, f.line, f.label, f.target or f.content, f.inverse, f.holds) for f in found.facts] == [
                ("people/Alice.md", 6, "likes", "tea #drink", False, True),
                ("people/Alice.md", 7, "works_at", "Acme", False, False),
                ("people/Alice.md", 8, "works_at", "Beta", False, True),
                ("bob.md", 3, "knows", "Ali", True, True),
            ]
        first, second, third, fourth = found.facts
        assert (first.tags, first.context, first.valid_from, first.valid_to) == (("drink",), "often", "2024-03", None)
        assert (second.target_path, third.target_path, fourth.context) == (None, "Beta.md", "from school")
        assert found.to_dict()["facts"][1]["from"] == "2023-01-15"
        assert "valid_from" not in found.to_dict()["facts"][1]

    @pytest.mark.parametrize(
        ("as_of", "lines"),
        [
            ("2022", [3]), ("2024-01", [7, 3]), ("2024-06-30", [6, 7, 3]), ("2024-06", [6, 7, 3]),
            ("2024-07-01", [6, 8, 3]), ("2024", [6, 8, 3]),
        ],
    )  # fmt: skip
    def test_as_of(self, made: Made, as_of: str, lines: list[int]) -> None:
        self.fill(made)
        assert [f.line for f in made.ask(facts, "Alice", as_of=as_of).facts] == lines

    def test_a_subject_without_a_note_is_known_by_what_points_to_it(self, made: Made) -> None:
        self.fill(made)
        found = made.ask(facts, "acme")
        assert found.notes == ()
        assert [(f.path, f.line, f.inverse) for f in found.facts] == [("people/Alice.md", 7, True)]

    def test_all_notes_of_a_name(self, made: Made) -> None:
        made.put("a/x.md", "# Tea\n\n- [kind] green\n")
        made.put("b/x.md", "# Tea\n\n- [kind] black\n")
        found = made.ask(facts, "Tea")
        assert [(f.path, f.content) for f in found.facts] == [("a/x.md", "green"), ("b/x.md", "black")]

    def test_the_words_are_those_of_now(self, made: Made) -> None:
        self.fill(made)
        made.vault.sync()
        made.put("people/Alice.md", "# Alice\n\n- [likes] coffee\n")
        made.put("bob.md", "- knows [[Cy]]\n")
        found = made.ask(facts, "Alice", sync=False)
        assert [(f.line, f.content) for f in found.facts] == [(3, "coffee")]
        assert found.degraded == (
            "people/Alice.md changed since the last sync", "bob.md changed since the last sync"
        )  # fmt: skip

    def test_it_is_bounded(self, made: Made, reads: list[str]) -> None:
        made.put("Tea.md", "# Tea\n")
        for n in range(20):
            made.put(f"n{n:02d}.md", "- likes [[Tea]]\n")
        made.vault.sync()
        reads.clear()
        found = made.ask(facts, "Tea", limit=3, sync=False)
        assert [f.path for f in found.facts] == ["n00.md", "n01.md", "n02.md"]
        assert len(reads) == 4
        assert any("more facts than 3" in d for d in found.degraded)
        assert not made.ask(facts, "Tea", limit=20).degraded

    def test_bad_input(self, made: Made) -> None:
        self.fill(made)
        for verb, named in (
            (facts, {"subject": "Alice", "as_of": "soon"}), (timeline, {"since": "2024-13"}), (timeline, {"until": ""}),
            (timeline, {"since": "2025", "until": "2024"}), (timeline, {"after": "1:2:x"}),
            (timeline, {"after": "1:x:2:a.md"}), (timeline, {"after": f"{'9' * 5_000}:1:2:a.md"}),
        ):  # fmt: skip
            with pytest.raises(QueryError) as e:
                made.ask(verb, **named)
            assert e.value.hint.endswith(".")
        for verb in (facts, timeline):
            with pytest.raises(NotFound, match="Nothing is called “nobody”"):
                made.ask(verb, "nobody")


class TestTimeline:
    def test_in_order_of_time(self, made: Made) -> None:
        made.put(
            "a.md",
            "---\ncreated: 2024-05-07T10:00:00Z\nvalid_to: 2025-02\n---\n- [job] baker [from:: 2023] [to:: 2024-05]\n",
        )
        made.put(
            "b.md", "# Bee\n\n- knows [[a]] [from:: 2024-05-01]\n- [x] task [from:: 2024]\n- [y] z [from:: soon]\n"
        )
        found = made.ask(timeline)
        assert [(e.date, e.event, e.path, e.line, e.kind, e.label, e.text) for e in found.events] == [
            ("2023", "begins", "a.md", 5, "observation", "job", "baker"),
            ("2024-05-01", "begins", "b.md", 3, "relation", "knows", "a"),
            ("2024-05-07T10:00:00Z", "begins", "a.md", 0, "note", "created", "a"),
            ("2024-05", "ends", "a.md", 5, "observation", "job", "baker"),
            ("2025-02", "ends", "a.md", 0, "note", "valid_to", "a"),
        ]
        assert found.next is None
        mid = made.ask(timeline, since="2024-05-07", until="2024-05-31")
        assert [e.date for e in mid.events] == ["2024-05-07T10:00:00Z", "2024-05"]
        assert [e.date for e in made.ask(timeline, since="2025-02", until="2025-02").events] == ["2025-02"]

    def test_a_date_of_a_note_that_is_another_by_now_is_left_out(self, made: Made) -> None:
        made.put("a.md", "---\ncreated: 2024\n---\n")
        made.vault.sync()
        made.put("a.md", "---\ncreated: 2025\n---\n")
        found = made.ask(timeline, sync=False)
        assert (found.events, found.degraded) == ((), ("a.md changed since the last sync",))

    def test_of_a_subject(self, made: Made) -> None:
        made.put("a.md", "# Ana\n\n- [job] baker [from:: 2023]\n")
        made.put("b.md", "---\ncreated: 2020\n---\n- knows [[Ana]] [from:: 2021]\n- knows [[Bo]] [from:: 2022]\n")
        assert [e.date for e in made.ask(timeline, "Ana").events] == ["2021", "2023"]
        assert [e.date for e in made.ask(timeline, "Bo").events] == ["2022"]

    def test_only_the_notes_of_the_page_are_read_and_say_what_they_say_now(self, made: Made, reads: list[str]) -> None:
        for n in range(9):
            made.put(f"n{n}.md", f"- [x] y{n} [from:: 202{n}]\n---\n")
            made.put(f"n{n}.md", f"- [xx] y{n} [from:: 202{n}]\n")
        made.vault.sync()
        made.put("n1.md", "- [xx] other [from:: 2030]\n")
        reads.clear()
        page = made.ask(timeline, limit=3, sync=False)
        assert [e.text for e in page.events] == ["y0", "y2"]
        assert reads == ["n0.md", "n1.md", "n2.md"]
        rest = made.ask(timeline, limit=100, after=page.next, sync=False)
        assert [e.text for e in rest.events] == [f"y{n}" for n in range(3, 9)]


class TestContradictions:
    def test_two_values_at_once(self, made: Made) -> None:
        lines = ["lives_in [[Rome]] [from:: 2020] [to:: 2022]", "lives_in [[Oslo]] [from:: 2023]", "knows [[Bo]]"]
        made.put("a.md", "".join(f"- {line}\n" for line in [*lines, "knows [[Cy]]"]))
        made.put("d.md", "".join(f"- {line}\n" for line in [*lines, "[status] on", "[status] off"]))
        made.put("b.md", "- employer [[Acme]] [to:: 2022]\n- Employer [[Beta]] [from:: 2022-06]\n- employer [[beta]]\n")
        made.put("c.md", "- [current_city] Rome\n- [Current City] Oslo\n- [current city] rome\n")
        found = made.ask(contradictions)
        assert [(c.label, c.kind, c.one.line, c.one.value, c.other.line, c.other.value) for c in found.findings] == [
            ("Employer", "relation", 1, "Acme", 2, "Beta"), ("employer", "relation", 1, "Acme", 3, "beta"),
            ("Current City", "observation", 1, "Rome", 2, "Oslo"),
            ("current city", "observation", 2, "Oslo", 3, "rome"), ("status", "observation", 4, "on", 5, "off"),
        ]  # fmt: skip
        assert [c.one.path for c in found.findings] == ["b.md", "b.md", "c.md", "c.md", "d.md"]
        assert "from" in found.to_dict()["findings"][0]["one"]

    def test_what_is_single_can_be_told(self, made: Made) -> None:
        made.put("a.md", "- knows [[Bo]]\n- knows [[Cy]]\n- [status] a\n- [status] b\n")
        assert [c.label for c in made.ask(contradictions, single=frozenset({"kn*"})).findings] == ["knows"]
        assert [c.label for c in made.ask(contradictions).findings] == ["status"]
        assert made.ask(contradictions, single=frozenset()).findings == ()

    def test_two_names_of_one_note_are_one_value(self, made: Made) -> None:
        made.put("Acme.md", "---\naliases: [The Acme]\n---\n")
        made.put("a.md", "- employer [[Acme]]\n- employer [[The Acme]]\n")
        assert made.ask(contradictions).findings == ()

    def test_a_thousand_claims_give_a_thousand_findings_at_most(self, made: Made, reads: list[str]) -> None:
        made.put("a.md", "".join(f"- [status] s{n}\n" for n in range(500)))
        for n in range(9):
            made.put(f"n{n}.md", "- [status] only one\n")
        made.vault.sync()
        reads.clear()
        found = made.ask(contradictions, limit=1_000, sync=False)
        assert len(found.findings) == 499
        assert reads == ["a.md"]

    def test_pages_read_no_more_than_they_need(self, made: Made, reads: list[str]) -> None:
        for n in range(9):
            made.put(f"n{n}.md", "- [status] a\n- [status] b\n")
        made.vault.sync()
        reads.clear()
        page = made.ask(contradictions, limit=2, sync=False)
        assert reads == ["n0.md", "n1.md", "n2.md"]
        reads.clear()
        rest = made.ask(contradictions, after=page.next, sync=False)
        assert "n0.md" not in reads
        assert [c.one.path for c in rest.findings] == [f"n{n}.md" for n in range(2, 9)]
