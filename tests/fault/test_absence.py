"""Faults 19 and 45: what cannot be seen is not gone. Only proof that a file is not there takes its note out."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from holdfast.errors import HoldfastError, VaultMissing
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.vaults import Place, as_somebody_else, assert_equals_a_rebuild, index_of


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(20)
    # A note whose stat proves nothing yet is read again, and an error in that sets it aside for a minute: prove them.
    time.sleep(0.05)
    made.sync()
    return made


def notes_in_the_index(place: Place) -> int:
    """As published, without looking at the vault."""
    os.makedirs(place.root, exist_ok=True)
    with place.open() as vault:
        return index_of(vault).counts().notes


def empty(root: str, *, keep: tuple[str, ...] = (".holdfast",)) -> None:
    for name in os.listdir(root):
        if name not in keep:
            full = f"{root}/{name}"
            shutil.rmtree(full) if os.path.isdir(full) else os.unlink(full)


def test_a_root_that_is_gone_is_a_missing_vault(place: Place) -> None:
    with place.open() as vault:
        os.rename(place.root, place.root + "-unmounted")
        with pytest.raises(VaultMissing):
            vault.sync()
        with pytest.raises(VaultMissing):
            vault.sync(paths=("d0/n0.md", "d1/n1.md"))
        with pytest.raises(VaultMissing):
            vault.rebuild()
        assert index_of(vault).counts().notes == 20
        answer = vault.recall("tomatoes")
        assert all(h.stale for h in answer.hits)
        assert answer.receipt.degraded
        os.rename(place.root + "-unmounted", place.root)
        done = vault.sync()
        assert (done.added, done.removed, done.changed) == (0, 0, 0)
    assert_equals_a_rebuild(place)


def test_the_command_line_says_that_the_truth_is_at_risk(place: Place) -> None:
    os.rename(place.root, place.root + "-unmounted")
    for verb in (["sync"], ["rebuild"], ["recall", "tomatoes"], ["status"]):
        done = place.cli(*verb, "--json")
        assert done.returncode == 70, (verb, done)
        assert json.loads(done.stderr)["error"]["kind"] == "VaultMissing"
    os.rename(place.root + "-unmounted", place.root)
    assert notes_in_the_index(place) == 20


def test_a_root_that_is_empty_needs_a_word(place: Place) -> None:
    empty(place.root)
    done = place.cli("sync", "--json")
    assert done.returncode == 70
    assert "accept-empty" in json.loads(done.stderr)["error"]["hint"]
    with place.open() as vault:
        with pytest.raises(VaultMissing):
            vault.sync()
        with pytest.raises(VaultMissing):
            vault.rebuild()
        vault.recall("tomatoes")
        assert index_of(vault).counts().notes == 20
    assert place.cli("sync", "--accept-empty").returncode == 0
    assert notes_in_the_index(place) == 0
    place.fill(3)
    assert place.sync().notes == 3
    assert_equals_a_rebuild(place)


def test_an_empty_vault_that_always_was_is_fine(tmp_path: Path) -> None:
    place = Place(tmp_path)
    assert place.sync().notes == 0
    assert place.sync().notes == 0
    assert place.recall("anything").hits == ()


@pytest.mark.parametrize("left", ["nothing", "notes of another folder"])
def test_a_vault_without_its_id_is_another_place(place: Place, left: str) -> None:
    """What is left where a disk was mounted: the empty mount point, or whatever was below it."""
    with place.open() as vault:
        empty(place.root, keep=())
        if left != "nothing":
            place.put("stray.md", "# Stray\n\nyak\n")
        with pytest.raises(VaultMissing):
            vault.sync()
        assert index_of(vault).counts().notes >= 20
    with pytest.raises(VaultMissing):
        place.open()
    done = place.cli("sync", "--json")
    assert (done.returncode, json.loads(done.stderr)["error"]["kind"]) == (70, "VaultMissing")


def test_another_vault_under_the_same_path_takes_nothing_from_this_one(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    other.put("theirs.md", "# Theirs\n\nzebra\n")
    with place.open() as vault:
        os.rename(place.root, place.root + "-away")
        os.rename(other.root, place.root)
        with pytest.raises(VaultMissing):
            vault.sync()
        os.rename(place.root, other.root)
        os.rename(place.root + "-away", place.root)
        assert vault.sync().removed == 0
    assert_equals_a_rebuild(place)


@pytest.mark.parametrize("has_id", [True, False])
def test_a_root_that_goes_away_during_the_walk_takes_no_note_along(tmp_path: Path, has_id: bool) -> None:
    place = Place(tmp_path, has_id=has_id)
    place.fill(20)
    place.sync()

    def unmount() -> None:
        fs.faults.clear()
        os.rename(place.root, place.root + "-unmounted")
        os.mkdir(place.root)

    fs = FaultyFS(Fault("scandir", "/d3", hook=unmount))
    with place.open(fs) as vault, pytest.raises(VaultMissing):
        vault.sync()
    os.rmdir(place.root)
    os.rename(place.root + "-unmounted", place.root)
    assert notes_in_the_index(place) == 20


@pytest.mark.parametrize("call", ["scandir", "entry_stat", "lstat", "open_read"])
def test_what_cannot_be_looked_at_stays(place: Place, call: str) -> None:
    """Input and output errors of one folder: its notes stay, the others follow; when it is back, so are they."""
    os.unlink(f"{place.root}/d2/n2.md")
    os.unlink(f"{place.root}/d3/n3.md")
    place.put("d1/n1.md", "# Changed\n\nzebra\n")
    fs = FaultyFS(Fault(call, "/notes/d2", error=5, times=None))
    with place.open(fs) as vault:
        vault.sync()
        counted = index_of(vault).counts().notes
        assert counted >= 18
        assert vault.recall("zebra", sync=False).hits
    place.sync()
    assert notes_in_the_index(place) == 18
    assert_equals_a_rebuild(place)


def test_a_folder_that_cannot_be_listed_keeps_its_notes_whatever_single_looks_say(place: Place) -> None:
    """A dead mount below the root: its listing fails, and each of its files seems not to be there."""
    faults = [Fault("scandir", "/notes/d2", error=5, times=None)]
    faults += [Fault(call, "/notes/d2", error=2, times=None) for call in ("lstat", "stat", "open_read")]
    with place.open(FaultyFS(*faults)) as vault:
        done = vault.sync()
        assert (done.removed, done.notes) == (0, 20)
        assert done.skipped["unverified"] == 4


def test_a_note_that_the_walk_just_missed_stays(place: Place) -> None:
    """It was away at the moment of the listing, as while an editor saves, and is there when its absence is proven."""
    full = f"{place.root}/d2/n2.md"
    away = Fault("scandir", "/notes/d2", hook=lambda: os.rename(full, place.base + "/away"))
    back = Fault("scandir", "/notes/d3", hook=lambda: os.rename(place.base + "/away", full))
    with place.open(FaultyFS(away, back)) as vault:
        done = vault.sync()
        assert (done.removed, done.notes, done.skipped["unverified"]) == (0, 20, 1)


UNREADABLE = """
import os, sys
from holdfast import Config, Vault
print("started", flush=True)
base = sys.argv[1]
config = Config(background=False, embedder="none")
with Vault.open(base + "/notes", state_dir=base + "/state", config=config) as vault:
    assert vault.sync().notes == 20
    os.chmod(base + "/notes/d2", 0)
    os.chmod(base + "/notes/d3/n3.md", 0)
    os.unlink(base + "/notes/d4/n4.md")
    with open(base + "/notes/d3/n3.md.md", "w") as f:
        f.write("# New")
    done = vault.sync()
    assert (done.removed, done.added, done.notes) == (1, 1, 20), done
    assert done.skipped["unverified"] >= 4, done
    hits = {h.path: h for h in vault.recall("tomatoes water garden", sync=False, k=20, budget=50_000).hits}
    assert all(h.stale and h.text is None for p, h in hits.items() if p.startswith("d2/")), hits
    assert any(p.startswith("d2/") for p in hits)
    os.chmod(base + "/notes/d2", 0o755)
    os.chmod(base + "/notes/d3/n3.md", 0o644)
    done = vault.sync()
    assert (done.removed, done.added, done.changed, done.notes) == (0, 0, 0, 20), done
    assert done.quarantined == 0
    assert not any(h.stale for h in vault.recall("tomatoes", sync=False).hits)
    os.chmod(base + "/notes", 0)
    try:
        vault.sync()
    except Exception as e:
        print(type(e).__name__)
    finally:
        os.chmod(base + "/notes", 0o755)
    assert vault.sync().notes == 20
print("ended")
"""


def test_a_folder_that_may_not_be_read_keeps_its_notes() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as base:
        place = Place(base)
        place.fill(20)
        os.chmod(base, 0o755)
        for folder, folders, names in os.walk(base):
            for name in (*folders, *names):
                os.chown(f"{folder}/{name}", 65534, 65534)
        os.chown(base, 65534, 65534)
        assert as_somebody_else(UNREADABLE, base).split() == ["started", "VaultMissing", "ended"]


def test_a_vault_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path / "file.md"):
        if path.suffix:
            path.write_text("x")
        place = Place(tmp_path, has_id=False)
        place.root = str(path)
        with pytest.raises(HoldfastError) as e:
            place.open()
        assert e.value.exit in (4, 70)
