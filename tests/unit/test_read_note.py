"""Reading: whole or not at all, never outside the vault, every failure in words."""

from __future__ import annotations

import errno
import os
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from holdfast.errors import FileLimit, NoteTooLarge, NoteUnreadable, NoteUnstable
from holdfast.files.fs import FileSystem
from holdfast.files.notes import digest_file, digest_of, read_note, read_range
from holdfast.files.scan import scan
from tests.fault.faulty_fs import Fault, FaultyFS, write_tree

FS = FileSystem()


@pytest.fixture
def root(tmp_path: Path) -> str:
    vault = tmp_path / "vault"
    write_tree(str(vault), {"a/x.md": "0123456789", "empty.md": "", "b.md": "b"})
    return str(vault)


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_note_comes_with_digest_and_the_scans_witness(root: str) -> None:
    note = read_note(FS, root, "a/x.md")
    assert (note.data, note.digest) == (b"0123456789", digest_of(b"0123456789"))
    assert len(note.digest) == 16
    assert note.witness in [w for d in scan(FS, root) for w in d.files]
    assert read_note(FS, root, "empty.md").data == b""


def test_names_that_are_no_utf8(root: str) -> None:
    name = os.fsdecode(b"a/\xff.md")
    write_tree(root, {name: "x"})
    assert read_note(FS, root, name).data == b"x"


def test_an_ordinary_read_costs_one_open(root: str) -> None:
    fs = FaultyFS()
    read_note(fs, root, "a/x.md", size=10)
    assert fs.calls == {"open_read": 1, "fstat": 2, "fd_path": 1, "pread": 1, "close": 1}
    fs.calls.clear()
    assert read_range(fs, root, "a/x.md", 2, 3) == b"234"
    assert fs.calls == {"open_read": 1, "fstat": 1, "fd_path": 1, "pread": 1, "close": 1}


def test_ranges_end_with_the_file(root: str) -> None:
    assert read_range(FS, root, "a/x.md", 8, 100) == b"89"
    assert read_range(FS, root, "a/x.md", 50, 10) == b""
    assert read_range(FaultyFS(Fault("pread", short=1)), root, "a/x.md", 1, 5) == b"12345"


def test_short_reads_are_continued(root: str) -> None:
    assert read_note(FaultyFS(Fault("pread", short=3)), root, "a/x.md").data == b"0123456789"
    assert digest_file(FaultyFS(Fault("pread", short=3)), root, "a/x.md") == digest_of(b"0123456789")


def test_a_large_file_is_not_opened(root: str) -> None:
    fs = FaultyFS()
    with open(f"{root}/big.md", "wb") as f:
        f.truncate(1 << 30)
    with pytest.raises(NoteTooLarge, match="1,073,741,824 bytes"):
        read_note(fs, root, "big.md")
    with pytest.raises(NoteTooLarge):
        read_note(fs, root, "a/x.md", max_bytes=9, size=10)
    assert fs.calls == {"stat": 1}


def test_a_file_that_has_grown_over_the_limit_is_not_read(root: str) -> None:
    fs = FaultyFS()
    with pytest.raises(NoteTooLarge):
        read_note(fs, root, "a/x.md", max_bytes=9, size=5)
    assert fs.calls["pread"] == 0


def test_a_note_that_is_gone_is_plainly_not_found(root: str) -> None:
    for path in ("none.md", "none/x.md", "b.md/x.md"):
        with pytest.raises(FileNotFoundError):
            read_note(FS, root, path)
        with pytest.raises(FileNotFoundError):
            read_range(FS, root, path, 0, 1)


def append(path: str) -> Callable[[], None]:
    def more() -> None:
        with open(path, "ab") as f:
            f.write(b"+")

    return more


def test_a_change_while_reading_is_read_again(root: str) -> None:
    fs = FaultyFS(Fault("pread", times=2, hook=append(f"{root}/a/x.md")))
    assert read_note(fs, root, "a/x.md").data == b"0123456789++"


def test_a_note_that_never_stands_still_is_unstable(root: str) -> None:
    fs = FaultyFS(Fault("pread", times=None, hook=append(f"{root}/a/x.md")))
    with pytest.raises(NoteUnstable, match="3 times"):
        read_note(fs, root, "a/x.md")
    assert fs.calls["open_read"] == 3
    with pytest.raises(NoteUnstable):
        digest_file(fs, root, "a/x.md")


def test_an_edit_of_the_same_size_while_reading_is_seen(root: str) -> None:
    def overwrite() -> None:
        with open(f"{root}/a/x.md", "r+b") as f:
            f.write(b"ABCDEFGHIJ")
        os.utime(f"{root}/a/x.md", ns=(stat.st_atime_ns, stat.st_mtime_ns))

    stat = os.stat(f"{root}/a/x.md")
    fs = FaultyFS(Fault("fstat", at=2, hook=overwrite))
    assert read_note(fs, root, "a/x.md").data == b"ABCDEFGHIJ"
    assert fs.calls["open_read"] == 2


def test_a_real_appender_never_yields_bytes_that_never_stood_there(root: str) -> None:
    """A cut line is possible, as the kernel itself grows a file page by page; then its size is in the witness."""
    line = b"line of twenty bytes"
    with open(f"{root}/log.md", "wb"):
        pass
    stop = threading.Event()

    def write() -> None:
        with open(f"{root}/log.md", "ab", buffering=0) as f:
            for _ in range(20_000):
                if stop.is_set():
                    return
                f.write(line)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(30):
            try:
                note = read_note(FS, root, "log.md")
            except NoteUnstable:
                continue
            assert len(note.data) == note.witness[1]
            assert note.data == (line * (len(note.data) // len(line) + 1))[: len(note.data)]
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kind", ["directory", "FIFO", "socket"])
def test_what_is_no_file_is_named(root: str, kind: str) -> None:
    path = f"{root}/odd.md"
    sock = socket.socket(socket.AF_UNIX)
    try:
        if kind == "directory":
            os.mkdir(path)
        elif kind == "FIFO":
            os.mkfifo(path)
        else:
            sock.bind(path)
        with pytest.raises(NoteUnreadable, match=r"odd\.md"):
            read_note(FS, root, "odd.md")
    finally:
        sock.close()


def test_a_device_is_refused(root: str) -> None:
    os.symlink("/dev/zero", f"{root}/zero.md")
    with pytest.raises(NoteUnreadable):
        read_note(FS, root, "zero.md")


def test_links_inside_are_read_and_links_outside_are_not(root: str) -> None:
    write_tree(root, {"../outside/secret.md": "secret", ".trash/t.md": "t"})
    links = {"in.md": "a/x.md", "out.md": "../outside/secret.md", "dir": "../outside", "t.md": ".trash/t.md"}
    for name, target in links.items():
        os.symlink(target, f"{root}/{name}")
    os.symlink("loop.md", f"{root}/loop.md")
    assert read_note(FS, root, "in.md").data == b"0123456789"
    assert read_note(FS, root, "in.md").witness in [w for d in scan(FS, root) for w in d.files]
    for path in ("out.md", "dir/secret.md", "t.md", "loop.md", "../outside/secret.md"):
        with pytest.raises(NoteUnreadable):
            read_note(FS, root, path)
        with pytest.raises(NoteUnreadable):
            read_range(FS, root, path, 0, 10)


def test_what_lies_outside_is_not_even_opened(root: str) -> None:
    os.mkfifo(f"{root}/../pipe")
    os.symlink("../pipe", f"{root}/out.md")
    fs = FaultyFS()
    with pytest.raises(NoteUnreadable, match="link out of the vault"):
        read_note(fs, root, "out.md", size=1)
    assert [where for call, where in fs.trail if call == "open_read"] == [f"{root}/out.md"]


def test_a_folder_exchanged_for_a_link_at_the_last_moment_leads_nowhere(root: str) -> None:
    """Every check of the path before the open would pass; only what was opened tells."""
    write_tree(root, {"../outside/x.md": "secret"})

    def swap() -> None:
        os.rename(f"{root}/a", f"{root}/old")
        os.symlink("../outside", f"{root}/a")

    with pytest.raises(NoteUnreadable, match="out of the vault"):
        read_note(FaultyFS(Fault("open_read", hook=swap)), root, "a/x.md")


class BlindFS(FaultyFS):
    """A system that cannot say where an open file is."""

    def fd_path(self, fd: int) -> str | None:
        return None


def test_without_the_kernels_word_the_path_is_resolved(root: str) -> None:
    write_tree(root, {"../outside/x.md": "secret"})
    os.symlink("../outside", f"{root}/out")
    assert read_note(BlindFS(), root, "a/x.md").data == b"0123456789"
    with pytest.raises(NoteUnreadable):
        read_note(BlindFS(), root, "out/x.md")


def test_a_root_by_another_name_is_the_same_root(root: str) -> None:
    os.symlink("vault", root + "-link")
    assert read_note(FS, root + "-link", "a/x.md").data == b"0123456789"


def test_a_note_replaced_while_open_is_still_read(root: str) -> None:
    def save() -> None:
        write_tree(root, {"a/new": "new content"})
        os.replace(f"{root}/a/new", f"{root}/a/x.md")

    assert read_note(FaultyFS(Fault("fd_path", hook=save)), root, "a/x.md").data in (b"0123456789", b"new content")


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ESTALE, errno.ETIMEDOUT])
@pytest.mark.parametrize("call", ["open_read", "fstat", "pread"])
def test_system_errors_are_told_with_their_cause(root: str, number: int, call: str) -> None:
    with pytest.raises(NoteUnreadable) as caught:
        read_note(FaultyFS(Fault(call, error=number)), root, "a/x.md")
    assert os.strerror(number) in caught.value.message
    assert isinstance(caught.value.__cause__, OSError)


@contextmanager
def descriptors(limit: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_the_limit_of_descriptors_is_named(root: str) -> None:
    open_now = max(int(n) for n in os.listdir("/proc/self/fd")) + 1
    with descriptors(open_now + 3):
        held = [os.dup(0) for _ in range(open_now + 3 - len(os.listdir("/proc/self/fd")) + 1)]
        try:
            with pytest.raises(FileLimit, match=str(open_now + 3)):
                read_note(FS, root, "a/x.md")
        finally:
            for fd in held:
                os.close(fd)
    with pytest.raises(FileLimit, match="whole system"):
        read_note(FaultyFS(Fault("open_read", error=errno.ENFILE)), root, "a/x.md")


def test_a_digest_needs_the_memory_of_a_block(root: str) -> None:
    data = os.urandom((3 << 20) + 7)
    write_tree(root, {"pic.png": data})
    fs = FaultyFS()
    assert digest_file(fs, root, "pic.png") == digest_of(data)
    assert fs.calls["pread"] == 4
