"""Faults 20 to 26: an index that is lost, cut, flipped, old, foreign, moved or too new. The notes are always enough."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from holdfast import Vault
from holdfast.errors import HoldfastError, IndexTooNew
from tests.fault.vaults import (
    CONFIG,
    QUESTIONS,
    Place,
    answers,
    assert_equals_a_rebuild,
    environment,
    index_of,
    repository,
)

FLIPS = 60


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(30)
    made.sync()
    return made


def tree(path: str) -> dict[str, bytes]:
    files = (p for p in sorted(Path(path).rglob("*")) if p.is_file() and p.suffix != ".jsonl")  # logs may grow
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def heals(place: Place) -> None:
    """Without an index the notes themselves answer, the same; one sync brings it back."""
    notes = tree(place.root)
    truth = Place(place.base + "/truth", has_id=False)
    truth.root = place.root
    truth.sync()
    with place.open() as vault, truth.open() as other:
        assert vault.recall("tomatoes", sync=False).hits
        assert [[(h.path, h.line, h.score) for h in a[0]] for a in answers(vault)] == [
            [(h.path, h.line, h.score) for h in a[0]] for a in answers(other)
        ]
    done = place.sync()
    assert done.notes == 30
    assert place.recall("tomatoes").hits[0].via == ("keyword",)
    assert_equals_a_rebuild(place)
    assert tree(place.root) == notes


def test_the_database_is_deleted_while_closed(place: Place) -> None:
    os.unlink(place.database)
    assert place.recall("tomatoes").hits[0].via == ("scan",)
    heals(place)


def test_the_manifest_is_deleted_while_closed(place: Place) -> None:
    os.unlink(place.directory + "/manifest.json")
    heals(place)


def test_everything_is_deleted_while_closed(place: Place) -> None:
    shutil.rmtree(place.state)
    heals(place)


@pytest.mark.parametrize("has_written", [False, True])
@pytest.mark.parametrize("what", ["database", "manifest", "everything"])
def test_the_index_is_deleted_while_open(place: Place, what: str, has_written: bool) -> None:
    directory, database = place.directory, place.database
    with place.open() as vault:
        if has_written:
            place.put("soon.md", "# Soon\n")
            vault.sync()
        before = answers(vault)
        if what == "everything":
            shutil.rmtree(place.state)
        else:
            os.unlink(database if what == "database" else directory + "/manifest.json")
        assert next(a[0] for a in answers(vault))[0].path == before[0][0][0].path
        place.put("later.md", "# Later\n\ntomatoes tomatoes\n")
        assert vault.sync().notes == 31 + has_written
        assert [h.path for h in vault.recall("later", sync=False).hits] == ["later.md"]
    assert_equals_a_rebuild(place)  # from another handle: what was synced is on disk


@pytest.mark.parametrize("size", [0, 1, 100, 4095, 4096, 4097, 8192, 12_288, 40_000, -1, -4096])
def test_the_database_is_cut(place: Place, size: int) -> None:
    database = place.database
    os.truncate(database, size if size >= 0 else os.path.getsize(database) + size)
    heals(place)
    assert os.listdir(place.directory + "/quarantine")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\x00"])
def test_the_manifest_is_damaged(place: Place, text: bytes) -> None:
    with open(place.directory + "/manifest.json", "wb") as f:
        f.write(text)
    heals(place)


def flip_and_heal(base: str, seeds: range) -> None:
    """In a process of its own (below): one flipped bit after another, each in a fresh copy of a good index."""
    place = Place(base)
    with place.open() as vault:
        directory = vault._ws.directory
        truth = answers(vault)
    shutil.copytree(place.state, base + "/good")
    name = max(n for n in os.listdir(directory) if n.endswith(".db"))
    for seed in seeds:
        print("seed", seed, flush=True)
        shutil.rmtree(place.state)
        shutil.copytree(base + "/good", place.state)
        rng = random.Random(seed)
        with open(f"{directory}/{name}", "r+b") as f:
            # Half of them where the tables are described and rooted, which is where a flip does most.
            at = rng.randrange(os.path.getsize(f.name) if seed % 2 else 12_288)
            f.seek(at)
            byte = f.read(1)[0]
            f.seek(at)
            f.write(bytes([byte ^ (1 << rng.randrange(8))]))
        try:
            with place.open() as vault:
                for question in QUESTIONS:
                    vault.recall(question, sync=seed % 3 == 0)
                vault.list()
                vault.status()
        except HoldfastError as e:
            print("typed", seed, e.kind, flush=True)
        with place.open() as vault:
            vault.sync()
            vault.rebuild()
            assert answers(vault) == truth, seed
    print("all healed", flush=True)


def test_flipped_bits_never_crash_and_a_rebuild_heals(place: Place) -> None:
    code = f"from tests.fault.test_index_damage import flip_and_heal; flip_and_heal({place.base!r}, range({FLIPS}))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=repository(), env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-300:] + done.stderr[-3000:]
    assert done.stdout.endswith("all healed\n")
    assert "typed" not in done.stdout, "recall, list and status answer whatever the index is like"


ROWS = [
    "update doc set lens = x''",
    "update doc set lens = x'ffff'",
    "update doc set ids = x'ff'",
    "delete from doc",
    "update segment set sizes = zeroblob(length(sizes))",
    "update segment set sizes = x'ffffffffffffff7f'",
    "update segment set notes = x'01'",
    "update segment set dead = x'01'",
    "update post set data = x'00'",
    "update post set data = substr(data, 1, length(data) - 5)",
    "delete from post",
    "update term set id = id + 100000",
    "update note set title = cast(title as blob)",
    "update note set tags = '{'",
    "update note set digest = 'text'",
    "update chunk set heading = x'ff'",
    "update chunk set start = -5",
    "update chunk set size = 1 << 40",
    "update chunk set digest = zeroblob(16)",
    "delete from chunk",
    "update name set levels = 'x'",
    "update field set value = x'ff'",
    "update file set key = cast('x' || hex(key) as text)",
    "update file set mtime_ns = 'x'",
    "delete from file",
    "update quarantine set key = 'x'",
    "update meta set value = '[' where key in ('rules', 'job:sync', 'scrub_key')",
    "update meta set value = 'x' where key in ('grain_ns', 'scrub_ns', 'proven_at_ns')",
    "update meta set value = 'x' where key in ('seq', 'post_seq', 'layout')",
    "delete from meta where key like 'next_%'",
    "drop table segment",
    "drop table term",
]


@pytest.mark.parametrize("damage", ROWS)
def test_rows_that_make_no_sense_are_damage_and_nothing_worse(place: Place, damage: str) -> None:
    """What no check of SQLite sees. Whatever is asked, there is an answer; a sync works or heals; a rebuild always."""
    with place.open() as vault:
        truth = answers(vault)
    db = apsw.Connection(place.database)
    db.execute(damage)
    db.close()
    with place.open() as vault:
        for question in QUESTIONS:
            vault.recall(question, sync=False)
            vault.recall(question, by="note")
        vault.list()
        vault.status()
        vault.read("Note 7")
        place.put("later.md", "# Later\n")
        vault.sync()
        vault.sync(checksum=True)
        os.unlink(f"{place.root}/later.md")
        vault.rebuild()
        assert answers(vault) == truth
    assert_equals_a_rebuild(place)


def test_an_older_copy_of_the_index_is_restored(place: Place) -> None:
    shutil.copytree(place.state, place.base + "/backup")
    rng = random.Random(5)
    for _ in range(3):
        place.change(rng)
        place.sync()
    shutil.rmtree(place.state)
    os.rename(place.base + "/backup", place.state)
    stale = place.recall("tomatoes")
    present = {str(p.relative_to(place.root)) for p in Path(place.root).rglob("*.md")}
    assert {h.path for h in stale.hits} <= present
    place.sync()
    assert_equals_a_rebuild(place)


def test_the_notes_go_back_in_time(place: Place) -> None:
    """A checkout of an older state: the index follows the notes, never the other way."""
    shutil.copytree(place.root, place.base + "/before", symlinks=True)
    rng = random.Random(6)
    for _ in range(3):
        place.change(rng)
        place.sync()
    for name in os.listdir(place.root):
        if name != ".holdfast":
            full = f"{place.root}/{name}"
            shutil.rmtree(full) if os.path.isdir(full) else os.unlink(full)
    shutil.copytree(place.base + "/before", place.root, dirs_exist_ok=True)
    assert place.sync().notes == 30
    assert_equals_a_rebuild(place)


def test_the_index_of_another_vault_is_copied_over(place: Place, tmp_path: Path) -> None:
    other = Place(tmp_path / "other")
    other.fill(5, seed=2)
    other.sync()
    mine, theirs = place.directory, other.directory
    shutil.rmtree(mine)
    shutil.copytree(theirs, mine)
    before = tree(theirs)
    assert all(os.path.exists(f"{place.root}/{h.path}") for h in place.recall("tomatoes").hits)
    heals(place)
    assert tree(theirs) == before


def test_a_clone_has_an_index_of_its_own(place: Place) -> None:
    clone = Place(place.base + "/clone")
    shutil.rmtree(clone.root)
    shutil.copytree(place.root, clone.root, symlinks=True)
    clone.state = place.state
    clone.put("only-here.md", "# Clone\n\nzebra\n")
    clone.sync()
    place.put("only-there.md", "# Original\n\nyak\n")
    place.sync()
    assert clone.directory != place.directory
    assert [h.path for h in clone.recall("zebra yak").hits] == ["only-here.md"]
    assert [h.path for h in place.recall("zebra yak").hits] == ["only-there.md"]
    assert_equals_a_rebuild(clone)
    assert_equals_a_rebuild(place)


def test_a_moved_vault_takes_its_index_along(place: Place) -> None:
    old = place.directory
    os.rename(place.root, place.base + "/elsewhere")
    place.root = place.base + "/elsewhere"
    done = place.sync()
    assert (done.added, done.changed, done.removed, done.files_read <= 30) == (0, 0, 0, True)
    assert not os.path.exists(old)
    assert len(os.listdir(place.state)) == 1
    assert_equals_a_rebuild(place)


def test_a_newer_index_is_left_alone_and_the_notes_answer(place: Place) -> None:
    manifest = place.directory + "/manifest.json"
    with open(manifest) as f:
        raw = json.load(f)
    with open(manifest, "w") as f:
        json.dump(raw | {"schema": raw["schema"] + 1, "new": "thing"}, f)
    before = {k: v for k, v in tree(place.state).items() if not k.endswith(("job.lock", ".jsonl"))}
    done = place.cli("sync", "--json")
    assert done.returncode == 3
    assert json.loads(done.stderr)["error"]["kind"] == "IndexTooNew"
    with place.open() as vault:
        with pytest.raises(IndexTooNew):
            vault.sync()
        found = vault.recall("tomatoes")
    assert found.hits[0].via == ("scan",)
    assert any("newer" in remark for remark in found.receipt.degraded)
    done = place.cli("recall", "tomatoes", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["hits"]
    after = {k: v for k, v in tree(place.state).items() if not k.endswith(("job.lock", ".jsonl"))}
    assert after == before


def test_a_lost_index_is_built_in_the_background(place: Place) -> None:
    """The one test that starts a detached sync, as everybody does who asks without an index."""
    shutil.rmtree(place.state)
    done = place.cli("recall", "tomatoes", "--json", "--no-sync", env={"HOLDFAST_BACKGROUND": "1"})
    answer = json.loads(done.stdout)
    assert answer["hits"][0]["via"] == ["scan"]
    assert any("background" in remark for remark in answer["receipt"]["degraded"])
    with place.open() as vault:
        with vault._ws.job("test", 60.0):
            pass  # it has begun and ended, or not begun
        for _ in range(600):
            index = vault._ws.index()
            if index is not None and index.meta("full"):
                break
            vault._ws.fs.sleep(0.1)
        with vault._ws.job("test", 60.0):
            pass
        assert index_of(vault).meta("full")
    assert_equals_a_rebuild(place)


def test_no_detached_sync_is_started_when_that_is_switched_off(place: Place) -> None:
    shutil.rmtree(place.state)
    with Vault.open(place.root, state_dir=place.state, config=CONFIG) as vault:
        assert not any("background" in r for r in vault.recall("tomatoes", sync=False).receipt.degraded)
        assert not vault._detached._children


def test_what_a_look_sets_aside_is_said_in_the_answer(place: Place) -> None:
    """Damage that the sync before an answer meets, not the answer itself."""
    place.fill(12)
    place.sync()
    with place.open() as vault:
        index = vault._ws.index()
        assert index is not None
        place.put("d0/n0.md", "# Quinces\n")
        with closing(apsw.Connection(index.path)) as db:
            db.execute("update doc set ids = x'00'")
            db.execute("update note set digest = 5")
        answer = vault.recall("quinces")
        assert any("set aside" in remark for remark in answer.receipt.degraded), answer.receipt
