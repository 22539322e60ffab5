"""What happens while vectors are made: an embedder is exchanged, notes change, another index is published, a text is
refused. What is complete is not given up for what is not, and no text is embedded twice."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast import Config, Vault
from holdfast.embed.base import Encoded
from holdfast.engine.embed import Embedding
from holdfast.errors import EmbedderWrong
from holdfast.files.fs import FileSystem
from holdfast.model import Input
from tests.fake_embedder import FakeEmbedder, assert_vectors_are_true, use
from tests.fault.vaults import Place, index_of

COUNT = 40
SMALL = Config(background=False, embedder="none", embed_batch=4)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(COUNT)
    return made


class SlowClock(FileSystem):
    """A clock that the test moves."""

    clock_ns_monotonic = 0

    def monotonic_ns(self) -> int:
        return self.clock_ns_monotonic


class Picky(FakeEmbedder):
    """Refuses any batch with a certain word in it."""

    def encode(self, inputs: Sequence[Input]) -> Encoded:
        if any("POISON" in x.own for x in inputs):
            raise EmbedderWrong("The server answered 400 (input is too long).")
        return super().encode(inputs)


def same(raw: Any) -> Any:
    return raw


def nan(raw: Any) -> Any:
    return [np.full(32, np.nan) for _ in raw]


@contextmanager
def opened(place: Place, fake: FakeEmbedder | None, config: Config = SMALL) -> Iterator[Vault]:
    with place.open(config=config) as vault:
        yield use(vault, fake)


def at_call(number: int, do: Callable[[], object]) -> Callable[[Sequence[Input]], None]:
    """A hook for a fake embedder that does something once, at that call."""
    calls = iter(range(1, 10**9))

    def hook(inputs: Sequence[Input]) -> None:
        if next(calls) == number:
            do()

    return hook


def live_of(vault: Vault) -> tuple[str, int]:
    """(the identity of the embedder whose vectors answer, how many chunks have one)."""
    found = index_of(vault).vectors.live()
    assert found is not None
    return found.identity, index_of(vault).vectors.ready(found.id)


def wait_for(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.005)


def stopped_early(place: Place, fake: FakeEmbedder, calls: int = 1) -> None:
    """Make vectors by `fake`, and stop after so many batches."""
    with opened(place, fake) as vault:
        stop = threading.Event()
        fake.hook = at_call(calls, stop.set)
        vault.embed(stop=stop)
        fake.hook = lambda inputs: None


class TestExchange:
    """Another embedder takes over when it has as much as the one before it."""

    def test_notes_that_cannot_be_read_do_not_end_it_early(self, place: Place) -> None:
        old, new = FakeEmbedder(name="old"), FakeEmbedder(name="new")
        with opened(place, old) as vault:
            vault.sync()
            before = live_of(vault)
        stopped_early(place, new)
        for n in range(COUNT):
            with open(f"{place.root}/d{n % 5}/n{n}.md", "a") as file:
                file.write("\nedited, and not synced yet\n")
        with opened(place, new) as vault:
            assert vault.embed().left > 0
            assert live_of(vault) == before
        with opened(place, old) as vault:
            assert "vector" in {v for h in vault.recall("tomatoes", sync=False).hits for v in h.via}
        with opened(place, new) as vault:
            done = vault.sync()
            assert (done.vectors.ready, live_of(vault)[0]) == (done.chunks, new.identity)
            assert_vectors_are_true(vault, new)

    def test_one_note_that_cannot_be_read_does_not_hinder_it_for_good(self, place: Place) -> None:
        """Where the embedder before it lacks that note as well."""
        old, new = FakeEmbedder(name="old"), FakeEmbedder(name="new")
        with opened(place, old) as vault:
            vault.sync()
            place.put("odd.md", "# Odd\n\nsomething else\n")
            vault.sync(vectors=False)
            place.put("odd.md", "# Odd\n\nedited, and not synced yet\n")
        with opened(place, new) as vault:
            assert vault.embed().left == 1
            assert live_of(vault)[0] == new.identity


class TestRebuild:
    """An index that is published while vectors are made gets what was made, and the rest."""

    def test_no_vector_is_lost_or_made_twice(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            fake.hook = at_call(3, vault.rebuild)
            done = vault.embed()
            assert done.vectors.ready == done.vectors.total == live_of(vault)[1]
            assert set(fake.encoded.values()) == {1}
            assert vault.status().index["generation"] == 2
            assert_vectors_are_true(vault, fake)

    def test_by_another_process(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            fake.hook = at_call(3, lambda: place.cli("rebuild", check=True))
            assert vault.embed().vectors.ready == live_of(vault)[1] == vault.status().index["chunks"]
            assert set(fake.encoded.values()) == {1}

    def test_after_the_last_batch(self, place: Place) -> None:
        """Nothing is left to make when it is seen: what was made is there all the same."""
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync()
            place.put("new.md", "# New\n\nsomething else\n")
            vault.sync(vectors=False)
            fake.hook = at_call(1, vault.rebuild)
            assert vault.embed().vectors.ready == live_of(vault)[1]
            assert set(fake.encoded.values()) == {1}

    def test_what_answers_goes_on_answering(self, place: Place) -> None:
        """Vectors of another embedder are half made: the complete ones go along, and stay the ones that answer."""
        old, new = FakeEmbedder(name="old"), FakeEmbedder(name="new")
        with opened(place, old) as vault:
            vault.sync()
            before = live_of(vault)
        stopped_early(place, new, 2)
        with opened(place, new) as vault:
            vault.rebuild()
            assert live_of(vault) == before
            vault.embed()
            assert live_of(vault)[0] == new.identity
            assert set(new.encoded.values()) == {1}
            assert_vectors_are_true(vault, new)


class TestNewest:
    """What was written last comes first, also while a long pass is under way."""

    def test_a_note_written_meanwhile_comes_next(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)

            def write() -> None:
                place.put("new.md", "# New\n\nxylophone quartz\n")
                vault.sync(vectors=False)

            order: list[list[str]] = []
            meanwhile = at_call(2, write)

            def hook(inputs: Sequence[Input]) -> None:
                order.append([x.own for x in inputs])
                meanwhile(inputs)

            fake.hook = hook
            done = vault.embed()
            assert len(order) > 4
            assert "xylophone quartz" in order[2][0]
            assert done.vectors.ready == done.vectors.total
            assert set(fake.encoded.values()) == {1}

    def test_a_note_that_was_read_again_meanwhile_is_not_left(self, place: Place) -> None:
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            new = place.put("d0/n0.md", "# Changed\n\nedited, and not synced yet\n")
            fake.hook = at_call(3, lambda: vault.sync(vectors=False))
            done = vault.embed()
            assert new
            assert (done.left, done.vectors.ready) == (0, done.vectors.total)

    def test_batches_are_short_for_a_slow_embedder(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        """A new note waits for the batch at hand: about a second, however many texts a transaction may take."""
        place.fill(120)
        fake = FakeEmbedder()
        sizes: list[int] = []

        def hook(inputs: Sequence[Input]) -> None:
            sizes.append(len(inputs))
            clock.clock_ns_monotonic += len(inputs) * 40_000_000  # 25 texts a second

        clock = SlowClock()
        with place.open(clock, Config(background=False, embedder="none")) as vault:
            use(vault, fake)
            vault.sync(vectors=False)
            fake.hook = hook
            vault.embed()
        assert sizes[0] == 16
        assert 20 <= max(sizes) <= 25


class TestRefused:
    """A text that the embedder does not take is passed over; an embedder that takes none is at fault."""

    @pytest.mark.parametrize("place_of_it", ["first", "last", "everywhere"])
    def test_one_text_does_not_hinder_the_others(self, place: Place, place_of_it: str) -> None:
        bad = {"first": 1, "last": 1, "everywhere": 5}[place_of_it]
        for n in range(bad):
            path = place.put(f"bad{n}.md", f"# Bad {n}\n\nPOISON {n}\n")
            if place_of_it == "last":
                os.utime(path, (1_000_000_000, 1_000_000_000))
        fake = Picky()
        with opened(place, fake, Config(background=False, embedder="none", embed_batch=32)) as vault:
            done = vault.sync()
            assert done.vectors.ready == done.vectors.total - bad
            assert any(f"{bad} text" in x and "too long" in x for x in done.degraded)
            assert vault.status().counters["embed_refused"] == bad
            assert vault.recall("POISON", sync=False).hits
            assert "vector" in {v for h in vault.recall("tomatoes", sync=False).hits for v in h.via}
            again = vault.embed()
            assert (again.left, again.made, len(again.degraded)) == (0, 0, 1)
            # The breaker is not open, and what is written later is embedded.
            place.put("new.md", "# New\n\nsomething else\n")
            assert vault.sync().vectors.ready == done.vectors.ready + 1

    def test_a_text_whose_vector_is_nonsense(self, place: Place) -> None:
        place.put("bad.md", "# Bad\n\nPOISON\n")
        fake = FakeEmbedder()
        fake.hook = lambda inputs: setattr(fake, "spoil", nan if any("POISON" in x.own for x in inputs) else same)
        with opened(place, fake) as vault:
            done = vault.sync()
            assert done.vectors.ready == done.vectors.total - 1
            assert any("NaN" in x for x in done.degraded)

    def test_another_embedder_takes_over_though_it_refuses_a_text(self, place: Place) -> None:
        old, new = FakeEmbedder(name="old"), Picky(name="new")
        place.put("bad.md", "# Bad\n\nPOISON\n")
        with opened(place, old) as vault:
            vault.sync()
        with opened(place, new) as vault:
            vault.sync()
            assert live_of(vault)[0] == new.identity

    def test_a_server_that_refuses_everything_is_asked_little(self, place: Place) -> None:
        fake = FakeEmbedder()
        fake.fail = EmbedderWrong("no such model")
        with opened(place, fake) as vault:
            assert any("no such model" in x for x in vault.sync().degraded)
            assert fake.encodes == 2
            assert any("asked again later" in x for x in vault.sync().degraded)
            assert fake.encodes == 2


class TestThread:
    def test_a_fault_of_ours_does_not_end_it_unseen(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Embedding, "EVERY_S", 0.01)
        fake = FakeEmbedder()
        fake.fail, fake.fail_times = RuntimeError("a bug"), 3
        with opened(place, fake) as vault:
            vault.sync(vectors=False)
            vault.keep_embedding()
            wait_for(lambda: fake.encodes >= 1 and vault.status().jobs.get("embed", {}).get("error") == "a bug")
            assert vault.status().health == "degraded"
            wait_for(lambda: vault.status().index["vectors"]["ready"] == vault.status().index["chunks"])
            assert vault.status().counters["embed_RuntimeError"] == 3


class TestForeign:
    """Vectors of an embedder that the settings do not name are of no use."""

    def test_they_are_not_salvaged(self, place: Place, tmp_path: Path) -> None:
        mine, other = FakeEmbedder(name="mine"), FakeEmbedder(name="other")
        with opened(place, other) as vault:
            count = vault.sync().vectors.ready
            vault.export_vectors(tmp_path / "other.vec")
            vault.rebuild()
        shutil.rmtree(place.state)
        with opened(place, mine) as vault:
            vault.sync()
            done = vault.salvage_vectors(tmp_path / "other.vec")
            assert (done.read, done.stored) == (count, 0)
            assert_vectors_are_true(vault, mine)

    def test_what_is_left_of_another_goes_with_the_next_sync(self, place: Place) -> None:
        """The settings were changed, and taken back before all was made."""
        mine, other = FakeEmbedder(name="mine"), FakeEmbedder(name="other")
        with opened(place, mine) as vault:
            vault.sync()
        stopped_early(place, other)
        with opened(place, mine) as vault:
            vault.sync()
            assert_vectors_are_true(vault, mine)
            assert set(mine.encoded.values()) == {1}
