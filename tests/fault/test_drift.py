"""The drift report, replayed: whatever becomes of the index files, every note is found by its own words afterwards.

Nothing is run but what people run anyway, recalls and syncs; and no answer on the way is partial without saying so.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from holdfast import Config, Vault
from holdfast.results import Answer
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.vaults import WORDS, Place, index_of

NOTES = 400
SAMPLE = 300
MEANWHILE = 12
CONFIG = Config(background=False, embedder="none", look_ms=60_000, lock_wait_s=5.0)


def words_of(n: int) -> str:
    """Words that no other note has."""
    return f"zeta{n:04d}q kappa{n:04d}w"


def filled(base: Path) -> Place:
    place = Place(base)
    rng = random.Random(3)
    for n in range(NOTES):
        place.put(f"d{n % 7}/n{n:04d}.md", f"# Note {n}\n\n{' '.join(rng.choices(WORDS, k=30))} {words_of(n)}\n")
    return place


def opened(place: Place, fake: FakeEmbedder) -> Vault:
    return use(place.open(config=CONFIG), fake)


def is_found(answer: Answer, n: int) -> bool:
    return f"d{n % 7}/n{n:04d}.md" in [h.path for h in answer.hits]


def is_said(answer: Answer) -> bool:
    """Whether the receipt says that something is missing or was done in another way."""
    r = answer.receipt
    return bool(r.degraded) or r.behind is None or r.behind > 0


def deleted(place: Place, backup: str) -> None:
    os.unlink(place.database)


def all_deleted(place: Place, backup: str) -> None:
    shutil.rmtree(place.state)


def truncated(place: Place, backup: str) -> None:
    database = place.database
    os.truncate(database, os.path.getsize(database) * 48 // 100)


def truncated_at_a_page(place: Place, backup: str) -> None:
    database = place.database
    os.truncate(database, os.path.getsize(database) * 48 // 100 // 4096 * 4096)


def flipped(place: Place, backup: str) -> None:
    """A bit in each of forty pages."""
    rng, database = random.Random(48), place.database
    with open(database, "r+b") as f:
        pages = os.path.getsize(database) // 4096
        for page in rng.sample(range(pages), min(pages, 40)):
            at = page * 4096 + rng.randrange(4096)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << rng.randrange(8))]))


def swapped(place: Place, backup: str) -> None:
    """An older copy in the place of the index; the vault has changed a lot since it was made."""
    directory = place.directory
    shutil.rmtree(directory)
    shutil.copytree(backup, directory)


def swapped_database(place: Place, backup: str) -> None:
    """The older database alone, under the manifest of now."""
    shutil.copyfile(f"{backup}/gen-000001.db", place.database)


def embeddings_missing(place: Place, backup: str) -> None:
    db = apsw.Connection(place.database)
    db.execute("delete from vector where id % 59 <> 0")  # the share of the report: 2,349 of 137,813 were left
    db.close()


def rows_missing(place: Place, backup: str) -> None:
    db = apsw.Connection(place.database)
    db.execute("delete from chunk where note % 3 = 0")
    db.close()


DAMAGE: list[Callable[[Place, str], None]] = [
    deleted, all_deleted, truncated, truncated_at_a_page, flipped, swapped, swapped_database, embeddings_missing,
    rows_missing,
]  # fmt: skip


@pytest.mark.parametrize("is_open", [False, True], ids=["closed", "open"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_every_note_is_found_afterwards_without_a_command(
    tmp_path: Path, damage: Callable[[Place, str], None], is_open: bool
) -> None:
    place, fake, backup = filled(tmp_path), FakeEmbedder(), str(tmp_path / "backup")
    with opened(place, fake) as vault:
        vault.sync()
    shutil.copytree(place.directory, backup)
    for n in range(0, NOTES, 5):  # the backup is of before
        os.rename(f"{place.root}/d{n % 7}/n{n:04d}.md", f"{place.root}/aside.txt~")
        place.put(f"d{n % 7}/n{n:04d}.md", f"# Note {n}, changed\n\nAnew. {words_of(n)}\n")
    with opened(place, fake) as vault:
        vault.sync()
    rng = random.Random(11)
    vault = opened(place, fake)
    try:
        if is_open:
            assert is_found(vault.recall(words_of(1)), 1)
            damage(place, backup)
        else:
            vault.close()
            damage(place, backup)
            vault = opened(place, fake)
        for n in rng.sample(range(NOTES), MEANWHILE):
            answer = vault.recall(words_of(n), sync=bool(n % 2))
            assert is_found(answer, n) or is_said(answer), (n, answer)
            assert answer.receipt.in_scope.notes == NOTES or is_said(answer), (n, answer)
        done = vault.sync()
        if damage is embeddings_missing:
            done = vault.sync()
        assert (done.notes, done.vectors.ready) == (NOTES, done.chunks)
        for n in rng.sample(range(NOTES), SAMPLE):
            answer = vault.recall(words_of(n), sync=False)
            assert is_found(answer, n), (n, answer)
            assert next(h for h in answer.hits if h.path.endswith(f"n{n:04d}.md")).via[0] == "keyword"
            assert answer.receipt.in_scope.notes == NOTES
            assert not answer.receipt.degraded
        # Some of what these do hits what no answer and no sync reads: a later audit comes round to it, or a repair.
        if damage not in (flipped, swapped_database, embeddings_missing):
            assert vault.check(deep=True, vectors=False).ok
        assert index_of(vault).counts().notes == NOTES
    finally:
        vault.close()
