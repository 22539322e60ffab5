"""The sync report, replayed in one vault: every kind of change that a stat may hide, found by the next sync.

And nothing that cannot be read, or is not there for a while, is taken for deleted.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from holdfast.errors import VaultMissing
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.vaults import Place, assert_equals_a_rebuild

NOTES = 10_000 if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else 2_000


def name(n: int) -> str:
    return f"d{n % 20}/n{n}.md"


def git(place: Place, *words: str) -> None:
    known = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false", "-c", "gc.auto=0"]
    subprocess.run(["git", *known, *words], cwd=place.root, check=True, capture_output=True)


def same_size(place: Place, n: int, word: str) -> None:
    place.put(name(n), f"# Note {n}\n\n{word}\n")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    for n in range(NOTES):
        same_size(made, n, "tomatoes")
    return made


def finds(place: Place, word: str, n: int) -> bool:
    return name(n) in {hit.path for hit in place.recall(word).hits}


def test_every_hidden_change_is_in_the_next_sync(place: Place) -> None:
    place.sync()
    root = place.root
    # One goes and an old one comes.
    os.unlink(f"{root}/{name(1)}")
    old = place.put("../old.md", "# Note old\n\nquinces1\n")
    os.utime(old, (10**9, 10**9))
    os.rename(old, f"{root}/d1/old.md")
    # A rename, and one over another note.
    os.rename(f"{root}/{name(2)}", f"{root}/d2/renamed.md")
    os.replace(f"{root}/{name(3)}", f"{root}/{name(23)}")
    # An edit with an old time; one whose time is put back, of the same size.
    same_size(place, 4, "quinces4")
    os.utime(f"{root}/{name(4)}", (10**9, 10**9))
    before = os.stat(f"{root}/{name(5)}")
    same_size(place, 5, "quinces5")
    os.utime(f"{root}/{name(5)}", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert os.stat(f"{root}/{name(5)}").st_size == before.st_size
    # Two of one size exchanged, with one time.
    same_size(place, 6, "quinces6")
    same_size(place, 26, "medlars6")
    place.sync()
    for n in (6, 26):
        os.utime(f"{root}/{name(n)}", (10**9, 10**9))
    place.sync()
    for a, b in ((6, "x"), (26, 6), ("x", 26)):
        os.rename(f"{root}/{a if a == 'x' else name(int(a))}", f"{root}/{b if b == 'x' else name(int(b))}")
    place.sync()
    assert finds(place, "quinces4", 4)
    assert finds(place, "quinces5", 5)
    assert finds(place, "quinces6", 26)
    assert finds(place, "medlars6", 6)
    assert [hit.path for hit in place.recall("quinces1").hits] == ["d1/old.md"]
    with place.open() as vault:
        paths = {note.path for note in vault.list(limit=NOTES + 10, sync=False).notes}
    assert paths >= {"d1/old.md", "d2/renamed.md", name(23)}
    assert not paths & {name(1), name(2), name(3)}
    assert len(paths) == NOTES - 1
    assert_equals_a_rebuild(place)


def test_a_checkout_of_all_notes(place: Place) -> None:
    if not shutil.which("git"):
        pytest.skip("SKIPPED LOUDLY: git is missing")
    git(place, "init", "-q", "-b", "main")
    git(place, "add", ".")
    git(place, "commit", "-q", "-m", "one")
    place.sync()
    git(place, "checkout", "-q", "-b", "other")
    for n in range(NOTES):
        if n % 10:
            same_size(place, n, "beansbea")
        else:
            os.unlink(f"{place.root}/{name(n)}")
    git(place, "commit", "-q", "-a", "-m", "two")
    done = place.sync()
    assert (done.changed, done.removed) == (NOTES * 9 // 10, NOTES // 10)
    git(place, "checkout", "-q", "main")
    done = place.sync()
    assert (done.changed, done.added, done.removed) == (NOTES * 9 // 10, NOTES // 10, 0)
    assert place.sync().files_read == 0
    assert place.recall("tomatoes").receipt.in_scope.notes == NOTES
    assert_equals_a_rebuild(place)


def test_what_cannot_be_looked_at_is_not_deleted(place: Place) -> None:
    place.sync()
    closed = Fault(call="scandir", path="/d3", times=None, error=13)
    with place.open(FaultyFS(closed)) as vault:
        done = vault.sync()
    assert done.removed == 0
    assert finds(place, "tomatoes", 3) or place.recall("tomatoes").receipt.in_scope.notes == NOTES
    os.rename(place.root, place.root + ".unmounted")
    os.mkdir(place.root)
    with pytest.raises(VaultMissing):
        place.sync()
    os.rmdir(place.root)
    os.rename(place.root + ".unmounted", place.root)
    done = place.sync()
    assert (done.removed, done.added, done.notes) == (0, 0, NOTES)
