"""Faults 1, 8, 16 and 34: a note is the old or the new one, whole, and what others save meanwhile is never lost."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from holdfast.errors import Conflict, DiskFull, HoldfastError, NotDurable, PathNotAllowed
from holdfast.files.fs import TEMP_PREFIX, FileSystem
from holdfast.files.notes import digest_of
from holdfast.files.swap import Changed, Swap, stray_of
from tests.fault.faulty_fs import Fault, FaultyFS, Killed

OLD, NEW, OTHER, LATER = b"old\n", b"the new content\n" * 9, b"what an editor saved\n", b"and saved again\n"
STEPS = 16


@pytest.fixture
def root(tmp_path: Path) -> str:
    (tmp_path / "a.md").write_bytes(OLD)
    return str(tmp_path)


def content(root: str, name: str = "a.md") -> bytes | None:
    path = Path(root, name)
    return path.read_bytes() if path.exists() else None


def strays(root: str) -> dict[str, bytes]:
    return {n: Path(root, n).read_bytes() for n in os.listdir(root) if n.startswith(TEMP_PREFIX)}


def save(root: str, body: bytes, name: str = "a.md") -> Callable[[], None]:
    """As most editors save: a new file under the old name."""

    def saved() -> None:
        Path(root, "editor~").write_bytes(body)
        os.replace(Path(root, "editor~"), Path(root, name))

    return saved


def test_the_steps_in_order(root: str) -> None:
    fs = FaultyFS()
    assert Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    calls = [call for call, _ in fs.trail if call not in ("lstat", "stat", "fstat", "realpath", "chmod")]
    assert calls == [
        "open_read", "pread", "pread", "close",
        "open_new", "write", "fsync", "close", "exchange", "open_read", "pread", "pread", "close", "unlink",
        "open_read", "fsync", "close",
    ]  # fmt: skip
    assert content(root) == NEW
    assert not strays(root)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(1, STEPS + 8))
@pytest.mark.parametrize("is_new", [False, True])
def test_killed_at_any_step(root: str, at: int, after: bool, is_new: bool) -> None:
    name = "b.md" if is_new else "a.md"
    fs = FaultyFS(Fault(at=at, kill=not after, kill_after=after))
    try:
        Swap(fs, root).put(name, NEW, None if is_new else digest_of(OLD))
    except Killed:
        pass
    assert content(root, name) in ((None, NEW) if is_new else (OLD, NEW))
    assert all(body in (OLD, NEW[: len(body)]) for body in strays(root).values())


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EMFILE])
@pytest.mark.parametrize("call", ["open_new", "write", "fsync", "exchange", "open_read"])
def test_failed_at_any_step(root: str, call: str, number: int) -> None:
    with pytest.raises(HoldfastError):
        Swap(FaultyFS(Fault(call, error=number)), root).put("a.md", NEW, digest_of(OLD))
    assert content(root) in (OLD, NEW)
    if call in ("open_new", "write", "fsync"):
        assert content(root) == OLD
        assert not strays(root)


def test_a_failed_fsync_is_never_repeated_on_the_same_file(root: str) -> None:
    fs = FaultyFS(Fault("fsync", error=errno.EIO))
    with pytest.raises(NotDurable):
        Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    made = [where for call, where in fs.trail if call == "open_new"]
    assert len(set(made)) == 2


@pytest.mark.parametrize("at", ["open_new", "fsync", "exchange"])
def test_what_an_editor_saves_meanwhile_stays(root: str, at: str) -> None:
    fs = FaultyFS(Fault(at, hook=save(root, OTHER)))
    with pytest.raises(Changed) as met:
        Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    assert (content(root), met.value.met, met.value.strays) == (OTHER, OTHER, ())
    assert not strays(root)


def test_what_is_saved_over_ours_before_it_is_taken_back_stays(root: str) -> None:
    """The editor saves before the exchange, and again between it and the exchange back."""
    fs = FaultyFS(Fault("exchange", at=1, hook=save(root, OTHER)), Fault("exchange", at=2, hook=save(root, LATER)))
    with pytest.raises(Changed) as met:
        Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    assert content(root) == LATER
    assert (met.value.met, met.value.strays) == (LATER, (OTHER,))


def test_what_is_deleted_meanwhile_stays_deleted_or_comes_back_whole(root: str) -> None:
    fs = FaultyFS(Fault("exchange", hook=lambda: os.unlink(f"{root}/a.md")))
    with pytest.raises(Changed) as met:
        Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    assert (content(root), met.value.met) == (None, None)


def test_a_new_note_never_replaces_one(root: str) -> None:
    with pytest.raises(Changed) as met:
        Swap(FileSystem(), root).put("a.md", NEW, None)
    assert (content(root), met.value.met) == (OLD, OLD)
    fs = FaultyFS(Fault("rename_new", hook=save(root, OTHER, "b.md")))
    with pytest.raises(Changed):
        Swap(fs, root).put("b.md", NEW, None)
    assert content(root, "b.md") == OTHER


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_without_an_exchange_a_rename_does_and_says_so(root: str, number: int) -> None:
    def fs() -> FaultyFS:
        faults = [Fault(c, times=None, error=number) for c in ("exchange", "rename_new")]
        return FaultyFS(*faults)

    assert not Swap(fs(), root).put("a.md", NEW, digest_of(OLD))
    assert content(root) == NEW
    assert not Swap(fs(), root).put("b.md", NEW, None)
    for name, expect in (("a.md", digest_of(OLD)), ("b.md", None)):
        with pytest.raises(Changed):
            Swap(fs(), root).put(name, OTHER, expect)
    Swap(fs(), root).move("b.md", "c/d.md")
    with pytest.raises(Conflict):
        Swap(fs(), root).move("c/d.md", "a.md")


def test_taken_only_if_it_is_what_was_expected(root: str) -> None:
    with pytest.raises(Changed):
        Swap(FileSystem(), root).take("a.md", digest_of(OTHER))
    assert content(root) == OLD
    assert Swap(FileSystem(), root).take("a.md", digest_of(OLD)) == OLD
    assert content(root) is None
    with pytest.raises(Changed):
        Swap(FileSystem(), root).take("a.md", digest_of(OLD))


def test_mode_and_link_are_kept(root: str) -> None:
    os.chmod(f"{root}/a.md", 0o640)
    os.symlink("a.md", f"{root}/link.md")
    Swap(FileSystem(), root).put("link.md", NEW, digest_of(OLD))
    assert os.path.islink(f"{root}/link.md")
    assert content(root) == NEW
    assert stat.S_IMODE(os.stat(f"{root}/a.md").st_mode) == 0o640


def test_names_that_cannot_be(root: str) -> None:
    Path(root, "file").touch()
    for name in ("file/x.md", f"{'x' * 300}.md"):
        with pytest.raises(PathNotAllowed):
            Swap(FileSystem(), root).put(name, NEW, None)


def test_a_full_disk_leaves_the_note(root: str) -> None:
    with pytest.raises(DiskFull, match=r"a\.md is unchanged"):
        Swap(FaultyFS(Fault("write", error=errno.ENOSPC)), root).put("a.md", NEW, digest_of(OLD))
    assert content(root) == OLD


def test_whose_a_stray_is(root: str) -> None:
    fs = FaultyFS(Fault("exchange", kill_after=True))
    with pytest.raises(Killed):
        Swap(fs, root).put("a.md", NEW, digest_of(OLD))
    (name,) = strays(root)
    assert stray_of(name, ["b.md", "a.md"]) == (os.getpid(), "a.md")
    assert stray_of(name, ["b.md"]) == (os.getpid(), None)
    assert stray_of("a.md", ["a.md"]) is None


def test_many_hands(root: str) -> Any:
    """Threads that add a number each, by compare-and-swap: the sum is right, whoever came in between."""
    import threading

    Path(root, "a.md").write_bytes(b"0")

    def add() -> None:
        swap = Swap(FileSystem(), root)
        for _ in range(40):
            while True:
                now = Path(root, "a.md").read_bytes()
                try:
                    with swap.turn("a.md", f"{root}/spare", 30):
                        swap.put("a.md", str(int(now) + 1).encode(), digest_of(now))
                    break
                except Changed:
                    continue

    threads = [threading.Thread(target=add) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert content(root) == b"160"
