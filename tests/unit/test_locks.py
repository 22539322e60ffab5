"""Locks between real processes, and their end with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.errors import VaultBusy
from holdfast.files.fs import FileSystem
from holdfast.files.locks import Holder, JobLock

FS = FileSystem()
HOLD = """
import sys, time
from holdfast.files.fs import FileSystem
from holdfast.files.locks import JobLock
print((lock := JobLock(FileSystem(), sys.argv[1])).try_acquire("sync"), flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(path: str, kind: str = "job") -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path, kind], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "True\n"
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "job.lock")


def test_one_holds_it_and_the_other_is_told_who(path: str) -> None:
    with another_process(path) as process, JobLock(FS, path) as lock:
        assert not lock.try_acquire("check")
        holder = lock.holder()
        assert holder
        assert (holder.pid, holder.verb) == (process.pid, "sync")
        with pytest.raises(VaultBusy) as caught:
            lock.acquire("check", 0.1)
        assert caught.value.message == f"A sync is in progress (pid {process.pid}, since {holder.since})."
        assert not lock.is_held


def test_kill_9_of_the_holder_frees_it(path: str) -> None:
    with another_process(path) as process, JobLock(FS, path) as lock:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert str(process.pid) in Path(path).read_text()  # stale words, which nobody believes
        assert lock.holder() is None
        assert lock.try_acquire("check")
        assert lock.holder() == Holder(os.getpid(), lock.holder().since, "check")  # type: ignore[union-attr]


def test_release_frees_it_and_leaves_the_file(path: str) -> None:
    first, second = JobLock(FS, path), JobLock(FS, path)
    first.acquire("sync")
    assert not second.try_acquire("check")
    first.release()
    first.release()
    assert first.holder() is None
    assert Path(path).read_bytes() == b""
    assert second.try_acquire("check")
    second.release()


def test_acquire_waits_for_its_turn(path: str) -> None:
    first, second = JobLock(FS, path), JobLock(FS, path)
    first.acquire("sync")
    timer = threading.Timer(0.2, first.release)
    timer.start()
    began = time.monotonic()
    second.acquire("check", 10)
    assert time.monotonic() - began < 5
    timer.join()
    second.release()


def test_asking_who_holds_it_does_not_look_like_holding_it(path: str) -> None:
    lock, asker = JobLock(FS, path), JobLock(FS, path)
    lock.acquire("sync")
    lock.release()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            asker.holder()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for _ in range(200):
            assert lock.try_acquire("sync")
            lock.release()
    finally:
        stop.set()
        thread.join()


def test_who_asks_for_long_does_not_look_like_a_job(path: str) -> None:
    """An asker that was put aside by a busy machine while it had the file locked: nobody has signed it."""
    fd = FS.open_lock(path)
    assert FS.flock(fd, exclusive=False)
    timer = threading.Timer(0.03, FS.close, (fd,))
    timer.start()
    lock = JobLock(FS, path)
    assert lock.try_acquire("sync")
    lock.release()
    timer.join()


def test_a_held_lock_with_empty_or_foreign_words_is_still_held(path: str) -> None:
    fd = FS.open_lock(path)
    assert FS.flock(fd, exclusive=True)
    for words in (b"", b"[]", b"\xff", b'{"pid": "x"}', b"[" * 4_000):
        os.pwrite(fd, words, 0)
        assert JobLock(FS, path).holder() == Holder()
        os.ftruncate(fd, 0)
    with pytest.raises(VaultBusy, match="pid unknown"):
        JobLock(FS, path).acquire("sync")
    os.close(fd)


def test_a_lock_that_never_was_has_no_holder(path: str) -> None:
    assert JobLock(FS, path).holder() is None
    assert not os.path.exists(path)


def test_a_started_program_does_not_inherit_it(path: str) -> None:
    lock = JobLock(FS, path)
    lock.acquire("sync")
    with subprocess.Popen(["sleep", "30"], close_fds=False) as child:
        lock.release()
        try:
            other = JobLock(FS, path)
            assert other.try_acquire("check")
            other.release()
        finally:
            child.kill()


def test_many_processes_at_once_one_wins(tmp_path: Path) -> None:
    code = HOLD.replace("print(", "time.sleep(max(0, float(sys.argv[3]) - time.time())); print(")
    start = str(time.time() + 1.5)
    command = [sys.executable, "-c", code, str(tmp_path / "job.lock"), "job", start]
    racers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    try:
        told = [racer.stdout.readline() for racer in racers if racer.stdout]
    finally:
        for racer in racers:
            racer.kill()
            racer.communicate()
    assert sorted(told) == ["False\n"] * 7 + ["True\n"]


def test_a_lock_whose_file_is_gone_or_another_is_not_in_place(path: str) -> None:
    lock = JobLock(FS, path)
    assert not lock.is_in_place()
    lock.acquire("watch")
    assert lock.is_in_place()
    os.unlink(path)
    assert not lock.is_in_place()
    other = JobLock(FS, path)
    assert other.try_acquire("watch")
    assert not lock.is_in_place()
    assert other.is_in_place()
    lock.release()
    other.release()
