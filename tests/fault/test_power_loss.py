"""Fault 6: the power goes, and with it whatever was not synced: any part of it, torn and in any order.

The index may come back older, torn or not at all. It is never wrong in silence: what is damaged is noticed, and the
next sync makes what a rebuild would make.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from holdfast.index.sqlite import vector_store
from tests.dump import differences, dump
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.power import Disk, PowerFS, PowerVFS, Step
from tests.fault.test_index_damage import tree
from tests.fault.vaults import Place, index_of

THOROUGH = os.environ.get("HYPOTHESIS_PROFILE") == "thorough"
LOSSES = 300 if THOROUGH else 120
NOTES = 6


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk(str(tmp_path / "state"))
    vfs = PowerVFS(disk)
    monkeypatch.setattr(vector_store, "COPY_BLOCKS", 1)
    monkeypatch.setattr(vector_store, "FileSystem", lambda: PowerFS(disk))
    yield disk
    vfs.unregister()


def name(n: int) -> str:
    return f"d{n % 5}/n{n}.md"


def live(place: Place, disk: Disk) -> None:
    """A life with everything that writes: a first sync, vectors, edits, a rebuild, damage and its repair, a prune."""
    place.fill(NOTES)
    with use(place.open(PowerFS(disk)), FakeEmbedder()) as vault:
        vault.sync()
        for n in range(3):
            place.put(name(n), f"# Changed {n}\n\nquinces{n} and medlars\n")
            vault.sync()
            vault.recall("quinces")
        vault.rebuild()
        os.unlink(f"{place.root}/{name(3)}")
        place.put("d9/late.md", "# Late\n\ndamsons\n")
        vault.sync()
        with closing(apsw.Connection(index_of(vault).path)) as db:
            db.execute("delete from chunk where note = 2")
        vault.repair()
        vault.prune()
        vault.sync(checksum=True)


def words(place: Place) -> dict[str, str]:
    """A word that a note has and no other has, by its path."""
    return {name(0): "quinces0", name(1): "quinces1", name(2): "quinces2", "d9/late.md": "damsons"}


def test_whatever_a_disk_kept_is_mended_and_never_wrong_in_silence(tmp_path: Path, disk: Disk) -> None:
    place = Place(tmp_path)
    live(place, disk)
    steps = list(disk.steps)
    assert {s.what for s in steps} == {"make", "drop", "move", "write", "truncate", "sync", "names"}
    assert any(s.name.endswith(".vec") for s in steps), "the scan copy of the vectors was written by this disk"
    notes = tree(place.root)
    with use(place.open(), FakeEmbedder()) as vault:
        truth = dump(index_of(vault))
    chance = random.Random(6)
    for _ in range(LOSSES):
        upto, keep, seed = chance.randint(1, len(steps)), chance.choice([0.0, 0.1, 0.5, 0.9, 1.0]), chance.random()
        where = (upto, keep, seed, steps[upto - 1].what)
        shutil.rmtree(place.state)
        os.mkdir(place.state)
        disk.after_loss(upto, random.Random(seed), place.state, keep)
        with use(place.open(), FakeEmbedder()) as vault:
            vault._ws.index()  # an older one or none; what is synced in order is never damaged
            for path, word in words(place).items():
                said = vault.recall(word)
                assert path in {hit.path for hit in said.hits} or said.receipt.degraded or said.receipt.behind, where
            vault.sync()
            now = dump(index_of(vault))
            assert now == truth, (where, differences(now, truth))
            assert vault.check(deep=True).ok, where
            assert vault.sync().vectors.ready == vault.sync().vectors.total, where
    assert tree(place.root) == notes


def test_the_disk_loses_what_was_not_synced_and_keeps_the_rest(tmp_path: Path) -> None:
    """The simulation itself: without its teeth the test above would prove nothing."""
    disk = Disk(str(tmp_path / "a"))
    os.mkdir(disk.root)
    fs = PowerFS(disk)
    fs.write_new(f"{disk.root}/kept", b"old")
    fs.write_new(f"{disk.root}/kept", b"new" * 1000, durable=False)
    fs.write_new(f"{disk.root}/other", b"x" * 5000)
    seen = set()
    for seed in range(300):
        into = tmp_path / f"after-{seed}"
        into.mkdir()
        disk.after_loss(len(disk.steps), random.Random(seed), str(into), 0.5)
        assert (into / "other").read_bytes() == b"x" * 5000
        seen.add((into / "kept").read_bytes())
    assert b"old" in seen or b"new" * 1000 in seen
    assert any(body not in (b"old", b"new" * 1000) for body in seen), "a replaced file whose bytes were not synced"
    into = tmp_path / "none"
    into.mkdir()
    first = next(n for n, s in enumerate(disk.steps) if s == Step("names")) + 1
    disk.after_loss(first, random.Random(1), str(into), 0.0)
    assert (into / "kept").read_bytes() == b"old"
