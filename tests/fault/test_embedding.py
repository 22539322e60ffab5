"""What happens while vectors are made: an embedder is exchanged, notes change, another index is published, a text is
refused. What is complete is not given up for what is not, and no text is embedded twice."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast import Config, Vault
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
