"""Dirty paths that wait for the process that scans: taken, bounded, never in the way."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast import Vault
from holdfast.engine import hints
from holdfast.engine.hints import FILES, PATHS, leave, take
from holdfast.errors import VaultBusy
from holdfast.files.fs import TEMP_PREFIX
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.vaults import Place, assert_equals_a_rebuild, environment, repository

LEAVE = """
import sys
from holdfast import Vault
from holdfast.engine.hints import leave
with Vault.open(sys.argv[1], state_dir=sys.argv[2]) as vault:
    leave(vault._ws, sys.argv[3:])
"""


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(8)
    made.sync()
    return made


def home(vault: Vault) -> str:
    return f"{vault._ws.directory}/hints"


def files(vault: Vault) -> list[str]:
    return sorted(os.listdir(home(vault))) if os.path.isdir(home(vault)) else []


@contextmanager
def another_one_scans(place: Place) -> Iterator[None]:
    with place.open() as other, other._ws.job("sync", 0.0):
        yield


def by_another_process(place: Place, *paths: str) -> None:
    command = [sys.executable, "-c", LEAVE, place.root, place.state, *paths]
    subprocess.run(command, check=True, env=environment(), cwd=repository())


def test_what_is_left_is_taken_once(place: Place) -> None:
    with place.open() as vault:
        leave(vault._ws, ["b.md", "a.md"])
        leave(vault._ws, ["c.md", "a.md", "\udcff.md"])
        assert len(files(vault)) == 1, "one file a process"
        assert take(vault._ws) == hints.Left(("a.md", "b.md", "c.md", "\udcff.md"), False)
        assert files(vault) == []
        assert take(vault._ws) == hints.Left((), False)


def test_their_number_and_size_are_bounded(place: Place) -> None:
    with place.open() as vault:
        for i in range(FILES + 2):
            by_another_process(place, f"{i}.md")
        leave(vault._ws, ["mine.md"])
        assert len(files(vault)) == FILES + 1
        assert "all" in files(vault)
        left = take(vault._ws, keep_all=True)
        assert len(left.paths) == FILES
        assert left.is_all
        assert files(vault) == ["all"]
        take(vault._ws)
        assert files(vault) == []
        leave(vault._ws, [f"{i}.md" for i in range(PATHS)])
        leave(vault._ws, ["one-more.md"])
        leave(vault._ws, ["x" * hints.BYTES])
        assert sum(os.path.getsize(f"{home(vault)}/{n}") for n in files(vault)) <= hints.BYTES
        assert take(vault._ws).is_all


@pytest.mark.parametrize("junk", [b"", b"{", b"[1", b'{"a": 1}', b"7", b"\xff", b"[" * 4_000])
def test_damaged_hints_are_more_than_could_be_named(place: Place, junk: bytes) -> None:
    with place.open() as vault:
        leave(vault._ws, ["a.md"])
        Path(home(vault), "9-x.json").write_bytes(junk)
        Path(home(vault), ".holdfast-tmp-1-1").write_bytes(b"x")
        os.utime(Path(home(vault), ".holdfast-tmp-1-1"), ns=(0, 0))
        Path(home(vault), ".holdfast-tmp-1-2").write_bytes(b"one that is being written")
        left = take(vault._ws)
        assert left.is_all
        assert left.paths[:1] in (("a.md",), ("a",))
        assert files(vault) == [".holdfast-tmp-1-2"]


def test_a_path_looked_at_while_another_one_scans_is_left_for_it_too(place: Place) -> None:
    with place.open() as vault, another_one_scans(place):
        place.put("d0/n0.md", "# New\n\nquinces\n")
        assert vault.sync(paths="d0/n0.md").changed == 1
        assert place.recall("quinces").hits  # at once, though another one has the lock
        assert take(vault._ws).paths == ("d0/n0.md",)


def test_a_path_that_a_rebuild_has_passed_is_in_what_it_publishes(place: Place) -> None:
    """The walk of a rebuild is over when the note changes; what is published then knows the change."""
    changed = threading.Event()

    def change() -> None:
        if not changed.is_set():
            changed.set()
            place.put("d0/n0.md", "# New\n\nquinces\n")
            with place.open() as other:
                other.sync(paths="d0/n0.md")

    # The manifest is replaced when everything is read.
    fs = FaultyFS(Fault("replace", TEMP_PREFIX, hook=change))
    with place.open(fs) as vault:
        vault.rebuild()
        assert changed.is_set()
        assert place.recall("quinces").hits
        assert files(vault) == []
    assert_equals_a_rebuild(place)


def test_a_pass_over_paths_takes_those_of_others_along(place: Place) -> None:
    place.put("d0/n0.md", "# New\n\nquinces\n")
    place.put("d1/n1.md", "# New\n\nmedlars\n")
    with place.open() as vault:
        leave(vault._ws, ["d1/n1.md"])
        vault.sync(paths="d0/n0.md")
        assert files(vault) == []
    assert place.recall("quinces").hits
    assert place.recall("medlars").hits


def test_a_full_pass_clears_them(place: Place) -> None:
    with place.open() as vault:
        leave(vault._ws, [f"{i}.md" for i in range(PATHS + 1)])
        leave(vault._ws, ["a.md"])
        assert "all" in files(vault)
        vault.sync()
        assert files(vault) == []


def test_hints_that_cannot_be_left_or_taken_hinder_nothing(place: Place) -> None:
    place.put("d0/n0.md", "# New\n\nquinces\n")
    with place.open(FaultyFS(Fault("open_new", "/hints/", times=None, error=28))) as vault, another_one_scans(place):
        assert vault.sync(paths="d0/n0.md").changed == 1
        assert vault._ws.counters["hints_not_left"] == 1
    with place.open(FaultyFS(Fault("scandir", "/hints", times=None, error=5))) as vault:
        leave(vault._ws, ["d0/n0.md"])
        os.makedirs(home(vault), exist_ok=True)
        vault.sync()
        assert vault._ws.counters["hints_not_taken"] == 2


def test_a_hint_out_of_the_vault_is_none(place: Place) -> None:
    Path(place.base, "secret.md").write_text("# Secret\n\nmedlars\n")
    with place.open() as vault:
        leave(vault._ws, ["../secret.md", "/etc/passwd", "", ".git/x.md", "d0"])
        done = vault.sync(paths="d0/n0.md")
        assert (done.added, done.changed, done.notes) == (0, 0, 8)


def test_a_renamed_note_is_a_move_and_nothing_else(place: Place) -> None:
    os.rename(f"{place.root}/d0/n0.md", f"{place.root}/d0/other.md")
    done = place.sync(paths=["d0/n0.md", "d0/other.md"])
    assert (done.moved, done.added, done.removed, done.changed) == (1, 0, 0, 0)
    assert_equals_a_rebuild(place)


def test_without_any_index_yet_the_holder_is_named(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.fill(3)
    with place.open() as vault, another_one_scans(place):
        with pytest.raises(VaultBusy, match=rf"pid {os.getpid()}"):
            vault.sync(paths="d0/n0.md")
        (name,) = files(vault)
        assert json.loads(Path(home(vault), name).read_text()) == ["d0/n0.md"]
