"""Fault 5 and rule 7: a repair replaces a damaged index beside it, keeps what is whole, and may die at any step."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from holdfast import Config, Vault
from holdfast.errors import HoldfastError, IndexDamaged, IndexTooNew, VaultBusy
from tests.dump import differences, dump
from tests.fake_embedder import FakeEmbedder, use
from tests.fault.faulty_fs import Fault, Killed
from tests.fault.mortal_fs import Mortal
from tests.fault.test_check import damage
from tests.fault.test_index_damage import tree
from tests.fault.vaults import CONFIG, Place, index_of

DAMAGE = "delete from chunk where note = 2"
EVERY = bool(os.environ.get("HOLDFAST_EVERY"))
LEFT = Config(background=False, lock_wait_s=2.0, look_ms=10_000, embedder="none", self_heal=False)


@contextmanager
def opened(place: Place, fake: FakeEmbedder | None = None, fs: Any = None, config: Config = CONFIG) -> Iterator[Vault]:
    with place.open(fs, config) as vault:
        yield use(vault, fake or FakeEmbedder())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(5)
    with opened(made) as vault:
        vault.sync()
    return made


def quarantine(place: Place) -> dict[str, Any]:
    """The newest evidence, with the names of what lies beside it."""
    home = Path(place.directory) / "quarantine"
    newest = max(home.glob("*.json"))
    beside = sorted(p.name[21:] for p in home.iterdir() if p.name.startswith(newest.stem) and p != newest)
    return {**json.loads(newest.read_text()), "beside": beside}


def whole(place: Place) -> dict[str, Any]:
    with opened(place) as vault:
        return dump(index_of(vault))


def test_what_is_damaged_is_replaced_and_kept_with_what_was_found(place: Place) -> None:
    truth, notes = whole(place), tree(place.root)
    damage(place, DAMAGE)
    fake = FakeEmbedder()
    with opened(place, fake) as vault:
        planned = vault.repair(dry_run=True)
        assert not planned.done
        assert [(p["action"], p["target"]) for p in planned.plan] == [
            ("build", "gen-000002"), ("set_aside", "gen-000001")
        ]  # fmt: skip
        assert all(p["bytes"] > 0 for p in planned.plan)
        assert index_of(vault).generation == 1
        done = vault.repair()
        assert (done.plan, done.done) == (planned.plan, True)
        assert vault.check(deep=True, vectors=False).ok
        assert vault.sync().vectors.ready == 5
    assert not fake.encoded, "every vector was whole"
    assert whole(place) == truth
    found = quarantine(place)
    assert found["beside"] == ["gen-000001.db"]
    assert [f["kind"] for f in found["findings"]] == ["sums", "orphan", "differs"]
    assert found["reason"] == found["findings"][0]["message"]
    assert sorted(n for n in os.listdir(place.directory) if n.startswith("gen-")) == [
        "gen-000002.db",
        "gen-000002.lock",
    ]
    assert tree(place.root) == notes


def test_where_nothing_is_wrong_nothing_is_done(place: Place) -> None:
    place.put("new.md", "# New\n")  # behind is no damage
    before = tree(place.state)
    with opened(place) as vault:
        done = vault.repair()
    assert (done.plan, done.done, done.freed_bytes) == ((), True, 0)
    assert tree(place.state) == before


def test_a_second_repair_has_nothing_to_do(place: Place) -> None:
    damage(place, DAMAGE)
    with opened(place) as vault:
        vault.repair()
        assert vault.repair().plan == ()


@pytest.mark.parametrize("what", ["database cut", "manifest damaged", "manifest of another vault", "database missing"])
def test_an_index_that_cannot_be_opened_is_repaired_too(place: Place, what: str) -> None:
    truth, manifest = whole(place), Path(place.directory) / "manifest.json"
    if what == "database cut":
        os.truncate(place.database, os.path.getsize(place.database) - 1)
    elif what == "database missing":
        os.unlink(place.database)
    elif what == "manifest damaged":
        manifest.write_text("{")
    else:
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"vault": "another-vault"}))
    fake = FakeEmbedder()
    with opened(place, fake) as vault:
        assert vault.repair().done
        assert vault.check(deep=True, vectors=False).ok
        assert vault.sync().vectors.ready == 5
    assert len(fake.encoded) == (5 if what == "database missing" else 0)
    assert whole(place) == truth


def test_a_newer_index_is_left_alone(place: Place) -> None:
    manifest = Path(place.directory) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 99}))
    before = tree(place.state)
    with opened(place) as vault, pytest.raises(IndexTooNew):
        vault.repair()
    assert tree(place.state) == before


def test_only_one_at_a_time(place: Place) -> None:
    damage(place, DAMAGE)
    quick = Config(background=False, lock_wait_s=0.0, embedder="none")
    with opened(place, config=quick) as vault, opened(place) as other:
        with other._ws.job("sync", 0.0), pytest.raises(VaultBusy):
            vault.repair()
        assert vault.repair().done


def test_vectors_that_are_spoiled_are_the_only_ones_made_again(place: Place) -> None:
    truth = whole(place)
    damage(place, "update vector set code = zeroblob(length(code)) where id = 3")
    fake = FakeEmbedder()
    with opened(place, fake) as vault:
        assert [f.kind for f in vault.check(deep=True, vectors=False).findings] == ["vector"]
        assert vault.repair().done
        assert sum(fake.encoded.values()) == 0
        vault.sync()
    assert sum(fake.encoded.values()) == 1
    assert whole(place) == truth


def test_the_old_generation_stays_until_its_readers_let_go(place: Place) -> None:
    """A reader of the damaged index meets no moment without one; what it had open is kept once it lets go."""
    damage(place, DAMAGE)
    with opened(place) as reader:
        old = index_of(reader)
        with opened(place) as vault:
            vault.repair()
        assert os.path.exists(f"{place.directory}/gen-000001.db")
        assert old.counts().notes == 5
        assert reader.recall("tomatoes", sync=False).receipt.generation == 2
        del old
    with opened(place) as vault:
        vault.rebuild()
    assert "gen-000001.db" in quarantine(place)["beside"]
    assert [n for n in os.listdir(place.directory) if n.endswith((".db", ".flaws"))] == ["gen-000003.db"]


def test_readers_meet_no_moment_without_an_index(place: Place) -> None:
    """Several ask all the time while the index is repaired again and again."""
    stop, bad = threading.Event(), []
    seen: Counter[int] = Counter()

    def ask() -> None:
        with opened(place) as vault:
            while not stop.is_set():
                found = vault.recall("tomatoes", sync=False)
                seen[found.receipt.generation] += 1
                if found.hits[0].via[0] != "keyword" or found.receipt.in_scope.notes != 5:
                    bad.append(found)

    readers = [threading.Thread(target=ask) for _ in range(2)]
    for thread in readers:
        thread.start()
    try:
        for _ in range(8):
            damage(place, "update fact set label = 'x'")  # damage that no answer shows
            with opened(place) as vault:
                assert vault.repair().done
    finally:
        stop.set()
        for thread in readers:
            thread.join()
    assert not bad
    assert len(seen) > 3


# Deaths


def count_steps(place: Place, fake: FakeEmbedder) -> int:
    fs = Mortal()
    with opened(place, fake, fs) as vault:
        vault.repair()
    return sum(fs.calls.values())


def die(place: Place, fault: Fault, verb: str = "repair") -> None:
    fs = Mortal(fault)
    vault = None
    try:
        vault = use(place.open(fs), FakeEmbedder())
        getattr(vault, verb)()
    except (Killed, HoldfastError, OSError):
        pass
    finally:
        if vault is not None and vault._ws._open is not None:
            vault._ws._open.index.close()
        fs.bury()


OTHER_DATABASE = "update meta set value = 'x' where key = 'database'"


# A close that fails in a finalizer has nobody to tell.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("how", "damaged"), [("dies", DAMAGE), ("fails", DAMAGE), ("dies", OTHER_DATABASE)])
def test_a_death_at_any_step_leaves_the_old_or_the_new(tmp_path: Path, how: str, damaged: str) -> None:
    """Whatever is left answers rightly, one more repair and a sync make it whole, and no text is embedded twice."""
    place = Place(tmp_path)
    place.fill(2)
    with opened(place) as vault:
        vault.sync()
    truth, notes = whole(place), tree(place.root)
    damage(place, damaged)
    shutil.copytree(place.state, tmp_path / "damaged")
    total = count_steps(place, FakeEmbedder())
    assert total > 50
    # One case at each step always; the others, which take as long, at each third unless all the time is given.
    for at in range(1, total + 1, 1 if EVERY or (how, damaged) == ("dies", DAMAGE) else 3):
        shutil.rmtree(place.state)
        shutil.copytree(tmp_path / "damaged", place.state)
        die(place, Fault(at=at, kill=how == "dies", error=None if how == "dies" else 5))
        fake = FakeEmbedder()
        with opened(place, fake) as vault:
            said = vault.recall("tomatoes", sync=False)
            found, partial = {h.path for h in said.hits}, ("set aside", "looked at", "notes were searched")
            is_said = any(words in text for text in said.receipt.degraded for words in partial)
            assert found == {"d0/n0.md", "d1/n1.md"} or is_said, (at, said)
            vault.repair()
            # What could not be read by a step that failed is tried again, without waiting for its time.
            assert vault.sync(checksum=how == "fails").vectors.ready == 2, at
            assert vault.check(deep=True, vectors=False).ok, at
            now = dump(index_of(vault))
            assert now == truth, (at, differences(now, truth))
            vault._ws.generations.drop_old(index_of(vault).generation)
        assert not fake.encoded, at
        names = os.listdir(place.directory)
        assert len([n for n in names if n.endswith(".db")]) == 1, at
        assert not [n for n in names if n.endswith(".flaws")], at
        kept = {n[:20] for n in os.listdir(f"{place.directory}/quarantine")}
        assert 1 <= len(kept) <= 2, at
    assert tree(place.root) == notes


# Damage that is to be left alone


def test_without_self_healing_damage_is_left_and_said(place: Place) -> None:
    os.truncate(place.database, 4096)
    before = tree(place.state)
    with opened(place, config=LEFT) as vault:
        with pytest.raises(IndexDamaged) as e:
            vault.sync()
        assert "holdfast repair" in e.value.hint
        answer = vault.recall("tomatoes")
        assert {h.via for h in answer.hits} == {("scan",)}
        assert len(answer.hits) == 5
        assert any("holdfast repair" in x for x in answer.receipt.degraded)
        assert vault.list().notes
        assert vault.read("d0/n0.md").text
        assert tree(place.state) == before
        assert vault.repair().done
        assert vault.sync().notes == 5
        assert vault.check(deep=True, vectors=False).ok


@pytest.mark.parametrize("rows", ["update segment set sizes = x'ffffffffffffff7f'", "update segment set notes = x'01'"])
def test_without_self_healing_damage_met_by_a_question_is_left_too(place: Place, rows: str) -> None:
    damage(place, rows)
    with opened(place, config=LEFT) as vault:
        answer = vault.recall("tomatoes", sync=False)
        assert {h.via for h in answer.hits} == {("scan",)}
        assert any("holdfast repair" in x for x in answer.receipt.degraded)
        with pytest.raises(IndexDamaged):
            vault.sync()
    assert not os.path.exists(f"{place.directory}/quarantine")
    with opened(place) as vault:
        answer = vault.recall("tomatoes", sync=False)
        assert any("set aside" in x for x in answer.receipt.degraded)
        assert vault.sync().notes == 5
        assert vault.check(deep=True, vectors=False).ok
    assert os.path.exists(f"{place.directory}/quarantine")


def test_without_self_healing_an_index_of_an_older_version_is_replaced(place: Place) -> None:
    """That is no damage."""
    manifest = Path(place.directory) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"schema": 2}))
    with opened(place, config=LEFT) as vault:
        assert vault.sync().notes == 5


def test_the_command_says_so(place: Place) -> None:
    os.truncate(place.database, 4096)
    off = {"HOLDFAST_SELF_HEAL": "false"}
    done = place.cli("sync", "--json", env=off)
    error = json.loads(done.stderr)["error"]
    assert (error["kind"], done.returncode) == ("IndexDamaged", 75)
    assert "holdfast repair" in error["hint"]
    assert place.cli("check", env=off).returncode == 3
    assert "set aside gen-000001" in place.cli("repair", "--dry-run", env=off).stdout
    assert place.cli("repair", env=off).returncode == 0
    assert place.cli("check", "--deep", env=off).returncode == 0
    assert place.cli("repair", env=off).stdout == "nothing to repair\n"


def test_the_sqlite_of_the_evidence_can_still_be_read(place: Place) -> None:
    damage(place, DAMAGE)
    with opened(place) as vault:
        vault.repair()
        (path,) = vault._ws.generations.quarantined()
    db = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    assert db.execute("select count(*) from chunk where note = 2").fetchall() == [(0,)]
    db.close()
