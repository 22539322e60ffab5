"""The audit: whatever row is missing or changed is reported and mended within one round, without being asked.

Also the small look at the end of each sync: damage is found where no process stays.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast import Config, Vault
from holdfast.engine.audit import audit
from holdfast.errors import IndexDamaged, VaultBusy
from holdfast.results import Audited
from tests.dump import differences, dump
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.faulty_fs import FaultyFS
from tests.fault.test_check import TABLES, TALK, damage
from tests.fault.vaults import Place, index_of

CONFIG = Config(
    background=False, embedder="none", look_ms=10_000, overlay_first=30, overlay_chunks=20, lock_wait_s=0.2, audit_s=0
)
ALL = 10_000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(12)
    made.put("talk.md", TALK)
    made.put("image.png", b"png")
    return made


@pytest.fixture
def vault(place: Place) -> Iterator[Vault]:
    with use(place.open(config=CONFIG), FakeEmbedder()) as vault:
        vault.sync()
        yield vault


def whole(vault: Vault) -> dict[str, Any]:
    return dump(index_of(vault))


def heals(place: Place, vault: Vault, truth: dict[str, Any]) -> list[Audited]:
    """Audits, a few notes at a time, until all were looked at; the index is then what it was."""
    rounds: list[Audited] = []
    index_of(vault).put_meta({"audit_id": 0})  # syncs went on with the last round
    while not rounds or not rounds[-1].is_last:
        rounds.append(audit(vault._ws, 5))
        assert len(rounds) < 10
    vault.embed()
    now = whole(vault)
    assert now == truth, differences(now, truth)
    assert vault.check(deep=True).ok
    return rounds


def test_a_round_over_a_whole_index_finds_nothing(place: Place, vault: Vault) -> None:
    rounds = heals(place, vault, whole(vault))
    assert sum(r.notes for r in rounds) == 13
    assert len(rounds) == 3
    assert not any(r.found or r.rebuilt or r.healed for r in rounds)
    assert vault.status().jobs["audit"]["last_success"]
    assert vault.status().jobs["audit"]["error"] is None


@pytest.mark.parametrize("which", ["first", "middle", "last"])
@pytest.mark.parametrize("table", TABLES)
def test_one_deleted_row_is_reported_and_healed_within_one_round(
    place: Place, vault: Vault, table: str, which: str
) -> None:
    truth = whole(vault)
    db = apsw.Connection(place.database)
    count = db.execute(f"select count(*) from {table}").fetchall()[0][0]
    at = {"first": 0, "middle": count // 2, "last": count - 1}[which]
    keys = [c[1] for c in db.execute(f"pragma table_info({table})").fetchall() if c[5]]
    row = db.execute(f"select {', '.join(keys)} from {table} limit 1 offset ?", (at,)).fetchall()[0]
    db.execute(f"delete from {table} where {' and '.join(f'{k} is ?' for k in keys)}", row)
    db.close()
    rounds = heals(place, vault, truth)
    assert any(r.found for r in rounds)
    assert vault._ws.counters["audit_found"]


@pytest.mark.parametrize(
    "statement",
    [
        "update note set title = 'other' where id = 4",
        "update note set digest = zeroblob(16) where id = 4",
        "update note set size = size + 1 where id = 4",
        "update chunk set line = line + 1 where note = 4 and ord = 0",
        "update link set target = 'x' where note = 4",
        "update doc set ids = cast(x'7f' || substr(ids, 2) as blob) where note = 4",
        "update vector set code = zeroblob(length(code)) where id = 3",
        "delete from vector where id % 3 = 0",
        "update term set id = id + 1000 where t = 'water'",
        "update post set data = zeroblob(length(data))",
        "update segment set dead = cast(substr(notes, 1, 8) as blob)",
        "delete from gone",
        "update total set value = 3 where name = 'notes'",
    ],
)
def test_other_damage_is_healed_too(place: Place, vault: Vault, statement: str) -> None:
    os.unlink(f"{place.root}/d0/n0.md")
    vault.sync()
    truth = whole(vault)
    damage(place, statement)
    assert any(r.found for r in heals(place, vault, truth))


def test_a_note_that_differs_is_read_again_and_nothing_else(place: Place, vault: Vault) -> None:
    damage(place, "delete from name where note = 4")
    found = audit(vault._ws, ALL)
    assert (found.healed, found.rebuilt, len(found.found)) == (1, False, 1)
    assert "names" in found.found[0]
    assert index_of(vault).generation == 1
    assert audit(vault._ws, ALL).found == ()


def test_vectors_that_are_lost_are_made_again_and_no_others(place: Place, vault: Vault) -> None:
    fake = vault._ws.embedder()
    assert isinstance(fake, FakeEmbedder)
    before = fake.encoded.total()
    damage(place, "delete from vector where id in (2, 5)", "update vector set crc = 1 where id = 7")
    assert index_of(vault).vectors.ready(1) == 14, "what is remembered"
    found = audit(vault._ws, ALL)
    assert len([x for x in found.found if "missing or spoiled" in x]) == 3
    assert vault.sync().vectors.ready == 14
    # What of the deleted rows can still be read in the file that was set aside is not made again either.
    assert before <= fake.encoded.total() <= before + 3


def test_what_reading_again_does_not_heal_is_built_anew(place: Place, vault: Vault) -> None:
    damage(place, "delete from segment")
    found = audit(vault._ws, ALL)
    assert found.rebuilt
    assert index_of(vault).generation == 2
    assert vault.check(deep=True, vectors=False).ok
    assert vault.sync().vectors.ready == 14


def test_an_index_that_cannot_even_be_read_is_built_anew(place: Place, vault: Vault) -> None:
    damage(place, "drop table doc")
    assert audit(vault._ws, 3).rebuilt
    assert vault.check(deep=True, vectors=False).ok


def test_a_note_that_is_newer_than_the_index_is_left_to_the_sync(place: Place, vault: Vault) -> None:
    place.put("d0/n0.md", "# Changed\n")
    os.unlink(f"{place.root}/d1/n1.md")
    assert audit(vault._ws, ALL).found == ()
    assert vault.sync().changed == 1


def test_where_somebody_scans_it_is_tried_later(place: Place, vault: Vault) -> None:
    damage(place, "delete from name where note = 4")
    other = vault._ws.fs.open_lock(f"{place.directory}/job.lock")
    assert vault._ws.fs.flock(other, exclusive=True)
    with pytest.raises(VaultBusy):
        audit(vault._ws, ALL)
    vault._ws.fs.close(other)
    assert "names" in vault.status().jobs["audit"]["error"]
    assert vault.status().health == "failing"
    assert audit(vault._ws, ALL).healed == 1
    assert vault.status().jobs["audit"]["error"] is None


def test_without_self_healing_it_reports_and_leaves_it(place: Place, vault: Vault) -> None:
    damage(place, "delete from name where note = 4")
    with place.open(config=Config(background=False, embedder="none", self_heal=False)) as other:
        with pytest.raises(IndexDamaged) as e:
            audit(other._ws, ALL)
        assert "holdfast repair" in e.value.hint
        assert "names" in other.status().jobs["audit"]["error"]
        assert not other.check(deep=True).ok


# The look at the end of a sync


def test_syncs_come_round_to_every_note(place: Place, vault: Vault) -> None:
    truth = whole(vault)
    damage(place, "delete from fact where note = 9", "delete from name where note = 2")
    for _ in range(3):
        vault.sync()
    now = whole(vault)
    assert now == truth, differences(now, truth)
    assert vault._ws.counters["audit_found"] == 2


def test_a_sync_that_finds_the_index_damaged_builds_it_anew_at_once(place: Place, vault: Vault) -> None:
    truth = whole(vault)
    damage(place, "delete from doc where note = 3")
    done = vault.sync()
    assert done.generation == 2
    assert whole(vault) == truth
    assert done.vectors.ready == done.chunks == 14


def test_without_opening_a_note_much_is_seen(place: Place) -> None:
    """Notes are opened at most once in `audit_s`; what the index says of itself is looked at by every sync."""
    fs = FaultyFS()
    config = Config(background=False, embedder="none", look_ms=10_000, audit_notes=100)
    with use(place.open(fs, config), FakeEmbedder()) as vault:
        vault.sync()
        fs.trail.clear()
        vault.sync()
        assert not [where for call, where in fs.trail if call == "open_read" and where.endswith(".md")]
        for statement in ("delete from chunk where note = 2", "delete from segment", "delete from vector where id = 3",
                          "delete from note where id = 5", "update segment set dead = notes"):  # fmt: skip
            damage(place, statement)
            vault.sync()
            assert vault.check(deep=True, vectors=False).findings == (), statement


def test_a_look_before_an_answer_does_not_audit(place: Place, vault: Vault) -> None:
    damage(place, "delete from fact where note = 1")
    at = index_of(vault).meta("audit_id")
    vault.recall("tomatoes")
    assert index_of(vault).meta("audit_id") == at


def test_the_look_can_be_switched_off(place: Place, vault: Vault) -> None:
    damage(place, "delete from doc where note = 3")
    with place.open(config=Config(background=False, embedder="none", audit_notes=0)) as other:
        assert other.sync().generation == 1
