"""`holdfast eval`: a user's own questions as a gate, and questions proposed from the notes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast import Config, QueryError, UserError, Vault
from holdfast.engine import evaluate
from holdfast.engine.metrics import METRICS
from holdfast.results import Answer, Ready
from tests.e2e.command import ROOT, Command, Each, check, is_number, one_of

QUESTIONS = ROOT / "examples" / "questions.jsonl"

Write = Callable[..., str]


def is_share(value: Any) -> bool:
    return is_number(value) and 0 <= value <= 1


SCORES = dict.fromkeys(METRICS, is_share)
EVALUATED = {
    "questions": int,
    "modes": Each({"all": SCORES, "by_tag": Each(SCORES), "p50_ms": is_number, "p95_ms": is_number}),
    "default": one_of("hybrid", "keyword"),
    "tags": Each(int),
    "left_out": Each(str),
    "problems": [{"place": str, "id": str, "unit": str, "message": str}],
    "gates": [{"mode": str, "metric": str, "bound": is_number, "value": is_share, "met": bool}],
    "misses?": Each([{"id": str, "query": str}]),
    "remarks": [str],
}


@pytest.fixture(scope="module")
def holdfast(sample: Path, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command for the sample vault, without an embedder: what vectors add is not measured here."""
    return Command(tmp_path_factory.mktemp("state"), sample, more={"HOLDFAST_EMBEDDER": "none"})


@pytest.fixture
def own(own: Command) -> Command:
    """The command for a small vault, without an embedder."""
    return replace(own, more={"HOLDFAST_EMBEDDER": "none"})


@pytest.fixture
def golden(tmp_path: Path) -> Write:
    """Writes a file of questions, given as objects or as text, and returns its path."""

    def write(*lines: Any) -> str:
        path = tmp_path / "golden.jsonl"
        path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines), encoding="utf-8")
        return str(path)

    return write


def line(id_: str, query: str, *relevant: str, tags: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"id": id_, "query": query, "tags": list(tags), "relevant": list(relevant)}


ANCHOR = line("anchor", "which anchor holds", "a.md:3:1", tags=("gear",))
HARBOUR = line("harbour", "who knows the harbour", "deep/c.md", tags=("place", "gear"))
LOST = line("lost", "submarine periscope", "b.md:5:1")


def scores(done: Any, mode: str = "keyword") -> dict[str, float]:
    found: dict[str, float] = done.json["modes"][mode]["all"]
    return found


def test_the_sample_questions(holdfast: Command) -> None:
    done = holdfast("eval", str(QUESTIONS), "--json")
    assert done.exit == 0
    check(done.json, EVALUATED)
    assert "misses" not in done.json
    assert done.json["questions"] == 30
    assert done.json["problems"] == [], "every line of examples/questions.jsonl names lines that are there"
    assert list(done.json["modes"]) == ["keyword", "bm25", "random"]
    assert list(done.json["left_out"]) == ["hybrid", "vector"]
    assert done.json["default"] == "keyword"
    assert done.json["tags"]["paraphrase"] == 11
    assert set(done.json["modes"]["keyword"]["by_tag"]) == set(done.json["tags"])
    assert scores(done)["recall@10"] > 0.7
    assert scores(done, "random")["recall@10"] < 0.3


def test_what_is_printed(own: Command, golden: Write) -> None:
    done = own("eval", golden(ANCHOR, HARBOUR, LOST), "--misses", "--mode", "random", "--mode", "keyword")
    assert (done.exit, done.err) == (0, "")
    rows = [row.split() for row in done.out.splitlines()]
    assert rows[0][:2] == ["3", "questions;"]
    assert rows[2] == ["keyword", "random"]
    shown = {row[0]: row[1] for row in rows[3 : 3 + len(METRICS)]}
    assert tuple(shown) == METRICS
    assert (shown["recall@1"], shown["mrr"]) == ("0.667", "0.667")
    assert ["gear", "(2)", "1.000"] in [row[:3] for row in rows]
    assert "keyword: 1 question with nothing in ten ranks\n  lost  submarine periscope\n" in done.out
    assert "random:" not in done.out
    bare = own("eval", golden(LOST | {"tags": []}))
    assert "by tag" not in bare.out
    assert "lost" not in bare.out


def test_a_gate(own: Command, golden: Write) -> None:
    file = golden(ANCHOR, HARBOUR, LOST)
    met = own("eval", file, "--fail-under", "recall@10=0.6", "--fail-under", "random:mrr=0")
    assert (met.exit, met.err) == (0, "")
    assert "recall@10 of keyword is 0.666667, at least 0.6\n" in met.out
    missed = own("eval", file, "--fail-under", "recall@10=0.6", "--fail-under", "keyword:all@10=0.7")
    assert missed.exit == 3
    assert missed.err.startswith("holdfast: all@10 of keyword is 0.666667, under the bound of 0.7. ")
    assert missed.err.count("\n") == 1
    assert "recall@1 " in missed.out, "the table is there all the same"
    told = own("eval", file, "--fail-under", "recall@10=0.6", "--fail-under", "recall@10=0.7", "--json")
    assert (told.exit, told.err) == (3, "")
    check(told.json, EVALUATED)
    assert [g["met"] for g in told.json["gates"]] == [True, False]


def test_a_bound_that_is_just_met(own: Command, golden: Write) -> None:
    assert own("eval", golden(ANCHOR), "--fail-under", "recall@1=1").exit == 0
    assert own("eval", golden(ANCHOR, LOST), "--fail-under", "recall@1=0.5").exit == 0
    assert own("eval", golden(ANCHOR, LOST), "--fail-under", "recall@1=0.500001").exit == 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--fail-under", "recall=1"], "is no bound"),
        (["--fail-under", "recall@10=80"], "is no share"),
        (["--fail-under", "mrr=0.5", "--mode", "bm25"], "keyword, which is not asked for"),
        (["--fail-under", "hybrid:mrr=0.5"], "cannot be checked"),
        (["--mode", "dense"], "no mode 'dense'"),
        (["--mode", "hybrid", "--mode", "vector"], "hybrid and vector cannot be measured"),
        (["--make", "5"], "one of the two"),
    ],
)
def test_2_when_it_makes_no_sense(own: Command, golden: Write, args: list[str], message: str) -> None:
    done = own("eval", golden(ANCHOR), *args, "--json")
    assert done.exit == 2
    assert message in done.error["message"]


def test_2_when_neither_is_asked(own: Command) -> None:
    assert own("eval", "--json").error["exit"] == 2
    assert own("eval", "--make", "0", "--json").error["exit"] == 2


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", "is no object"),
        ('{"id": "x"}', "has no `query`"),
        (LOST | {"relevant": []}, "has no `relevant`"),
        (LOST | {"relevant": ["b.md:5"]}, "does not say which lines"),
        (ANCHOR, "is that of"),
        (LOST | {"query": "boats since:whenever"}, "since:whenever is not a date"),
    ],
)
def test_2_when_a_line_is_wrong(own: Command, golden: Write, bad: Any, message: str) -> None:
    file = golden(ANCHOR, "", bad)
    done = own("eval", file, "--json")
    assert done.exit == 2
    assert done.error["message"].startswith(f"{file}:3")
    assert message in done.error["message"]
    assert done.error["hint"]


def test_files_that_are_none(own: Command, golden: Write, tmp_path: Path) -> None:
    missing = own("eval", "nosuch.jsonl", "--json")
    assert (missing.exit, "--make" in missing.error["hint"]) == (4, True)
    assert own("eval", str(tmp_path), "--json").error["kind"] == "UserError"
    assert "no question" in own("eval", golden("", " "), "--json").error["message"]
    (tmp_path / "latin.jsonl").write_bytes(b'{"id": "\xe9"}')
    assert "UTF-8" in own("eval", str(tmp_path / "latin.jsonl"), "--json").error["message"]
    (tmp_path / "bom.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(ANCHOR).encode() + b"\r\n")
    assert own("eval", str(tmp_path / "bom.jsonl"), "--json").json["questions"] == 1


def test_what_is_not_in_the_vault_counts_as_not_found(own: Command, golden: Write) -> None:
    wrong = {
        "deep/none.md:3:1": "There is no such note in the vault.",
        "none.md": "There is no such note in the vault.",
        "b.md:2:2": "No passage of the note has these lines.",  # its frontmatter
        "a.md:400:1": "No passage of the note has these lines.",
        "../a.md": "The path '../a.md' climbs out of its folder.",
    }
    file = golden(ANCHOR | {"relevant": ["./a.md:3:1", "a.md:3:1", *wrong]})
    done = own("eval", file, "--json")
    assert done.exit == 0
    check(done.json, EVALUATED)
    assert {p["unit"]: p["message"] for p in done.json["problems"]} == wrong
    assert {(p["place"], p["id"]) for p in done.json["problems"]} == {(f"{file}:1", "anchor")}
    assert scores(done)["recall@20"] == pytest.approx(1 / 6, abs=1e-6), "one of six: a path written twice is one"
    text = own("eval", file).out
    assert "! 5 relevant units cannot be found and count as not found:" in text
    assert f"{file}:1 anchor: none.md: There is no such note in the vault." in text


def test_whole_notes_are_ranked_by_note(own: Command, notes: Path, golden: Write) -> None:
    parts = "\n\n".join(f"## Part {n}\n\nThe cargo of crate {n} is tin. " + "word " * 200 for n in range(30))
    (notes / "long.md").write_text(f"# Long\n\n{parts}\n")
    (notes / "short.md").write_text("# Short\n\nA cargo without a crate.\n")
    (notes / "other.md").write_text("# Other\n\nThis cargo of tin lies in a crate.\n")
    by_note = own("eval", golden(line("q", "cargo crate tin", "long.md", "short.md", "other.md")), "--json")
    assert scores(by_note)["recall@3"] == 1
    mixed = own("eval", golden(line("q", "cargo crate tin", "long.md", "short.md:3:1", "other.md:3:1")), "--json")
    assert 0 < scores(mixed)["recall@3"] < 1


def test_chance_is_the_same_each_time(own: Command, notes: Path, golden: Write) -> None:
    for n in range(200):
        (notes / f"n{n:03d}.md").write_text(f"# Note {n}\n\nThe number is {n}.\n")
    file = golden(*(line(f"q{n}", f"number {n}", f"n{n:03d}.md:1:3") for n in range(0, 200, 2)))
    first, again, other = (
        scores(own("eval", file, "--mode", "random", "--json", "--seed", seed), "random") for seed in ("1", "1", "2")
    )
    assert first == again
    assert first != other
    assert 0.02 < first["recall@20"] < 0.25  # 20 of 204
    whole = golden(*(line(f"q{n}", f"number {n}", f"n{n:03d}.md") for n in range(0, 200, 2)))
    assert 0.02 < scores(own("eval", whole, "--mode", "random", "--json"), "random")["recall@20"] < 0.25


def test_changed_notes_are_seen_unless_told_otherwise(own: Command, notes: Path, golden: Write) -> None:
    own("sync")
    (notes / "new.md").write_text("# New\n\nThe periscope of a submarine.\n")
    file = golden(line("new", "submarine periscope", "new.md:3:1"))
    assert scores(own("eval", file, "--no-sync", "--json"))["recall@10"] == 0
    assert scores(own("eval", file, "--json"))["recall@10"] == 1


def test_python(holdfast: Command) -> None:
    assert holdfast.vault is not None
    shown = holdfast("eval", str(QUESTIONS), "--fail-under", "mrr=0.5", "--misses", "--json").json
    questions = [json.loads(x) for x in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    with Vault.open(holdfast.vault, state_dir=holdfast.state) as vault:
        asked: list[tuple[int, int]] = []
        found = vault.eval(QUESTIONS, fail_under="mrr=0.5", progress=lambda *x: asked.append(x))
        assert asked == [(i, 30 * len(found.modes)) for i in range(1, 30 * len(found.modes) + 1)]
        same = vault.eval(questions, fail_under=["mrr=0.5"], sync=False)
        for each in (shown, mine := found.to_dict(), listed := same.to_dict()):
            check(each, EVALUATED)
            for mode in each["modes"].values():
                del mode["p50_ms"], mode["p95_ms"]
        assert mine == shown == listed
        assert found.is_passed
        assert set(vault.eval(questions, modes="bm25").modes) == {"bm25"}
        with pytest.raises(UserError, match="item 1: since:never") as e:
            vault.eval([questions[0] | {"query": "since:never"}])
        assert isinstance(e.value.__cause__, QueryError)


def test_with_vectors(own: Command, notes: Path, golden: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recall that has vectors for half of the passages, and no embedder for one of the questions."""
    real = evaluate.recall

    def recall(ws: Any, stopgap: Any, question: str, *, mode: str, **more: Any) -> Answer:
        answer = real(ws, stopgap, question, mode="keyword", **more)
        similarity = 0.5 if mode in ("hybrid", "vector") and "harbour" not in question else None
        hits = tuple(replace(h, similarity=similarity) for h in answer.hits)
        return replace(answer, hits=hits, receipt=replace(answer.receipt, vectors=Ready(2, 4)))

    monkeypatch.setattr(evaluate, "recall", recall)
    monkeypatch.setattr(evaluate, "ask_embedder", lambda *_: object())
    with Vault.open(notes, state_dir=own.state) as vault:
        found = vault.eval(golden(ANCHOR, HARBOUR), fail_under=("mrr=1", "keyword:mrr=1"))
        assert list(found.modes) == ["hybrid", "keyword", "vector", "bm25", "random"]
        assert (found.default, found.left_out) == ("hybrid", {})
        # Half of it was answered by words: that is no measure of hybrid, whatever the figure.
        assert [(g.mode, g.value, g.met) for g in found.gates] == [("hybrid", 1.0, False), ("keyword", 1.0, True)]
        assert found.remarks == (
            "only 2 of 4 passages have a vector; `holdfast sync` goes on",
            "hybrid: 1 of 2 questions were answered without vectors",
            "vector: 1 of 2 questions were answered without vectors",
        )


def proposed(command: Command, *args: str) -> list[dict[str, Any]]:
    done = command("eval", "--make", *args)
    assert done.exit == 0, done
    return [json.loads(x) for x in done.out.splitlines()]


def test_questions_are_proposed(holdfast: Command, golden: Write) -> None:
    made = proposed(holdfast, "12")
    assert made == proposed(holdfast, "12")
    assert made != proposed(holdfast, "12", "--seed", "1")
    assert [q["id"] for q in made] == [f"k{n:03d}" for n in range(1, 13)]
    paths = [q["relevant"][0].rsplit(":", 2)[0] for q in made]
    assert len(set(paths)) == 12
    assert len({p.partition("/")[0] for p in paths}) >= 6, "spread over the folders"
    for question in made:
        check(question, {"id": str, "query": str, "tags": [one_of("known-item")], "relevant": [str]})
        assert 4 <= len(question["query"].split()) <= 8, question
        text = holdfast("read", question["relevant"][0], "--json").json["text"]
        words = re.findall(r"\w+", question["query"])
        assert all(w in text for w in words), question
        assert question["query"] not in re.sub(r"\s+", " ", text), "no sentence as it stands"
    done = holdfast("eval", golden(*made), "--json")
    assert done.json["problems"] == []
    assert scores(done)["recall@10"] > 0.8


def test_no_more_are_proposed_than_there_are_notes(own: Command, notes: Path) -> None:
    assert own("eval", "--make", "3", "--json").error["message"] == "No note has a sentence to make a question of."
    code = "```\nthe quick brown fox jumps over lazy dogs\n```"
    (notes / "ship.md").write_text(f"# Ship\n\n{code}\n\nThe cook keeps seven copper kettles below deck.\n")
    done = own("eval", "--make", "3")
    assert done.exit == 0
    assert done.err == "holdfast: only 1 of 3 notes have a sentence that makes a question.\n"
    (question,) = map(json.loads, done.out.splitlines())
    assert question["relevant"] == ["ship.md:1:7"]
    assert set(question["query"].split()) < {"cook", "keeps", "seven", "copper", "kettles", "below", "deck"}


def test_without_an_embedder_no_mode_with_vectors_is_measured(own: Command, notes: Path, golden: Write) -> None:
    with Vault.open(notes, state_dir=own.state, config=Config(background=False)) as vault:
        vault.sync()
        assert "hybrid" in vault.eval(golden(ANCHOR)).modes
    with Vault.open(notes, state_dir=own.state, config=Config(background=False, embedder="none")) as vault:
        found = vault.eval(golden(ANCHOR))
        assert list(found.modes) == ["keyword", "bm25", "random"]
        assert found.left_out == dict.fromkeys(("hybrid", "vector"), "no embedder is chosen")
        with pytest.raises(UserError, match="cannot be checked"):
            vault.eval(golden(ANCHOR), fail_under="hybrid:mrr=0")
