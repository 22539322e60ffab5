"""The index stays within its budget at every moment, whatever fails; what stops is the index, never a note."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from holdfast import Config, Vault
from holdfast.engine import prune as pruning
from holdfast.engine.bounds import bounds, low_disk_bytes
from holdfast.errors import DiskFull, HoldfastError, IndexOverBudget, ResourceFault
from holdfast.index.sqlite.store import SqliteIndex
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild, environment, index_of, repository

MIB = 1 << 20
SMALL = replace(CONFIG, index_bytes=4 * MIB)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


class Sampler(threading.Thread):
    """The largest size of the index directory, looked at all the time."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(daemon=True)
        self._size, self._ended, self.peak = vault._ws.generations.size, threading.Event(), 0

    def run(self) -> None:
        while not self._ended.wait(0.002):
            self.peak = max(self.peak, self._size()[0])

    def stop(self) -> int:
        self._ended.set()
        self.join()
        return self.peak


@contextlib.contextmanager
def sampled(vault: Vault) -> Iterator[Sampler]:
    sampler = Sampler(vault)
    sampler.start()
    try:
        yield sampler
    finally:
        sampler.stop()


def write_much(place: Place, notes: int = 900) -> None:
    rng = random.Random(5)
    words = [f"w{rng.randrange(10**9)}" for _ in range(30_000)]
    for n in range(notes):
        place.put(f"m/n{n}.md", f"# Note {n}\n\n" + "\n\n".join(" ".join(rng.choices(words, k=150)) for _ in range(4)))


def test_the_cap_holds_at_every_moment_and_answers_say_what_is_missing(place: Place) -> None:
    write_much(place)
    with place.open(config=SMALL) as vault, sampled(vault) as sampler:
        with pytest.raises(IndexOverBudget, match=r"limit of 4,194,304 bytes"):
            vault.sync()
        said = vault.recall("note 1")
        status = vault.status()
        assert status.health == "failing"
        assert "job_sync" in [r.code for r in status.reasons]
    assert 2 * MIB < sampler.peak <= 4 * MIB
    assert said.hits
    assert said.receipt.behind
    partial = next(x for x in said.receipt.degraded if x.startswith("partial: "))
    assert f"of {900} notes" in partial
    # With room again it goes on by itself, and nothing of the limit stays.
    with place.open() as vault:
        assert vault.recall("note 1").receipt.degraded != said.receipt.degraded
        vault.sync()
        assert vault.status().health == "ok"
        assert not any("partial" in x for x in vault.recall("note 1").receipt.degraded)
    assert_equals_a_rebuild(place)


def test_what_is_deleted_makes_room_under_the_cap(place: Place) -> None:
    write_much(place)
    with place.open(config=SMALL) as vault:
        with pytest.raises(IndexOverBudget):
            vault.sync()
        held = vault._ws.index().counts().notes  # type: ignore[union-attr]
        for n in range(0, 900, 2):
            os.unlink(f"{place.root}/m/n{n}.md")
        with contextlib.suppress(IndexOverBudget):
            vault.sync()
        counts = vault._ws.index().counts()  # type: ignore[union-attr]
        assert counts.notes == min(450, max(counts.notes, held // 2))
        assert not [n for n in vault.list(limit=1000, sync=False).notes if n.path.endswith("0.md")]


def test_a_pinned_reader_stops_the_writers(place: Place) -> None:
    """The log cannot be emptied while somebody reads an old state: it stops at its share, and says why."""
    place.fill(30)
    place.sync()
    with place.open(config=SMALL) as vault, sampled(vault) as sampler:
        path = vault._ws.index().path  # type: ignore[union-attr]
        reader = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
        reader.execute("begin")
        reader.execute("select count(*) from note").fetchall()
        stopped = None
        for round_ in range(60):
            for n in range(30):
                place.put(f"d0/x{n}.md", f"# X {n} {round_}\n\n" + f"word{round_} plum pear " * 200)
            try:
                vault.sync()
            except HoldfastError as e:
                stopped = e
                break
        assert isinstance(stopped, IndexOverBudget)
        assert "reads an old state" in stopped.message
        assert vault.status().health == "failing"
        assert sampler.peak <= 4 * MIB
        assert vault.recall("tomatoes").hits, "questions are answered meanwhile"
        reader.close()
        vault.sync()
        assert vault.status().health == "ok"
    assert sampler.stop() <= 4 * MIB


def test_pruning_that_fails_is_red_at_once_and_the_cap_holds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    write_much(place)

    def fails(self: SqliteIndex) -> None:
        raise ResourceFault("It cannot be made smaller.", hint="Try again.")

    monkeypatch.setattr(SqliteIndex, "shrink", fails)
    monkeypatch.setattr(SqliteIndex, "space", lambda self: (8 * MIB, 0))
    with place.open(config=SMALL) as vault, sampled(vault) as sampler:
        with pytest.raises(IndexOverBudget):
            vault.sync()
        status = vault.status()
        assert status.health == "failing"
        assert "job_prune" in [r.code for r in status.reasons]
        assert status.jobs["prune"]["error"] == "It cannot be made smaller."
    assert sampler.peak <= 4 * MIB


def test_the_watchdog_frees_what_was_set_aside_before_the_budget_is_reached(place: Place) -> None:
    place.fill(20)
    with place.open(config=SMALL) as vault:
        vault.sync()
        aside = f"{vault._ws.directory}/quarantine"
        os.makedirs(aside)
        for stamp in (1, 2):
            Path(f"{aside}/{stamp:020d}-gen-000001.db").write_bytes(os.urandom(1_600_000))
        place.put("one.md", "# One more\n")
        vault.sync()
        # The oldest goes first, and no more than is needed.
        assert [stamp for stamp, _ in vault._ws.generations.aside()] == [f"{2:020d}"]
        assert vault.status().jobs["prune"]["last_success"]
        Path(f"{aside}/{3:020d}-gen-000001.db").write_bytes(os.urandom(1_400_000))
        place.put("two.md", "# Two more\n")
        vault.sync()
        assert len(vault._ws.generations.aside()) == 2, "at most once a minute"


def test_prune_says_first_what_it_would_do(place: Place) -> None:
    place.fill(20)
    with place.open() as vault:
        vault.sync()
        aside = f"{vault._ws.directory}/quarantine"
        os.makedirs(aside)
        Path(f"{aside}/{1:020d}-gen-000001.db").write_bytes(os.urandom(1_400_000))
        before = sorted(vault._ws.generations.files())
        plan = vault.prune(dry_run=True)
        assert (plan.done, plan.freed_bytes) == (False, 0)
        assert sorted(vault._ws.generations.files()) == before
        assert [s["target"] for s in plan.plan][:1] == [f"quarantine/{1:020d}"]
        done = vault.prune()
        assert done.done
        assert done.freed_bytes >= 1_300_000
        assert not vault._ws.generations.aside()
        assert vault.recall("tomatoes").hits
    assert_equals_a_rebuild(place)


def test_one_step_that_fails_keeps_no_other_from_running(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.fill(20)
    with place.open() as vault:
        vault.sync()
        aside = f"{vault._ws.directory}/quarantine"
        os.makedirs(aside)
        for stamp in (1, 2):
            Path(f"{aside}/{stamp:020d}-gen-000001.db").write_bytes(bytes(10_000))
        real = vault._ws.generations.drop_aside

        def drop(stamp: str) -> None:
            if stamp == f"{1:020d}":
                raise PermissionError(13, "Permission denied")
            real(stamp)

        monkeypatch.setattr(vault._ws.generations, "drop_aside", drop)
        with pytest.raises(ResourceFault, match="Permission denied"):
            vault.prune()
        assert [stamp for stamp, _ in vault._ws.generations.aside()] == [f"{1:020d}"]
        assert vault.status().health == "failing"
        monkeypatch.undo()
        vault.prune()
        assert vault.status().health == "ok"


def test_a_generation_that_somebody_reads_is_not_pruned(place: Place) -> None:
    place.fill(10)
    with place.open() as reader:
        reader.sync()
        number = reader._ws.index().generation  # type: ignore[union-attr]
        with place.open() as other:
            other.rebuild()
            assert [n for n, _ in other._ws.generations.old()] == [number]
            other.prune()
            assert [n for n, _ in other._ws.generations.old()] == [number]
            assert reader.recall("tomatoes", sync=False).hits
        assert reader._ws.index().generation > number  # type: ignore[union-attr]
    with place.open() as other:
        other.prune()
        assert other._ws.generations.old() == []


def test_without_its_index_a_vault_is_asked_and_builds_it_again(place: Place) -> None:
    place.fill(20)
    with place.open() as vault:
        vault.sync()
        vault.prune(whole_index=True)
        assert not [n for n, _ in vault._ws.generations.files() if n.endswith(".db")]
        assert vault.recall("tomatoes").hits
        vault.sync()
    assert_equals_a_rebuild(place)


def test_the_reserve_is_there_and_is_counted(place: Place) -> None:
    place.fill(5)
    with place.open() as vault:
        vault.sync()
        of = bounds(vault._ws.config, vault._ws.index().counts().note_bytes, 0, 0)  # type: ignore[union-attr]
        assert of.reserve > MIB
        assert dict(vault._ws.generations.files())["reserve"] >= of.reserve
        assert vault.status().index["bytes"] >= of.reserve
    with place.open(config=SMALL) as vault:
        vault.sync()
        assert vault.status().health == "ok"


@pytest.mark.parametrize("budget", [4 * MIB, 64 * MIB, 10**9, 10**12])
def test_the_parts_of_a_budget_add_up_to_no_more(budget: int) -> None:
    of = bounds(Config(index_bytes=budget), 0, 0, 0)
    assert of.database + 2 * of.wal + of.reserve <= budget
    assert of.database >= budget // 2
    assert (of.reserve > 0) == (budget >= 64 * MIB)


def test_how_much_of_a_disk_is_left_for_notes() -> None:
    assert low_disk_bytes(20 * MIB) == 2 * MIB
    assert low_disk_bytes(1 << 30) == (1 << 30) // 20
    assert low_disk_bytes(1 << 40) == 256 * MIB


def test_space_is_given_back_after_many_deletions(place: Place) -> None:
    write_much(place, 600)
    with place.open() as vault:
        vault.sync()
        before = vault._ws.generations.size()[0]
        shutil.rmtree(f"{place.root}/m")
        place.put("left.md", "# Left\n\ntomatoes\n")
        vault.sync()
        done = vault.prune()
        after = vault._ws.generations.size()[0]
    assert done.freed_bytes > MIB
    assert after < before - MIB
    assert_equals_a_rebuild(place)


ON_A_FULL_DISK = """
import os, sys
from dataclasses import replace
from holdfast import Vault
from holdfast.errors import DiskFull, HoldfastError
from tests.fault.vaults import CONFIG, Place, assert_equals_a_rebuild
base, disk = sys.argv[1], sys.argv[1] + "/disk"
place = Place(base)
place.state = disk + "/state"
place.fill(200)
place.sync()
directory = place.directory
with place.open() as vault:
    number = vault._ws.index().generation
os.makedirs(directory + "/quarantine")
open(directory + "/quarantine/%020d-gen-000001.db" % 1, "wb").write(os.urandom(1_000_000))

def fill_up():
    with open(disk + "/filler", "ab") as f:
        block = bytes(1 << 16)
        while block:
            try:
                os.write(f.fileno(), block)
            except OSError:
                block = block[: len(block) // 2]

fill_up()
st = os.statvfs(disk)
assert st.f_bavail == 0, st
print("started", flush=True)
# A process that begins now: the shared memory of the log cannot even be made.
for name in os.listdir(directory):
    if name.endswith(("-shm", "-wal")):
        print("left behind", name, os.path.getsize(directory + "/" + name), flush=True)
with place.open() as vault:
    answer = vault.recall("tomatoes", sync=False)
    assert answer.hits and answer.hits[0].via == ("keyword",), answer
    looked = vault.recall("tomatoes")
    assert looked.hits
    status = vault.status()
    assert status.health == "failing", status
    assert "disk_low" in [r.code for r in status.reasons], status.reasons
place.put("new.md", "# New\\n\\nzebra\\n")
with place.open() as vault:
    try:
        vault.sync()
        raise SystemExit("a full disk went unnoticed")
    except DiskFull as e:
        print("sync:", e, flush=True)
    assert vault.recall("tomatoes").hits
done = place.cli("prune", "--json")
print(done.stdout, done.stderr, flush=True)
assert done.returncode == 0, done
assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 900_000
os.unlink(disk + "/filler")
place.sync()
with place.open() as vault:
    assert vault.status().health == "ok", vault.status()
assert_equals_a_rebuild(place)
print("ended")
"""


def on_a_small_disk(script: str, size: str) -> str:
    """What `script` prints, its first argument being a folder with a `disk` of that size in it."""
    if not shutil.which("unshare"):
        pytest.skip("SKIPPED LOUDLY: unshare is missing: no small disk can be made")
    with tempfile.TemporaryDirectory() as base:
        os.mkdir(base + "/disk")
        how = ["unshare", "-m" if os.geteuid() == 0 else "-Urm", "sh", "-c"]
        mount = f"mount -t tmpfs -o size={size} tmpfs {base}/disk"
        made = subprocess.run([*how, mount], capture_output=True, text=True)
        if made.returncode:
            pytest.skip(f"SKIPPED LOUDLY: mounting a small disk is not allowed here: {made.stderr.strip()}")
        done = subprocess.run(
            [*how, mount + ' && exec "$0" -W error -c "$1" "$2"', sys.executable, script, base],
            cwd=repository(), env=environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def test_on_a_disk_without_a_free_byte_questions_are_answered_and_prune_frees() -> None:
    said = on_a_small_disk(ON_A_FULL_DISK, "20m").split("\n")
    assert said[0] == "started"
    assert said[-2] == "ended"


def test_a_low_disk_stops_the_index_before_it_is_full(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.fill(20)
    with place.open() as vault:
        vault.sync()
        place.put("new.md", "# New\n\nzebra\n")
        free = [1 * MIB]
        monkeypatch.setattr(vault._ws, "disk", lambda: (free[0], 100 * MIB))
        with pytest.raises(DiskFull, match="1,048,576 bytes free; below 5,242,880"):
            vault.sync()
        said = vault.recall("tomatoes")
        assert said.hits
        assert any("1 new or changed notes" in x for x in said.receipt.degraded)
        assert "disk_low" in [r.code for r in vault.status().reasons]
        free[0] = 50 * MIB
        assert vault.recall("zebra").hits
        assert vault.status().health == "ok"


def test_the_plan_names_each_step_once(place: Place) -> None:
    place.fill(5)
    with place.open() as vault:
        vault.sync()
        steps = [(s.action, s.target) for s in pruning._files(vault._ws)]
    assert len(steps) == len(set(steps))


def test_a_database_without_room_is_not_taken_for_damaged(place: Place) -> None:
    """Where SQLite runs out of room it ends the transaction by itself; what comes of that must read as what it is."""
    write_much(place, 300)
    with place.open(config=replace(CONFIG, overlay_chunks=10**6, overlay_first=10**6)) as vault:
        vault.sync()
        index = index_of(vault)
        index.discard_postings()  # so that there is much to be written anew
        index.shrink()
        index.limit(1 << 40, 1 << 40, 0)
        with pytest.raises(IndexOverBudget):
            index.flush()
        index.limit(1 << 40, 1 << 40, 1 << 40)
        index.flush()
        assert vault.check(deep=True).ok


def test_one_write_adds_no_more_than_the_disk_may_lose(place: Place) -> None:
    place.fill(3)
    place.sync()
    write_much(place, 300)
    with place.open() as vault:
        index = index_of(vault)
        index.checkpoint()
        before = os.path.getsize(index.path)

        def low(part: int) -> None:
            free = low_disk_bytes(1 << 30) + 3 * part
            vault._ws.disk = lambda: (free, 1 << 30)  # type: ignore[method-assign]

        low(200_000)
        with pytest.raises(DiskFull, match="kept for notes"):
            vault.sync()
        index_of(vault).checkpoint()
        assert os.path.getsize(index.path) - before < 300_000
        low(1 << 28)
        vault.sync()
        assert vault.status().index["chunks"] > 300
