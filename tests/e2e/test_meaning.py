"""Found by meaning, with the packaged model: as a command, from Python, and in the background."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from holdfast import Vault
from tests.e2e.command import EXAMPLE, Command

PET = "which pet lives with us"
"""The note says "the cat, Miso"; no word of the question that counts stands there."""


LOCAL = {"HOLDFAST_EMBEDDER": "local"}
BEHIND = LOCAL | {"HOLDFAST_BACKGROUND": "1"}


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Command:
    """The command for the sample vault, vectors and all."""
    command = Command(tmp_path_factory.mktemp("meaning"), EXAMPLE, more=LOCAL)
    report = command("sync", "--json").json
    assert report["vectors"] == {"ready": report["chunks"], "total": report["chunks"]}
    return command


@pytest.fixture
def people(tmp_path: Path) -> Command:
    """The command for a few notes of the test's own, not synced yet; work in the background is allowed."""
    shutil.copytree(EXAMPLE / "people", tmp_path / "v")
    (tmp_path / "s").mkdir()
    return Command(tmp_path / "s", tmp_path / "v", more=BEHIND)


def ask(command: Command, *words: str) -> dict[str, Any]:
    answer: dict[str, Any] = command("recall", *words, "--json").json
    return answer


def test_a_question_is_answered_by_its_meaning(synced: Command) -> None:
    answer = ask(synced, PET)
    hit = answer["hits"][0]
    assert hit["path"] == "profile.md"
    assert "cat, Miso" in hit["text"]
    assert "vector" in hit["via"]
    assert 0.2 < hit["similarity"] < 1
    assert answer["receipt"]["vectors"]["ready"] == answer["receipt"]["vectors"]["total"]


def test_words_alone_do_not_find_it(synced: Command) -> None:
    assert "profile.md" not in [h["path"] for h in ask(synced, PET, "--mode", "keyword", "-k", "3")["hits"]]


def test_min_similarity_leaves_out_what_is_far(synced: Command) -> None:
    near = ask(synced, PET, "--min-similarity", "0.25")["hits"]
    assert near
    assert all(h["similarity"] >= 0.25 for h in near)
    assert ask(synced, PET, "--min-similarity", "0.99")["hits"] == []


def test_filters_come_before_ranking(synced: Command) -> None:
    hits = ask(synced, PET, "path:people")["hits"]
    assert hits
    assert all(h["path"].startswith("people/") for h in hits)


def test_explain_names_every_signal(synced: Command) -> None:
    why = ask(synced, "What did Marta ask about the blossom in Osaka?", "--explain")["hits"][0]["why"]
    assert {"near", "own", "note", "dense", "late", "s", "cover_near", "second_look"} <= set(why)
    assert "late" not in ask(synced, PET)["hits"][0]["why"]


def write_dog(command: Command) -> None:
    assert command.vault is not None
    (command.vault / "dog.md").write_text("# Rufus\n\nOur new puppy chews every slipper in the house.\n")


def test_a_new_note_is_found_by_meaning_a_little_later(people: Command) -> None:
    with Vault.open(people.vault or "", state_dir=people.state, environ=LOCAL) as vault:
        vault.sync()
        vault.keep_embedding()
        write_dog(people)
        vault.sync(vectors=False)
        for _ in range(200):
            answer = vault.recall("a young canine destroys footwear", sync=False)
            if answer.receipt.vectors.ready == answer.receipt.vectors.total:
                break
            time.sleep(0.1)
        assert answer.hits[0].path == "dog.md"
        assert answer.hits[0].via == ("vector",)


def test_a_recall_has_new_vectors_made_behind_it(people: Command) -> None:
    assert people("sync").exit == 0
    write_dog(people)
    vectors = ask(people, "canine")["receipt"]["vectors"]
    assert vectors["ready"] == vectors["total"] - 1
    for _ in range(200):
        vectors = people("status", "--json").json["index"]["vectors"]
        if vectors["ready"] == vectors["total"]:
            return
        time.sleep(0.2)
    raise AssertionError(vectors)


def test_without_vectors_nothing_is_embedded_behind_a_recall(people: Command) -> None:
    """Who says `--no-vectors` is not overruled by the next question."""
    assert people("sync", "--no-vectors").exit == 0
    assert ask(people, "allergy")["receipt"]["vectors"]["ready"] == 0
    time.sleep(0.5)
    assert not list(people.state.glob("*/embed.lock"))


def test_vectors_are_made_without_any_sync_by_hand(people: Command) -> None:
    """Of a vault that was only ever asked: `sync` is never called by a person."""
    first = people("recall", PET, "--json").json
    assert first["receipt"]["vectors"]["ready"] == 0
    until = time.monotonic() + 120
    while time.monotonic() < until:
        got = people("recall", PET, "--json").json["receipt"]["vectors"]
        if got["ready"] == got["total"] > 0:
            return
        time.sleep(0.5)
    raise AssertionError(got)


def test_a_similarity_that_is_asked_for_where_there_are_only_words(synced: Command) -> None:
    """Not a false empty: the answer stands and says why nothing was asked of a hit."""
    found = synced("recall", "hazelnuts", "--mode", "keyword", "--min-similarity", "0.9", "--json").json
    assert found["hits"]
    assert any("no similarity" in x for x in found["receipt"]["degraded"])
    for wrong in ("5", "-2", "nan"):
        assert synced("recall", "hazelnuts", "--min-similarity", wrong).exit == 2


def test_the_text_shows_how_a_hit_was_found(synced: Command) -> None:
    lines = synced("recall", PET, "-k", "3").out.splitlines()
    assert any("vector 0." in line for line in lines)
