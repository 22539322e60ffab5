"""Fault 5 in `prune`: whatever step it dies or fails at, no answer is lost and the next prune does the rest."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from tests.dump import dump
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.faulty_fs import Fault
from tests.fault.mortal_fs import Mortal
from tests.fault.test_index_damage import tree
from tests.fault.test_repair import die
from tests.fault.vaults import Place, index_of


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """An index with everything that can be pruned: an old generation, two set aside, what writers left, a log."""
    made = Place(tmp_path)
    made.fill(4)
    with use(made.open(), FakeEmbedder()) as vault:
        vault.sync()
        for _ in range(2):
            with closing(apsw.Connection(index_of(vault).path)) as db:
                db.execute("delete from chunk where note = 2")
            vault.repair()
        shutil.copy(index_of(vault).path, f"{vault._ws.directory}/gen-000001.db")
        os.unlink(f"{made.root}/d3/n3.md")
        vault.sync()
    Path(made.directory, ".holdfast-tmp-1-1").write_bytes(b"x" * 5000)
    return made


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("how", ["dies", "fails"])
def test_a_death_at_any_step(place: Place, tmp_path: Path, how: str) -> None:
    with use(place.open(), FakeEmbedder()) as vault:
        truth, notes = dump(index_of(vault)), tree(place.root)
    shutil.copytree(place.state, tmp_path / "kept")
    with use(place.open(fs := Mortal()), FakeEmbedder()) as vault:
        vault.prune()
        total = sum(fs.calls.values())
        pruned = sorted(name for name, _ in vault._ws.generations.files())
    assert total > 40
    for at in range(1, total + 1):
        shutil.rmtree(place.state)
        shutil.copytree(tmp_path / "kept", place.state)
        die(place, Fault(at=at, kill=how == "dies", error=None if how == "dies" else 5), "prune")
        with use(place.open(), FakeEmbedder()) as vault:
            said = vault.recall("tomatoes", sync=False)
            assert {hit.path for hit in said.hits} == {"d0/n0.md", "d1/n1.md", "d2/n2.md"}, at
            assert said.receipt.degraded == (), at
            assert dump(index_of(vault)) == truth, at
            vault.prune()
            assert sorted(name for name, _ in vault._ws.generations.files()) == pruned, at
            assert vault.check(deep=True).ok, at
    assert tree(place.root) == notes
