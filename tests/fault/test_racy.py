"""Faults 38 to 41: edits that a stat does not show, coarse clocks, clocks that jump.

The rule under test (engine/apply.py): a witness proves bytes only if it is older than the look at them by more than the
grain of the file system's times. Without it the first two tests are red.
"""

from __future__ import annotations

import os
import random
import time
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from holdfast.model import sort_key
from tests.fault.faulty_fs import FaultyFS
from tests.fault.vaults import Place, assert_equals_a_rebuild

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def wait_for_a_new_grain(grain_ns: int) -> None:
    """Sleep until a step of the coarse clock has just begun, so that what follows falls into it."""
    time.sleep((grain_ns - time.time_ns() % grain_ns) / 1e9 + 0.01)


def witness(fs: FaultyFS, path: str) -> tuple[int, ...]:
    st = fs.lstat(path)
    return st.st_size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino


def edit_in_place(path: str, body: bytes) -> None:
    with open(path, "r+b") as f:
        f.write(body)


@pytest.mark.parametrize("grain_s", [1, 2])
@pytest.mark.parametrize("age", ["first sync", "known vault"])
def test_an_edit_within_the_grain_is_found_by_the_next_sync(place: Place, grain_s: int, age: str) -> None:
    """Two contents of one size in one step of the clock: nothing in the stat tells them apart."""
    fs = FaultyFS(grain_ns=grain_s * SECOND)
    place.fill(12)
    with place.open(fs) as vault:
        if age == "known vault":
            vault.sync()
            vault.sync()
        for _ in range(5):
            wait_for_a_new_grain(grain_s * SECOND)
            full = place.put("edited.md", "# Edited\n\nalpha\n")
            vault.sync()
            seen = witness(fs, full)
            edit_in_place(full, b"# Edited\n\nomega\n")
            if witness(fs, full) == seen:
                break
        else:
            pytest.fail("the machine is too slow to write twice within the grain")
        assert [h.path for h in vault.recall("alpha", sync=False).hits] == []  # never shown once it is gone
        done = vault.sync()
        assert done.changed == 1
        assert [h.path for h in vault.recall("omega", sync=False).hits] == ["edited.md"]
    assert_equals_a_rebuild(place, fs)


def test_an_edit_with_its_time_restored_is_found_by_ctime(place: Place) -> None:
    full = place.put("a.md", "# A\n\nalpha\n")
    with place.open() as vault:
        vault.sync()
        wait_until_proven(place, vault)
        st = os.stat(full)
        edit_in_place(full, b"# A\n\nomega\n")
        os.utime(full, ns=(st.st_atime_ns, st.st_mtime_ns))
        assert os.stat(full).st_mtime_ns == st.st_mtime_ns
        assert vault.sync().changed == 1
        assert vault.recall("omega", sync=False).hits


def wait_until_proven(place: Place, vault: object) -> None:
    for _ in range(100):
        if vault.sync().files_read == 0:  # type: ignore[attr-defined]
            return
        time.sleep(0.05)
    pytest.fail("a file that nobody touches is read again and again")


def test_files_are_proven_once_the_grain_has_passed(place: Place) -> None:
    """Unproven is a passing state: what stands still is read once more at most, then never."""
    place.fill(12)
    with place.open() as vault:
        assert vault.sync().files_read == 12
        time.sleep(0.05)
        assert vault.sync().files_read <= 12
        assert vault.sync().files_read == 0
        assert vault.sync(checksum=True).files_read == 12
        assert vault.sync().files_read == 0


def test_an_inode_that_is_used_again_is_not_the_same_file(place: Place) -> None:
    full = place.put("a.md", "# A\n\nalpha\n")
    with place.open() as vault:
        vault.sync()
        wait_until_proven(place, vault)
        st = os.stat(full)
        os.unlink(full)
        place.put("a.md", "# A\n\nomega\n")
        os.utime(full, ns=(st.st_atime_ns, st.st_mtime_ns))
        assert vault.sync().changed == 1
        assert vault.recall("omega", sync=False).hits


@pytest.mark.parametrize("jump_ns", [-24 * HOUR, -HOUR, -SECOND, SECOND, HOUR, 24 * HOUR, 400 * 24 * HOUR])
def test_a_clock_that_jumps_hides_nothing_and_storms_nothing(place: Place, jump_ns: int) -> None:
    fs = FaultyFS()
    rng = random.Random(3)
    place.fill(20)
    with place.open(fs) as vault:
        vault.sync()
        wait_until_proven(place, vault)
        fs.clock_ns = time.time_ns() + jump_ns
        quiet = vault.sync()
        assert (quiet.changed, quiet.added, quiet.removed) == (0, 0, 0)
        if abs(jump_ns) < 24 * HOUR:  # later the scrub is due, which reads its share
            assert quiet.files_read == 0
        for _ in range(3):
            place.change(rng)
            done = vault.sync()
            assert done.changed + done.added + done.removed + done.moved > 0
            fs.clock_ns = time.time_ns() + jump_ns
        # Edits of one size in quick succession, with the wall clock away from the one that stamps the files.
        full = place.put("edited.md", "# Edited\n\nalpha\n")
        vault.sync()
        edit_in_place(full, b"# Edited\n\nomega\n")
        fs.clock_ns = None
        vault.sync()
        assert vault.recall("omega", sync=False).hits
        assert not vault.recall("alpha", sync=False).hits
    assert_equals_a_rebuild(place)


@pytest.mark.parametrize("when", [0, 1, -10_000_000, 4_102_444_800, 2**33])
def test_odd_times_are_indexed_like_others(place: Place, when: int) -> None:
    full = place.put("odd.md", "# Odd\n\nzebra\n")
    os.utime(full, (when, when))
    with place.open() as vault:
        vault.sync()
        assert [h.path for h in vault.recall("zebra", sync=False).hits] == ["odd.md"]
        vault.recall("since:2024 zebra", sync=False)
        assert vault.list(sync=False).notes[0].modified.endswith("Z")
    assert_equals_a_rebuild(place)


def test_one_goes_and_an_old_one_comes(place: Place) -> None:
    """The count is equal and nothing is newer than the last sync (faults.md, fact 7)."""
    place.fill(12)
    old = place.put("../old.md", "# Old\n\nzebra\n")
    os.utime(old, (1_000_000, 1_000_000))
    place.sync()
    os.unlink(f"{place.root}/d0/n0.md")
    os.rename(old, f"{place.root}/d0/old.md")
    done = place.sync()
    assert (done.added, done.removed, done.notes) == (1, 1, 12)
    assert_equals_a_rebuild(place)


def test_an_edit_that_no_stat_shows_is_found_within_a_week(tmp_path: Path) -> None:
    """The scrub: notes that look unchanged are hashed again, all of them within `scrub_days`."""
    place = Place(tmp_path)
    place.fill(40)
    place.sync()
    changed = [f"d{n % 5}/n{n}.md" for n in range(0, 40, 7)]
    with closing(apsw.Connection(place.database)) as db:
        for path in changed:
            before = os.stat(f"{place.root}/{path}")
            place.put(path, ("# Quinces\n" + "x" * before.st_size)[: before.st_size])
            st = os.stat(f"{place.root}/{path}")
            db.execute(
                "update file set mtime_ns = ?, ctime_ns = ?, inode = ?, racy_ns = 0 where key = ?",
                (st.st_mtime_ns, st.st_ctime_ns, st.st_ino, sort_key(path)),
            )
    place.sync()
    now = time.time_ns()
    found = []
    for day in range(1, 9):
        with place.open(FaultyFS(clock_ns=now + day * 24 * HOUR)) as vault:
            vault.sync()
        found.append(len(place.recall("quinces").hits))
    assert found[0] < len(changed), "not all at once"
    assert found[6] == len(changed) == found[7]
