"""Questions to the sample vault: words, phrases, filters, typing errors, and the golden questions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.command import ROOT, Command

GOLDEN = [json.loads(line) for line in (ROOT / "examples" / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
GOLDEN_SHARE = 0.8


def ask(holdfast: Command, question: str, *args: str) -> dict[str, Any]:
    done = holdfast("recall", "--no-sync", "--json", *args, "--", question)
    assert done.exit == 0, done
    found: dict[str, Any] = done.json
    return found


def paths(answer: dict[str, Any]) -> list[str]:
    return [hit["path"] for hit in answer["hits"]]


def is_hit(hit: dict[str, Any], place: str) -> bool:
    """Whether the hit shows a line of `place`, a `path:line:count`."""
    path, line, count = place.rsplit(":", 2)
    first, last = int(line), int(line) + int(count) - 1
    return bool(hit["path"] == path and hit["line"] <= last and first < hit["line"] + hit["count"])


def test_golden_questions(holdfast: Command, record_property: Any) -> None:
    """At least 80 % of the questions have a relevant passage among the first ten."""
    ranks: dict[str, int | None] = {}
    for question in GOLDEN:
        hits = ask(holdfast, question["query"])["hits"]
        found = [n for n, hit in enumerate(hits, 1) if any(is_hit(hit, place) for place in question["relevant"])]
        ranks[question["id"]] = found[0] if found else None
    share = sum(rank is not None for rank in ranks.values()) / len(ranks)
    record_property("golden_hit_at_10", share)
    print(f"golden questions: hit@10 {share:.0%}; missed: {[q for q, rank in ranks.items() if rank is None]}")
    assert len(GOLDEN) >= 25
    assert share >= GOLDEN_SHARE, ranks


def test_golden_places_are_there(sample: Path) -> None:
    for question in GOLDEN:
        for place in question["relevant"]:
            path, line, count = place.rsplit(":", 2)
            lines = (sample / path).read_text(encoding="utf-8").split("\n")
            assert "".join(lines[int(line) - 1 : int(line) - 1 + int(count)]).strip(), place


def test_a_phrase_must_be_there(holdfast: Command) -> None:
    answer = ask(holdfast, '"lease without a fencing token"')
    assert paths(answer) == ["reading/queues-all-the-way-down.md"]
    assert ask(holdfast, '"token fencing a without lease"')["hits"] == []
    filled = ask(holdfast, 'who wrote about a "lease without a fencing token" and queues')
    assert paths(filled)[0] == "reading/queues-all-the-way-down.md"
    assert len(filled["hits"]) > 1
    assert any("quoted" in remark for remark in filled["receipt"]["degraded"])


def test_a_word_with_a_minus_must_not_be_there(holdfast: Command) -> None:
    wide = ("-k", "100", "--budget", "100000")
    plain = ask(holdfast, "coffee", *wide)
    without = ask(holdfast, "coffee -roast", *wide)
    assert without["hits"]
    assert len(without["hits"]) < len(plain["hits"])
    assert any("roast" in hit["text"].lower().split() for hit in plain["hits"])
    assert not any("roast" in hit["text"].lower().split() for hit in without["hits"])
    assert ask(holdfast, 'coffee -"no such phrase"', *wide)["hits"] == plain["hits"]


def test_a_star_takes_every_ending(holdfast: Command) -> None:
    found = ask(holdfast, "kanel*")
    assert "recipes/kanelboller.md" in paths(found)
    assert ask(holdfast, "kanelb*")["hits"]


@pytest.mark.parametrize(
    ("wrong", "path"),
    [("kanelbolar", "recipes/kanelboller.md"), ("adrenalin", "profile.md"), ("Brathholm", "conversations/2025-11-14")],
)
def test_a_typing_error_is_forgiven(holdfast: Command, wrong: str, path: str) -> None:
    assert any(p.startswith(path) for p in paths(ask(holdfast, wrong)))


@pytest.mark.parametrize(
    ("question", "word"),
    [("ELIN SÆTHER", "elin"), ("elin sæther", "elin"), ("Coracao", "coração"), ("喫茶店", "喫茶店"), ("café", "caf")],
)
def test_case_accents_and_scripts(holdfast: Command, question: str, word: str) -> None:
    hits = ask(holdfast, question)["hits"]
    assert hits
    assert any(word in hit["text"].lower() for hit in hits)


def test_a_path_filter(holdfast: Command) -> None:
    found = ask(holdfast, "path:people/ coffee", "-k", "50")
    assert found["hits"]
    assert all(p.startswith("people/") for p in paths(found))
    without = ask(holdfast, "-path:people/ coffee", "-k", "50")
    assert without["hits"]
    assert not any(p.startswith("people/") for p in paths(without))


def test_a_type_filter(holdfast: Command) -> None:
    found = ask(holdfast, "type:recipe bake", "-k", "50")
    assert {hit["type"] for hit in found["hits"]} <= {"recipe"}
    talks = ask(holdfast, "type:conversation queue", "-k", "50")
    assert talks["hits"]
    assert {hit["type"] for hit in talks["hits"]} == {"conversation"}
    both = ask(holdfast, "type:conversation,profile coffee", "-k", "50")
    assert {hit["type"] for hit in both["hits"]} == {"conversation", "profile"}


def test_a_tag_filter_takes_the_tags_below(holdfast: Command) -> None:
    found = ask(holdfast, "tag:garden water", "-k", "50")
    assert "garden/tomatoes-2026.md" in paths(found)
    assert paths(ask(holdfast, "tag:#garden water", "-k", "50")) == paths(found)


def test_a_speaker_filter(holdfast: Command) -> None:
    found = ask(holdfast, "by:assistant lease", "-k", "50")
    assert found["hits"]
    assert {hit["speaker"] for hit in found["hits"]} == {"assistant"}


def test_time_filters(holdfast: Command) -> None:
    early = ask(holdfast, "until:2025-12 type:conversation queue", "-k", "50")["hits"]
    late = ask(holdfast, "since:2026-01 type:conversation queue", "-k", "50")["hits"]
    assert early
    assert all(hit["at"] < "2026-01-01T12" for hit in early if hit["at"])
    assert all(hit["at"] > "2025-12-31T12" for hit in late if hit["at"])


def test_a_filter_alone_lists_the_newest(holdfast: Command) -> None:
    found = ask(holdfast, "type:conversation")
    assert found["hits"]
    assert found["receipt"]["in_scope"]["notes"] < 20


def test_a_filter_that_nothing_meets_is_named_with_the_nearest(holdfast: Command) -> None:
    found = ask(holdfast, "type:conversatoin lease")
    assert found["hits"] == []
    assert "type:conversation" in " ".join(found["receipt"]["degraded"])


def test_a_field_that_no_note_has_is_words(holdfast: Command) -> None:
    found = ask(holdfast, "nosuchfield:espresso")
    assert found["hits"]
    assert "nosuchfield" in " ".join(found["receipt"]["degraded"])


def test_by_note_gives_each_note_once(holdfast: Command) -> None:
    found = paths(ask(holdfast, "espresso grinder coffee", "--by", "note", "-k", "20"))
    assert len(found) == len(set(found)) > 5


def test_k_and_budget(holdfast: Command) -> None:
    ten = ask(holdfast, "coffee")
    assert len(ten["hits"]) == 10
    three = ask(holdfast, "coffee", "-k", "3")
    assert paths(three) == paths(ten)[:3]
    small = ask(holdfast, "coffee", "--budget", "700")
    assert small["tokens"] <= 700
    assert len(small["hits"]) > 0
    assert paths(small) == paths(ten)[: len(small["hits"])]
    assert "to fit 700 tokens" in " ".join(small["receipt"]["degraded"])


def test_several_words_as_arguments_are_one_question(holdfast: Command) -> None:
    one = holdfast("recall", "--no-sync", "--json", "descale the machine").json
    assert holdfast("recall", "--no-sync", "--json", "descale", "the", "machine").json == one


def test_the_same_question_has_the_same_answer(holdfast: Command) -> None:
    assert ask(holdfast, "when is the lease renewed?") == ask(holdfast, "when is the lease renewed?")


def test_without_an_index_the_notes_are_searched(holdfast: Command, tmp_path: Path) -> None:
    """The same hits in the same order, and the receipt says so."""
    bare = Command(tmp_path, holdfast.vault)
    for question in ("What is Elin allergic to?", '"fencing token"', "type:conversation queue -rabbitmq", "月曜日"):
        indexed = ask(holdfast, question)
        scanned = ask(bare, question)
        assert [(h["path"], h["line"], h["score"]) for h in scanned["hits"]] == [
            (h["path"], h["line"], h["score"]) for h in indexed["hits"]
        ]
        assert {via for h in scanned["hits"] for via in h["via"]} == {"scan"}
        assert "searched instead" in " ".join(scanned["receipt"]["degraded"])


def test_an_answer_shows_what_the_note_says_now(own: Command, notes: Path) -> None:
    own("sync")
    (notes / "a.md").write_text("# Alpha\n\nThe anchor was lost.\n")
    assert own("recall", "anchor", "--json").json["hits"][0]["text"].endswith("The anchor was lost.")
    (notes / "a.md").write_text("# Alpha\n\nThe anchor was found again.\n")
    assert "was lost" not in own("recall", "anchor", "--no-sync").out
    (notes / "a.md").unlink()
    assert own("recall", "anchor", "--json").json["hits"] == []
