"""Faults 17, 28 to 30 and 65: an embedder that is down, slow, wrong, exchanged, or named by a stranger.

Whatever it does: notes are synced, words are searched, and what is missing is said.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import Config, Vault
from holdfast.config import load
from holdfast.embed.base import Asked
from holdfast.engine import breaker, workspace
from holdfast.engine import embed as embed_verb
from holdfast.errors import EmbedderDown, EmbedderWrong, HoldfastError, MemoryBudget, VaultBusy
from holdfast.index.sqlite import vectors as sqlite_vectors
from tests import tiny_onnx
from tests.fake_embedder import (
    FakeEmbedder,
    assert_vectors_are_true,
    recount,
    stored_rows,
    use,
)
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.vaults import CONFIG, Place, index_of

SECOND_NS = 10**9
START_NS = 1_800_000_000 * SECOND_NS
DOWN = EmbedderDown("The embedder http://localhost:1 does not answer.")
FAULTS = [
    DOWN,
    EmbedderWrong("The embedder gave nonsense."),
    MemoryBudget("Not enough memory for the model."),
]
TALK = """---
type: conversation
---
<!-- turn 1 Ana 2024-05-01T10:00:00Z -->
I planted tomatoes in the garden.
<!-- turn 2 Bo -->
Why not beans?
<!-- turn 3 Ana -->
They need more water.
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(40)
    made.put("talk.md", TALK)
    return made


class Clock(FaultyFS):
    """A file system whose time the test sets."""

    def __init__(self) -> None:
        super().__init__(clock_ns=START_NS)

    def wait_s(self, seconds: float) -> None:
        assert self.clock_ns is not None
        self.clock_ns += int(seconds * SECOND_NS)


@contextmanager
def opened(
    place: Place, fake: FakeEmbedder | None, fs: FaultyFS | None = None, config: Config = CONFIG
) -> Iterator[Vault]:
    with place.open(fs, config) as vault:
        yield use(vault, fake)


def distinct_inputs(vault: Vault) -> int:
    rows: list[tuple[int]] = index_of(vault)._db.execute("select count(distinct input) from chunk").fetchall()
    return rows[0][0]


def down(fake: FakeEmbedder, fault: Exception = DOWN) -> FakeEmbedder:
    fake.fail = fault
    return fake


class TestAnEmbedderThatFails:
    @pytest.mark.parametrize("fault", FAULTS, ids=lambda e: type(e).__name__)
    def test_sync_ends_well_and_says_what_is_missing(self, place: Place, fault: HoldfastError) -> None:
        fake = down(FakeEmbedder(), fault)
        with opened(place, fake) as vault:
            done = vault.sync()
            assert (done.added, done.behind, done.vectors.ready) == (41, 0, 0)
            assert any(fault.message in text for text in done.degraded)
            assert len(done.degraded) == 1
            status = vault.status()
            assert status.health == "degraded"
            assert fault.message in status.jobs["embed"]["error"]
            assert [r for r in status.reasons if r.code == "job_embed" and fault.message in r.message]
            assert any(name.startswith("embed_") for name in status.counters)
            answer = vault.recall("tomatoes", sync=False)
            assert answer.hits
            assert answer.hits[0].via == ("keyword",)
            assert (answer.receipt.vectors.ready, answer.receipt.vectors.total) == (0, done.chunks)
            with pytest.raises(type(fault)):
                vault.embed()

    @pytest.mark.parametrize("fault", FAULTS, ids=lambda e: type(e).__name__)
    def test_questions_are_answered_by_words_and_say_so(self, place: Place, fault: HoldfastError) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync()
            by_words = vault.recall("tomatoes garden", sync=False, mode="keyword")
            assert not by_words.receipt.degraded
            assert "vector" in {v for h in vault.recall("tomatoes garden", sync=False).hits for v in h.via}
            down(fake, fault)
            answer = vault.recall("tomatoes garden", sync=False)
            assert [(h.path, h.line, h.score) for h in answer.hits] == [
                (h.path, h.line, h.score) for h in by_words.hits
            ]
            assert {h.via for h in answer.hits} == {("keyword",)}
            assert [t for t in answer.receipt.degraded if "meaning was not searched" in t and fault.message in t]
            assert answer.receipt.vectors.ready == answer.receipt.vectors.total  # they are there all the same
            assert vault.recall("tomatoes", sync=False, mode="vector").receipt.degraded
            assert not vault.recall("tomatoes", sync=False, mode="keyword").receipt.degraded

    @pytest.mark.parametrize(
        "spoil",
        [
            lambda raw: raw[:-1],
            lambda raw: [*raw, raw[0]],
            lambda raw: [*raw[:-1], raw[-1] * np.float32("nan")],
            lambda raw: [*raw[:-1], raw[-1] * np.float32(0)],
            lambda raw: [],
            lambda raw: "no vectors",
        ],
        ids=["one less", "one more", "nan", "zeros", "none", "text"],
    )
    def test_wrong_answers_are_faults_and_nothing_of_them_is_kept(
        self, place: Place, spoil: Callable[[Any], Any]
    ) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync()
            before = stored_rows(index_of(vault), fake.identity)
            place.put("new.md", "# New\n\nsomething else\n")
            fake.spoil = spoil
            done = vault.sync()
            assert done.added == 1
            assert done.degraded
            assert stored_rows(index_of(vault), fake.identity) == before
            assert vault.status().jobs["embed"]["error"]
            # The question as well, once it is asked again.
            index_of(vault).put_meta({breaker.BREAKER: "null"})
            answer = vault.recall("something", sync=False)
            assert answer.hits[0].path == "new.md"
            assert [t for t in answer.receipt.degraded if "meaning was not searched" in t]

    def test_what_was_made_before_it_failed_is_kept(self, place: Place) -> None:
        fake = FakeEmbedder()
        fake.hook = lambda inputs: setattr(fake, "fail", DOWN if fake.encodes >= 2 else None)
        with opened(place, fake, config=Config(background=False, embed_batch=4)) as vault:
            done = vault.sync()
            total = distinct_inputs(vault)
            made = sum(fake.encoded.values())
            assert 0 < made < total
            assert done.degraded
            # What was made answers already: words and meaning.
            fake.fail, fake.hook = None, lambda inputs: None
            index_of(vault).put_meta({breaker.BREAKER: "null"})
            assert vault.recall("tomatoes", sync=False).receipt.vectors.ready >= made
            assert vault.sync().vectors.ready == done.chunks
            assert sum(fake.encoded.values()) == total
            assert_vectors_are_true(vault, fake)

    def test_a_failure_is_forgotten_when_it_is_over(self, place: Place) -> None:
        fake, clock = down(FakeEmbedder()), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            assert vault.status().health == "degraded"
            fake.fail = None
            clock.wait_s(6)
            assert not vault.sync().degraded
            status = vault.status()
            assert status.jobs["embed"]["error"] is None
            assert status.jobs["embed"]["last_success"]
            assert not [r for r in status.reasons if r.code == "job_embed"]

    def test_a_failure_is_forgotten_when_nothing_is_left_to_embed(self, place: Place) -> None:
        """The note that could not be embedded was deleted, or its vector came from elsewhere."""
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            new = place.put("new.md", "# New\n\nsomething else\n")
            down(fake)
            assert vault.sync().degraded
            os.unlink(new)
            fake.fail = None
            clock.wait_s(3_600)
            done = vault.sync()
            assert not done.degraded
            assert done.vectors.ready == done.vectors.total
            assert not [r for r in vault.status().reasons if r.code == "job_embed"]


class TestBreaker:
    def test_it_is_left_alone_for_longer_and_longer(self, place: Place) -> None:
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            down(fake)
            calls = fake.calls
            for n, pause in enumerate((*breaker.PAUSES_S, breaker.PAUSES_S[-1]), 1):
                assert vault.recall("tomatoes", sync=False).receipt.degraded
                assert fake.calls == calls + n, "it is asked when its pause is over"
                clock.wait_s(pause - 1)
                for _ in range(3):
                    text = " ".join(vault.recall("tomatoes", sync=False).receipt.degraded)
                    assert DOWN.message in text
                    assert "asked again later" in text
                place.put(f"n{n}.md", f"# N{n}\n\nwords {n}\n")
                assert DOWN.message in " ".join(vault.sync().degraded)
                assert fake.calls == calls + n, "it is not asked within its pause"
                clock.wait_s(2)

    def test_other_processes_know(self, place: Place) -> None:
        fake, other_fake, clock = FakeEmbedder(), FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            down(fake)
            vault.recall("tomatoes", sync=False)
            with opened(place, other_fake, clock) as other:
                answer = other.recall("tomatoes", sync=False)
                assert answer.hits
                assert DOWN.message in " ".join(answer.receipt.degraded)
                assert other_fake.calls == 0
                clock.wait_s(6)
                assert not other.recall("tomatoes", sync=False).receipt.degraded
                assert other_fake.calls == 1
        with opened(place, down(FakeEmbedder()), clock) as third:
            place.put("new.md", "# New\n\nwords\n")
            third.sync()
        with opened(place, other_fake, clock) as other:
            other.sync()
            assert other_fake.encodes == 0

    def test_another_embedder_is_not_blamed(self, place: Place) -> None:
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            down(fake)
            vault.recall("tomatoes", sync=False)
        second = FakeEmbedder(name="second")
        with opened(place, second, clock) as vault:
            assert not vault.sync().degraded
            assert_vectors_are_true(vault, second)

    @pytest.mark.parametrize("by", ["sync", "embed", "recall"])
    def test_success_resets_it(self, place: Place, by: str) -> None:
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            down(fake)
            for pause in breaker.PAUSES_S[:3]:
                vault.recall("tomatoes", sync=False)
                clock.wait_s(pause + 1)
            fake.fail = None
            if by == "sync":
                place.put("new.md", "# New\n\nwords\n")
                assert not vault.sync().degraded
            elif by == "embed":
                vault.embed()
            else:
                assert not vault.recall("tomatoes", sync=False).receipt.degraded
            down(fake)
            vault.recall("tomatoes", sync=False)
            clock.wait_s(breaker.PAUSES_S[0] + 1)
            fake.fail = None
            assert not vault.recall("tomatoes", sync=False).receipt.degraded, "the first pause is the short one again"

    def test_who_asks_for_vectors_asks_it_at_once(self, place: Place) -> None:
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, down(fake), clock) as vault:
            vault.sync()
            fake.fail = None
            assert vault.sync().degraded
            done = vault.embed()
            assert done.vectors.ready == done.vectors.total > 0
            assert not vault.recall("tomatoes", sync=False).receipt.degraded

    def test_a_clock_that_was_set_back_does_not_silence_it_for_ever(self, place: Place) -> None:
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            down(fake)
            vault.recall("tomatoes", sync=False)
            fake.fail = None
            clock.wait_s(-365 * 86_400)
            assert not vault.recall("tomatoes", sync=False).receipt.degraded

    @pytest.mark.parametrize(
        "value", ["", "{", "[]", "3", '{"identity": "fake:32"}', '{"identity": 3, "until_ns": "x"}']
    )
    def test_a_value_that_is_none_of_ours_is_no_breaker(self, place: Place, value: str) -> None:
        fake, clock = FakeEmbedder(), Clock()
        with opened(place, fake, clock) as vault:
            vault.sync()
            index_of(vault).put_meta({breaker.BREAKER: value})
            assert not vault.recall("tomatoes", sync=False).receipt.degraded
            index_of(vault).put_meta({breaker.BREAKER: value})
            down(fake)
            assert vault.recall("tomatoes", sync=False).hits
            assert breaker.open_breaker(index_of(vault), fake.identity, clock.time_ns()) is not None


class TestAnotherEmbedder:
    @pytest.mark.parametrize("dimension", [32, 40])
    def test_words_answer_until_all_is_made_anew(self, place: Place, dimension: int) -> None:
        first, second = FakeEmbedder(), FakeEmbedder(dimension, "second")
        config = Config(background=False, embed_batch=4)
        with opened(place, first, config=config) as vault:
            vault.sync()
            by_words = vault.recall("tomatoes garden", sync=False, mode="keyword")
            before = stored_rows(index_of(vault), first.identity)
        with opened(place, second, config=config) as vault:
            stop = threading.Event()
            second.hook = lambda inputs: stop.set() if second.encodes == 2 else None
            vault.embed(stop=stop)
            index = index_of(vault)
            assert 0 < len(stored_rows(index, second.identity)) < len(before)
            assert stored_rows(index, first.identity) == before
            assert index.vectors.live().identity == first.identity  # type: ignore[union-attr]
            asks = second.asks
            answer = vault.recall("tomatoes garden", sync=False)
            assert second.asks == asks
            assert [(h.path, h.line, h.score) for h in answer.hits] == [
                (h.path, h.line, h.score) for h in by_words.hits
            ]
            assert [t for t in answer.receipt.degraded if "another embedder" in t]
            with opened(place, first) as old:  # whoever has the old one is answered by its vectors
                assert not old.recall("tomatoes garden", sync=False).receipt.degraded
            made = vault.embed()
            assert made.vectors.ready == made.vectors.total
            assert_vectors_are_true(vault, second)
            assert sum(second.encoded.values()) == len(before)
            assert not vault.recall("tomatoes garden", sync=False).receipt.degraded

    def test_two_of_one_dimension_are_never_mixed(self, place: Place) -> None:
        """With a failing second one: its vectors are beside the first one's, and no question meets them."""
        first, second = FakeEmbedder(), FakeEmbedder(name="second")
        config = Config(background=False, embed_batch=4)
        with opened(place, first) as vault:
            vault.sync()
            before = [(h.path, h.line, h.similarity) for h in vault.recall("tomatoes", sync=False).hits]
        with opened(place, second, config=config) as vault:
            second.hook = lambda inputs: setattr(second, "fail", DOWN if second.encodes >= 3 else None)
            assert vault.sync().degraded
            assert vault.status().index["embedder"] == first.identity
        with opened(place, first) as vault:
            after = [(h.path, h.line, h.similarity) for h in vault.recall("tomatoes", sync=False).hits]
            assert after == before
            index = index_of(vault)
            for fake in (first, second):
                for input_, row in stored_rows(index, fake.identity).items():
                    assert row == fake.row(_inputs(vault)[input_])

    def test_going_back_costs_nothing(self, place: Place) -> None:
        first, second = FakeEmbedder(), FakeEmbedder(name="second")
        with opened(place, first) as vault:
            vault.sync()
            made = sum(first.encoded.values())
        with opened(place, down(second)) as vault:
            vault.sync()
        with opened(place, first) as vault:
            assert not vault.sync().degraded
            assert sum(first.encoded.values()) == made
            assert_vectors_are_true(vault, first)

    def test_what_a_switch_that_died_left_is_dropped_by_the_next_sync(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = FakeEmbedder(), FakeEmbedder(name="second")

        class Died(BaseException):
            pass

        def die(*_: Any) -> int:
            raise Died

        with opened(place, first) as vault:
            vault.sync()
        with opened(place, second) as vault:
            with monkeypatch.context() as patch:
                patch.setattr(sqlite_vectors, "_delete", die)
                with pytest.raises(Died):
                    vault.sync()
            place.put("new.md", "# New\n\nwords\n")
            vault.sync()
            assert_vectors_are_true(vault, second)

    def test_none_leaves_the_vectors_alone(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync()
            before = stored_rows(index_of(vault), fake.identity)
        with opened(place, None) as vault:
            place.put("new.md", "# New\n\nwords\n")
            done = vault.sync()
            assert not done.degraded
            answer = vault.recall("tomatoes", sync=False)
            assert not answer.receipt.degraded
            assert {h.via for h in answer.hits} == {("keyword",)}
            assert stored_rows(index_of(vault), fake.identity) == before
            done_embed = vault.embed()
            assert (done_embed.made, done_embed.vectors) == (0, done.vectors)
            assert done_embed.vectors.ready == len(before) < done_embed.vectors.total


def _inputs(vault: Vault) -> dict[bytes, Any]:
    from tests.fake_embedder import inputs_of

    return {x.digest: x for inputs in inputs_of(vault).values() for x in inputs}


class TestDimension:
    """A server that has come to give another dimension under one name has another model."""

    def test_a_question_of_another_dimension_is_answered_by_words(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync()
            fake.ask = lambda question: Asked(np.ones(7, np.float32) / np.float32(7**0.5))  # type: ignore[method-assign]
            for _ in range(2):
                answer = vault.recall("tomatoes", sync=False)
                assert answer.hits
                assert [t for t in answer.receipt.degraded if "7 numbers now, and the vectors have 32" in t]

    @pytest.mark.parametrize("found_by", ["a new note", "a question"])
    def test_all_are_made_anew_and_take_over_when_complete(self, place: Place, found_by: str) -> None:
        old, new = (FakeEmbedder(n, identity="http://server model") for n in (32, 40))
        with opened(place, old) as vault:
            vault.sync()
            before = distinct_inputs(vault)
        with opened(place, new, config=Config(background=False, embed_batch=4)) as vault:
            if found_by == "a question":
                assert "40 numbers now" in " ".join(vault.recall("tomatoes", sync=False).receipt.degraded)
            else:
                place.put("new.md", "# New\n\nsomething else\n")
            stop = threading.Event()
            new.hook = lambda inputs: stop.set()
            vault.sync(vectors=False)
            vault.embed(stop=stop)
            assert index_of(vault).vectors.live().dimension == 32  # type: ignore[union-attr]
            new.hook = lambda inputs: None
            done = vault.sync()
            assert (done.degraded, done.vectors.ready) == ((), done.chunks)
            assert_vectors_are_true(vault, new)
            assert "vector" in {v for h in vault.recall("tomatoes", sync=False).hits for v in h.via}
            assert sum(new.encoded.values()) - new.encoded[b""] >= before
            assert {n for d, n in new.encoded.items() if d} == {1}
        with opened(place, old, FaultyFS(clock_ns=4 * START_NS)) as vault:
            place.put("newer.md", "# Newer\n\nsomething else again\n")
            vault.sync()
            assert_vectors_are_true(vault, old)

    def test_a_server_that_gives_now_this_and_now_that_is_wrong(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync()
            before = stored_rows(index_of(vault), fake.identity)
            place.put("new.md", "# New\n\nsomething else\n")
            fake.hook = lambda inputs: setattr(fake, "spoil", same if inputs[0].digest == b"" else short)
            assert any("32" in t and " 3 " in t for t in vault.sync().degraded)
            assert stored_rows(index_of(vault), fake.identity) == before


def same(raw: Any) -> Any:
    return raw


def short(raw: Any) -> Any:
    return [row[:3] for row in raw]


class TestSettingsOfNow:
    """What is said of an embedder is of the one that the settings name now."""

    def test_an_error_of_other_settings_counts_no_more(self, place: Place) -> None:
        nowhere = Config(background=False, embedder="openai:http://127.0.0.1:9", embedder_model="m")
        with place.open(config=nowhere) as vault:
            assert vault.sync().degraded
            assert vault.status().health == "degraded"
        with place.open(config=nowhere) as vault:
            assert vault.status().health == "degraded", "it is still so"
        for config in (Config(background=False, embedder="none"), Config(background=False, embedder="local")):
            with place.open(config=config) as vault:
                status = vault.status()
                assert (status.health, status.jobs["embed"]["error"]) == ("ok", None)

    def test_the_embedder_that_does_not_answer_is_the_cause(self, place: Place) -> None:
        """Not "the vectors of another embedder are being made": nobody makes them."""
        with opened(place, FakeEmbedder(name="old")) as vault:
            vault.sync()
        with opened(place, down(FakeEmbedder(name="new"))) as vault:
            vault.sync()
            degraded = vault.recall("tomatoes", sync=False).receipt.degraded
            assert [t for t in degraded if "meaning was not searched" in t and DOWN.message in t]

    @pytest.mark.parametrize("when", ["before it is opened", "after"])
    def test_a_folder_that_vanished(self, place: Place, tmp_path: Path, when: str) -> None:
        folder = Path(tiny_onnx.folder(tmp_path / "model"))
        config = Config(background=False, embedder=f"onnx:{folder}")
        with place.open(config=config) as vault:
            vault.sync()
            assert "vector" in {v for h in vault.recall("tomatoes", sync=False).hits for v in h.via}
        with place.open(config=config) as vault:
            if when == "after":
                vault._ws.embedder()
            os.rename(folder, tmp_path / "elsewhere")
            answer = vault.recall("tomatoes", sync=False)
            assert {h.via for h in answer.hits} == {("keyword",)}
            assert [t for t in answer.receipt.degraded if "meaning was not searched" in t and str(folder) in t]
            assert answer.receipt.generation == 1
            place.put("new.md", "# New\n\nsomething else\n")
            done = vault.sync()
            assert (done.added, len(done.degraded)) == (1, 1)
            assert vault.status().health == "degraded"
            with pytest.raises(EmbedderDown, match="model"):
                vault.embed()
        done_cli = place.cli("recall", "tomatoes", "--json", env={"HOLDFAST_EMBEDDER": f"onnx:{folder}"})
        assert done_cli.returncode == 0
        os.rename(tmp_path / "elsewhere", folder)
        with place.open(config=config) as vault:
            assert vault.sync().degraded == ()
            assert vault.status().health == "ok"

    def test_a_question_does_not_change_whose_vectors_answer(self, place: Place) -> None:
        """Two programs with settings of their own would make all anew in turn, and drop the other's."""
        with opened(place, FakeEmbedder(name="old")) as vault:
            vault.sync()
        with opened(place, FakeEmbedder(name="new"), config=Config(embedder="none")) as vault:
            place.put("new.md", "# New\n\nsomething else\n")
            answer = vault.recall("something")
            assert answer.receipt.vectors.ready < answer.receipt.vectors.total
            assert [t for t in answer.receipt.degraded if "another embedder's" in t and "holdfast embed" in t]
            assert not vault._detached._children


class TestOtherHindrances:
    """What hinders embedding is said, and never keeps a sync from ending."""

    def test_another_process_embeds(self, place: Place) -> None:
        fake, other_fake = FakeEmbedder(), FakeEmbedder()
        with opened(place, fake) as vault, opened(place, other_fake) as other:
            vault.sync()
            place.put("new.md", "# New\n\nwords\n")

            def ask_in_between(_: Any) -> None:
                fake.hook = lambda inputs: None
                done = other.sync()
                assert [t for t in done.degraded if "embed" in t]
                with pytest.raises(VaultBusy):
                    other.embed()
                assert other.status().jobs["embed"]["running"]

            fake.hook = ask_in_between
            done = vault.sync()
            assert not done.degraded
            assert other_fake.calls == 0
            assert other.sync().degraded == ()
            assert other_fake.calls == 0

    def test_the_scan_copy_cannot_be_written(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sqlite_vectors, "BLOCK_ROWS", 4)
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            index_of(vault).vectors._fs = FaultyFS(Fault(call="write", path=".vec", error=errno.ENOSPC))  # type: ignore[assignment]
            done = vault.sync()
            assert done.vectors.ready == done.vectors.total > 12
            assert done.degraded or vault.status().counters
            assert_vectors_are_true(vault, fake)
            assert not vault.recall("tomatoes", sync=False).receipt.degraded

    def test_a_note_that_changes_while_it_is_embedded(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake, config=Config(background=False, embed_batch=4)) as vault:

            def edit(_: Any) -> None:
                if fake.encodes == 2:
                    for n in range(40):
                        place.put(f"d{n % 5}/n{n}.md", f"# Changed {n}\n\nnew words {n}\n")

            fake.hook = edit
            done = vault.sync()
            assert not done.degraded
            assert recount(index_of(vault), fake.identity) < done.chunks
            fake.hook = lambda inputs: None
            vault.sync()
            assert_vectors_are_true(vault, fake)

    def test_notes_that_are_gone_or_cannot_be_read(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            for n in range(3):
                os.unlink(f"{place.root}/d{n}/n{n}.md")
            place.put("d3/n3.md", "# Other\n\nwords\n")
            made = vault.embed()
            assert made.left == 4
            assert made.vectors.ready < made.vectors.total
            known = {x for (x,) in index_of(vault)._db.execute("select input from chunk").fetchall()}
            assert fake.encoded.keys() <= known, "what the index does not know yet is not embedded"
            vault.sync()
            assert_vectors_are_true(vault, fake)

    def test_a_note_that_could_not_be_read_once_is_embedded_by_the_next_sync(self, place: Place) -> None:
        fake, fs = FakeEmbedder(), FaultyFS()
        with opened(place, fake, fs) as vault:
            vault.sync(vectors=False)
            fs.faults = [Fault(call="open_read", path="d3/n3.md", error=errno.EIO)]
            made = vault.embed()
            assert (made.left, made.vectors.total - made.vectors.ready) == (1, 1)
            assert vault.sync().vectors.ready == made.vectors.total
            assert_vectors_are_true(vault, fake)

    def test_a_chunk_whose_input_is_damaged_keeps_nobody_busy_for_ever(
        self, place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A flipped bit in `chunk.input`: no text of the note gives it a vector, however often it is asked."""
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            index = index_of(vault)
            index._writer.connection(grows=True).execute(
                "update chunk set input = randomblob(16) where ord = 0 and note = 3"
            )
            looks = 0
            real = sqlite_vectors.lacking_notes

            def counted(*args: Any) -> list[int]:
                nonlocal looks
                looks += 1
                assert looks < 50, "it looks for what is lacking again and again"
                return real(*args)

            monkeypatch.setattr(sqlite_vectors, "lacking_notes", counted)
            vault.sync()
            assert max(fake.encoded.values()) <= 2
            assert vault.recall("tomatoes", sync=False).hits

    def test_the_same_text_many_times_over_is_embedded_once(self, place: Place) -> None:
        """Also where it stands at both ends of a batch."""
        fake = FakeEmbedder()
        parts = "".join(f"## Beans\n\nWater.\n\n## H{n}\n\n{'word ' * n}\n\n" for n in range(60))
        place.put("long.md", f"# Long\n\n{parts}")
        place.put("copy.md", f"# Long\n\n{parts}")
        with opened(place, fake, config=Config(background=False, embed_batch=7)) as vault:
            vault.sync()
            assert max(fake.encoded.values()) == 1
            assert sum(fake.encoded.values()) == distinct_inputs(vault)
            assert_vectors_are_true(vault, fake)

    def test_batches_are_bounded(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embed_verb, "BATCH_CHARS", 600)
        sizes: list[tuple[int, int]] = []
        fake = FakeEmbedder()
        fake.hook = lambda inputs: sizes.append((len(inputs), sum(len(x.text) for x in inputs)))
        with opened(place, fake, config=Config(background=False, embed_batch=5)) as vault:
            vault.sync()
        assert max(count for count, _ in sizes[1:]) <= 5
        assert sizes[0][0] <= embed_verb.FIRST_BATCH
        assert max(chars for _, chars in sizes) < 600 + 1_200

    def test_what_was_written_last_is_embedded_first(self, place: Place) -> None:
        fake = FakeEmbedder()
        for n, path in enumerate(sorted(Path(place.root).rglob("*.md"))):
            os.utime(path, (10**9 + n, 10**9 + n))
        os.utime(f"{place.root}/d3/n3.md", (2 * 10**9, 2 * 10**9))
        batches: list[Any] = []
        fake.hook = batches.append
        with opened(place, fake) as vault:
            vault.sync()
        assert batches[0][0].text.startswith("Note 3")


class TestSettings:
    """Fault 65: what a cloned vault's file says of embedders is not done."""

    @pytest.mark.parametrize(
        "line",
        [
            'embedder = "openai:http://evil.example/v1"',
            'embedder = "ollama:http://evil.example"',
            'embedder = "onnx:/tmp/evil"',
            'embedder = "LOCAL"',
            'embedder = ["none"]',
            "embedder = 3",
            'embedder_key_variable = "AWS_SECRET_ACCESS_KEY"',
            'embedder_model = "x"',
            'embedder_query_prefix = "x"',
            "embedder_threads = 64",
            "embedder_timeout_s = 1e9",
            "embedder_dimensions = 4",
        ],
    )
    def test_a_vault_names_no_embedder_of_its_own(self, line: str, tmp_path: Path) -> None:
        assert load(line, {})[1] == Config()
        place = Place(tmp_path)
        place.put(".holdfast/config.toml", f'id = "12345678"\n{line}\n')
        with Vault.open(place.root, state_dir=place.state, environ={"_": "_"}) as vault:
            assert vault._ws.config == Config()

    def test_it_may_choose_the_packaged_one_or_none(self) -> None:
        assert load('embedder = "none"', {})[1].embedder == "none"
        assert load('embedder = "local"', {}, 'embedder = "none"')[1].embedder == "none"
        assert load('embedder = "none"', {}, 'embedder = "ollama:http://localhost:1"')[1].embedder.startswith("ollama")

    def test_the_environment_decides(self) -> None:
        environ = {"HOLDFAST_EMBEDDER": "openai:http://mine/v1", "HOLDFAST_EMBEDDER_MODEL": "m"}
        config = load('embedder = "none"', environ, 'embedder = "local"')[1]
        assert (config.embedder, config.embedder_model) == ("openai:http://mine/v1", "m")

    def test_the_embedder_is_made_of_what_the_user_said(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[Any] = []

        def make(settings: Any, environ: Any) -> None:
            asked.append((settings.embedder, dict(environ)))

        monkeypatch.setattr(workspace, "make", make)
        place = Place(tmp_path)
        place.put(".holdfast/config.toml", 'id = "12345678"\nembedder = "openai:http://evil.example/v1"\n')
        for environ in ({"HOLDFAST_EMBEDDER": "onnx:/mine"}, {"_": "_"}):
            with Vault.open(place.root, state_dir=place.state, environ=environ) as vault:
                assert vault._ws.embedder() is None
                vault._ws.embedder()
        assert asked == [("onnx:/mine", {"HOLDFAST_EMBEDDER": "onnx:/mine"}), ("local", {"_": "_"})]

    def test_no_address_stands_in_what_is_kept(self, place: Place) -> None:
        """The identity is stored and printed: it is the embedder's to leave secrets out; the index adds none."""
        fake = FakeEmbedder(identity="http://server model")
        with opened(place, fake) as vault:
            vault.sync()
            assert vault.status().index["embedder"] == "http://server model"
            database = place.database
        db = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        assert db.execute("select identity from embedder").fetchall() == [("http://server model",)]
        db.close()
