"""Faults 37, 45 (while running), 46 and 48 of a watch, and what is wrong with the machine meanwhile."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from holdfast.engine import watch as engine_watch
from holdfast.engine.duties import Duty
from holdfast.errors import DiskFull, VaultBusy
from holdfast.files.fs import FileSystem
from holdfast.files.notes import digest_of
from holdfast.model import show_digest
from holdfast.results import Watched
from tests.fault.faulty_fs import Fault, FaultyFS
from tests.fault.vaults import Place, assert_equals_a_rebuild, index_of
from tests.fault.watches import NEVER, Watching, until, watching


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path)
    made.fill(12)
    return made


def assert_nothing_is_left(place: Place, fs: FileSystem | None = None) -> None:
    """A sync finds no note to change; what files there are besides is for scans alone."""
    with place.open(fs) as vault:
        done = vault.sync()
    assert (done.added, done.changed, done.moved, done.removed) == (0, 0, 0, 0)
    assert_equals_a_rebuild(place, fs)


def indexed(place: Place) -> dict[str, str | None]:
    """The digests of all notes, as the index has them."""
    with place.open() as vault:
        return {n.path: n.digest for n in vault.list(sync=False, limit=100_000).notes}


def on_disk(place: Place) -> dict[str, str | None]:
    found = [p for p in Path(place.root).rglob("*.md") if p.is_file()]
    return {str(p.relative_to(place.root)): show_digest(digest_of(p.read_bytes())) for p in found}


class Editor:
    """The calls by which editors save `d0/n0.md` in the vault at `root`."""

    def __init__(self, root: str) -> None:
        self.root, self.folder, self.note = root, f"{root}/d0", f"{root}/d0/n0.md"

    def write(self, path: str, text: str, flags: int = os.O_CREAT | os.O_TRUNC, *, parts: int = 1) -> None:
        fd = os.open(path, os.O_WRONLY | flags, 0o644)
        data = text.encode()
        size = -(-len(data) // parts)
        for at in range(0, len(data), size):
            os.write(fd, data[at : at + size])
        os.fsync(fd)
        os.close(fd)

    def vim(self, text: str) -> None:
        """`set backupcopy=no`: the probe file, the swap file, the old note put aside and removed."""
        self.write(f"{self.folder}/.n0.md.swp", "b0VIM")
        os.close(os.open(f"{self.folder}/4913", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        os.unlink(f"{self.folder}/4913")
        os.rename(self.note, self.note + "~")
        self.write(self.note, text)
        os.unlink(self.note + "~")
        os.unlink(f"{self.folder}/.n0.md.swp")

    def vim_with_copy(self, text: str) -> None:
        """`set backupcopy=yes backup`: the backup stays."""
        shutil.copy2(self.note, self.note + "~")
        self.write(self.note, text, os.O_TRUNC, parts=3)

    def vs_code(self, text: str) -> None:
        self.write(self.note, text, os.O_TRUNC)
        os.utime(self.note)

    def vs_code_atomic(self, text: str) -> None:
        self.write(self.note + ".vsctmp", text)
        os.rename(self.note + ".vsctmp", self.note)

    def obsidian(self, text: str) -> None:
        for n in range(3):  # it saves as one types
            self.write(self.note, text[: len(text) * (n + 1) // 3])

    def emacs(self, text: str) -> None:
        os.symlink("me@host.1:1", f"{self.folder}/.#n0.md")
        self.write(f"{self.folder}/#n0.md#", text)
        os.rename(self.note, self.note + "~")
        self.write(self.note, text)
        os.unlink(f"{self.folder}/#n0.md#")
        os.unlink(f"{self.folder}/.#n0.md")

    def gnome(self, text: str) -> None:
        self.write(f"{self.folder}/.goutputstream-A1B2C3", text)
        os.rename(f"{self.folder}/.goutputstream-A1B2C3", self.note)

    def sed(self, text: str) -> None:
        self.write(f"{self.folder}/sedA1b2C3", text)
        os.rename(f"{self.folder}/sedA1b2C3", self.note)

    def syncthing(self, text: str) -> None:
        self.write(f"{self.folder}/.syncthing.n0.md.tmp", text)
        os.utime(f"{self.folder}/.syncthing.n0.md.tmp", ns=(10**18, 10**18))  # the time of the other machine
        os.rename(f"{self.folder}/.syncthing.n0.md.tmp", self.note)


EDITORS = sorted(name for name in vars(Editor) if not name.startswith("_") and name != "write")


def names(place: Place) -> list[str]:
    with place.open() as vault:
        return [n.path for n in vault.list(sync=False).notes]


def test_a_save_is_one_change(place: Place) -> None:
    # Where the test itself is stopped between two calls, the watch must not take it for the end.
    with watching(place, watch_quiet_ms=500) as watch:
        before = names(place)
        for editor in EDITORS:
            told = len(watch.told)
            getattr(Editor(place.root), editor)(f"# Quinces\n\nThey are yellow, says {editor}.\n")
            until(lambda: indexed(place) == on_disk(place), f"{editor}: {watch.told}")
            until(lambda: watch.told[told:], editor)  # noqa: B023
            assert watch.changes(told) == {"added": 0, "changed": 1, "moved": 0, "removed": 0}, editor
            assert [(e.scan, e.paths) for e in watch.told[told:]] == [("hinted", ("d0/n0.md",))], editor
            assert names(place) == before
    assert_nothing_is_left(place)


def test_a_save_that_is_slow_ends_as_it_should(place: Place) -> None:
    """The watch looks between any two calls; what it saw there does not last."""
    with watching(place, watch_quiet_ms=20) as watch:
        before = names(place)
        for editor in EDITORS:
            with slowly(0.05):
                getattr(Editor(place.root), editor)(f"# Quinces\n\nThey are yellow, says {editor}.\n")
            until(lambda: indexed(place) == on_disk(place), f"{editor}: {watch.told}")
            assert names(place) == before, "no ghost note"
        assert watch.changes(1)["changed"] + watch.changes(1)["added"] > len(EDITORS), "it did look in the middle"
    assert_nothing_is_left(place)


@contextmanager
def slowly(pause_s: float) -> Iterator[None]:
    """Within, each call that changes a file waits afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("write", "rename", "unlink", "symlink", "utime"):
            real: Callable[..., Any] = getattr(os, name)

            def call(*args: Any, real: Callable[..., Any] = real, **named: Any) -> Any:
                result = real(*args, **named)
                if threading.current_thread() is threading.main_thread():
                    time.sleep(pause_s)
                return result

            patch.setattr(os, name, call)
        yield


@pytest.mark.parametrize("editor", EDITORS)
def test_a_scan_in_the_middle_of_a_save_is_mended_by_the_next(place: Place, editor: str) -> None:
    """Without any notice: a sync after each call, then one more."""
    with place.open() as vault, pytest.MonkeyPatch.context() as patch:
        vault.sync()
        before = names(place)
        fs_calls = ("write", "rename", "unlink", "symlink", "utime")
        is_inside = False

        def wrap(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **named: Any) -> Any:
                nonlocal is_inside
                result = real(*args, **named)
                if not is_inside:
                    is_inside = True
                    vault.sync()
                    is_inside = False
                return result

            return call

        for name in fs_calls:
            patch.setattr(os, name, wrap(getattr(os, name)))
        getattr(Editor(place.root), editor)("# Quinces\n\nThey are yellow.\n")
        patch.undo()
        vault.sync()
        assert names(place) == before
        assert [h.path for h in vault.recall("quinces", sync=False).hits] == ["d0/n0.md"]
    assert_nothing_is_left(place)


def test_folders_made_moved_and_removed(place: Place) -> None:
    with watching(place) as watch:
        os.makedirs(f"{place.root}/new/deep")
        place.put("new/deep/a.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "new/deep/a.md"))
        watch.settle()
        place.put("new/deep/b.md", "# Medlars\n")  # the new folder is watched by now
        until(lambda: watch.finds("medlars", "new/deep/b.md"))
        os.rename(f"{place.root}/new", f"{place.root}/d1/old")
        until(lambda: watch.finds("medlars", "d1/old/deep/b.md"))
        until(lambda: watch.changes()["moved"] == 2)
        watch.settle()
        place.put("d1/old/deep/c.md", "# Sorbs\n")
        until(lambda: watch.finds("sorbs", "d1/old/deep/c.md"))
        shutil.rmtree(f"{place.root}/d1")
        until(lambda: not any(n.startswith("d1/") for n in names(place)))
        until(lambda: "d1" not in watch.watch._placed)
        watch.settle()
        shutil.rmtree(f"{place.root}/d2")
        os.mkdir(f"{place.root}/d2")  # another folder of the old name, at once
        until(lambda: not any(n.startswith("d2/") for n in names(place)))
        watch.settle()
        place.put("d2/again.md", "# Whitebeam\n")
        until(lambda: watch.finds("whitebeam", "d2/again.md"))
    assert_nothing_is_left(place)


def test_ignore_rules_that_change(place: Place) -> None:
    with watching(place) as watch:
        place.put(".gitignore", "d2/\n")
        until(lambda: not any(n.startswith("d2/") for n in names(place)))
        watch.settle()
        os.unlink(f"{place.root}/.gitignore")
        until(lambda: any(n.startswith("d2/") for n in names(place)))
    assert_nothing_is_left(place)


def test_what_the_walk_does_not_enter_costs_nothing(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    os.symlink(outside, f"{place.root}/link")
    place.put(".gitignore", "build/\n*.tmp.md\n")
    for folder in (".git/objects", "node_modules/x", "build", ".obsidian"):
        os.makedirs(f"{place.root}/{folder}")
    with watching(place) as watch:
        heard = watch.watch._notices.heard
        for _ in range(3):
            for n in range(200):
                for folder in (".git/objects", "node_modules/x", "build", ".obsidian"):
                    place.put(f"{folder}/n{n}.md", "# Quinces\n")
                (outside / f"n{n}.md").write_text("# Quinces\n")
            time.sleep(0.1)
        place.put("d0/mark.md", "# Mark\n")
        until(lambda: watch.finds("mark", "d0/mark.md"))
        assert watch.watch._notices.heard == heard + 1
        # In folders that are walked: heard, and thrown away by name.
        calls, scanned = len(watch.told), watch.watch._scanned_ns
        os.makedirs(f"{place.root}/.cache/deep")
        os.makedirs(f"{place.root}/d0/build")
        place.put("d0/x.tmp.md", "# Quinces\n")
        place.put("d0/x.log", "noise")
        until(lambda: watch.watch._notices.heard >= heard + 2)
        place.put("d0/mark2.md", "# Marktwo\n")
        until(lambda: watch.finds("marktwo", "d0/mark2.md"))
        assert [e.paths for e in watch.told[calls:]] == [("d0/mark2.md",)]
        assert watch.watch._scanned_ns == scanned


@pytest.mark.parametrize("most", [40, 100_000])
def test_a_checkout_of_many_notes(place: Place, most: int) -> None:
    """More than are taken one by one are taken by a scan."""
    place.fill(300)
    with watching(place, watch_paths=most):
        place.fill(300, seed=2)
        for n in range(0, 300, 3):
            os.unlink(f"{place.root}/d{n % 5}/n{n}.md")
        for n in range(300, 400):
            place.put(f"d0/n{n}.md", f"# Note {n}\n\nquinces\n")
        until(lambda: indexed(place) == on_disk(place))
    assert_nothing_is_left(place)


def test_a_name_that_is_no_utf8(place: Place) -> None:
    """The source of notices fails over it, and at every call from then on. It is replaced, and nothing is missed."""
    with watching(place) as watch:
        for n in range(3):
            place.put(f"d0/{os.fsdecode(b'x%d' % n + bytes([255]))}.md", f"# Quinces {n}\n")
            until(lambda n=n: watch.finds(f"quinces {n}", f"d0/x{n}%FF.md"))
            watch.settle()
            place.put(f"d0/plain{n}.md", f"# Medlars {n}\n")
            until(lambda n=n: watch.finds(f"medlars {n}", f"d0/plain{n}.md"))
    assert_nothing_is_left(place)


def test_conflict_copies_are_notes_and_are_reported(place: Place) -> None:
    with watching(place) as watch:
        place.put("d0/n0.sync-conflict-20240131-101112-ABCDEF7.md", "# Quinces\n")
        event = watch.wait_for("change", 2)
        assert list(event.remarks) == [
            {
                "path": "d0/n0.sync-conflict-20240131-101112-ABCDEF7.md",
                "reason": "conflict_copy",
                "of": "d0/n0.md",
            }
        ]
        assert watch.finds("quinces", "d0/n0.sync-conflict-20240131-101112-ABCDEF7.md")


# Fault 45, while it runs.


def test_a_vault_that_goes_away_and_comes_back(place: Place) -> None:
    with watching(place) as watch:
        before = names(place)
        os.rename(place.root, place.root + "-away")
        watch.wait_for("missing")
        place_away = f"{place.root}-away/d0/n0.md"
        Path(place_away).write_text("# Quinces\n")  # by the mover, under another name
        time.sleep(1.2)
        assert len(watch.of("missing")) == 1, "said once"
        os.rename(place.root + "-away", place.root)
        watch.wait_for("back")
        until(lambda: watch.finds("quinces", "d0/n0.md"))
        watch.settle()
        place.put("d0/n1.md", "# Medlars\n")
        until(lambda: watch.finds("medlars", "d0/n1.md"))
        assert names(place) == before or sorted([*before, "d0/n1.md"]) == names(place)
        assert watch.changes(1)["removed"] == 0
    assert_nothing_is_left(place)


def test_another_folder_in_its_place(place: Place) -> None:
    """As where a disk is not mounted: the folder is there, and empty."""
    with watching(place) as watch:
        before = names(place)
        os.rename(place.root, place.root + "-away")
        os.mkdir(place.root)
        missing = watch.wait_for("missing")
        assert "not the vault" in missing.message
        assert names_without_id(watch) == before
        os.rmdir(place.root)
        os.rename(place.root + "-away", place.root)
        watch.wait_for("back")
        watch.settle()
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "d0/n0.md"))
    assert_nothing_is_left(place)


def names_without_id(watch: Watching) -> list[str]:
    return [n.path for n in watch.vault.list(sync=False).notes]


def test_a_folder_without_an_id_that_is_suddenly_empty(tmp_path: Path) -> None:
    place = Place(tmp_path, has_id=False)
    place.fill(6)
    with watching(place) as watch:
        for n in range(5):
            os.rename(f"{place.root}/d{n}", f"{place.base}/d{n}")
        watch.wait_for("missing")
        assert len(names_without_id(watch)) == 6
        for n in range(5):
            os.rename(f"{place.base}/d{n}", f"{place.root}/d{n}")
        watch.wait_for("back")
    assert_nothing_is_left(place)


def test_a_disk_that_is_unmounted(tmp_path: Path) -> None:
    place = Place(tmp_path)
    with mounted(place.root) as (mount, unmount):
        Path(place.root, ".holdfast").mkdir()
        Path(place.root, ".holdfast/config.toml").write_text('id = "mounted-vault-1"\n')
        place.fill(6)
        shutil.copytree(place.root, f"{place.base}/copy")
        with watching(place) as watch:
            unmount()
            watch.wait_for("missing")
            assert len(names_without_id(watch)) == 6
            mount()
            shutil.copytree(f"{place.base}/copy", place.root, dirs_exist_ok=True)
            watch.wait_for("back")
            watch.settle()
            place.put("d0/n0.md", "# Quinces\n")
            until(lambda: watch.finds("quinces", "d0/n0.md"))
        assert_nothing_is_left(place)


@contextmanager
def mounted(folder: str, size: str = "8m") -> Iterator[tuple[Callable[[], None], Callable[[], None]]]:
    """A small disk at `folder`, with what mounts and unmounts it; skips where that may not be done."""

    def mount() -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True, capture_output=True)

    def unmount() -> None:
        subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)

    try:
        mount()
    except (OSError, subprocess.CalledProcessError) as e:
        pytest.skip(f"needs to mount a tmpfs, which only root may do: {e}")
    try:
        yield mount, unmount
    finally:
        while os.path.ismount(folder):
            unmount()


# Fault 48, and silence where there should be notices.


class NetworkFS(FaultyFS):
    """A share of another machine: no notices, times in steps of 2 s, another inode number at each look."""

    def __init__(self) -> None:
        super().__init__(grain_ns=2 * 10**9, is_silent=True)
        self.rng = random.Random(1)

    def step(self, call: str, where: str, real: Callable[[], Any]) -> Any:
        result = super().step(call, where, real)
        if isinstance(result, os.stat_result) and "/notes/" in where and not stat.S_ISDIR(result.st_mode):
            times = {n: getattr(result, n) for n in ("st_mtime_ns", "st_ctime_ns", "st_atime_ns")}
            return os.stat_result((result[0], self.rng.getrandbits(40), *result[2:10]), times)
        return result

    def read_all(self, fd: int, size: int | None = None) -> bytes:
        data = super().read_all(fd, size)
        if self._paths.get(fd) == "/proc/self/mountinfo":
            return b"22 1 0:40 / / rw - nfs4 nas:/x rw\n"
        return data


def test_a_network_share_is_polled(place: Place) -> None:
    with watching(place, NetworkFS()) as watch:
        assert watch.watch.mode == "polling"
        (event,) = watch.of("watching")
        assert "tells nobody" in event.message
        assert watch.watch._ws.fs.calls["notifier"] == 0  # type: ignore[attr-defined]
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "d0/n0.md"))
        os.unlink(f"{place.root}/d0/n0.md")
        until(lambda: watch.changes() == {"added": 12, "changed": 1, "moved": 0, "removed": 1})
    assert_nothing_is_left(place, NetworkFS())


def test_a_system_that_never_tells_is_not_waited_for(place: Place) -> None:
    with watching(place, FaultyFS(is_silent=True), watch_scan_s=0.2) as watch:
        assert watch.watch.mode == "events"
        words = ["quinces", "medlars", "sorbs", "rowan"]
        for word in words:
            place.put("d0/n0.md", f"# {word}\n")
            until(lambda word=word: watch.finds(word, "d0/n0.md"))
        until(lambda: watch.watch.mode == "polling")
        assert ["never told" in e.message for e in watch.of("watching")] == [False, True]


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EMFILE, errno.ENOSYS, errno.EIO, errno.ENOENT])
def test_no_notices_to_be_had(place: Place, error: int) -> None:
    with watching(place, FaultyFS(Fault("notifier", error=error, times=None))) as watch:
        (event,) = watch.of("watching")
        assert event.mode == "polling"
        is_limit = error in (errno.ENOSPC, errno.EMFILE)
        assert ("fs.inotify.max_user_watches" in event.message) is is_limit
        assert watch.vault.status().counters["watch_WatchLimit" if is_limit else "watch_no_notices"] == 1
        place.put("new/n.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "new/n.md"))
        assert len(watch.of("watching")) == 1, "said once"


def test_notices_are_tried_again_after_a_while(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_watch, "PLACE_AGAIN_NS", 10**9)
    with watching(place, FaultyFS(Fault("notifier", error=errno.ENOSPC, times=2))) as watch:
        until(lambda: watch.watch.mode == "events")
        assert [e.mode for e in watch.of("watching")] == ["polling", "events"]


def test_a_folder_that_goes_while_it_is_placed(place: Place) -> None:
    gone = f"{place.root}/d4"

    def remove() -> None:
        if os.path.isdir(gone):
            shutil.rmtree(gone)

    with watching(place, FaultyFS(Fault("notifier", times=None, hook=remove))) as watch:
        assert watch.watch.mode == "events"
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "d0/n0.md"))
    assert_nothing_is_left(place)


def test_what_changes_before_the_folders_are_watched(place: Place) -> None:
    """The walk is over, the notices have not begun: told to nobody, and found all the same."""
    fs = FaultyFS(Fault("notifier", hook=lambda: place.put("d0/n0.md", "# Quinces\n") and None))
    with watching(place, fs) as watch:
        assert watch.finds("quinces", "d0/n0.md")


def test_the_clock_of_scans_without_any_notice(place: Place) -> None:
    """Fault 46 in small: whatever was lost, the next scan finds it."""
    with watching(place, FaultyFS(is_silent=True), watch_scan_s=0.3) as watch:
        for n in range(20):
            place.put(f"lost/n{n}.md", f"# Quinces {n}\n")
        until(lambda: len([n for n in names(place) if n.startswith("lost/")]) == 20)
        until(lambda: watch.changes()["added"] == 32)


def test_a_scan_takes_a_tenth_of_the_time_at_most(place: Place) -> None:
    with watching(place, watch_scan_s=1.0, watch_poll_s=1.0) as watch:
        w = watch.watch
        w._took_ns = 3 * 10**9
        assert w._interval_ns() == 30 * 10**9
        w._notices.close()
        assert w._interval_ns() == 30 * 10**9  # without notices no rarer than with them
        w._took_ns = 2 * 10**7
        assert w._interval_ns() == 10**9
        w._config = replace(w._config, watch_scan_s=60.0)
        assert w._interval_ns() == 4 * 10**9


# What is wrong with the machine.


def test_a_full_disk_is_told_once_and_tried_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real, is_full = engine_watch.sync, threading.Event()

    def sync(*args: Any, **named: Any) -> Any:
        if is_full.is_set():
            raise DiskFull("The disk of the index is full.")
        return real(*args, **named)

    monkeypatch.setattr(engine_watch, "sync", sync)
    with watching(place) as watch:
        is_full.set()
        place.put("d0/n0.md", "# Quinces\n")
        watch.wait_for("fault")
        until(lambda: watch.vault.status().counters.get("watch_DiskFull", 0) >= 2, "it is tried again")
        assert len(watch.of("fault")) == 1
        is_full.clear()
        watch.wait_for("recovered")
        assert watch.finds("quinces", "d0/n0.md")


def test_a_disk_that_is_full_for_a_while(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.fill(20)
    os.makedirs(place.state)
    with mounted(place.state, "24m"), watching(place) as watch:
        filler = f"{place.state}/filler"
        fill_up(filler)
        rng = random.Random(3)
        text = " ".join(f"{rng.getrandbits(40):x}" for _ in range(60_000))
        place.put("d0/big.md", f"# Quinces\n\n{text}\n")
        watch.wait_for("fault")
        os.unlink(filler)
        watch.wait_for("recovered")
        until(lambda: watch.finds("quinces", "d0/big.md"))
        watch.settle()
        assert index_of(watch.vault).jobs()["sync"]["error"] is None
        assert_nothing_is_left(place)


def fill_up(path: str) -> None:
    with open(path, "wb", buffering=0) as f, contextlib.suppress(OSError):
        while f.write(b"x" * 4096):
            pass


def test_an_error_of_ours_does_not_end_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    real, faults = engine_watch.sync, [ValueError("a mistake of ours"), OSError(errno.EIO, "Input/output error")]

    def sync(*args: Any, **named: Any) -> Any:
        if faults and args[1].paths:
            raise faults[-1]
        return real(*args, **named)

    monkeypatch.setattr(engine_watch, "sync", sync)
    with watching(place) as watch:
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: len(watch.of("fault")) == 1)
        faults.pop()
        until(lambda: len(watch.of("fault")) == 2)
        faults.pop()
        until(lambda: watch.finds("quinces", "d0/n0.md"))
        counters = watch.vault.status().counters
        assert counters["watch_ValueError"] >= 1
        assert counters["watch_OSError"] >= 1


def test_whoever_listens_and_fails_ends_it(place: Place) -> None:
    def listen(event: Watched) -> None:
        raise BrokenPipeError

    with place.open() as vault:
        with pytest.raises(BrokenPipeError):
            vault.watch(on_event=listen)
        assert vault._ws.watch_holder() is None
        assert not [t for t in threading.enumerate() if t.name.startswith("holdfast-")]


def test_it_ends_in_the_middle_of_a_sync(place: Place) -> None:
    """What is in stays in; nothing has failed."""
    place.fill(60)
    stop = threading.Event()
    fs = FaultyFS(Fault("open_read", "/d2/", hook=stop.set))
    with place.open(fs, Watching(place, None, (), {"batch_notes": 4}).vault._ws.config) as vault:
        vault.watch(stop)
        assert 0 < len(vault.list(sync=False).notes) < 60
        assert vault.status().jobs["sync"]["error"] is None
        assert vault._ws.job_holder() is None
    place.sync()
    assert_nothing_is_left(place)


def test_while_another_one_scans(place: Place) -> None:
    """Notes are looked at all the same, folders when the other one is done; who it is was said once."""
    with watching(place) as watch:
        with place.open() as other, other._ws.job("rebuild", 5.0):
            place.put("d0/n0.md", "# Quinces\n")
            until(lambda: watch.finds("quinces", "d0/n0.md"))
            place.put("new/n.md", "# Medlars\n")
            event = watch.wait_for("waiting")
            assert f"A rebuild is in progress (pid {os.getpid()}" in event.message
            place.put("d0/n1.md", "# Sorbs\n")
            until(lambda: watch.finds("sorbs", "d0/n1.md"))
            assert len(watch.of("waiting")) == 1
        until(lambda: watch.finds("medlars", "new/n.md"))
        assert not watch.of("fault")
    assert_nothing_is_left(place)


def test_two_watches_in_one_process(place: Place) -> None:
    with watching(place) as watch, place.open() as other:
        with pytest.raises(VaultBusy, match=f"Process {os.getpid()} watches this vault already"):
            other.watch()
        assert other.status().jobs["watch"]["running"]
        assert watch.error is None
    with place.open() as other:
        assert "watch" not in other.status().jobs


def test_an_index_that_is_deleted_under_it(place: Place) -> None:
    """The lock is gone with it, and taken again: no second watch gets in."""
    with watching(place) as watch:
        shutil.rmtree(place.state)
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: watch.vault.status().vault["notes"] == 12)
        until(lambda: watch.vault._ws.watch_holder())
        with place.open() as other, pytest.raises(VaultBusy, match="already"):
            other.watch()
    assert_nothing_is_left(place)


def test_a_watch_whose_lock_another_one_has_taken_ends(place: Place) -> None:
    with place.open() as vault, place.open() as other:
        stop, error = threading.Event(), []

        def watch() -> None:
            try:
                vault.watch(stop)
            except VaultBusy as e:
                error.append(e.message)

        thread = threading.Thread(target=watch)
        thread.start()
        until(vault._ws.watch_holder)
        os.unlink(f"{vault._ws.directory}/watch.lock")
        with contextlib.suppress(VaultBusy), other._ws.watching():
            thread.join(10)
        stop.set()
        thread.join()
        assert len(error) <= 1
        assert not error or "watches this vault already" in error[0]


def test_syncs_rebuilds_and_questions_beside_it(place: Place) -> None:
    rng = random.Random(5)
    with watching(place, watch_scan_s=0.5) as watch, place.open() as other:
        for n in range(6):
            place.change(rng)
            if n % 3 == 0:
                other.rebuild()
            elif n % 3 == 1:
                other.sync()
            assert other.recall("tomatoes").hits
        place.put("d0/last.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "d0/last.md"))
        assert not watch.of("fault")
    place.sync()
    assert_nothing_is_left(place)


# Duties.


def test_duties_are_done_beside_it_and_their_failures_end_nothing(place: Place) -> None:
    done: list[float] = []
    is_bad, go_on = threading.Event(), threading.Event()

    def often() -> None:
        done.append(time.monotonic())
        if is_bad.is_set():
            raise ValueError("no good")

    with watching(place, duties=[Duty("audit", 0.05, often), Duty("slow", 0.1, lambda: go_on.wait(60))]) as watch:
        until(lambda: watch.vault.status().jobs.get("audit", {}).get("last_success"))
        place.put("d0/n0.md", "# Quinces\n")
        until(lambda: watch.finds("quinces", "d0/n0.md"))  # though a duty hangs
        is_bad.set()
        go_on.set()
        until(lambda: watch.vault.status().jobs["audit"]["error"] == "no good")
        assert watch.vault.status().health == "failing"
        is_bad.clear()
        until(lambda: watch.vault.status().jobs["audit"]["error"] is None)
        assert watch.vault.status().counters["duty_audit_failed"] >= 1
    count = len(done)
    time.sleep(0.2)
    assert len(done) == count, "nothing goes on after its end"


def test_what_is_new_gets_its_vector(place: Place) -> None:
    from tests.fake_embedder import FakeEmbedder, use

    with watching(place, embedder="local", watch_scan_s=NEVER) as watch:
        use(watch.vault, FakeEmbedder())
        until(lambda: ready(watch)[0] == ready(watch)[1] > 0)
        place.put("d0/n0.md", "# Quinces\n\nyellow\n")
        until(lambda: watch.finds("quinces", "d0/n0.md"))
        until(lambda: ready(watch)[0] == ready(watch)[1])


def ready(watch: Watching) -> tuple[int, int]:
    vectors = watch.vault.status().index["vectors"]
    return vectors["ready"], vectors["total"]


def test_nothing_is_imported_before_it_is_needed() -> None:
    code = "import sys; from holdfast import Vault; import holdfast.engine.watch; print('watchfiles' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    assert FileSystem.notifier.__doc__
