"""Walks over trees that are broken, changing, slow or hostile: nothing is lost in silence, nothing blocks."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from pathlib import Path

import pytest

from holdfast.errors import FileLimit, NoteTooLarge
from holdfast.files.fs import FileSystem
from holdfast.files.notes import read_note
from holdfast.files.scan import Directory, Scan, scan
from holdfast.files.wide import NotYetError, Pool
from holdfast.model import key_path
from tests.fault.faulty_fs import Fault, FaultyFS, SlowFS, write_tree

FS = FileSystem()


def walk(root: Path | str, fs: FileSystem = FS, **named: object) -> tuple[Scan, dict[str, Directory]]:
    walked = scan(fs, str(root), **named)  # type: ignore[arg-type]
    return walked, {d.path: d for d in walked}


def files(found: dict[str, Directory]) -> list[str]:
    return [key_path(w[0]) for d in found.values() for w in d.files]


@pytest.fixture
def root(tmp_path: Path) -> str:
    write_tree(str(tmp_path), {f"d{n}/f{m}.md": "x" for n in range(5) for m in range(10)})
    return str(tmp_path)


def no_threads_left() -> bool:
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if not any(t.name == "holdfast-slow" for t in threading.enumerate()):
            return True
        time.sleep(0.01)
    return False


@pytest.mark.skipif(not shutil.which("setpriv"), reason="setpriv is missing: permissions bind nobody who is root")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_unreadable_directory_is_an_error_and_no_deletion() -> None:
    with tempfile.TemporaryDirectory() as name:
        _check_as_somebody_else(Path(name))


def _check_as_somebody_else(root: Path) -> None:
    write_tree(str(root), {"open/a.md": "a", "shut/b.md": "b", "shut/c/d.md": "d", "list/e.md": "e"})
    write_tree(str(root), {"rules/.gitignore": "*.txt\n", "rules/x.md": "x"})
    root.chmod(0o755)
    (root / "shut").chmod(0o000)
    (root / "list").chmod(0o444)  # names can be read, stats cannot
    (root / "rules/.gitignore").chmod(0o000)
    script = textwrap.dedent("""
        import sys
        from holdfast.files.fs import FileSystem
        from holdfast.files.scan import scan
        walked = scan(FileSystem(), sys.argv[1])
        for d in walked:
            errors = [(key.decode().replace("\\0", "/"), type(e).__name__) for key, e in d.unreadable]
            print([d.path, [w[0].decode().replace("\\0", "/") for w in d.files], type(d.error).__name__, errors])
        print(walked.incomplete)
    """)
    source = Path(sys.modules["holdfast"].__file__ or "").parents[1]
    ids = ["--reuid=65534", "--regid=65534", "--clear-groups"]
    env = {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}
    done = subprocess.run(
        ["setpriv", *ids, sys.executable, "-c", script, str(root)], env=env, capture_output=True, text=True
    )
    if done.returncode and "holdfast" not in done.stdout + done.stderr:
        pytest.skip(f"another user cannot run this Python here: {done.stderr[-200:]}")
    assert done.stdout.splitlines() == [
        "['', [], 'NoneType', []]",
        "['list', [], 'NoneType', [('list//e.md', 'PermissionError')]]",
        "['open', ['open//a.md'], 'NoneType', []]",
        "['rules', ['rules//x.md'], 'NoneType', [('rules//.gitignore', 'PermissionError')]]",
        "['shut', [], 'PermissionError', []]",
        "False",
    ], done.stderr


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("wide", [False, True])
def test_a_listing_that_fails_is_yielded_as_such(root: str, number: int, wide: bool) -> None:
    walked, found = walk(root, FaultyFS(Fault("scandir", "/d2", error=number)), wide=wide)
    assert list(found) == ["", "d0", "d1", "d2", "d3", "d4"]
    assert found["d2"].error
    assert found["d2"].error.errno == number
    assert len(files(found)) == 40
    assert not walked.incomplete


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_a_descriptor_nothing_is_known_of_a_directory(root: str, number: int) -> None:
    """That is said, and no directory is taken for unreadable."""
    for faults in ([Fault("scandir", "/d2", error=number)], [Fault("open_read", ".gitignore", error=number)]):
        write_tree(root, {".gitignore": "f1.md\n"})
        with pytest.raises(FileLimit, match="limit of open files"):
            walk(root, FaultyFS(*faults))


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("times", [1, 7])
def test_with_few_descriptors_directories_are_listed_one_by_one(root: str, number: int, times: int) -> None:
    fs = FaultyFS(Fault("scandir", "/d", error=number, at=2, times=times))
    walked, found = walk(root, fs, wide=True)
    assert len(files(found)) == 50
    assert not any(d.error or d.unreadable for d in found.values())
    assert walked.is_short
    assert not walked.incomplete


@pytest.mark.parametrize("wide", [False, True])
def test_a_stat_that_fails_is_unreadable_and_one_that_finds_nothing_is_not(root: str, wide: bool) -> None:
    faults = (Fault("entry_stat", "/d2/f3", error=errno.EIO), Fault("entry_stat", "/d2/f4", error=errno.ENOENT))
    walked, found = walk(root, FaultyFS(*faults), wide=wide)
    assert [(key, e.errno) for key, e in found["d2"].unreadable] == [(b"d2\0\0f3.md", errno.EIO)]
    assert len(files(found)) == 48
    assert not walked.incomplete


def test_directories_and_files_that_vanish_mid_walk_are_simply_gone(root: str) -> None:
    fs = FaultyFS(Fault("scandir", "/d1", hook=lambda: shutil.rmtree(f"{root}/d1")))
    fs.faults.append(Fault("entry_stat", "/d3", hook=lambda: os.unlink(f"{root}/d3/f5.md")))
    walked, found = walk(root, fs)
    assert list(found) == ["", "d0", "d2", "d3", "d4"]
    assert len(files(found)) == 39
    assert not any(d.unreadable or d.error for d in found.values())
    assert not walked.incomplete


def test_a_directory_that_becomes_a_file_is_gone(root: str) -> None:
    def swap() -> None:
        shutil.rmtree(f"{root}/d1")
        Path(f"{root}/d1").touch()

    _, found = walk(root, FaultyFS(Fault("scandir", "/d1", hook=swap)))
    assert "d1" not in found


@pytest.mark.parametrize("empty_instead", [False, True])
def test_a_root_that_goes_away_mid_walk_makes_it_incomplete(root: str, empty_instead: bool) -> None:
    """As by an unmount: every folder to come is not found, and none of them was deleted."""

    def unmount() -> None:
        os.rename(root, root + "-elsewhere")
        if empty_instead:
            os.mkdir(root)

    walked, found = walk(root, FaultyFS(Fault("scandir", "/d1", hook=unmount)))
    assert list(found) == ["", "d0"]
    assert walked.incomplete


def test_a_root_that_cannot_be_listed_is_never_just_gone(root: str) -> None:
    for number in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
        _, found = walk(root, FaultyFS(Fault("scandir", error=number)))
        assert list(found) == [""]
        assert found[""].error


def test_an_error_half_way_through_a_listing_is_no_short_list(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.scandir

    class Breaking:
        def __init__(self, path: str) -> None:
            self.it = real(path)

        def __enter__(self) -> Breaking:
            return self

        def __exit__(self, *_: object) -> None:
            self.it.close()

        def __iter__(self) -> object:
            yield next(self.it)
            raise OSError(errno.EIO, "half way")

    monkeypatch.setattr(os, "scandir", lambda p: Breaking(p) if p.endswith("d1") else real(p))
    _, found = walk(root)
    assert found["d1"].error
    assert found["d1"].files == []


def test_a_sparse_gigabyte_is_listed_and_not_opened(tmp_path: Path) -> None:
    with open(tmp_path / "huge.md", "wb") as f:
        f.truncate(1 << 30)
    fs = FaultyFS()
    _, found = walk(tmp_path, fs)
    assert found[""].files[0][1] == 1 << 30
    with pytest.raises(NoteTooLarge):
        read_note(fs, str(tmp_path), "huge.md", size=1 << 30)
    assert fs.calls["open_read"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_no_note(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "zero.md", 0o666 | 0o020000, os.makedev(1, 5))
    except OSError as e:
        pytest.skip(f"no device can be made here: {e}")
    _, found = walk(tmp_path)
    assert found[""].skipped == {"not_regular": 1}


def test_coarse_times_are_what_the_scan_reports(root: str) -> None:
    _, found = walk(root, FaultyFS(grain_ns=2_000_000_000))
    assert all(w[2] % 2_000_000_000 == 0 == w[3] % 2_000_000_000 for d in found.values() for w in d.files)


def test_a_slow_mount_is_walked_wide(tmp_path: Path) -> None:
    """1,460 files at 40 ms: 58 s one by one, 1 s through 64 threads. At most one stat a file, in order."""
    write_tree(str(tmp_path), {f"d{n // 20:02}/f{n:04}.md": "x" for n in range(1460)})
    fs = SlowFS(0.04, 0.002)
    began = time.monotonic()
    walked, found = walk(tmp_path, fs)
    took = time.monotonic() - began
    assert fs.calls == {"entry_stat": 1460, "scandir": 74, "stat": 2}
    assert files(found) == sorted(files(found))
    assert len(files(found)) == 1460
    assert not walked.incomplete
    assert 32 <= fs.most <= 64 + 16 + 1
    assert took < 20
    assert no_threads_left()


def test_a_listing_that_carries_stats_needs_no_pool(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"d{n // 20:02}/f{n:04}.md": "x" for n in range(400)})
    fs = SlowFS(0.22, 0.005, listing_carries_stat=True)
    _, found = walk(tmp_path, fs, wide=True)
    assert len(files(found)) == 400
    assert fs.calls == {"entry_stat": 400, "scandir": 21, "stat": 2}
    assert fs.most <= 16 + 1  # listings ahead, no stats


def test_stats_in_flight_are_bounded(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"d{n // 4:03}/f{n:04}.md": "x" for n in range(400)})
    fs = SlowFS(0.05, 0.0)
    walked = iter(scan(fs, str(tmp_path), window=40))
    while next(walked).path != "d000":
        pass
    time.sleep(0.3)
    assert fs.calls["entry_stat"] <= 40 + 8
    walked.close()  # type: ignore[attr-defined]
    assert no_threads_left()


def test_a_mount_that_turns_slow_mid_walk_goes_wide(root: str) -> None:
    fs = FaultyFS(Fault("entry_stat", at=15, times=None, sleep_s=0.03))
    began = time.monotonic()
    _, found = walk(root, fs)
    assert len(files(found)) == 50
    assert time.monotonic() - began < 0.03 * 34
    assert no_threads_left()


def test_one_slow_stat_does_not_send_all_through_threads(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"d{n // 100:02}/f{n:04}.md": "x" for n in range(2000)})
    fs = FaultyFS(Fault("entry_stat", sleep_s=0.05))
    walked = scan(fs, str(tmp_path))
    for _ in walked:
        pass
    assert not walked.was_slow
    assert walked.files == 2000


@pytest.mark.parametrize("carries", [False, True])
@pytest.mark.parametrize("slow", [False, True])
def test_a_walk_says_how_the_mount_is_now(tmp_path: Path, slow: bool, carries: bool) -> None:
    """What was slow once, with too few files for a trial, is not slow for ever."""
    write_tree(str(tmp_path), {f"f{n}.md": "x" for n in range(3)})
    walked, _ = walk(tmp_path, SlowFS(0.02 * slow, 0.0, listing_carries_stat=carries), wide=not slow)
    assert walked.was_slow is slow


def test_the_deadline_ends_a_walk_without_waiting(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"d{n // 10:02}/f{n:04}.md": "x" for n in range(200)})
    fs = SlowFS(2.0, 0.0)
    began = time.monotonic()
    walked, found = walk(tmp_path, fs, wide=True, deadline_ns=time.monotonic_ns() + 200_000_000)
    assert walked.incomplete
    assert "d00" not in found
    assert time.monotonic() - began < 2.0 + 1.0  # the look at the root itself cannot be broken off
    assert no_threads_left()


def test_the_deadline_ends_a_quick_walk_too(root: str) -> None:
    fs = FaultyFS()
    fs.faults.append(Fault("scandir", "/d2", hook=lambda: setattr(fs, "drift_ns", 10**12)))
    walked, found = walk(root, fs, deadline_ns=time.monotonic_ns() + 10**11)
    assert walked.incomplete
    assert list(found) == ["", "d0", "d1"]


def test_a_hanging_stat_does_not_hold_up_the_end_of_the_process(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"f{n}.md": "x" for n in range(30)})
    script = textwrap.dedent("""
        import sys, time
        from holdfast.files.scan import scan
        from tests.fault.faulty_fs import Fault, FaultyFS
        fs = FaultyFS(Fault("entry_stat", times=None, sleep_s=60))
        walked = scan(fs, sys.argv[1], wide=True, deadline_ns=time.monotonic_ns() + 200_000_000)
        print(len(list(walked)), walked.incomplete)
    """)
    source, here = Path(sys.modules["holdfast"].__file__ or "").parents[1], Path(__file__).parents[2]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        env={"PYTHONPATH": f"{source}:{here}"}, capture_output=True, text=True, timeout=50,
    )  # fmt: skip
    assert done.stdout == "0 True\n", done.stderr
    assert time.monotonic() - began < 30


def test_a_walk_that_is_given_up_leaves_no_threads(tmp_path: Path) -> None:
    write_tree(str(tmp_path), {f"d{n // 10:02}/f{n:04}.md": "x" for n in range(200)})
    walked = iter(scan(SlowFS(0.02, 0.0), str(tmp_path), wide=True))
    next(walked)
    walked.close()  # type: ignore[attr-defined]
    assert no_threads_left()


def test_the_pool_keeps_errors_and_order() -> None:
    pool = Pool(4)

    def fail() -> int:
        raise TimeoutError("the mount's own")

    pending = [pool.submit(lambda n=n: n * n) for n in range(20)]  # type: ignore[misc]
    broken = pool.submit(fail)
    assert [p.result() for p in pending] == [n * n for n in range(20)]
    with pytest.raises(TimeoutError):
        broken.result()
    hanging = pool.submit(lambda: time.sleep(0.2))
    with pytest.raises(NotYetError):
        hanging.result(1_000_000)
    pool.close()
    assert no_threads_left()


@pytest.mark.parametrize("allowed", [0, 3])
def test_a_machine_that_allows_few_threads_does_with_those(
    root: str, monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    started: list[threading.Thread] = []
    real = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        real(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    walked, found = walk(root, wide=True)
    assert len(files(found)) == 50
    assert not walked.incomplete


def test_a_closed_pool_begins_nothing_more() -> None:
    pool = Pool(1)
    started, done = threading.Event(), []
    pool.submit(lambda: (started.set(), time.sleep(0.1)))
    for n in range(5):
        pool.submit(lambda n=n: done.append(n))  # type: ignore[misc]
    started.wait()
    pool.close()
    assert no_threads_left()
    assert not done
