"""Fault 27: an index that an older version made. It is replaced beside, and the notes answer meanwhile.

tests/data/past holds a vault with its index for each past schema, made by that version.
"""

from __future__ import annotations

import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.index.sqlite.db import SCHEMA
from tests.dump import dump
from tests.fault.test_index_damage import tree
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild, index_of

PAST = Path(__file__).parents[1] / "data" / "past"
KNOWN = sorted(int(p.name.split("-")[1].split(".")[0]) for p in PAST.glob("schema-*.tar.gz"))


def test_each_past_schema_is_here() -> None:
    assert list(range(1, SCHEMA)) == KNOWN, "pack an index of the last version before you raise SCHEMA"


@pytest.fixture(params=KNOWN)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    with tarfile.open(PAST / f"schema-{request.param}.tar.gz") as packed:
        packed.extractall(tmp_path, filter="data")
    os.rename(tmp_path / "vault", tmp_path / "notes")
    made = Place(tmp_path, has_id=False)
    mine = Path(made.directory)  # Takes the index over by itself where its old root is not there.
    (was,) = (p for p in Path(made.state).iterdir() if p.is_dir())
    if was != mine:
        was.rename(mine)
    assert json.loads(Path(made.directory, "manifest.json").read_text())["schema"] == request.param
    return made


def test_the_notes_answer_and_the_next_sync_replaces_it(place: Place) -> None:
    notes = tree(place.root)
    with place.open() as reader, place.open() as writer:
        said = reader.recall("tomatoes", sync=False)
        assert [hit.path for hit in said.hits] == ["garden.md"]
        assert any("another version" in text for text in said.receipt.degraded)
        assert reader.check().ok is False
        done = writer.sync()
        assert (done.notes, done.quarantined) == (3, 0)
        said = reader.recall("tomatoes", sync=False)
        assert [hit.path for hit in said.hits] == ["garden.md"]
        assert said.receipt.degraded == ()
    assert_equals_a_rebuild(place)
    assert tree(place.root) == notes
    with place.open() as vault:
        assert vault.check(deep=True).ok


def test_vectors_of_an_older_version_are_carried_over(place: Place) -> None:
    """Where it had some that still prove themselves, no passage is embedded again."""
    with place.open(config=replace(CONFIG, embedder="local")) as vault:
        done = vault.sync()
        assert done.vectors.ready == done.vectors.total == 4
        assert dump(index_of(vault))
